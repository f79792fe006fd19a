"""The three slices: planes through the probe's tip, pixels, probe, foci and letters drawn over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen, QPolygonF

from navigation.pictures import CHI2_95_PLANE, ellipse
from navigation.reslice import Plane
from navigation.ui.compose import LOOK, Backdrop, Look, slice_pixels
from navigation.ui.paint import BLUE, QUIET, RED, WORDS, font, line
from navigation.ui.state import ViewState, probe_axes
from navigation.volume import Spot
from navigation.windowsettings import PROBES, ProbeShape

# Half of a slice's shorter side: 9 cm of tissue, a little less than the length of a hand.
HALF_MM = 45.0
# The tip lies this far above the middle of an in-line slice: what is ahead matters.
AHEAD_MM = 26.0
# The axis and the cone of view are drawn so far ahead of the face.
AXIS_MM, CONE_MM = 90.0, 40.0
# An axis with this share in a plane lies in it.
IN_LINE = 0.97
# A focus whose centre is within this distance of a plane is drawn solid, else dashed.
IN_PLANE_MM = 4.0
# A direction with less than this share along a patient axis gets no letter of it (22.5 degrees).
LETTER_SHARE = 0.38
# A focus's words are as large as can be read from 2 m, and keep off the picture's edges and its title.
LABEL_PX, LABEL_HEIGHT_PX, LABEL_EDGE_PX, TITLE_PX = 22.0, 28.0, 4.0, 28.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One slice of a frame: its title and plane."""

    title: str
    plane: Plane


def views(state: ViewState, patient_axes: bool, locked: bool = False) -> tuple[View, ...]:
    """Three orthogonal planes through the tip, along the probe or along the patient; empty before the first pose.

    `locked`: through the selected focus instead, while there is one, along axes that do not move with the hand.
    """
    pose = state.T_reference_probe if state.T_reference_probe is not None else state.last_T_reference_probe
    if pose is None:
        return ()
    ras = state.T_ras_reference
    if locked and state.target is not None:
        spot = state.target.spot
        return _fixed(spot.position_mm, ras, f" through focus {spot.id}")
    tip, ahead = pose[:3, 3], pose[:3, 2]
    if patient_axes and ras is not None:
        return _fixed(tip, ras, "")
    right, side, _ = probe_axes(pose, ras)
    middle = tip + AHEAD_MM * ahead
    return (
        View("Along the probe", Plane(middle, right, ahead)),
        View("Along the probe, turned 90°", Plane(middle, side, ahead)),
        View("Across the probe, at its tip", Plane(tip, right, side)),
    )


def _fixed(middle: NDArray[np.float64], ras: NDArray[np.float64] | None, where: str) -> tuple[View, ...]:
    """Along the patient, or along Reference where nothing is registered."""
    names = ("Coronal", "Sagittal", "Axial") if ras is not None else ("Reference x z", "y z", "x y")
    axes = np.diag([-1.0, -1.0, 1.0, 1.0]) if ras is None else ras
    left, back, down = -axes[0, :3], -axes[1, :3], -axes[2, :3]
    planes = (Plane(middle, left, down), Plane(middle, back, down), Plane(middle, left, back))
    return tuple(View(f"{name}{where}", plane) for name, plane in zip(names, planes, strict=True))


def draw_view(
    painter: QPainter,
    box: QRectF,
    view: View,
    state: ViewState,
    backdrop: Backdrop | None,
    look: Look = LOOK,
    shape: ProbeShape = PROBES["handheld"],
) -> float:
    """One slice in its box with everything drawn over it; returns its scale in pixels per mm."""
    scale = min(box.width(), box.height()) / (2.0 * HALF_MM)
    half = (box.width() / scale / 2.0, box.height() / scale / 2.0)
    _pixels(painter, box, slice_pixels(state, view.plane, half, backdrop, look))
    painter.save()
    painter.setClipRect(box)
    painter.translate(box.center())
    painter.scale(scale, scale)
    if state.live:
        for spot in state.spots:
            chosen = state.target is not None and state.target.spot.id == spot.id
            _spot(painter, spot, view.plane, chosen, scale)
            _spot_words(painter, spot, view.plane, half, scale)
    if state.T_reference_probe is not None:
        _probe(painter, state.T_reference_probe, view.plane, scale, shape)
    painter.restore()
    _frame(painter, box, view, state, scale)
    if not state.live:
        _crossed(painter, box)
    return scale


