"""The steps of the case on the left: where it is, what is done, what each lacks."""

from __future__ import annotations

from PyQt5.QtCore import QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPen
from PyQt5.QtWidgets import QWidget

from navigation.ui.paint import AMBER, BACKGROUND, BLUE, EDGE, PANEL, QUIET, RED, WORDS, font, line, wrapped
from navigation.ui.state import StepView, ViewState
from navigation.ui.words import tr

# On a screen too small for the words a step is its sign and its key.
NARROW_PX = 58
WIDTH_PX, GAP_PX, TITLE_PX, MOST_PX = 214, 6.0, 46.0, 92.0
LEAST_TITLE_PX = 14
# A word and a shape each, not colour alone; nothing here is ever green.
LOOKS = {"done": ("✓", BLUE), "ready": ("○", WORDS), "refused": ("✕", RED)}


class Rail(QWidget):
    """Paints the steps; `selected` is the one whose actions are offered, chosen by click or key."""

    def __init__(self) -> None:
        super().__init__()
        self.selected = "study"
        self._chosen = False
        self._steps: tuple[StepView, ...] = ()
        self._alive = False
        self._boxes: list[tuple[QRectF, str]] = []
        self.setFixedWidth(WIDTH_PX)
        self.setToolTip("F1 to F9: the steps of the case")

    def sizeHint(self) -> QSize:
        """As wide as a title needs."""
        return QSize(self.width(), 700)

    def be_narrow(self) -> None:
        """Leave the words out: what a step lacks stands beside the buttons."""
        self.setFixedWidth(NARROW_PX)

    @property
    def reason(self) -> str:
        """What the selected step lacks, refusals first."""
        found = next((s for s in self._steps if s.key == self.selected), None)
        return "" if found is None else "; ".join((*found.refused, *found.open))

    def show_state(self, state: ViewState) -> None:
        """Take the steps; until somebody chooses one, the case's own is selected."""
        self._alive = state.engine_alive
        if state.work.steps:
            self._steps = state.work.steps
        if not self._chosen and self._steps:
            ready = [s.key for s in self._steps if s.state == "ready" and s.key != "study"]
            self.selected = ready[0] if ready else self._steps[-1].key
        self.update()

    def select(self, key: str) -> None:
        """Show a step; going back loses nothing, since nothing is kept here."""
        if any(s.key == key for s in self._steps):
            self.selected, self._chosen = key, True
            self.update()

    def select_number(self, number: int) -> None:
        """The step of that place."""
        if number < len(self._steps):
            self.select(self._steps[number].key)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """A click on a step."""
        for box, key in self._boxes:
            if event is not None and box.contains(event.localPos()):
                self.select(key)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The whole rail."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.fillRect(self.rect(), BACKGROUND)
        count = max(len(self._steps), 1)
        height = min((self.height() - GAP_PX) / count - GAP_PX, MOST_PX)
        self._boxes = []
        for i, step in enumerate(self._steps):
            box = QRectF(GAP_PX, GAP_PX + i * (height + GAP_PX), self.width() - 2 * GAP_PX, height)
            self._boxes.append((box, step.key))
            self._paint_step(painter, box, i, step)
        painter.end()

    def _paint_step(self, painter: QPainter, box: QRectF, number: int, step: StepView) -> None:
        chosen = step.key == self.selected
        shape, colour = LOOKS.get(step.state, ("?", AMBER)) if self._alive else ("?", QUIET)
        painter.setPen(QPen(WORDS if chosen else EDGE, 3 if chosen else 1))
        painter.setBrush(QColor("#2b3440") if chosen else PANEL)
        painter.drawRoundedRect(box, 8, 8)
        top = QRectF(box.left() + 8, box.top() + 4, box.width() - 16, 0.42 * box.height())
        if self.width() <= NARROW_PX:
            inner = box.adjusted(2, 2, -2, -2)
            upper = QRectF(inner.left(), inner.top(), inner.width(), 0.55 * inner.height())
            line(painter, upper, shape, 24, colour, True, Qt.AlignmentFlag.AlignHCenter)
            lower = QRectF(inner.left(), upper.bottom(), inner.width(), inner.bottom() - upper.bottom())
            line(painter, lower, f"F{number + 1}", 16, QUIET, align=Qt.AlignmentFlag.AlignHCenter)
            return
        line(painter, QRectF(top.left(), top.top(), 26, top.height()), shape, 24, colour, True)
        title = QRectF(top.left() + 24, top.top(), top.width() - 44, top.height())
        ink = WORDS if self._alive else QUIET
        if QFontMetricsF(font(LEAST_TITLE_PX, True)).horizontalAdvance(tr(step.title)) <= title.width():
            line(painter, title, step.title, 16, ink, True)
        else:
            wrapped(painter, title, step.title, LEAST_TITLE_PX, ink)  # a longer language takes two lines
        mark = QRectF(top.right() - 20, top.top(), 20, top.height())
        line(painter, mark, f"F{number + 1}", 13, QUIET, align=Qt.AlignmentFlag.AlignRight)
        told = (*step.refused, *step.open)
        if told:
            rest = QRectF(
                box.left() + 10, top.bottom() + 2, box.width() - 20, box.bottom() - top.bottom() - 6
            )
            more = f" (+{len(told) - 1})" if len(told) > 1 else ""
            wrapped(painter, rest, f"{told[0]}{more}", 14, RED if step.refused else QUIET)
