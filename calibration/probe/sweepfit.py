"""Joint fit of count latency, detector axis and centre, scale and room counts to a sweep round a point source in air.

The response is a given calibration, or the collimator physics fitted along; Poisson deviance with dead time is
minimised over the correction of the nominal tip frame. Errors are Fisher's, inflated by the misfit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime
from calibration.probe.collimator import Collimator
from calibration.probe.gridfit import (
    PARAMETER_HIGH,
    PARAMETER_LOW,
    START_APERTURES_MM,
    START_RECESSES_MM,
    deviance_residuals,
)
from calibration.probe.response import DetectorResponse

Array = NDArray[np.float64]
TrackSampler = Callable[[Array], tuple[Array, NDArray[np.bool_]]]

# Latencies that are looked for: counters are late, but where the tracker's stamps are later still the lag is negative.
LOWEST_S, HIGHEST_S = -0.15, 0.45
STARTS_S = (-0.1, 0.0, 0.1, 0.2, 0.3, 0.4)
# What counts do not tell of a latency: jitter of both streams' stamps and of poses between frames, SD.
STAMP_SD_S = 0.002
# How well a source's place in Reference is known, SD along each axis: touched with a calibrated tip.
SOURCE_SD_MM = 0.5
# How far a nominal tip frame may be off before it is that of another probe.
MOST_TILT_RAD, MOST_SHIFT_MM = float(np.deg2rad(30.0)), 30.0
# A path sample every 33 ms: 2 mm at 60 mm/s, over which the response is straight to 0.1 %.
SAMPLES_PER_S = 30.0
# Freedom of the collimator's shape in log units about a common probe: only what counts cannot tell leans on it.
SHAPE_SD = 1.0
# Starts that are followed to their end.
BEST_STARTS = 2
# Nodes of the collimator's table in depth and direction: it then errs by 1 % RMS, most at the edge of the view.
DEPTH_NODES, DIRECTION_NODES = 16, 48
# Tables of that many trial shapes are kept: more than one step of the fit asks for.
MOST_SPLINES = 64
# Depth at which the table's coordinates fold, and how far a correction may carry the source beyond its first place.
FOLD_MM, MARGIN_MM = 10.0, 10.0
# The collimator is described in front of its face only.
LEAST_FRONT_MM = 0.05
# Steps for derivatives, where the likelihood changes by much less than one unit.
STEPS = {"latency": 1e-3, "tilt": 1e-3, "shift": 0.02, "other": 1e-3}
N_POSE = 6  # latency, two tilts, three shifts
# Where the rest lies behind the background, at 6: scale or shape of the collimator, then the source beside its place.
SHAPE, BESIDE = slice(7, -3), slice(-3, None)
# A source is looked for within so many standard deviations of its place.
SOURCE_REACH = 6.0
MOST_EVALUATIONS = 25
# Distances on the axis at which a fitted response is told.
TOLD_AT_MM = (10.0, 30.0, 50.0)
# Information below this is rounding: standard errors stay finite, and far too large to be accepted.
LEAST_INFORMATION = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Counting windows (n,) as stamped, poses of the nominal tip at any time, and the source (3,) in Reference.

    `source_sd_mm` is how well the source's place is known along each axis; 0 takes it for exact.
    """

    end_s: Array
    counts: Array
    window_s: Array
    sample: TrackSampler
    source_mm: Array
    activity_kbq: float
    dead_time: DeadTime = NO_DEAD_TIME
    source_sd_mm: float = SOURCE_SD_MM

    def __len__(self) -> int:
        return len(self.counts)

    def source_seen(self, latency_s: float, beside_mm: Array | float = 0.0) -> tuple[Array, Array]:
        """The source, `beside_mm` (3,) from its place, in the nominal tip frame along each window (n, k, 3).

        Then the weights (k,) of the samples.
        """
        k = max(3, int(np.ceil(float(self.window_s.max()) * SAMPLES_PER_S)))
        nodes, weights = np.polynomial.legendre.leggauss(k)
        share = (nodes + 1.0) / 2.0
        times = self.end_s[:, None] - latency_s - self.window_s[:, None] * (1.0 - share)
        poses, _ = self.sample(times.ravel())
        offset = self.source_mm + beside_mm - poses[:, :3, 3]
        seen = np.einsum("nij,ni->nj", poses[:, :3, :3], offset)
        return seen.reshape(len(self), k, 3), weights / 2.0


