"""The field of view that a scan itself defines: where the probe looked, as a box, a grid and its tissue voxels.

Boxes snap to coarse steps, so that the field grows rarely while the scan goes on and depends on the readings
alone, not on when it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.surface import TissueMap
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]

# How deep the probe is taken to look along its axis, how wide beside it, and the step the box snaps to.
LOOK_DEPTH_MM, LOOK_ASIDE_MM, SNAP_MM = 55.0, 18.0, 15.0
VOXEL_MM = 3.0
# A voxel belongs to the patient when at least half of it is tissue.
TISSUE_SHARE = 0.5
# Every second voxel along each axis carries the search for sources: 6 mm, finer than the probe resolves.
SEARCH_STEP = 2


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Grid of the map, the flat indices (m,) of its tissue voxels, their centres (m, 3), and the search subset."""

    grid: VoxelGrid
    active: NDArray[np.intp]
    points_mm: Array
    search: NDArray[np.intp]  # into `active`

    def volume(self, values: Array, fill: float) -> NDArray[np.float32]:
        """Values (m,) of the active voxels as an array (nz, ny, nx), `fill` elsewhere."""
        out = np.full(int(np.prod(self.grid.shape)), fill, dtype=np.float32)
        out[self.active] = values
        return out.reshape(self.grid.shape)


def box_of(tip_poses: Array) -> tuple[Array, Array]:
    """Corners (3,), (3,) of what poses (p, 4, 4) look at, snapped outwards."""
    tips, axes = tip_poses[:, :3, 3], tip_poses[:, :3, 2]
    ends = np.concatenate([tips, tips + LOOK_DEPTH_MM * axes])
    return snapped(ends.min(axis=0), ends.max(axis=0))


def snapped(low_mm: Array, high_mm: Array) -> tuple[Array, Array]:
    """The box round everything that was looked at, between corners (3,), with its margin and snapped outwards."""
    low = np.floor((low_mm - LOOK_ASIDE_MM) / SNAP_MM) * SNAP_MM
    high = np.ceil((high_mm + LOOK_ASIDE_MM) / SNAP_MM) * SNAP_MM
    return low, high


def field_in(low_mm: Array, high_mm: Array, tissue: TissueMap) -> Field:
    """The grid over a box and its voxels in tissue."""
    nx, ny, nz = (int(n) for n in np.round((high_mm - low_mm) / VOXEL_MM))
    grid = VoxelGrid.aligned(low_mm + VOXEL_MM / 2, VOXEL_MM, (nx, ny, nz))
    points = grid.points()
    active = np.flatnonzero(tissue.at(points) >= TISSUE_SHARE)
    k, j, i = np.unravel_index(active, grid.shape)
    search = np.flatnonzero((i % SEARCH_STEP == 0) & (j % SEARCH_STEP == 0) & (k % SEARCH_STEP == 0))
    return Field(grid, active, points[active], search)
