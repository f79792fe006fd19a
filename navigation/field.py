"""The field of view that a scan itself defines: where the probe looked, as a box, a grid and its tissue voxels.

Boxes snap to coarse steps, so that the field grows rarely while the scan goes on and depends on the readings
alone, not on when it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.surface import TissueMap
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]

# How deep the probe is taken to look along its axis, how wide beside it, and the step the box snaps to.
LOOK_DEPTH_MM, LOOK_ASIDE_MM, SNAP_MM = 55.0, 18.0, 15.0
# Voxels of the map: this size, finer where the field is small, coarser where it is so large that a tick would suffer.
VOXEL_MM, FINE_VOXELS_MM, COARSE_VOXEL_MM = 3.0, (1.5, 2.0), 4.0
# Voxels of the box up to which a finer size is taken, and beyond which the coarser one.
MOST_FINE_VOXELS, MOST_VOXELS = 64_000, 160_000
# Sizes a case may ask for, and the voxels it may have altogether: at 20,000 readings their rows fill the memory.
SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM, MOST_FIXED_VOXELS = 1.5, 4.0, 250_000
# A voxel belongs to the patient when at least half of it is tissue.
TISSUE_SHARE = 0.5
# Voxels by which a box may be too short and still be covered: sizes in mm are rarely exact in binary.
ROUNDING = 1e-6
# Spacing of the voxels that carry the search for sources, at most: finer than the probe resolves.
SEARCH_MM = 6.0


@dataclass(frozen=True, slots=True)
class MapGrid:
    """What a case fixes of the map's grid: voxel in mm, corners of its box in Reference; None: as the scan goes."""

    voxel_mm: float | None = None
    low_mm: tuple[float, float, float] | None = None
    high_mm: tuple[float, float, float] | None = None

    def box(self, low_mm: Array, high_mm: Array) -> tuple[Array, Array]:
        """The fixed box, else the one given."""
        if self.low_mm is None or self.high_mm is None:
            return low_mm, high_mm
        return np.array(self.low_mm), np.array(self.high_mm)

    def voxel_in(self, low_mm: Array, high_mm: Array) -> float:
        """The fixed voxel, else one that suits the box; so is one too fine for a box that grew with the scan."""
        fixed = self.voxel_mm
        if fixed is None or np.prod(sizes_of(low_mm, high_mm, fixed)) > MOST_FIXED_VOXELS:
            return voxel_for(low_mm, high_mm)
        return fixed

    def to_json(self) -> dict[str, Any]:
        """As it stands in a record."""
        return {"voxel_mm": self.voxel_mm, "low_mm": self.low_mm, "high_mm": self.high_mm}

    @staticmethod
    def from_json(found: Mapping[str, Any] | None) -> MapGrid:
        """What `to_json` wrote; None of records before it. Raises KeyError or TypeError when it is neither."""
        if found is None:
            return AUTOMATIC
        low, high = (None if found[k] is None else (*map(float, found[k]),) for k in ("low_mm", "high_mm"))
        return MapGrid(found["voxel_mm"], low, high)  # type: ignore[arg-type]


AUTOMATIC = MapGrid()


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


def voxel_for(low_mm: Array, high_mm: Array) -> float:
    """Size in mm that suits a box: a function of its size alone."""
    for voxel_mm in FINE_VOXELS_MM:
        if np.prod(sizes_of(low_mm, high_mm, voxel_mm)) <= MOST_FINE_VOXELS:
            return voxel_mm
    return VOXEL_MM if np.prod(sizes_of(low_mm, high_mm, VOXEL_MM)) <= MOST_VOXELS else COARSE_VOXEL_MM


def sizes_of(low_mm: Array, high_mm: Array, voxel_mm: float) -> tuple[int, int, int]:
    """Voxels along x, y, z that cover a box."""
    nx, ny, nz = (int(n) for n in np.ceil((high_mm - low_mm) / voxel_mm - ROUNDING))
    return nx, ny, nz


def field_in(low_mm: Array, high_mm: Array, tissue: TissueMap, voxel_mm: float = VOXEL_MM) -> Field:
    """The grid over a box, centred on it, and its voxels in tissue."""
    size = sizes_of(low_mm, high_mm, voxel_mm)
    beyond = (np.array(size) * voxel_mm - (high_mm - low_mm)) / 2
    grid = VoxelGrid.aligned(low_mm - beyond + voxel_mm / 2, voxel_mm, size)
    step = max(int(SEARCH_MM // voxel_mm), 1)
    points = grid.points()
    active = np.flatnonzero(tissue.at(points) >= TISSUE_SHARE)
    k, j, i = np.unravel_index(active, grid.shape)
    search = np.flatnonzero((i % step == 0) & (j % step == 0) & (k % step == 0))
    return Field(grid, active, points[active], search)
