"""What a registration may be wrong by at a target: known values, and what happens in simulated registrations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.registration import Trial, coverage
from navigation.registration.rigid import PointErrors, fit_rigid, fit_with_errors
from navigation.registration.targeterror import (
    FleBelief,
    error_bound,
    fit_error,
    predicted_tre,
    target_covariance,
    target_error,
)

LANDMARKS_MM = np.array(
    [[-95.0, 10.0, 5.0], [80.0, -20.0, 12.0], [15.0, 70.0, -40.0], [-20.0, -60.0, 35.0], [40.0, 30.0, 90.0]]
)
TARGET_MM = np.array([60.0, -80.0, -50.0])
ROTATION = Rotation.from_euler("zyx", [110.0, -35.0, 20.0], degrees=True).as_matrix()
SHIFT_MM = np.array([120.0, -300.0, 45.0])


def placed(points: np.ndarray) -> np.ndarray:
    return points @ ROTATION.T + SHIFT_MM


@pytest.mark.parametrize(
    ("variances", "dof", "bound"),
    [
        # square roots of the 95 % quantiles of chi2(3), chi2(2), chi2(1)
        ((1.0, 1.0, 1.0), math.inf, math.sqrt(7.8147)),
        ((4.0, 4.0, 0.0), math.inf, 2.0 * math.sqrt(5.9915)),
        ((0.0, 9.0, 0.0), math.inf, 3.0 * 1.95996),
        # 3 F(3, 3) at 95 % is 3 x 9.2766; Student's t with 6 readings has 2.4469
        ((1.0, 1.0, 1.0), 3.0, math.sqrt(3.0 * 9.2766)),
        ((0.0, 0.0, 1.0), 6.0, 2.4469),
        ((0.0, 0.0, 0.0), 3.0, 0.0),
    ],
)
def test_the_bound_of_known_laws(variances: tuple[float, ...], dof: float, bound: float) -> None:
    assert error_bound(variances, dof) == pytest.approx(bound, rel=1e-4)


def test_the_bound_of_unequal_variances_is_what_is_drawn() -> None:
    rng = np.random.default_rng(2)
    lengths = np.linalg.norm(rng.normal(size=(100_000, 3)) * np.sqrt([9.0, 2.0, 0.5]), axis=1)
    lengths /= np.sqrt(rng.chisquare(6, len(lengths)) / 6.0)
    # a share of 95 % of 100,000 draws is known to 0.07 %
    assert np.mean(lengths <= error_bound((9.0, 2.0, 0.5), 6.0)) == pytest.approx(0.95, abs=0.002)


def test_propagation_of_equal_errors_is_fitzpatricks_formula() -> None:
    rng = np.random.default_rng(4)
    fixed = placed(LANDMARKS_MM) + rng.normal(0.0, 1.0, (5, 3))
    fit = fit_rigid(fixed, LANDMARKS_MM)
    error = fit_error(fit, fixed, LANDMARKS_MM)
    told = target_error(error, TARGET_MM)
    assert told.rms_mm == pytest.approx(predicted_tre(LANDMARKS_MM, TARGET_MM[None], fit.fre_mm)[0], rel=1e-9)
    # FLE^2 = FRE^2 / (1 - 2 / 5), from 3 x 5 - 6 = 9 readings
    assert error.fle_mm == pytest.approx(fit.fre_mm / math.sqrt(0.6))
    assert error.dof == 9.0
    low, high = error.fle_interval_mm()
    assert low < error.fle_mm < high


def test_covariance_and_direction_are_what_happens() -> None:
    """A tracker that sees depth five times as badly, and two landmarks worse than the others."""
    rng = np.random.default_rng(6)
    sd = np.array([0.3, 0.3, 1.5]) * np.array([1.0, 1.0, 3.0, 1.0, 3.0])[:, None]
    seen_errors = PointErrors(np.zeros((5, 3, 3)), np.array([np.diag(s**2) for s in sd]))
    truth = placed(TARGET_MM)
    off = []
    for _ in range(600):
        moving = LANDMARKS_MM + sd * rng.normal(size=(5, 3))
        off.append(fit_with_errors(placed(LANDMARKS_MM), moving, seen_errors).apply(TARGET_MM) - truth)
    exact = fit_with_errors(placed(LANDMARKS_MM), LANDMARKS_MM, seen_errors)
    size = FleBelief(math.sqrt((sd**2).sum() / 5.0))
    told = target_error(fit_error(exact, placed(LANDMARKS_MM), LANDMARKS_MM, seen_errors, size), TARGET_MM)
    happened = np.cov(np.array(off).T)
    # 600 draws know a variance to 6 %; elements are compared on the scale of the largest
    np.testing.assert_allclose(told.covariance_mm2, happened, atol=0.15 * happened.max())
    largest = np.linalg.eigh(happened)[1][:, 2]
    assert abs(largest @ told.direction) > 0.98
    plain = fit_error(
        fit_rigid(placed(LANDMARKS_MM), LANDMARKS_MM), placed(LANDMARKS_MM), LANDMARKS_MM, None, size
    )
    # who takes the errors for equal ones predicts something else
    assert not np.allclose(target_covariance(plain, TARGET_MM), happened, atol=0.15 * happened.max())


@pytest.mark.parametrize(
    "trial",
    [
        Trial("six landmarks, 3 mm", 6),
        Trial("three leave three readings", 3),
        Trial("the error is known", 4, belief=FleBelief(3.0)),
        Trial("the error was estimated before", 4, estimated_dof=6.0),
    ],
    ids=lambda trial: trial.name,
)
def test_the_bound_holds_in_95_of_100(trial: Trial) -> None:
    told = coverage(trial, 300, seed=8)
    # 300 draws know a share of 95 % to 1.3 %; a Gaussian bound on three readings would hold in 75 of 100
    assert 0.92 < told["inside"] < 0.98
    # the stated RMS error is that which happens
    assert told["predicted_mm"] == pytest.approx(told["rms_mm"], rel=0.2)


def test_what_was_known_before_counts_with_its_readings() -> None:
    rng = np.random.default_rng(9)
    fixed = placed(LANDMARKS_MM) + rng.normal(0.0, 1.0, (5, 3))
    fit = fit_rigid(fixed, LANDMARKS_MM)
    alone = fit_error(fit, fixed, LANDMARKS_MM)
    both = fit_error(fit, fixed, LANDMARKS_MM, belief=FleBelief(2.0, 12.0))
    # 12 readings of 2 mm and 9 of what the residuals say
    assert both.dof == 21.0
    assert both.fle_mm**2 == pytest.approx((12.0 * 4.0 + 9.0 * alone.fle_mm**2) / 21.0)
    known = fit_error(fit, fixed, LANDMARKS_MM, belief=FleBelief(2.0))
    assert known.fle_mm == pytest.approx(2.0)
    assert known.fle_interval_mm() == pytest.approx((2.0, 2.0))
    assert known.as_json()["dof"] is None


def test_residuals_beyond_the_given_error_win() -> None:
    rng = np.random.default_rng(10)
    fixed = placed(LANDMARKS_MM) + rng.normal(0.0, 3.0, (5, 3))
    error = fit_error(fit_rigid(fixed, LANDMARKS_MM), fixed, LANDMARKS_MM, belief=FleBelief(0.5))
    assert error.contradicted
    assert error.dof == 9.0
    assert error.fle_mm > 2.0


@pytest.mark.parametrize(
    ("rms", "dof"), [(0.0, 3.0), (-1.0, 3.0), (math.nan, 3.0), (math.inf, 3.0), (1.0, 0.0)]
)
def test_no_error_at_all_is_no_belief(rms: float, dof: float) -> None:
    with pytest.raises(ValueError, match="localisation error"):
        FleBelief(rms, dof)
