"""What should be counted at a pose, against the fit's own rates and against counts drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.engine.handwatch import EXPECTED_EVERY_S, LASTING_S, HandWatch, done_here
from navigation.guidance.expected import Expectation, Expected
from navigation.reconstruction import ScanState, reconstruct
from tests.navigation.scan_model import filled, raster, setup

FOCUS = (4.0, 2.0, -8.0)


@pytest.fixture(scope="module")
def state() -> ScanState:
    return reconstruct(setup(), filled(raster(240), [(FOCUS, 80.0)], 0.3, seed=3))


def test_it_is_the_rate_of_the_fit_at_a_pose_of_the_scan(state: ScanState) -> None:
    expectation = Expectation.of(state.problem, state.found.fit)
    poses, rates = state.problem.readings.mid_poses, state.found.fit.rate_cps
    for i in (10, 120, 230):
        found = expectation.at(poses[i])
        assert found is not None
        assert found.rate_cps == pytest.approx(
            rates[i], rel=0.02
        )  # but for the fitted errors of the response
        assert found.low_cps < found.rate_cps < found.high_cps


def test_a_second_of_counts_lies_in_the_interval_as_often_as_it_says(state: ScanState) -> None:
    expectation = Expectation.of(state.problem, state.found.fit)
    again = filled(raster(240), [(FOCUS, 80.0)], 0.3, seed=11)
    truth = (
        np.array([filled(raster(240), [(FOCUS, 80.0)], 0.3, seed=s).counts for s in range(20, 26)]).mean(
            axis=0
        )
        * 10
    )
    rng, inside = np.random.default_rng(5), []
    for i in range(0, 240, 3):
        found = expectation.at(again.mid_poses[i])
        assert found is not None
        inside.append(found.low_cps <= rng.poisson(truth[i]) <= found.high_cps)
    # The mean of six draws stands for the truth and adds to the scatter.
    assert np.mean(inside) >= 0.88


def test_no_counts_where_some_are_expected_are_told_once_it_lasts() -> None:
    watch, due = HandWatch(), Expected(100.0, 70.0, 130.0)
    assert watch.wanting(due, 90.0, 0.0) is None
    assert watch.wanting(due, 0.0, 0.1) is None
    words = watch.wanting(due, 0.0, 0.1 + LASTING_S)
    assert words == "fewer counts than expected here: 0 cps, 100 cps expected here (70 to 130)"
    assert watch.wanting(due, 80.0, 2.0) is None
    assert watch.wanting(due, 0.0, 2.5) is None
    assert watch.wanting(None, 0.0, 9.0) is None


def test_it_is_asked_for_five_times_a_second_and_for_no_probe_that_is_not_seen(state: ScanState) -> None:
    watch, expectation = HandWatch(), Expectation.of(state.problem, state.found.fit)
    here, there = state.problem.readings.mid_poses[[10, 120]]
    first = watch.expected(expectation, here, 5.0)
    assert watch.expected(expectation, there, 5.0 + EXPECTED_EVERY_S / 2) is first
    assert watch.expected(expectation, there, 5.1 + EXPECTED_EVERY_S) is not first
    assert watch.expected(expectation, None, 6.0) is None
    assert watch.expected(None, here, 7.0) is None


def test_what_is_covered_may_be_passed_at_any_speed() -> None:
    from navigation.bed import Bed
    from navigation.coverage import Aim, BedCoverage

    points = np.array([[0.0, 0.0, -3.0], [40.0, 0.0, -3.0]])
    mda, covered = np.array([1.0, 9.0]), np.array([True, False])
    told = BedCoverage(Aim(Bed(points, 5.0), 4.0), points, mda, mda, covered, 9.0, 10, 1.0)
    tip = np.eye(4)
    assert done_here(told, tip)
    tip[0, 3] = 40.0
    assert not done_here(told, tip)
    tip[0, 3] = 200.0  # no bed at all
    assert not done_here(told, tip)
