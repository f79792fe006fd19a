"""The figures of a gamma probe in the manner of NEMA NU 3 from a freehand scan round a point source in air.

The calibration's response carries each count to the place the standard names; how the counts deviate from it, as a
smooth function of distance, offset or angle, is fitted by Poisson scoring and turned into the figure with its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.counter.counttest import Z95, rate_interval
from calibration.daily.checkfit import CheckData, CheckFit
from calibration.probe.response import DetectorResponse

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Distances of the standard, and the one at which the view is measured.
DISTANCES_MM, VIEW_MM = (10.0, 30.0, 50.0), 30.0
# A distance was visited where the source was on the axis within this share of it (and this much) for this long.
NEAR_SHARE, NEAR_MM, LEAST_DWELL_S = 0.12, 1.5, 1.0
# On the axis: where the response is at least this share of the axis' own.
ON_AXIS_SHARE = 0.7
# Nodes of the deviation along the axis (mm), across it at 30 mm (mm) and in angle (degrees).
AXIS_KNOTS = np.array([2.0, 10.0, 20.0, 30.0, 40.0, 50.0, 70.0])
LATERAL_KNOTS = np.array([0.0, 7.0, 11.0, 15.0, 19.0, 24.0, 30.0, 38.0, 50.0])
ANGLE_KNOTS = np.array([0.0, 11.0, 18.0, 25.0, 32.0, 40.0, 50.0, 62.0, 75.0])
# The deviation is free to this (log), and bends by this from one node to the next.
DEVIATION_SD, BEND_SD = 0.7, 0.15
# The view is taken from distances within these bounds; they are carried to 30 mm along the rays.
VIEW_RANGE_MM = (20.0, 42.0)
# Crossings are not measured where the deviation there is known no better than this.
LARGEST_DEVIATION_SD = 0.35
DRAWS, DRAWN_BY = 300, 20
# Angles off the axis, seen from the crystal, of the probe's side and back; farther than this a leak is too weak.
SIDE_DEG, BACK_DEG, LEAK_REACH_MM = 75.0, 130.0, 90.0
# Seconds beside the probe without which its shielding was not looked at.
LEAST_LEAK_S = 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its 95 % interval; `seconds` of live time speak for it."""

    value: float
    ci95: tuple[float, float]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A view at 30 mm: offsets or angles (m,), measured and calibrated response relative to the axis, its log SD."""

    at: Array
    measured: Array
    calibrated: Array
    log_sd: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Deviation:
    knots: Array
    log_factor: Array
    covariance: Array

    def at(self, u: Array) -> tuple[Array, Array]:
        """Log factor and its SD at u (m,)."""
        basis = hats(u, self.knots)
        return basis @ self.log_factor, np.sqrt(
            np.maximum(np.einsum("ij,jk,ik->i", basis, self.covariance, basis), 0)
        )

    def draws(self, u: Array) -> Array:
        """(DRAWS, m) log factors as the counts leave them open."""
        rng = np.random.default_rng(DRAWN_BY)
        drawn = rng.multivariate_normal(self.log_factor, self.covariance, DRAWS, method="eigh")
        result: Array = drawn @ hats(u, self.knots).T
        return result


def hats(u: Array, knots: Array) -> Array:
    """Linear hat functions (m, k) on uneven knots (k,), constant beyond the ends."""
    return np.stack([np.interp(u, knots, row) for row in np.eye(len(knots))], axis=1)


def deviation(data: CheckData, fit: CheckFit, which: Bools, u: Array, knots: Array) -> _Deviation:
    """Log factor of the source's counts on what was fitted, over u (n,), from the windows `which` (n,)."""
    counts, live = data.counts[which], data.window_s[which]
    source, room, dead = fit.source_cps[which], fit.room_cps, data.dead_time
    basis = hats(u[which], knots)
    bend = np.diff(np.eye(len(knots)), 2, axis=0)
    prior = np.eye(len(knots)) / DEVIATION_SD**2 + bend.T @ bend / BEND_SD**2
    h = np.zeros(len(knots))
    information = prior
    for _ in range(12):
        signal = source * np.exp(basis @ h)
        rate = signal + room
        mean = np.maximum(live * dead.expected(rate), 1e-9)
        slope = live * signal * dead.slope(rate)
        gradient = basis.T @ (slope * (counts / mean - 1.0)) - prior @ h
        information = basis.T @ ((slope**2 / mean)[:, None] * basis) + prior
        h = h + np.clip(np.linalg.solve(information, gradient), -0.5, 0.5)
    rate = source * np.exp(basis @ h) + room
    mean = np.maximum(live * dead.expected(rate), 1e-9)
    scatter = float(np.sum((counts - mean) ** 2 / mean)) / max(len(counts) - len(knots), 1)
    covariance = np.asarray(np.linalg.inv(information) * max(scatter, 1.0), dtype=np.float64)
    return _Deviation(knots, h, covariance)


