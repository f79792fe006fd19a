"""The application's window: steps on the left, the views, what can be done in this step below, and what came of it.

Nothing here blocks: an order goes out, the views go on, the answer appears when it comes. No dialog is ever opened.
"""

from __future__ import annotations

from dataclasses import replace

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QCloseEvent, QKeyEvent
from PyQt5.QtWidgets import QAbstractSpinBox, QHBoxLayout, QLineEdit, QStackedWidget, QVBoxLayout, QWidget

from navigation.ui.actionbar import ActionBar
from navigation.ui.actions import actions, always
from navigation.ui.dashboard import EYE, SLICE, Dashboard
from navigation.ui.help import help_words
from navigation.ui.paint import AMBER, WORDS, screen_scale
from navigation.ui.rail import Rail
from navigation.ui.sound import Voice
from navigation.ui.state import ViewState
from navigation.ui.studypage import StudyPage
from navigation.windowtalk import Orders

FUNCTION_KEYS = range(Qt.Key.Key_F1, Qt.Key.Key_F9 + 1)
SOUND = {"sound": 0, "sound-up": 1, "sound-down": -1}
# Keys that order something of the case.
ORDERS = {"count-target": "count target", "removed-here": "removed"}
STUDY = "study"
MEANT_PX = (1600, 1000)
# Steps in which one goes for a place: they open with the probe's eye. V changes it in any step.
BY_EYE = ("navigate", "resect", "check-bed")
STYLE = f"""
QWidget {{ background: #101317; color: {WORDS.name()}; font-family: 'DejaVu Sans'; font-size: 18px; }}
QPushButton {{ background: #232a33; border: 2px solid #3a424d; border-radius: 8px; padding: 4px 10px;
  font-size: 17px; font-weight: bold; min-height: 44px; }}
QPushButton:hover {{ border-color: {WORDS.name()}; }}
QPushButton:disabled {{ color: #6d7783; border-style: dashed; }}
QPushButton[primary="true"] {{ border: 3px solid {WORDS.name()}; }}
QPushButton[asked="true"] {{ background: #5a3a00; border-color: {AMBER.name()}; }}
QLineEdit, QDoubleSpinBox {{ background: #191e25; border: 2px solid #3a424d; border-radius: 8px;
  min-height: 44px; padding: 0 8px; font-size: 17px; }}
"""


class Shell(QWidget):
    """Rail, dashboard and action bar round one state; without `orders` it only shows."""

    def __init__(self, dashboard: Dashboard, orders: Orders | None, voice: Voice | None = None) -> None:
        super().__init__()
        self.dashboard, self.orders, self.voice = dashboard, orders, voice
        self.rail = Rail()
        self._step = ""
        self.bar = ActionBar(self._order)
        self.setStyleSheet(STYLE)
        self.setWindowTitle("gammanav: research use only")
        right = QVBoxLayout()
        right.setSpacing(0)
        self.study = StudyPage(self._order)
        self.pages = QStackedWidget()
        for page in (dashboard, self.study):
            self.pages.addWidget(page)
        right.addWidget(self.pages, 1)
        right.addWidget(self.bar)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.rail)
        layout.addLayout(right, 1)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.rail.setVisible(orders is not None)
        self.bar.setVisible(orders is not None)

    def fit(self, width_px: int, height_px: int) -> None:
        """Be as large as meant, or as the screen allows: on a small one the rail keeps its signs alone."""
        if width_px < self.minimumSizeHint().width():
            self.rail.be_narrow()
        # On a dense screen it takes more of its dots, so that what is read from afar keeps its size in mm.
        scale = screen_scale()
        self.resize(min(width_px, round(MEANT_PX[0] * scale)), min(height_px, round(MEANT_PX[1] * scale)))

    def show_state(self, state: ViewState) -> None:
        """One state to every part."""
        self.dashboard.show_state(state)
        if self.orders is None:
            return
        self.rail.show_state(state)
        self._turn_to(self.study if self.rail.selected == STUDY else self.dashboard)
        if self.rail.selected == STUDY:
            self.study.show_state(state, self.dashboard.backdrop)
        step = self.rail.selected
        if step != self._step:
            self._step = step
            self.bar.tell("", False)
            self.dashboard.corner = EYE if step in BY_EYE else SLICE
        self.bar.show_actions(actions(step, state), always(state), self.rail.reason)
        for order, text, refused in self.orders.answers():
            self.bar.tell(text or order, refused)
        self.bar.tell_pending(self.orders.pending)

    def _turn_to(self, page: QWidget) -> None:
        if self.pages.currentWidget() is not page:
            self.pages.setCurrentWidget(page)

    def _order(self, words: str) -> None:
        if self.orders is not None:
            self.orders.say(words)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """F1 to F9: the steps. The rest as set up: what is offered first, counts, sound, help, the views.

        A key held down orders once.
        """
        if event is None:
            return
        key, what = event.key(), self.dashboard.keys.action(event)
        if what == "primary" and isinstance(self.focusWidget(), QLineEdit | QAbstractSpinBox):
            self.setFocus()  # what was typed is done with; it orders nothing
        elif key in FUNCTION_KEYS:
            self.rail.select_number(key - Qt.Key.Key_F1)
        elif what in SOUND and self.voice is not None:
            self._set_sound(self.voice, SOUND[what])
        elif what == "primary" and self.orders is not None:
            if not event.isAutoRepeat():
                self.bar.press_primary()
        elif what in ORDERS and self.orders is not None:
            if not event.isAutoRepeat():
                self._order(ORDERS[what])
        elif what == "help":
            self.bar.tell(help_words(self.rail.selected, self.dashboard), False)
        else:
            self.dashboard.do(what)

    def _set_sound(self, voice: Voice, steps: int) -> None:
        """On or off for none; else from which rate on it sounds, so many steps higher."""
        if steps == 0:
            voice.settings = replace(voice.settings, on=not voice.settings.on)
        else:
            voice.settings = voice.settings.with_threshold(steps)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Closing the window ends nothing: the case goes on."""
        if event is not None:
            event.accept()
