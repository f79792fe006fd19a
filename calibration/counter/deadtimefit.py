"""Fit of a counter's dead time to counts whose true rates are known up to a few factors, for both kinds of counter.

True rates are `design @ strengths` (Knoll, Radiation Detection and Measurement, 4.VII: two sources, a decaying one).
Quasi-likelihood with the renewal variance of the counts: chi2 and standard errors are those of spaced events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import MODELS, NON_PARALYSABLE, DeadTime

Array = NDArray[np.float64]

# Dead times tried as starts, as shares of the longest that the highest rate leaves possible.
STARTS = (0.0, 0.02, 0.1, 0.3, 0.6, 0.85)
ITERATIONS, HALVINGS = 60, 8
# Relative gain of the misfit at which a fit has settled.
SETTLED = 1e-10
# A trial may find a dead time below zero by chance: down to this share of the inverse highest rate.
NEGATIVE_SHARE = 0.2
# True rates stay above this, cps, and n tau below this: beyond, 99.9 % are lost.
LEAST_RATE_CPS, MOST_PARALYSED = 1e-3, 7.0
# Difference of twice the log-likelihood at which one kind of counter is e^4 = 55 times as likely as the other.
TELLING_DIFFERENCE = 8.0
# Below this a reading's variance is that of one count.
LEAST_VARIANCE = 1.0
# Relative ridge of the normal equations: far below any information.
RIDGE = 1e-12
Z95 = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class RateData:
    """Counts (n,) in live windows (n,) of s, relative model error of the expected counts, and the true rates' shape.

    `design(shape)` (n, k) in cps per unit strength; `shape` (s,) holds what is fitted beside strengths and dead time,
    as logarithms, from 0.
    """

    counts: Array
    live_s: Array
    design: Callable[[Array], Array]
    n_shape: int = 0
    model_error: float = 0.0

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class KindFit:
    """Best dead time of one kind of counter; `deviance` is minus twice the log-likelihood up to a constant.

    `tau_s` may come out below zero by chance; `rate_cps` (n,) are the fitted true rates.
    """

    model: str
    tau_s: float
    sd_s: float
    chi2: float
    dof: int
    deviance: float
    rate_cps: Array
    strengths: Array
    shape: Array

    @property
    def chi2_per_dof(self) -> float | None:
        """None without a degree of freedom to spare."""
        return self.chi2 / self.dof if self.dof > 0 else None

    @property
    def ci95_s(self) -> tuple[float, float]:
        """95 % interval, not below zero."""
        return max(self.tau_s - Z95 * self.sd_s, 0.0), max(self.tau_s + Z95 * self.sd_s, 0.0)

    @property
    def highest_loss(self) -> float:
        """Largest share of events lost among the readings."""
        return float(DeadTime(max(self.tau_s, 0.0), self.model).loss(self.rate_cps).max())


@dataclass(frozen=True, slots=True, eq=False)
class DeadTimeFit:
    """Both kinds of counter fitted to the same readings; `stated` is the kind that the maker says it is, if any."""

    kinds: tuple[KindFit, ...]
    stated: str | None = None

    @property
    def best(self) -> KindFit:
        """The stated kind, else the likelier; the non-paralysable one while the readings cannot tell."""
        if self.stated is not None:
            return self.of(self.stated)
        return self.likelier if self.distinguished else self.of(NON_PARALYSABLE)

    @property
    def likelier(self) -> KindFit:
        """The kind that fits better, however little."""
        return min(self.kinds, key=lambda k: k.deviance)

    @property
    def distinguished(self) -> bool:
        """Whether the readings tell the two kinds apart."""
        first, second = sorted(k.deviance for k in self.kinds)
        return all(k.dof > 0 for k in self.kinds) and second - first >= TELLING_DIFFERENCE

    def of(self, model: str) -> KindFit:
        """The fit of one kind."""
        return next(k for k in self.kinds if k.model == model)

    @property
    def dead_time(self) -> DeadTime:
        """What the readings say; while nothing tells the kind, the other's dead time is within the error."""
        best = self.best
        spread = 0.0
        if not self.distinguished and self.stated is None:
            taus = [max(k.tau_s, 0.0) for k in self.kinds]
            spread = max(taus) - min(taus)
        return DeadTime(max(best.tau_s, 0.0), best.model, float(np.hypot(best.sd_s, spread)))


def fit_dead_time(data: RateData, stated: str | None = None) -> DeadTimeFit:
    """Both kinds of counter, and which it is stated to be.

    Raises numpy.linalg.LinAlgError where the readings leave everything open.
    """
    return DeadTimeFit(tuple(_fit_kind(data, model) for model in MODELS), stated)


def _fit_kind(data: RateData, model: str) -> KindFit:
    """The best of the fits from several starts."""
    problem = _Kind(data, model)
    fits = [problem.settled(start) for start in problem.starts()]
    return problem.result(min(fits, key=problem.deviance))


