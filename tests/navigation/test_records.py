"""Calibration records in use: commands over their life, who they belong to, and their id in every result."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from calibration.probe.response import response_of
from calibration.records.binding import Identity
from calibration.records.record import approved, sealed, stamped
from calibration.records.store import RECORDS
from navigation.case import read_case
from navigation.cli.main import run
from navigation.engine.jobs import ScanBasis
from navigation.engine.reconstruct import build_imaging
from navigation.io.nrrd import read_nrrd
from navigation.provenance import other_records, require_study, response_for, stamp_of
from navigation.reconstruction import ImagingSetup
from tests.navigation.scan_model import PROBE, filled, flat_surface, grid_of, raster
from tracking.errors import GateRefusedError, InputError
from tracking.scanfolder import (
    MARKER_POSES,
    CountTable,
    PoseTable,
    Scan,
    read_scan,
    readings_of,
    write_scan,
)

STATED = {"probe_serial": "SN 7", "window_kev": [126.0, 155.0], "collimator": "open"}
HEAD = {"probe_serial": "SN 7", "collimator": "open", "operator": "Ada Klein"}
CASE = 'nuclide = "Tc-99m"\ncalibration = "{}"\n{}\n[tracker]\nport = 18954\n[probe]\nport = 18955\n'


@pytest.fixture(scope="module")
def draft() -> dict[str, Any]:
    return calibrate(grid_of(PROBE), nuclide("Tc-99m"), extra=HEAD)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan folder with one focus, which states probe, window and collimator."""
    folder = tmp_path_factory.mktemp("scanned") / "scan"
    readings = filled(raster(200), [((6.0, -4.0, -18.0), 80.0)], 0.4, seed=1)
    scan = Scan(
        "Tc-99m",
        "2026-01-01T10:00:00Z",
        "ProbeTipToReference",
        PoseTable(readings.t_s, readings.poses),
        CountTable(readings.t_s + 0.05, readings.counts, readings.live_s),
        count_latency_s=0.0,
        surface_mm=flat_surface(),
        stated=STATED,
    )
    write_scan(scan, folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, draft: dict[str, Any], scanned: Path) -> Path:
    """probe.json and scan/ to be changed."""
    (tmp_path / "probe.json").write_text(json.dumps(draft))
    shutil.copytree(scanned, tmp_path / "scan")
    return tmp_path


def restated(place: Path, **changes: Any) -> None:
    head = json.loads((place / "scan" / "scan.json").read_text()) | changes
    (place / "scan" / "scan.json").write_text(json.dumps({k: v for k, v in head.items() if v is not None}))


