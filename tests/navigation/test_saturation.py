"""A site so hot that the counter saturates: never cool, never a plain count, no limit where it was looked at (H10)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from calibration.counter.deadtime import MODELS, PARALYSABLE, DeadTime
from navigation.bed import Bed, BedCheck
from navigation.bedcheck import check_bed
from navigation.likelihood import Counts
from navigation.reconstruction import LiveReconstruction, ScanState, reconstruct
from navigation.results import write_bed_check, write_scan_result
from navigation.volume import NO_LIMIT_KBQ
from tests.calibration.event_stream import counts
from tests.navigation.scan_model import problem_of, raster, setup
from tracking.sample import Readings

TAU_S = 1e-4
SITE_MM = np.array([0.0, 0.0, -10.0])
# n tau = 1 loses 50 % of the counts; 3 loses 95 %, and the paralysable counter tells less there than on the flanks.
saturating = pytest.mark.parametrize(("model", "highest"), [("non-paralysable", 1.0), (PARALYSABLE, 3.0)])
both_kinds = pytest.mark.parametrize("model", MODELS)


@cache
def hot_scan(model: str, highest: float, seed: int = 1) -> tuple[Readings, float]:
    """A raster over a site whose best reading has n tau = highest, photon by photon; and the site's kBq."""
    empty = raster()
    problem = problem_of(empty)
    row = problem.rows(SITE_MM[None])[:, 0]
    activity = highest / TAU_S / float(row.max())
    rate = 0.4 * problem.background_rows[:, 0] + activity * row
    rng = np.random.default_rng(seed)
    return replace(empty, counts=counts(rng, rate, empty.live_s, TAU_S, model == PARALYSABLE)), activity


@cache
def scanned(model: str, highest: float, sd: float = 0.0) -> ScanState:
    readings, _ = hot_scan(model, highest)
    return reconstruct(replace(setup(), dead_time=DeadTime(TAU_S, model, sd * TAU_S)), readings)


@both_kinds
def test_a_site_at_30_percent_loss_keeps_its_activity(model: str) -> None:
    # n tau just below saturation, 0.43 or 0.36. Over seeds the mean is within 1 %, one scan scatters by 1.1 %.
    highest = 0.41 if model != PARALYSABLE else 0.34
    _, activity = hot_scan(model, highest)
    result = scanned(model, highest).result
    assert [s.activity_kbq for s in result.spots] == pytest.approx([activity], rel=0.03)
    assert result.samples_saturated < 5  # by chance


@saturating
def test_a_saturated_site_is_hot_at_its_place_and_stated_as_a_lower_bound(model: str, highest: float) -> None:
    readings, activity = hot_scan(model, highest)
    result = scanned(model, highest).result
    recorded = readings.counts / readings.live_s
    over_site = np.argmax(problem_of(readings).rows(SITE_MM[None])[:, 0])
    if model == PARALYSABLE:
        assert recorded[over_site] < 0.5 * recorded.max()
    (spot,) = [s for s in result.spots if s.quality != "unusable"]
    assert np.linalg.norm(spot.position_mm - SITE_MM) <= 2.0
    low, high = spot.activity_ci95_kbq
    assert low <= activity <= high
    assert spot.activity_kbq == pytest.approx(activity, rel=0.15)
    assert spot.quality == "limited"
    assert any(r.startswith("lower bound:") for r in spot.reasons)
    assert 20 <= result.samples_saturated <= 100
    assert any(r.startswith(f"saturated: {result.samples_saturated} of 400") for r in result.reasons)


@saturating
def test_the_map_has_no_cool_hole_and_no_limit_where_it_was_saturated(model: str, highest: float) -> None:
    found = scanned(model, highest).result.map
    points = found.grid.points().reshape(*found.grid.shape, 3)
    hottest = points[np.unravel_index(np.argmax(found.activity), found.activity.shape)]
    # A voxel of 3 mm and the depth that flanks tell.
    assert np.linalg.norm(hottest - SITE_MM) <= 6.0
    near = np.linalg.norm(points - SITE_MM, axis=-1) <= 3.0
    assert found.examined[near].all()
    assert (found.activity[near] > 20 * np.median(found.activity[found.examined])).any()
    assert (found.mda_kbq[near] == NO_LIMIT_KBQ).all()
    away = found.examined & (np.abs(points[..., 0]) > 20.0) & (points[..., 2] > -10.0)
    assert ((found.mda_kbq[away] > 0.0) & (found.mda_kbq[away] < 100.0)).all()


@cache
def beside_the_site(model: str, highest: float) -> BedCheck:
    x, y = np.meshgrid(np.arange(12.0, 27.0, 7.0), np.arange(-14.0, 15.0, 7.0))
    bed = Bed(np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1), 6.0)
    return check_bed(scanned(model, highest), bed, 60.0)


