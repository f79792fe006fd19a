"""Upper limits of activity voxel by voxel: what may be hidden beyond the model, and what the found foci may hold.

Beyond the model a voxel has the one-sided limit of its score; inside the 95 % region of a focus that focus's own
upper bound is added, since it may lie there. The calibration's common error widens all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.pointlayer import JointFit, Source

Array = NDArray[np.float64]

# One-sided confidence of the published limits, and its quantile of the normal distribution.
CONFIDENCE, Z_CONFIDENCE = 0.95, 1.6449
# The same share of a normal place in three dimensions: chi2(3).
REGION = 7.815
# Smallest standard deviation of a place in mm that a limit reckons with: tip calibration, tracking, axis and surface.
LEAST_SD_MM = 0.7
# A factor of a million says that nothing is known; beyond it single precision overflows.
WIDEST_LOG = float(np.log(1e6))
# Half of the diagonal of a cube: an organ is the cubes round the points that carry its shape.
HALF_DIAGONAL = 0.87


@dataclass(frozen=True, slots=True, eq=False)
class FocusBound:
    """Where a fitted focus may lie, and the most it may hold.

    `shape_mm` (k, 3) are places of its activity, each with a ball of `radius_mm` (k,) round it; `covariance_mm2` (3, 3)
    is that of the whole, the width of a voxel in it.
    """

    shape_mm: Array
    covariance_mm2: Array
    radius_mm: Array
    upper_kbq: float
    region: float = REGION

    def distance(self, points_mm: Array) -> Array:
        """(m,) mm of points (m, 3) from its activity, 0 within."""
        result: Array = np.linalg.norm(self._away(points_mm), axis=1)
        return result

    def holds(self, points_mm: Array, wider: float = 1.0) -> NDArray[np.bool_]:
        """Which points (m, 3) its activity may be at; of a region whose axes are `wider` times as long, squared."""
        away = self._away(points_mm)
        inside: NDArray[np.bool_] = (
            np.einsum("nd,de,ne->n", away, np.linalg.inv(self.covariance_mm2), away) <= self.region * wider
        )
        return inside

    def _away(self, points_mm: Array) -> Array:
        """(m, 3) mm: the way from the nearest of its activity to points (m, 3)."""
        away, least = np.zeros_like(points_mm), np.full(len(points_mm), np.inf)
        for radius in np.unique(self.radius_mm):
            shape = self.shape_mm[self.radius_mm == radius]
            offset = points_mm - (shape if len(shape) == 1 else shape[cKDTree(shape).query(points_mm)[1]])
            distance = np.sqrt(np.einsum("ni,ni->n", offset, offset))
            beyond = np.maximum(distance - radius, 0.0)
            closer = beyond < least
            way = (beyond / np.maximum(distance, 1e-9))[:, None] * offset
            away[closer], least[closer] = way[closer], beyond[closer]
        return away


def bound_of(reach: tuple[Array, Array], place_mm2: Array, upper_kbq: float, voxel_mm: float) -> FocusBound:
    """Of a source, significant or not: what it explains the voxels no longer show.

    `reach` is as `extent_of` has it, `place_mm2` (3, 3) the covariance of its place, `upper_kbq` the most it may hold;
    the limits are of voxels of `voxel_mm`.
    """
    # A focus between the centres of voxels is in the ones round it.
    own = LEAST_SD_MM**2 + (voxel_mm / 2.0) ** 2
    return FocusBound(reach[0], place_mm2 + own * np.eye(3), reach[1], upper_kbq)


def activity_upper(fit: JointFit, index: int, z_quantile: float = Z_CONFIDENCE) -> float:
    """One-sided upper limit in kBq of one source's activity by the fit's covariance alone."""
    log_sd = float(np.sqrt(max(fit.block(index)[3, 3], 0.0)))
    return fit.sources[index].activity_kbq * float(np.exp(min(z_quantile * log_sd, WIDEST_LOG)))


def extended(source: Source) -> bool:
    """Whether a source has a size: a ball, or an organ of the study."""
    return source.known is not None or source.radius_mm > 0.0


def extent_of(source: Source) -> tuple[Array, Array]:
    """Points (k, 3) in Reference and radii (k,) in mm: its activity is in the balls round these."""
    if source.known is None:
        return source.position_mm[None], np.array([source.radius_mm])
    shape = source.spread()[0]
    return shape, np.full(len(shape), HALF_DIAGONAL * _spacing(shape))


def _spacing(points_mm: Array) -> float:
    """Largest distance in mm of a point (k, 3) from its nearest neighbour; 0 of a lone one."""
    if len(points_mm) < 2:
        return 0.0
    return float(np.asarray(cKDTree(points_mm).query(points_mm, k=2)[0])[:, 1].max())


def total_limit(
    points_mm: Array, hidden_kbq: Array, foci: tuple[FocusBound, ...], systematic_relative_sd: float
) -> Array:
    """Upper limit (m,) in kBq of the activity at points (m, 3) beyond the background.

    `hidden_kbq` (m,) is the limit on what the model does not hold; the calibration's relative standard error is added
    in squares to the room each limit leaves above nothing.
    """
    total: Array = np.asarray(hidden_kbq, dtype=np.float64).copy()
    for focus in foci:
        total[focus.holds(points_mm)] += focus.upper_kbq
    return total * float(np.hypot(1.0, Z_CONFIDENCE * systematic_relative_sd))
