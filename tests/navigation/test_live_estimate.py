"""The live map's estimator: its kernel against numpy, its sampling, and what it gains on a growing scan."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.counter.deadtime import DeadTime
from navigation import _core
from navigation.reconstruction.rowstore import RowStore
from navigation.schedule import NEWEST, STEP_SHARE, Work, sample
from tracking.errors import InputError


def numpy_update(
    rows: np.ndarray,
    told: tuple[np.ndarray, np.ndarray, np.ndarray],
    dead: DeadTime,
    weights: np.ndarray,
    prior: np.ndarray,
    strength: float,
    step: float,
    x: np.ndarray,
) -> np.ndarray:
    """What the kernel does, in double precision: rows (k, m) are those of the sample."""
    counts, live, saturated = told
    rate = np.maximum(rows @ x, 1e-6)
    limit = dead.saturated_rate_cps
    inside = np.minimum(rate, limit)
    slope = np.asarray(dead.slope(inside))
    recorded = np.asarray(dead.expected(inside)) + slope * np.maximum(rate - limit, 0.0)
    y = np.where(saturated, np.maximum(counts, live * recorded), counts)
    gain = rows.T @ (weights * y * slope / recorded)
    loss = rows.T @ (weights * live * slope)
    return x + step * ((x * gain + strength * prior) / (loss + strength) - x)


@pytest.mark.parametrize("dead", [DeadTime(0.0), DeadTime(2e-4), DeadTime(2e-4, "paralysable")])
def test_one_update_is_that_of_numpy(dead: DeadTime) -> None:
    rng = np.random.default_rng(5)
    n, m = 70, 90
    store = RowStore(m)
    store.append(rng.gamma(0.5, 2.0, (n, m)).astype(np.float32))
    rows = store.unpacked().astype(np.float64)
    live = rng.uniform(0.05, 0.1, n)
    saturated = rng.random(n) < 0.1
    counts = rng.poisson(100.0, n).astype(float)
    which = rng.permutation(n)[:37]
    weights = rng.uniform(0.5, 9.0, 37)
    start, prior = rng.uniform(0.5, 9.0, m), rng.uniform(0.5, 2.0, m)
    x, mean = store.padded(start), store.padded(prior)
    _core.em_sample(
        store.packed,
        store.scales,
        counts.astype(np.float32),
        live.astype(np.float32),
        saturated.astype(np.uint8),
        dead.tau_s,
        dead.paralysable,
        dead.saturated_rate_cps,
        which.astype(np.int64),
        weights.astype(np.float32),
        mean,
        0.7,
        0.4,
        x,
    )
    told = (counts[which], live[which], saturated[which])
    expected = numpy_update(rows[which], told, dead, weights, prior, 0.7, 0.4, start)
    # Sums of 37 and 90 products in single precision: 1e-6 of the largest each.
    assert x[:m] == pytest.approx(expected, rel=2e-5)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(6)
    store = RowStore(500)
    store.append(rng.random((64, 500)).astype(np.float32))
    told = (np.full(64, 9.0, np.float32), np.full(64, 0.1, np.float32), np.zeros(64, np.uint8))
    rows, weights, step = sample(64, 20, 3)
    found = []
    for threads in (1, 2, 3):
        x = store.padded(np.ones(500))
        prior = x.copy()
        _core.em_sample(
            store.packed, store.scales, *told, 0.0, False, 1e9, rows, weights, prior, 1.0, step, x, threads
        )
        found.append(x)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_a_row_outside_the_store_is_refused() -> None:
    store = RowStore(32)
    store.append(np.ones((4, 32), dtype=np.float32))
    told = (np.ones(4, np.float32), np.ones(4, np.float32), np.zeros(4, np.uint8))
    x = store.padded(np.ones(32))
    with pytest.raises(ValueError, match="rows must be of the store"):
        _core.em_sample(
            store.packed,
            store.scales,
            *told,
            0.0,
            False,
            1e9,
            np.array([4]),
            np.ones(1, np.float32),
            x.copy(),
            0.0,
            1.0,
            x,
        )


def test_a_sample_stands_for_every_reading_once() -> None:
    rows, weights, step = sample(5000, 256, 7)
    assert len(rows) == len(np.unique(rows)) == 256 + NEWEST
    # Each of the newest stands for itself, the 256 others for the 4,984 before them.
    assert (rows[-NEWEST:] == np.arange(5000 - NEWEST, 5000)).all()
    assert weights.sum() == pytest.approx(5000.0)
    assert step == pytest.approx(STEP_SHARE * 272 / 5000)


def test_the_newest_rows_are_in_the_sample_wherever_they_lie() -> None:
    newest = np.array([3, 400, 17, 4999, *range(100, 112)])
    for turn in range(40):
        rows, weights, step = sample(5000, 256, turn, newest)
        assert len(rows) == len(np.unique(rows)) == 256 + NEWEST
        assert sorted(rows[-NEWEST:]) == sorted(newest)
        assert (weights[-NEWEST:] == 1.0).all()
        assert weights.sum() == pytest.approx(5000.0)
        assert step == pytest.approx(STEP_SHARE * 272 / 5000)


@pytest.mark.parametrize("n", [5, 16, 200, 272, 273, 3000])
@pytest.mark.parametrize("replay", [0, 1, 256])
def test_the_last_rows_are_the_newest_unless_told(n: int, replay: int) -> None:
    told = sample(n, replay, 5, np.arange(max(n - NEWEST, 0), n))
    untold = sample(n, replay, 5)
    assert told[0].tobytes() == untold[0].tobytes()
    assert told[1].tobytes() == untold[1].tobytes()
    assert told[2] == untold[2]


def test_all_readings_come_in_turn() -> None:
    seen = np.concatenate([sample(2000, 100, turn)[0] for turn in range(60)])
    # 60 turns of 100 strata of 19.84 readings: shifts by the golden ratio leave no gap wider than 2.7 / 60.
    assert len(np.unique(seen)) == 2000


def test_a_short_scan_is_gone_through_as_a_whole() -> None:
    rows, weights, step = sample(200, 256, 1)
    assert (rows == np.arange(200)).all()
    assert (weights == 1.0).all()
    assert step == 1.0


def test_a_schedule_survives_the_record() -> None:
    work = Work(replay=100, passes=2, adopt=True, seek=True)
    assert Work.from_json(work.to_json()) == work


@pytest.mark.parametrize("wrong", [{"replay": "many"}, {"replay": -1}, {"passes": 99}, {"seek": 1}, {"x": 1}])
def test_a_schedule_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="schedule of a tick"):
        Work.from_json(wrong)
