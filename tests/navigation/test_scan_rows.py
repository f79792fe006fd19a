"""Which readings' rows a full store may merge: none that is a bound or may turn out to be one, and all others."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calibration.counter.deadtime import NON_PARALYSABLE, PARALYSABLE, DeadTime
from navigation.likelihood import FOLDED_WITHIN_S, MOST_PARALYSED, Counts, least_doubtful_cps
from navigation.reconstruction.geometry import ROWS_AT_ONCE
from navigation.reconstruction.rowstore import RowStore
from navigation.reconstruction.scanrows import ScanRows
from tracking.sample import Readings

TAU_S = 2e-5
WIDTH = 20


@pytest.fixture(autouse=True)
def plain_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of ones: only where they go is looked at. A store of 200."""

    def ones(_setup: Any, _geometry: Any, part: Readings) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((len(part), WIDTH), dtype=np.float32), np.ones((len(part), 1))

    monkeypatch.setattr("navigation.reconstruction.scanrows.rows_of", ones)
    monkeypatch.setattr("navigation.reconstruction.scanrows.RowStore", partial(RowStore, cap_bytes=64 * 200))


def rows_over(dead_time: DeadTime) -> Any:
    setup = SimpleNamespace(dead_time=dead_time)
    geometry = SimpleNamespace(
        field=SimpleNamespace(active=np.arange(WIDTH - 1)),
        background=SimpleNamespace(modes=np.zeros((1, 1))),
    )
    return ScanRows(setup, geometry)  # type: ignore[arg-type]


def still(recorded_cps: np.ndarray) -> Readings:
    """Readings of 0.1 s at one place."""
    n = len(recorded_cps)
    live = np.full(n, 0.1)
    return Readings(
        0.1 * np.arange(n),
        recorded_cps * live,
        live,
        np.tile(np.eye(4), (n, 1, 1)),
        np.ones(n),
        np.arange(n + 1),
    )


def scan_with_hot_spells(n: int, seed: int) -> Readings:
    """Recorded rates over four decades, with spells of saturation 0.1 to 60 s apart."""
    rng = np.random.default_rng(seed)
    rates = 10.0 ** rng.uniform(1, 4, n)
    at = np.cumsum(rng.choice([1, 3, 30, 90, 110, 600], size=n // 100))
    rates[at[at < n]] = 0.3 / TAU_S
    return still(rates)


def in_parts(readings: Readings, dead_time: DeadTime, size: int) -> Any:
    rows = rows_over(dead_time)
    for end in range(size, len(readings) + size, size):
        rows.extend(readings.head(min(end, len(readings))))
    return rows


def alone(rows: Any) -> np.ndarray:
    """(n,) of each reading: whether it has a row to itself."""
    return np.asarray(rows.store.readings[rows.newest(10**6)] == 1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [7, 64, 5000])
def test_bounds_and_what_may_become_one_keep_a_row_of_their_own(seed: int, size: int) -> None:
    readings, dead = scan_with_hot_spells(1500, seed), DeadTime(TAU_S, PARALYSABLE)
    data = Counts.of(readings.counts, readings.live_s, readings.t_s, dead)
    assert data.doubtful is not None
    own = alone(in_parts(readings, dead, size))
    assert own[data.censored].all()
    assert own[data.doubtful].all()


def test_readings_below_doubt_are_merged_though_the_counter_is_paralysable() -> None:
    dead = DeadTime(TAU_S, PARALYSABLE)
    low = least_doubtful_cps(dead)
    assert low == pytest.approx(MOST_PARALYSED * np.exp(-MOST_PARALYSED) / TAU_S)
    rates = np.full(900, 0.99 * low)
    rates[::50] = 0.3 / TAU_S  # saturated, 5 s apart
    rows = in_parts(still(rates), dead, 40)
    assert len(rows.store) <= 200
    assert alone(rows)[::50].all()


def test_readings_long_after_saturation_are_merged_at_any_rate() -> None:
    dead = DeadTime(TAU_S, PARALYSABLE)
    rates = np.full(900, 0.2 / TAU_S)
    rates[0] = 0.3 / TAU_S
    own = alone(in_parts(still(rates), dead, 40))
    soon = 0.1 * np.arange(900) <= FOLDED_WITHIN_S
    assert own[soon].all()
    assert own[~soon].mean() < 0.5


@pytest.mark.parametrize("model", [NON_PARALYSABLE, PARALYSABLE])
def test_without_dead_time_every_reading_is_plain(model: str) -> None:
    rows = in_parts(still(np.full(900, 1e6)), DeadTime(0.0, model), 40)
    assert len(rows.store) <= 200
    assert rows.merged_mm == pytest.approx(0.0, abs=1e-9)


def test_what_is_merged_does_not_depend_on_how_many_came_at_once() -> None:
    readings, dead = scan_with_hot_spells(2 * ROWS_AT_ONCE + 900, 1), DeadTime(TAU_S, PARALYSABLE)
    one, other = in_parts(readings, dead, 11), in_parts(readings, dead, len(readings))
    assert (one.newest(10**6) == other.newest(10**6)).all()
    assert (one.store.readings == other.store.readings).all()
