"""A name, a number and a birth date planted in a study are in nothing that leaves it: files, pictures, wire, record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from navigation.case import read_case
from navigation.cli.main import run
from navigation.engine.assembly import head_of
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import build_scene
from navigation.studypublish import study_messages
from tests.navigation.case_folder import write_case
from tracking.igtl.codec import encode

NAME, NUMBER, BIRTH = "QUARKWEED", "PLNT-471147", "19470213"
PLANTED = [NAME, NUMBER, BIRTH, "1947-02-13"]
CASE = f"""
nuclide = "Tc-99m"
study = "study"
name = "case 7"
[tracker]
port = 18954
[probe]
port = 18955
[patient]
id = "{NUMBER}"
name = "{NAME}^Ida"
birth_date = 1947-02-13
"""
TIP = {"tip_offset_mm": [0, 0, 100.0], "axis": [0, 0, 1.0], "accepted": True, "reasons": []}


def planted(folder: Path) -> None:
    """A study in which every field that may hold a person holds this one."""
    write_study(build_scene("bed", 3), folder, 1.7e9)
    for file in folder.rglob("*.dcm"):
        data = pydicom.dcmread(file)
        data.PatientName, data.PatientID, data.PatientBirthDate = f"{NAME}^Ida", NUMBER, BIRTH
        data.StudyDescription = data.SeriesDescription = f"{NAME} {NUMBER} abdomen"
        data.AccessionNumber, data.StudyID = f"A{NUMBER}"[:16], NUMBER
        data.ReferringPhysicianName = f"Dr. {NAME}"
        data.ImageComments = f"for {NAME}, born {BIRTH}"
        data.OtherPatientIDs = NUMBER
        data.save_as(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the commands make of it."""
    place = tmp_path_factory.mktemp("planted")
    planted(place / "dicom")
    study = str(place / "study")
    assert run(["study", str(place / "dicom"), "--out", study]) == 0
    assert run(["plan", "targets", study, "--hours", "3"]) == 0
    assert run(["plan", "fiducials", study, "--out", str(place / "made" / "fiducials.mrk.json")]) == 0
    assert run(["plan", "skin", study, "--out", str(place / "made" / "skin.ply")]) == 0
    results = place / "made" / "case"
    write_case(results, second=False)
    turn = np.eye(4)
    turn[:3, 3] = [-90.0, 60.0, -80.0]
    (results / "reg.json").write_text(json.dumps({"accepted": True, "T_target_source": turn.tolist()}))
    (results / "targets.json").write_bytes((place / "study" / "targets.json").read_bytes())
    assert run(["report", str(results), "--study", study, "--out", str(place / "made" / "report")]) == 0
    return place


def holding(content: bytes) -> list[str]:
    """Which of the planted words stand in it."""
    text = content.lower()
    return [word for word in PLANTED if word.lower().encode() in text or word.encode("utf-16-le") in content]


def outputs(folder: Path) -> Iterator[Path]:
    """Every file but the DICOM that it was planted in."""
    return (p for p in folder.rglob("*") if p.is_file() and (folder / "dicom") not in p.parents)


def test_the_words_are_found_where_they_are(folder: Path) -> None:
    slice_ = next((folder / "dicom").rglob("*.dcm"))
    assert set(holding(slice_.read_bytes())) >= {NAME, NUMBER, BIRTH}


def test_no_file_of_study_plan_report_and_results_holds_them(folder: Path) -> None:
    made = list(outputs(folder))
    kinds = {p.suffix for p in made}
    assert {".json", ".nrrd", ".html", ".pdf", ".png", ".csv", ".ply", ".dcm"} <= kinds
    assert {str(p.relative_to(folder)): found for p in made if (found := holding(p.read_bytes()))} == {}
    assert [p for p in made if holding(p.name.encode())] == []


def test_neither_the_record_nor_the_wire_of_a_case_holds_them(folder: Path) -> None:
    (folder / "tip.json").write_text(json.dumps(TIP))
    (folder / "case.toml").write_text(CASE, encoding="utf-8")
    settings = read_case(folder / "case.toml")
    assert settings.study_check is not None and "name" in settings.study_check["agreed"]
    assert holding(json.dumps(head_of(settings)).encode()) == []
    sent = [encode(m) for m in study_messages(folder / "study", 1.0)]
    assert sent and [found for m in sent if (found := holding(m))] == []
    (folder / "case.toml").unlink()


def test_neither_a_refusal_nor_a_message_names_the_patient(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tip.json").write_text(json.dumps(TIP))
    (folder / "case.toml").write_text(CASE.replace(f"{NAME}^Ida", "Other^Person"), encoding="utf-8")
    assert run(["run", str(folder / "case.toml"), "--headless"]) == 3
    told = capsys.readouterr()
    assert "not the study of this case" in told.err
    assert holding((told.out + told.err).encode()) == []
    (folder / "case.toml").unlink()
