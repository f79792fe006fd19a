"""A study from a DICOM folder to volumes: refused whole or imported whole, and nobody's name in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from navigation.cli.main import run
from navigation.io import study as study_module
from navigation.io.dicom_identity import identity_hash
from navigation.io.study import import_study, load_study
from tests.navigation.io import dicom_maker as maker
from tracking.errors import InputError


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A CT and a PET of one patient in one frame of reference."""
    folder = tmp_path / "dicom"
    maker.save(maker.stack(maker.ramp()), folder / "ct")
    maker.save(maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b", step_mm=3.0), folder / "pt")
    return folder


def test_a_pair_is_imported_and_loaded(pair: Path, tmp_path: Path) -> None:
    content = import_study(pair, tmp_path / "study")
    assert content == json.loads((tmp_path / "study" / "study.json").read_text())
    study = load_study(tmp_path / "study")
    assert [s.modality for s in study.series] == ["CT", "PT"]
    ct, pet = study.ct, study.functional
    assert ct is not None
    assert pet is not None
    assert (ct.units, pet.units) == ("HU", "BQML")
    assert pet.facts["decay_correction"] == "START"
    assert ct.frame_of_reference == pet.frame_of_reference == maker.FRAME_UID
    assert ct.usable
    assert pet.usable
    assert not study.simulated
    np.testing.assert_array_equal(ct.volume(), maker.ramp() - 1024.0)
    np.testing.assert_allclose(pet.grid.spacing_mm, [1.0, 1.0, 3.0])
    image = SimpleITK.ReadImage(str(ct.file))
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((6, 5, 4)), [16.0, -15.0, 38.0])