def gammanav(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_life_of_a_record_by_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe, store, second = place / "probe.json", place / "store", place / "second.json"
    first = json.loads(probe.read_text())
    second.write_text(json.dumps(sealed(first | {"id": "another"})))
    by = ("--store", store, "--by", "A. Klein")
    code, said, _ = gammanav(capsys, "calibrate", "activate", probe, *by)
    assert (code, said) == (0, f"{first['id']} is in use: a DRAFT, approved by nobody\n")
    code, said, _ = gammanav(capsys, "calibrate", "approve", probe, "--by", "Ben Ruiz")
    assert (code, said) == (0, f"{first['id']}: approved by Ben Ruiz, measured by Ada Klein\n")
    assert probe.stat().st_mode & 0o777 == 0o444
    for file in (probe, second):
        assert gammanav(capsys, "calibrate", "activate", file, *by)[0] == 0
    code, said, _ = gammanav(capsys, "calibrate", "undo", *by)
    assert (code, said) == (0, f"another (draft) is out of use; {first['id']} (approved) is in use\n")
    code, said, _ = gammanav(capsys, "calibrate", "records", "--store", store)
    table, history = said.split("\n\n")
    rows = [line for line in table.splitlines() if first["id"] in line]
    assert ["in use" in row for row in rows] == [False, True]
    assert rows[1].rstrip().endswith("approved")
    assert "SN 7" in rows[1]
    assert first["expiry"] in rows[1]
    assert len(history.splitlines()) == 5  # four entries and the journal's hash
    code, said, _ = gammanav(capsys, "calibrate", "undo", *by, "--withdraw", "--nuclide", "99mTc")
    assert (code, said) == (0, f"{first['id']} (approved) is out of use; none takes its place\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("approve", "probe.json", "--by", "ada klein"), 2, "second person"),
        (("approve", "nowhere.json", "--by", "Ben"), 2, "nowhere.json: no such file"),
        (("approve", "probe.json", "--by", "Ben", "--out", "scan/scan.json"), 2, "exists already"),
        (("approve", "altered.json", "--by", "Ben"), 3, "altered"),
        (("approve", "locked.json", "--by", "Ben"), 2, "is read-only; --out"),
        (("activate", "altered.json", "--store", "s", "--by", "Ben"), 3, "altered"),
        (("activate", "probe.json", "--store", "scan", "--by", "Ben"), 2, "holds other things"),
        (("activate", "scan/scan.json", "--store", "s", "--by", "Ben"), 2, "no id"),
        (("undo", "--store", "s", "--by", "Ben"), 2, "is no store of calibrations"),
        (("undo", "--store", "s", "--by", "Ben", "--nuclide", "Xx"), 2, "unknown nuclide"),
        (("records", "--store", "scan"), 2, "is no store of calibrations"),
    ],
)
def test_misuse_is_one_line(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(place)
    content = json.loads(Path("probe.json").read_text())
    Path("altered.json").write_text(json.dumps(content | {"operator": "Eve"}))
    Path("locked.json").write_text(json.dumps(content))
    Path("locked.json").chmod(0o444)
    found, _, said = gammanav(capsys, "calibrate", *words)
    assert found == code
    assert told in said
    assert said.count("\n") == 1


def test_every_result_names_the_calibration(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signed = approved(json.loads((place / "probe.json").read_text()), "Ben", "probe.json")
    (place / "probe.json").write_text(json.dumps(signed))
    assert (
        gammanav(capsys, "calibrate", "activate", place / "probe.json", "--store", place / "s", "--by", "B")[
            0
        ]
        == 0
    )
    (place / "latency.json").write_text(json.dumps({"count_latency_s": 0.0, "ci95_s": [0.0, 0.01]}))
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-9.0, 10, 3), np.arange(-9.0, 10, 3)))
    bed = {"points_mm": np.stack([x, y, 0 * x], axis=1).tolist(), "depth_mm": 6.0}
    (place / "bed.json").write_text(json.dumps(bed))
    out = place / "out"
    files = ("--probe", place / "s", "--latency", place / "latency.json", "--bed", place / "bed.json")
    code, said, err = gammanav(
        capsys, "bed-check", place / "scan", *files, "--threshold-kbq", 4, "--out", out
    )
    assert code == 0, err
    spots, check = (json.loads((out / name).read_text()) for name in ("spots.json", "bed_check.json"))
    for result in (spots, check, *spots["spots"]):
        assert (result["calibration_id"], result["calibration_state"]) == (signed["id"], "approved")
    for result in (spots, check):
        detector, latency = result["calibrations"]
        assert detector["checksum"] == signed["checksum"]
        assert detector["approved_by"] == "Ben"
        assert (latency["id"], latency["kind"], latency["state"]) == ("latency.json", "latency", "unsealed")
        assert "latency.json is unsealed: nobody can tell whether it was changed" in result["reasons"]
    assert not [r for r in spots["reasons"] if "draft" in r or "unverified" in r]
    assert check["statement"].endswith(f"Calibration {signed['id']} (approved).")
    assert said.strip().endswith(check["statement"])
    for name in ("activity", "relative_sd", "mda"):
        keys = read_nrrd(out / f"{name}.nrrd").keys
        assert (keys["calibration_id"], keys["calibration_state"]) == (signed["id"], "approved")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nuclide": "In-111"}, "is for Tc-99m, the scan is In-111"),
        ({"window_kev": [90, 155]}, "is for energy window .* the scan is 90 to 155 keV"),
        ({"probe_serial": "SN 8"}, "is for probe serial SN 7, the scan is SN 8"),
        ({"collimator": "pinhole"}, "is for collimator open, the scan is pinhole"),
    ],
)
def test_a_calibration_of_something_else_is_refused_and_nothing_written(
    place: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], told: str
) -> None:
    restated(place, **change)
    words = ("reconstruct", place / "scan", "--probe", place / "probe.json", "--out", place / "out")
    code, _, said = gammanav(capsys, *words)
    assert code == 3
    assert said.count("\n") == 1
    with pytest.raises(GateRefusedError, match=told):
        response_for(read_scan(place / "scan"), place / "probe.json")
    assert not (place / "out").exists()


