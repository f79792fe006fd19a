"""Poisson likelihood of counts with dead time, and its penalised Fisher scoring for a linear rate.

`rate = design @ theta` in cps at the probe; a counter of either kind records less (`calibration.counter.deadtime`). A
saturated reading is censored: all it says is that the rate was no lower than that of the saturation loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime

Array = NDArray[np.float64]

# Cosmic rays and the room give any probe this much; keeps a trial model from calling a count impossible.
SMALLEST_RATE_CPS = 0.3
ITERATIONS = 25
# Relative to a parameter's own information: far below what two parameters ever share to the last digit.
RIDGE = 1e-10
# Relative gain of the log-likelihood at which scoring has converged.
CONVERGED = 1e-9
# Between two saturated readings this close in time a paralysable counter may have been beyond its summit, where it
# tells less the more arrives: the time a hand takes over a hot organ. Nobody scans where 99.8 % of events are lost
# (n tau = 6), so what is fewer than the counts left there is no doubt.
FOLDED_WITHIN_S, MOST_PARALYSED = 10.0, 6.0


@dataclass(frozen=True, slots=True, eq=False)
class KnownRate:
    """A rate (n,) in cps that is there besides the unknown ones, the SD (n,) of each by its own counting, and what one
    standard error of its common factor changes (n,); a small negative rate is what chance makes of none.
    """

    cps: Array
    noise_sd_cps: Array
    factor_sd_cps: Array

    def head(self, n: int) -> KnownRate:
        """Of the first n readings."""
        return KnownRate(self.cps[:n], self.noise_sd_cps[:n], self.factor_sd_cps[:n])


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Observed counts (n,), live times (n,) in s, the counter's dead time, and which readings (n,) are saturated.

    `doubtful` ones may be beyond a paralysable counter's summit and say nothing until `resolved` tells.
    Variances are taken as Poisson's: with dead time the true ones are smaller (renewal), by half at 30 % loss, so
    intervals near a hot source err to the wide side. Beyond saturation the recorded rate is continued along its
    tangent, so that no model gains by being deeper in saturation. Of a saturated reading `P(counts >= bound | rate)`
    enters, a normal tail: the likelihood of a censored observation (Tobin 1958, DOI 10.2307/1907382).
    Every `rate_cps` is what the model explains; a `known` rate comes on top of it, its noise widens the variance.
    """

    counts: Array
    live_s: Array
    dead_time: DeadTime = NO_DEAD_TIME
    saturated: NDArray[np.bool_] | None = None
    doubtful: NDArray[np.bool_] | None = None
    known: KnownRate | None = None

    @staticmethod
    def of(counts: Array, live_s: Array, t_s: Array, dead_time: DeadTime) -> Counts:
        """Readings (n,) that ended at rising times `t_s`; which are saturated depends on these readings alone."""
        saturated = dead_time.saturated(counts / live_s)
        if not saturated.any():
            return Counts(counts, live_s, dead_time)
        doubtful = _folded(counts / live_s, t_s, saturated, dead_time) if dead_time.paralysable else None
        return Counts(counts, live_s, dead_time, saturated, doubtful)

    def resolved(self, rate_cps: Array) -> Counts:
        """Doubtful readings decided by the rate (n,) that all the others make likely: saturated, or plain."""
        if self.doubtful is None:
            return self
        beyond = self.doubtful & (self._true(rate_cps) >= self.dead_time.saturated_rate_cps)
        return replace(self, saturated=self.censored | beyond, doubtful=None)

    def own(self, rate_cps: Array) -> Counts:
        """The counts (n,) shared out between the rate that is explained and the known one, at their fit."""
        if self.known is None:
            return self
        rate = np.maximum(rate_cps, SMALLEST_RATE_CPS)
        share = rate / np.maximum(rate + self.known.cps, SMALLEST_RATE_CPS)
        return replace(self, counts=self.counts * np.clip(share, 0.0, 1.0), known=None)

    def _true(self, rate_cps: Array) -> Array:
        """The rate (n,) that arrives at the counter."""
        return np.maximum(rate_cps if self.known is None else rate_cps + self.known.cps, SMALLEST_RATE_CPS)

    @property
    def censored(self) -> NDArray[np.bool_]:
        """(n,): which readings are lower bounds."""
        return np.zeros(len(self.counts), dtype=bool) if self.saturated is None else self.saturated

    @property
    def n_saturated(self) -> int:
        """How many readings are lower bounds."""
        return 0 if self.saturated is None else int(self.saturated.sum())

    @property
    def lowest(self) -> Array:
        """(n,): the counts, of saturated readings the lowest that the true rate would have given at saturation."""
        if not self.n_saturated:
            return self.counts
        return np.where(self.censored, self.live_s * self.dead_time.saturated_recorded_cps, self.counts)

    def expected(self, rate_cps: Array) -> Array:
        """Expected counts (n,)."""
        rate, dead = self._true(rate_cps), self.dead_time
        if dead.tau_s == 0.0:
            return np.asarray(self.live_s * rate)
        limit = dead.saturated_rate_cps
        beyond = np.maximum(rate - limit, 0.0) * float(dead.slope(limit))
        result: Array = self.live_s * (dead.expected(np.minimum(rate, limit)) + beyond)
        return result

    def slope(self, rate_cps: Array) -> Array:
        """d expected / d rate (n,)."""
        rate = np.minimum(self._true(rate_cps), self.dead_time.saturated_rate_cps)
        result: Array = self.live_s * self.dead_time.slope(rate)
        return result

    def excess(self, rate_cps: Array) -> Array:
        """Counts beyond the expected ones (n,); of a saturated reading what the model lacks of its bound, else 0."""
        excess = self.lowest - self.expected(rate_cps)
        if self.n_saturated:
            excess = np.where(self.censored, np.maximum(excess, 0.0), excess)
        return excess if self.doubtful is None else np.where(self.doubtful, 0.0, excess)

    def log_likelihood(self, rate_cps: Array) -> float:
        """Up to a constant of the data."""
        expected = self.expected(rate_cps)
        terms = self.counts * np.log(expected) - expected
        if self.n_saturated:
            terms = np.where(self.censored, log_ndtr(self._reach(expected)[0]), terms)
        if self.doubtful is not None:
            terms = np.where(self.doubtful, 0.0, terms)
        return float(np.sum(terms))

    def weights(self, rate_cps: Array) -> tuple[Array, Array]:
        """(score, information) per unit rate: d log L / d rate (n,) and its expected negative slope (n,)."""
        expected, slope = self.expected(rate_cps), self.slope(rate_cps)
        variance = expected if self.known is None else expected + (slope * self.known.noise_sd_cps) ** 2
        score, information = slope * (self.counts - expected) / variance, slope**2 / variance
        if not self.n_saturated:
            return score, information
        z, sd = self._reach(expected)
        hazard = np.exp(-0.5 * z**2 - log_ndtr(z)) / np.sqrt(2.0 * np.pi)
        score = np.where(self.censored, slope / sd * hazard, score)
        information = np.where(self.censored, (slope / sd) ** 2 * hazard * (hazard + z), information)
        if self.doubtful is not None:
            score, information = np.where(self.doubtful, 0.0, (score, information))
        return score, information

    def _reach(self, expected: Array) -> tuple[Array, Array]:
        """By how many standard deviations the model exceeds the bound of each reading, and these (n,) in counts."""
        sd = np.sqrt(np.maximum(self.lowest, 1.0))
        return (expected - self.lowest + 0.5) / sd, sd


