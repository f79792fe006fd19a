"""Ordered-subsets EM over all readings so far: the published map is a pure function of them.

Hudson & Larkin 1994 (DOI 10.1109/42.363108) on list-mode rows. Subsets are interleaved in time, so each sees the
whole path; the schedule depends on the number of readings alone, which is what makes a replay exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation import _core
from navigation.likelihood import Counts
from navigation.projector import THREADS
from navigation.reconstruction.rowstore import RowStore

Array = NDArray[np.float64]

# One subset per this many readings, and never more than so many: small subsets of few counts cycle.
READINGS_PER_SUBSET, MOST_SUBSETS = 25, 8
PASSES = 4
# Weight of the gamma prior (mean: the uniform level) as a share of the sensitivity of well-seen voxels. Plain EM
# fills voxels that a few rows graze with noise; those stay at the level instead.
PRIOR_SHARE, WELL_SEEN_QUANTILE = 0.05, 0.90


def osem(store: RowStore, data: Counts, start: Array, passes: int = PASSES) -> Array:
    """Activities (width,) after `passes` over the data from a positive start (width,), which is the prior's mean."""
    subsets = int(np.clip(len(store) // READINGS_PER_SUBSET, 1, MOST_SUBSETS))
    x, prior = store.padded(start), store.padded(start)
    counts, live = data.lowest.astype(np.float32), data.live_s.astype(np.float32)
    saturated, dead = data.censored.astype(np.uint8), data.dead_time
    sensitivity = store.back_project(live)
    strength = PRIOR_SHARE * float(np.quantile(sensitivity[: store.width - 1], WELL_SEEN_QUANTILE)) / subsets
    for _ in range(passes):
        for subset in _spread(subsets):
            _core.em_subset(
                store.packed,
                store.scales,
                counts,
                live,
                saturated,
                dead.tau_s,
                dead.paralysable,
                dead.saturated_rate_cps,
                subset,
                subsets,
                prior,
                strength,
                x,
                sensitivity,
                THREADS,
            )
    return x[: store.width].astype(np.float64)


def _spread(subsets: int) -> list[int]:
    """An order in which consecutive subsets lie far apart."""
    half = (subsets + 1) // 2
    return [i // 2 + (i % 2) * half for i in range(subsets) if i // 2 + (i % 2) * half < subsets]