def test_a_store_gives_the_record_of_the_scan_or_says_why_not(place: Path, draft: dict[str, Any]) -> None:
    from calibration.records.store import Store

    other = sealed(draft | {"id": "other", "probe_serial": "SN 8"})
    for content in (draft, other):
        Store(place / "s").activate(content, "Ben", place / "probe.json")
    assert response_for(read_scan(place / "scan"), place / "s").stamp.id == draft["id"]
    restated(place, probe_serial="SN 9")
    with pytest.raises(GateRefusedError, match="no detector calibration in use fits"):
        response_for(read_scan(place / "scan"), place / "s")
    restated(place, probe_serial=None)
    with pytest.raises(InputError, match="2 calibrations in use could be meant"):
        response_for(read_scan(place / "scan"), place / "s")
    for file in (place / "s" / RECORDS).iterdir():
        file.chmod(0o644)
        file.write_text("{}")
    restated(place, probe_serial="SN 7")
    with pytest.raises(GateRefusedError, match=f"{draft['id']}.*altered after it was put into the store"):
        response_for(read_scan(place / "scan"), place / "s")


def test_a_scan_that_states_nothing_is_unverified_and_a_nearing_expiry_is_told(draft: dict[str, Any]) -> None:
    soon = sealed(draft | {"expiry": (date.today() + timedelta(days=3)).isoformat()})
    setup = ImagingSetup.create(response_of(soon, "probe.json"), flat_surface(), "Tc-99m")
    told = "; ".join(setup.reasons)
    assert "the detector calibration is a draft" in told
    assert "unverified, because not stated: energy window, probe serial, collimator" in told
    assert f"expires soon, on {soon['expiry']}" in told
    known = Identity("Tc-99m", (126.0, 155.0), "sn7", "OPEN")
    fits = ImagingSetup.create(response_of(draft, "p"), flat_surface(), "Tc-99m", stated=known)
    assert fits.reasons == ("the detector calibration is a draft",)
    assert [stamp.id for stamp in fits.records] == [draft["id"]]


def test_an_old_record_is_judged_by_its_own_day_a_folder_by_today(place: Path, draft: dict[str, Any]) -> None:
    expired = sealed(draft | {"expiry": "2026-03-01"})
    (place / "probe.json").write_text(json.dumps(expired))
    scan = read_scan(place / "scan")
    with pytest.raises(GateRefusedError, match="expired on 2026-03-01"):
        response_for(scan, place / "probe.json")
    # 2026-02-01 and 2026-04-01 at noon, UTC.
    assert response_for(replace_measured(scan, 1769947200.0), place / "probe.json").stamp.id == draft["id"]
    with pytest.raises(GateRefusedError, match="expired"):
        response_for(replace_measured(scan, 1775044800.0), place / "probe.json")


def test_the_tip_of_an_old_record_is_judged_by_its_own_day_too(place: Path, draft: dict[str, Any]) -> None:
    matrix = np.eye(4).tolist()
    tip = place / "other-tip.json"
    tip.write_text(json.dumps(sealed({"id": "t", "T_probe_probetip": matrix, "expiry": "2026-03-01"})))
    scan = replace(read_scan(place / "scan"), pose_name=MARKER_POSES)
    response = response_of(draft, "p")
    old = replace_measured(scan, 1769947200.0)
    assert [stamp.id for stamp in other_records(old, (tip,), (), response)] == ["t"]
    assert len(readings_of(old, (tip,))) == len(readings_of(read_scan(place / "scan")))
    # A record that says it is of the year 2100 proves no day: today counts.
    for fresh in (scan, replace_measured(scan, 4102444800.0)):
        with pytest.raises(GateRefusedError, match="expired on 2026-03-01"):
            other_records(fresh, (tip,), (), response)
        with pytest.raises(GateRefusedError, match="expired on 2026-03-01"):
            readings_of(fresh, (tip,))


