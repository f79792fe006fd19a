"""What a further look adds to the information, against the whole Fisher matrix made anew."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.guidance.gain import Information
from navigation.guidance.look import GRAIN_S, HAND_MM_S, SHORTEST_S, TURN_DEG_S, first_of, plan, seconds_to
from navigation.likelihood import Counts
from navigation.uncertainty import Nuisance, score_map

PRECISION = np.array([0.0, 3.0, 40.0])


def scan(n: int = 25, m: int = 6) -> tuple[np.ndarray, Nuisance]:
    rng = np.random.default_rng(5)
    rows = rng.uniform(0.0, 6.0, (n, m)).astype(np.float32)
    design = np.column_stack([rng.uniform(20.0, 60.0, n), rng.normal(0.0, 4.0, (n, 2))])
    rate = rng.uniform(15.0, 80.0, n)
    data = Counts(rng.poisson(rate * 0.1).astype(float), np.full(n, 0.1))
    return rows, Nuisance(data, design, PRECISION, rate)


def schur(rows: np.ndarray, design: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Information on an activity at each place, from the whole matrix of that activity and the nuisance."""
    found = []
    for row in rows.T.astype(np.float64):
        columns = np.column_stack([row, design])
        fisher = columns.T @ (weight[:, None] * columns) + np.diag([0.0, *PRECISION])
        found.append(1.0 / np.linalg.inv(fisher)[0, 0])
    return np.array(found)


def test_the_information_of_a_scan_is_that_of_the_whole_matrix() -> None:
    rows, nuisance = scan()
    weight = nuisance.data.weights(nuisance.rate_cps)[1]
    known = Information.of(rows, nuisance)
    np.testing.assert_allclose(known.own, schur(rows, nuisance.design, weight), rtol=1e-4)
    np.testing.assert_allclose(known.own, score_map(rows, nuisance).information, rtol=1e-4)


def test_a_look_adds_what_the_matrix_with_one_more_reading_has() -> None:
    rows, nuisance = scan()
    weight = nuisance.data.weights(nuisance.rate_cps)[1]
    rng = np.random.default_rng(6)
    looks, background = rng.uniform(0.0, 6.0, (4, rows.shape[1])), rng.uniform(0.0, 60.0, (4, 3))
    worth = np.array([0.01, 0.05, 0.2, 0.0])
    known = Information.of(rows, nuisance)
    gained = known.gained(looks, background, worth)
    before = schur(rows, nuisance.design, weight)
    for look, extra, w, found in zip(looks, background, worth, gained, strict=True):
        after = schur(np.vstack([rows, look]), np.vstack([nuisance.design, extra]), np.append(weight, w))
        np.testing.assert_allclose(found, after - before, rtol=2e-3, atol=2e-3 * before.max())
    assert (gained[3] == 0.0).all()


def test_a_plan_gives_every_place_what_it_lacks_and_takes_hardly_longer_than_the_shortest() -> None:
    from scipy.optimize import linprog

    rng = np.random.default_rng(8)
    have, need = rng.uniform(0.0, 0.8, 60), np.ones(60)
    gained = np.exp(-0.5 * ((np.arange(12)[:, None] * 5.0 - np.arange(60)) / 4.0) ** 2) * 0.5
    planned = plan(have, need, gained)
    assert (have + planned @ gained >= need - 1e-9).all()
    shortest = linprog(np.ones(12), A_ub=-gained.T, b_ub=have - need)
    assert shortest.fun <= planned.sum() <= 1.2 * shortest.fun + 12 * GRAIN_S


def test_nothing_is_planned_where_all_is_reached_or_out_of_reach() -> None:
    gained = np.full((2, 3), 0.2)
    assert not plan(np.ones(3), np.ones(3), gained).any()
    assert not plan(np.zeros(3), np.ones(3), np.zeros((2, 3))).any()
    assert not plan(np.zeros(3), np.full(3, 1e6), gained).any()
    assert len(plan(np.zeros(3), np.ones(3), np.zeros((0, 3)))) == 0
    # A place that nobody can help does not keep the others from their plan.
    gained[:, 1] = 0.0
    assert plan(np.zeros(3), np.ones(3), gained).sum() == pytest.approx(5.0, abs=GRAIN_S)


def test_the_last_patch_is_planned_for_though_it_is_less_than_what_may_be_left_to_chance() -> None:
    # Of 2,000 places four still lack something: a single patch may be wider than is allowed, so it has to be looked at.
    need, gained = np.ones(2000), np.full((1, 2000), 0.5)
    have = np.ones(2000)
    have[:4] = 0.0
    assert plan(have, need, gained).sum() == pytest.approx(2.0, abs=GRAIN_S)


def test_the_nearest_of_the_plan_comes_first_and_is_kept_until_it_is_done() -> None:
    planned, way = np.array([3.0, 1.0, 0.0, SHORTEST_S / 2]), np.array([2.0, 0.5, 0.0, 0.1])
    assert first_of(planned, way) == 1
    assert first_of(planned, way, last=0) == 0
    assert first_of(planned, way, last=2) == 1  # nothing is left to do there
    assert first_of(planned * [0.0, 0.0, 0.0, 1.0], way) == 3  # rather a short look than none
    assert first_of(np.zeros(4), way) is None
    assert first_of(np.zeros(0), np.zeros(0)) is None


def test_the_way_takes_time_and_so_does_a_turn() -> None:
    poses = np.stack([np.eye(4), np.eye(4)])
    poses[0, 0, 3] = 40.0
    poses[1, :3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    np.testing.assert_allclose(seconds_to(poses, np.eye(4)), [40.0 / HAND_MM_S, 90.0 / TURN_DEG_S])
    assert not seconds_to(poses, None).any()
