"""Fit of the detector response to a point-source grid: collimator physics first, then a smooth correction.

The correction is a ridge-penalised tensor of hat functions on the logarithm; how far it may bend is chosen by
held-out points, so a probe that the physics describes keeps the pure physics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.collimator import Collimator

Array = NDArray[np.float64]

# Relative error of any model of a probe: below it a misfit has no meaning.
MODEL_ERROR_FLOOR = 0.005
# Standard deviation of the correction in log units that held-out points choose from.
CORRECTION_SDS = (0.0, 0.02, 0.06, 0.2, 0.6)
# A larger freedom must earn this share of the held-out misfit.
NEEDED_GAIN = 0.95
# Hat functions of the correction along direction (v) and distance (log).
N_DIRECTION, N_DISTANCE = 10, 5
N_FOLDS = 4
# Starting points: aperture, recess; the crystal starts slightly wider than the aperture.
START_APERTURES_MM, START_RECESSES_MM = (2.5, 5.0, 8.0, 12.0), (1.0, 4.0, 10.0, 25.0)
PARAMETER_LOW = np.log([1e-5, 0.5, 0.5, 0.2, 0.05, 0.5, 0.01, 1e-6])
PARAMETER_HIGH = np.log([5.0, 40.0, 40.0, 80.0, 20.0, 40.0, 3.0, 1e3])


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
class FittedResponse:
    """The fit: `in_air(r, z)` in cps/kBq; the held-out misfit per degree of freedom is honest cross-validation."""

    collimator: Collimator
    coefficients: Array  # (N_DIRECTION * N_DISTANCE,), zero when physics suffices
    correction_sd: float
    log_distance: tuple[float, float]
    chi2_per_dof: float
    held_out_chi2_per_dof: float
    scale_relative_sd: float

    def in_air(self, r_mm: Array, z_mm: Array) -> Array:
        """Sensitivity (n,) in cps/kBq."""
        basis = _hats(r_mm, z_mm, self.collimator.recess_mm, self.log_distance)
        result: Array = self.collimator.response(r_mm, z_mm) * np.exp(basis @ self.coefficients)
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
    vector = _fit_physics(grid, _best_start(grid))
    span = _log_distance_range(grid, float(np.exp(vector[3])))
    folds = np.arange(len(grid)) * 7 % N_FOLDS
    fits = [(folds == f, _fit_physics(grid.take(folds != f), vector, evaluations=8)) for f in range(N_FOLDS)]
    chosen, misfit = 0.0, np.inf
    for sd in CORRECTION_SDS:
        trial = _held_out_misfit(grid, fits, sd, span)
        if trial < NEEDED_GAIN * misfit:
            chosen, misfit = sd, trial
    coefficients = _fit_correction(grid, Collimator.from_vector(vector), chosen, span)
    fitted = FittedResponse(Collimator.from_vector(vector), coefficients, chosen, span, 0.0, misfit, 0.0)
    residuals = deviance_residuals(grid.counts, fitted.in_air(grid.r_mm, grid.z_mm) * grid.exposure)
    dof = max(len(grid) - len(vector), 1)
    scale_sd = np.sqrt(1.0 / max(float(grid.counts.sum()), 1.0) + MODEL_ERROR_FLOOR**2)
    return FittedResponse(
        fitted.collimator,
        coefficients,
        chosen,
        span,
        float(residuals @ residuals) / dof,
        misfit,
        float(scale_sd),
    )


def _fit_physics(grid: Grid, start: Array, evaluations: int = 60) -> Array:
    from scipy.optimize import least_squares

    def residuals(vector: Array) -> Array:
        model = Collimator.from_vector(vector).response(grid.r_mm, grid.z_mm)
        return deviance_residuals(grid.counts, model * grid.exposure)

    start = np.clip(start, PARAMETER_LOW + 1e-6, PARAMETER_HIGH - 1e-6)
    fit = least_squares(
        residuals,
        start,
        bounds=(PARAMETER_LOW, PARAMETER_HIGH),
        x_scale=0.1,
        max_nfev=evaluations,
        ftol=1e-5,
        xtol=1e-6,
        gtol=1e-6,
    )
    return np.asarray(fit.x, dtype=np.float64)


def _best_start(grid: Grid) -> Array:
    """The start whose shape fits best with the efficiency scaled to the total of the counts."""
    best, best_cost = None, np.inf
    for aperture in START_APERTURES_MM:
        for recess in START_RECESSES_MM:
            trial = Collimator(0.5, aperture, 1.05 * aperture, recess, 2.0, 6.0, 0.3, 0.05)
            model = trial.response(grid.r_mm, grid.z_mm) * grid.exposure
            scale = float(grid.counts.sum() / model.sum())
            cost = float(np.sum(np.abs(deviance_residuals(grid.counts, scale * model))))
            if cost < best_cost:
                best_cost = cost
                best = Collimator(0.5 * scale, aperture, 1.05 * aperture, recess, 2.0, 6.0, 0.3, 0.05)
    assert best is not None
    return best.as_vector()


def _log_distance_range(grid: Grid, recess_mm: float) -> tuple[float, float]:
    distance = np.log(grid.z_mm + recess_mm)
    return float(distance.min()), float(max(distance.max(), distance.min() + 0.1))


def _hats(r_mm: Array, z_mm: Array, recess_mm: float, log_distance: tuple[float, float]) -> Array:
    """Tensor hat functions (n, N_DIRECTION * N_DISTANCE); constant beyond the measured range."""
    direction = np.clip(r_mm / (r_mm + z_mm + recess_mm) / 0.8, 0.0, 1.0) * (N_DIRECTION - 1)
    low, high = log_distance
    position = np.clip((np.log(z_mm + recess_mm) - low) / (high - low), 0.0, 1.0) * (N_DISTANCE - 1)
    across = np.maximum(0.0, 1.0 - np.abs(direction[:, None] - np.arange(N_DIRECTION)))
    along = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(N_DISTANCE)))
    return (across[:, :, None] * along[:, None, :]).reshape(len(r_mm), -1)


def _fit_correction(grid: Grid, collimator: Collimator, sd: float, span: tuple[float, float]) -> Array:
    """Ridge Fisher scoring for the log correction; the model-error floor enters the weights."""
    n = N_DIRECTION * N_DISTANCE
    coefficients = np.zeros(n)
    if sd == 0.0:
        return coefficients
    basis = _hats(grid.r_mm, grid.z_mm, collimator.recess_mm, span)
    base = collimator.response(grid.r_mm, grid.z_mm) * grid.exposure
    for _ in range(8):
        expected = base * np.exp(basis @ coefficients)
        weight = 1.0 / (1.0 + MODEL_ERROR_FLOOR**2 * expected)
        gradient = basis.T @ (weight * (grid.counts - expected)) - coefficients / sd**2
        curvature = basis.T @ ((weight * expected)[:, None] * basis) + np.eye(n) / sd**2
        coefficients = coefficients + np.clip(np.linalg.solve(curvature, gradient), -0.5, 0.5)
    return coefficients


def _held_out_misfit(
    grid: Grid, fits: list[tuple[NDArray[np.bool_], Array]], sd: float, span: tuple[float, float]
) -> float:
    total = 0.0
    for held_out, vector in fits:
        collimator = Collimator.from_vector(vector)
        coefficients = _fit_correction(grid.take(~held_out), collimator, sd, span)
        test = grid.take(held_out)
        basis = _hats(test.r_mm, test.z_mm, collimator.recess_mm, span)
        model = collimator.response(test.r_mm, test.z_mm) * np.exp(basis @ coefficients) * test.exposure
        residuals = deviance_residuals(test.counts, model)
        total += float(residuals @ residuals)
    return total / len(grid)
