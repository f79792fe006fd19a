"""The joint fit made linear, with the errors that even a good calibration and a good tracker leave in its rates.

Both together tell how the residuals of a sound scan scatter; they are redrawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.lagscore import lag_design
from navigation.likelihood import inverse_information
from navigation.pointlayer import DERIVATIVE_MM, JointFit, Problem

Array = NDArray[np.float64]

# Tilt of the sensitive axis against the tracked one, rad; unevenness of the head to either side; drift of the gain over
# a scan; error of the rate with the distance, per natural logarithm of it.
TILT_RAD, UNEVEN, DRIFT, DISTANCE = 0.014, 0.02, 0.015, 0.02
# Angles off the axis in degrees between which the response may err smoothly, and its relative error there: a bench
# scan settles the view to a percent; beside it few counts came, and the scan of the bench itself ends.
ANGLES_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)
ANGLE_ERRORS = (0.015, 0.015, 0.02, 0.05, 0.15, 0.25, 0.35)
# Error of the tip's tracked place per axis, white from reading to reading, and slow over SLOW_S: 0.3 degrees of noise
# over 135 mm from marker to tip is 0.7 mm, of whose variance trackers leave a third to slow wander and a reading's
# mean over its frames the rest.
PLACE_MM, SLOW_MM, SLOW_S = 0.35, 0.35, 1.5
WEAKEST = 1e-12
# Prior of a source's place in mm and of its log activity: keeps an undetermined direction finite.
WEAK_PRECISION = (1e-2, 1e-2, 1e-2, 1e-8)


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Rate of each source (n, k), its gradient (n, k, 3) in cps/mm, and where it is in the probe's frame (n, k, 3)."""

    rate: Array
    gradient: Array
    local: Array
    offset: Array

    @property
    def distance(self) -> Array:
        """(n, k) mm from the face."""
        result: Array = np.maximum(np.linalg.norm(self.local, axis=2), 1.0)
        return result

    @property
    def angle_deg(self) -> Array:
        """(n, k) degrees off the axis."""
        result: Array = np.degrees(np.arccos(np.clip(self.local[..., 2] / self.distance, -1.0, 1.0)))
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Standardised residuals (n,) of a fit, what was fitted or may err (n, c), and which of that errs (c,).

    `root` (n,) is the root of the information: a rate in cps times it is in standard deviations of the counts.
    Columns that err have a standard error of one; the others are free.
    """

    residual: Array
    root: Array
    expected: Array
    slope: Array
    columns: Array
    errs: NDArray[np.bool_]
    inverse: Array  # (c, c) covariance of the coefficients of the columns
    geometry: Geometry
    t_s: Array
    shaken: Array  # (n,) share of a standard deviation that is not counting
    n_response: int  # how many of the last columns are errors of the response

    def remainder(self, values: Array) -> Array:
        """What of values (n, ...) nothing that was fitted or may err explains."""
        result: Array = values - self.columns @ (self.inverse @ (self.columns.T @ values))
        return result

    def counted(self, replicates: int, seed: int) -> Array:
        """(n, replicates): residuals by counting alone, of scans whose model and tracker are perfect."""
        rng = np.random.default_rng(seed)
        counts = rng.poisson(self.expected, (replicates, len(self.expected))).T
        return self._unit[:, None] * (counts - self.expected[:, None])

    @property
    def _unit(self) -> Array:
        """(n,): standard deviations per count."""
        seen = self.slope > 0.0
        result: Array = np.where(seen, self.root / np.where(seen, self.slope, 1.0), 0.0)
        return result

    def draws(self, replicates: int, seed: int) -> Array:
        """(n, replicates): residuals of sound scans like this one, before anything is fitted to them."""
        rng = np.random.default_rng(seed)
        counts = rng.poisson(self.expected, (replicates, len(self.expected))).T
        erring = rng.standard_normal((int(self.errs.sum()), replicates))
        drawn: Array = (
            self._unit[:, None] * (counts - self.expected[:, None]) + self.columns[:, self.errs] @ erring
        )
        drawn += self.shaken[:, None] * rng.standard_normal(drawn.shape)
        gradient = self.geometry.gradient.sum(axis=1)
        for axis in range(3):
            drawn += (SLOW_MM * self.root * gradient[:, axis])[:, None] * _wander(self.t_s, replicates, rng)
        return drawn


def linearised(problem: Problem, fit: JointFit, precision: Array) -> Linear:
    """The joint fit to first order. `precision` (q,) is the prior of the background's coefficients."""
    design, delay = lag_design(problem, fit)
    geometry = geometry_of(problem, fit)
    data = problem.data
    lost = data.censored if data.doubtful is None else data.censored | data.doubtful
    expected, slope = data.expected(fit.rate_cps), np.where(lost, 0.0, data.slope(fit.rate_cps))
    shaken = (slope * PLACE_MM) ** 2 * (geometry.gradient.sum(axis=1) ** 2).sum(axis=1)
    noise = 0.0 if data.known is None else (slope * data.known.noise_sd_cps) ** 2
    variance = np.maximum(expected + shaken + noise, WEAKEST)
    root = slope / np.sqrt(variance)
    beside = np.where(lost, 0.0, np.sqrt((shaken + noise) / variance))
    residual = np.where(lost, 0.0, data.excess(fit.rate_cps) / np.sqrt(variance))
    response = response_errors(geometry)
    errors = [*common_errors(problem, fit, geometry), *response]
    q, weak = len(precision), np.tile(WEAK_PRECISION, len(fit.sources))
    prior = np.concatenate([precision, weak, np.ones(len(errors) + fit.latency_free)])
    errs = prior > 0.0
    errs[q : q + len(weak)] = False
    late = [problem.latency_sd_s * delay] if fit.latency_free else []
    columns = np.column_stack([design, *late, *errors]) * root[:, None]
    columns[:, errs] /= np.sqrt(prior[errs])
    prior[errs] = 1.0
    inverse = inverse_information(columns.T @ columns + np.diag(prior))
    t_s = problem.readings.t_s
    return Linear(
        residual, root, expected, slope, columns, errs, inverse, geometry, t_s, beside, len(response)
    )


