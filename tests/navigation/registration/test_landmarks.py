"""Landmark registration: known answers, wrong lists refused, errors predicted as they turn out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from navigation.registration.landmarks import (
    fit_rigid,
    leave_one_out,
    predicted_tre,
    register_landmarks,
    registration_id,
)

# An irregular set, some 200 mm across, in the moving frame.
LANDMARKS_MM = np.array(
    [[-95.0, 10.0, 5.0], [80.0, -20.0, 12.0], [15.0, 70.0, -40.0], [-20.0, -60.0, 35.0], [40.0, 30.0, 90.0]]
)


def placed(points: np.ndarray) -> np.ndarray:
    """The same points in the fixed frame."""
    rotation = Rotation.from_euler("zyx", [110.0, -35.0, 20.0], degrees=True).as_matrix()
    return points @ rotation.T + [120.0, -300.0, 45.0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(3, 10))
def test_exact_pairs_are_fitted_exactly(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    moving = rng.uniform(-100.0, 100.0, (n, 3))
    rotation = Rotation.random(rng=rng).as_matrix()
    fit = fit_rigid(moving @ rotation.T + [1.0, 2.0, 3.0], moving)
    np.testing.assert_allclose(fit.matrix[:3, :3], rotation, atol=1e-6)
    np.testing.assert_allclose(fit.matrix[:3, 3], [1.0, 2.0, 3.0], atol=1e-4)
    assert fit.fre_mm < 1e-6


def test_a_near_planar_set_is_not_reflected(test_data: Path) -> None:
    folder = test_data / "sks_bard_procrustes"
    answer = json.loads((folder / "answer.json").read_text())
    ct = np.loadtxt(folder / "ct_fiducials.csv", delimiter=",")
    world = np.loadtxt(folder / "world_fiducials.csv", delimiter=",")
    result = register_landmarks(world, ct)
    assert result.fit is not None
    np.testing.assert_allclose(result.fit.matrix[:3, :3], answer["expected_R"], atol=1e-7)
    np.testing.assert_allclose(result.fit.matrix[:3, 3], answer["my_t"], atol=1e-6)
    assert result.fit.fre_mm == pytest.approx(answer["my_fre_rms_mm"])
    # an unconstrained fit takes the reflection, which here is hardly better: not a mirrored list
    assert fit_rigid(world, ct, mirrored=True).fre_mm < result.fit.fre_mm
    assert not any("mirrored:" in reason for reason in result.reasons)
    assert any("plane" in warning for warning in result.warnings)
    # exchanged points fit about as well because the errors are large; the set is its own image to no better than 1.7 mm
    assert result.accepted and any("symmetric" in warning for warning in result.warnings)


def test_rire_corners(test_data: Path) -> None:
    folder = test_data / "rire_points"
    answer = json.loads((folder / "answer.json").read_text())
    table = np.loadtxt(folder / "ct_T1_corners.csv", delimiter=",")
    result = register_landmarks(table[:, 3:], table[:, :3])
    assert result.accepted
    assert result.fit is not None
    np.testing.assert_allclose(result.fit.matrix[:3, :3], answer["R"], atol=1e-6)
    np.testing.assert_allclose(result.fit.matrix[:3, 3], answer["t_mm"], atol=1e-3)
    assert result.fit.fre_mm < 2e-4


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_pairs_are_refused(n: int) -> None:
    result = register_landmarks(placed(LANDMARKS_MM[:n]), LANDMARKS_MM[:n])
    assert result.fit is None
    assert result.as_json()["T_target_source"] is None
    assert f"{n} pairs" in result.reasons[0]


@pytest.mark.parametrize("points", [np.outer([0.0, 30.0, 70.0, 100.0], [1.0, 2.0, 2.0]), np.ones((4, 3))])
def test_points_on_a_line_are_refused(points: np.ndarray) -> None:
    result = register_landmarks(placed(points) + 0.3 * np.eye(4, 3), points)
    assert result.fit is None
    assert "on a line" in result.reasons[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_list_is_refused(axis: int) -> None:
    mirrored = LANDMARKS_MM.copy()
    mirrored[:, axis] *= -1.0
    result = register_landmarks(placed(LANDMARKS_MM), mirrored)
    assert not result.accepted
    assert any("mirrored" in reason for reason in result.reasons)
    assert result.fit is not None
    assert np.linalg.det(result.fit.matrix[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize("pair", [(0, 1), (1, 4), (2, 3)])
def test_exchanged_landmarks_are_refused_and_named(pair: tuple[int, int]) -> None:
    order = np.arange(5)
    order[list(pair)] = order[list(pair)[::-1]]
    result = register_landmarks(placed(LANDMARKS_MM), LANDMARKS_MM[order], labels="ABCDE")
    assert not result.accepted
    names = ", ".join("ABCDE"[i] for i in pair)
    assert any(f"landmarks {names} seem exchanged" in reason for reason in result.reasons)


def test_exchange_among_many_is_found() -> None:
    points = np.random.default_rng(3).uniform(-80.0, 80.0, (12, 3))
    order = np.arange(12)
    order[[4, 9]] = 9, 4
    result = register_landmarks(placed(points), points[order])
    assert any("landmarks 5, 10 seem exchanged" in reason for reason in result.reasons)


def test_symmetric_landmarks_are_warned_of() -> None:
    square = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [60.0, 60.0, 0.0], [0.0, 60.0, 0.0]])
    warnings = register_landmarks(placed(square), square).warnings
    assert any("symmetric" in w for w in warnings)
    assert any("plane" in w for w in warnings)
    assert register_landmarks(placed(LANDMARKS_MM), LANDMARKS_MM).warnings == ()


def test_a_wrong_landmark_is_refused_and_left_out_best() -> None:
    fixed = placed(LANDMARKS_MM)
    fixed[2] += [0.0, 25.0, 0.0]
    result = register_landmarks(fixed, LANDMARKS_MM)
    assert not result.accepted
    assert "FRE" in result.reasons[0]
    # the fit to the other four is exact, so the whole shift is left at the third
    assert result.leave_one_out_mm[2] == pytest.approx(25.0)
    assert int(np.argmax(result.leave_one_out_mm)) == 2


def test_leave_one_out_needs_three_others() -> None:
    assert np.isnan(leave_one_out(placed(LANDMARKS_MM[:3]), LANDMARKS_MM[:3])).all()


def test_predicted_tre_at_the_centre() -> None:
    # Corners of a cube: at the centroid only the first term is left, TRE^2 = FRE^2 / (n - 2).
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 50.0
    assert predicted_tre(corners, np.zeros((1, 3)), 1.2)[0] == pytest.approx(1.2 / np.sqrt(6.0))
    # 100 mm off along x: d = (0, 100, 100), f^2 = 5000 for each axis, so the bracket is 1 + (2 + 2) / 3.
    off = predicted_tre(corners, np.array([[100.0, 0.0, 0.0]]), 1.2)[0]
    assert off == pytest.approx(1.2 / np.sqrt(6.0) * np.sqrt(7.0 / 3.0))


def test_predicted_tre_is_what_happens() -> None:
    rng = np.random.default_rng(11)
    targets = np.array([[0.0, 0.0, 0.0], [150.0, 40.0, -30.0]])
    truth, squared, predicted = placed(targets), np.zeros(2), np.zeros(2)
    runs = 2000
    for _ in range(runs):
        fit = fit_rigid(placed(LANDMARKS_MM) + rng.normal(0.0, 1.0, (5, 3)), LANDMARKS_MM)
        found = targets @ fit.matrix[:3, :3].T + fit.matrix[:3, 3]
        squared += ((found - truth) ** 2).sum(axis=1) / runs
        predicted += predicted_tre(LANDMARKS_MM, targets, fit.fre_mm) ** 2 / runs
    # 2,000 runs know a mean square to 3 %; the formula is of first order
    np.testing.assert_allclose(np.sqrt(predicted), np.sqrt(squared), rtol=0.06)


def test_the_id_names_the_transform() -> None:
    identity = np.eye(4)
    moved = identity.copy()
    moved[0, 3] = 0.1
    assert registration_id(identity) == registration_id(identity + 1e-9)
    assert registration_id(identity) != registration_id(moved)


def test_unequal_lists_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="pairs of points"):
        register_landmarks(LANDMARKS_MM, LANDMARKS_MM[:4])


def test_copies_of_a_list_and_doubled_landmarks_are_told() -> None:
    points = np.array([[0.0, 0, 0], [100, 0, 0], [0, 80, 0], [10, 20, 60]])
    assert any("same coordinates" in w for w in register_landmarks(points, points).warnings)
    twice = np.concatenate([points, points[3:] + 0.2])
    moved = twice + [5.0, 6.0, 7.0]
    assert any("4 and 5 are one landmark" in w for w in register_landmarks(twice, moved).warnings)
    assert not any("twice" in w or "same" in w for w in register_landmarks(points, points + 3.0).warnings)
