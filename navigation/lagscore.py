"""Does a scan's own data contradict the count latency it was placed with: the efficient score of the joint fit.

Where a strong focus is passed quickly, counts that are stamped later than believed lie on the far side of it. One
step of Fisher scoring from the fit tells by how much; a function of the readings alone, so a replay sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import inverse_information
from navigation.pointlayer import DERIVATIVE_MM, JointFit, Problem

Array = NDArray[np.float64]

# Hand speed at which a latency's error becomes one of place, and the blur beyond which places are not good (H06).
HAND_SPEED_MM_S, LATENCY_BLUR_MM = 25.0, 1.0
# A latency that the counts contradict by so many standard deviations is rejected: by chance in 0.3 % of scans.
REJECTING_SIGMA = 3.0
# While the scan goes on it is looked at again and again: by chance in 0.1 % of scans.
ALARMING_SIGMA = 4.0
# Stretches of movement whose scores tell the variance, whatever it is that makes them scatter.
BLOCK_S, FEWEST_BLOCKS = 2.0, 8
# The rate's slope along the path is that of neighbouring readings: longer intervals tell none.
LONGEST_STEP_S = 0.25
# Information (1/s2) below this is none: SD above 10 s.
LEAST_INFORMATION = 1e-2


@dataclass(frozen=True, slots=True)
class LagScore:
    """By how much later (s) than assumed the counts say that the counter stamps, and its standard deviation.

    `fisher_sd_s` is what Poisson counts of this model allow at best; `assumed_sd_s` how well the assumed latency was
    known.
    """

    shift_s: float
    sd_s: float
    fisher_sd_s: float
    assumed_sd_s: float = 0.0

    @property
    def sigma(self) -> float:
        """Contradiction in standard deviations of both figures together."""
        return abs(self.shift_s) / float(np.hypot(self.sd_s, self.assumed_sd_s))

    def rejects(self, sigma: float = REJECTING_SIGMA) -> bool:
        """Whether the assumed latency is contradicted, and by enough to displace a place."""
        return self.sigma > sigma and abs(self.shift_s) * HAND_SPEED_MM_S > LATENCY_BLUR_MM

    @property
    def alarms(self) -> bool:
        """Whether it is contradicted beyond what looking again and again explains."""
        return self.rejects(ALARMING_SIGMA)

    @property
    def words(self) -> str:
        """What is told of it."""
        side = "later" if self.shift_s > 0 else "earlier"
        return (
            f"the counts contradict the count latency in use: they are {1000 * abs(self.shift_s):.0f} ms {side}"
            f" (SD {1000 * self.sd_s:.0f} ms)"
        )


def score_lag(
    problem: Problem, fit: JointFit, precision: Array, assumed_sd_s: float = 0.0
) -> LagScore | None:
    """The contradiction at a joint fit, whose latency may have been free; None where nothing is told.

    `precision` (q,) is that of the background's prior.
    """
    t = problem.readings.t_s
    if not fit.sources or len(t) < 3 or float(np.median(np.diff(t))) > LONGEST_STEP_S:
        return None
    design, delay = lag_design(problem, fit)
    score, information = problem.data.weights(fit.rate_cps)
    rows = problem.source_rows(list(fit.sources))[:, ::7]
    error = problem.model_error(list(fit.sources), rows)
    trust = 1.0 / (1.0 + information * (error**2).sum(axis=1))
    prior = np.zeros(design.shape[1])
    prior[: len(precision)] = precision
    efficient, told = _efficient(design, delay, information * trust, prior)
    best = _efficient(design, delay, information, prior)[1]
    if not min(told, best) > LEAST_INFORMATION:
        return None
    scores = score * trust * efficient
    variance = max(told, _block_variance(scores, t))
    shift = fit.latency_shift_s + float(scores.sum()) / told
    return LagScore(shift, float(np.sqrt(variance)) / told, 1.0 / float(np.sqrt(best)), assumed_sd_s)


def lag_design(problem: Problem, fit: JointFit) -> tuple[Array, Array]:
    """Derivatives of the rate: (n, q + 4 k) to background, places and log activities; (n,) to the latency."""
    columns = [problem.background_rows]
    rows = problem.source_rows(list(fit.sources)) if fit.sources else np.zeros((len(problem.decay), 0))
    for i, source in enumerate(fit.sources):
        r = rows[:, 7 * i : 7 * i + 7]
        gradient = (r[:, 2::2] - r[:, 1:6:2]) / (2 * DERIVATIVE_MM)
        columns += [source.activity_kbq * gradient, source.activity_kbq * r[:, :1]]
    activity = np.array([s.activity_kbq for s in fit.sources])
    return np.concatenate(columns, axis=1), problem.latency_derivative(rows[:, ::7] @ activity)


def _efficient(design: Array, delay: Array, weight: Array, prior: Array) -> tuple[Array, float]:
    """What of the latency's derivative (n,) nothing else can take up, and its information in 1/s2."""
    inverse = inverse_information(design.T @ (weight[:, None] * design) + np.diag(prior))
    cross = design.T @ (weight * delay)
    efficient = delay - design @ (inverse @ cross)
    return efficient, float(weight @ delay**2 - cross @ inverse @ cross)


def _block_variance(scores: Array, t_s: Array) -> float:
    """Variance of the sum (n,) of scores as stretches of BLOCK_S show it; 0 when these are too few to tell."""
    block = np.floor((t_s - t_s[0]) / BLOCK_S).astype(np.int64)
    sums = np.bincount(block, scores)
    if len(sums) < FEWEST_BLOCKS:
        return 0.0
    # About their mean: a true contradiction is not taken for scatter.
    spread = sums - sums.mean()
    return float(spread @ spread) * len(sums) / (len(sums) - 1.0)