class _Kind:
    """One kind of counter; parameters are strengths (k,), shape (s,), dead time."""

    def __init__(self, data: RateData, model: str) -> None:
        self.data, self.model = data, model
        self.recorded = data.counts / data.live_s
        highest = max(float(self.recorded.max()), LEAST_RATE_CPS)
        self.longest = (1.0 if model == NON_PARALYSABLE else 1.0 / np.e) / highest
        self.scale = self.longest

    def rate(self, theta: Array) -> Array:
        s = self.data.n_shape
        strengths, shape = theta[: len(theta) - 1 - s], theta[len(theta) - 1 - s : -1]
        return np.maximum(self.data.design(shape) @ strengths, LEAST_RATE_CPS)

    def expected(self, theta: Array) -> Array:
        """Counts (n,); the formulae go on smoothly to a dead time a little below zero."""
        rate, tau = self.rate(theta), float(theta[-1]) * self.scale
        x = np.minimum(rate * tau, MOST_PARALYSED)
        kept = 1.0 / np.maximum(1.0 + rate * tau, 0.1) if self.model == NON_PARALYSABLE else np.exp(-x)
        return np.asarray(self.data.live_s * rate * kept)

    def variance(self, theta: Array) -> Array:
        dead = DeadTime(max(float(theta[-1]) * self.scale, 0.0), self.model)
        spaced = dead.count_variance(self.rate(theta), self.data.live_s)
        floor = (self.data.model_error * self.expected(theta)) ** 2
        return np.maximum(spaced, LEAST_VARIANCE) + floor

    def deviance(self, theta: Array) -> float:
        variance = self.variance(theta)
        return float(np.sum((self.data.counts - self.expected(theta)) ** 2 / variance + np.log(variance)))

    def starts(self) -> list[Array]:
        """Strengths that least squares gives to the rates corrected by trial dead times, of all or the lower half."""
        s = self.data.n_shape
        design = self.data.design(np.zeros(s))
        order = np.argsort(design.sum(axis=1))
        halves = [order, order[: max(len(order) // 2, design.shape[1])]]
        starts = []
        for share in STARTS:
            dead = DeadTime(share * self.longest, self.model)
            rate = dead.corrected(np.minimum(self.recorded, 0.999 * dead.highest_recorded_cps))
            for chosen in halves if self.model != NON_PARALYSABLE else halves[:1]:
                weight = np.sqrt(self.data.live_s[chosen] / np.maximum(rate[chosen], LEAST_RATE_CPS))
                solved = np.linalg.lstsq(design[chosen] * weight[:, None], rate[chosen] * weight, rcond=None)
                starts.append(np.concatenate([solved[0], np.zeros(s), [share]]))
        return starts

    def settled(self, theta: Array) -> Array:
        """Gauss-Newton with the variance renewed at each step; a step that loses is shortened."""
        for _ in range(ITERATIONS):
            variance = self.variance(theta)
            before = self._misfit(theta, variance)
            step = self._step(theta, variance)
            for _ in range(HALVINGS):
                trial = theta + step
                trial[-1] = np.clip(trial[-1], -NEGATIVE_SHARE, 1.0 if self.model == NON_PARALYSABLE else 1.1)
                after = self._misfit(trial, variance)
                if after <= before:
                    break
                step = step / 3.0
            else:
                return theta
            theta = trial
            if before - after <= SETTLED * (1.0 + before):
                return theta
        return theta

    def _misfit(self, theta: Array, variance: Array) -> float:
        """Chi-square; infinite where a step leads so far that nothing can be reckoned."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = float(np.sum((self.data.counts - self.expected(theta)) ** 2 / variance))
        return value if np.isfinite(value) else np.inf

    def _jacobian(self, theta: Array) -> Array:
        steps = 1e-5 * np.maximum(np.abs(theta), 1e-3)
        columns = []
        for i, h in enumerate(steps):
            up, down = theta.copy(), theta.copy()
            up[i] += h
            down[i] -= h
            columns.append((self.expected(up) - self.expected(down)) / (2 * h))
        return np.stack(columns, axis=1)

    def _normal(self, theta: Array, variance: Array) -> tuple[Array, Array]:
        """Design weighted by the standard deviation, and the scale of its columns."""
        weighted = self._jacobian(theta) / np.sqrt(variance)[:, None]
        norms = np.maximum(np.linalg.norm(weighted, axis=0), 1e-30)
        return weighted / norms, norms

    def _step(self, theta: Array, variance: Array) -> Array:
        unit, norms = self._normal(theta, variance)
        residual = (self.data.counts - self.expected(theta)) / np.sqrt(variance)
        curvature = unit.T @ unit + RIDGE * np.eye(len(norms))
        return np.asarray(np.linalg.solve(curvature, unit.T @ residual) / norms)

    def result(self, theta: Array) -> KindFit:
        """With the standard error widened by a misfit above chance."""
        variance, s = self.variance(theta), self.data.n_shape
        unit, norms = self._normal(theta, variance)
        covariance = np.linalg.inv(unit.T @ unit + RIDGE * np.eye(len(norms)))
        chi2, dof = self._misfit(theta, variance), len(self.data) - len(theta)
        widened = np.sqrt(max(chi2 / dof, 1.0)) if dof > 0 else 1.0
        sd = float(np.sqrt(covariance[-1, -1]) / norms[-1] * self.scale * widened)
        return KindFit(
            self.model,
            float(theta[-1]) * self.scale,
            sd,
            chi2,
            dof,
            self.deviance(theta),
            self.rate(theta),
            theta[: len(theta) - 1 - s],
            theta[len(theta) - 1 - s : -1],
        )