def sensitivities(data: CheckData, fit: CheckFit, response: DetectorResponse) -> dict[float, Measured | None]:
    """cps/MBq on the axis at each distance, if the fitted strength were the source's; None where it never was."""
    z = np.maximum(fit.z_mm, 0.1)
    on_axis = response.in_air(np.zeros_like(z), z)
    seen = (fit.z_mm > 0.0) & (response.in_air(fit.r_mm, z) >= ON_AXIS_SHARE * on_axis)
    found: dict[float, Measured | None] = {}
    factor = deviation(data, fit, seen, fit.z_mm, AXIS_KNOTS) if seen.any() else None
    for distance in DISTANCES_MM:
        near = seen & (np.abs(fit.z_mm - distance) <= NEAR_SHARE * distance + NEAR_MM)
        seconds = float(data.window_s[near].sum())
        if factor is None or seconds < LEAST_DWELL_S:
            found[distance] = None
            continue
        log, sd = (float(v[0]) for v in factor.at(np.array([distance])))
        # 1 / d^2: an error of the place along the axis is one of the response.
        along = 2.0 * fit.place_sd_mm / (distance + response.recess_mm)
        value = 1000.0 * float(response.in_air(np.zeros(1), np.array([distance]))[0]) * np.exp(log)
        found[distance] = _log_normal(float(value), float(np.hypot(sd, along)), seconds)
    return found


def _log_normal(value: float, relative_sd: float, seconds: float) -> Measured:
    spread = float(np.exp(Z95 * relative_sd))
    return Measured(value, (value / spread, value * spread), seconds)


def lateral_view(
    data: CheckData, fit: CheckFit, response: DetectorResponse
) -> tuple[Profile, dict[float, Measured | None]] | None:
    """The view across the axis at 30 mm, and its full widths in mm at half and at a tenth of the maximum."""
    z, recess = fit.z_mm, response.recess_mm
    which = (z >= VIEW_RANGE_MM[0]) & (z <= VIEW_RANGE_MM[1])
    offset = fit.r_mm * (VIEW_MM + recess) / np.maximum(z + recess, 1.0)
    at = np.arange(0.0, LATERAL_KNOTS[-1], 0.25)
    calibrated = response.in_air(at, np.full(len(at), VIEW_MM))
    return _view(data, fit, which, offset, LATERAL_KNOTS, at, calibrated)


def angular_view(
    data: CheckData, fit: CheckFit, response: DetectorResponse
) -> tuple[Profile, dict[float, Measured | None]] | None:
    """The view over the angle at 30 mm from the face's centre, and its full widths in degrees."""
    distance, angle = np.hypot(fit.r_mm, fit.z_mm), np.degrees(fit.angle_rad)
    which = (distance >= VIEW_RANGE_MM[0]) & (distance <= VIEW_RANGE_MM[1]) & (angle <= ANGLE_KNOTS[-1])
    at = np.arange(0.0, ANGLE_KNOTS[-1], 0.25)
    turn = np.radians(at)
    calibrated = response.in_air(VIEW_MM * np.sin(turn), VIEW_MM * np.cos(turn))
    return _view(data, fit, which, angle, ANGLE_KNOTS, at, calibrated)


def _view(
    data: CheckData, fit: CheckFit, which: Bools, u: Array, knots: Array, at: Array, calibrated: Array
) -> tuple[Profile, dict[float, Measured | None]] | None:
    if data.window_s[which].sum() < LEAST_DWELL_S:
        return None
    found = deviation(data, fit, which, u, knots)
    log, sd = found.at(at)
    relative = calibrated / calibrated[0]
    measured = relative * np.exp(log - log[0])
    widths: dict[float, Measured | None] = {}
    draws = relative * np.exp((lines := found.draws(at)) - lines[:, :1])
    for level in (0.5, 0.1):
        widths[level] = _width(at, measured, draws, sd, level, float(u[which].max()))
    return Profile(at, measured, relative, sd), widths


def _width(
    at: Array, measured: Array, draws: Array, sd: Array, level: float, reach: float
) -> Measured | None:
    """Twice where the profile falls below `level`; None where no count tells."""
    half = crossing(at, measured, level)
    if half is None or half > reach or np.interp(half, at, sd) > LARGEST_DEVIATION_SD:
        return None
    drawn = [found for line in draws if (found := crossing(at, line, level)) is not None]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Measured(2.0 * half, (2.0 * float(low), 2.0 * float(high)))


def crossing(at: Array, profile: Array, level: float) -> float | None:
    """Where a profile (m,) that begins at 1 first falls below `level`, by linear interpolation."""
    below = np.flatnonzero(profile < level)
    if len(below) == 0 or below[0] == 0:
        return None
    k = int(below[0])
    share = (profile[k - 1] - level) / (profile[k - 1] - profile[k])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))


