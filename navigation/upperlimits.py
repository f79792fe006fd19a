"""Upper limits of activity voxel by voxel: what may be hidden beyond the model, and what the found foci may hold.

Beyond the model a voxel has the one-sided limit of its score; inside the 95 % region of a focus that focus's own
upper bound is added, since it may lie there. The calibration's common error widens all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import JointFit

Array = NDArray[np.float64]

# One-sided confidence of the published limits, and its quantile of the normal distribution.
CONFIDENCE, Z_CONFIDENCE = 0.95, 1.6449
# 95 % of a normal place in three dimensions: chi2(3).
REGION = 7.815
# Smallest standard deviation of a place in mm that a limit reckons with: tip calibration, tracking, axis and surface.
LEAST_SD_MM = 0.7
# A factor of a million says that nothing is known; beyond it single precision overflows.
WIDEST_LOG = float(np.log(1e6))


@dataclass(frozen=True, slots=True, eq=False)
class FocusBound:
    """Where a fitted focus may lie, covariance (3, 3) mm2 and radius of its extent, and the most it may hold."""

    position_mm: Array
    covariance_mm2: Array
    radius_mm: float
    upper_kbq: float

    def holds(self, points_mm: Array) -> NDArray[np.bool_]:
        """Which points (m, 3) its activity may be at."""
        offset = points_mm - self.position_mm
        distance = np.linalg.norm(offset, axis=1)
        beyond = np.maximum(distance - self.radius_mm, 0.0) / np.maximum(distance, 1e-9)
        offset = offset * beyond[:, None]
        inside: NDArray[np.bool_] = (
            np.einsum("nd,de,ne->n", offset, np.linalg.inv(self.covariance_mm2), offset) <= REGION
        )
        return inside


def bounds_of(fit: JointFit) -> tuple[FocusBound, ...]:
    """Of every source of a fit, significant or not: what a source explains the voxels no longer show."""
    return tuple(_bound(fit, index) for index in range(len(fit.sources)))


def _bound(fit: JointFit, index: int) -> FocusBound:
    source, block = fit.sources[index], fit.block(index)
    log_sd = float(np.sqrt(max(block[3, 3], 0.0)))
    upper = source.activity_kbq * float(np.exp(min(Z_CONFIDENCE * log_sd, WIDEST_LOG)))
    covariance = (block[:3, :3] + block[:3, :3].T) / 2 + LEAST_SD_MM**2 * np.eye(3)
    return FocusBound(source.position_mm, covariance, source.radius_mm, upper)


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
