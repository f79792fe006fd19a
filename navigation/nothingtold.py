"""Scans that tell nothing: no map, however it looks, may be drawn of a probe that did not count.

Their result keeps its form and says "not examined" everywhere, with the cause.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from navigation.likelihood import Counts
from navigation.volume import NOT_EXAMINED, ActivityMap, ScanResult

# Any probe in any room counts more than this in a scan.
FEWEST_COUNTS = 10
# Samples that are more than lower bounds and that a scan needs: as many as any map needs.
FEWEST_PLAIN = 10


def why_nothing(data: Counts) -> str | None:
    """Why nothing can be said from these counts; None where something can."""
    total = float(data.counts.sum())
    if total < FEWEST_COUNTS:
        return f"only {total:.0f} counts in the whole scan: is the probe working?"
    plain = len(data.counts) - data.n_saturated
    if data.n_saturated and plain < FEWEST_PLAIN:
        return f"the counter was saturated throughout: {plain} of {len(data.counts)} samples are more than a bound"
    return None


def unexamined(shown: ActivityMap) -> ActivityMap:
    """The same map with nothing on it: not examined anywhere."""
    nothing = np.zeros_like(shown.activity)
    unseen = np.full_like(shown.mda_kbq, NOT_EXAMINED)
    nowhere = np.zeros_like(shown.examined)
    for array in (nothing, unseen, nowhere):
        array.setflags(write=False)
    return replace(
        shown, activity=nothing, relative_sd=unseen, mda_kbq=unseen, upper_limit_kbq=unseen, examined=nowhere
    )


def silenced(result: ScanResult, data: Counts) -> ScanResult:
    """The result without map and foci where nothing can be said; else as it is."""
    if why_nothing(data) is None:
        return result
    return replace(result, map=unexamined(result.map), spots=())
