"""What an activity rests on: its budget is its interval, its share of the injected, its decay to one time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.budget import budget_from_json
from calibration.physics.injection import injection_of
from calibration.physics.nuclide import nuclide
from navigation.cli.main import run
from navigation.engine.words import spot_words
from navigation.findings import percent_injected, spot_from_json
from navigation.offline import decay_between
from navigation.reconstruction import LiveReconstruction, ScanState, reconstruct
from navigation.results import bed_content, spots_content
from navigation.spotbudget import shares_of_fit, spot_budget
from navigation.spotreport import spots_of
from tests.navigation.scan_model import filled, flat_surface, raster, setup
from tracking.errors import InputError
from tracking.scanfolder import CountTable, PoseTable, Scan, write_scan

REFERENCE = "2026-01-01T10:00:00Z"
INJECTED = {
    "activity": 100.0,
    "assay_time": "2026-01-01T08:00:00Z",
    "injection_time": "2026-01-01T09:00:00Z",
    "relative_sd": 0.03,
}


@cache
def state() -> ScanState:
    """Two foci, one of them weak."""
    readings = filled(raster(300), [((6.0, -4.0, -18.0), 80.0), ((-14.0, 8.0, -12.0), 25.0)], 0.4, seed=1)
    given = injection_of(INJECTED, "case").given(nuclide("Tc-99m"), datetime(2026, 1, 1, 10, tzinfo=UTC))
    return reconstruct(replace(setup(), given=given, latency_sd_s=0.02), readings)


def test_the_budget_of_a_focus_is_its_interval() -> None:
    found = state()
    quick = spots_of(found.problem, replace(found.found, final=False))
    assert len(quick) >= 2
    for spot in quick:
        assert spot.budget is not None
        low, high = spot.activity_ci95_kbq
        combined = np.sqrt(sum(c.contribution**2 for c in spot.budget.components))
        assert np.log(high / spot.activity_kbq) == pytest.approx(1.96 * combined)
        assert np.log(spot.activity_kbq / low) == pytest.approx(1.96 * combined)


def test_the_file_s_budget_adds_up_to_the_file_s_interval() -> None:
    for spot in json.loads(json.dumps(spots_content(state().result), default=list))["spots"]:
        content = spot["uncertainty_budget"]
        told = np.sqrt(sum(row["contribution"] ** 2 for row in content["components"]))
        assert told == pytest.approx(content["combined_relative_sd"], rel=1e-4)
        assert content["expanded_relative"] == pytest.approx(1.96 * told, rel=1e-4)
        # A weak focus has the interval of its profile: as wide to within a half, but longer upwards.
        low, high = np.abs(np.log(np.array(spot["activity_ci95_kbq"]) / spot["activity_kbq"]))
        assert 0.5 * (low + high) == pytest.approx(content["expanded_relative"], rel=0.5)
        names = {row["name"] for row in content["components"]}
        assert {"counting, with the background", "place and depth of the focus", "count latency"} <= names
        assert {"scale of the calibration", "scatter in tissue", "attenuation and surface"} <= names
        assert budget_from_json(content, "spots.json").relative_sd == pytest.approx(told, rel=1e-4)


def test_the_fit_s_variance_is_split_without_a_rest() -> None:
    fit = state().found.fit
    for index in range(len(fit.sources)):
        counting, place, latency = shares_of_fit(fit, index)
        assert counting**2 + place**2 + latency**2 == pytest.approx(fit.block(index)[3, 3])
        # The depth is the better part of what is open of a focus 12 to 18 mm deep.
        assert place > 0.0 and latency > 0.0
        # With place and latency held the information is that of the activity alone: its own diagonal.
        information = np.linalg.inv(fit.covariance)
        at = len(fit.background) + 4 * index
        free = [i for i in range(len(information)) if i not in (at, at + 1, at + 2, len(information) - 1)]
        held = np.linalg.inv(information[np.ix_(free, free)])
        assert counting == pytest.approx(np.sqrt(held[free.index(at + 3), free.index(at + 3)]), rel=1e-3)


def test_a_worse_certificate_makes_a_wider_interval() -> None:
    found = state()
    response = replace(found.problem.projector.response, scale_relative_sd=0.2)
    problem = replace(found.problem, projector=replace(found.problem.projector, response=response))
    before = spot_budget(found.problem, found.found.fit, 0)
    after = spot_budget(problem, found.found.fit, 0)
    old = found.problem.projector.response.scale_relative_sd
    assert after.relative_sd**2 - before.relative_sd**2 == pytest.approx(0.2**2 - old**2)


def test_a_sheath_is_a_component_of_its_own() -> None:
    found = state()
    bare = found.problem.projector.response
    sheathed = replace(
        bare, scale_relative_sd=float(np.hypot(bare.scale_relative_sd, 0.05)), sheath_relative_sd=0.05
    )
    problem = replace(found.problem, projector=replace(found.problem.projector, response=sheathed))
    rows = {c.name: c.contribution for c in spot_budget(problem, found.found.fit, 0).components}
    assert rows["sterile sheath"] == pytest.approx(0.05)
    assert rows["scale of the calibration"] == pytest.approx(bare.scale_relative_sd)
    assert "sterile sheath" not in {c.name for c in spot_budget(found.problem, found.found.fit, 0).components}


def test_percent_of_the_injected() -> None:
    content = spots_content(state().result)
    # 100 MBq at 8:00 are 100 * 2^(-2 / 6.007) MBq at 10:00, the reference time.
    at_reference = 1e5 * 2 ** (-2 / 6.007)
    assert content["injection"]["injected_at_reference_time_kbq"] == pytest.approx(at_reference, rel=1e-5)
    for spot in content["spots"]:
        assert spot["percent_injected"] == pytest.approx(100.0 * spot["activity_kbq"] / at_reference)
        low, high = spot["percent_injected_ci95"]
        ratio = spot["activity_ci95_kbq"][1] / spot["activity_ci95_kbq"][0]
        # Wider than the activity's own, by the calibrator's 3 %.
        assert np.log(high / low) == pytest.approx(np.hypot(np.log(ratio), 2 * 1.96 * 0.03), rel=1e-3)
        # The wire carries it, and the window reads it back.
        (own,) = [s for s in state().result.spots if s.id == spot["id"]]
        on_the_wire = json.loads(json.dumps(spot_words(own), default=list))
        assert spot_from_json(on_the_wire, "wire").percent_injected == pytest.approx(
            own.percent_injected, rel=1e-3
        )
        assert "% of the injected (" in percent_injected(own)
    plain = [replace(s, percent_injected=None) for s in state().result.spots]
    content = spots_content(replace(state().result, given=None, spots=tuple(plain)))
    assert "injection" not in content and "percent_injected" not in content["spots"][0]
    assert percent_injected(plain[0]) == ""


def test_a_bed_s_residual_in_percent_too() -> None:
    from navigation.bed import Bed
    from navigation.bedcheck import check_bed

    x, y = np.meshgrid(np.arange(-9.0, 22.0, 6.0), np.arange(-19.0, 12.0, 6.0))
    bed = Bed(np.stack([x.ravel(), y.ravel(), np.full(x.size, -10.0)], axis=1), 10.0)
    check = check_bed(state(), bed, 5.0)
    content = bed_content(check)
    assert check.finding == "residual-suspected"
    residual = content["residuals"][0]
    assert residual["percent_injected"] == pytest.approx(
        100.0 * residual["activity_kbq"] / content["injection"]["injected_at_reference_time_kbq"]
    )
    # The residual's interval is that of a focus: at least as wide as what the calibration leaves open.
    low, high = check.residuals[0].ci95_kbq
    systematic = state().problem.projector.response.systematic_relative_sd
    assert np.log(high / low) > 2 * 1.96 * np.hypot(0.04, systematic)


@pytest.mark.parametrize(
    ("name", "left"), [("Ga-68", 0.541), ("F-18", 0.685), ("Tc-99m", 0.891), ("In-111", 0.990)]
)
def test_counts_an_hour_after_the_reference_time_are_decayed(name: str, left: float) -> None:
    """H12: rows and background of counts taken an hour late are those of the reference time, times what is left."""
    known = nuclide(name)
    rows = []
    for late_s in (0.0, 3600.0):
        readings = replace(raster(60), t_s=raster(60).t_s + late_s)
        live = LiveReconstruction(replace(setup(), nuclide=known))
        live.add(readings)
        problem = live._problem()
        assert problem is not None
        rows.append((problem.rows(np.array([[0.0, 0.0, -15.0]])), problem.background_rows))
    for early, late in zip(*rows, strict=True):
        seen = np.abs(early) > 1e-9
        np.testing.assert_allclose(late[seen] / early[seen], left, atol=1e-3)


def test_an_activity_is_told_for_the_reference_time() -> None:
    """The counts of an hour later than the reference time are 1 / 0.541 times as much Ga-68 at it."""
    readings = filled(raster(200), [((6.0, -4.0, -18.0), 300.0)], 0.4, seed=3)
    gallium = replace(setup(), nuclide=nuclide("Ga-68"))
    found = [
        reconstruct(gallium, replace(readings, t_s=readings.t_s + late_s)).result.spots[0].activity_kbq
        for late_s in (0.0, 3600.0)
    ]
    assert found[1] / found[0] == pytest.approx(1 / 0.541, rel=2e-3)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A scan folder of state()'s foci."""
    readings = filled(raster(200), [((6.0, -4.0, -18.0), 80.0)], 0.4, seed=1)
    poses, counts = PoseTable(readings.t_s, readings.poses), readings.counts
    table = CountTable(readings.t_s + 0.05, counts, readings.live_s)
    write_scan(
        Scan("Tc-99m", REFERENCE, "ProbeTipToReference", poses, table, None, 0.0, flat_surface()),
        tmp_path / "scan",
    )
    return tmp_path / "scan"


