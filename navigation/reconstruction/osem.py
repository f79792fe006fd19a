"""Ordered-subsets EM over all readings: the final map is a pure function of them.

Hudson & Larkin 1994 (DOI 10.1109/42.363108) on list-mode rows. Subsets are interleaved in time, so each sees the
whole path; the schedule depends on the number of readings alone, which is what makes a replay exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import DeadTime
from navigation import _core
from navigation.likelihood import Counts
from navigation.projector import THREADS
from navigation.reconstruction.rowstore import RowStore

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# One subset per this many readings, and never more than so many: small subsets of few counts cycle.
READINGS_PER_SUBSET, MOST_SUBSETS = 25, 8
PASSES = 4
# Weight of the gamma prior (mean: the uniform level) as a share of the sensitivity of well-seen voxels. Plain EM
# fills voxels that a few rows graze with noise; those stay at the level instead.
PRIOR_SHARE, WELL_SEEN_QUANTILE = 0.05, 0.90


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What the rows of a store counted, as the kernels take it: (n,) each; a silent row has no live time."""

    counts: Array32
    live: Array32
    saturated: NDArray[np.uint8]
    dead_time: DeadTime

    @staticmethod
    def of(data: Counts, silent: NDArray[np.bool_] | None = None) -> Told:
        """Of the data; what is doubtful says nothing, nor what is `silent` (n,)."""
        quiet = data.doubtful if silent is None else silent
        counts, live = data.lowest.astype(np.float32), data.live_s.astype(np.float32)
        if quiet is not None:
            counts, live = np.where(quiet, np.float32(0), counts), np.where(quiet, np.float32(0), live)
        return Told(counts, live, data.censored.astype(np.uint8), data.dead_time)


def osem(store: RowStore, data: Counts | Told, start: Array, passes: int = PASSES) -> Array:
    """Activities (width,) after `passes` over the data from a positive start (width,), which is the prior's mean."""
    subsets = int(np.clip(len(store) // READINGS_PER_SUBSET, 1, MOST_SUBSETS))
    x, prior = store.padded(start), store.padded(start)
    told = data if isinstance(data, Told) else Told.of(data)
    dead, sensitivity = told.dead_time, store.back_project(told.live)
    strength = PRIOR_SHARE * float(np.quantile(sensitivity[: store.width - 1], WELL_SEEN_QUANTILE)) / subsets
    # Without dead time a subset's sensitivity does not depend on the image.
    seen, lasting = np.empty((subsets, store.stride), dtype=np.float32), dead.tau_s == 0.0
    for done in range(passes):
        for subset in _spread(subsets):
            _core.em_subset(
                store.packed,
                store.scales,
                told.counts,
                told.live,
                told.saturated,
                dead.tau_s,
                dead.paralysable,
                dead.saturated_rate_cps,
                subset,
                subsets,
                prior,
                strength,
                x,
                seen[subset],
                THREADS,
                lasting and done > 0,
            )
    return x[: store.width].astype(np.float64)


def _spread(subsets: int) -> list[int]:
    """An order in which consecutive subsets lie far apart."""
    half = (subsets + 1) // 2
    return [i // 2 + (i % 2) * half for i in range(subsets) if i // 2 + (i % 2) * half < subsets]
