"""Fit of the detector response to a point-source grid: collimator physics first, then a smooth correction.

The correction is a Gaussian process on the logarithm (Rasmussen & Williams 2006, sections 2.2 and 3.4, for Poisson
counts); how far and how fast it may bend is chosen by held-out points, so a probe that the physics describes keeps the
pure physics, and where nothing was measured the correction fades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.probe.collimator import COARSE, FINE, Collimator, Quadrature

Array = NDArray[np.float64]

# Relative error of any model of a probe: below it a misfit has no meaning.
MODEL_ERROR_FLOOR = 0.005
# A larger freedom must earn this share of the held-out misfit, the more the first one over pure physics.
NEEDED_GAIN, FIRST_GAIN = 0.98, 0.95
# A held-out misfit within so many standard deviations of 1 leaves nothing to correct.
ENOUGH_SIGMAS = 1.0
N_FOLDS = 10
# From how deep a probe looks, near enough to order points by their angle.
TYPICAL_RECESS_MM = 10.0
# Starting points: aperture and recess in mm, attenuation of the rim; the crystal starts slightly wider than the bore.
START_APERTURES_MM, START_RECESSES_MM, START_RIMS_PER_MM = (
    (2.5, 5.0, 8.0, 12.0),
    (1.0, 4.0, 10.0, 25.0),
    (1.0, 3.0),
)
# Starts that are followed to their end.
BEST_STARTS = 3
# Least and largest of the logarithms of a collimator's parameters, in its order.
PARAMETER_LOW = np.log([1e-5, 0.5, 0.5, 0.2, 0.05, 0.5, 0.01, 1e-6, 0.3])
PARAMETER_HIGH = np.log([5.0, 40.0, 40.0, 80.0, 20.0, 40.0, 3.0, 1e3, 30.0])
# A common probe and how far others stray from it, in log units: only what counts cannot tell leans on it.
COMMON_PROBE = np.log([0.4, 5.0, 5.0, 8.0, 2.5, 6.0, 0.4, 0.03, 3.0])
COMMON_SD = np.array([np.inf, 1.0, 1.0, 1.0, 0.7, 1.0, 1.0, 3.0, 0.8])
# Places of the efficiency and the leak in a collimator's vector: the response is a sum of one of each.
EFFICIENCY, LEAK = 0, 7
# Step of a derivative in log units, where the response changes by less than its model error.
LOG_STEP = 1e-3
# Evaluations of the coarse and the fine fit, and of the folds that start from the fine one.
COARSE_EVALUATIONS, FINE_EVALUATIONS, FOLD_EVALUATIONS = 40, 12, 4
# Steps of the correction's fit: it settles in fewer; at most one log unit each.
CORRECTION_ROUNDS, CORRECTION_SETTLED = 25, 1e-5
# Share of a point's variance that the prior's main directions may leave out: a tenth of a percent of its factor.
LEAST_VARIANCE_SHARE = 1e-4


@dataclass(frozen=True, slots=True)
class Freedom:
    """How the correction may bend: its SD in log units, and its lengths in angle (rad) and log distance."""

    sd: float
    angle_rad: float
    log_distance: float


PURE_PHYSICS = Freedom(0.0, 1.0, 1.0)
FREEDOMS = tuple(
    Freedom(sd, angle, distance)
    for sd in (0.03, 0.1, 0.3)
    for angle, distance in ((0.15, 0.5), (0.3, 1.0), (0.6, 2.0))
)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Points (n,) in air in front of the face: lateral offset, distance, counts, live time, source activity."""

    r_mm: Array
    z_mm: Array
    counts: Array
    live_s: Array
    activity_kbq: Array

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def exposure(self) -> Array:
        """Counts expected per unit of response: live time times activity."""
        return self.live_s * self.activity_kbq

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Grid:
        """Some of the points."""
        return Grid(*(getattr(self, k)[which] for k in ("r_mm", "z_mm", "counts", "live_s", "activity_kbq")))


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A smooth factor on a collimator's response: exp of a Gaussian process known through measured points.

    `places` (n, 2) are angle (rad) and log distance (mm) as seen from the crystal, `weights` (n,).
    """

    freedom: Freedom
    places: Array
    weights: Array

    def log_factor(self, places: Array) -> Array:
        """Logarithm of the factor (m,) at `places` (m, 2); 0 far from every measured point."""
        result: Array = _kernel(places, self.places, self.freedom) @ self.weights
        return result


@dataclass(frozen=True, slots=True, eq=False)
class FittedResponse:
    """The fit: `in_air(r, z)` in cps/kBq; the held-out misfit per degree of freedom is honest cross-validation."""

    collimator: Collimator
    correction: Correction | None  # None where physics suffices
    chi2_per_dof: float
    held_out_chi2_per_dof: float
    scale_relative_sd: float
    tail_relative_sd: float = 0.0  # of what is left far beside the axis, from the counts
    alone_mm: tuple[float, float] | None = None  # the point that makes most of the held-out misfit

    @property
    def correction_sd(self) -> float:
        """Freedom that the correction was given, in log units."""
        return 0.0 if self.correction is None else self.correction.freedom.sd

    def in_air(self, r_mm: Array, z_mm: Array) -> Array:
        """Sensitivity (n,) in cps/kBq."""
        physics = self.collimator.response(r_mm, z_mm)
        if self.correction is None:
            return physics
        result: Array = physics * np.exp(
            self.correction.log_factor(_places(r_mm, z_mm, self.collimator.recess_mm))
        )
        return result


def deviance_residuals(counts: Array, expected: Array) -> Array:
    """Signed roots of the Poisson deviance, shrunk by the model-error floor where counts are many."""
    expected = np.maximum(expected, 1e-12)
    log_term = np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-12) / expected), 0.0)
    root = np.sqrt(np.maximum(2.0 * (log_term - (counts - expected)), 0.0))
    shrink = np.sqrt(1.0 / (1.0 + MODEL_ERROR_FLOOR**2 * expected))
    result: Array = np.sign(counts - expected) * root * shrink
    return result


def fit_grid(grid: Grid) -> FittedResponse:
    """Physics from the best of several starts, then the correction that held-out points ask for."""
    vector = _fit_from_starts(grid)
    folds = _folds(grid)
    fits = [
        (folds == f, _fit_physics(grid.take(folds != f), vector, FINE, FOLD_EVALUATIONS))
        for f in range(N_FOLDS)
    ]
    freedom, held_out = _chosen_freedom(grid, fits)
    collimator = Collimator.from_vector(vector)
    correction = None if freedom == PURE_PHYSICS else _fit_correction(grid, collimator, freedom)
    fitted = FittedResponse(collimator, correction, 0.0, 0.0, 0.0)
    residuals = deviance_residuals(grid.counts, fitted.in_air(grid.r_mm, grid.z_mm) * grid.exposure)
    dof = max(len(grid) - len(vector), 1)
    scale_sd = np.sqrt(1.0 / max(float(grid.counts.sum()), 1.0) + MODEL_ERROR_FLOOR**2)
    return FittedResponse(
        collimator,
        correction,
        float(residuals @ residuals) / dof,
        float(held_out @ held_out) / len(grid),
        float(scale_sd),
        _tail_relative_sd(grid, vector),
        _alone(grid, held_out),
    )


def _folds(grid: Grid) -> NDArray[np.intp]:
    """To which fold each point (n,) belongs: neighbours in angle and distance go to different ones.

    Whatever the order of the rows: a fold that took one whole column of the grid would be continued, not tested.
    """
    place = _places(grid.r_mm, grid.z_mm, TYPICAL_RECESS_MM)
    by_angle = np.lexsort((place[:, 1], np.round(place[:, 0], 2)))
    folds = np.empty(len(grid), dtype=np.intp)
    # Dealt like cards, each round in an order of its own, so that no fold follows a row or a column.
    dealt = [np.random.default_rng(r).permutation(N_FOLDS) for r in range(len(grid) // N_FOLDS + 1)]
    folds[by_angle] = np.concatenate(dealt)[: len(grid)]
    return folds


def _alone(grid: Grid, held_out: Array) -> tuple[float, float] | None:
    """r and z of the one point that makes most of the held-out misfit: nothing else tells what it tells."""
    worst = int(np.argmax(np.abs(held_out)))
    if held_out[worst] ** 2 < 0.5 * float(held_out @ held_out):
        return None
    return float(grid.r_mm[worst]), float(grid.z_mm[worst])


def _fit_from_starts(grid: Grid) -> Array:
    """Logarithms of the parameters (9,) of the collimator that fits best."""
    coarse = [_fit_physics(grid, start, COARSE, COARSE_EVALUATIONS) for start in _best_starts(grid)]
    best = min(coarse, key=lambda vector: float(np.sum(_residuals(grid, vector, COARSE) ** 2)))
    return _fit_physics(grid, best, FINE, FINE_EVALUATIONS)


def _residuals(grid: Grid, vector: Array, quadrature: Quadrature) -> Array:
    """Deviance residuals of the points, then those of the weak prior (n + 8,)."""
    model = Collimator.from_vector(vector).response(grid.r_mm, grid.z_mm, quadrature)
    pull = ((vector - COMMON_PROBE) / COMMON_SD)[1:]
    return np.concatenate([deviance_residuals(grid.counts, model * grid.exposure), pull])


def _fit_physics(grid: Grid, start: Array, quadrature: Quadrature, evaluations: int) -> Array:
    from scipy.optimize import least_squares

    def residuals(vector: Array) -> Array:
        return _residuals(grid, vector, quadrature)

    def slopes(vector: Array) -> Array:
        return _slopes(grid, vector, quadrature)

    fit = least_squares(
        residuals,
        np.clip(start, PARAMETER_LOW + 1e-6, PARAMETER_HIGH - 1e-6),
        jac=slopes,
        bounds=(PARAMETER_LOW, PARAMETER_HIGH),
        x_scale=0.1,
        max_nfev=evaluations,
        ftol=1e-5,
        xtol=1e-6,
        gtol=1e-6,
    )
    return np.asarray(fit.x, dtype=np.float64)


def _slopes(grid: Grid, vector: Array, quadrature: Quadrature) -> Array:
    """Derivatives (n + 8, 9) of `_residuals` by the parameters."""
    here = Collimator.from_vector(vector).response(grid.r_mm, grid.z_mm, quadrature)
    residuals = deviance_residuals(grid.counts, here * grid.exposure)
    columns = []
    for k in range(len(vector)):
        step = LOG_STEP if vector[k] + LOG_STEP < PARAMETER_HIGH[k] else -LOG_STEP
        moved = _moved(grid, vector, k, step, here, quadrature)
        columns.append((deviance_residuals(grid.counts, moved * grid.exposure) - residuals) / step)
    return np.concatenate([np.stack(columns, axis=1), np.diag(1.0 / COMMON_SD)[1:]])


def _moved(grid: Grid, vector: Array, k: int, step: float, here: Array, quadrature: Quadrature) -> Array:
    """The response (n,) with one parameter moved by `step`; efficiency and leak only scale their share."""
    trial = vector.copy()
    trial[k] += step
    if k not in (EFFICIENCY, LEAK):
        return Collimator.from_vector(trial).response(grid.r_mm, grid.z_mm, quadrature)
    leak = _leak_share(grid, vector)
    share = leak if k == LEAK else here - leak
    result: Array = here + np.expm1(step) * share
    return result


def _leak_share(grid: Grid, vector: Array) -> Array:
    """What the leak adds (n,), cps/kBq."""
    recess, leak = float(np.exp(vector[3])), float(np.exp(vector[LEAK]))
    result: Array = leak / (4 * np.pi * (grid.r_mm**2 + (grid.z_mm + recess) ** 2))
    return result


def _tail_relative_sd(grid: Grid, vector: Array) -> float:
    """Relative standard error of the physics where it is continued to the side of the measured points.

    From the Fisher information of the counts and the weak prior, at the farthest offset and beyond. The leak, which
    may be nearly nothing, counts by what it could add unseen: its logarithm would be sure of a zero.
    """
    design = np.delete(_slopes(grid, vector, FINE), LEAK, axis=1)
    far = Grid(*(np.full(1, v) for v in (1.5 * grid.r_mm.max(), np.median(grid.z_mm), 0.0, 1.0, 1.0)))
    here = Collimator.from_vector(vector).response(far.r_mm, far.z_mm)
    slope = np.array(
        [
            (_moved(far, vector, k, -LOG_STEP, here, FINE)[0] / here[0] - 1.0) / -LOG_STEP
            for k in range(len(vector))
            if k != LEAK
        ]
    )
    shape = float(slope @ np.linalg.pinv(design.T @ design) @ slope)
    expected = Collimator.from_vector(vector).response(grid.r_mm, grid.z_mm) * grid.exposure
    # Fewer than one count expected is still one that may come: zero counts do not exclude a small leak.
    seen = _leak_share(grid, vector) * grid.exposure
    information = float(np.sum(seen**2 / (np.maximum(expected, 1.0) + (MODEL_ERROR_FLOOR * expected) ** 2)))
    unseen = _leak_share(far, vector)[0] / here[0] / np.sqrt(max(information, np.finfo(np.float64).tiny))
    return float(np.hypot(np.sqrt(max(shape, 0.0)), unseen))


def _best_starts(grid: Grid) -> list[Array]:
    """The starts whose shape fits best with the efficiency scaled to the total of the counts."""
    found: list[tuple[float, Array]] = []
    for trial in _start_probes():
        model = trial.response(grid.r_mm, grid.z_mm, COARSE) * grid.exposure
        scale = float(grid.counts.sum() / model.sum())
        cost = float(np.sum(np.abs(deviance_residuals(grid.counts, scale * model))))
        vector = trial.as_vector()
        vector[EFFICIENCY] += np.log(max(scale, np.finfo(np.float64).tiny))
        found.append((cost, vector))
    return [vector for _, vector in sorted(found, key=lambda pair: pair[0])[:BEST_STARTS]]


def _start_probes() -> Sequence[Collimator]:
    return [
        Collimator(0.5, aperture, 1.05 * aperture, recess, rim, 6.0, 0.3, 0.05, 3.0)
        for aperture in START_APERTURES_MM
        for recess in START_RECESSES_MM
        for rim in START_RIMS_PER_MM
    ]


def _places(r_mm: Array, z_mm: Array, recess_mm: float) -> Array:
    """Angle off the axis (rad) and log distance (mm) from the crystal's front, (n, 2)."""
    height = z_mm + recess_mm
    return np.stack([np.arctan2(r_mm, height), np.log(np.hypot(r_mm, height))], axis=1)


