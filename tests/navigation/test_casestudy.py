"""The study of a case file: another patient's is refused, two persons may take it upon them, nothing of it is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from navigation.case import read_case
from navigation.io.study import import_study
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import build_scene
from tracking.errors import GateRefusedError, InputError

BASIC = 'nuclide = "Tc-99m"\nstudy = "study"\n[tracker]\nport = 18954\n[probe]\nport = 18955\n'
TIP = {"tip_offset_mm": [0, 0, 100.0], "axis": [0, 0, 1.0], "accepted": True, "reasons": []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("case")
    write_study(build_scene("occult", 5), place / "dicom", 1.7e9)
    import_study(place / "dicom", place / "study")
    (place / "tip.json").write_text(json.dumps(TIP))
    return place


def case(folder: Path, patient: str = "") -> Path:
    path = folder / "case.toml"
    path.write_text(BASIC + patient, encoding="utf-8")
    return path


# The simulator writes its patients as SIM-<scene>-<seed>.
OURS, OTHER = '[patient]\nid = "SIM-occult-5"\n', '[patient]\nid = "SIM-occult-6"\n'


def test_the_patients_own_study_is_taken_and_its_age_told(folder: Path) -> None:
    settings = read_case(case(folder, OURS))
    assert settings.study is not None and settings.study.tissue is not None
    check = settings.study_check
    assert check is not None and check["accepted"] and "number" in check["agreed"]
    # Acquired in November 2023.
    assert check["age_days"] > 365 and any(w["code"] == "STUDY_OLD" for w in check["warnings"])
    assert "SIM-occult-5" not in json.dumps(settings.to_json())


def test_another_patients_study_is_refused_without_naming_either(folder: Path) -> None:
    with pytest.raises(GateRefusedError, match="not the study of this case") as refused:
        read_case(case(folder, OTHER))
    assert "SIM-occult" not in str(refused.value)


def test_two_persons_may_take_it_upon_them(folder: Path) -> None:
    words = 'override = { by = ["A. Klein", "B. Ruiz"], reason = "number changed" }\n'
    check = read_case(case(folder, OTHER + words)).study_check
    assert check is not None and check["blocking"] and check["override"]["by"] == ["A. Klein", "B. Ruiz"]
    with pytest.raises(InputError, match="two different persons"):
        read_case(case(folder, OTHER + words.replace("B. Ruiz", "A. Klein")))


@pytest.mark.parametrize(
    ("patient", "words"),
    [
        ("[patient]\nmax_age_days = 0\n", "no number of days"),
        ('[patient]\nlaterality = "up"\n', "laterality"),
        ("[patient]\nshoe = 1\n", "unknown key 'shoe'"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(folder: Path, patient: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_case(case(folder, patient))


def test_a_patient_without_a_study_is_a_mistake(folder: Path) -> None:
    path = case(folder, OURS)
    path.write_text(path.read_text().replace('study = "study"\n', ""), encoding="utf-8")
    with pytest.raises(InputError, match="names none"):
        read_case(path)