def replace_measured(scan: Scan, measured_s: float) -> Scan:
    return replace(scan, measured_s=measured_s)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ('probe_serial = "SN 8"', "probe serial SN 7, the case is SN 8"),
        ("window_kev = [100, 155]", "energy window .* the case is 100 to 155 keV"),
        ('collimator = "pinhole"', "collimator open, the case is pinhole"),
    ],
)
def test_a_case_of_another_probe_is_refused_before_it_begins(place: Path, stated: str, told: str) -> None:
    write_tip(place)
    (place / "case.toml").write_text(CASE.format("probe.json", stated))
    with pytest.raises(GateRefusedError, match=rf"probe\.json: .*{told}"):
        read_case(place / "case.toml")


def test_a_case_may_name_a_store_and_keeps_what_it_rests_on(place: Path, draft: dict[str, Any]) -> None:
    from calibration.records.store import Store

    Store(place / "hospital").activate(draft, "Ben", place / "probe.json")
    tip = write_tip(place)
    (place / "case.toml").write_text(CASE.format("hospital", 'probe_serial = "sn7"'))
    settings = read_case(place / "case.toml")
    assert settings.calibration == draft
    assert settings.stated == {"nuclide": "Tc-99m", "probe_serial": "sn7"}
    assert [(r["kind"], r["id"]) for r in settings.records] == [("tip", tip["id"])]
    again = type(settings).from_json(json.loads(json.dumps(settings.to_json())))
    assert again.to_json() == settings.to_json()


def test_a_tip_of_another_probe_or_altered_refuses_the_case(place: Path) -> None:
    (place / "case.toml").write_text(CASE.format("probe.json", ""))
    write_tip(place, probe_serial="SN 8")
    with pytest.raises(GateRefusedError, match=r"tip\.json: .*probe serial SN 7, tip\.json is SN 8"):
        read_case(place / "case.toml")
    tip = write_tip(place)
    (place / "tip.json").write_text(json.dumps(tip | {"tip_offset_mm": [0.0, 0.0, 99.0]}))
    with pytest.raises(GateRefusedError, match=r"tip\.json: .*altered"):
        read_case(place / "case.toml")


def write_tip(place: Path, probe_serial: str = "SN 7") -> dict[str, Any]:
    known = {"tip_offset_mm": [0.0, 0.0, 100.0], "axis": [0.0, 0.0, 1.0], "accepted": True}
    tip = stamped(known, "tip", operator="Ada", probe_serial=probe_serial)
    (place / "tip.json").write_text(json.dumps(tip))
    return tip


def study_of(folder: Path, modality: str, name: str | None) -> Path:
    """study.json of one series."""
    grid = {
        "size": [2, 2, 2],
        "origin_mm": [0, 0, 0],
        "spacing_mm": [1, 1, 1],
        "direction": np.eye(3).tolist(),
    }
    series = {
        "id": "1",
        "file": "1.nrrd",
        "modality": modality,
        "units": "counts",
        "geometry": grid,
        "radiopharmaceutical": {"nuclide": name},
    }
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"series": [series]}))
    return folder


def test_a_study_of_another_nuclide_is_refused_and_a_pet_told(tmp_path: Path) -> None:
    assert require_study(study_of(tmp_path / "same", "NM", "^99m^Technetium"), "Tc-99m") == ()
    assert require_study(study_of(tmp_path / "ct", "CT", None), "Tc-99m") == ()
    with pytest.raises(GateRefusedError, match="its NM series is of In-111, the scan is Tc-99m"):
        require_study(study_of(tmp_path / "other", "NM", "^111^Indium"), "99mTc")
    (told,) = require_study(study_of(tmp_path / "pet", "PT", "^68^Gallium"), "Tc-99m")
    assert told == "the study's PT series is of Ga-68, the scan is Tc-99m"
    (told,) = require_study(study_of(tmp_path / "untold", "NM", None), "Tc-99m")
    assert told == "unverified: the study's NM series names no known nuclide"