@dataclass(frozen=True, slots=True, eq=False)
class SweepFit:
    """What a sweep says; `sd` holds the standard error of each of latency, tilts, shifts in order, nan if fixed."""

    latency_s: float
    tilt_rad: Array  # (2,) about X and Y of the nominal tip
    shift_mm: Array  # (3,) along the corrected tip's X, Y, Z
    scale: float
    background_cps: float
    collimator: Collimator | None  # its efficiency holds the scale; None where a response was given
    sd: Array  # (6,)
    scale_sd: float
    chi2_per_dof: float
    unexplained: float  # share of the counts' variation beyond chance that the fit leaves
    r_mm: Array  # (n,) at the middle of each window, in the corrected tip frame
    z_mm: Array
    source_shift_mm: Array  # (3,) in Reference: from where the source was said to be
    source_sd_mm: Array  # (3,) nan where the place was taken for exact

    @property
    def T_nominal_tip(self) -> Array:
        """(4, 4): the corrected tip frame in the nominal one; roll is the nominal one's."""
        result = np.eye(4)
        result[:3, :3] = tilted(self.tilt_rad)
        result[:3, 3] = result[:3, :3] @ self.shift_mm
        return result


def tilted(tilt_rad: Array) -> Array:
    """Rotation (3, 3) by a vector in the plane across Z: it moves Z and does not roll about it."""
    angle = float(np.hypot(*tilt_rad))
    if angle < 1e-12:
        return np.eye(3)
    x, y = tilt_rad / angle
    cross = np.array([[0.0, 0.0, y], [0.0, 0.0, -x], [-y, x, 0.0]])
    result: Array = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return result


class _Table:
    """The collimator's response on nodes round where the source was seen: poses change, the physics is not redone."""

    def __init__(self, r_mm: Array, z_mm: Array) -> None:
        deep, near = float(z_mm.max()) + MARGIN_MM, max(float(z_mm.min()) - MARGIN_MM, LEAST_FRONT_MM)
        r = float(r_mm.max()) + MARGIN_MM
        self.w = np.linspace(FOLD_MM / (deep + FOLD_MM), FOLD_MM / (near + FOLD_MM), DEPTH_NODES)
        self.u = np.linspace(0.0, r / (r + near + FOLD_MM), DIRECTION_NODES)
        w, u = np.meshgrid(self.w, self.u, indexing="ij")
        self.nodes_z = (FOLD_MM / w - FOLD_MM).ravel()
        self.nodes_r = u.ravel() / (1.0 - u.ravel()) * (self.nodes_z + FOLD_MM)
        self._splines: dict[bytes, Any] = {}

    def in_air(self, shape: Array, r: Array, z: Array) -> Array:
        """cps per kBq (m,) of the collimator `shape` (8,) in logarithms, at r, z (m,) with z > 0."""
        w = np.clip(FOLD_MM / (z + FOLD_MM), self.w[0], self.w[-1])
        u = np.clip(r / (r + z + FOLD_MM), self.u[0], self.u[-1])
        result: Array = np.exp(self._spline(shape).ev(w, u)) / (r**2 + (z + FOLD_MM) ** 2)
        return result

    def _spline(self, shape: Array) -> Any:
        from scipy.interpolate import RectBivariateSpline

        key = shape.tobytes()
        if key not in self._splines:
            values = Collimator.from_vector(shape).response(self.nodes_r, self.nodes_z)
            values *= self.nodes_r**2 + (self.nodes_z + FOLD_MM) ** 2
            if len(self._splines) > MOST_SPLINES:
                self._splines.clear()
            self._splines[key] = RectBivariateSpline(
                self.w, self.u, np.log(values).reshape(DEPTH_NODES, DIRECTION_NODES)
            )
        return self._splines[key]