def command(scan: Path, case_data: Path) -> list[str]:
    """`gammanav reconstruct` with case data; the probe's calibration beside the scan is written once."""
    from calibration.probe.detector import calibrate
    from tests.navigation.scan_model import PROBE, grid_of

    probe = scan.parent / "probe.json"
    if not probe.exists():
        probe.write_text(json.dumps(calibrate(grid_of(PROBE), nuclide("Tc-99m"))))
    out = scan.parent / "out"
    return [
        *("reconstruct", str(scan), "--probe", str(probe), "--out", str(out), "--force"),
        *("--case-data", str(case_data)),
    ]


def test_the_command_tells_percent_and_refuses_what_cannot_be(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case_data = tmp_path / "given.json"

    def attempt(**changes: Any) -> tuple[int, str]:
        case_data.write_text(json.dumps(INJECTED | changes))
        code = run(command(scan, case_data))
        return code, "".join(capsys.readouterr())

    code, words = attempt()
    assert code == 0 and "% of the injected" in words
    assert "percent_injected" in json.loads((tmp_path / "out" / "spots.json").read_text())["spots"][0]
    # 10:00:00 is t = 0 of the scan.
    code, words = attempt(injection_time="2026-01-01T10:30:00Z")
    assert code == 2 and "is after the scan began" in words and words.count("\n") == 1
    code, words = attempt(nuclide="In-111")
    assert code == 3 and "In-111 was injected" in words
    code, words = attempt(activity=74000.0)
    assert code == 2 and "is the unit right" in words
    head = json.loads((scan / "scan.json").read_text())
    (scan / "scan.json").write_text(json.dumps({k: v for k, v in head.items() if k != "reference_time"}))
    code, words = attempt()
    assert code == 2 and "states no reference_time" in words


def test_scans_with_and_without_a_zone_are_compared(scan: Path, tmp_path: Path) -> None:
    from shutil import copytree

    later = tmp_path / "later"
    copytree(scan, later)
    head = json.loads((scan / "scan.json").read_text())
    # An hour later, written without a zone: UTC.
    (later / "scan.json").write_text(json.dumps(head | {"reference_time": "2026-01-01T11:00:00"}))
    assert decay_between(scan, later) == pytest.approx(0.891, abs=1e-3)


CASE = """
nuclide = "99mTc"
reference_time = "2026-01-01T10:00:00Z"
[tracker]
port = 18954
[probe]
port = 18955
[injection]
activity = 100
assay_time = 2026-01-01T08:00:00Z
injection_time = 2026-01-01T09:00:00Z
"""


def test_a_live_case_keeps_what_was_injected(tmp_path: Path) -> None:
    from navigation.case import read_case

    (tmp_path / "tip.json").write_text(json.dumps({"tip_offset_mm": [0, 0, 100], "axis": [0, 0, 1]}))
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    settings = read_case(path)
    again = type(settings).from_json(json.loads(json.dumps(settings.to_json())))
    assert again.injection == settings.injection
    given = injection_of(again.injection, "record").given(
        nuclide("Tc-99m"), datetime.fromtimestamp(settings.epoch_s, UTC)
    )
    assert given.kbq == pytest.approx(1e5 * 2 ** (-2 / 6.007), rel=1e-5)
    for wrong, words in (
        (CASE.replace("2026-01-01T09:00:00Z", "2999-01-01T09:00:00Z"), "is after the scan began"),
        (CASE.replace("2026-01-01T08:00:00Z", "2026-01-01T08:00:00"), "has no time zone"),
        (CASE + "dose = 3\n", "unknown key 'dose'"),
    ):
        path.write_text(wrong)
        with pytest.raises(InputError, match=words):
            read_case(path)
