"""Cutting planes through volumes with numpy alone: what the report's pictures and the window's slices share.

Points are millimetres in the frame of the volume's grid; arrays are k-j-i as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.volume import VoxelGrid

# Below this length two directions are parallel for drawing purposes: an axis is then chosen freely.
PARALLEL_LENGTH = 1e-6


def unit(vector: ArrayLike) -> NDArray[np.float64]:
    """The vector (3,) at length 1; ValueError when it has no direction."""
    v = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(v))
    if not length > PARALLEL_LENGTH:
        raise ValueError("a vector without a direction")
    return np.asarray(v / length)


def across(axis: ArrayLike, hint: ArrayLike | None = None) -> NDArray[np.float64]:
    """A unit vector (3,) at right angles to `axis`: `hint` made perpendicular, else the least parallel frame axis."""
    w = unit(axis)
    if hint is not None:
        h = np.asarray(hint, dtype=np.float64)
        rest = h - w * float(h @ w)
        if float(np.linalg.norm(rest)) > PARALLEL_LENGTH:
            return unit(rest)
    h = np.eye(3)[int(np.argmin(np.abs(w)))]
    return unit(h - w * float(h @ w))


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A picture plane: its middle (3,) in mm and the unit directions (3,) of picture right and picture down."""

    centre_mm: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector (3,) from the viewer into the picture."""
        return np.cross(self.right, self.down)

    def points(self, half_mm: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Pixel centres (rows, columns, 3) of a picture that reaches half_mm (across, down) from the middle."""
        rows, columns = shape
        x = ((np.arange(columns) + 0.5) / columns * 2.0 - 1.0) * half_mm[0]
        y = ((np.arange(rows) + 0.5) / rows * 2.0 - 1.0) * half_mm[1]
        return np.asarray(self.centre_mm + x[None, :, None] * self.right + y[:, None, None] * self.down)

    def project(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """(n, 3) of points (n, 3): mm right of the middle, mm below it, mm behind the plane."""
        offset = np.atleast_2d(np.asarray(points_mm, dtype=np.float64)) - self.centre_mm
        return np.asarray(offset @ np.stack([self.right, self.down, self.normal], axis=1))


def nearest(
    array: NDArray[np.float32], grid: VoxelGrid, points_mm: NDArray[np.float64], outside: float
) -> NDArray[np.float32]:
    """The voxel that holds each point (..., 3); `outside` where there is none. For volumes with a sentinel."""
    index = np.rint(grid.index_of(points_mm.reshape(-1, 3))).astype(np.int64)
    inside = ((index >= 0) & (index < np.asarray(grid.size))).all(axis=1)
    flat = np.full(len(index), outside, dtype=np.float32)
    i, j, k = index[inside].T
    flat[inside] = array[k, j, i]
    return flat.reshape(points_mm.shape[:-1])


def linear(
    array: NDArray[np.float32], grid: VoxelGrid, points_mm: NDArray[np.float64], outside: float
) -> NDArray[np.float32]:
    """Trilinear values at points (..., 3); `outside` beyond the outermost voxel centres."""
    index = grid.index_of(points_mm.reshape(-1, 3))
    inside = ((index >= 0.0) & (index <= np.asarray(grid.size) - 1.0)).all(axis=1)
    flat = np.full(len(index), outside, dtype=np.float32)
    low = np.floor(index[inside]).astype(np.int64)
    low = np.minimum(low, np.maximum(np.asarray(grid.size) - 2, 0))
    part = (index[inside] - low).astype(np.float32)
    flat[inside] = _blend(array, low, part)
    return flat.reshape(points_mm.shape[:-1])


def _blend(
    array: NDArray[np.float32], low: NDArray[np.int64], part: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weighted sum over the eight corners of each cell (n, 3) of lower indices i, j, k."""
    flat = array.ravel()
    ny, nx = array.shape[1:]
    steps = [int(n > 1) for n in array.shape[::-1]]
    first = (low[:, 2] * ny + low[:, 1]) * nx + low[:, 0]
    i, j, k = part.T
    total = np.zeros(len(low), dtype=np.float32)
    for a, b, c in np.ndindex(2, 2, 2):
        weight = (i if a else 1.0 - i) * (j if b else 1.0 - j) * (k if c else 1.0 - k)
        total += weight * flat[first + ((c * steps[2] * ny + b * steps[1]) * nx + a * steps[0])]
    return total