def _wander(t_s: Array, replicates: int, rng: np.random.Generator) -> Array:
    """(n, replicates): unit variance, correlated over SLOW_S (an Ornstein-Uhlenbeck process)."""
    kept = np.exp(-np.maximum(np.diff(t_s, prepend=t_s[:1]), 0.0) / SLOW_S)
    out: Array = rng.standard_normal((len(t_s), replicates))
    fresh = np.sqrt(1.0 - kept**2)
    for i in range(1, len(t_s)):
        out[i] = kept[i] * out[i - 1] + fresh[i] * out[i]
    return out


def geometry_of(problem: Problem, fit: JointFit) -> Geometry:
    """Rates, gradients and places of the sources of a fit."""
    n, sources = len(problem.decay), list(fit.sources)
    if not sources:
        return Geometry(np.zeros((n, 0)), np.zeros((n, 0, 3)), np.zeros((n, 0, 3)), np.zeros((n, 0, 3)))
    activity = np.array([s.activity_kbq for s in sources])
    rows = problem.source_rows(sources).reshape(n, len(sources), 7)
    gradient = (rows[..., 2::2] - rows[..., 1:6:2]) / (2 * DERIVATIVE_MM) * activity[:, None]
    poses = problem.readings.mid_poses
    offset = np.stack([s.position_mm for s in sources]) - poses[:, None, :3, 3]
    return Geometry(
        rows[..., 0] * activity, gradient, np.einsum("nkj,nji->nki", offset, poses[:, :3, :3]), offset
    )


def common_errors(problem: Problem, fit: JointFit, geometry: Geometry) -> list[Array]:
    """Columns (n,) in cps, one standard error each, that are common to all sources."""
    t = problem.readings.t_s
    span = (t - t.mean()) / max(float(np.ptp(t)) / 2.0, 1e-6)
    poses = problem.readings.mid_poses
    tilts = [
        TILT_RAD
        * np.einsum("nki,nki->n", geometry.gradient, np.cross(poses[:, None, :3, axis], geometry.offset))
        for axis in (0, 1)
    ]
    return [*tilts, DRIFT * span * fit.rate_cps, DRIFT * (span**2 - 1.0 / 3.0) * fit.rate_cps]


def response_errors(geometry: Geometry) -> list[Array]:
    """Columns (n,) in cps of each source: an uneven head, a response that errs with angle and distance."""
    columns = []
    knots = np.array(ANGLES_DEG)
    for k in range(geometry.rate.shape[1]):
        rate, local = geometry.rate[:, k], geometry.local[:, k] / geometry.distance[:, k : k + 1]
        columns += [UNEVEN * rate * local[:, 0], UNEVEN * rate * local[:, 1]]
        for i, error in enumerate(ANGLE_ERRORS):
            columns.append(error * rate * np.interp(geometry.angle_deg[:, k], knots, np.eye(len(knots))[i]))
        far = np.log(geometry.distance[:, k] / np.median(geometry.distance[:, k]))
        columns.append(DISTANCE * rate * far)
    return columns
