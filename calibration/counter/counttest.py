"""Exact statistics of counts: intervals of a rate, comparison of two rates, dispersion, slow drift.

Intervals after Garwood (1936), doi:10.1093/biomet/28.3-4.437; two Poisson rates are compared given their sum
(Przyborowski & Wilenski 1940, doi:10.1093/biomet/31.3-4.313); the drift rule is Page's CUSUM (1954).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

Z95 = 1.959963984540054
# Page's rule: drifts of one standard deviation are looked for, and a false alarm comes once in 465 checks.
CUSUM_SLACK, CUSUM_LIMIT = 0.5, 5.0


def rate_interval(counts: float, exposure: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a Poisson rate from `counts` in `exposure` > 0 (s, or s times anything)."""
    from scipy.stats import chi2

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if counts <= 0 else float(chi2.ppf(tail, 2.0 * counts)) / 2.0
    high = float(chi2.ppf(1.0 - tail, 2.0 * counts + 2.0)) / 2.0
    return low / exposure, high / exposure


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts over a live time in s; `dispersion` is their variance over Poisson's, never below 1."""

    counts: float
    live_s: float
    dispersion: float = 1.0

    @property
    def rate_cps(self) -> float:
        """Counts per second."""
        return self.counts / self.live_s

    @property
    def ci95_cps(self) -> tuple[float, float]:
        """Exact 95 % interval of the rate, with fewer effective counts where they scatter too much."""
        return rate_interval(self.counts / self.dispersion, self.live_s / self.dispersion)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rates: second over first with its 95 % interval, and how surprising a rise is in sigma."""

    ratio: float | None
    ratio_ci95: tuple[float, float | None]
    p_rise: float
    p_different: float

    @property
    def sigma(self) -> float:
        """The rise's one-sided significance as standard deviations of a normal distribution; negative = fall."""
        from scipy.stats import norm

        return float(norm.isf(min(max(self.p_rise, 1e-300), 1.0 - 1e-16)))


def compare(first: Counted, second: Counted, expected_ratio: float = 1.0) -> Comparison:
    """Whether `second` counts faster than `expected_ratio` (decay) times `first`: binomial given the sum.

    Counts that scatter more than Poisson's enter as that many fewer.
    """
    from scipy.stats import beta, binom

    dispersion = max(first.dispersion, second.dispersion, 1.0)
    a, b = first.counts / dispersion, second.counts / dispersion
    odds = expected_ratio * second.live_s / first.live_s
    share = odds / (1.0 + odds)
    n, k = round(a + b), round(b)
    rise = float(binom.sf(k - 1, n, share))
    fall = float(binom.cdf(k, n, share))
    low = 0.0 if b <= 0 else float(beta.ppf(0.025, b, a + 1.0))
    high = 1.0 if a <= 0 else float(beta.ppf(0.975, b + 1.0, a))
    per_odds = first.live_s / second.live_s
    top = None if high >= 1.0 else high / (1.0 - high) * per_odds
    ratio = None if a <= 0 else b / a * per_odds
    return Comparison(ratio, (low / (1.0 - low) * per_odds, top), rise, min(1.0, 2.0 * min(rise, fall)))


def overdispersed_p(counts: float, expected: float, relative_sd: float) -> float:
    """Two-sided p of `counts` where `expected` itself is known to `relative_sd` only: a gamma mixture of Poissons."""
    from scipy.stats import nbinom, poisson

    if relative_sd <= 0.0:
        low, high = poisson.cdf(counts, expected), poisson.sf(counts - 1, expected)
    else:
        shape = 1.0 / relative_sd**2
        share = shape / (shape + expected)
        low, high = nbinom.cdf(counts, shape, share), nbinom.sf(counts - 1, shape, share)
    return min(1.0, 2.0 * float(min(low, high)))


def dispersion(counts: ArrayLike, expected: ArrayLike, fitted: int = 1) -> tuple[float, float]:
    """Pearson's chi2 per degree of freedom of counts (n,) about `expected` (n,), and its upper-tail p.

    `fitted` parameters were taken from the same counts. (1, 1) where nothing is left to judge.
    """
    from scipy.stats import chi2

    seen, mean = np.asarray(counts, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    dof = len(seen) - fitted
    if dof < 1 or not mean.sum() > 0:
        return 1.0, 1.0
    value = float(np.sum((seen - mean) ** 2 / np.maximum(mean, 1e-9)))
    return value / dof, float(chi2.sf(value, dof))


def counted(counts: ArrayLike, live_s: ArrayLike, fewest: int = 10) -> Counted:
    """A series of windows (n,) as one count; its scatter is told where `fewest` windows of 5 counts let it be seen."""
    seen, live = np.asarray(counts, dtype=np.float64), np.asarray(live_s, dtype=np.float64)
    total, time = float(seen.sum()), float(live.sum())
    block = max(1, math.ceil(5.0 * len(seen) / max(total, 1.0)))
    edges = np.arange(0, len(seen) - block + 1, block)
    sums, times = np.add.reduceat(seen, edges), np.add.reduceat(live, edges)
    if len(edges) < fewest:
        return Counted(total, time)
    scatter, p = dispersion(sums, total * times / time)
    return Counted(total, time, max(scatter, 1.0) if p < 0.01 else 1.0)


def cusum(
    deviations: Sequence[float], slack: float = CUSUM_SLACK, limit: float = CUSUM_LIMIT
) -> tuple[list[float], list[float], int | None]:
    """Upper and lower sums after each deviation (in standard deviations), and the first index beyond `limit`."""
    up, down, first = [0.0], [0.0], None
    for i, value in enumerate(deviations):
        up.append(max(0.0, up[-1] + value - slack))
        down.append(max(0.0, down[-1] - value - slack))
        if first is None and max(up[-1], down[-1]) > limit:
            first = i
    return up[1:], down[1:], first
