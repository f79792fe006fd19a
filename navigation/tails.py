"""Tails of a score of Poisson counts: third-order quantiles where few counts make it lopsided.

A score with variance V and third cumulant K behaves as a count of V^3/K^2 events in units of K/V; of such a count
the modified signed root (Barndorff-Nielsen 1986, DOI 10.1093/biomet/73.2.307; Lugannani & Rice 1980, DOI
10.2307/1426607) is normal to third order, and the Cornish-Fisher series (DOI 10.2307/1905779) gives its quantiles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

Array = NDArray[np.float64]

# Below this skewness a score is normal to four digits; keeps the equivalent count finite.
LEAST_SKEWNESS = 1e-4
# Below this many standard deviations the root is the difference of nearly equal numbers, and its series serves.
NEAR_ZERO = 0.2
# A count of none has no logarithm; the tail that matters lies on the other side.
LEAST_COUNT = 1e-3
# Newton steps of a limit, whose function is all but straight, and rounds of a background that takes from the source.
STEPS, REFITS = 5, 6
# Share of the largest maxima that the tail's height is fitted to: where its shape is that of the far tail.
TAIL_SHARE = 0.3
# Normal density at zero; where thresholds lie; rounds of the fit, which moves a threshold by less than 0.01 after.
DENSITY, LOWEST, FARTHEST, ROUNDS = 1.0 / np.sqrt(2.0 * np.pi), 1.0, 12.0, 100
# Skewness to which the series of a quantile is carried: beyond it, it turns back.
MOST_SKEWNESS = 1.0


def normal_equivalent(score: Array, variance: Array, third: Array) -> Array:
    """Standard normal quantiles (m,) as improbable as scores (m,) of variances > 0 and third cumulants (m,)."""
    z, skewness = score / np.sqrt(variance), third / variance**1.5
    sign = np.where(skewness < 0.0, -1.0, 1.0)
    skewness = sign * np.maximum(np.abs(skewness), LEAST_SKEWNESS)
    ratio = np.maximum(1.0 + skewness * z, LEAST_COUNT)  # count over its mean 1 / skewness^2
    log = np.log(ratio)
    deviance = 2.0 * np.maximum(ratio * log - ratio + 1.0, 0.0)
    far = np.abs(z) > NEAR_ZERO
    root = np.sqrt(np.where(far, deviance, 1.0)) / np.abs(skewness)
    wald = np.abs(np.where(far, log, 1.0)) * np.sqrt(ratio) / np.abs(skewness)
    modified: Array = np.sign(z) * root + np.sign(z) * np.log(wald / root) / root
    return np.where(far, modified, z - skewness * (z**2 - 1.0) / 6.0)


def quantile(z: float, skewness: Array) -> Array:
    """Standardised quantiles (m,) of counts with this skewness (m,) at the standard normal quantile z."""
    s = np.clip(skewness, -MOST_SKEWNESS, MOST_SKEWNESS)
    result: Array = z + s * (z**2 - 1.0) / 6.0 + s**2 * (z - z**3) / 72.0
    return result


def count_excess(normal: Array, expected: Array) -> Array:
    """Standard normal draws (..., n) bent to what Poisson counts of means (n,) exceed these by, smooth in the mean."""
    sd = np.sqrt(expected)
    bent: Array = sd * normal + (normal**2 - 1.0) / 6.0 + (normal - normal**3) / (72.0 * np.maximum(sd, 1.0))
    return bent


def activity_at(target: Array, z: float, information: Array, third: Array) -> Array:
    """Activities (m,) whose score lies below `target` (m,) with probability Phi(z).

    An activity a gives a mean of a I and a variance of I + a K, the nuisance being fitted as without it; the third
    cumulant K grows as that of a count does.
    """
    steep = third**2 / information
    a = np.maximum(target / information, 0.0)
    for _ in range(STEPS):
        variance = information + a * third
        sd = np.sqrt(variance)
        reached = quantile(z, (third + a * steep) / (variance * sd))
        # The skewness changes slowly: its derivative is left out, the iteration closes in all the same.
        slope = np.maximum(information + 0.5 * third / sd * reached, 0.1 * information)
        a = np.maximum(a - (a * information + sd * reached - target) / slope, 0.0)
    return a


def detectable(z_critical: float, z_power: float, information: Array, third: Array, absorbed: Array) -> Array:
    """Activities (m,) that are significant at `z_critical` with probability Phi(z_power).

    The nuisance, fitted without the source, takes part of its counts for its own: an activity a lowers the
    information to I / (1 + a B / I) with `absorbed` B, and the third cumulant by the square of that factor.
    """
    a = np.zeros_like(information)
    for _ in range(REFITS):
        share = 1.0 / (1.0 + a * absorbed / information)
        left, bend = information * share, third * share**2
        critical = np.sqrt(left) * quantile(z_critical, bend / left**1.5)
        a = activity_at(critical, -z_power, left, bend)
    return a


def largest_quantiles(largest: Array, levels: tuple[float, ...]) -> tuple[float, ...]:
    """Values that the maximum of a normal field exceeds with probabilities `levels`, from draws of it (b,).

    The number of excursions above t is a sum of Q(t), exp(-t^2 / 2) and t exp(-t^2 / 2), the terms of the Euler
    characteristic of a field of up to two dimensions (Worsley et al. 1996, DOI
    10.1002/(SICI)1097-0193(1996)4:1<58::AID-HBM4>3.0.CO;2-O): depth is hardly resolved. Their weights are fitted by
    maximum likelihood to the upper draws, so that few draws suffice and the far tail is smooth.
    """
    start = max(float(np.quantile(largest, 1.0 - TAIL_SHARE)), LOWEST)
    above = largest[largest > start]
    if len(above) == 0:
        return tuple(float(np.quantile(largest, 1.0 - level)) for level in levels)
    reach = (
        _excursions(above).sum(axis=1) + (len(largest) - len(above)) * _excursions(np.array([start]))[:, 0]
    )
    density = np.stack([np.full_like(above, DENSITY), above, above**2 - 1.0])
    weight = len(above) / reach / len(reach)
    for _ in range(ROUNDS):
        weight = weight * (density / (weight @ density)).sum(axis=1) / reach
    return tuple(_exceeded(weight, level) for level in levels)


def _exceeded(weight: Array, level: float) -> float:
    """The value whose excursions number -log(1 - level)."""

    def more(t: float) -> float:
        return float(weight @ _excursions(np.array([t]))[:, 0] + np.log1p(-level))

    return LOWEST if more(LOWEST) <= 0.0 else float(brentq(more, LOWEST, FARTHEST))


def _excursions(t: Array) -> Array:
    """(3, n): the terms of their number above t (n,)."""
    bell = np.exp(-0.5 * t**2)
    return np.stack([ndtr(-t), bell, t * bell])
