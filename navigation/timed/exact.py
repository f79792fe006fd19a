"""Exact statistics of timed counts: intervals of a rate and of a ratio of two, with dead time and decay.

A rate's interval is Garwood's (1936, doi:10.1093/biomet/28.3-4.437). Two rates are compared given the sum of their
counts (Przyborowski & Wilenski 1940, doi:10.1093/biomet/31.3-4.313): that is binomial, its interval is Clopper and
Pearson's (1934, doi:10.1093/biomet/26.4.404), mapped to a ratio by the exposures. Of a non-paralysable counter
`y` counts in `T` are what a Poisson process gives in a ready time of `T - y tau`, exactly: y or more are recorded if
and only if the y-th event comes within `T - (y - 1) tau` of ready time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from calibration.counter.counttest import rate_interval
from calibration.counter.deadtime import NON_PARALYSABLE, DeadTime
from navigation.timed.count import TimedCount, dead_times, ready_s, scatter

CONFIDENCE = 0.95
# Standard errors on either side of a measured dead time that are held for possible.
DEAD_TIME_Z = 1.96
# A quantile is believed whose probability is the one asked for, to this share.
QUANTILE_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class Rate:
    """Counts per second at the reference time, dead time corrected; None: no bound, or no figure at all."""

    cps: float | None
    low_cps: float
    high_cps: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """First rate over second: None where the second counted nothing or one is saturated; a bound of None is not known.

    `p_more`: that the first counts so much or more while its rate is no higher than the second's; `p_different`:
    two-sided.
    """

    value: float | None
    low: float
    high: float | None
    p_more: float
    p_different: float


def rate_of(count: TimedCount, confidence: float = CONFIDENCE) -> Rate:
    """The rate with its exact interval; of a saturated count only a lower bound."""
    ends = [_rate_ends(count, dead, confidence) for dead in dead_times(count.dead, DEAD_TIME_Z)]
    ready = count.live_s * count.decay
    cps = count.counts / ready if ready > 0.0 else None
    highs = [high for _, high in ends if high is not None]
    high = max(highs) if len(highs) == len(ends) and not count.saturated else None
    return Rate(cps, min(low for low, _ in ends), high)


def _rate_ends(count: TimedCount, dead: DeadTime, confidence: float) -> tuple[float, float | None]:
    spread = scatter(count, dead)
    y, weight = count.counts / spread, count.decay / spread
    if dead.model != NON_PARALYSABLE:
        # The recorded rate is monotone in the true one up to the summit; recorded counts scatter less than Poisson's.
        low, high = rate_interval(
            count.counts / count.dispersion, count.window_s / count.dispersion, confidence
        )
        bottom, top = float(dead.corrected(low)), float(dead.corrected(high))
        # Beyond the summit, as counted is the least.
        bottom = bottom if math.isfinite(bottom) else low
        return bottom / count.decay, top / count.decay if math.isfinite(top) else None
    ready = ready_s(count, dead)
    low, high = rate_interval(y, 1.0, confidence)
    if ready <= 0.0:
        return low / (count.window_s * weight), None  # a dead time that cannot be: as counted is the least
    first = ready + (dead.tau_s if count.counts > 0 else 0.0)
    return low / (first * weight), high / (ready * weight)


def ratio_of(first: TimedCount, second: TimedCount, confidence: float = CONFIDENCE) -> Ratio:
    """First over second, at one reference time, with an interval that has at least this confidence.

    A saturated first has no upper bound, a saturated second no lower one.
    """
    tail = (1.0 - confidence) / 2.0
    lows, highs = zip(*(ratio_ends(first, second, tail, tail, scale) for scale in (-1, 0, 1)), strict=True)
    low = 0.0 if second.saturated else min(lows)
    known = [high for high in highs if high is not None]
    high = None if first.saturated or len(known) < len(highs) else max(known)
    mine, theirs = rate_of(first).cps, rate_of(second).cps
    bound = first.saturated or second.saturated
    value = None if mine is None or not theirs or bound else mine / theirs
    more, less = p_above(first, second, 1.0), p_below(first, second, 1.0)
    return Ratio(value, low, high, more, min(1.0, 2.0 * min(more, less)))


def ratio_ends(
    first: TimedCount, second: TimedCount, tail_low: float, tail_high: float, scale: int = 0
) -> tuple[float, float | None]:
    """Lower and upper bound of first over second with these error probabilities, at one dead time.

    `scale` -1 and 1 take the ends of the interval of the dead time instead of the dead time.
    """
    a, b, exposures = _reduced(first, second, scale)
    if exposures is None:
        return 0.0, None
    low = _odds(a, b + 1.0, tail_low) * exposures if a > 0.0 else 0.0
    return low, exposures / _odds(b, a + 1.0, tail_high) if b > 0.0 else None


def _odds(a: float, b: float, tail: float) -> float:
    """x / (1 - x) at the quantile x of Beta(a, b).

    x and 1 - x are each asked for: one minus the other would lose what a large ratio rests on. Where the library's
    quantile is none (some with b from 3e8 on), the gamma limit is exact to a share of a / b.
    """
    from scipy.special import betainc, betaincc, betainccinv, betaincinv, gammainccinv, gammaincinv

    x, y = float(betaincinv(a, b, tail)), float(betainccinv(b, a, tail))
    got = float(betainc(a, b, x) if a < b else betaincc(b, a, y))
    if abs(got - tail) <= QUANTILE_SLACK * tail:
        return x / y
    return float(gammaincinv(a, tail)) / b if a < b else a / float(gammainccinv(b, tail))


def p_above(first: TimedCount, second: TimedCount, threshold: float) -> float:
    """Probability of so many counts of the first or more while its rate is at most `threshold` times the second's.

    1 where the second is saturated: how much it counted is not known.
    """
    if second.saturated:
        return 1.0
    return _worst(first, second, threshold, lambda a, b, share: 1.0 if a <= 0.0 else _beta(a, b + 1.0, share))


def p_below(first: TimedCount, second: TimedCount, threshold: float) -> float:
    """Probability of so few counts of the first or fewer while its rate is at least `threshold` times the second's."""
    if first.saturated:
        return 1.0
    return _worst(
        first, second, threshold, lambda a, b, share: 1.0 if b <= 0.0 else _beta(b, a + 1.0, 1.0 - share)
    )


