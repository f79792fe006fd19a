"""Timed counts among the findings, of a case without a scan too; scans of before the reference moved."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from calibration.counter.deadtime import DeadTime
from navigation.cli.main import run
from navigation.dicomresults import write_dicom
from navigation.report.results import read_case
from navigation.timed.content import counts_content, write_counts
from navigation.timed.count import TimedCount
from tests.conftest import missing
from tests.navigation.dicomresults import oblique
from tests.navigation.dicomresults.test_objects import texts


def count(number: int, kind: str, counts: float, name: str = "", **more: object) -> TimedCount:
    start = 100.0 * number
    return TimedCount(number, kind, name, counts, 10.0, 10.0, start, start + 10.0, DeadTime(5e-6), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("counts")
    counts = [
        count(1, "background", 200.0),
        count(2, "target", 900.0, "node Zolanthe"),
        count(3, "bed", 210.0, void="moved", void_by="A. Klein"),
    ]
    write_counts(counts_content(counts, "Tc-99m", 0.0, True, "case 7"), place)
    oblique.dump(place / "case.json", {"case": "case 7", "study_id": None, "simulated": True})
    oblique.write_study_file(place / "study", identified=True)
    write_dicom(read_case(place), place)
    return place / "dicom"


def test_counts_stand_with_their_rates_and_the_sentences_on_them(folder: Path) -> None:
    ds = pydicom.dcmread(folder / "findings.dcm")
    said = texts(ds)
    for words in ("SIMULATION Count 2, target", "900.0", "90.0", "{counts}/s", "VOID: moved", "4.5"):
        assert words in said, words
    assert "Zolanthe" not in said and "Klein" not in said
    assert "target node [removed]" in said


def test_the_validator_finds_no_error_in_counts_alone(folder: Path) -> None:
    if shutil.which("dciodvfy") is None:
        missing("no dciodvfy: install dicom3tools")
    assert [p.name for p in folder.iterdir()] == ["findings.dcm"]
    told = subprocess.run(["dciodvfy", folder / "findings.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in told.stdout + told.stderr
    assert told.returncode == 0


def test_the_report_writes_them_unless_told_not_to(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder.parent, tmp_path / "case", ignore=shutil.ignore_patterns("study", "dicom"))
    results = str(tmp_path / "case")
    assert run(["report", results, "--out", str(tmp_path / "with")]) == 0
    assert run(["report", results, "--out", str(tmp_path / "without"), "--no-dicom"]) == 0
    written = {p.name for p in (tmp_path / "with" / "dicom").iterdir()}
    assert written == {"findings.dcm", "report.dcm"}
    pdf = pydicom.dcmread(tmp_path / "with" / "dicom" / "report.dcm")
    page = (tmp_path / "with" / "report.pdf").read_bytes()
    assert pdf.EncapsulatedDocument[: pdf.EncapsulatedDocumentLength] == page
    assert not (tmp_path / "without" / "dicom").exists()
    assert run(["report", results, "--out", str(tmp_path / "x"), "--no-dicom", "--identified"]) == 2


def test_scans_of_before_the_reference_moved_share_no_frame(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    shutil.copytree(tmp_path / "scan-1", tmp_path / "scan-2")
    entry = {"number": 1, "id": "r", "T_study_reference": oblique.registration().tolist()}
    moved = {"registrations": [entry], "state": "verified", "scans_elsewhere": ["scan-1"]}
    oblique.dump(tmp_path / "registrations.json", moved)
    write_dicom(read_case(tmp_path), tmp_path)
    before, after = (pydicom.dcmread(tmp_path / "dicom" / f"scan-{n}-regions.dcm") for n in (1, 2))
    assert before.FrameOfReferenceUID != after.FrameOfReferenceUID
    assert oblique.FRAME not in (before.FrameOfReferenceUID, after.FrameOfReferenceUID)
    ds = pydicom.dcmread(tmp_path / "dicom" / "findings.dcm")
    frames = [e.value for e in ds.iterall() if e.keyword == "ReferencedFrameOfReferenceUID"]
    assert frames == [before.FrameOfReferenceUID] * 2 + [after.FrameOfReferenceUID] * 2
    assert "The reference has moved since this scan" in texts(ds)
