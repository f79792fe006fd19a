"""The profile interval of an activity: where the likelihood ends it, or the budget where the parabola is good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.physics.budget import Budget, Component
from navigation.pointlayer import JointFit, Problem, fit_sources
from navigation.profileinterval import activity_interval
from navigation.reconstruction import ScanState, reconstruct
from navigation.spotbudget import shares_of_fit
from tests.navigation.scan_model import filled, raster, setup


def scan(activity_kbq: float, depth_mm: float, seed: int) -> ScanState:
    return reconstruct(setup(), filled(raster(240), [((6.0, -4.0, -depth_mm), activity_kbq)], 0.4, seed=seed))


@pytest.fixture(scope="module")
def weak() -> ScanState:
    return scan(45.0, 24.0, 6)


def counting_only(fit: JointFit) -> Budget:
    counting, place, _ = shares_of_fit(fit, 0)
    return Budget.of([Component("counting", "A", float(np.hypot(counting, place)), "fit")])


def drop(problem: Problem, state: ScanState, activity_kbq: float) -> float:
    """Twice what the log-likelihood loses when the activity is held there, from several starts."""
    fit, precision = state.found.fit, state.found.precision
    best = -np.inf
    for depth in (-6.0, -2.0, 0.0, 2.0, 6.0):
        start = replace(
            fit.sources[0],
            activity_kbq=activity_kbq,
            position_mm=fit.sources[0].position_mm + [0.0, 0.0, depth],
        )
        trial = fit_sources(problem, [start, *fit.sources[1:]], fit.background, precision, held=0)
        assert trial.sources[0].activity_kbq == activity_kbq
        best = max(best, trial.objective)
    return 2.0 * (fit.objective - best)


def test_a_weak_focus_has_the_ends_that_the_likelihood_gives_it(weak: ScanState) -> None:
    problem, fit = weak.problem, weak.found.fit
    low, high = activity_interval(problem, fit, weak.found.precision, 0, counting_only(fit))
    # The 95 % quantile of chi2(1) is 3.84; the search ends within 2 % of the half width, 4 % of the drop.
    assert drop(problem, weak, low) == pytest.approx(3.84, abs=0.35)
    assert drop(problem, weak, high) == pytest.approx(3.84, abs=0.35)
    assert low < 45.0 < high


def test_other_errors_add_in_squares_to_each_side(weak: ScanState) -> None:
    problem, fit = weak.problem, weak.found.fit
    alone = counting_only(fit)
    more = Budget.of([*alone.components, Component("scale", "B", 0.5, "test")])
    activity = fit.sources[0].activity_kbq
    bare, wide = (
        np.abs(np.log(np.array(activity_interval(problem, fit, weak.found.precision, 0, b)) / activity))
        for b in (alone, more)
    )
    assert wide == pytest.approx(np.hypot(bare, 1.96 * 0.5), rel=1e-6)


def test_a_strong_focus_keeps_its_budget_s_interval() -> None:
    strong = scan(2000.0, 15.0, 7)
    fit, budget = strong.found.fit, counting_only(strong.found.fit)
    assert budget.relative_sd < 0.1
    expected = budget.interval(fit.sources[0].activity_kbq)
    assert activity_interval(strong.problem, fit, strong.found.precision, 0, budget) == expected