def test_the_same_folder_gives_the_same_bytes(pair: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        import_study(pair, tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == ["ct-1.nrrd", "pt-2.nrrd", "study.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def plant_identity(folder: Path) -> list[str]:
    """A series that names its patient wherever names are put; returns the planted words."""
    slices = maker.stack(maker.ramp())
    for ds in slices:
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Zwierzyna^Quirin", "ID-77341", "19231104"
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20311217"
        ds.AccessionNumber, ds.SeriesDescription = "ACC5521", "Zwierzyna abdomen"
        ds.ReferringPhysicianName, ds.InstitutionName = "Holtzapfel", "Kreiskrankenhaus Zwiesel"
        ds.ProtocolName = "for Quirin"
    maker.save(slices, folder, prefix="Zwierzyna")
    return [
        "zwierzyna", "quirin", "77341", "19231104", "20311217", "acc5521", "holtzapfel", "zwiesel"
    ]  # fmt: skip


def test_no_name_leaves_the_import(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    planted = plant_identity(tmp_path / "dicom")
    assert run(["study", str(tmp_path / "dicom"), "--out", str(tmp_path / "study")]) == 0
    shown = capfd.readouterr()
    texts = [shown.out + shown.err]
    texts += [p.read_bytes().decode("latin-1") for p in (tmp_path / "study").iterdir()]
    for word in planted:
        assert all(word not in text.lower() for text in texts), word
    patient = load_study(tmp_path / "study").patient
    assert patient["identified"] is False
    # a case that holds the identity can still tell whether it is this study's patient
    assert patient["name"] == identity_hash("ZWIERZYNA  Quirin", "ID-77341")
    assert patient["name"] != identity_hash("Other^Quirin", "ID-77341")


def test_identity_is_kept_in_one_place_when_asked_for(tmp_path: Path) -> None:
    planted = plant_identity(tmp_path / "dicom")
    import_study(tmp_path / "dicom", tmp_path / "study", identified=True)
    content = json.loads((tmp_path / "study" / "study.json").read_text())
    patient = content.pop("patient")
    assert set(patient.pop("uids").values()) == {maker.STUDY_UID, maker.series_uid("a")}
    assert list(patient.pop("clocks")) == ["series-1"]
    assert patient == {
        "identified": True,
        "id": "ID-77341",
        "name": "Zwierzyna^Quirin",
        "birth_date": "19231104",
        "study_date": "20311217",
        "study": {
            "AccessionNumber": "ACC5521",
            "PatientSex": "",
            "ReferringPhysicianName": "Holtzapfel",
            "StudyID": "",
            "StudyTime": "",
            "TimezoneOffsetFromUTC": "",
        },
    }
    rest = json.dumps(content).lower()
    assert not [word for word in planted if word in rest]


def test_a_refused_folder_names_every_defect_and_writes_nothing(
    pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tilted = maker.stack(maker.ramp((8, 4, 4)), series="c")
    for k, ds in enumerate(tilted):
        ds.ImagePositionPatient = [0.0, 0.7 * k, 2.0 * k]
        ds.RescaleType = "US"
    del tilted[4]
    maker.save(tilted, pair / "c")
    (pair / "broken.dcm").write_bytes(b"nothing")
    before = sorted(tmp_path.iterdir())
    assert run(["study", str(pair), "--out", str(tmp_path / "study")]) == 2
    error = capsys.readouterr().err
    for code in ("GANTRY_TILT", "MISSING_SLICE", "UNSUPPORTED_UNITS", "UNREADABLE", "broken.dcm"):
        assert code in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_tilt_needs_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices = maker.stack(maker.ramp((6, 4, 4)))
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [0.0, 0.7 * k, 2.0 * k]
    maker.save(slices, tmp_path / "dicom")
    arguments = ["study", str(tmp_path / "dicom"), "--out", str(tmp_path / "study")]
    assert run(arguments) == 2
    assert "--resample-tilt" in capsys.readouterr().err
    assert run([*arguments, "--resample-tilt"]) == 0
    ct = load_study(tmp_path / "study").ct
    assert ct is not None
    assert ct.defects == ("GANTRY_TILT",)
    assert ct.facts["remedies"] == ["resample-tilt"]
    assert ct.volume().shape == ct.grid.shape
    # the remedy for a tilt is none for a missing slice
    (tmp_path / "dicom" / "s002.dcm").unlink()
    assert run([*arguments, "--resample-tilt", "--force"]) == 2
    assert "MISSING_SLICE" in capsys.readouterr().err


def test_defective_series_are_left_out_when_asked_for(pair: Path, tmp_path: Path) -> None:
    maker.save([maker.slice_of(np.zeros((4, 4)), np.zeros(3), series="d")], pair / "d")
    with pytest.raises(InputError, match="TOO_FEW_SLICES"):
        import_study(pair, tmp_path / "study")
    content = import_study(pair, tmp_path / "study", leave_out_defective=True)
    assert [s["modality"] for s in content["series"]] == ["CT", "PT"]
    assert content["left_out"][0]["defects"] == ["TOO_FEW_SLICES"]


def test_two_patients_are_no_study(pair: Path, tmp_path: Path) -> None:
    others = maker.stack(maker.ramp(), series="e")
    for ds in others:
        ds.PatientID = "P-2"
    maker.save(others, pair / "e")
    with pytest.raises(InputError, match="MIXED_PATIENTS"):
        import_study(pair, tmp_path / "study")


def test_another_frame_needs_a_registration(pair: Path, tmp_path: Path) -> None:
    spect = maker.spect(maker.ramp((4, 3, 3)), -2.0)
    spect.FrameOfReferenceUID = "1.2.3.4"
    maker.save([spect], pair / "nm")
    import_study(pair, tmp_path / "study")
    study = load_study(tmp_path / "study")
    assert study.functional is not None
    assert study.functional.modality == "NM"
    assert study.functional.defects == ("NEGATIVE_SPACING", "FRAME_MISMATCH")
    assert not study.functional.usable


@pytest.mark.parametrize("content", ["", "text"])
def test_a_folder_without_images(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    if content:
        (folder / "a.txt").write_text(content)
    with pytest.raises(InputError, match="NOT_A_VOLUME"):
        import_study(folder, tmp_path / "study")
    with pytest.raises(InputError, match="no such file or folder"):
        import_study(tmp_path / "none", tmp_path / "study")


def test_an_existing_study_stays(pair: Path, tmp_path: Path) -> None:
    import_study(pair, tmp_path / "study")
    with pytest.raises(InputError, match="--force"):
        import_study(pair, tmp_path / "study")
    import_study(pair, tmp_path / "study", force=True)


def test_a_reader_that_hangs_is_stopped(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(study_module, "_CHILD", "import threading; threading.Event().wait()")
    with pytest.raises(InputError, match="not read within"):
        import_study(pair, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_reader_that_dies_is_no_crash_of_ours(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(InputError, match=r"UNREADABLE: the reader failed \(ended with -9\)"):
        import_study(pair, tmp_path / "study")


def test_python_files_beside_the_study_are_not_run(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(pair)
    assert [s["modality"] for s in import_study(Path(), tmp_path / "study")["series"]] == ["CT", "PT"]


def test_memory_of_the_reader_is_bounded(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = (
        "from navigation.io import dicom_import as d; d.read_folder = lambda f: bytearray(8 << 30); d.main()"
    )
    monkeypatch.setattr(study_module, "_CHILD", limited)
    with pytest.raises(InputError, match="more than 4 GiB"):
        import_study(pair, tmp_path / "study")


@pytest.mark.parametrize(
    ("key", "value"),
    [("series", []), ("series", [{}]), ("series", [{"geometry": {"size": [1, 2]}}]), ("series", "x")],
)
def test_a_damaged_study_is_named(pair: Path, tmp_path: Path, key: str, value: object) -> None:
    import_study(pair, tmp_path / "study")
    file = tmp_path / "study" / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(InputError, match=r"study\.json, series"):
        load_study(tmp_path / "study")


def test_a_volume_must_fit_its_study(pair: Path, tmp_path: Path) -> None:
    import_study(pair, tmp_path / "study")
    folder = tmp_path / "study"
    (folder / "ct-1.nrrd").write_bytes((folder / "pt-2.nrrd").read_bytes())
    ct = load_study(folder).ct
    assert ct is not None
    with pytest.raises(InputError, match=r"ct-1\.nrrd: its geometry"):
        ct.volume()


def test_the_real_pair_shares_its_frame(test_data: Path, tmp_path: Path) -> None:
    content = import_study(test_data / "petct_sts001", tmp_path / "study")
    assert content["defects"] == []
    assert content["skipped"]["kinds"] == {"RTSTRUCT": 2, "not DICOM": 3}
    study = load_study(tmp_path / "study")
    assert study.ct is not None
    assert study.functional is not None
    assert study.functional.units == "GML"
    assert study.functional.facts["decay_correction"] == "ADMIN"
    assert study.ct.frame_of_reference == study.functional.frame_of_reference


def test_the_real_spect_is_recorded_with_its_defects(test_data: Path, tmp_path: Path) -> None:
    assert run(["study", str(test_data / "nm_jaszczak"), "--out", str(tmp_path / "study")]) == 0
    series = load_study(tmp_path / "study").series[0]
    assert series.defects == ("NEGATIVE_SPACING", "NO_PATIENT_POSITION", "NO_FRAME_OF_REFERENCE")
    assert not series.usable


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("dcm_corner_ct/gantrytilting", "GANTRY_TILT"),
        ("dcm_corner_ct/sliceincrement", "MISSING_SLICE"),
        ("dcm_enhanced", "UNSUPPORTED_UNITS"),
        ("dcm_compressed", "DUPLICATE_POSITION"),
        ("dcm_compressed/NM1_wholebody_J2K_lossy_SC.dcm", "NOT_A_VOLUME"),
    ],
)
def test_real_defective_studies_are_refused(
    test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, code: str
) -> None:
    assert run(["study", str(test_data / where), "--out", str(tmp_path / "study")]) == 2
    assert code in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