def _kernel(a: Array, b: Array, freedom: Freedom) -> Array:
    """Prior covariance (n, m) of the correction between places (n, 2) and (m, 2)."""
    angle = (a[:, None, 0] - b[None, :, 0]) / freedom.angle_rad
    distance = (a[:, None, 1] - b[None, :, 1]) / freedom.log_distance
    result: Array = freedom.sd**2 * np.exp(-0.5 * (angle**2 + distance**2))
    return result


def _fit_correction(grid: Grid, collimator: Collimator, freedom: Freedom) -> Correction:
    """Mode of the posterior by Newton's method over the prior's main directions; the model-error floor weighs."""
    places = _places(grid.r_mm, grid.z_mm, collimator.recess_mm)
    base = collimator.response(grid.r_mm, grid.z_mm) * grid.exposure
    modes, pivots = _main_directions(_kernel(places, places, freedom))
    amplitudes = np.zeros(modes.shape[1])
    for _ in range(CORRECTION_ROUNDS):
        expected = base * np.exp(modes @ amplitudes)
        floor = 1.0 / (1.0 + MODEL_ERROR_FLOOR**2 * expected)
        gradient = modes.T @ (floor * (grid.counts - expected)) - amplitudes
        curvature = (modes.T * (floor * expected)) @ modes + np.eye(len(amplitudes))
        step = np.linalg.solve(curvature, gradient)
        # No point moves by more than one log unit at a time.
        step /= max(float(np.abs(modes @ step).max()), 1.0)
        amplitudes = amplitudes + step
        if np.abs(modes @ step).max() < CORRECTION_SETTLED:
            break
    weights = np.linalg.solve(modes[pivots].T, amplitudes)
    return Correction(freedom, places[pivots], np.asarray(weights, dtype=np.float64))


