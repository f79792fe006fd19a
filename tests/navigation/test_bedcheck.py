"""The bed check: the order of its findings, coverage, words, and what was removed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from navigation.bed import Bed, BedCheck
from navigation.bedcheck import check_bed
from navigation.bedplaces import bed_voxels, widest_patch
from navigation.reconstruction import ImagingSetup, ScanState, reconstruct
from navigation.results import bed_content
from tests.navigation.scan_model import filled, raster, response, setup
from tracking.errors import InputError
from tracking.jsonfile import to_json

Row = tuple[tuple[float, float, float], float]
CENTRE = (4.0, 2.0, -4.0)
CENTRE_OF_BALL = (29.0, 0.0, -24.0)


def bed(half_mm: float = 14.0) -> Bed:
    axis = np.arange(-half_mm, half_mm + 1, 5.0)
    x, y = np.meshgrid(axis, axis)
    return Bed(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]), 6.0)


def state(sources: list[tuple[tuple[float, float, float], float]], seed: int = 3, n: int = 600) -> ScanState:
    return reconstruct(setup(), filled(raster(n), sources, 0.2, seed=seed))


@pytest.fixture(scope="module")
def quiet() -> ScanState:
    return state([])


@pytest.fixture(scope="module")
def remnant() -> ScanState:
    return state([(CENTRE, 12.0)])


def test_a_quiet_covered_bed_gets_its_statement(quiet: ScanState) -> None:
    check = check_bed(quiet, bed(), 10.0)
    assert check.finding == "none-above"
    assert check.covered_fraction >= 0.99
    assert check.statement.startswith("No activity above 10 kBq (95 % confidence) detected on")
    assert "Not histology" in check.statement
    assert "clear" not in check.statement.lower()


def test_a_remnant_is_suspected_whatever_the_threshold(remnant: ScanState) -> None:
    for threshold in (2.0, 10.0, 1000.0):
        check = check_bed(remnant, bed(), threshold)
        assert check.finding == "residual-suspected"
        assert check.threshold_kbq == threshold
    residual = check.residuals[0]
    assert np.linalg.norm(residual.position_mm - np.array(CENTRE)) < 5.0
    assert residual.ci95_kbq[0] < 12.0 < residual.ci95_kbq[1]


def test_where_a_suspected_one_lies_is_not_covered_below_its_activity(remnant: ScanState) -> None:
    check = check_bed(remnant, bed(), 10.0)
    told, place = check.bed_map, np.array(check.residuals[0].position_mm)
    away = np.linalg.norm(told.points_mm - place, axis=1)
    upper = check.residuals[0].ci95_kbq[1]
    assert (told.upper_limit_kbq[away < 2.0] >= upper).all()
    assert not told.covered[away < 2.0].any()
    # Elsewhere the bed is as covered as it was, and above what may be there all of it is.
    assert told.covered[away > 15.0].mean() > 0.95
    assert check_bed(remnant, bed(), upper + 10.0).bed_map.covered.mean() > 0.99


@pytest.mark.parametrize("seed", [5, 9, 13])
def test_beside_a_suspected_source_what_could_hide_is_not_covered(seed: int) -> None:
    # A tenth of it 8 mm below, which no search tells from it.
    hidden = np.array([2.0, -3.0, -16.0])
    hot: list[Row] = [((2.0, -3.0, -8.0), 300.0), ((2.0, -3.0, -16.0), 30.0)]
    scan = reconstruct(setup(), filled(raster(300), hot, 0.4, seed=seed))
    check = check_bed(scan, Bed(bed(24.0).points_mm, 16.0), 28.0)
    assert len(check.residuals) == 1
    nearest = int(np.linalg.norm(check.bed_map.points_mm - hidden, axis=1).argmin())
    assert check.bed_map.upper_limit_kbq[nearest] >= 30.0
    assert not check.bed_map.covered[nearest]


def test_what_was_removed_does_not_count_an_organ_that_stays() -> None:
    axis = np.arange(-22.0, 23.0, 4.0)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) <= 22.0]
    ball = [
        ((float(x), float(y), float(z)), 3000.0 / len(offsets))
        for x, y, z in offsets + np.array([CENTRE_OF_BALL])
    ]
    check = check_bed(
        state(ball, seed=6), bed(8.0), 100.0, before=state([*ball, ((-4.0, 0.0, -8.0), 100.0)], seed=7)
    )
    assert check.removed_kbq is not None and check.removed_ci95_kbq is not None
    assert check.removed_ci95_kbq[0] < 100.0 < check.removed_ci95_kbq[1]


def test_more_confidence_leaves_more_room_for_what_is_suspected(remnant: ScanState) -> None:
    usual, sure = (check_bed(remnant, bed(), 10.0, confidence=c).bed_map for c in (0.95, 0.999))
    place = usual.upper_limit_kbq.argmax()
    hidden, more = usual.upper_limit_kbq.min(), sure.upper_limit_kbq.min()
    # 3.09 standard deviations for 1.64, of the suspected one's activity as of what may hide elsewhere.
    assert more > 1.5 * hidden
    assert sure.upper_limit_kbq[place] - more > 1.1 * (usual.upper_limit_kbq[place] - hidden)
    assert (sure.upper_limit_kbq > 12.0).sum() >= (usual.upper_limit_kbq > 12.0).sum()


def test_the_rim_of_an_extended_source_belongs_to_the_bed() -> None:
    # A ball of 22 mm radius whose centre lies 25 mm from the nearest place of the bed: its rim is 3 mm from it.
    axis = np.arange(-22.0, 23.0, 4.0)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) <= 22.0]
    centre = np.array([CENTRE_OF_BALL])
    ball = [((float(x), float(y), float(z)), 3000.0 / len(offsets)) for x, y, z in offsets + centre]
    seen = state(ball, seed=6)
    nearest = np.linalg.norm(bed_voxels(seen, bed(8.0)) - centre, axis=1).min()
    assert 24.0 < nearest < 26.0
    check = check_bed(seen, bed(8.0), 100.0)
    assert check.finding == "residual-suspected"
    assert max(r.activity_kbq for r in check.residuals) > 1000.0


def test_too_few_counts_to_test_the_model_allow_no_statement_on_absence() -> None:
    scan = filled(raster(600), [], 0.2, seed=3)
    thinned = np.random.default_rng(1).binomial(scan.counts.astype(int), 0.065).astype(float)
    # More than a count a second, and still too few.
    assert 65.0 < thinned.sum() < 100.0
    check = check_bed(reconstruct(setup(), replace(scan, counts=thinned)), bed(), 1e6)
    assert check.finding == "not-assessed"
    assert "too few counts" in check.statement


def test_a_loose_cable_allows_no_statement_however_long_the_scan() -> None:
    scan = raster(3000)
    counts = np.random.default_rng(2).poisson(0.035, len(scan)).astype(float)
    assert counts.sum() >= 95.0
    check = check_bed(reconstruct(setup(), replace(scan, counts=counts + (np.arange(3000) < 20))), bed(), 3.0)
    assert check.finding == "not-assessed"
    assert "counts a second" in check.statement


def test_below_what_the_scan_can_notice_nothing_is_claimed(quiet: ScanState) -> None:
    check = check_bed(quiet, bed(), 0.5)
    assert check.finding == "not-assessed"
    assert check.covered_fraction == 0.0
    assert check.mda_kbq is not None
    assert check.mda_kbq > 0.5
    assert len(check.scan_next_mm) > 0


def test_a_bed_beside_the_scan_is_never_none_above(quiet: ScanState) -> None:
    shifted = Bed(bed(8.0).points_mm + [38.0, 0.0, 0.0], 6.0)
    check = check_bed(quiet, shifted, 10.0)
    assert check.finding in ("partly-assessed", "not-assessed")
    assert check.largest_uncovered_mm > 5.0


def test_an_estimated_surface_allows_no_statement_on_absence() -> None:
    readings = filled(raster(600), [], 0.2, seed=3)
    check = check_bed(reconstruct(ImagingSetup.create(response(), None, "Tc-99m"), readings), bed(), 10.0)
    assert check.finding == "not-assessed"
    assert any("surface" in reason for reason in check.reasons)


def test_an_open_latency_allows_no_statement_on_absence() -> None:
    readings = filled(raster(600), [], 0.2, seed=3)
    check = check_bed(reconstruct(replace(setup(), latency_sd_s=0.087), readings), bed(), 10.0)
    assert check.finding == "not-assessed"


def test_removed_activity_is_what_was_there_less_what_is_left(quiet: ScanState) -> None:
    before = state([((2.0, 1.0, -12.0), 90.0)], seed=4)
    check = check_bed(quiet, bed(), 10.0, before=before)
    assert check.removed_kbq is not None
    assert check.removed_ci95_kbq is not None
    assert check.removed_ci95_kbq[0] < 90.0 < check.removed_ci95_kbq[1]
    assert check.removed_kbq == pytest.approx(90.0, rel=0.2)


def test_bed_voxels_lie_behind_the_outline_and_not_beside_it(quiet: ScanState) -> None:
    points = bed_voxels(quiet, bed())
    assert points[:, 2].max() <= 0.3
    assert points[:, 2].min() >= -6.3
    assert np.abs(points[:, :2]).max() <= 14.0 + 5.0 + 1.0


def test_widest_patch_is_twice_the_way_to_the_covered() -> None:
    line = np.column_stack([np.arange(21.0), np.zeros(21), np.zeros(21)])
    covered = np.abs(line[:, 0] - 10.0) >= 4.0
    # The middle of the gap lies 4 mm from either side.
    assert widest_patch(line, covered) == pytest.approx(8.0)
    assert widest_patch(line, np.ones(21, dtype=bool)) == 0.0


def test_a_bed_of_three_points_is_refused(quiet: ScanState) -> None:
    with pytest.raises(InputError):
        check_bed(quiet, Bed(np.eye(3), 5.0), 5.0)


def test_the_file_holds_what_the_contract_names(remnant: ScanState) -> None:
    check: BedCheck = check_bed(remnant, bed(), 4.0)
    content = json.loads(to_json(bed_content(check)))
    named = {
        "finding",
        "threshold_kbq",
        "confidence",
        "covered_fraction",
        "largest_uncovered_mm",
        "mda_kbq",
        "max_upper_limit_kbq",
        "residuals",
        "scan_next_mm",
        "statement",
        "reasons",
        "rules",
    }
    assert named <= set(content)
    assert set(content["rules"]) == {"ratio_1_5", "three_sigma", "ten_percent"}
    assert content["rules"]["ten_percent"] is None


def test_a_dead_counter_never_means_that_nothing_is_there() -> None:
    silent = reconstruct(setup(), raster(600))
    check = check_bed(silent, bed(), 10.0)
    assert check.finding == "not-assessed"
    assert check.rules["ratio_1_5"] is False
    assert any("is the probe working" in reason for reason in check.reasons)


def test_a_hot_neighbour_widens_what_can_be_said_beside_it() -> None:
    # 60 kBq, 9 mm beside the bed: where its counts cannot be told from the bed's, the limit grows.
    beside = state([((28.0, 0.0, -8.0), 60.0)])
    quiet_limit = check_bed(state([]), bed(), 10.0).max_upper_limit_kbq
    hot_limit = check_bed(beside, bed(), 10.0).max_upper_limit_kbq
    assert quiet_limit is not None
    assert hot_limit is not None
    assert hot_limit > 1.1 * quiet_limit


def test_activity_before_is_brought_to_the_time_after(quiet: ScanState) -> None:
    before = state([((2.0, 1.0, -12.0), 90.0)], seed=4)
    full = check_bed(quiet, bed(), 10.0, before=before).removed_kbq
    halved = check_bed(quiet, bed(), 10.0, before=before, before_decay=0.5).removed_kbq
    assert full is not None
    assert halved == pytest.approx(0.5 * full)


def test_a_bed_out_of_reach_is_named(quiet: ScanState) -> None:
    far = Bed(bed().points_mm + [400.0, 0.0, 0.0], 6.0)
    check = check_bed(quiet, far, 10.0)
    assert check.finding == "not-assessed"
    assert any("Reference frame" in reason for reason in check.reasons)
