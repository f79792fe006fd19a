"""The study beside the case: every mismatch blocks, two persons may override, age and silence are told (T17)."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from navigation.io import dicom_identity
from navigation.io.dicom_import import Options, import_folder
from navigation.io.study import Study, load_study
from navigation.studycheck import (
    Expected,
    check_study,
    expected_from,
    midline_mm,
    override_from,
)
from tests.navigation.io import dicom_maker as maker
from tests.navigation.test_studyactivity import tracer
from tracking.errors import InputError

SCAN_S, DAY_S = 1767261600.0, 86400.0  # 2026-01-01 10:00 UTC
GOOD = Expected("P-1", "Doe^Jane", "1970-01-02", "L", maker.FRAME_UID, "F-18")
WRONG = {
    "id": ("P-2", "PATIENT_NUMBER"),
    "name": ("Doe^John", "PATIENT_NAME"),
    "birth_date": ("1970-02-01", "PATIENT_BIRTH_DATE"),
    "laterality": ("R", "LATERALITY"),
    "frame_of_reference": ("1.2.3", "FRAME_OF_REFERENCE"),
}


@pytest.fixture(scope="module", params=[False, True], ids=["hashed", "identified"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A CT and a PET of the left side."""
    folder = tmp_path_factory.mktemp("study")
    ct = maker.stack(maker.ramp())
    pet = maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b")
    for ds in (*ct, *pet):
        ds.AcquisitionDate, ds.AcquisitionTime, ds.TimezoneOffsetFromUTC = "20260101", "100000", "+0000"
        ds.Laterality = "L"
    for ds in pet:
        ds.RadiopharmaceuticalInformationSequence = tracer()
    maker.save(ct, folder / "d" / "ct")
    maker.save(pet, folder / "d" / "pt")
    (folder / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dicom_identity, "HASH_ROUNDS", 10)
        import_folder(Options(str(folder / "d"), str(folder / "out"), identified=request.param))
    return load_study(folder / "out")


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def test_what_agrees_is_let_through(study: Study) -> None:
    check = check_study(study, GOOD, SCAN_S + 3.0 * DAY_S)
    assert check.blocking == ()
    assert check.warnings == ()
    assert check.agreed == ("number", "name", "birth date", "side", "frame of reference", "nuclide")
    assert check.age_days == pytest.approx(3.0)
    assert check.allows()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_mismatch_and_every_combination_blocks(study: Study, count: int) -> None:
    for names in combinations(WRONG, count):
        case = replace(GOOD, **{name: WRONG[name][0] for name in names})
        check = check_study(study, case, SCAN_S + DAY_S)
        codes = [f.code for f in check.blocking]
        for name in names:
            assert WRONG[name][1] in codes, names
        assert not check.allows()
        text = json.dumps(check.to_json())
        for secret in ("P-1", "P-2", "Doe", "Jane", "John", "1970"):
            assert secret not in text


@pytest.mark.parametrize(
    "spelled", ["doe^jane", "DOE, Jane", "Jane Doe", "Doe^Jane^^Dr", "Do\u00e9^Jane", " Doe  Jane "]
)
def test_one_name_in_many_spellings(study: Study, spelled: str) -> None:
    for case in (replace(GOOD, name=spelled), Expected(name=spelled)):
        assert check_study(study, case, SCAN_S).blocking == ()


@pytest.mark.parametrize("other", ["Doe^Janet", "Doe", "Do^Ejane", "Roe^Jane"])
def test_names_that_are_not_hers(study: Study, other: str) -> None:
    assert [f.code for f in check_study(study, Expected(name=other), SCAN_S).blocking] == ["PATIENT_NAME"]


def test_what_cannot_be_confirmed_blocks_too(study: Study) -> None:
    silent = replace(study, patient={k: v for k, v in study.patient.items() if k == "identified"})
    check = check_study(silent, GOOD, SCAN_S)
    assert [f.code for f in check.blocking] == ["PATIENT_NUMBER", "PATIENT_NAME", "PATIENT_BIRTH_DATE"]
    assert all("cannot be confirmed" in f.text for f in check.blocking)


def test_a_case_without_a_patient_is_told(study: Study) -> None:
    check = check_study(study, Expected(), SCAN_S)
    assert check.blocking == ()
    assert [f.code for f in check.warnings] == ["IDENTITY_NOT_COMPARED"]


def test_age_of_the_study(study: Study) -> None:
    old = check_study(study, GOOD, SCAN_S + 31.0 * DAY_S)
    assert [f.code for f in old.warnings] == ["STUDY_OLD"]
    assert "31 days old, more than 30 days" in old.warnings[0].text
    strict = check_study(study, replace(GOOD, max_age_days=7.0), SCAN_S + 8.0 * DAY_S)
    assert [f.code for f in strict.warnings] == ["STUDY_OLD"]
    future = check_study(study, GOOD, SCAN_S - 2.0 * DAY_S)
    assert [f.code for f in future.blocking] == ["STUDY_IN_FUTURE"]


