"""The 3D view painted: the rendered picture, names at the foci, the patient's letters, and what it is not."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QImage, QPainter, QPen

from navigation.ui.bedcells import cells_of
from navigation.ui.bedpaint import paint_cell
from navigation.ui.paint import AMBER, BACKGROUND, QUIET, RED, WORDS, line
from navigation.ui.scene3d import (
    Anatomy,
    Camera,
    Picture,
    Scene3D,
    Turn,
    anatomy_of,
    camera_of,
    opengl_works,
)
from navigation.ui.slices import letters
from navigation.ui.state import ViewState
from navigation.windowsettings import PROBES, ProbeShape
from tracking.errors import InputError

logger = logging.getLogger(__name__)

TITLE_PX = 28.0
# No more often than this: software rendering takes a share of a core, and the slices come first.
AGAIN_S = 0.2
# A drag over the whole view turns once round; one never looks from straight above.
STEEPEST_DEG = 80.0
CENTRE = Qt.AlignmentFlag.AlignHCenter


class View3D:
    """Renders and paints; on the thread of the window. Skin and bones come from a study in the background."""

    def __init__(self, shape: ProbeShape = PROBES["handheld"]) -> None:
        self.shape = shape
        self.turn = Turn()
        self._study: Path | None = None
        self._works: bool | None = None
        self._scene: Scene3D | None = None
        self._anatomy: Anatomy | None = None
        self._drawn: tuple[float, tuple[int, int], Turn, Picture, Camera, int] | None = None
        self._asked = False

    def prepare(self, study: Path | None) -> None:
        """Find out whether OpenGL works, and read skin and bones once there is a study, beside the painting."""
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._try, name="3d", daemon=True).start()
        if self._works and study is not None and study != self._study:
            self._study = study
            threading.Thread(target=self._read, args=(study,), name="anatomy", daemon=True).start()

    def _try(self) -> None:
        self._works = opengl_works()

    def _read(self, study: Path) -> None:
        try:
            self._anatomy = anatomy_of(study)
        except (InputError, OSError) as fault:
            logger.warning("no skin and bones in the 3D view: %s", fault)

    def drag(self, right: float, down: float) -> None:
        """Turn by shares of the view's width and height."""
        turned = self.turn.azimuth_deg + 360.0 * right
        raised = float(np.clip(self.turn.elevation_deg + 180.0 * down, -STEEPEST_DEG, STEEPEST_DEG))
        self.turn = Turn((turned + 180.0) % 360.0 - 180.0, raised)

    @property
    def shown_id(self) -> int | None:
        """The snapshot that the picture on the screen is of."""
        return None if self._drawn is None else self._drawn[5]

    def draw(self, painter: QPainter, box: QRectF, state: ViewState) -> None:
        """The view in its box."""
        painter.fillRect(box, BACKGROUND)
        field = box.adjusted(0, TITLE_PX, 0, 0)
        camera = camera_of(state, self.turn)
        if not self._works:
            words = "preparing the 3D view" if self._works is None else "no OpenGL here: no 3D view"
            line(painter, field, words, 24, QUIET, align=CENTRE)
        elif camera is None:
            line(painter, field, "waiting for the probe", 24, QUIET, align=CENTRE)
        else:
            self._picture(painter, field, state, camera)
        painter.fillRect(QRectF(box.left(), box.top(), box.width(), TITLE_PX), QColor(0, 0, 0, 150))
        told = "3D (drag turns)" if state.T_ras_reference is not None else "3D: Reference, not registered"
        title = QRectF(box.left() + 8, box.top() + 2, box.width() - 16, TITLE_PX - 4)
        line(painter, title, told, 19, WORDS, True)

    def _picture(self, painter: QPainter, field: QRectF, state: ViewState, camera: Camera) -> None:
        size = (max(int(field.width()), 16), max(int(field.height()), 16))
        rgb, seen = self._rendered(state, camera, size)
        if not state.live:
            grey = 0.55 * rgb.mean(axis=2, keepdims=True)
            rgb = np.repeat(grey, 3, axis=2).astype(np.uint8)
        painter.drawImage(field, _image(rgb))
        painter.save()
        painter.setClipRect(field)
        _bed(painter, field, state, seen, size)
        if state.live:
            for spot in state.spots:
                x, y = seen.pixel(spot.position_mm, size)
                chosen = state.target is not None and state.target.spot.id == spot.id
                at = QRectF(field.left() + x + 12, field.top() + y - 14, 60, 28)
                line(painter, at, str(spot.id), 22, AMBER if chosen else WORDS, True)
        if state.T_ras_reference is not None:
            _letters(painter, field, state, seen)
        painter.restore()
        if not state.live:
            painter.setPen(QPen(RED, 3))
            painter.drawLine(field.topLeft(), field.bottomRight())
            painter.drawLine(field.topRight(), field.bottomLeft())

    def _rendered(self, state: ViewState, camera: Camera, size: tuple[int, int]) -> tuple[Picture, Camera]:
        """A picture not older than AGAIN_S, and the camera it was taken with; what is live changes it at once."""
        now = time.monotonic()
        old = self._drawn
        if old is not None and old[1:3] == (size, self.turn) and now - old[0] < AGAIN_S and state.live:
            return old[3], old[4]
        if self._scene is None:
            self._scene = Scene3D(self.shape)
        if self._anatomy is not None:
            self._scene.show_anatomy(self._anatomy)
        rgb = self._scene.render(state, camera, size)
        self._drawn = (now, size, self.turn, rgb, camera, state.snapshot_id)
        return rgb, camera


def _bed(painter: QPainter, field: QRectF, state: ViewState, camera: Camera, size: tuple[int, int]) -> None:
    """The bed's cells over everything, as squares that face the eye."""
    cells = cells_of(state)
    if cells is None:
        return
    for square, word in zip(cells.squares(camera.right, camera.down), cells.seen, strict=True):
        outline = np.array([camera.pixel(corner, size) for corner in square])
        paint_cell(painter, outline + (field.left(), field.top()), word)


def _letters(painter: QPainter, field: QRectF, state: ViewState, camera: Camera) -> None:
    """Which side of the patient each edge of the picture is."""
    assert state.T_ras_reference is not None
    rotation, middle, far = state.T_ras_reference[:3, :3], field.center(), 24.0
    places = (
        (QPointF(field.left() + far, middle.y()), -camera.right),
        (QPointF(field.right() - far, middle.y()), camera.right),
        (QPointF(middle.x(), field.top() + far), -camera.down),
        (QPointF(middle.x(), field.bottom() - far), camera.down),
    )
    for at, direction in places:
        box = QRectF(at.x() - 30, at.y() - 16, 60, 32)
        text = letters(rotation @ direction)
        line(painter, box.translated(1, 1), text, 26, QColor("black"), True, CENTRE)
        line(painter, box, text, 26, QColor("#ffe9a8"), True, CENTRE)


def _image(rgb: Picture) -> QImage:
    drawn = np.ascontiguousarray(rgb)
    height, width, _ = drawn.shape
    return QImage(drawn.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
