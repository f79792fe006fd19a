"""Fast counters: intervals of a millisecond summed to readings of a tenth of a second.

Sums of Poisson counts are Poisson, and a reading follows the probe's path within itself, so nothing is lost
but a hundredfold of rows that would say the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The counters of clinical probes report ten times a second; the path within that is followed in sub-poses.
BIN_S = 0.1
# Intervals of at least half a bin stay as they came: summing two would blur for little.
SHORT_SHARE = 0.5
# Stamps of a counter behind a serial line jitter by some milliseconds without anything being lost.
STAMP_JITTER_S = 0.01
# Sums of many windows and stamps of Unix seconds round by less.
ROUNDING_S = 1e-6


def bins_of(
    t_end_s: ArrayLike, window_s: ArrayLike, final: bool = True, bin_s: float = BIN_S
) -> NDArray[np.int64]:
    """First index of each bin and the end of the last one, (b + 1,), for n intervals in order of time.

    A bin takes intervals as long as they follow each other without a hole and its windows sum to no more than
    `bin_s`; an interval of at least half of that is a bin of its own. Unless `final`, a last bin that later
    intervals may still join is left out. The same intervals give the same bins however they are handed in,
    as long as each call begins where the last one ended.
    """
    end = np.asarray(t_end_s, dtype=np.float64)
    window = np.asarray(window_s, dtype=np.float64)
    short = window < SHORT_SHARE * bin_s
    if not short.any():
        return np.arange(len(end) + 1)
    hole = np.append(True, np.abs(end[1:] - window[1:] - end[:-1]) > STAMP_JITTER_S)
    firsts: list[int] = []
    held_s = 0.0
    for i in range(len(end)):
        joins = short[i] and i > 0 and short[i - 1] and not hole[i]
        if not (joins and held_s + window[i] <= bin_s + ROUNDING_S):
            firsts.append(i)
            held_s = 0.0
        held_s += float(window[i])
    open_end = bool(short[-1]) and held_s < bin_s - ROUNDING_S
    if final or not open_end:
        firsts.append(len(end))
    return np.array(firsts, dtype=np.int64)


def summed(values: ArrayLike, bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums (b,) of values (n,) over the bins (b + 1,)."""
    array = np.asarray(values, dtype=np.float64)[: bins[-1]]
    return np.add.reduceat(array, bins[:-1]) if len(bins) > 1 else np.zeros(0)


def binned(
    t_end_s: ArrayLike, counts: ArrayLike, window_s: ArrayLike, live_s: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The same four columns (b,), one row for each bin of the intervals (n,)."""
    bins = bins_of(t_end_s, window_s)
    end = np.asarray(t_end_s, dtype=np.float64)[bins[1:] - 1]
    return end, summed(counts, bins), summed(window_s, bins), summed(live_s, bins)
