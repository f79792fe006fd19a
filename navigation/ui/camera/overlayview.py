"""The camera's picture painted, and the overlay in it: foci, the bed as it was seen, the probe's ray."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QImage, QPainter, QPen

from navigation.ui.bedpaint import paint_cell, polygon
from navigation.ui.camera.overlay import (
    FRAME_EXPIRY_S,
    FocusShape,
    Overlay,
    overlay_of,
    refusal,
)
from navigation.ui.paint import AMBER, BACKGROUND, BLUE, RED, WORDS, line
from navigation.ui.state import VideoState, ViewState

TITLE_PX, REMARK_PX = 28.0, 34.0
CENTRE = Qt.AlignmentFlag.AlignHCenter
BLACK = QColor("black")


def draw_camera(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """The view in its box: the whole picture, as large as it goes; crossed where it is old."""
    painter.fillRect(box, BACKGROUND)
    video = state.video
    field = QRectF(box.left(), box.top() + TITLE_PX, box.width(), box.height() - TITLE_PX)
    if video is not None and video.frame is not None:
        _picture(painter, field, video, state)
    why_not = refusal(video)
    if why_not:
        _remark(painter, field, why_not, RED)
    title = QRectF(box.left() + 8, box.top() + 2, box.width() - 16, TITLE_PX - 4)
    painter.fillRect(QRectF(box.left(), box.top(), box.width(), TITLE_PX), QColor(0, 0, 0, 150))
    line(painter, title, title_words(video), 19, WORDS, True)


def title_words(video: VideoState | None) -> str:
    """What it is, and how far the overlay may be off by the camera alone."""
    if video is None or video.camera is None:
        return "Camera"
    return f"Camera: overlay to {video.camera.error_px:.1f} px RMS by the camera alone"


def _picture(painter: QPainter, field: QRectF, video: VideoState, state: ViewState) -> None:
    assert video.frame is not None
    width, height = video.frame.size
    scale = min(field.width() / width, field.height() / height)
    shown = QRectF(0.0, 0.0, width * scale, height * scale)
    shown.moveCenter(field.center())
    old = video.age_s is None or video.age_s > FRAME_EXPIRY_S
    painter.drawImage(shown, _image(video.frame.pixels, old))
    painter.save()
    painter.setClipRect(shown)
    painter.translate(shown.topLeft())
    # Pixels of the picture are told by their centres: the middle of the first one is (0, 0).
    painter.translate(0.5 * scale, 0.5 * scale)
    overlay = overlay_of(state)
    _shapes(painter, overlay, scale)
    painter.restore()
    if old:
        painter.setPen(QPen(RED, 3))
        painter.drawLine(shown.topLeft(), shown.bottomRight())
        painter.drawLine(shown.topRight(), shown.bottomLeft())
    for words in overlay.remarks:
        _remark(painter, field, words, AMBER)


def _shapes(painter: QPainter, overlay: Overlay, scale: float) -> None:
    for outline, seen in overlay.bed:
        paint_cell(painter, outline * scale, seen)
    _probe(painter, overlay, scale)
    for focus in overlay.foci:
        _focus(painter, focus, scale)
    if overlay.scan_next is not None:
        x, y = overlay.scan_next * scale
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(BLUE, 4))
        painter.drawRect(QRectF(x - 12, y - 12, 24, 24))
        line(painter, QRectF(x - 60, y + 13, 120, 22), "scan next", 16, BLUE, True, CENTRE)


def _probe(painter: QPainter, overlay: Overlay, scale: float) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if overlay.ray is not None:
        ray = overlay.ray * scale
        for colour, width in ((BLACK, 5.0), (BLUE, 2.5)):
            painter.setPen(QPen(colour, width, Qt.PenStyle.DashLine))
            painter.drawPolyline(polygon(ray))
        painter.setPen(QPen(BLUE, 2))
        for x, y in ray:
            painter.drawEllipse(QPointF(x, y), 3.0, 3.0)
    if overlay.shaft is not None:
        painter.setPen(QPen(BLUE, 6, cap=Qt.PenCapStyle.RoundCap))
        painter.drawPolyline(polygon(overlay.shaft * scale))


def _focus(painter: QPainter, focus: FocusShape, scale: float) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for colour, width in ((BLACK, 6.0), (AMBER if focus.chosen else WORDS, 3.0)):
        painter.setPen(QPen(colour, width))
        painter.drawPolygon(polygon(focus.outline * scale))
    right = float(focus.outline[:, 0].max()) * scale + 6
    box = QRectF(right, float(focus.middle[1]) * scale - 14, 190, 28)
    line(painter, box.translated(1, 1), focus.words, 22, BLACK, True)
    line(painter, box, focus.words, 22, AMBER if focus.chosen else WORDS, True)


def _remark(painter: QPainter, field: QRectF, words: str, colour: QColor) -> None:
    strip = QRectF(field.left() + 8, field.bottom() - REMARK_PX - 8, field.width() - 16, REMARK_PX)
    painter.fillRect(strip, QColor(0, 0, 0, 190))
    line(painter, strip.adjusted(8, 2, -8, -2), words, 24, colour, True, CENTRE)


def _image(pixels: NDArray[np.uint8], old: bool) -> QImage:
    drawn = np.ascontiguousarray(pixels)
    if old:
        grey = (0.55 * drawn.mean(axis=2, keepdims=True)).astype(np.uint8)
        drawn = np.ascontiguousarray(np.repeat(grey, 3, axis=2))
    height, width, _ = drawn.shape
    return QImage(drawn.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
