"""Points without labels: found in any order, never wrongly, and refused where another match could be the right one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.registration import LOTS, Lists, Lot, matched, outcome, shuffled
from navigation.io.points import PointList
from navigation.registration.evidence import Evidence
from navigation.registration.matching import fitted_squares, match, other_orders
from navigation.registration.pairs import match_points
from navigation.registration.rigid import fit_rigid

IRREGULAR_MM = np.array(
    [
        [-95.0, 10.0, 5.0],
        [80.0, -20.0, 12.0],
        [15.0, 70.0, -40.0],
        [-20.0, -60.0, 35.0],
        [40.0, 30.0, 90.0],
        [60.0, -75.0, -55.0],
    ]
)
SQUARE_MM = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [60.0, 60.0, 0.0], [0.0, 60.0, 0.0]])


def unlabelled(fixed: np.ndarray, moving: np.ndarray) -> tuple[PointList, PointList]:
    return PointList(fixed, None), PointList(moving, None)


@pytest.mark.parametrize("lot", LOTS, ids=lambda lot: lot.name)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_wrong_match_is_ever_accepted(lot: Lot, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert outcome(shuffled(rng, lot.shape(rng), lot.incomplete, lot.mirrored), lot.mirrored) != "wrong"


@pytest.mark.parametrize("name", ["anywhere in 200 mm", "on a trunk"])
def test_sound_sets_are_seldom_refused(name: str) -> None:
    lot = next(lot for lot in LOTS if lot.name == name)
    rng = np.random.default_rng(12)
    told = [outcome(shuffled(rng, lot.shape(rng), incomplete=False)) for _ in range(30)]
    # 5 % are refused in longer runs (points close together, errors beyond the gate): 30 draws give at most 6
    assert told.count("right") >= 24
    assert "wrong" not in told


def test_missing_points_and_a_bad_one_are_left_over() -> None:
    rng = np.random.default_rng(3)
    order = np.array([4, 2, 0, 5, 1])
    moving = (
        IRREGULAR_MM[order] @ np.diag([-1.0, -1.0, 1.0]) + [10.0, 20.0, 30.0] + rng.normal(0.0, 0.5, (5, 3))
    )
    moving[3] += [0.0, 40.0, 0.0]
    pairs = match_points(*unlabelled(IRREGULAR_MM, moving), "any")
    # fixed 4 has no partner, and moving 4 (which is fixed 6) lies 40 mm off
    assert pairs.rows.tolist() == [[0, 2], [1, 4], [2, 1], [4, 0]]
    assert pairs.unmatched == ("fixed 4", "fixed 6", "moving 4")
    assert pairs.labels == ("1", "2", "3", "5")
    assert pairs.wrong is not None
    assert pairs.wrong < 1e-4


def test_labels_of_either_list_name_the_pairs() -> None:
    moving = PointList(IRREGULAR_MM[::-1] + 5.0, tuple("fedcba"))
    assert match_points(PointList(IRREGULAR_MM, None), moving, "any").labels == tuple("abcdef")


@pytest.mark.parametrize(
    ("fixed", "moving", "says"),
    [
        (SQUARE_MM, SQUARE_MM[[1, 2, 3, 0]] + 7.0, "ambiguous"),
        (SQUARE_MM[:3], SQUARE_MM[:3], "at least 4"),
        (IRREGULAR_MM, IRREGULAR_MM * [1.0, 1.0, -1.0], "mirrored"),
        (IRREGULAR_MM, IRREGULAR_MM * [1.3, 0.6, 1.0], "do not fit each other"),
        (IRREGULAR_MM, IRREGULAR_MM / 1000.0, "metres"),
        (
            np.vstack([SQUARE_MM, SQUARE_MM + [0, 0, 60.0]]),
            np.vstack([SQUARE_MM, SQUARE_MM + [0, 0, 60.0]]),
            "ambig",
        ),
    ],
    ids=["square", "too few", "mirrored", "other shape", "metres", "cube"],
)
def test_what_is_not_proven_is_refused_with_words(fixed: np.ndarray, moving: np.ndarray, says: str) -> None:
    pairs = match_points(*unlabelled(fixed, moving), "any")
    assert len(pairs) == 0
    assert any(says in reason for reason in pairs.reasons)


def test_a_symmetry_broken_by_one_point_is_no_symmetry() -> None:
    points = np.vstack([SQUARE_MM, [20.0, 10.0, 50.0]])
    pairs, result = matched(Lists(points, points[[4, 2, 3, 1, 0]] + 3.0, np.array([4, 3, 1, 2, 0])))
    assert pairs.rows[:, 1].tolist() == [4, 3, 1, 2, 0]
    assert result is not None
    assert result.accepted
    # without that point in one of the lists the square alone remains
    assert "ambiguous" in match_points(*unlabelled(points, SQUARE_MM), "any").reasons[0]


def test_every_order_that_fits_is_found() -> None:
    """A rectangle maps onto itself in four ways (turned by half about each axis), a square in eight."""
    for points, ways in ((SQUARE_MM * [2.0, 1.0, 1.0], 4), (SQUARE_MM, 8)):
        found = other_orders(points, points, 1.0)
        assert len(found) == ways - 1
        for order, squares in found:
            fre = fit_rigid(points, points[order]).fre_mm
            assert squares == pytest.approx(4.0 * fre**2, abs=1e-6)


def test_squares_of_partial_assignments() -> None:
    partners = np.array([[0, 1, 2, 3, 4, 5], [0, -1, 2, 3, -1, 5], [1, 0, 2, 3, 4, 5]])
    moving = np.random.default_rng(0).normal(0.0, 2.0, IRREGULAR_MM.shape) + IRREGULAR_MM
    told = fitted_squares(IRREGULAR_MM, moving, partners)
    for row, squares in zip(partners, told, strict=True):
        used = row >= 0
        fit = fit_rigid(IRREGULAR_MM[used], moving[row[used]])
        assert squares == pytest.approx((fit.residuals_mm**2).sum(), rel=1e-9)


def test_unrelated_lists_do_not_match() -> None:
    rng = np.random.default_rng(5)
    for n in (4, 5, 7):
        for _ in range(10):
            lists = rng.uniform(-100.0, 100.0, (2, n, 3))
            assert not match(lists[0], lists[1], Evidence.of(None)).unambiguous
