"""What it would take to state a threshold on a bed: seconds at each place, as near as the probe was held before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.likelihood import Counts

Array = NDArray[np.float64]

# A probe that is held still tells as much of what lies this near to the place it looks at.
HELD_MM = 6.0
# Readings at a place that the probe looked best at: more than one, since each is lucky.
BEST_SHARE = 0.02
# A scan of a bed takes minutes; what would take longer is out of reach here and now.
LONGEST_S = 900.0
LEAST_INFORMATION = 1e-12


def seconds_at(rows: Array, data: Counts, rate_cps: Array, worst_kbq: Array, threshold_kbq: float) -> Array:
    """(m,) s more at each place of a bed so that `worst_kbq` (m,) comes down to the threshold; 0 where it is below.

    What is open falls with the square root of the time (Currie 1968); a second tells as much as the best ones did that
    looked at the place, or at the places of the bed in the median where none did. inf where nothing is known of it.
    """
    _, weight = data.weights(rate_cps)
    each = rows.astype(np.float64) ** 2 * weight[:, None]
    told = each.sum(axis=0)
    number = max(round(BEST_SHARE * len(each)), 1)
    best = np.sort(each / data.live_s[:, None], axis=0)[-number:].mean(axis=0)
    best = np.maximum(best, np.median(best))
    growth = np.maximum(worst_kbq / threshold_kbq, 1.0) ** 2 - 1.0
    # Of a place that nobody looked at the limit says nothing: it needs what a covered one has.
    known = np.isfinite(worst_kbq)
    typical = np.median(told[known] * (worst_kbq[known] / threshold_kbq) ** 2) if known.any() else np.inf
    lacking = np.where(known, told * np.where(known, growth, 0.0), np.maximum(typical - told, 0.0))
    seconds: Array = lacking / np.maximum(best, LEAST_INFORMATION)
    return seconds


def seconds_altogether(points_mm: Array, seconds: Array) -> float | None:
    """s in all for places (m, 3), held over one after the other; None where that is longer than anyone scans."""
    tree, left, total = cKDTree(points_mm), seconds.copy(), 0.0
    while left.max(initial=0.0) > 0.0:
        worst = int(left.argmax())
        total += float(left[worst])
        if total > LONGEST_S:
            return None
        near = tree.query_ball_point(points_mm[worst], HELD_MM)
        left[near] = np.maximum(left[near] - left[worst], 0.0)
        left[worst] = 0.0
    return total


def words(seconds: float | None) -> str:
    """What is said of it."""
    if seconds is None:
        return f"More than {LONGEST_S / 60.0:.0f} min more would be needed at this distance."
    told = f"{seconds:.0f} s" if seconds < 90.0 else f"{seconds / 60.0:.0f} min"
    return f"About {told} more over these places, as near as before, would be needed."
