"""One focus or two close together: a merged pair is taken apart, a single one is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Problem, Source, fit_sources
from navigation.spotsplit import POSSIBLE_GAIN, WIDEST_MM, best_split, possible_pair
from tests.navigation.scan_model import problem_of, raster

PAIR = ((-7.0, 2.0, -15.0), (7.0, 2.0, -15.0))


@pytest.fixture(scope="module")
def empty() -> Problem:
    return problem_of(raster())


def merged(empty: Problem, *sources: tuple[tuple[float, float, float], float]) -> tuple[Problem, JointFit]:
    """Poisson counts of sources in 0.2 kBq/mL, and the best fit of one point to them."""
    rows = empty.rows(np.array([place for place, _ in sources]))
    rate = 0.2 * empty.background_rows[:, 0] + rows @ np.array([kbq for _, kbq in sources])
    counts = np.random.default_rng(11).poisson(rate * empty.data.live_s).astype(float)
    problem = replace(empty, data=Counts(counts, empty.data.live_s))
    start = np.zeros(problem.background_rows.shape[1])
    start[0] = 0.2
    middle = np.mean([place for place, _ in sources], axis=0)
    one = [Source(middle, sum(kbq for _, kbq in sources))]
    return problem, fit_sources(problem, one, start, problem.background.precision(0.2))


def test_a_merged_pair_is_taken_apart(empty: Problem) -> None:
    problem, one = merged(empty, (PAIR[0], 60.0), (PAIR[1], 45.0))
    two = best_split(problem, one, problem.background.precision(0.2), 0)
    assert two is not None
    # Four parameters more: chance gains 18.5 once in a thousand scans.
    assert 2 * (two.objective - one.objective) > 18.5
    for place in PAIR:
        offsets = [s.position_mm - np.array(place) for s in two.sources]
        nearest = int(np.argmin([np.linalg.norm(o) for o in offsets]))
        # 99.9 % quantile of chi2 with three degrees of freedom.
        assert offsets[nearest] @ np.linalg.solve(two.block(nearest)[:3, :3], offsets[nearest]) < 16.3


def test_a_single_focus_gains_nothing_by_being_two(empty: Problem) -> None:
    problem, one = merged(empty, ((0.0, 2.0, -15.0), 105.0))
    two = best_split(problem, one, problem.background.precision(0.2), 0)
    assert two is None or 2 * (two.objective - one.objective) < 18.5
    if two is not None:
        assert np.linalg.norm(two.sources[-1].position_mm - two.sources[-2].position_mm) <= WIDEST_MM


def test_a_pair_that_is_not_sure_spreads_the_region_along_it(empty: Problem) -> None:
    problem, one = merged(empty, (PAIR[0], 30.0), (PAIR[1], 25.0))
    precision = problem.background.precision(0.2)
    two = best_split(problem, one, precision, 0)
    assert two is not None and 2 * (two.objective - one.objective) > POSSIBLE_GAIN
    found = possible_pair(problem, one, precision, 0, significance=20.0)
    assert found is not None
    spread, words = found
    # The true places lie 7 mm to either side along x: 49 mm2, as far as the counts tell where they are.
    assert 20.0 < spread[0, 0] < 110.0
    assert spread[1, 1] < 0.2 * spread[0, 0]
    assert words.startswith("may be two foci")
    assert possible_pair(problem, one, precision, 0, significance=5.0) is None
