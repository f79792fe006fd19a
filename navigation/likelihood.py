"""Poisson likelihood of counts with dead time, and its penalised Fisher scoring for a linear rate.

`rate = design @ theta` in cps at the probe; `lambda = live rate / (1 + tau rate)` for a non-paralysable counter
(Knoll, Radiation Detection and Measurement, 4.VII).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Cosmic rays and the room give any probe this much; keeps a trial model from calling a count impossible.
SMALLEST_RATE_CPS = 0.3
ITERATIONS = 25
# Relative to a parameter's own information: far below what two parameters ever share to the last digit.
RIDGE = 1e-10
# Relative gain of the log-likelihood at which scoring has converged.
CONVERGED = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Observed counts (n,), live times (n,) in s, dead time in s."""

    counts: Array
    live_s: Array
    dead_time_s: float

    def expected(self, rate_cps: Array) -> Array:
        """Expected counts (n,) or (n, k)."""
        rate = np.maximum(rate_cps, SMALLEST_RATE_CPS)
        result: Array = self.live_s * rate / (1.0 + self.dead_time_s * rate)
        return result

    @property
    def loss(self) -> float:
        """Largest share of counts lost to dead time in any reading; 1 or more is impossible for this counter."""
        return float((self.counts * self.dead_time_s / self.live_s).max(initial=0.0))

    def slope(self, rate_cps: Array) -> Array:
        """d expected / d rate (n,)."""
        rate = np.maximum(rate_cps, SMALLEST_RATE_CPS)
        result: Array = self.live_s / (1.0 + self.dead_time_s * rate) ** 2
        return result

    def log_likelihood(self, rate_cps: Array) -> float:
        """Up to a constant of the data."""
        expected = self.expected(rate_cps)
        return float(np.sum(self.counts * np.log(expected) - expected))

    def weights(self, rate_cps: Array) -> tuple[Array, Array]:
        """(score, information) per unit rate: d log L / d rate (n,) and its expected negative slope (n,)."""
        expected, slope = self.expected(rate_cps), self.slope(rate_cps)
        score = slope * (self.counts - expected) / expected
        return score, slope**2 / expected


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
