"""The buttons of a step, the fields they need, and the line that says what came of the last order."""

from __future__ import annotations

from collections.abc import Callable

from PyQt5.QtCore import QRectF, Qt, QTimer
from PyQt5.QtGui import QPainter, QPaintEvent
from PyQt5.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from navigation.ui.actions import Action
from navigation.ui.paint import QUIET, RED, wrapped
from navigation.ui.words import tr

# A press that ends or undoes something has to be repeated within so long.
TWICE_MS = 4000
TOLD_PX = 54
LEAST_KBQ, MOST_KBQ, FIRST_KBQ = 0.1, 10_000.0, 8.0


class Told(QWidget):
    """Words that shrink until all of them are seen: an answer is never cut. Refusals are red."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._text, self.refused = "", False
        self.setMinimumHeight(TOLD_PX)

    def text(self) -> str:
        """What is to be read."""
        return self._text

    def set_text(self, text: str, refused: bool) -> None:
        """Show other words."""
        if (text, refused) != (self._text, self.refused):
            self._text, self.refused = text, refused
            self.setToolTip(text)
            self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """All of it."""
        painter = QPainter(self)
        wrapped(painter, QRectF(self.rect()), self._text, 19, RED if self.refused else QUIET)
        painter.end()


class ActionBar(QWidget):
    """`order` takes the console's words of the button that was pressed."""

    def __init__(self, order: Callable[[str], None]) -> None:
        super().__init__()
        self._order = order
        self._offered: tuple[tuple[Action, ...], tuple[Action, ...]] | None = None
        self._buttons: list[tuple[Action, QPushButton]] = []
        self._armed: str | None = None
        self._timer = QTimer(self)  # ends with the bar
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._disarm)
        self.told = Told(self)
        self.by = QLineEdit(self)
        self.by.setPlaceholderText("by (name)")
        self.by.setMaximumWidth(170)
        self.kbq = QDoubleSpinBox(self)
        self.kbq.setRange(LEAST_KBQ, MOST_KBQ)
        self.kbq.setDecimals(1)
        self.kbq.setValue(FIRST_KBQ)
        self.kbq.setSuffix(" kBq")
        self.kbq.setMaximumWidth(150)
        self._row, self._below = QHBoxLayout(), QHBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 8)
        layout.setSpacing(6)
        for row in (self._row, self._below):
            row.setSpacing(8)
            layout.addLayout(row)
        for field in (self.by, self.kbq):
            field.hide()

    @property
    def buttons(self) -> tuple[tuple[Action, QPushButton], ...]:
        """What is offered now and the button of each."""
        return tuple(self._buttons)

    def show_actions(self, offered: tuple[Action, ...], always: tuple[Action, ...], reason: str) -> None:
        """Buttons of the step above, those of every step below beside what was told; unchanged ones are left alone."""
        if not self.told.text():
            self.told.set_text(reason, False)
        if self._offered == (offered, always):
            return
        self._offered = (offered, always)
        self._clear()
        self._buttons = [(action, self._button(action)) for action in (*offered, *always)]
        for _, button in self._buttons[: len(offered)]:
            self._row.addWidget(button)
        for field, name in ((self.by, "{by}"), (self.kbq, "{kbq}")):
            field.setVisible(any(name in action.words for action in (*offered, *always)))
            self._row.addWidget(field)
        self._row.addStretch(1)
        self._below.addWidget(self.told, 1)
        for _, button in self._buttons[len(offered) :]:
            self._below.addWidget(button)

    def _clear(self) -> None:
        self._armed = None
        for row in (self._row, self._below):
            while row.count():
                row.takeAt(0)
        for _, button in self._buttons:
            button.hide()
            button.deleteLater()

    def _button(self, action: Action) -> QPushButton:
        button = QPushButton(tr(action.label), self)
        button.setProperty("primary", "true" if action.primary else "false")
        button.setEnabled(not action.why_not)
        button.setToolTip(action.why_not or action.words)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _=False: self.press(action))
        return button

    def press(self, action: Action) -> None:
        """Say it; what ends or undoes something asks for a second press."""
        if action.why_not:
            self.tell(action.why_not, True)
            return
        if "{by}" in action.words and not self.by.text().strip():
            self.by.setFocus()
            self.tell(f"{action.label}: by whom? Fill in the name.", True)
            return
        if action.twice and self._armed != action.words:
            self._arm(action)
            return
        self._disarm()
        self.tell("", False)
        self._order(action.filled({"by": self.by.text().strip(), "kbq": f"{self.kbq.value():g}"}))

    def press_primary(self) -> None:
        """What a pedal or the return key does in this step."""
        for action, _ in self._buttons:
            if action.primary:
                self.press(action)
                return

    def _arm(self, action: Action) -> None:
        self._armed = action.words
        self._mark_armed()
        self.tell(f"{action.label}: press once more", False)
        self._timer.start(TWICE_MS)

    def _disarm(self) -> None:
        self._timer.stop()
        self._armed = None
        self._mark_armed()

    def _mark_armed(self) -> None:
        for action, button in self._buttons:
            asked = "true" if action.words == self._armed else "false"
            if button.property("asked") != asked:
                button.setProperty("asked", asked)
                button.setStyleSheet(button.styleSheet())

    def tell(self, text: str, refused: bool) -> None:
        """What came of an order; a refusal in red and in words."""
        self.told.set_text(text, refused)

    def tell_pending(self, pending: tuple[str, ...]) -> None:
        """That an order is under way, while nothing else is to be read."""
        if pending and not self.told.text():
            self.told.set_text(f"{pending[-1]} ...", False)
