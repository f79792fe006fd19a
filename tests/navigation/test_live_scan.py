"""A scan while it goes on: a function of readings and schedule, on wider fields without a stop, exact at its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from navigation.reconstruction import reconstruct
from navigation.reconstruction.compaction import WIDEST_MM
from navigation.reconstruction.live import LiveReconstruction
from navigation.reconstruction.livescan import AtOnce, LiveScan
from navigation.reconstruction.posebins import MOST_BINS, PoseBins
from navigation.reconstruction.readinglog import ReadingLog
from navigation.reconstruction.rowstore import RowStore
from navigation.schedule import LAST_WORK, NEWEST, Frame, Work, sample
from navigation.volume import NOT_EXAMINED, ActivityMap
from tests.navigation.scan_model import filled, problem_of, raster, setup
from tracking.sample import Readings

SOURCE = (6.0, -4.0, -18.0)
TICK = 8


@pytest.fixture(scope="module")
def readings() -> Readings:
    return filled(raster(160), [(SOURCE, 80.0)], 0.4, seed=1)


def schedule(ticks: int) -> list[Work]:
    """A search with every sixth tick, taken in three ticks later; a wider field is begun and taken in likewise."""
    return [
        Work(
            replay=64 + 8 * (i % 5),
            passes=1 + i % 2,
            seek=i % 6 == 0,
            limits=True,
            adopt=i % 6 == 3,
            grow=i % 4 == 1,
            widen=i % 4 == 3,
        )
        for i in range(ticks)
    ]


def played(scan: LiveScan, readings: Readings) -> list[Frame]:
    works = schedule(-(-len(readings) // TICK))
    frames = []
    for i, work in enumerate(works):
        scan.add(readings.select(slice(i * TICK, min((i + 1) * TICK, len(readings)))))
        frames.append(scan.advance(work))
    return frames


def same(first: ActivityMap, second: ActivityMap) -> bool:
    pairs = [(first.activity, second.activity), (first.mda_kbq, second.mda_kbq)]
    pairs += [(first.relative_sd, second.relative_sd), (first.examined, second.examined)]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def frames(readings: Readings) -> list[Frame]:
    return played(LiveScan(setup()), readings)


def test_the_same_schedule_gives_the_same_maps_and_the_end_is_that_of_the_readings(
    readings: Readings, frames: list[Frame]
) -> None:
    with ThreadPoolExecutor(1) as beside:
        live = LiveScan(setup(), beside)
        for first, second in zip(played(live, readings), frames, strict=True):
            assert (first.map is None) == (second.map is None)
            if first.map is None or second.map is None:
                continue
            assert same(first.map, second.map)
            assert first.map.n_readings == second.map.n_readings
            assert (first.spots_readings, first.spots_t_s) == (second.spots_readings, second.spots_t_s)
            for a, b in zip(first.spots, second.spots, strict=True):
                assert (a.position_mm == b.position_mm).all()
        result, offline = live.finish(), reconstruct(setup(), readings).result
    assert same(result.map, offline.map)
    assert [s.activity_kbq for s in result.spots] == [s.activity_kbq for s in offline.spots]


def test_the_newest_reading_is_in_the_map_and_its_parts_say_of_when_they_are(
    readings: Readings, frames: list[Frame]
) -> None:
    for i, frame in enumerate(frames):
        if frame.map is None:
            continue
        n = min((i + 1) * TICK, len(readings))
        assert frame.map.n_readings == n
        assert frame.map.t_s == readings.t_s[n - 1]
        assert frame.map.limits_readings is not None
        assert frame.map.limits_readings <= n
        assert frame.map.limits_t_s == readings.t_s[frame.map.limits_readings - 1]
        assert frame.spots_t_s == readings.t_s[frame.spots_readings - 1]
    # Tick 15 takes in the search that tick 12 began after 13 batches.
    assert [frames[i].spots_readings for i in (14, 15)] == [7 * TICK, 13 * TICK]


def test_the_live_map_finds_what_the_final_one_finds() -> None:
    scan, readings = LiveScan(setup()), filled(raster(240), [(SOURCE, 80.0)], 0.4, seed=1)
    scan.add(readings.head(150))
    scan.advance(Work())
    scan.add(readings.select(slice(150, None)))
    frame = scan.advance(LAST_WORK)
    assert frame.map is not None
    points = frame.map.grid.points()
    near = np.linalg.norm(points - np.array(SOURCE), axis=1) < 12.0
    held = float((frame.map.activity.reshape(-1)[near] - 0.4).clip(0).sum()) * frame.map.grid.voxel_ml
    assert held == pytest.approx(80.0, rel=0.3)
    assert len(frame.spots) == 1


def test_a_published_map_is_never_written_again(readings: Readings) -> None:
    scan = LiveScan(setup())
    scan.add(readings.head(100))
    first = scan.advance(Work()).map
    assert first is not None
    kept = first.activity.copy()
    scan.add(readings.select(slice(100, None)))
    second = scan.advance(Work(settle=True)).map
    assert second is not None
    assert second.version > first.version
    assert (first.activity == kept).all()
    with pytest.raises(ValueError, match="read-only"):
        second.activity[0, 0, 0] = 1.0


def test_a_wider_field_keeps_what_was_known_and_examines_nothing_new_at_once(readings: Readings) -> None:
    aside = replace(
        readings.head(60),
        poses=readings.poses[:60] + shift(40.0),
        t_s=readings.t_s[:60] + 30.0,
    )
    scan = LiveScan(setup())
    scan.add(readings)
    before = scan.advance(Work()).map
    scan.add(aside)
    assert scan.progress.wider_due
    between = scan.advance(Work(grow=True)).map
    after = scan.advance(Work(widen=True, replay=0, passes=0)).map
    assert before is not None
    assert between is not None
    assert after is not None
    assert between.grid.size == before.grid.size
    assert after.grid.size[0] > before.grid.size[0]
    old = before.grid.points()
    index = np.rint(after.grid.index_of(old)).astype(int)
    i, j, k = index.T
    assert (after.activity[k, j, i] == between.activity.reshape(-1)).all()
    new = np.ones(after.grid.shape, dtype=bool)
    new[k, j, i] = False
    assert new.any()
    assert not after.examined[new].any()
    assert (after.mda_kbq[new] == NOT_EXAMINED).all()


def shift(x_mm: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[0, 3] = x_mm
    return matrix


def test_too_few_readings_give_no_map(readings: Readings) -> None:
    scan = LiveScan(setup())
    scan.add(readings.head(5))
    assert scan.advance(Work()).map is None


def test_merged_readings_expect_the_same_counts(readings: Readings) -> None:
    problem = problem_of(readings)
    point = np.array([SOURCE])
    bins = PoseBins(1)
    bins.take(readings, problem.rows(point).astype(np.float32))
    merged = bins.problem(problem)
    assert len(bins) < len(readings)
    assert merged.data.counts.sum() == readings.counts.sum()
    # Sum over readings of live time times response, one by one and merged; rows are in single precision.
    expected = float(readings.live_s @ problem.rows(point)[:, 0])
    assert float(merged.data.live_s @ merged.rows(point)[:, 0]) == pytest.approx(expected, rel=1e-5)
    assert float(merged.data.live_s @ bins.rows[:, 0]) == pytest.approx(expected, rel=1e-5)
    background = readings.live_s @ problem.background_rows
    assert merged.data.live_s @ merged.background_rows == pytest.approx(background, rel=1e-9)


def test_bins_are_made_wider_rather_than_too_many() -> None:
    readings = raster(4000, half_mm=200.0)
    rows = np.arange(4000.0, dtype=np.float32)[:, None]
    bins = PoseBins(1)
    bins.take(readings.head(1500), rows)
    bins.take(readings, rows)
    assert 0.3 * MOST_BINS < len(bins) <= MOST_BINS
    at_once = PoseBins(1)
    at_once.take(readings, rows)
    assert (at_once.rows == bins.rows).all()


def test_a_log_hands_out_views_that_later_readings_do_not_change(readings: Readings) -> None:
    log = ReadingLog()
    log.append(readings.head(100))
    early = log.all
    log.append(readings.select(slice(100, None)))
    assert len(early) == 100
    assert (early.counts == readings.counts[:100]).all()
    assert (log.all.mid_poses == readings.mid_poses).all()
    assert (log.all.first == readings.first).all()


def test_a_full_store_stands_for_every_reading(monkeypatch: pytest.MonkeyPatch, readings: Readings) -> None:
    """Old rows of nearly equal pose are merged when the store is full; counts, live time and sensitivity are kept."""
    whole, small = LiveScan(setup()), LiveScan(setup())
    whole.add(readings)
    whole.advance(Work())
    small.add(readings.head(120))
    cramped = partial(RowStore, cap_bytes=2 * 25_000 * 150)
    monkeypatch.setattr("navigation.reconstruction.scanrows.RowStore", cramped)
    small.advance(Work(grow=True))
    for at in range(120, len(readings), 20):
        small.add(readings.select(slice(at, min(at + 20, len(readings)))))
        small.advance(Work(grow=small.progress.wider_due, widen=small.progress.grown))
    small.add(readings.select(slice(len(readings), None)))
    stage, exact = small._stage, whole._stage
    assert stage is not None
    assert exact is not None
    assert stage.merged
    told = stage.of_rows(small._told())
    assert len(told.counts) == len(stage.store)
    assert told.counts.sum() == pytest.approx(readings.counts.sum())
    assert told.live.sum() == pytest.approx(readings.live_s.sum(), rel=1e-5)
    assert (stage.geometry.field.points_mm == exact.geometry.field.points_mm).all()
    # Merged rows are means by live time, in half precision: 2^-11 each.
    assert stage.store.back_project(told.live) == pytest.approx(
        exact.estimate.sensitivity, rel=2e-3, abs=1e-9
    )
    assert stage.estimate.sensitivity == pytest.approx(exact.estimate.sensitivity, rel=2e-3, abs=1e-9)


def test_the_newest_readings_are_in_every_update_of_a_full_store(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = filled(raster(400, half_mm=15.0), [(SOURCE, 80.0)], 0.4, seed=2)
    drawn: list[np.ndarray] = []

    def watched(*args: Any) -> tuple[np.ndarray, np.ndarray, float]:
        found = sample(*args)
        drawn.append(found[0])
        return found

    monkeypatch.setattr("navigation.reconstruction.estimate.sample", watched)
    monkeypatch.setattr(
        "navigation.reconstruction.scanrows.RowStore", partial(RowStore, cap_bytes=2 * 25_000 * 100)
    )
    scan, moved = LiveScan(setup()), 0
    for at in range(0, len(readings), 20):
        scan.add(readings.select(slice(at, min(at + 20, len(readings)))))
        drawn.clear()
        if scan.advance(Work(replay=16, passes=3)).map is None or scan._stage is None or not drawn:
            continue
        newest = scan._stage.newest(NEWEST)
        assert len(np.unique(newest)) == NEWEST
        assert all(np.isin(newest, rows).all() for rows in drawn)
        moved += int((newest < len(scan._stage.store) - NEWEST).any())
    # Otherwise the last rows of the store would have done.
    assert moved > 0
    assert 0.0 < scan.merged_mm <= WIDEST_MM


def test_the_final_answer_of_a_scan_beyond_the_cap(
    monkeypatch: pytest.MonkeyPatch, readings: Readings
) -> None:
    """The foci are those of every reading as it is; only the picture comes from merged rows."""
    exact, cramped = LiveReconstruction(setup()), LiveReconstruction(setup())
    exact.add(readings)
    whole = exact.finish()
    monkeypatch.setattr(
        "navigation.reconstruction.scanrows.RowStore", partial(RowStore, cap_bytes=2 * 25_000 * 150)
    )
    cramped.add(readings)
    small = cramped.finish()
    assert len(cramped._rows.store) < len(readings) == len(exact._rows.store)
    coarse = [reason for reason in small.reasons if "takes readings up to" in reason]
    assert len(coarse) == (cramped._rows.merged_mm > 4.0)
    assert not [reason for reason in whole.reasons if "takes readings up to" in reason]
    assert [s.position_mm.tolist() for s in small.spots] == [s.position_mm.tolist() for s in whole.spots]
    assert [s.activity_ci95_kbq for s in small.spots] == [s.activity_ci95_kbq for s in whole.spots]
    seen = whole.map.examined & small.map.examined
    assert seen.sum() > 0.9 * whole.map.examined.sum()
    assert small.map.activity[seen].sum() == pytest.approx(whole.map.activity[seen].sum(), rel=0.02)
    # Limits of the nearest search point: some millimetres off at the most.
    ratio = small.map.mda_kbq[seen] / whole.map.mda_kbq[seen]
    assert float(np.median(ratio)) == pytest.approx(1.0, abs=0.02)


class FailsOnce(AtOnce):
    """An executor whose first work fails."""

    failed = False

    def submit(self, work: Callable[[], Any], /) -> Future[Any]:
        if self.failed:
            return super().submit(work)
        self.failed = True
        lost: Future[Any] = Future()
        lost.set_exception(ArithmeticError("singular"))
        return lost


def test_a_search_that_fails_is_told_once_and_the_map_goes_on(readings: Readings) -> None:
    scan = LiveScan(setup(), FailsOnce())
    scan.add(readings.head(60))
    scan.advance(Work(seek=True))
    scan.advance(Work(seek=True))
    with pytest.raises(ArithmeticError, match="singular"):
        scan.advance(Work(adopt=True))
    assert not scan.progress.searching
    scan.add(readings.select(slice(60, 70)))
    scan.advance(Work(seek=True))
    frame = scan.advance(Work(adopt=True))
    assert frame.map is not None
    assert frame.spots_readings == 70
