"""What a bed's check is compared with: the scan before the resection, and the usual rules on one-second counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.bed import Bed, Residual
from navigation.reconstruction.live import ScanState

Array = NDArray[np.float64]

# Activity before the resection is counted within this distance of the later bed.
BEFORE_REACH_MM = 25.0
Z95 = 1.96


def classical_rules(
    state: ScanState, bed: Bed, before: ScanState | None, before_decay: float = 1.0
) -> dict[str, bool | None]:
    """What the usual rules would have called, on one-second counts near the bed; True = positive.

    A hottest count before that was saturated is no figure to take a tenth of: None.
    """
    rate, near, background = near_seconds(state, bed)
    if not near.any():
        return {"ratio_1_5": None, "three_sigma": None, "ten_percent": None}
    top = float(rate[near].max())
    ten = None
    if before is not None and not before.problem.data.n_saturated:
        hottest = float(near_seconds(before, bed)[0].max()) - background
        ten = (top - background) > 0.1 * before_decay * hottest if hottest > 0 else None
    return {
        "ratio_1_5": top > 0 and top >= 1.5 * background,
        "three_sigma": top > background + 3.0 * float(np.sqrt(max(background, 1.0))),
        "ten_percent": ten,
    }


def removed_of(
    before: ScanState, bed: Bed, residuals: tuple[Residual, ...], decay: float
) -> tuple[float, tuple[float, float]]:
    """Activity near the bed before, less what is suspected now; both at the same reference time."""
    tree = cKDTree(bed.points_mm)
    gone, variance = 0.0, 0.0
    for spot in before.result.spots:
        near = float(tree.query(spot.position_mm)[0]) - spot.extent_mm / 2.0
        if spot.quality == "unusable" or near > BEFORE_REACH_MM:
            continue
        gone += decay * spot.activity_kbq
        variance += decay**2 * ((spot.activity_ci95_kbq[1] - spot.activity_ci95_kbq[0]) / (2 * Z95)) ** 2
    for residual in residuals:
        gone -= residual.activity_kbq
        variance += ((residual.ci95_kbq[1] - residual.ci95_kbq[0]) / (2 * Z95)) ** 2
    half = Z95 * float(np.sqrt(variance))
    return gone, (gone - half, gone + half)


def near_seconds(state: ScanState, bed: Bed) -> tuple[Array, NDArray[np.bool_], float]:
    """Rates (k,) in cps over consecutive seconds, whether the probe was near the bed in each, and their median."""
    readings = state.problem.readings
    second = np.floor(readings.t_s - readings.t_s[0]).astype(np.int64)
    live = np.bincount(second, readings.live_s)
    counts = np.bincount(second, state.problem.data.lowest)
    distance = cKDTree(bed.points_mm).query(readings.mid_poses[:, :3, 3])[0]
    full = live >= 0.5
    near = np.bincount(second, distance) / np.maximum(np.bincount(second), 1) <= BEFORE_REACH_MM
    rate = counts[full] / live[full]
    return rate, near[full], float(np.median(rate)) if len(rate) else 0.0