def _beta(a: float, b: float, x: float) -> float:
    from scipy.special import betainc

    return float(betainc(a, b, x))


def _worst(
    first: TimedCount, second: TimedCount, threshold: float, tail: Callable[[float, float, float], float]
) -> float:
    """The largest tail over the dead times that are possible."""
    found = []
    for scale in (-1, 0, 1):
        a, b, exposures = _reduced(first, second, scale)
        if exposures is None:
            return 1.0
        # Under rate = threshold * rate, the share of the first in the sum is threshold E1 / (threshold E1 + E2).
        odds = threshold / exposures
        found.append(tail(a, b, odds / (1.0 + odds)))
    return max(found)


def _reduced(first: TimedCount, second: TimedCount, scale: int) -> tuple[float, float, float | None]:
    """Counts of both, fewer in less time where they scatter too much; exposure of the second over that of the first.

    None where one of them was never ready: then nothing is known.
    """
    mine, scattered = _exposure(first, scale)
    theirs, more = _exposure(second, scale)
    if min(mine, theirs) <= 0.0:
        return 0.0, 0.0, None
    return first.counts / scattered, second.counts / more, theirs / more / (mine / scattered)


@lru_cache(maxsize=4096)  # each count is asked for with every other one
def _exposure(count: TimedCount, scale: int) -> tuple[float, float]:
    """Ready seconds weighted by decay, and the scatter, at one end of the interval of the dead time."""
    ends = dead_times(count.dead, DEAD_TIME_Z)
    dead = ends[scale] if len(ends) > 1 else ends[0]
    return ready_s(count, dead) * count.decay, scatter(count, dead)
