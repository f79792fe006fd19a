"""The one widget of the window: lays out slices and panels and paints a whole frame from one state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PyQt5.QtWidgets import QWidget

from navigation.ui.camera.overlayview import draw_camera
from navigation.ui.compose import Backdrop, Look
from navigation.ui.keys import KeyMap
from navigation.ui.paint import BACKGROUND, QUIET, WORDS, line
from navigation.ui.panels import draw_bed, draw_case, draw_lamps, draw_rate, draw_scale, draw_target
from navigation.ui.probeeyeview import draw_probe_eye
from navigation.ui.scene3dview import View3D
from navigation.ui.slices import View, draw_view, views
from navigation.ui.state import ViewState
from navigation.ui.stripchart import StripChart
from navigation.ui.topbar import draw_top_bar, draw_watermark
from navigation.windowsettings import WindowSettings

BAR_PX, GAP_PX, SCALE_PX = 46, 8, 34
SIDE_SHARE = 0.34
# What stands in the upper right of the four.
SLICE, EYE, FIELD_3D, CAMERA = CORNERS = ("slice", "eye", "3d", "camera")


class Dashboard(QWidget):
    """Shows one ViewState; keys change what is seen, and clicks on a slice choose the nearest focus."""

    def __init__(
        self,
        on_next: Callable[[], None],
        on_select: Callable[[int], None],
        settings: WindowSettings | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings or WindowSettings()
        self.keys = KeyMap(self.settings.keys)
        self.look = Look(self.settings.colours, self.settings.opacity, self.settings.ct_window_hu)
        self.locked = False
        self.chart = StripChart(self)
        self._on_next, self._on_select = on_next, on_select
        self._state: ViewState | None = None
        self._shown: list[tuple[QRectF, View, float]] = []
        self.backdrop: Backdrop | None = None
        self.patient_axes = False
        self.corner = SLICE
        self.view_3d = View3D(self.settings.probe)
        self.study: Path | None = None  # whose skin and bones the 3D view shows
        self._cell_3d: QRectF | None = None
        self._dragged: QPointF | None = None
        self.setMinimumSize(960, 600)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def show_state(self, state: ViewState) -> None:
        """The state of the next frame."""
        self._state = state
        self.chart.show_state(state)
        self.update()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """By the names of `windowsettings.KEYS`: next target, axes, corner, lock, colours."""
        if event is not None:
            self.do(self.keys.action(event))

    def do(self, what: str | None) -> None:
        """What a key asks for; what is none of the views' is left alone."""
        if what == "next-target":
            self._on_next()
        elif what == "axes":
            self.patient_axes = not self.patient_axes
        elif what == "view":
            self.corner = self._next_corner()
        elif what == "lock":
            self.locked = not self.locked
        elif what == "colours":
            self.look = self.look.next_colours()
        elif what in ("more-opaque", "less-opaque"):
            self.look = self.look.more_opaque(1 if what == "more-opaque" else -1)

    def _next_corner(self) -> str:
        """The camera's picture comes up only where there is a camera."""
        video = self._state is not None and self._state.video is not None
        offered = CORNERS if video else [c for c in CORNERS if c != CAMERA]
        at = offered.index(self.corner) if self.corner in offered else -1
        return offered[(at + 1) % len(offered)]

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """The focus nearest to a click on a slice becomes the target."""
        if event is None or self._state is None:
            return
        place = event.localPos()
        if self._cell_3d is not None and self._cell_3d.contains(place):
            self._dragged = place
            return
        if not self._state.spots:
            return
        for box, view, scale in self._shown:
            if box.contains(place):
                at = np.array([place.x() - box.center().x(), place.y() - box.center().y()]) / scale
                flat = view.plane.project(np.stack([s.position_mm for s in self._state.spots]))[:, :2]
                nearest = int(np.argmin(np.linalg.norm(flat - at, axis=1)))
                self._on_select(self._state.spots[nearest].id)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """A drag over the 3D view turns it."""
        if event is None or self._dragged is None or self._cell_3d is None:
            return
        moved = event.localPos() - self._dragged
        self._dragged = event.localPos()
        self.view_3d.drag(moved.x() / self._cell_3d.width(), moved.y() / self._cell_3d.height())
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """The drag ends."""
        self._dragged = None

    def _draw_corner(self, painter: QPainter, cell: QRectF, state: ViewState) -> None:
        if self.corner == EYE:
            draw_probe_eye(painter, cell, state)
            return
        if self.corner == CAMERA:
            draw_camera(painter, cell, state)
            return
        self._cell_3d = cell
        self.view_3d.prepare(self.study)
        self.view_3d.draw(painter, cell, state)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """A whole frame."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.fillRect(self.rect(), BACKGROUND)
        if self._state is not None:
            self._paint(painter, self._state)
        painter.end()

    def _paint(self, painter: QPainter, state: ViewState) -> None:
        width, height = float(self.width()), float(self.height())
        side = SIDE_SHARE * width
        left = QRectF(GAP_PX, BAR_PX + GAP_PX, width - side - 3 * GAP_PX, height - BAR_PX - 2 * GAP_PX)
        right = QRectF(left.right() + GAP_PX, left.top(), side, left.height())
        self._slices(painter, left, state)
        self._place_chart(_side(painter, right, state))
        draw_top_bar(painter, QRectF(0, 0, width, BAR_PX), state)
        draw_watermark(painter, left, state)
        _banners(painter, left, state)

    def _place_chart(self, room: QRectF) -> None:
        box = room.toAlignedRect()
        if self.chart.geometry() != box:
            self.chart.setGeometry(box)

    def _slices(self, painter: QPainter, box: QRectF, state: ViewState) -> None:
        across = (box.width() - GAP_PX) / 2.0
        upper = 0.5 * (box.height() - SCALE_PX - 2 * GAP_PX)
        tops = (box.top(), box.top() + upper + GAP_PX)
        lefts = (box.left(), box.left() + across + GAP_PX)
        cells = [QRectF(lefts[i % 2], tops[i // 2], across, upper) for i in range(4)]
        planes = views(state, self.patient_axes, self.locked)
        self._shown = []
        self._cell_3d = None
        cornered = bool(planes) and self.corner != SLICE
        if cornered:
            cells, upper_right = [cells[0], cells[2], cells[1], cells[3]], cells[1]
            planes = (planes[0], planes[2])
            self._draw_corner(painter, upper_right, state)
        for cell, view in zip(cells, planes, strict=False):
            scale = draw_view(painter, cell, view, state, self.backdrop, self.look, self.settings.probe)
            self._shown.append((cell, view, scale))
        for cell in [] if cornered else cells[len(planes) : 3]:
            painter.fillRect(cell, QColor("#22272e"))
            line(painter, cell, "waiting for the probe", 30, QUIET, align=Qt.AlignmentFlag.AlignHCenter)
        lower = cells[3]
        bed = QRectF(lower.left(), lower.top(), lower.width(), 0.56 * lower.height())
        draw_bed(painter, bed, state)
        case = QRectF(
            lower.left(), bed.bottom() + GAP_PX, lower.width(), lower.bottom() - bed.bottom() - GAP_PX
        )
        draw_case(painter, case, state)
        scale_box = QRectF(box.left(), box.bottom() - SCALE_PX, box.width(), SCALE_PX)
        draw_scale(painter, scale_box, state, scale_colours(self.look))


def scale_colours(look: Look) -> list[QColor]:
    """The palette in steps for the scale below the slices."""
    return [QColor(*(int(c) for c in look.palette[i])) for i in range(0, 256, 8)]


def _side(painter: QPainter, box: QRectF, state: ViewState) -> QRectF:
    """Count rate, target and lamps; returns the room for the strip chart."""
    room = box.height() - 2 * GAP_PX
    heights = [share * room for share in (0.29, 0.43, 0.28)]
    tops = [box.top(), box.top() + heights[0] + GAP_PX, box.top() + heights[0] + heights[1] + 2 * GAP_PX]
    boxes = [QRectF(box.left(), top, box.width(), h) for top, h in zip(tops, heights, strict=True)]
    chart = draw_rate(painter, boxes[0], state)
    draw_target(painter, boxes[1], state)
    draw_lamps(painter, boxes[2], state)
    return chart


def _banners(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """What has expired, across the slices."""
    for i, words in enumerate(state.banners[:3]):
        top = box.top() + 0.16 * box.height() + i * 76
        strip = QRectF(box.left() + 0.08 * box.width(), top, 0.84 * box.width(), 66)
        painter.setPen(QPen(WORDS, 2))
        painter.setBrush(QColor(150, 0, 16, 235))
        painter.drawRoundedRect(strip, 8, 8)
        room = strip.adjusted(16, 4, -16, -4)
        line(painter, room, words, 46, QColor("white"), True, Qt.AlignmentFlag.AlignHCenter)
