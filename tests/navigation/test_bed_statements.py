"""What a bed check says beside its finding: sizes, what a threshold would take, before and after, beds of a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from navigation.bed import Bed, BedCheck
from navigation.bedcheck import check_bed
from navigation.bedcompare import Drift, require_comparable
from navigation.bedfile import read_bed, registration_bound_mm
from navigation.bedplaces import bed_voxels, places_round, reach_of
from navigation.bedreach import seconds_altogether
from navigation.cli.main import run
from navigation.reconstruction import ScanState, reconstruct
from navigation.results import bed_content
from navigation.specimen import Specimen
from tests.navigation.scan_model import filled, raster, setup
from tests.navigation.test_bedcheck import bed
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import to_json
from tracking.scanfolder import CountTable, PoseTable, Scan, write_scan

# 40 kBq in 2 mL: 6 kBq are 0.3 mL, a ball of 8.3 mm.
SPECIMEN = Specimen(40.0, (36.0, 44.0), 2.0, "S1")


@pytest.fixture(scope="module")
def quiet() -> ScanState:
    return reconstruct(setup(), filled(raster(300), [], 0.2, seed=3))


@pytest.fixture(scope="module")
def before() -> ScanState:
    return reconstruct(setup(), filled(raster(300), [((2.0, 1.0, -12.0), 90.0)], 0.2, seed=4))


@pytest.fixture(scope="module")
def check(quiet: ScanState, before: ScanState) -> BedCheck:
    return check_bed(quiet, bed(), 8.0, before=before, specimen=SPECIMEN)


def test_a_statement_gives_the_size_at_the_specimen_s_uptake(check: BedCheck) -> None:
    # H15: 8 kBq at 20 kBq/mL are 0.4 mL, whose ball has a diameter of 9.1 mm.
    assert check.finding == "none-above"
    assert "At the 20 kBq/mL of this specimen 8 kBq are a ball of 9.1 mm (8.8 to 9.5)." in check.statement
    assert bed_content(check)["equivalent_mm"] == pytest.approx(9.14, abs=0.01)


def test_a_specimen_that_lacks_half_is_warned_of(check: BedCheck) -> None:
    assert check.balance is not None and not check.balance.closes
    assert any("40.0 kBq of" in reason and "was all of it counted" in reason for reason in check.reasons)
    content = json.loads(to_json(bed_content(check)))
    assert content["specimen_balance"]["closes"] is False
    assert content["specimen_balance"]["missing_kbq"] == pytest.approx(check.removed_kbq - 40.0)


def test_a_specimen_that_holds_what_was_removed_closes_the_balance(
    quiet: ScanState, before: ScanState
) -> None:
    whole = check_bed(quiet, bed(), 8.0, before=before, specimen=Specimen(88.0, (80.0, 96.0), 4.0))
    assert whole.balance is not None and whole.balance.closes
    assert not any("specimen" in reason for reason in whole.reasons)


def test_below_reach_it_says_what_it_would_take(quiet: ScanState) -> None:
    reach = check_bed(quiet, bed(), 8.0).reach_kbq
    assert reach is not None
    near, far = (check_bed(quiet, bed(), share * reach) for share in (0.9, 0.5))
    assert near.needed_s is not None and far.needed_s is not None
    # A limit falls with the square root of the time: half of it takes three times as long again everywhere.
    assert far.needed_s > 5.0 * near.needed_s
    assert "more over these places, as near as before, would be needed" in far.statement
    hopeless = check_bed(quiet, bed(), 0.01 * reach)
    assert hopeless.needed_s is None
    assert hopeless.finding == "not-assessed"
    assert "More than 15 min more would be needed" in hopeless.statement


def test_what_is_told_as_needed_suffices() -> None:
    # The same path twice over: twice the time over every place, and as near.
    one = raster(200)
    state = reconstruct(setup(), filled(one, [], 0.2, seed=5))
    reach = check_bed(state, bed(), 8.0).reach_kbq
    assert reach is not None
    asked = 0.8 * reach
    needed = check_bed(state, bed(), asked).needed_s
    assert needed is not None
    # (1 / 0.8)^2 - 1 of the 20 s over all of the field, less of it over the bed alone.
    assert needed < (1.0 / 0.8**2 - 1.0) * 20.0
    longer = replace(one, live_s=one.live_s / 0.8**2)
    again = check_bed(reconstruct(setup(), filled(longer, [], 0.2, seed=5)), bed(), 8.0).reach_kbq
    assert again == pytest.approx(asked, rel=0.12)


def test_the_reach_is_the_least_threshold_that_is_stated(quiet: ScanState) -> None:
    reach = check_bed(quiet, bed(), 8.0).reach_kbq
    assert reach is not None
    assert check_bed(quiet, bed(), reach).finding == "none-above"
    assert check_bed(quiet, bed(), 0.999 * reach).finding != "none-above"


def test_no_threshold_covers_a_place_without_a_limit() -> None:
    line = np.column_stack([np.arange(200.0), np.zeros(200), np.zeros(200)])
    worst = np.linspace(1.0, 2.0, 200)
    assert reach_of(line, worst, 0.99) == pytest.approx(worst[197])
    # A patch of 9 mm is too wide though it is less than 1 % of a bed.
    many = np.concatenate([line, np.tile([500.0, 0.0, 0.0], (2000, 1))])
    raised = np.concatenate([np.where(abs(line[:, 0] - 100.0) <= 4.0, 5.0, 1.0), np.ones(2000)])
    assert reach_of(many, raised, 0.99) == pytest.approx(5.0)
    assert reach_of(line, np.where(line[:, 0] > 190.0, np.inf, 1.0), 0.99) is None


def test_seconds_over_one_place_serve_its_neighbours() -> None:
    pair = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [40.0, 0.0, 0.0]])
    assert seconds_altogether(pair, np.array([10.0, 12.0, 5.0])) == pytest.approx(17.0)
    assert seconds_altogether(pair, np.array([1000.0, 0.0, 0.0])) is None
    assert seconds_altogether(pair, np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("after", "words"), [(0.21, None), (0.4, "spilled activity"), (0.1, "see less"), (0.24, None)]
)
def test_a_background_that_changed_since_the_scan_before_is_told(after: float, words: str | None) -> None:
    # H16: nothing of it is carried over, but what rose or fell is said.
    told = Drift(0.2, 0.01, after, 0.01).words
    assert told is None if words is None else told is not None and words in told


def test_scans_of_two_nuclides_are_not_compared(quiet: ScanState, before: ScanState) -> None:
    other = replace(before, setup=replace(before.setup, nuclide=nuclide("In-111")))
    with pytest.raises(InputError, match="In-111"):
        check_bed(quiet, bed(), 8.0, before=other)


def test_the_command_refuses_what_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = raster(30)
    for name, of in (("after", "Tc-99m"), ("before", "In-111")):
        write_scan(
            Scan(
                of,
                "2026-01-01T10:00:00Z",
                "ProbeTipToReference",
                PoseTable(readings.t_s, readings.poses),
                CountTable(readings.t_s + 0.05, readings.counts, readings.live_s),
                count_latency_s=0.0,
            ),
            tmp_path / name,
        )
    outline, empty = tmp_path / "bed.json", tmp_path / "empty.json"
    outline.write_text(json.dumps({"points_mm": bed().points_mm.tolist(), "depth_mm": 6.0}), encoding="utf-8")
    empty.write_text(json.dumps({"points_mm": [], "depth_mm": 6.0}), encoding="utf-8")
    line = ["bed-check", str(tmp_path / "after"), "--probe", str(outline), "--threshold-kbq", "5"]
    line += ["--out", str(tmp_path / "out")]
    assert run([*line, "--bed", str(outline), "--before", str(tmp_path / "before")]) == 2
    assert "is of In-111" in capsys.readouterr().err
    assert run([*line, "--bed", str(empty)]) == 2
    assert "points_mm must be at least" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_scan_of_another_place_is_not_compared(quiet: ScanState, before: ScanState) -> None:
    readings = before.problem.readings
    poses = readings.poses.copy()
    poses[:, :3, 3] += [300.0, 0.0, 0.0]
    moved = replace(before, problem=replace(before.problem, readings=replace(readings, poses=poses)))
    with pytest.raises(InputError, match="nowhere near"):
        require_comparable(moved, quiet, bed())


def test_a_bed_of_the_study_is_as_wide_as_its_registration_errs(quiet: ScanState, tmp_path: Path) -> None:
    # H14, H19: drawn 40 mm aside in a study whose registration takes it back, and errs by up to 4 mm.
    outline, matrix = bed(8.0), np.eye(4)
    matrix[0, 3] = 40.0
    path, registration = tmp_path / "bed.json", tmp_path / "reg.json"
    content = {
        "points_mm": (outline.points_mm + [40.0, 0.0, 0.0]).tolist(),
        "depth_mm": 6.0,
        "frame": "study",
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    told = {"T_target_source": matrix.tolist(), "accepted": True, "reasons": []}
    registration.write_text(json.dumps(told | {"tre_mm": {"bound95": [3.0, 4.0]}}), encoding="utf-8")
    drawn = read_bed(path, None, None, registration)
    assert drawn.points_mm == pytest.approx(outline.points_mm)
    assert drawn.wider_mm == 4.0
    wide, narrow = bed_voxels(quiet, drawn), bed_voxels(quiet, outline)
    assert wide[:, 2].min() == pytest.approx(-10.0, abs=2.1) and narrow[:, 2].min() == pytest.approx(
        -6.0, abs=2.1
    )
    assert np.abs(wide[:, :2]).max() >= np.abs(narrow[:, :2]).max() + 2.0
    check = check_bed(quiet, drawn, 9.0)
    assert any("4.0 mm wider and deeper" in reason for reason in check.reasons)
    with pytest.raises(InputError, match="needs --registration"):
        read_bed(path, None)
    registration.write_text(
        json.dumps(told | {"tre_mm": {"bound95": [None], "centre": None}}), encoding="utf-8"
    )
    with pytest.raises(InputError, match="predicts no error"):
        registration_bound_mm(registration)
    registration.write_text(json.dumps(told | {"accepted": False}), encoding="utf-8")
    with pytest.raises(GateRefusedError):
        read_bed(path, None, None, registration)


def test_suspicion_is_tested_over_the_bed_and_its_margin(quiet: ScanState) -> None:
    outline = Bed(bed(8.0).points_mm, 6.0)
    points, far = bed_voxels(quiet, outline), places_round(quiet, outline, 10.0)
    assert far[:, 2].min() < points[:, 2].min() - 6.0
    assert np.abs(far[:, :2]).max() > np.abs(points[:, :2]).max() + 6.0
