"""Two volumes at full resolution: where their agreement is highest, and the error to expect of that at each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagemetric import (
    CORRELATION,
    MUTUAL_INFORMATION,
    Agreement,
    Moving,
    draw,
    smoothed,
)
from navigation.registration.imagepeak import Peak, climb
from navigation.registration.imagesearch import FINE_POINTS, End, mapped
from navigation.registration.imagevolume import ImageVolume
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# Parts of an emission image err together, since uptake is not anatomy: set after the PET/CT pair of the tests, where
# the scatter alone told half of the true error.
SCATTER_FACTOR = {CORRELATION: 1.0, MUTUAL_INFORMATION: 2.0}
# What interpolation leaves, in voxels of the coarser image.
VOXEL_SHARE = {CORRELATION: 0.1, MUTUAL_INFORMATION: 0.25}
# Corners of a box round a body lie in the air: these are about where its skin is.
CORNER_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two volumes with their agreement at full resolution."""

    fixed: ImageVolume
    moving: ImageVolume
    agreement: Agreement
    voxel_mm: float

    @staticmethod
    def of(fixed: ImageVolume, moving: ImageVolume, kind: str) -> Pair:
        """The agreement on many points, each image as fine as the coarser allows."""
        finest = (float(fixed.grid.spacing_mm.max()), float(moving.grid.spacing_mm.max()))
        sampling = draw(fixed, smoothed(fixed, finest[1]), FINE_POINTS)
        return Pair(fixed, moving, Agreement(sampling, smoothed(moving, finest[0]), kind), max(finest))

    @property
    def step_mm(self) -> float:
        """Distance at which the peak's shape is felt out: half a voxel, but above the noise of fine ones."""
        return max(1.0, 0.5 * self.voxel_mm)

    def against(self, other: ImageVolume) -> Agreement:
        """The agreement of another moving volume at the same points."""
        view: Moving = smoothed(other, float(self.fixed.grid.spacing_mm.max()))
        return Agreement(self.agreement.sampling, view, self.agreement.kind)

    def predicted(self, peak: Peak, targets_mm: Array) -> Array:
        """(k,) RMS error at targets (k, 3) in MOVING: scatter over halves of the body, and interpolation."""
        kind = self.agreement.kind
        moved = [mapped(invert_rigid(other), targets_mm) for other in peak.others]
        away = np.array(moved) - mapped(invert_rigid(peak.T_moving_fixed), targets_mm)
        scatter = SCATTER_FACTOR[kind] ** 2 * (away**2).sum(axis=2).mean(axis=0)
        return np.asarray(np.sqrt(scatter + (VOXEL_SHARE[kind] * self.voxel_mm) ** 2))


def highest(pair: Pair, ends: Sequence[End]) -> Peak:
    """The highest of the tops above the ends at full resolution."""
    first = max(ends, key=lambda e: pair.agreement.at(e.T_moving_fixed))
    return climb(pair.agreement, first.T_moving_fixed, pair.step_mm)


def overlap_corners(fixed: ImageVolume, moving: ImageVolume, T_fixed_moving: Array) -> Array:
    """(8, 3) corners, in MOVING, of a box in that part of its body which FIXED shows, CORNER_SHARE in from each end."""
    mask, grid = moving.body
    points = np.argwhere(mask)[:, ::-1] @ grid.matrix[:3, :3].T + grid.origin_mm
    index = fixed.grid.index_of(mapped(T_fixed_moving, points))
    inside = ((index >= -0.5) & (index <= np.array(fixed.grid.size) - 0.5)).all(axis=1)
    seen = points[inside] if inside.any() else points
    ends = np.quantile(seen, [CORNER_SHARE, 1.0 - CORNER_SHARE], axis=0)
    return np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a, b, c in np.ndindex(2, 2, 2)])