def calibrated_width(response: DetectorResponse, level: float, angular: bool) -> float | None:
    """The same width of the calibration itself, mm or degrees."""
    at = np.arange(0.0, ANGLE_KNOTS[-1] if angular else LATERAL_KNOTS[-1], 0.25)
    turn = np.radians(at)
    r, z = (VIEW_MM * np.sin(turn), VIEW_MM * np.cos(turn)) if angular else (at, np.full(len(at), VIEW_MM))
    seen = response.in_air(r, z)
    half = crossing(at, seen / seen[0], level)
    return None if half is None else 2.0 * half


@dataclass(frozen=True, slots=True)
class Leak:
    """Counts from beside or behind, in percent of what the front counts at the same distance from the crystal."""

    side: Measured | None
    back: Measured | None
    calibrated_percent: float
    room: Measured


def leaks(data: CheckData, fit: CheckFit, response: DetectorResponse) -> Leak:
    """Leaks of side and back, jointly with the room's counts, by profile likelihood."""
    height = fit.z_mm + response.recess_mm
    distance = np.hypot(fit.r_mm, height)
    angle = np.degrees(np.arctan2(fit.r_mm, height))
    face = np.maximum(distance - response.recess_mm, 0.5)
    front = response.in_air(np.zeros_like(face), face) * data.decay * fit.strength_kbq
    near, behind = distance <= LEAK_REACH_MM, fit.z_mm <= 0.0
    side = behind & near & (angle >= SIDE_DEG) & (angle < BACK_DEG)
    back = behind & near & (angle >= BACK_DEG)
    away = np.where(side | back, 0.0, fit.source_cps)
    use = side | back | (away < fit.room_cps)
    columns = np.stack([np.where(side, front, 0.0), np.where(back, front, 0.0), np.ones_like(face)], axis=1)
    three = _NonNegative(data.counts[use], data.window_s[use], columns[use], away[use])
    seconds = [float(data.window_s[w].sum()) for w in (side, back)]
    values = [three.measured(k, 100.0) if seconds[k] >= LEAST_LEAK_S else None for k in range(2)]
    leak = response.leak / (4 * np.pi) / float(response.in_air(np.zeros(1), np.array([VIEW_MM]))[0])
    room = three.measured(2, 1.0)
    if not use.any():
        low, high = (max(fit.room_cps + k * Z95 * fit.room_sd_cps, 0.0) for k in (-1.0, 1.0))
        room = Measured(fit.room_cps, (low, high))
    percent = 100.0 * leak / (VIEW_MM + response.recess_mm) ** 2
    beside, astern = (
        None if v is None else Measured(v.value, v.ci95, s) for v, s in zip(values, seconds, strict=True)
    )
    return Leak(beside, astern, float(percent), room)


class _NonNegative:
    """Poisson counts of non-negative amounts of three columns (n, 3) over a known rate, by EM."""

    def __init__(self, counts: Array, live: Array, columns: Array, known: Array) -> None:
        self.counts, self.live, self.columns, self.known = counts, live, columns, known
        self.weight = live @ columns if len(live) else np.zeros(3)
        self.best = self._fit(None, 0.0)
        self.value = self._likelihood(self.best)

    def measured(self, k: int, unit: float) -> Measured:
        """Amount k times `unit`, with the interval in which twice the log-likelihood falls by less than 3.84."""
        best = float(self.best[k])
        if self.weight[k] <= 0.0:
            return Measured(0.0, (0.0, float("inf")))
        _, ceiling = rate_interval(float(self.counts.sum()), float(self.weight[k]))
        low = 0.0 if best < 1e-12 or self._fall(k, 0.0) < Z95**2 else self._bound(k, 0.0, best)
        return Measured(unit * best, (unit * low, unit * self._bound(k, 1.5 * ceiling, best)))

    def _bound(self, k: int, outside: float, inside: float) -> float:
        for _ in range(30):
            middle = 0.5 * (outside + inside)
            if self._fall(k, middle) > Z95**2:
                outside = middle
            else:
                inside = middle
        return 0.5 * (outside + inside)

    def _fall(self, k: int, amount: float) -> float:
        return 2.0 * (self.value - self._likelihood(self._fit(k, amount)))

    def _likelihood(self, amounts: Array) -> float:
        mean = np.maximum(self.live * (self.columns @ amounts + self.known), 1e-12)
        return float(np.sum(self.counts * np.log(mean) - mean))

    def _fit(self, fixed: int | None, value: float) -> Array:
        amounts = np.full(3, float(self.counts.sum())) / np.maximum(3.0 * self.weight, 1e-9)
        amounts[self.weight <= 0.0] = 0.0
        for _ in range(150):
            if fixed is not None:
                amounts[fixed] = value
            rate = np.maximum(self.columns @ amounts + self.known, 1e-12)
            gained = self.columns.T @ (self.counts / rate)
            amounts = amounts * np.divide(gained, self.weight, out=np.zeros(3), where=self.weight > 0.0)
        if fixed is not None:
            amounts[fixed] = value
        return amounts
