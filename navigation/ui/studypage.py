"""The study in three planes, to pick landmarks by click before the patient is touched.

A click moves the place, the wheel moves through the slices, with Ctrl it zooms. What is marked goes to the engine as an
order: the window keeps nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from PyQt5.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

from navigation.reslice import Plane
from navigation.ui.compose import Backdrop
from navigation.ui.dashboard import BAR_PX
from navigation.ui.paint import AMBER, BACKGROUND, BLUE, QUIET, WORDS, line, panel, wrapped
from navigation.ui.state import ViewState
from navigation.ui.studyplanes import AXES, Look, first_look, pixels
from navigation.ui.topbar import draw_top_bar, draw_watermark

GAP_PX, FIELDS_PX = 8.0, 60
WHEEL_MM, ZOOM, NUDGE_MM = 2.0, 1.15, 1.0
# A landmark is drawn full when it lies in the slice, and faintly within this distance of it.
IN_SLICE_MM, NEAR_MM = 2.0, 10.0
WAITING = "the study's CT is being read, or the case names none"
HELP = (
    "Click: go there. Wheel: through the slices; with Ctrl: zoom. Arrows: a millimetre; with Shift along the patient.\n"
    "Mark what the stylus can touch on the patient: four or more points around the targets, not on a line."
)


class StudyPage(QWidget):
    """Three planes of the CT, the landmarks in them, a field for a name; `order` takes the console's words."""

    def __init__(self, order: Callable[[str], None]) -> None:
        super().__init__()
        self._order = order
        self._state: ViewState | None = None
        self._backdrop: Backdrop | None = None
        self.look: Look | None = None
        self._cells: list[tuple[QRectF, float]] = []
        self._cached: tuple[object, list[QImage]] | None = None
        self.name = QLineEdit(self)
        self.name.setPlaceholderText("name of the landmark")
        self.name.returnPressed.connect(self.mark)
        self.button = QPushButton("Mark here", self)
        self.button.clicked.connect(self.mark)
        self.away = QPushButton("Take away", self)
        self.away.clicked.connect(self.unmark)
        self._fields = QWidget(self)
        row = QHBoxLayout(self._fields)
        row.setContentsMargins(0, 0, 0, 0)
        for field in (self.name, self.button, self.away):
            row.addWidget(field)

    def show_state(self, state: ViewState, backdrop: Backdrop | None) -> None:
        """Take the state and, once it is there, the CT."""
        self._state = state
        if backdrop is not self._backdrop:
            self._backdrop = backdrop
            self.look = None if backdrop is None else first_look(backdrop)
        self.button.setEnabled(self.look is not None)
        self.update()

    def mark(self) -> None:
        """Ask for a landmark where one looks; without a name it is numbered."""
        if self.look is None:
            return
        name = self.name.text().strip() or self._next_name()
        x, y, z = (f"{v:.2f}" for v in self.look.place_mm)
        self._order(f"mark {shlex.quote(name)} {x} {y} {z}")
        self.name.clear()

    def unmark(self) -> None:
        """Take the landmark away that is nearest to where one looks."""
        marks = self._marks()
        if self.look is None or not marks:
            return
        place = self.look.place_mm
        name = min(marks, key=lambda m: float(np.linalg.norm(np.array(m[1]) - place)))[0]
        self._order(f"unmark {shlex.quote(name)}")

    def _marks(self) -> list[tuple[str, tuple[float, float, float]]]:
        return [] if self._state is None else [(n, p) for n, p in self._state.work.marked]

    def _next_name(self) -> str:
        taken = {name for name, _ in self._marks()}
        return next(f"landmark {i}" for i in range(1, len(taken) + 2) if f"landmark {i}" not in taken)

    def go_to(self, name: str) -> None:
        """Look at a landmark."""
        for known, place in self._marks():
            if known == name and self.look is not None:
                self.look = Look(np.array(place), self.look.half_mm)
                self.update()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to where was clicked."""
        if event is None or self.look is None:
            return
        for i, (box, scale) in enumerate(self._cells):
            at = event.localPos() - box.center()
            if box.contains(event.localPos()):
                self.look = self.look.moved(i, at.x() / scale, at.y() / scale)
                self.setFocus()
                self.update()
                return

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Through the slices of the plane under the pointer; with Ctrl nearer or farther."""
        if event is None or self.look is None:
            return
        steps = event.angleDelta().y() / 120.0
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.look = self.look.zoomed(ZOOM**-steps)
        else:
            under = [i for i, (box, _) in enumerate(self._cells) if box.contains(event.position())]
            if under:
                self.look = self.look.moved(under[0], 0.0, 0.0, WHEEL_MM * steps)
        self.update()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Arrows in the axial plane, with Shift along the patient."""
        moves = {
            Qt.Key.Key_Left: (-NUDGE_MM, 0.0),
            Qt.Key.Key_Right: (NUDGE_MM, 0.0),
            Qt.Key.Key_Up: (0.0, -NUDGE_MM),
            Qt.Key.Key_Down: (0.0, NUDGE_MM),
        }
        if event is None:
            return
        if self.look is None or event.key() not in moves:
            event.ignore()  # the shell's
            return
        plane = 1 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 0
        self.look = self.look.moved(plane, *moves[event.key()])  # type: ignore[index]
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The page."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.fillRect(self.rect(), BACKGROUND)
        cells = self._layout()
        self._cells = []
        if self._state is not None:
            if self.look is None or self._backdrop is None:
                line(painter, QRectF(self.rect()), WAITING, 30, QUIET, align=Qt.AlignmentFlag.AlignHCenter)
            else:
                self._planes(painter, cells[:3])
                self._list(painter, cells[3])
            draw_top_bar(painter, QRectF(0, 0, self.width(), BAR_PX), self._state)
            draw_watermark(painter, QRectF(self.rect()), self._state)
        painter.end()

    def _layout(self) -> list[QRectF]:
        across = (self.width() - 3 * GAP_PX) / 2.0
        down = (self.height() - BAR_PX - 3 * GAP_PX) / 2.0
        lefts, tops = (GAP_PX, 2 * GAP_PX + across), (BAR_PX + GAP_PX, BAR_PX + 2 * GAP_PX + down)
        cells = [QRectF(lefts[i % 2], tops[i // 2], across, down) for i in range(4)]
        last = cells[3]
        self._fields.setGeometry(
            int(last.left() + 12), int(last.bottom() - FIELDS_PX - 8), int(last.width() - 24), FIELDS_PX
        )
        return cells

    def _planes(self, painter: QPainter, cells: list[QRectF]) -> None:
        assert self.look is not None and self._backdrop is not None
        key = (tuple(self.look.place_mm), self.look.half_mm, self.width(), self.height(), id(self._backdrop))
        planes, halves = self.look.planes(), []
        for cell in cells:
            scale = min(cell.width(), cell.height()) / (2.0 * self.look.half_mm)
            halves.append((cell.width() / scale / 2.0, cell.height() / scale / 2.0))
            self._cells.append((cell, scale))
        if self._cached is None or self._cached[0] != key:
            drawn = [pixels(self._backdrop, p, h) for p, h in zip(planes, halves, strict=True)]
            self._cached = (key, [_image(rgb) for rgb in drawn])
        for i, (cell, scale) in enumerate(self._cells):
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
            painter.drawImage(cell, self._cached[1][i])
            self._over(painter, cell, planes[i], scale, i)

    def _over(self, painter: QPainter, cell: QRectF, plane: Plane, scale: float, number: int) -> None:
        """Cross, landmarks, title and the patient's letters."""
        painter.save()
        painter.setClipRect(cell)
        middle = cell.center()
        painter.setPen(QPen(BLUE, 1.5, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(cell.left(), middle.y()), QPointF(cell.right(), middle.y()))
        painter.drawLine(QPointF(middle.x(), cell.top()), QPointF(middle.x(), cell.bottom()))
        for name, place in self._marks():
            x, y, away = plane.project(np.array(place))[0]
            if abs(away) <= NEAR_MM:
                _landmark(painter, middle + QPointF(x * scale, y * scale), name, abs(away) <= IN_SLICE_MM)
        painter.restore()
        title, _, _, (left, right, top, bottom) = AXES[number]
        painter.fillRect(QRectF(cell.left(), cell.top(), cell.width(), 28), QColor(0, 0, 0, 150))
        line(painter, QRectF(cell.left() + 8, cell.top() + 2, 300, 24), title, 19, WORDS, True)
        far = 26.0
        places = (
            (cell.left() + far, middle.y() - 20, left),
            (cell.right() - far, middle.y() - 20, right),
            (middle.x() + 20, cell.top() + 46, top),
            (middle.x() + 20, cell.bottom() - 20, bottom),
        )
        for x, y, letter in places:
            box = QRectF(x - 20, y - 16, 40, 32)
            line(painter, box.translated(1, 1), letter, 26, QColor("black"), True, _CENTRE)
            line(painter, box, letter, 26, QColor("#ffe9a8"), True, _CENTRE)

    def _list(self, painter: QPainter, cell: QRectF) -> None:
        assert self.look is not None
        room = panel(painter, cell, "Landmarks of the study")
        x, y, z = self.look.place_mm
        touched = dict(() if self._state is None else self._state.work.landmarks)
        rows = [f"Here: ({x:.1f}, {y:.1f}, {z:.1f}) mm LPS"]
        rows += [
            f"{'●' if touched.get(n) else '○'} {n}{'  touched' if touched.get(n) else ''}"
            for n, _ in self._marks()
        ]
        wrapped(painter, room.adjusted(0, 0, 0, -FIELDS_PX - 90), "\n".join(rows), 20)
        help_box = QRectF(room.left(), room.bottom() - FIELDS_PX - 86, room.width(), 76)
        wrapped(painter, help_box, HELP, 15, QUIET)


_CENTRE = Qt.AlignmentFlag.AlignHCenter


def _landmark(painter: QPainter, at: QPointF, name: str, here: bool) -> None:
    colour = QColor(AMBER)
    colour.setAlpha(255 if here else 110)
    painter.setPen(QPen(colour, 2.5))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawEllipse(at, 7.0, 7.0)
    line(painter, QRectF(at.x() + 11, at.y() - 13, 240, 26), name, 18, colour, True)


def _image(rgb: np.ndarray) -> QImage:
    drawn = np.ascontiguousarray(rgb)
    rows, columns, _ = drawn.shape
    return QImage(drawn.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
