"""A SPECT in another frame of reference: unusable, then registered onto the CT, then used where it belongs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from navigation.cli.main import run
from navigation.io.study import import_study, load_study
from navigation.registration.imagesearch import mapped, rigid
from navigation.registration.series import anchor, binding, registered_grid, registration_file
from navigation.registration.study import load_registration
from tests.navigation.io import dicom_maker as maker
from tests.navigation.registration import imagebench as bench
from tracking.errors import InputError

# What the SPECT's table coordinates are off by: no turn, since the maker's slices are axial.
SHIFT = np.array([14.0, -9.0, 21.0])


def write_dicom(folder: Path, frame: str | None) -> None:
    """The CT, and the activity as a PET whose coordinates are shifted and whose frame of reference is `frame`."""
    ct, pet = bench.ct(), bench.spect()
    stored = np.round(ct.array + 1024.0).astype(np.int16)
    slices = maker.stack(stored, step_mm=4.0, origin=tuple(ct.grid.origin_mm), pixel_mm=(4.0, 4.0))
    maker.save(slices, folder / "ct")
    stored = np.round(pet.array * 50.0).astype(np.int16)
    origin = tuple(pet.grid.origin_mm + SHIFT)
    other = maker.stack(stored, modality="PT", series="b", step_mm=5.0, origin=origin, pixel_mm=(5.0, 5.0))
    for ds in other:
        del ds.FrameOfReferenceUID
        if frame is not None:
            ds.FrameOfReferenceUID = frame
    maker.save(other, folder / "pt")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported study whose PET was registered by the command."""
    folder = tmp_path_factory.mktemp("registered")
    write_dicom(folder / "dicom", generate_uid(entropy_srcs=["another frame"]))
    import_study(folder / "dicom", folder / "study")
    pet = load_study(folder / "study").functional
    assert pet is not None
    assert not pet.usable
    assert pet.defects == ("FRAME_MISMATCH",)
    (folder / "targets.csv").write_text("20,-40,10\n")
    words = [str(folder / "study"), "--pictures", str(folder / "pictures")]
    words += ["--targets", str(folder / "targets.csv"), "--targets-in", "fixed"]
    assert run(["register", "images", *words]) == 0
    return folder / "study"


def test_a_registered_series_is_usable_and_lies_in_the_frame_of_the_ct(study: Path) -> None:
    pet = load_study(study).functional
    assert pet is not None
    assert pet.usable
    # a focus of the patient, by the registered grid: the voxel that holds it is where the bench put it
    index = (bench.NM_GRID.index_of(np.array([[20.0, -40.0, 10.0]])))[0]
    place = pet.grid.matrix[:3, :3] @ index + pet.grid.origin_mm
    assert np.linalg.norm(place - [20.0, -40.0, 10.0]) < 2.5
    assert pet.volume().shape == pet.grid.shape


def test_its_registration_is_named_and_refers_to_the_two_series(study: Path) -> None:
    content = json.loads(registration_file(study, "series-2").read_text())
    pet = load_study(study).functional
    assert pet is not None
    assert pet.registration == content["id"]
    assert content["fixed_series"]["id"] == "series-1"
    assert sorted(p.name for p in (study.parent / "pictures").iterdir()) == [
        "checkerboard.png",
        "overlay.png",
    ]
    np.testing.assert_allclose(np.array(content["T_target_source"])[:3, 3], -SHIFT, atol=5.0)
    assert content["tre_mm"]["targets"] == [[20.0, -40.0, 10.0]]
    assert content["tre_mm"]["frame"] == "fixed"
    assert 0.0 < content["tre_mm"]["predicted"][0] <= 5.0


def test_it_is_no_registration_of_the_patient(study: Path) -> None:
    with pytest.raises(InputError, match="registers images with each other"):
        load_registration(registration_file(study, "series-2"))


def test_nothing_is_left_to_register_and_no_result_is_lost(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["register", "images", str(study)]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["register", "images", f"{study}:series-1"]) == 2
    assert "nothing to register" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("moving_series", {"id": "series-2", "fingerprint": "0" * 16}, "another series"),
        ("fixed_series", {"id": "series-1", "fingerprint": "0" * 16}, "not a usable one"),
        ("fixed_series", None, "does not say"),
        ("T_target_source", np.diag([-1.0, 1.0, 1.0, 1.0]).tolist(), "mirrored"),
        ("T_target_source", [[1.0]], "shape"),
    ],
)
def test_a_file_that_does_not_belong_stops_the_study(study: Path, key: str, value: object, word: str) -> None:
    path = registration_file(study, "series-2")
    whole = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(whole) | {key: value}))
        with pytest.raises(InputError, match=word):
            load_study(study)
    finally:
        path.write_text(whole)


def test_a_refused_one_changes_nothing(study: Path) -> None:
    path = registration_file(study, "series-2")
    whole = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(whole) | {"accepted": False}))
        pet = load_study(study).functional
        assert pet is not None
        assert not pet.usable
    finally:
        path.write_text(whole)


def test_a_registered_grid_maps_each_voxel() -> None:
    T = np.array([[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, 6.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
    grid = registered_grid(bench.NM_GRID, T)
    np.testing.assert_allclose(grid.points(), mapped(T, bench.NM_GRID.points()), atol=1e-9)


def test_without_any_frame_of_reference_the_ct_becomes_the_frame(tmp_path: Path) -> None:
    write_dicom(tmp_path / "dicom", None)
    for path in (tmp_path / "dicom" / "ct").iterdir():
        ds = dcmread(path)
        del ds.FrameOfReferenceUID
        ds.save_as(path)
    import_study(tmp_path / "dicom", tmp_path / "study")
    ct, pet = load_study(tmp_path / "study").series
    assert not ct.usable
    assert not pet.usable
    T = rigid(np.eye(3), -SHIFT)
    folder = tmp_path / "study" / "registrations"
    folder.mkdir()
    moved = {"accepted": True, "T_target_source": T.tolist(), **binding(ct, pet)}
    (folder / "series-2.json").write_text(json.dumps(moved))
    with pytest.raises(InputError, match="not a usable one"):
        load_study(tmp_path / "study")
    (folder / "series-1.json").write_text(json.dumps(anchor(ct)))
    ct, pet = load_study(tmp_path / "study").series
    assert ct.usable
    assert pet.usable
    np.testing.assert_allclose(ct.grid.origin_mm, bench.CT_GRID.origin_mm)
    np.testing.assert_allclose(pet.grid.origin_mm, bench.NM_GRID.origin_mm, atol=1e-6)
