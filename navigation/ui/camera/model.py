"""What is known of a calibrated camera, and its file `camera.json`.

Pinhole with the five distortion coefficients of Brown (k1, k2, p1, p2, k3), as OpenCV writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.jsonfile import read_json, write_json
from tracking.seal import require_untouched, sealed
from tracking.transform import invert_rigid, rigidity_fault

Array = NDArray[np.float64]

KIND = "camera-calibration"
COEFFICIENTS = 5
# Nearer to the lens than this nothing is projected: it lies in the lens or behind it.
NEAREST_MM = 5.0
# Brown's polynomial is fitted to what the picture shows; farther out it may fold back into it.
BEYOND = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """`matrix` (3, 3) in pixels, `distortion` (5,), `T_marker_camera` (4, 4) in mm, of pictures of `size` (w, h).

    `lens_rms_px` is what the lens alone leaves; `error_px` is the error of a view that the fit did not know, through
    tracker and lens, the root mean square over the views left out one at a time.
    """

    matrix: Array
    distortion: Array
    size: tuple[int, int]
    T_marker_camera: Array
    lens_rms_px: float
    error_px: float
    views: int
    made_at: str = ""

    def project(self, points_mm: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Pixels (n, 2) of points (n, 3) of the camera's frame, and which of them (n,) can be told at all.

        Brown 1971, "Close-range camera calibration", Photogrammetric Engineering 37:855.
        """
        points = np.atleast_2d(points_mm)
        ahead = points[:, 2] > NEAREST_MM
        depth = np.where(ahead, points[:, 2], 1.0)
        x, y = points[:, 0] / depth, points[:, 1] / depth
        r2 = x * x + y * y
        k1, k2, p1, p2, k3 = self.distortion
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        u = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
        v = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
        pixels = np.column_stack(
            [self.matrix[0, 0] * u + self.matrix[0, 2], self.matrix[1, 1] * v + self.matrix[1, 2]]
        )
        return pixels, ahead & (r2 <= (BEYOND * self._widest()) ** 2)

    def _widest(self) -> float:
        """Largest distance of a corner of the picture from the optical axis, without distortion, at depth 1."""
        across = max(self.matrix[0, 2], self.size[0] - self.matrix[0, 2]) / self.matrix[0, 0]
        down = max(self.matrix[1, 2], self.size[1] - self.matrix[1, 2]) / self.matrix[1, 1]
        return float(np.hypot(across, down))

    def from_reference(self, points_mm: Array, T_reference_marker: Array) -> tuple[Array, NDArray[np.bool_]]:
        """As `project`, of points (n, 3) of Reference, for a marker that stands at `T_reference_marker`."""
        T = invert_rigid(T_reference_marker @ self.T_marker_camera)
        return self.project(np.atleast_2d(points_mm) @ T[:3, :3].T + T[:3, 3])

    def to_json(self) -> dict[str, Any]:
        """The content of camera.json."""
        return {
            "kind": KIND,
            "matrix": self.matrix.tolist(),
            "distortion": self.distortion.tolist(),
            "size_px": list(self.size),
            "T_marker_camera": self.T_marker_camera.tolist(),
            "lens_rms_px": self.lens_rms_px,
            "error_px": self.error_px,
            "views": self.views,
            "made_at": self.made_at,
        }


def write_camera(path: Path, model: CameraModel) -> None:
    """Write camera.json with its checksum."""
    write_json(path, sealed(model.to_json()))


def read_camera(path: Path) -> CameraModel:
    """Read camera.json. Raises InputError for nonsense, GateRefusedError for one that was altered."""
    content = read_json(path)
    if content.get("kind") != KIND:
        raise InputError(f"{path}: is no camera calibration")
    require_untouched(content, path)
    try:
        return _model(content, path)
    except (KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: {fault} is missing or wrong") from None


def _model(content: Mapping[str, Any], path: Path) -> CameraModel:
    matrix = np.array(content["matrix"], dtype=np.float64).reshape(3, 3)
    distortion = np.array(content["distortion"], dtype=np.float64).reshape(COEFFICIENTS)
    T = np.array(content["T_marker_camera"], dtype=np.float64).reshape(4, 4)
    width, height = (int(v) for v in content["size_px"])
    if not (np.isfinite(matrix).all() and np.isfinite(distortion).all() and matrix[0, 0] > 0 < matrix[1, 1]):
        raise InputError(f"{path}: the camera matrix is no camera's")
    if rigidity_fault(T) is not None or min(width, height) < 1:
        raise InputError(f"{path}: T_marker_camera or size_px is none")
    return CameraModel(
        matrix,
        distortion,
        (width, height),
        T,
        float(content["lens_rms_px"]),
        float(content["error_px"]),
        int(content["views"]),
        str(content.get("made_at", "")),
    )