def _pixels(painter: QPainter, box: QRectF, rgb: NDArray[np.uint8]) -> None:
    pixels = np.ascontiguousarray(rgb)
    rows, columns, _ = pixels.shape
    image = QImage(pixels.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
    painter.drawImage(box, image)


def _pen(colour: QColor, px: float, scale: float, dashed: bool = False) -> QPen:
    pen = QPen(colour, px / scale)
    if dashed:
        pen.setStyle(Qt.PenStyle.DashLine)
    return pen


def _spot(painter: QPainter, spot: Spot, plane: Plane, chosen: bool, scale: float) -> None:
    """The 95 % ellipse and a ring; dashed when the centre lies off the plane."""
    x, y, away = plane.project(spot.position_mm)[0]
    off = _off(spot, away)
    outline = ellipse(spot.covariance_mm2, plane, CHI2_95_PLANE) + (x, y)
    polygon = QPolygonF([QPointF(*p) for p in outline])
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for colour, width in ((QColor("black"), 5.0), (WORDS if chosen else QUIET, 2.5)):
        painter.setPen(_pen(colour, width, scale, off))
        painter.drawPolygon(polygon)
        radius = max(6.0, spot.extent_mm / 2.0) if chosen else 4.0
        painter.drawEllipse(QPointF(x, y), radius, radius)


def _spot_words(
    painter: QPainter, spot: Spot, plane: Plane, half_mm: tuple[float, float], scale: float
) -> None:
    """Number of a focus and how far it lies off the plane; none beside a focus that lies outside the picture."""
    x, y, away = plane.project(spot.position_mm)[0]
    if abs(x) > half_mm[0] or abs(y) > half_mm[1]:
        return
    words = f"{spot.id}" if not _off(spot, away) else f"{spot.id}  {abs(away):.0f} mm off"
    box = label_box(x * scale, y * scale, words, (half_mm[0] * scale, half_mm[1] * scale), 7.0 * scale)
    painter.save()
    painter.scale(1.0 / scale, 1.0 / scale)
    line(painter, box.translated(1, 1), words, LABEL_PX, QColor("black"), True)
    line(painter, box, words, LABEL_PX, WORDS, True)
    painter.restore()


def label_box(x: float, y: float, words: str, half: tuple[float, float], gap: float) -> QRectF:
    """Box in pixels from the middle of a picture that reaches `half`: right of (x, y), left of it where that is cut."""
    width = QFontMetricsF(font(LABEL_PX, bold=True)).horizontalAdvance(words) + 2.0
    left = x + gap if x + gap + width <= half[0] - LABEL_EDGE_PX else x - gap - width
    left = max(left, LABEL_EDGE_PX - half[0])
    top = min(max(y - LABEL_HEIGHT_PX, TITLE_PX - half[1]), half[1] - LABEL_HEIGHT_PX)
    return QRectF(left, top, width, LABEL_HEIGHT_PX)


def _off(spot: Spot, away_mm: float) -> bool:
    """Whether a focus lies off the plane by more than its place is uncertain."""
    return abs(float(away_mm)) > IN_PLANE_MM + spot.sd_mm


def _probe(
    painter: QPainter, pose: NDArray[np.float64], plane: Plane, scale: float, shape: ProbeShape
) -> None:
    """Outline of the probe, its axis and cone of view ahead of the tip, a cross at the tip."""
    tip, ahead = pose[:3, 3], pose[:3, 2]
    x, y, _ = plane.project(tip)[0]
    in_plane = np.array([ahead @ plane.right, ahead @ plane.down])
    length = float(np.linalg.norm(in_plane))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if length > 0.2:
        along = in_plane / length
        wide = np.array([-along[1], along[0]]) * shape.diameter_mm / 2.0
        back = -in_plane * shape.length_mm
        corners = [wide, wide + back, -wide + back, -wide]
        painter.setPen(_pen(BLUE, 2.5, scale))
        painter.drawPolyline(QPolygonF([QPointF(x + c[0], y + c[1]) for c in (*corners, corners[0])]))
        painter.setPen(_pen(BLUE, 2.0, scale, dashed=True))
        painter.drawLine(QPointF(x, y), QPointF(x + in_plane[0] * AXIS_MM, y + in_plane[1] * AXIS_MM))
        _cone(painter, (x, y), in_plane, shape.cone_deg, scale)
    else:
        painter.setPen(_pen(BLUE, 2.5, scale))
        painter.drawEllipse(QPointF(x, y), shape.diameter_mm / 2.0, shape.diameter_mm / 2.0)
    painter.setPen(_pen(BLUE, 3.0, scale))
    for dx, dy in ((3.0, 0.0), (0.0, 3.0)):
        painter.drawLine(QPointF(x - dx, y - dy), QPointF(x + dx, y + dy))


def _cone(
    painter: QPainter, tip: tuple[float, float], in_plane: NDArray[np.float64], half_deg: float, scale: float
) -> None:
    """Edges of the cone of view where the axis lies in the plane, else they would be cut at another angle."""
    if float(np.linalg.norm(in_plane)) < IN_LINE:
        return
    painter.setPen(_pen(QUIET, 1.0, scale, dashed=True))
    for side in (-1.0, 1.0):
        turn = side * np.deg2rad(half_deg)
        c, s = np.cos(turn), np.sin(turn)
        edge = np.array([c * in_plane[0] - s * in_plane[1], s * in_plane[0] + c * in_plane[1]]) * CONE_MM
        painter.drawLine(QPointF(*tip), QPointF(tip[0] + edge[0], tip[1] + edge[1]))


def _frame(painter: QPainter, box: QRectF, view: View, state: ViewState, scale: float) -> None:
    """Title, scale bar and the patient's letters, or that there is no registration."""
    painter.fillRect(QRectF(box.left(), box.top(), box.width(), 28), QColor(0, 0, 0, 150))
    line(painter, QRectF(box.left() + 8, box.top() + 2, box.width() - 16, 24), view.title, 19, WORDS, True)
    bar = QRectF(box.left() + 12, box.bottom() - 14, 20.0 * scale, 4)
    painter.fillRect(bar.adjusted(-1, -1, 1, 1), QColor("black"))
    painter.fillRect(bar, WORDS)
    line(painter, QRectF(bar.left(), bar.top() - 26, 120, 24), "20 mm", 17)
    if state.T_ras_reference is None:
        words = "Reference, not registered"
        side = QRectF(box.right() - 250, box.bottom() - 30, 240, 26)
        line(painter, side, words, 17, QUIET, align=Qt.AlignmentFlag.AlignRight)
        return
    rotation = state.T_ras_reference[:3, :3]
    right, down = letters(rotation @ view.plane.right), letters(rotation @ view.plane.down)
    left, up = letters(-rotation @ view.plane.right), letters(-rotation @ view.plane.down)
    middle, far = box.center(), 30.0
    places = ((box.left() + far, middle.y(), left), (box.right() - far, middle.y(), right))
    for x, y, text in (*places, (middle.x(), box.top() + 46, up), (middle.x(), box.bottom() - 20, down)):
        spot = QRectF(x - 30, y - 16, 60, 32)
        line(painter, spot.translated(1, 1), text, 26, QColor("black"), True, Qt.AlignmentFlag.AlignHCenter)
        line(painter, spot, text, 26, QColor("#ffe9a8"), True, Qt.AlignmentFlag.AlignHCenter)


def letters(direction_ras: NDArray[np.float64]) -> str:
    """R, L, A, P, S, I of a unit RAS vector (3,), the strongest first: "L" or "LA" when oblique."""
    order = np.argsort(-np.abs(direction_ras))
    strong = [i for i in order if abs(direction_ras[i]) >= LETTER_SHARE][:2]
    return "".join(("LR", "PA", "IS")[i][int(direction_ras[i] > 0.0)] for i in strong)


def _crossed(painter: QPainter, box: QRectF) -> None:
    painter.setPen(QPen(RED, 3))
    painter.drawLine(box.topLeft(), box.bottomRight())
    painter.drawLine(box.topRight(), box.bottomLeft())
