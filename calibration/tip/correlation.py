"""How many independent ones successive residuals are worth: a hand's tremor and a creeping tip outlast a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A correlation below this many standard errors is what independent residuals show too: the sum ends there.
SIGNIFICANT_SIGMAS = 2.0
# Correlations over more than this share of the record come from too few repeats to be estimated.
LONGEST_LAG_SHARE = 1.0 / 6.0
# Below this share nothing is known but that the residuals are one slow drift.
LEAST_SHARE = 0.005


def independent_share(residuals: NDArray[np.float64]) -> float:
    """Share of the residuals (n, components), in order of time, that counts as independent: 1 for white noise.

    The inverse of 1 + 2 sum of the autocorrelations, summed over the first positive and significant lags
    (initial positive sequence, Geyer 1992, doi:10.1214/ss/1177011137).
    """
    centred = residuals - residuals.mean(axis=0)
    n, components = centred.shape
    power = float((centred**2).sum())
    if power == 0.0:
        return 1.0
    limit = SIGNIFICANT_SIGMAS / np.sqrt(n * components)
    total = 1.0
    for lag in range(1, int(LONGEST_LAG_SHARE * n) + 1):
        correlation = float((centred[lag:] * centred[:-lag]).sum()) / power
        if correlation < limit:
            break
        total += 2.0 * correlation
    return max(1.0 / total, LEAST_SHARE)
