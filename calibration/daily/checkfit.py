"""Where a check source lies, how strong it is, and what the room adds: one fit to a tracked scan round it.

The response is the calibration's; free are place, strength, room counts, latency and a small correction of the tip
frame, each leaning on what is known of it. Beside and behind the probe the calibration is trusted little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime
from calibration.probe.gridfit import deviance_residuals
from calibration.probe.response import DetectorResponse
from calibration.probe.sweepfit import HIGHEST_S, LOWEST_S, tilted

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Sampler = Callable[[Array], tuple[Array, Bools]]

# Path samples within a window: 0.1 s at 60 mm/s is bent by less than 0.1 % over three.
PATH_SAMPLES = 3
# What is known before: a hand-held source lies within this of the place that is told, a tip frame is as good as this.
PLACE_SD_MM, TILT_SD_RAD, SHIFT_SD_MM = 3.0, float(np.deg2rad(1.5)), 1.5
# Latencies in use, before anything is known of this counter's.
LATENCY_MEAN_S, LATENCY_SD_S = 0.12, 0.12
# Relative error of the calibrated response: pose noise on the slopes of the view, and beyond its edge.
FRONT_SD, BEYOND_SD = 0.03, 4.0
EDGE_RAD, EDGE_WIDTH_RAD = float(np.deg2rad(75.0)), float(np.deg2rad(4.0))
# Depths at which a source may lie in front of the windows with most counts, and how many of those are tried.
TRIAL_DEPTHS_MM, TRIAL_WINDOWS, FOLLOWED = (5.0, 12.0, 22.0, 32.0, 50.0, 80.0), 10, 2
# A source adds this much to the log-likelihood (five sigma), or it is none.
LEAST_GAIN = 12.5
LEAST_ROOM_CPS = 0.02
STEPS = np.array([1e-3, 2e-3, 2e-3, 0.02, 0.02, 0.05, 0.05, 0.05, 1e-3, 1e-2])
# Shares of the scan after which a push of the source is looked for.
MOVED_AFTER = (0.25, 0.4, 0.55, 0.7, 0.85)
N_PARAMETERS = len(STEPS)
MOST_EVALUATIONS = 40


@dataclass(frozen=True, slots=True, eq=False)
class CheckData:
    """Windows (n,) as stamped, decay factor of each (n,), and the tip's pose at any time."""

    end_s: Array
    counts: Array
    window_s: Array
    decay: Array
    sample: Sampler
    dead_time: DeadTime = NO_DEAD_TIME

    def __len__(self) -> int:
        return len(self.counts)

    def poses(self, latency_s: float) -> Array:
        """(n, PATH_SAMPLES, 4, 4): the tip along each window."""
        share = (np.arange(PATH_SAMPLES) + 0.5) / PATH_SAMPLES
        times = self.end_s[:, None] - latency_s - self.window_s[:, None] * (1.0 - share)
        return self.sample(times.ravel())[0].reshape(len(self), PATH_SAMPLES, 4, 4)

    def counted(self, rate_cps: Array) -> Array:
        """Expected counts (n,) of true rates (n,)."""
        result: Array = self.window_s * self.dead_time.expected(rate_cps)
        return np.maximum(result, 1e-9)

    def part(self, which: Bools) -> CheckData:
        """Some of the windows."""
        return CheckData(
            self.end_s[which],
            self.counts[which],
            self.window_s[which],
            self.decay[which],
            self.sample,
            self.dead_time,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What was known before: place (3,) in Reference, latency with its SD; None where nothing is."""

    place_mm: tuple[float, float, float] | None = None
    place_sd_mm: float = PLACE_SD_MM
    latency_s: float | None = None
    latency_sd_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """By how much (3,) the source lies elsewhere after `share` of the scan, with covariance (3, 3), mm."""

    share: float
    shift_mm: Array
    covariance: Array

    @property
    def significance(self) -> float:
        """chi2 with three degrees of freedom for no move."""
        return float(self.shift_mm @ np.linalg.pinv(self.covariance) @ self.shift_mm)

    @property
    def sd_mm(self) -> float:
        """The largest standard error in any direction."""
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance)[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class CheckFit:
    """What the scan says; lengths mm, `sd` (10,) in the order of `theta`. n windows."""

    theta: Array
    sd: Array
    chi2_per_dof: float
    gain: float  # log-likelihood over that of the room alone
    r_mm: Array  # (n,) mean over each window, source in the corrected tip frame
    z_mm: Array
    source_cps: Array  # (n,) of the source at its fitted strength
    unit_cps: Array = field(repr=False)  # (n,) per kBq at the reference time
    expected: Array = field(repr=False)  # (n,) counts
    moves: tuple[Move, ...] = ()

    @property
    def latency_s(self) -> float:
        """Count latency."""
        return float(self.theta[0])

    @property
    def place_mm(self) -> Array:
        """(3,): the source in Reference."""
        return self.theta[5:8]

    @property
    def place_sd_mm(self) -> float:
        """The largest of the place's standard errors."""
        return float(self.sd[5:8].max())

    @property
    def strength_kbq(self) -> float:
        """Activity at the reference time in units of the calibration."""
        return float(np.exp(self.theta[8]))

    @property
    def strength_relative_sd(self) -> float:
        """Its relative standard error from counts and geometry."""
        return float(self.sd[8])

    @property
    def room_cps(self) -> float:
        """Counts that do not depend on where the probe looks."""
        return float(np.exp(self.theta[9]))

    @property
    def room_sd_cps(self) -> float:
        """Standard error of the room's counts."""
        return self.room_cps * float(self.sd[9])

    @property
    def angle_rad(self) -> Array:
        """(n,): angle of the source off the axis, seen from the face."""
        result: Array = np.arctan2(self.r_mm, self.z_mm)
        return result


class _Model:
    def __init__(self, data: CheckData, response: DetectorResponse, known: Known) -> None:
        self.data, self.response = data, response
        mean = LATENCY_MEAN_S if known.latency_s is None else known.latency_s
        sd = LATENCY_SD_S if known.latency_sd_s is None else max(known.latency_sd_s, 0.02)
        self.centre = np.array([mean, *[0.0] * 9])
        self.prior_sd = np.array([sd, *[TILT_SD_RAD] * 2, *[SHIFT_SD_MM] * 2, *[np.inf] * 5])
        if known.place_mm is not None:
            self.centre[5:8] = known.place_mm
            self.prior_sd[5:8] = known.place_sd_mm
        self._latency, self._poses = np.nan, np.zeros((0, 1, 4, 4))

    def place(self, theta: Array) -> tuple[Array, Array]:
        """r and z (n, PATH_SAMPLES) of the source in the corrected tip frame."""
        if theta[0] != self._latency:
            self._latency, self._poses = float(theta[0]), self.data.poses(float(theta[0]))
        offset = theta[5:8] - self._poses[..., :3, 3]
        local = np.einsum("nkij,nki->nkj", self._poses[..., :3, :3], offset) @ tilted(theta[1:3])
        return np.hypot(local[..., 0] - theta[3], local[..., 1] - theta[4]), local[..., 2]

    def unit(self, theta: Array) -> tuple[Array, Array, Array]:
        """cps per kBq at the reference time (n,), and mean r and z (n,)."""
        r, z = self.place(theta)
        seen = self.response.in_air(r.ravel(), z.ravel()).reshape(r.shape).mean(axis=1)
        return seen * self.data.decay, r.mean(axis=1), z.mean(axis=1)

    def residuals(self, theta: Array) -> Array:
        """Roots of the deviance (n,), shrunk where the response is not to be trusted, and those of the priors."""
        unit, r, z = self.unit(theta)
        source = np.exp(theta[8]) * unit
        expected = self.data.counted(source + np.exp(theta[9]))
        shrink = self.shrink(expected, self.data.window_s * source, np.arctan2(r, z))
        pull = (theta - self.centre) / self.prior_sd
        plain = deviance_residuals(self.data.counts, expected)
        return np.concatenate([plain * shrink, pull[np.isfinite(self.prior_sd)]])

    @staticmethod
    def shrink(expected: Array, of_source: Array, angle_rad: Array) -> Array:
        """Factor (n,) on a residual for the error of the response there."""
        beyond = 1.0 / (1.0 + np.exp(-np.clip((angle_rad - EDGE_RAD) / EDGE_WIDTH_RAD, -40.0, 40.0)))
        sd = FRONT_SD + BEYOND_SD * beyond
        result: Array = 1.0 / np.sqrt(1.0 + (sd * of_source) ** 2 / np.maximum(expected, 1e-9))
        return result

    def scaled(self, theta: Array) -> tuple[Array, float]:
        """The parameters with strength and room counts that fit best there, and the log-likelihood."""
        unit, _, _ = self.unit(theta)
        strength, room, value = two_components(self.data, unit)
        found = theta.copy()
        found[8], found[9] = np.log(strength), np.log(room)
        return found, value


def two_components(data: CheckData, unit: Array) -> tuple[float, float, float]:
    """Strength and room counts by EM (dead time left out), and the log-likelihood they reach."""
    total, live = float(data.counts.sum()), float(data.window_s.sum())
    shape = float((unit * data.window_s).sum())
    strength, room = 0.8 * total / max(shape, 1e-9), 0.2 * total / live + LEAST_ROOM_CPS
    for _ in range(60):
        ratio = data.counts / (strength * unit + room) / data.window_s
        strength *= float((ratio * unit * data.window_s).sum()) / max(shape, 1e-9)
        room *= float((ratio * data.window_s).sum()) / live
        strength, room = max(strength, 1e-9), max(room, LEAST_ROOM_CPS)
    rate = strength * unit + room
    mean = data.window_s * rate
    return strength, room, float(np.sum(data.counts * np.log(mean) - mean))


def fit_check(data: CheckData, response: DetectorResponse, known: Known | None = None) -> CheckFit:
    """The best of several starts; every window must have poses for all latencies of the range."""
    model = _Model(data, response, known or Known())
    best = min((_descend(model, start) for start in _starts(model)), key=lambda pair: pair[1])[0]
    return _result(model, best)


def _starts(model: _Model) -> list[Array]:
    """Where the source may lie, best first: as told, or in front of the windows that count most."""
    told = [model.centre] if np.isfinite(model.prior_sd[5]) else []
    trials = [*told, *_guesses(model)]  # a source that lies elsewhere is to be found there
    found = sorted((model.scaled(theta) for theta in trials), key=lambda pair: -pair[1])
    return [theta for theta, _ in found[:FOLLOWED]]


def _guesses(model: _Model) -> list[Array]:
    data = model.data
    poses = data.poses(float(model.centre[0]))[:, PATH_SAMPLES // 2]
    order = np.argsort(-data.counts / data.window_s)
    top = order[: max(TRIAL_WINDOWS, len(order) // 20)]
    chosen = top[np.linspace(0, len(top) - 1, min(TRIAL_WINDOWS, len(top))).round().astype(np.intp)]
    guesses = []
    for i in chosen:
        for depth in TRIAL_DEPTHS_MM:
            theta = model.centre.copy()
            theta[5:8] = poses[i, :3, 3] + depth * poses[i, :3, 2]
            guesses.append(theta)
    return guesses


def _descend(model: _Model, start: Array) -> tuple[Array, float]:
    from scipy.optimize import least_squares

    low, high = np.full(N_PARAMETERS, -np.inf), np.full(N_PARAMETERS, np.inf)
    low[0], high[0], low[9] = LOWEST_S, HIGHEST_S, np.log(LEAST_ROOM_CPS) - 1e-9

    def jacobian(theta: Array) -> Array:
        here = model.residuals(theta)
        columns = []
        for k, step in enumerate(STEPS):
            trial = theta.copy()
            trial[k] += step if trial[k] + step < high[k] else -step
            columns.append((model.residuals(trial) - here) / (trial[k] - theta[k]))
        return np.stack(columns, axis=1)

    fit = least_squares(
        model.residuals,
        np.clip(start, low + 1e-6, high - 1e-6),
        jac=jacobian,
        bounds=(low, high),
        x_scale=10.0 * STEPS,
        max_nfev=MOST_EVALUATIONS,
        ftol=1e-5,
        xtol=1e-5,
        gtol=1e-5,
    )
    return np.asarray(fit.x, dtype=np.float64), float(fit.cost)


def _result(model: _Model, theta: Array) -> CheckFit:
    data = model.data
    unit, r, z = model.unit(theta)
    source = np.exp(theta[8]) * unit
    expected = data.counted(source + np.exp(theta[9]))
    shrink = model.shrink(expected, data.window_s * source, np.arctan2(r, z))
    left = (data.counts - expected) * shrink / np.sqrt(expected)
    chi2 = float(left @ left) / max(len(data) - N_PARAMETERS, 1)
    columns = [(model.residuals(theta + d) - model.residuals(theta - d)) / 2.0 for d in np.diag(STEPS)]
    design = np.stack(columns, axis=1)  # per step, so that the matrix is well scaled
    sd = np.sqrt(np.diag(np.linalg.pinv(design.T @ design))) * STEPS * np.sqrt(max(chi2, 1.0))
    flat = data.counted(np.full(len(data), max(float(data.counts.sum() / data.window_s.sum()), 1e-6)))
    gain = np.sum(data.counts * np.log(expected / flat) - (expected - flat))
    moves = _moves(model, theta, design, max(chi2, 1.0))
    return CheckFit(theta, sd, chi2, float(gain), r, z, source, unit, expected, moves)


def _moves(model: _Model, theta: Array, design: Array, scatter: float) -> tuple[Move, ...]:
    """What a push of the source after some of the windows would explain: one Newton step of the joint fit."""
    n, left = len(model.data), model.residuals(theta)
    found = []
    for share in MOVED_AFTER:
        late = np.zeros(len(left), dtype=bool)
        late[int(share * n) : n] = True
        both = np.concatenate([design, np.where(late[:, None], design[:, 5:8], 0.0)], axis=1)
        inverse = np.linalg.pinv(both.T @ both)
        step = (-inverse @ both.T @ left)[-3:] * STEPS[5:8]
        covariance = inverse[-3:, -3:] * np.outer(STEPS[5:8], STEPS[5:8]) * scatter
        found.append(Move(share, step, covariance))
    return tuple(found)