@saturating
def test_a_bed_beside_the_site_is_not_assessed_where_it_was_saturated(model: str, highest: float) -> None:
    check = beside_the_site(model, highest)
    assert check.finding == "partly-assessed"
    assert 0.1 < check.saturated_fraction < 0.5
    assert check.bed_map is not None
    blind = ~np.isfinite(check.bed_map.mda_kbq)
    assert blind.mean() == check.saturated_fraction
    assert not check.bed_map.covered[blind].any()
    assert check.bed_map.covered[check.bed_map.points_mm[:, 0] > 22.0].all()
    assert check.samples_saturated == scanned(model, highest).result.samples_saturated > 0
    assert any("saturated counter and is not assessable" in r for r in check.reasons)


def test_results_count_the_saturated_samples(tmp_path: Path) -> None:
    write_scan_result(scanned(PARALYSABLE, 3.0).result, tmp_path)
    write_bed_check(beside_the_site(PARALYSABLE, 3.0), tmp_path)
    spots, bed = (json.loads((tmp_path / name).read_text()) for name in ("spots.json", "bed_check.json"))
    assert spots["samples"]["saturated"] > 20
    assert spots["samples"]["placed"] == spots["samples"]["total"] == 400
    assert bed["samples"] == {"placed": 400, "saturated": scanned(PARALYSABLE, 3.0).result.samples_saturated}
    assert bed["saturated_fraction"] > 0.0


def test_the_error_of_the_dead_time_widens_the_interval() -> None:
    def log_half(state: ScanState) -> float:
        low, high = state.result.spots[0].activity_ci95_kbq
        return float(np.log(high / low)) / 2.0 / 1.96

    exact, open_ = (log_half(scanned("non-paralysable", 0.41, sd)) for sd in (0.0, 0.2))
    # 20 % of tau at n tau <= 0.41, weighted with what each reading tells: some 4 to 8 % of the activity.
    assert 0.04 <= float(np.sqrt(open_**2 - exact**2)) <= 0.082


def test_live_equals_offline_with_saturated_samples() -> None:
    readings, _ = hot_scan(PARALYSABLE, 3.0)
    live = LiveReconstruction(replace(setup(), dead_time=DeadTime(TAU_S, PARALYSABLE)))
    for start in range(0, 400, 100):
        live.add(readings.select(slice(start, start + 100)))
        live.update()
    result, offline = live.finish(), scanned(PARALYSABLE, 3.0).result
    assert (result.map.activity == offline.map.activity).all()
    assert (result.map.mda_kbq == offline.map.mda_kbq).all()
    assert [s.activity_kbq for s in result.spots] == [s.activity_kbq for s in offline.spots]


@both_kinds
def test_a_saturated_reading_bounds_the_rate_from_below_only(model: str) -> None:
    dead = DeadTime(1e-4, model)
    limit, t = dead.saturated_rate_cps, np.arange(3.0)
    told = 0.1 * dead.expected(limit) * 1.05
    data = Counts.of(np.array([told, told, 4.0]), np.full(3, 0.1), t, dead)
    assert data.censored.tolist() == [True, True, False]
    rates = np.outer([0.5, 0.9, 1.5, 5.0], np.ones(3)) * limit
    score = np.array([data.weights(r)[0] for r in rates])
    information = np.array([data.weights(r)[1] for r in rates])
    # Far below the bound it pulls as a count would; far above it says nothing.
    assert (score[:2, 0] > 0.0).all() and score[3, 0] == pytest.approx(0.0, abs=1e-12)
    assert information[0, 0] > 0.0 and information[3, 0] == pytest.approx(0.0, abs=1e-12)
    likelihood = [
        data.log_likelihood(np.array([r, r, 40.0])) for r in (0.5 * limit, limit, 2 * limit, 9 * limit)
    ]
    assert likelihood[0] < likelihood[1] < likelihood[2] == pytest.approx(likelihood[3], abs=1e-6)
    step = 1e-3
    for r in rates:
        gained = [data.log_likelihood(r + h * np.eye(3)[0]) for h in (step, -step)]
        assert (gained[0] - gained[1]) / (2 * step) == pytest.approx(
            data.weights(r)[0][0], rel=1e-4, abs=1e-9
        )


def test_a_dip_between_saturated_readings_waits_for_what_the_others_say() -> None:
    dead = DeadTime(1e-4, PARALYSABLE)
    # Recorded of n tau = 0.1, 0.5, 3, 0.5 and, away from the site, 0.02; the last two are one second apart.
    x = np.array([0.1, 0.5, 3.0, 0.5, 0.02])
    data = Counts.of(0.1 * dead.expected(x / 1e-4), np.full(5, 0.1), np.arange(5.0), dead)
    assert data.censored.tolist() == [False, True, False, True, False]
    assert data.doubtful is not None and data.doubtful.tolist() == [False, False, True, False, False]
    score, information = data.weights(x / 1e-4)
    assert score[2] == information[2] == data.excess(x / 1e-4)[2] == 0.0
    hot, cool = data.resolved(x / 1e-4), data.resolved(np.full(5, 100.0))
    assert hot.doubtful is None and hot.censored[2]
    assert cool.doubtful is None and not cool.censored[2]
    apart = Counts.of(data.counts, data.live_s, 20.0 * np.arange(5.0), dead)
    assert apart.doubtful is None