class _Model:
    """Expected counts as a function of the parameters: six of the pose and the clock, background, then the shape."""

    def __init__(self, sweep: Sweep, response: DetectorResponse | None) -> None:
        self.sweep, self.response = sweep, response
        seen = np.concatenate([sweep.source_seen(latency)[0].reshape(-1, 3) for latency in STARTS_S])
        self.table = _Table(np.hypot(seen[:, 0], seen[:, 1]), seen[:, 2])
        mean = float(sweep.counts.sum() / sweep.window_s.sum())
        pose_low = [LOWEST_S, -MOST_TILT_RAD, -MOST_TILT_RAD, *[-MOST_SHIFT_MM] * 3]
        pose_high = [HIGHEST_S, MOST_TILT_RAD, MOST_TILT_RAD, *[MOST_SHIFT_MM] * 3]
        shape_low, shape_high = np.array([-12.0]), np.array([12.0])
        if response is None:
            wide = np.array([12.0, *[0.0] * (len(PARAMETER_LOW) - 1)])
            shape_low, shape_high = PARAMETER_LOW - wide, PARAMETER_HIGH + wide
        far = max(SOURCE_REACH * sweep.source_sd_mm, 1.0)
        self.low = np.array([*pose_low, -1e-9, *shape_low, *[-far] * 3])
        self.high = np.array([*pose_high, max(mean, 1.0), *shape_high, *[far] * 3])
        self.free = np.ones(len(self.low), dtype=bool)
        self.free[BESIDE] = sweep.source_sd_mm > 0.0
        self.free[5] = response is not None
        steps = [STEPS["latency"], *[STEPS["tilt"]] * 2, *[STEPS["shift"]] * 3]
        self.steps = np.array([*steps, 0.01 * max(mean, 1.0), *[STEPS["other"]] * len(shape_low)])
        self.steps = np.append(self.steps, [STEPS["shift"]] * 3)

    def in_air(self, theta: Array, r: Array, z: Array) -> Array:
        """cps per kBq (m,) at r, z (m,)."""
        if self.response is not None:
            return float(np.exp(theta[7])) * self.response.in_air(r, z)
        probe = Collimator.from_vector(theta[SHAPE])
        behind = probe.leak_behind / (4 * np.pi * np.maximum(r**2 + (z + probe.recess_mm) ** 2, 1.0))
        front = self.table.in_air(theta[SHAPE], r, np.maximum(z, LEAST_FRONT_MM))
        result: Array = np.where(z > 0.0, front, behind)
        return result

    def place(self, theta: Array) -> tuple[Array, Array, Array]:
        """r and z (n, k) of the source in the corrected tip frame, and the weights (k,)."""
        seen, weights = self.sweep.source_seen(float(theta[0]), theta[BESIDE])
        local = seen @ tilted(theta[1:3]) - theta[3:6]
        return np.hypot(local[..., 0], local[..., 1]), local[..., 2], weights

    def expected(self, theta: Array) -> Array:
        """Counts (n,) the counter reports."""
        r, z, weights = self.place(theta)
        response = self.in_air(theta, r.ravel(), z.ravel()).reshape(r.shape) @ weights
        rate = self.sweep.activity_kbq * response + theta[6]
        return np.maximum(self.sweep.window_s * self.sweep.dead_time.expected(rate), 1e-9)

    def precision(self) -> Array:
        """Of the priors (p,): weakly of the collimator's shape, whose efficiency is free, and of the source's place."""
        result = np.zeros(len(self.low))
        if self.response is None:
            result[SHAPE][1:] = 1.0 / SHAPE_SD**2
        result[BESIDE] = 1.0 / max(self.sweep.source_sd_mm, 1e-9) ** 2
        return np.where(self.free, result, 0.0)

    def starts(self) -> list[Array]:
        """Starting points, best first: latency, and without a response aperture and recess."""
        found: list[tuple[float, Array]] = []
        for latency in STARTS_S:
            for shape in self._shapes():
                theta = np.array([latency, *[0.0] * 5, 0.0, *shape, *[0.0] * 3])
                expected = self.expected(theta)
                theta[7] += np.log(max(float(self.sweep.counts.sum()), 1.0) / float(expected.sum()))
                cost = float(np.sum(np.abs(deviance_residuals(self.sweep.counts, self.expected(theta)))))
                found.append((cost, theta))
        best = sorted(found, key=lambda pair: pair[0])
        return [np.clip(theta, self.low + 1e-6, self.high - 1e-6) for _, theta in best[:BEST_STARTS]]

    def _shapes(self) -> list[Array]:
        if self.response is not None:
            return [np.zeros(1)]
        return [
            Collimator(0.5, a, 1.05 * a, recess, 2.0, 6.0, 0.3, 0.05).as_vector()
            for a in START_APERTURES_MM
            for recess in START_RECESSES_MM
        ]


def fit_sweep(sweep: Sweep, response: DetectorResponse | None = None) -> SweepFit:
    """The best of several starts. Every window of `sweep` must have poses for all latencies of the range."""
    model = _Model(sweep, response)
    fits = [_descend(model, start) for start in model.starts()]
    theta, _ = min(fits, key=lambda pair: pair[1])
    return _result(model, theta)


