"""What is known on one grid, taken over to another: each voxel takes the nearest one, outside nothing is known."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.volume import NOT_EXAMINED, ActivityMap, VoxelGrid

Array = NDArray[np.float64]


def values_at(volume: NDArray[np.float32], grid: VoxelGrid, points_mm: Array, outside: float) -> Array:
    """Values (n,) of a volume k-j-i at points (n, 3), `outside` its grid where they are."""
    index = np.rint(grid.index_of(points_mm)).astype(np.int64)
    inside = ((index >= 0) & (index < np.array(grid.size))).all(axis=1)
    i, j, k = index[inside].T
    out = np.full(len(points_mm), outside)
    out[inside] = volume[k, j, i]
    return out


def regridded(found: ActivityMap, grid: VoxelGrid) -> ActivityMap:
    """The map on another grid; voxels beyond its own are not examined."""
    points = grid.points()
    arrays: dict[str, Any] = {}
    for field in fields(ActivityMap):
        volume = getattr(found, field.name)
        if not isinstance(volume, np.ndarray):
            continue
        outside = 0.0 if field.name in ("activity", "examined") else NOT_EXAMINED
        values = values_at(volume.astype(np.float32), found.grid, points, outside)
        arrays[field.name] = values.astype(volume.dtype).reshape(grid.shape)
        arrays[field.name].setflags(write=False)
    return replace(found, grid=grid, **arrays)
