"""Whose results they are: nobody's by default, the patient's on request, and never anybody else's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from navigation.cli.main import run
from navigation.dicomresults import write_dicom
from navigation.dicomresults.common import Context
from navigation.dicomresults.identity import deidentified, identified
from navigation.dicomresults.place import placement_of
from navigation.report.results import read_case
from tests.navigation.dicomresults import oblique
from tests.navigation.dicomresults.test_objects import NAMES, PDF, texts, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("case"))


def test_nothing_of_the_patient_stands_in_a_deidentified_object(made: Path) -> None:
    for name in NAMES:
        raw = (made / name).read_bytes()
        assert not [word for word in oblique.PLANTED if word.encode() in raw]
        ds = pydicom.dcmread(made / name)
        assert ds.PatientIdentityRemoved == "YES"
        assert re.fullmatch(r"GN-[0-9A-F]{16}", ds.PatientID)
        assert ds.StudyInstanceUID.startswith("2.25.")
        assert (ds.PatientBirthDate, ds.StudyDate) == ("", "")
    assert "[removed]" in texts(pydicom.dcmread(made / "findings.dcm"))


def test_a_report_that_names_the_patient_is_left_out(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    (tmp_path / "report.pdf").write_bytes(PDF)
    (tmp_path / "report.html").write_text("<td>Zolanthe said</td>")
    told = write_dicom(read_case(tmp_path), tmp_path)
    assert told.left_out == (
        "report.pdf: holds words of the patient's identity, which a de-identified object must not",
    )
    assert not (tmp_path / "dicom" / "report.dcm").exists()


def test_a_patient_whose_name_is_a_word_of_ours_changes_no_statement(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    path = tmp_path / "study" / "study.json"
    path.write_text(path.read_text().replace(oblique.NAME, "No^Activity"))
    write_dicom(read_case(tmp_path), tmp_path)
    assert oblique.STATEMENT in texts(pydicom.dcmread(tmp_path / "dicom" / "findings.dcm"))


def test_identified_objects_belong_to_the_patients_study(tmp_path: Path) -> None:
    folder = written(tmp_path, with_identity=True)
    for name in NAMES:
        ds = pydicom.dcmread(folder / name)
        assert (ds.PatientName, ds.PatientID, ds.PatientBirthDate) == (
            oblique.NAME,
            oblique.NUMBER,
            oblique.BORN,
        )
        assert (ds.StudyInstanceUID, ds.StudyDate) == (oblique.STUDY_UID, oblique.STUDIED)
        assert (ds.AccessionNumber, ds.StudyTime, ds.PatientSex) == (oblique.ACCESSION, "101112", "O")
        assert ds.StudyID == ""  # what no such element may hold
        assert "PatientIdentityRemoved" not in ds


def test_a_name_goes_out_as_its_study_spells_it(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    path = tmp_path / "study" / "study.json"
    path.write_text(path.read_text().replace(oblique.NAME, "STS 001"))
    write_dicom(read_case(tmp_path), tmp_path, with_identity=True)
    assert {str(pydicom.dcmread(p).PatientName) for p in (tmp_path / "dicom").iterdir()} == {"STS 001"}


def test_no_identity_is_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oblique.write_oblique(tmp_path / "hashed", identified=False)
    oblique.write_oblique(tmp_path / "none", registered=False)
    oblique.write_oblique(tmp_path / "other")
    oblique.dump(tmp_path / "other" / "case.json", {"case": "C1", "study_id": None})
    oblique.write_oblique(tmp_path / "played", simulated=False)
    oblique.dump(tmp_path / "played" / "probe.json", {"simulated": True})
    for case, words in (
        ("hashed", "was imported without its identity; import it with --keep-identity"),
        ("none", "identified objects need the imported study of the case: name it with --study"),
        ("other", "nothing shows that this case was done with this study"),
        ("played", "is a patient's study, and this case is a simulation"),
    ):
        out = tmp_path / f"{case}-out"
        assert run(["report", str(tmp_path / case), "--out", str(out), "--identified"]) == 2
        assert capsys.readouterr().err.rstrip().endswith(words)
        assert not out.exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oblique.write_oblique(tmp_path / "case")
    images = tmp_path / "dicom" / "ct"
    images.mkdir(parents=True)
    assert run(["report", str(tmp_path / "case"), "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "dicom").iterdir()] == ["ct"]


def test_the_case_id_cannot_be_tried_through(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    oblique.dump(tmp_path / "case.json", {"case": "PZ-1", "study_id": None})
    ids = []
    for counted in (3, 4, 3):
        (tmp_path / "scan-1" / "counts.csv").write_text(f"t_s,counts,window_s\n0.1,{counted},0.1")
        ids.append(deidentified(read_case(tmp_path), None).patient_id)
    assert ids[0] == ids[2] != ids[1]


def test_the_time_of_identified_results_is_that_of_the_studys_zone(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    who = replace(
        identified(read_case(tmp_path), tmp_path / "study"), study=(("TimezoneOffsetFromUTC", "-0330"),)
    )
    place = placement_of(read_case(tmp_path), None, "own", identified=True)
    at = Context(who, place, simulated=False, version="1", measured_s=1_700_000_000.0)
    assert at.moment == ("20231114", "184320")  # 22:13:20 UTC
    assert replace(at, measured_s=None).moment == replace(at, identity=replace(who, deidentified=True)).moment
