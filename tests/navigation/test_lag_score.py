"""A count latency that the counts contradict: noticed, told, and no absence is stated on it; a suspicion is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.bed import Bed
from navigation.bedcheck import check_bed, latency_fault
from navigation.engine.jobs import Outcome, ScanBasis, TickJob
from navigation.engine.lagwatch import LagWatch
from navigation.lagscore import LagScore, score_lag
from navigation.pointlayer import Source, fit_sources
from navigation.reconstruction import LiveReconstruction, ScanState, reconstruct
from navigation.spots import fit_background
from navigation.volume import ActivityMap, VoxelGrid
from tests.navigation.scan_model import filled, problem_of, raster, setup
from tracking.sample import Readings

# Two strong foci at the edge of the scan, passed at 25 mm/s.
HOT = [((-14.0, 8.0, -14.0), 260.0), ((16.0, -10.0, -12.0), 200.0)]


def late(readings: Readings, steps: int) -> Readings:
    """The readings with the counts of `steps` intervals of 0.1 s before: a counter that became so much later."""
    counts = np.roll(readings.counts, steps)
    return replace(readings, counts=counts).select(slice(max(steps, 0), len(readings)))


def score(steps: int, seed: int = 1, latency_sd_s: float = 0.0) -> LagScore:
    """Of a scan placed without latency whose counter is late by `steps` intervals, its foci being found."""
    problem = problem_of(late(filled(raster(400), HOT, 0.3, seed=seed), steps))
    problem = replace(problem, latency_sd_s=latency_sd_s)
    null, precision = fit_background(problem)
    sources = [Source(np.array(position), activity) for position, activity in HOT]
    fit = fit_sources(problem, sources, null.theta, precision)
    found = score_lag(problem, fit, precision, latency_sd_s)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def drifted() -> ScanState:
    return reconstruct(setup(), late(filled(raster(400), HOT, 0.3, seed=1), 1))


def small_bed() -> Bed:
    x, y = np.meshgrid(np.arange(-6.0, 7.0, 4.0), np.arange(-6.0, 7.0, 4.0))
    return Bed(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]), 6.0)


def test_a_sound_scan_is_not_contradicted() -> None:
    deviations = []
    for seed in range(6):
        lag = score(0, seed)
        assert not lag.rejects()
        assert lag.fisher_sd_s <= lag.sd_s
        deviations.append(lag.shift_s / lag.sd_s)
    # Six squared deviations: chi2(6) exceeds 22.5 in one case of a thousand.
    assert float(np.sum(np.square(deviations))) < 22.5


@pytest.mark.parametrize("steps", [1, 2])
def test_a_drift_is_noticed_with_its_size_and_sign(steps: int) -> None:
    lag = score(steps)
    assert lag.rejects()
    assert lag.shift_s == pytest.approx(0.1 * steps, abs=4 * lag.sd_s)
    assert "ms later" in lag.words


def test_a_contradicted_latency_states_no_absence_and_keeps_a_suspicion(drifted: ScanState) -> None:
    assert any("contradict the count latency" in reason for reason in drifted.result.reasons)
    assert all(spot.quality != "ok" for spot in drifted.result.spots)
    quiet = check_bed(drifted, Bed(small_bed().points_mm + [-16.0, -18.0, 0.0], 3.0), 1000.0)
    assert quiet.finding == "not-assessed"
    assert "contradict the count latency" in quiet.statement
    over_focus = Bed(small_bed().points_mm + [-14.0, 8.0, 0.0], 18.0)
    assert check_bed(drifted, over_focus, 1000.0).finding == "residual-suspected"


def test_a_latency_that_was_open_is_not_contradicted() -> None:
    lag = score(1, latency_sd_s=0.1)
    assert not lag.rejects()
    # The counts themselves say where it lies.
    assert lag.shift_s == pytest.approx(0.1, abs=0.04)


def test_counts_placed_beside_the_latency_they_tell_state_no_absence() -> None:
    readings = late(filled(raster(400), HOT, 0.3, seed=1), 1)
    found = reconstruct(replace(setup(), latency_sd_s=0.1), readings)
    # The foci tell the latency well enough, but it is not where the counts were placed.
    assert 1.96 * found.found.fit.latency_sd_s < 0.04
    assert "placed" in (latency_fault(found) or "")


def test_without_a_focus_nothing_is_told() -> None:
    problem = problem_of(filled(raster(150), [], 0.3, seed=2))
    null, precision = fit_background(problem)
    assert score_lag(problem, fit_sources(problem, [], null.theta, precision), precision) is None


def test_the_same_readings_give_the_same_score_to_the_bit() -> None:
    readings = late(filled(raster(120), HOT, 0.3, seed=3), 1)
    scores = []
    for _ in range(2):
        live = LiveReconstruction(setup())
        live.add(readings)
        scores.append(live.lag())
    assert scores[0] is not None
    assert scores[0] == scores[1]


def outcome(shift_s: float, scan: str = "scan-1") -> Outcome:
    basis = ScanBasis(scan, {}, "Tc-99m", None, None, 0.0, None, None, True)
    job = TickJob(basis, 1, Readings.empty(), None, False)
    full = np.zeros((2, 3, 4), dtype=np.float32)
    grid = VoxelGrid.aligned([1.0, 2.0, 3.0], 2.0, (4, 3, 2))
    found = ActivityMap(grid, full, full, full, full, full > 0, 1, 0.0, 10)
    return Outcome(job, map=found, lag=LagScore(shift_s, 0.01, 0.008))


def test_the_watch_alarms_once_a_scan_and_takes_back_what_more_counts_undo() -> None:
    watch = LagWatch()
    assert watch.take(outcome(0.03), 1.0) is None  # three sigma: not while it is looked at again and again
    alarm = watch.take(outcome(0.09), 2.0)
    assert alarm is not None
    assert alarm.kind == "latency"
    assert "90 ms later" in alarm.text
    assert watch.faults("scan-1")
    assert not watch.faults("scan-2")
    assert watch.take(outcome(0.1), 3.0) is None
    assert watch.take(outcome(0.1, "scan-2"), 4.0) is not None
    assert watch.take(outcome(0.0), 5.0) is None
    assert not watch.faults("scan-1")