def _descend(model: _Model, start: Array) -> tuple[Array, float]:
    from scipy.optimize import least_squares

    free = model.free
    weight = np.sqrt(model.precision())

    def residuals(values: Array) -> Array:
        theta = start.copy()
        theta[free] = values
        misfit = deviance_residuals(model.sweep.counts, model.expected(theta))
        result: Array = np.concatenate([misfit, (weight * (theta - start))[weight > 0.0]])
        return result

    def jacobian(values: Array) -> Array:
        here = residuals(values)
        columns = []
        for place, step in zip(np.flatnonzero(free), model.steps[free], strict=True):
            at = int(free[:place].sum())
            trial = values.copy()
            trial[at] += step if trial[at] + step < model.high[place] else -step
            columns.append((residuals(trial) - here) / (trial[at] - values[at]))
        return np.stack(columns, axis=1)

    fit = least_squares(
        residuals,
        start[free],
        jac=jacobian,
        bounds=(model.low[free], model.high[free]),
        x_scale=10.0 * model.steps[free],
        max_nfev=MOST_EVALUATIONS,
        ftol=1e-5,
        xtol=1e-5,
        gtol=1e-5,
    )
    theta = start.copy()
    theta[free] = fit.x
    return theta, float(fit.cost)


def _result(model: _Model, theta: Array) -> SweepFit:
    expected = model.expected(theta)
    design = np.stack([_slope(model, theta, k) for k in range(len(theta))], axis=1)[:, model.free]
    information = design.T @ (design / expected[:, None])
    dof = max(len(expected) - int(model.free.sum()), 1)
    chi2 = float(np.sum((model.sweep.counts - expected) ** 2 / expected)) / dof
    # What the counts tell is worth less where they do not fit; what was known before stays as it is.
    covariance = _inverse(information / max(chi2, 1.0) + np.diag(model.precision()[model.free]))
    sd = np.full(len(theta), np.nan)
    sd[model.free] = np.sqrt(np.diag(covariance))
    sd[0] = np.hypot(sd[0], STAMP_SD_S)
    r, z, _ = model.place(theta)
    middle = r.shape[1] // 2
    return SweepFit(
        latency_s=float(theta[0]),
        tilt_rad=theta[1:3].copy(),
        shift_mm=theta[3:6].copy(),
        scale=float(np.exp(theta[7])) if model.response is not None else 1.0,
        background_cps=max(float(theta[6]), 0.0),
        collimator=None if model.response is not None else Collimator.from_vector(theta[SHAPE]),
        sd=sd[:N_POSE],
        scale_sd=float(sd[7]) if model.response is not None else _response_sd(model, theta, covariance),
        chi2_per_dof=chi2,
        unexplained=_unexplained(model.sweep, chi2),
        r_mm=r[:, middle],
        z_mm=z[:, middle],
        source_shift_mm=theta[BESIDE].copy(),
        source_sd_mm=sd[BESIDE],
    )


def _response_sd(model: _Model, theta: Array, covariance: Array) -> float:
    """Relative standard error of the fitted response on the axis, where it is largest of 10, 30 and 50 mm.

    By the delta method over the collimator's shape; the source's place and the pose are free beside it.
    """
    r, z = np.zeros(len(TOLD_AT_MM)), np.array(TOLD_AT_MM)
    size = len(theta[SHAPE])
    slopes = np.zeros((len(z), len(theta)))
    for k in range(size):
        step = np.eye(size)[k] * STEPS["other"]
        up, down = (Collimator.from_vector(theta[SHAPE] + side * step).response(r, z) for side in (1, -1))
        slopes[:, SHAPE.start + k] = np.log(up / down) / (2.0 * STEPS["other"])
    free = slopes[:, model.free]
    return float(np.sqrt(np.einsum("ni,ij,nj->n", free, covariance, free).max()))


def _unexplained(sweep: Sweep, chi2_per_dof: float) -> float:
    """Variation beyond chance round the fit over that round a constant rate; 1 where there is none to explain."""
    mean = sweep.window_s * float(sweep.counts.sum() / sweep.window_s.sum())
    constant = float(np.mean((sweep.counts - mean) ** 2 / np.maximum(mean, 1e-9)))
    return 1.0 if constant <= 1.0 else max(chi2_per_dof - 1.0, 0.0) / (constant - 1.0)


def _inverse(fisher: Array) -> Array:
    """Covariance of a Fisher matrix; what the data do not tell gets a huge error, never none."""
    size = np.sqrt(np.maximum(np.diag(fisher), LEAST_INFORMATION))
    values, vectors = np.linalg.eigh(fisher / np.outer(size, size))
    result: Array = (vectors / np.maximum(values, LEAST_INFORMATION)) @ vectors.T / np.outer(size, size)
    return result


def _slope(model: _Model, theta: Array, k: int) -> Array:
    """d expected / d theta_k (n,); at a bound from within, for there are no poses beyond it."""
    ahead, back = theta.copy(), theta.copy()
    ahead[k] = min(theta[k] + model.steps[k], model.high[k])
    back[k] = max(theta[k] - model.steps[k], model.low[k])
    result: Array = (model.expected(ahead) - model.expected(back)) / (ahead[k] - back[k])
    return result
