"""What may be wrong with lists although a transform fits them, and which landmark is to be touched again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.registration import abdominal, nearly_mirrored, pose
from navigation.registration.landmarks import FleBelief, LandmarkRegistration, PointErrors, register_landmarks

LANDMARKS_MM = np.array(
    [[-95.0, 10.0, 5.0], [80.0, -20.0, 12.0], [15.0, 70.0, -40.0], [-20.0, -60.0, 35.0], [40.0, 30.0, 90.0]]
)
SQUARE_MM = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [60.0, 60.0, 0.0], [0.0, 60.0, 0.0]])


def told(result: LandmarkRegistration, word: str) -> bool:
    return any(word in said for said in (*result.reasons, *result.warnings))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 12), fle_mm=st.floats(1.0, 3.0), symmetric=st.booleans())
def test_exchanged_and_mirrored_lists_never_pass_unsaid(
    seed: int, n: int, fle_mm: float, symmetric: bool
) -> None:
    """Refused, or where points too alike for their error pass, it is said that this would not be noticed."""
    rng = np.random.default_rng(seed)
    points = nearly_mirrored(rng) if symmetric else abdominal(rng, n)
    rotation, shift = pose(rng)
    seen = (points - shift) @ rotation + rng.normal(0.0, fle_mm / np.sqrt(3.0), points.shape)
    names = [f"L{i}" for i in range(len(points))]
    i, j = rng.choice(len(points), 2, replace=False)
    order = np.arange(len(points))
    order[[i, j]] = j, i
    exchanged = register_landmarks(points, seen[order], names)
    assert not exchanged.accepted or told(exchanged, "exchanged ones would not be noticed")
    assert not register_landmarks(points, seen[order]).accepted
    mirrored = register_landmarks(points, seen * [1.0, 1.0, -1.0], names)
    assert not mirrored.accepted or told(mirrored, "would not be noticed")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 12))
def test_sound_labelled_lists_pass(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    points = abdominal(rng, n)
    seen = points + rng.normal(0.0, 1.0, points.shape)
    assert not told(register_landmarks(points, seen, [f"L{i}" for i in range(n)]), "seem exchanged")


def test_a_symmetric_set_needs_labels() -> None:
    plain = register_landmarks(SQUARE_MM, SQUARE_MM)
    assert "symmetric and have no labels" in plain.reasons[0]
    labelled = register_landmarks(SQUARE_MM, SQUARE_MM, "ABCD")
    assert labelled.accepted
    assert told(labelled, "exchanged ones would not be noticed")
    # a square maps onto itself in eight ways
    assert labelled.as_json()["ambiguity"]["unnoticed"] == 7
    assert register_landmarks(SQUARE_MM, SQUARE_MM, certain=True).accepted


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (1000.0, "in metres instead of mm"),
        (10.0, "in centimetres"),
        (25.4, "in inches"),
        (1.05, "differ in scale"),
    ],
)
def test_other_units_and_scales_are_named(factor: float, says: str) -> None:
    rng = np.random.default_rng(3)
    fixed = LANDMARKS_MM + rng.normal(0.0, 0.5, LANDMARKS_MM.shape)
    result = register_landmarks(fixed, LANDMARKS_MM / factor)
    assert not result.accepted
    assert any(says in reason for reason in result.reasons)


def test_both_lists_in_metres_are_named() -> None:
    result = register_landmarks(LANDMARKS_MM / 1000.0, LANDMARKS_MM / 1000.0)
    assert sum("in metres" in reason for reason in result.reasons) == 2


def test_what_is_longer_than_a_body_is_warned_of() -> None:
    result = register_landmarks(20.0 * LANDMARKS_MM, 20.0 * LANDMARKS_MM)
    assert result.accepted
    assert told(result, "more than a body is long")


def test_a_bad_fiducial_is_named_among_noisy_ones() -> None:
    rng = np.random.default_rng(7)
    points = abdominal(rng, 7)
    seen = points + rng.normal(0.0, 0.6, points.shape)
    seen[4] += [5.0, -5.0, 3.0]
    result = register_landmarks(points, seen, [f"L{i}" for i in range(7)])
    assert result.touch_again is not None
    assert result.touch_again["label"] == "L4"
    assert result.touch_again["proven"]
    assert told(result, "touch landmark L4 again")
    clean = register_landmarks(points, points + rng.normal(0.0, 0.6, points.shape))
    assert clean.touch_again is None


def test_normalised_residuals_of_sound_landmarks_are_one() -> None:
    rng = np.random.default_rng(8)
    squares, chances = [], []
    sd = np.array([1.0, 1.0, 3.0, 1.0, 1.0])[:, None]
    covariances = sd[..., None] ** 2 * np.eye(3)
    for _ in range(120):
        seen = LANDMARKS_MM + sd * rng.normal(size=(5, 3))
        errors = PointErrors(np.zeros((5, 3, 3)), covariances)
        tests = register_landmarks(
            LANDMARKS_MM, seen, "ABCDE", errors=errors, belief=FleBelief(np.sqrt(3.0 * 13.0 / 5.0))
        ).tests
        assert tests is not None
        squares.append(tests.normalised**2)
        chances.append(tests.chance.min())
    # the mean of 120 squares with 3 readings each is known to 7 %, for the bad landmark as for the others
    np.testing.assert_allclose(np.mean(squares, axis=0), 1.0, atol=0.25)
    # one is named wrongly in at most 5 of 100: 6 of 120 expected, 14 with a chance of 1 in 400
    assert np.sum(np.array(chances) < 0.05) <= 14


def test_rounding_is_no_bad_fiducial() -> None:
    off = 1e-4 * np.eye(5, 3)[::-1] * [1.0, 0.0, 30.0]
    result = register_landmarks(LANDMARKS_MM + off + 5.0, LANDMARKS_MM)
    assert result.tests is not None
    # one stands out among residuals of a micrometre, and is left alone
    assert result.tests.suspect() == 2
    assert result.touch_again is None
    assert result.warnings == ()


def test_three_landmarks_name_none() -> None:
    result = register_landmarks(LANDMARKS_MM[:3] + np.eye(3), LANDMARKS_MM[:3], "ABC")
    assert result.tests is not None
    assert np.isnan(result.tests.chance).all()
    assert result.touch_again is None
