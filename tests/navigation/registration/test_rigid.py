"""Rigid fits with weights and with errors that have a direction, against a general minimiser."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from navigation.registration.rigid import (
    PointErrors,
    equal_errors,
    fit_rigid,
    fit_with_errors,
    jacobians,
    pair_weights,
    rotation_by,
)

MOVING_MM = np.array([[-95.0, 10.0, 5.0], [80.0, -20.0, 12.0], [15.0, 70.0, -40.0], [-20.0, -60.0, 35.0]])


@pytest.fixture
def fixed_mm() -> np.ndarray:
    rng = np.random.default_rng(1)
    rotation = Rotation.from_rotvec([0.4, -1.2, 2.0]).as_matrix()
    return MOVING_MM @ rotation.T + [30.0, -40.0, 200.0] + rng.normal(0.0, 3.0, MOVING_MM.shape)


def squared(matrix: np.ndarray, fixed: np.ndarray, errors: PointErrors) -> float:
    rotation = matrix[:3, :3]
    left = fixed - (MOVING_MM @ rotation.T + matrix[:3, 3])
    return float(np.einsum("ni,nij,nj->", left, np.linalg.inv(errors.combined(rotation)), left))


def test_weights_count_as_repeated_points(fixed_mm: np.ndarray) -> None:
    rows = [0, 1, 1, 2, 2, 2, 3]
    repeated = fit_rigid(fixed_mm[rows], MOVING_MM[rows])
    weighted = fit_rigid(fixed_mm, MOVING_MM, weights=[1.0, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(weighted.matrix, repeated.matrix, atol=1e-9)
    # the variances are the inverses of the weights
    variances = np.array([1.0, 0.5, 1.0 / 3.0, 1.0])[:, None, None] * np.eye(3)
    errors = PointErrors(0.25 * variances, 0.75 * variances)
    np.testing.assert_allclose(
        fit_with_errors(fixed_mm, MOVING_MM, errors).matrix, repeated.matrix, atol=1e-9
    )
    np.testing.assert_allclose(pair_weights(errors), np.array([1.0, 2.0, 3.0, 1.0]) / 1.75)


def test_errors_with_a_direction_are_minimised(fixed_mm: np.ndarray) -> None:
    depth = np.tile(np.diag([0.1, 0.1, 9.0]), (4, 1, 1))
    errors = PointErrors(np.tile(np.diag([1.0, 4.0, 0.5]), (4, 1, 1)), depth)
    fit = fit_with_errors(fixed_mm, MOVING_MM, errors)
    plain = fit_rigid(fixed_mm, MOVING_MM)

    def cost(x: np.ndarray) -> float:
        matrix = plain.matrix.copy()
        matrix[:3, :3] = rotation_by(x[:3] / 100.0) @ matrix[:3, :3]
        matrix[:3, 3] += x[3:]
        # weights of the fit's own rotation, as in the iteration: its derivative is no part of the equations
        rotation = matrix[:3, :3]
        left = fixed_mm - (MOVING_MM @ rotation.T + matrix[:3, 3])
        weights = np.linalg.inv(errors.combined(fit.matrix[:3, :3]))
        return float(np.einsum("ni,nij,nj->", left, weights, left))

    best = minimize(cost, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
    assert squared(fit.matrix, fixed_mm, errors) == pytest.approx(best.fun, rel=1e-6)
    assert squared(fit.matrix, fixed_mm, errors) < 0.98 * squared(plain.matrix, fixed_mm, errors)
    assert np.linalg.det(fit.matrix[:3, :3]) == pytest.approx(1.0)


def test_equal_errors_change_nothing(fixed_mm: np.ndarray) -> None:
    fit = fit_with_errors(fixed_mm, MOVING_MM, equal_errors(4))
    np.testing.assert_allclose(fit.matrix, fit_rigid(fixed_mm, MOVING_MM).matrix, atol=1e-12)


def test_rotation_and_its_derivative() -> None:
    vector = np.array([0.3, -0.2, 0.9])
    np.testing.assert_allclose(rotation_by(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotation_by(np.zeros(3)), np.eye(3))
    step = 1e-6 * np.array([1.0, 2.0, -3.0])
    moved = MOVING_MM @ rotation_by(step).T - MOVING_MM
    np.testing.assert_allclose(jacobians(MOVING_MM)[:, :, :3] @ step, moved, atol=1e-8)