def _main_directions(covariance: Array) -> tuple[Array, list[int]]:
    """Factor (n, m) of a covariance (n, n) and the m points it is built on: incomplete Cholesky with pivots.

    Harbrecht, Peters & Schneider (2012), doi:10.1016/j.apnum.2011.10.001: what is left out is at most
    LEAST_VARIANCE_SHARE of each point's variance.
    """
    left = np.diag(covariance).copy()
    least = LEAST_VARIANCE_SHARE * float(left.max())
    factor = np.zeros_like(covariance)
    pivots: list[int] = []
    while len(pivots) < len(left) and left.max() > least:
        place, k = int(np.argmax(left)), len(pivots)
        column = covariance[:, place] - factor[:, :k] @ factor[place, :k]
        factor[:, k] = column / np.sqrt(left[place])
        left = np.maximum(left - factor[:, k] ** 2, 0.0)
        left[place] = 0.0
        pivots.append(place)
    return factor[:, : len(pivots)], pivots


def _chosen_freedom(
    grid: Grid, fits: list[tuple[NDArray[np.bool_], Array]]
) -> tuple[Freedom, NDArray[np.float64]]:
    """The correction's freedom that held-out points ask for, and their residuals (n,) with it."""
    chosen, residuals = PURE_PHYSICS, _held_out(grid, fits, PURE_PHYSICS)
    if float(residuals @ residuals) / len(grid) <= 1.0 + ENOUGH_SIGMAS * np.sqrt(2.0 / len(grid)):
        return chosen, residuals
    for freedom in FREEDOMS:
        trial = _held_out(grid, fits, freedom)
        gain = FIRST_GAIN if chosen == PURE_PHYSICS else NEEDED_GAIN
        if float(trial @ trial) < gain * float(residuals @ residuals):
            chosen, residuals = freedom, trial
    return chosen, residuals


def _held_out(grid: Grid, fits: list[tuple[NDArray[np.bool_], Array]], freedom: Freedom) -> Array:
    """Deviance residual (n,) of each point beside a fit that never saw it."""
    residuals = np.zeros(len(grid))
    for held_out, vector in fits:
        collimator, kept, test = Collimator.from_vector(vector), grid.take(~held_out), grid.take(held_out)
        correction = None if freedom == PURE_PHYSICS else _fit_correction(kept, collimator, freedom)
        fitted = FittedResponse(collimator, correction, 0.0, 0.0, 0.0)
        expected = fitted.in_air(test.r_mm, test.z_mm) * test.exposure
        residuals[held_out] = deviance_residuals(test.counts, expected)
    return residuals
