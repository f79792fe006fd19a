"""What is drawn into a video frame, without Qt: shapes in pixels of the picture, from one ViewState.

Nothing old is drawn: of a map, a pose or a camera that is not live there is no shape, and `refusal` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from navigation.ui.bedcells import cells_of
from navigation.ui.camera.model import CameraModel
from navigation.ui.state import LARGEST_SD_MM, VideoState, ViewState
from navigation.volume import Spot

Array = NDArray[np.float64]

FRAME_EXPIRY_S = 0.25
# 95 % of a focus's place lies within this many standard deviations: sqrt(7.815), chi2 of three.
REGION_SD = 2.795
LEAST_RADIUS_MM = 3.0
RAY_MM, RAY_STEP_MM, SHAFT_MM = 90.0, 10.0, 110.0
# Picture and pose may be a tenth of a second apart: beyond these speeds that is more than 3 mm at the probe.
FASTEST_MM_S, FASTEST_DEG_S = 30.0, 6.0


@dataclass(frozen=True, slots=True, eq=False)
class FocusShape:
    """Outline (n, 2) of where a focus lies (95 %), its middle, and its words."""

    number: int
    outline: Array
    middle: Array
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Everything that goes into one picture, in its pixels."""

    foci: tuple[FocusShape, ...] = ()
    ray: Array | None = None  # (n, 2): the tip first, then every RAY_STEP_MM along the axis
    shaft: Array | None = None  # (2, 2)
    bed: tuple[tuple[Array, str], ...] = ()  # outline (4, 2) of a cell, and how it was seen
    scan_next: Array | None = None  # (2,)
    remarks: tuple[str, ...] = ()


def refusal(video: VideoState | None) -> str:
    """Why nothing may be drawn into the picture; empty where it may."""
    if video is None:
        return "NO VIDEO"
    if video.frame is None:
        return video.fault.upper() or "NO VIDEO"
    if video.age_s is None or video.age_s > FRAME_EXPIRY_S:
        return "VIDEO IS OLD"
    if video.camera is None:
        return "CAMERA NOT CALIBRATED: NOTHING IS DRAWN"
    size, calibrated = video.frame.size, video.camera.size
    if size != calibrated:
        return f"PICTURE OF {size[0]} x {size[1]}, CALIBRATED AT {calibrated[0]} x {calibrated[1]}"
    if video.T_reference_marker is None:
        return "CAMERA NOT SEEN: NOTHING IS DRAWN"
    if video.moving:
        return "CAMERA MOVES: NOTHING IS DRAWN"
    return ""


def overlay_of(state: ViewState) -> Overlay:
    """The shapes of a state; none where the camera's place or the engine is unknown."""
    video = state.video
    if refusal(video) or video is None or video.camera is None or video.T_reference_marker is None:
        return Overlay()
    if not state.engine_alive:
        return Overlay(remarks=("ENGINE SILENT: NOTHING IS DRAWN",))
    eye = _Eye(video.camera, video.T_reference_marker)
    remarks = () if state.live else ("no live map: no foci are drawn",)
    foci = tuple(s for s in (_focus(spot, state, eye) for spot in state.spots) if s is not None)
    ray, shaft = _probe(state, eye)
    return Overlay(foci if state.live else (), ray, shaft, _bed(state, eye), _next(state, eye), remarks)


@dataclass(frozen=True, slots=True, eq=False)
class _Eye:
    camera: CameraModel
    T_reference_marker: Array

    def pixels(self, points_mm: Array) -> Array | None:
        """(n, 2) of points (n, 3) of Reference; None where one of them lies behind or far beside the picture."""
        found, told = self.camera.from_reference(points_mm, self.T_reference_marker)
        return found if bool(told.all()) else None


def _sphere(count: int = 160) -> Array:
    """(n, 3): directions spread evenly (Fibonacci)."""
    k = np.arange(count) + 0.5
    z, turn = 1.0 - 2.0 * k / count, np.pi * (1.0 + 5.0**0.5) * k
    ring = np.sqrt(1.0 - z * z)
    return np.column_stack([ring * np.cos(turn), ring * np.sin(turn), z])


SPHERE = _sphere()


def _focus(spot: Spot, state: ViewState, eye: _Eye) -> FocusShape | None:
    """The outline of the 95 % region as the lens shows it."""
    values, vectors = np.linalg.eigh(spot.covariance_mm2)
    radii = np.maximum(REGION_SD * np.sqrt(np.maximum(values, 0.0)), LEAST_RADIUS_MM)
    surface = eye.pixels(spot.position_mm + (SPHERE * radii) @ vectors.T)
    middle = eye.pixels(spot.position_mm[None])
    if surface is None or middle is None:
        return None
    try:
        outline = surface[ConvexHull(surface).vertices]
    except QhullError:
        return None
    chosen = state.target is not None and state.target.spot.id == spot.id
    words = f"{spot.id}" if spot.sd_mm <= LARGEST_SD_MM else f"{spot.id}  --"
    if chosen and state.target is not None:
        words = f"{spot.id}  {state.target.text}"  # from the tip: a picture has no depth
    return FocusShape(spot.id, outline, middle[0], words, chosen)


def _probe(state: ViewState, eye: _Eye) -> tuple[Array | None, Array | None]:
    """The probe's axis ahead of its tip, as far as it lies in front of the camera, and its shaft."""
    pose = state.T_reference_probe
    if pose is None:
        return None, None
    along = np.arange(0.0, RAY_MM + 0.5, RAY_STEP_MM)
    points = pose[:3, 3] + along[:, None] * pose[:3, 2]
    pixels, told = eye.camera.from_reference(points, eye.T_reference_marker)
    seen = int(np.argmin(told)) if not told.all() else len(told)
    shaft = eye.pixels(pose[:3, 3] - np.array([[0.0], [SHAFT_MM]]) * pose[:3, 2])
    return (pixels[:seen] if seen >= 2 else None), shaft


def _bed(state: ViewState, eye: _Eye) -> tuple[tuple[Array, str], ...]:
    """Cells of the bed's surface as squares that face the camera."""
    cells = cells_of(state)
    if cells is None:
        return ()
    T = eye.T_reference_marker @ eye.camera.T_marker_camera
    outlines = [eye.pixels(square) for square in cells.squares(T[:3, 0], T[:3, 1])]
    return tuple((o, word) for o, word in zip(outlines, cells.seen, strict=True) if o is not None)


def _next(state: ViewState, eye: _Eye) -> Array | None:
    look = (state.bed.get("coverage") or {}).get("scan_next")
    if look is None:
        return None
    found = eye.pixels(np.array([look["place_mm"]], dtype=np.float64))
    return None if found is None else found[0]
