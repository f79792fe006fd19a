"""Smooth errors of the response: what they change, and that a node beside a hot focus does not pay for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation import pointlayer
from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Source, fit_sources
from navigation.responseerror import KNOT_SD, KNOTS_DEG, PER_SOURCE, factor, relative_errors
from tests.navigation.scan_model import problem_of, raster

HOT, NODE = (-12.0, 0.0, -15.0), (8.0, 0.0, -15.0)
NODE_KBQ = 60.0


def test_an_error_is_that_of_its_knot_and_none_elsewhere() -> None:
    # Looking down from the origin: one source on the axis, one 45 degrees beside it, a knot.
    pose = np.diag([1.0, -1.0, -1.0, 1.0])[None]
    first = PER_SOURCE - len(KNOTS_DEG)
    on_axis = relative_errors(np.array([0.0, 0.0, -20.0]), pose)[0]
    beside = relative_errors(np.array([20.0, 0.0, -20.0]), pose)[0]
    assert on_axis[first:] == pytest.approx([KNOT_SD[0], 0, 0, 0, 0, 0])
    assert beside[first:] == pytest.approx([0, 0, 0, KNOT_SD[3], 0, 0])
    assert on_axis[:2] == pytest.approx([0.0, 0.0])
    errors = np.zeros(PER_SOURCE)
    errors[first + 3] = 2.0
    assert factor(beside[None], errors)[0] == pytest.approx(np.exp(2.0 * KNOT_SD[3]))


@pytest.fixture(scope="module")
def fits() -> tuple[JointFit, JointFit]:
    """Mean counts of a node beside 50 times its activity, whose tail is four standard errors above the calibration:
    fitted with errors of the response, and without.
    """
    empty = problem_of(raster())
    hot, node = Source(np.array(HOT), 50 * NODE_KBQ), Source(np.array(NODE), NODE_KBQ)
    rows = empty.rows(np.array([HOT, NODE]))
    wrong = np.zeros(PER_SOURCE)
    wrong[-3:] = 4.0
    tail = factor(relative_errors(hot.position_mm, empty.readings.mid_poses), wrong)
    rate = (
        0.3 * empty.background_rows[:, 0]
        + hot.activity_kbq * rows[:, 0] * tail
        + node.activity_kbq * rows[:, 1]
    )
    problem = replace(empty, data=Counts(rate * empty.data.live_s, empty.data.live_s))
    start = np.zeros(problem.background_rows.shape[1])
    start[0] = 0.3
    precision = problem.background.precision(0.3)
    told = fit_sources(problem, [hot, node], start, precision)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointlayer, "STRONG", np.inf)
        plain = fit_sources(problem, [hot, node], start, precision)
    return told, plain


def test_a_wrong_tail_moves_neither_the_hot_focus_nor_the_node(fits: tuple[JointFit, JointFit]) -> None:
    told, _ = fits
    shift, without = (float(np.linalg.norm(fit.sources[0].position_mm - np.array(HOT))) for fit in fits)
    # A tail that is too high looks like a deeper source; 50 times the node's counts tell the two apart.
    assert without > 1.0
    assert shift < 0.4 * without
    # Counts without chance: what is left is the prior's pull, inside the standard deviation that is told.
    off = float(np.log(told.sources[1].activity_kbq / NODE_KBQ))
    assert abs(off) < np.sqrt(told.block(1)[3, 3])
    assert np.linalg.norm(told.sources[1].position_mm - np.array(NODE)) < 1.0


def test_errors_that_are_fitted_widen_what_is_told(fits: tuple[JointFit, JointFit]) -> None:
    told, plain = fits
    assert plain.sources[0].errors is None
    assert told.sources[0].errors is not None
    assert told.covariance.shape == plain.covariance.shape
    assert told.objective > plain.objective
    # The node's neighbour is known worse than by counting alone, yet no worse than its errors are to begin with.
    assert plain.block(0)[3, 3] < told.block(0)[3, 3] < 0.05**2
