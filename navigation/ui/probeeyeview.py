"""The probe's-eye view painted: crosshair, rings in mm, foci by how far they lie aside, a bar for the depth."""

from __future__ import annotations

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QPainter, QPen

from navigation.ui.bedpaint import paint_cell
from navigation.ui.paint import AMBER, BACKGROUND, BLUE, EDGE, QUIET, RED, WORDS, line
from navigation.ui.probeeye import DEEPEST_MM, HALF_MM, RINGS_MM, Mark, bed_squares, marks, next_mark
from navigation.ui.slices import letters
from navigation.ui.state import ViewState, probe_axes

BAR_PX, TITLE_PX = 74.0, 28.0
DEPTHS_MM = (0.0, 20.0, 40.0, 60.0, 80.0)
CENTRE = Qt.AlignmentFlag.AlignHCenter


def draw_probe_eye(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """The view in its box; crossed where nothing is live."""
    painter.fillRect(box, BACKGROUND)
    painter.save()
    painter.setClipRect(box)
    field = QRectF(box.left(), box.top() + TITLE_PX, box.width() - BAR_PX, box.height() - TITLE_PX)
    scale = min(field.width(), field.height()) / (2.0 * HALF_MM)
    middle = field.center()
    found = marks(state)
    _rings(painter, middle, scale)
    _bed(painter, middle, scale, state)
    to_scan = next_mark(state)
    if to_scan is not None:
        _next(painter, middle, scale, to_scan)
    for mark in found:
        _focus(painter, field, middle, scale, mark)
    _bar(painter, QRectF(field.right(), field.top(), BAR_PX, field.height()), found)
    _letters(painter, field, state)
    painter.restore()
    painter.fillRect(QRectF(box.left(), box.top(), box.width(), TITLE_PX), QColor(0, 0, 0, 150))
    title = QRectF(box.left() + 8, box.top() + 2, box.width() - 16, TITLE_PX - 4)
    line(painter, title, "Probe's eye", 19, WORDS, True)
    if not state.live:
        painter.setPen(QPen(RED, 3))
        painter.drawLine(box.topLeft(), box.bottomRight())
        painter.drawLine(box.topRight(), box.bottomLeft())


def _bed(painter: QPainter, middle: QPointF, scale: float, state: ViewState) -> None:
    """The bed's cells as they lie beside the probe's axis."""
    for outline, word in bed_squares(state):
        paint_cell(painter, outline * scale + (middle.x(), middle.y()), word)


def _rings(painter: QPainter, middle: QPointF, scale: float) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(EDGE, 1.5))
    for radius in RINGS_MM:
        painter.drawEllipse(middle, radius * scale, radius * scale)
    reach = RINGS_MM[-1] * scale
    painter.drawLine(QPointF(middle.x() - reach, middle.y()), QPointF(middle.x() + reach, middle.y()))
    painter.drawLine(QPointF(middle.x(), middle.y() - reach), QPointF(middle.x(), middle.y() + reach))
    painter.setPen(QPen(BLUE, 3))
    painter.drawEllipse(middle, 4.0 * scale, 4.0 * scale)
    for radius in RINGS_MM[:2]:
        words = QRectF(middle.x() + 3, middle.y() - radius * scale - 20, 70, 20)
        line(painter, words, f"{radius:.0f} mm", 15, QUIET)


def _focus(painter: QPainter, field: QRectF, middle: QPointF, scale: float, mark: Mark) -> None:
    right, down = (mark.right_mm, mark.down_mm) if mark.inside else mark.on_rim()
    at = QPointF(middle.x() + right * scale, middle.y() + down * scale)
    colour = AMBER if mark.chosen else WORDS
    pen = QPen(colour, 4 if mark.chosen else 2)
    if not mark.inside or mark.ahead_mm < 0.0:
        pen.setStyle(Qt.PenStyle.DashLine)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if mark.chosen:
        painter.drawLine(middle, at)
    painter.drawEllipse(at, mark.radius_mm * scale, mark.radius_mm * scale)
    width = 190.0
    left = at.x() + mark.radius_mm * scale + 6
    left = min(max(left, field.left() + 2), field.right() - width)
    top = min(max(at.y() - 14, field.top() + 2), field.bottom() - 30)
    words = QRectF(left, top, width, 28)
    line(painter, words.translated(1, 1), mark.words, 21, QColor("black"), True)
    line(painter, words, mark.words, 21, colour, True)


def _next(painter: QPainter, middle: QPointF, scale: float, offset_mm: tuple[float, float]) -> None:
    """An open square where to scan next, and the way to it."""
    reach = 0.94 * HALF_MM / max(abs(offset_mm[0]), abs(offset_mm[1]), 0.94 * HALF_MM)
    at = QPointF(middle.x() + offset_mm[0] * reach * scale, middle.y() + offset_mm[1] * reach * scale)
    painter.setPen(QPen(BLUE, 2, Qt.PenStyle.DotLine))
    painter.drawLine(middle, at)
    painter.setPen(QPen(BLUE, 4))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(QRectF(at.x() - 12, at.y() - 12, 24, 24))
    line(painter, QRectF(at.x() - 60, at.y() + 13, 120, 22), "scan next", 16, BLUE, True, CENTRE)


def _bar(painter: QPainter, box: QRectF, found: tuple[Mark, ...]) -> None:
    """Depth ahead of the face, downwards; what lies behind it or deeper than the bar stands at its end."""
    line_x = box.left() + 16
    top, bottom = box.top() + 16, box.bottom() - 16
    painter.setPen(QPen(QUIET, 2))
    painter.drawLine(QPointF(line_x, top), QPointF(line_x, bottom))
    for depth in DEPTHS_MM:
        y = top + depth / DEEPEST_MM * (bottom - top)
        painter.drawLine(QPointF(line_x - 5, y), QPointF(line_x + 5, y))
        line(painter, QRectF(line_x + 8, y - 10, 50, 20), f"{depth:.0f}", 14, QUIET)
    for mark in found:
        if not mark.sd_mm <= DEEPEST_MM:
            continue
        y = top + min(max(mark.ahead_mm, 0.0), DEEPEST_MM) / DEEPEST_MM * (bottom - top)
        half = mark.sd_mm / DEEPEST_MM * (bottom - top)
        painter.setPen(QPen(AMBER if mark.chosen else WORDS, 5 if mark.chosen else 3))
        painter.drawLine(QPointF(line_x, max(y - half, top)), QPointF(line_x, min(y + half, bottom)))
        painter.drawEllipse(QPointF(line_x, y), 6, 6)


def _letters(painter: QPainter, field: QRectF, state: ViewState) -> None:
    pose = state.T_reference_probe
    if pose is None or state.T_ras_reference is None:
        return
    right, down, _ = probe_axes(pose, state.T_ras_reference)
    rotation, middle = state.T_ras_reference[:3, :3], field.center()
    places = (
        (field.left() + 24, middle.y(), letters(-rotation @ right)),
        (field.right() - 24, middle.y(), letters(rotation @ right)),
        (middle.x(), field.top() + 20, letters(-rotation @ down)),
        (middle.x(), field.bottom() - 20, letters(rotation @ down)),
    )
    for x, y, text in places:
        spot = QRectF(x - 30, y - 16, 60, 32)
        line(painter, spot.translated(1, 1), text, 26, QColor("black"), True, CENTRE)
        line(painter, spot, text, 26, QColor("#ffe9a8"), True, CENTRE)
