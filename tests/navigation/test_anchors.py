"""Rows of extended sources a fraction of a millimetre from where they were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.anchors import FARTHEST_MM, KEPT, NEAR_SHARE, Anchors, moved
from navigation.pointlayer import Problem, Source
from tests.navigation.scan_model import problem_of, raster

CENTRE = np.array([4.0, -3.0, -24.0])


@pytest.fixture(scope="module")
def problem() -> Problem:
    readings = raster(200)
    return problem_of(replace(readings, counts=np.ones(200)))


def exact(problem: Problem, source: Source) -> np.ndarray:
    return replace(problem, anchors=Anchors()).source_rows([source])


@pytest.mark.parametrize(("radius_mm", "depth_mm"), [(8.0, 10.0), (14.0, 17.0), (22.0, 24.0)])
def test_rows_near_an_anchor_are_those_of_the_place(
    problem: Problem, radius_mm: float, depth_mm: float
) -> None:
    there = np.array([4.0, -3.0, -depth_mm])
    first = Source(there, 1.0, radius_mm)
    rng = np.random.default_rng(0)
    for _ in range(5):
        way = rng.normal(size=3)
        way *= min(NEAR_SHARE * radius_mm, FARTHEST_MM) / np.linalg.norm(way)
        problem.source_rows([first])
        told = problem.source_rows([replace(first, position_mm=there + way)])
        true = exact(problem, replace(first, position_mm=there + way))
        # Of the largest rate: what is fitted to 100,000 counts errs by 300.
        assert np.abs(told - true)[:, 0].max() < 5e-4 * true[:, 0].max()
        slope, true_slope = told[:, 2::2] - told[:, 1:6:2], true[:, 2::2] - true[:, 1:6:2]
        # The mixed second derivative is left out: a step errs by some percent, what it is of scatters about none.
        assert np.abs(slope - true_slope).max() < 0.1 * np.abs(true_slope).max()


def test_a_parabola_is_moved_exactly() -> None:
    def value(place: np.ndarray) -> float:
        return float(2.0 + place @ [1.0, -2.0, 0.5] + place**2 @ [0.3, 0.1, -0.2])

    def stencil(place: np.ndarray) -> np.ndarray:
        sides = [place + way * 0.5 * np.eye(3)[axis] for axis in range(3) for way in (-1.0, 1.0)]
        return np.array([[value(place), *(value(side) for side in sides)]])

    offset = np.array([0.3, -0.2, 0.1])
    assert moved(stencil(CENTRE), offset, 0.5) == pytest.approx(stencil(CENTRE + offset))


def test_points_other_sizes_and_other_readings_are_made_anew(problem: Problem) -> None:
    ball = Source(CENTRE, 1.0, 14.0)
    problem.source_rows([ball])
    beside = CENTRE + [0.2, 0.0, 0.0]
    for other in (Source(beside, 1.0, 11.0), Source(beside, 1.0)):
        assert (problem.source_rows([other]) == exact(problem, other)).all()
    # Of half the readings: nothing is taken over from all of them, though both share what was made.
    half = problem.head(100)
    assert half.anchors is problem.anchors
    near = Source(beside, 1.0, 14.0)
    assert (half.source_rows([near]) == exact(half, near)).all()


def test_a_ball_that_touches_the_probe_is_made_anew(problem: Problem) -> None:
    # Its top is 5 mm above the surface, where the faces are 2 mm above it.
    ball = Source(np.array([4.0, -3.0, -22.0]), 1.0, 27.0)
    problem.source_rows([ball])
    beside = replace(ball, position_mm=ball.position_mm + [0.2, 0.0, 0.2])
    assert (problem.source_rows([beside]) == exact(problem, beside)).all()


def test_only_the_latest_are_kept(problem: Problem) -> None:
    anchors = Anchors()
    rows, key = np.zeros((3, 7)), (14.0, None)
    for x in range(KEPT + 3):
        anchors.keep(problem.readings, key, np.array([10.0 * x, 0.0, 0.0]), rows)
    assert len(anchors.made[key]) == KEPT
    assert anchors.near(problem.readings, key, np.zeros(3), 0.5) is None
    assert anchors.near(problem.readings, key, np.array([10.0 * (KEPT + 2), 0.0, 0.1]), 0.5) is not None