def test_another_nuclide(study: Study) -> None:
    assert [f.code for f in check_study(study, replace(GOOD, nuclide="Tc-99m"), SCAN_S).warnings] == [
        "NUCLIDE"
    ]
    pet = study.functional
    assert pet is not None
    spect = replace(study, series=(replace(pet, modality="NM"),))
    assert [f.code for f in check_study(spect, replace(GOOD, nuclide="Tc-99m"), SCAN_S).blocking] == [
        "NUCLIDE"
    ]


def test_a_series_that_is_not_registered_is_told(study: Study) -> None:
    first, second = study.series
    check = check_study(replace(study, series=(first, replace(second, usable=False))), GOOD, SCAN_S)
    assert [f.code for f in check.warnings] == ["SERIES_NOT_USABLE"]
    none = replace(study, series=tuple(replace(s, usable=False) for s in study.series))
    assert "FRAME_OF_REFERENCE" in [f.code for f in check_study(none, GOOD, SCAN_S).blocking]


def body(tmp_path: Path, width: int = 140, axes: np.ndarray | None = None) -> Study:
    """A CT of a body whose middle lies at L = 33 mm: its columns 2 mm apart, from -57 to 123 mm."""
    volume = np.zeros((4, 50, 100), dtype=np.int16)
    middle = 45
    volume[:, 10:40, middle - width // 4 : middle + width // 4 + 1] = 1024
    slices = maker.stack(volume, axes, origin=(-57.0, 0.0, 0.0), pixel_mm=(2.0, 2.0))
    for ds in slices:
        del ds.PatientPosition
        ds.PatientPosition = "HFS"
    maker.save(slices, tmp_path / "d")
    (tmp_path / "out").mkdir()
    import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out")))
    return load_study(tmp_path / "out")


def test_targets_on_the_other_side_block(tmp_path: Path) -> None:
    found = body(tmp_path)
    assert found.ct is not None
    assert midline_mm(found.ct) == pytest.approx(33.0)

    def codes(side: str, *l_mm: float) -> tuple[list[str], list[str]]:
        check = check_study(
            found, Expected(laterality=side, targets_mm=tuple((x, 0.0, 0.0) for x in l_mm)), SCAN_S
        )
        warnings = [f.code for f in check.warnings if f.code.startswith(("TARGET", "MIDLINE"))]
        return [f.code for f in check.blocking], warnings

    # left is +L: 70 lies 37 mm to the left of the midline, 0 lies 33 mm to the right, 40 hardly off it
    assert codes("L", 70.0) == ([], [])
    assert codes("R", 70.0) == (["TARGET_SIDE"], [])
    assert codes("L", 0.0) == (["TARGET_SIDE"], [])
    assert codes("R", 0.0) == ([], [])
    assert codes("L", 70.0, 40.0) == ([], ["TARGET_MIDLINE"])


def test_a_body_cut_by_the_field_has_no_midline(tmp_path: Path) -> None:
    found = body(tmp_path, 220)
    check = check_study(found, Expected(laterality="L", targets_mm=((70.0, 0.0, 0.0),)), SCAN_S)
    assert "MIDLINE_UNKNOWN" in [f.code for f in check.warnings]


def test_the_midline_of_a_sagittal_stack(tmp_path: Path) -> None:
    # slices run from right to left, rows from front to back
    axes = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    volume = np.zeros((80, 20, 30), dtype=np.int16)
    volume[5:66, 5:15, 5:25] = 1024
    maker.save(maker.stack(volume, axes, origin=(-50.0, 0.0, 0.0)), tmp_path / "d")
    (tmp_path / "out").mkdir()
    import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out")))
    ct = load_study(tmp_path / "out").ct
    assert ct is not None
    # slices 5 to 65 of 2 mm from -50: -40 to 80
    assert midline_mm(ct) == pytest.approx(20.0)


def test_two_persons_override(study: Study) -> None:
    check = check_study(study, replace(GOOD, id="P-2"), SCAN_S)
    given = override_from(
        {"by": ["A. Surgeon", "B. Physicist"], "reason": "renumbered after a merge"}, "case.toml"
    )
    assert check.allows(given)
    assert check.to_json(given)["override"] == {
        "by": ["A. Surgeon", "B. Physicist"],
        "reason": "renumbered after a merge",
    }


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"by": ["A"], "reason": "x"},
        {"by": ["A", "a "], "reason": "x"},
        {"by": ["A", ""], "reason": "x"},
        {"by": "AB", "reason": "x"},
        {"by": ["A", "B"]},
        {"by": ["A", "B"], "reason": "  "},
    ],
)
def test_one_person_is_not_two(record: object) -> None:
    with pytest.raises(InputError):
        override_from(record, "case.toml")


def test_the_table_of_a_case() -> None:
    import tomllib

    table = tomllib.loads('id = 17\nname = "Doe^Jane"\nbirth_date = 1970-01-02\nlaterality = "Left"')
    assert expected_from(table, "case.toml, patient") == Expected("17", "Doe^Jane", "19700102", "L")
    assert expected_from({}, "x") == Expected()
    wrong = [{"ids": 1}, {"id": ""}, {"id": True}, {"birth_date": "soon"}, {"laterality": "up"}, "text"]
    for table_ in wrong:
        with pytest.raises(InputError, match=r"case\.toml, patient"):
            expected_from(table_, "case.toml, patient")