def test_the_report_names_record_state_and_checksum(place: Path) -> None:
    from navigation.report.content import calibration_rows
    from navigation.report.results import read_case as read_results
    from tests.navigation.case_folder import write_case

    write_case(place / "case")
    signed = approved(json.loads((place / "probe.json").read_text()), "Ben", "probe.json")
    (place / "case" / "probe.json").write_text(json.dumps(signed))
    spots = place / "case" / "scan-1" / "spots.json"
    used = {"calibrations": [{"kind": "detector", "id": signed["id"], "state": "approved"}]}
    spots.write_text(json.dumps(json.loads(spots.read_text()) | used))
    rows = dict(calibration_rows(read_results(place / "case")))
    assert rows["Probe calibration"] == f"{signed['id']}: approved"
    assert rows["Approved by"] == "Ben"
    assert rows["Checksum (SHA-256)"] == signed["checksum"]
    assert rows["Scan 1, before resection rests on"] == f"detector {signed['id']} (approved)"
    assert rows["Scan 2, after resection rests on"] == "not stated"


def test_a_new_calibration_names_the_one_that_it_is_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_rotvec(np.radians(30) * np.random.default_rng(1).normal(size=(60, 3)))
    poses = np.tile(np.eye(4), (60, 1, 1))
    poses[:, :3, :3] = turns.as_matrix()
    poses[:, :3, 3] = [10.0, 20.0, 30.0] - turns.apply([0.0, 5.0, 120.0])
    (tmp_path / "poses").mkdir()
    for i, pose in enumerate(poses):
        np.savetxt(tmp_path / "poses" / f"{i:03d}.txt", pose)
    words = ("calibrate", "pivot", tmp_path / "poses", "--out", tmp_path / "tip.json", "--operator", "Ada")
    assert gammanav(capsys, *words, "--no-plots")[0] == 0
    first = json.loads((tmp_path / "tip.json").read_text())
    assert gammanav(capsys, *words, "--no-plots", "--force")[0] == 0
    second = json.loads((tmp_path / "tip.json").read_text())
    assert (first["previous"], second["previous"]) == (None, first["id"])
    for tip in (first, second):
        assert (tip["kind"], tip["operator"], tip["state"]) == ("tip", "Ada", "draft")
        assert tip == sealed(tip)
    assert gammanav(capsys, "calibrate", "approve", tmp_path / "tip.json", "--by", "Ben")[0] == 0


def test_a_live_case_of_another_probe_ends_before_anything_is_recorded(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tip(place)
    (place / "case.toml").write_text(CASE.format("probe.json", 'probe_serial = "SN 8"'))
    code, _, said = gammanav(capsys, "run", place / "case.toml", "--headless", "--out", place / "case-7")
    assert code == 3
    assert "the calibration is for probe serial SN 7, the case is SN 8" in said
    assert said.count("\n") == 1
    assert not (place / "case-7").exists()


def test_a_replay_is_judged_by_the_day_of_its_case(draft: dict[str, Any]) -> None:
    expired = sealed(draft | {"expiry": "2026-03-01"})
    basis = ScanBasis("scan-1", expired, "Tc-99m", flat_surface(), None, 0.0, None, None, True)
    build_imaging(replace(basis, began_s=1769947200.0))  # 2026-02-01
    for began_s in (1775044800.0, None):  # 2026-04-01, and today
        with pytest.raises(GateRefusedError, match="expired on 2026-03-01"):
            build_imaging(replace(basis, began_s=began_s))


def test_other_records_are_of_the_same_probe(tmp_path: Path) -> None:
    known = Identity("Tc-99m", None, "SN 7")
    # Late by the counter and dimmed by a foil: measured with whatever source was at hand.
    latency = stamped({"count_latency_s": 0.1}, "latency", nuclide="Co-57", probe_serial="sn7")
    sheath = stamped({"transmission": 0.98, "accepted": True}, "sheath", probe_serial="SN 8")
    for name, content in (("sheath.json", sheath), ("latency.json", latency)):
        (tmp_path / name).write_text(json.dumps(content))
    assert stamp_of(tmp_path / "latency.json", known).kind == "latency"
    with pytest.raises(GateRefusedError, match=r"is for probe serial SN 7, sheath\.json is SN 8"):
        stamp_of(tmp_path / "sheath.json", known)
    assert stamp_of(tmp_path / "PlusDevice.xml", known).words == "PlusDevice.xml (unsealed)"