def least_doubtful_cps(dead_time: DeadTime) -> float:
    """Recorded rate in cps below which a reading of a paralysable counter is never doubtful; inf without dead time."""
    return float(dead_time.expected(MOST_PARALYSED / dead_time.tau_s)) if dead_time.tau_s > 0.0 else np.inf


def _folded(
    recorded_cps: Array, t_s: Array, saturated: NDArray[np.bool_], dead_time: DeadTime
) -> NDArray[np.bool_] | None:
    """Which readings (n,) at rising times may lie beyond the summit, between two saturated ones; None if none."""
    doubtful = np.zeros(len(recorded_cps), dtype=bool)
    for first, second in pairwise(np.flatnonzero(saturated)):
        doubtful[first + 1 : second] = t_s[second] - t_s[first] <= FOLDED_WITHIN_S
    doubtful &= recorded_cps >= least_doubtful_cps(dead_time)
    return doubtful if doubtful.any() else None


@dataclass(frozen=True, slots=True, eq=False)
class LinearFit:
    """Coefficients (q,), fitted rate (n,), inverse of the penalised information (q, q)."""

    theta: Array
    rate_cps: Array
    covariance: Array
    objective: float


def fit_linear(data: Counts, design: Array, precision: Array, start: Array) -> LinearFit:
    """Maximise log L - 1/2 theta^T diag(precision) theta over theta with rate = design @ theta.

    Raises numpy.linalg.LinAlgError when the design is singular under the prior.
    """
    theta = start.copy()
    best = _objective(data, design @ theta, precision, theta)
    for _ in range(ITERATIONS):
        score, information = data.weights(design @ theta)
        gradient = design.T @ score - precision * theta
        curvature = design.T @ (information[:, None] * design) + np.diag(precision)
        step: Array = np.asarray(np.linalg.solve(curvature, gradient), dtype=np.float64)
        theta, gained = _halved(data, design, precision, theta, step, best)
        if gained - best < CONVERGED * abs(best):
            best = max(best, gained)
            break
        best = gained
    rate = design @ theta
    _, information = data.weights(rate)
    curvature = design.T @ (information[:, None] * design) + np.diag(precision)
    return LinearFit(theta, rate, inverse_information(curvature), best)


def inverse_information(curvature: Array) -> Array:
    """Inverse (q, q) of a symmetric information matrix whose parameters have very different units.

    Scaled to a unit diagonal first, with a ridge far below any information: an undetermined parameter gets a huge
    variance, never a vanishing one.
    """
    diagonal = np.diag(curvature)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    unit = curvature * scale[:, None] * scale + RIDGE * np.eye(len(diagonal))
    inverse: Array = np.asarray(np.linalg.inv(unit), dtype=np.float64)
    return inverse * scale[:, None] * scale


def _objective(data: Counts, rate: Array, precision: Array, theta: Array) -> float:
    return data.log_likelihood(rate) - 0.5 * float(precision @ theta**2)


def _halved(
    data: Counts, design: Array, precision: Array, theta: Array, step: Array, best: float
) -> tuple[Array, float]:
    """The longest of a few halvings of the step that does not lose."""
    for _ in range(12):
        trial = theta + step
        value = _objective(data, design @ trial, precision, trial)
        if value >= best:
            return trial, value
        step = step / 2
    return theta, best
