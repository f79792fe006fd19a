"""Series that look like volumes and are none, and others that look odd and are sound: through the whole import."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGBaseline8Bit

from navigation.io import dicom_identity
from navigation.io.defects import Code
from navigation.io.dicom_import import Options, import_folder
from navigation.io.study import Study, load_study
from tests.navigation.io import dicom_maker as maker
from tracking.errors import InputError

Change = Callable[[list[Dataset]], None]


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def imported(slices: list[Dataset], tmp_path: Path, **options: Any) -> Study:
    """The study of some files, read in this process."""
    maker.save(slices, tmp_path / "d")
    (tmp_path / "out").mkdir(exist_ok=True)
    import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out"), **options))
    return load_study(tmp_path / "out")


def refusal(slices: list[Dataset], tmp_path: Path, **options: Any) -> str:
    """What the import says against some files; nothing may have been written."""
    with pytest.raises(InputError) as caught:
        imported(slices, tmp_path, **options)
    assert list((tmp_path / "out").iterdir()) == []
    return str(caught.value)


def setting(only: int | None = None, **values: object) -> Change:
    def change(slices: list[Dataset]) -> None:
        for number, ds in enumerate(slices):
            if only is None or number == only:
                for name, value in values.items():
                    setattr(ds, name, value)

    return change


def each(name: str, value: Callable[[int], object]) -> Change:
    def change(slices: list[Dataset]) -> None:
        for number, ds in enumerate(slices):
            setattr(ds, name, value(number))

    return change


def lose(slices: list[Dataset]) -> None:
    del slices[2]


def keep_one(slices: list[Dataset]) -> None:
    del slices[1:]


def double(slices: list[Dataset]) -> None:
    slices[2].ImagePositionPatient = slices[3].ImagePositionPatient


def tilt(slices: list[Dataset]) -> None:
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [10.0, -20.0 + 0.5 * k, 30.0 + 2.0 * k]


FATAL: dict[str, Change] = {
    "GANTRY_TILT": tilt,
    "MISSING_SLICE": lose,
    "DUPLICATE_POSITION": double,
    "UNEQUAL_SPACING": setting(3, ImagePositionPatient=[10, -20, 36.7]),
    "MIXED_ORIENTATION": setting(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
    "MIXED_SERIES": setting(3, ImagePositionPatient=[13, -20, 36]),
    "TOO_FEW_SLICES": keep_one,
    "NOT_A_VOLUME": setting(SamplesPerPixel=3),
    "UNSUPPORTED_UNITS": setting(RescaleType="Z_EFF"),
    "UNREADABLE": setting(3, Rows=60000, Columns=60000),
}


@pytest.mark.parametrize("code", FATAL)
def test_every_fatal_code_is_named_and_nothing_is_written(tmp_path: Path, code: str) -> None:
    assert Code(code).fatal
    slices = maker.stack(maker.ramp((8, 4, 4)))
    FATAL[code](slices)
    text = refusal(slices, tmp_path)
    assert code in text
    assert text.count("\n") == 0


SOUND_TOGETHER = [
    c for c in FATAL if c not in ("TOO_FEW_SLICES", "UNREADABLE", "UNEQUAL_SPACING", "MIXED_SERIES")
]


@pytest.mark.parametrize(
    ("first", "second"), [(a, b) for a in SOUND_TOGETHER for b in SOUND_TOGETHER if a < b]
)
def test_two_defects_are_both_named(tmp_path: Path, first: str, second: str) -> None:
    slices = maker.stack(maker.ramp((12, 4, 4)))
    for code in sorted(
        (first, second), key=["GANTRY_TILT", "DUPLICATE_POSITION", "MISSING_SLICE"].__contains__
    ):
        if code == "DUPLICATE_POSITION":
            slices[9].ImagePositionPatient = slices[8].ImagePositionPatient
        elif code == "MIXED_ORIENTATION":
            slices[5].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        elif code == "MISSING_SLICE":
            del slices[2]
        else:
            FATAL[code](slices)
    if "GANTRY_TILT" in (first, second) and "DUPLICATE_POSITION" in (first, second):
        slices[9].ImagePositionPatient = slices[8].ImagePositionPatient
    text = refusal(slices, tmp_path)
    assert first in text
    assert second in text


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (each("ConvolutionKernel", lambda k: "B30" if k % 2 else "B70"), "kind of image"),
        (each("AcquisitionNumber", lambda k: k % 2), "2 acquisitions alternate"),
        (each("TemporalPositionIdentifier", lambda k: 1 + k % 3), "3 times alternate"),
        (each("SliceThickness", lambda k: 2.0 if k < 4 else 5.0), "slice thickness"),
        (each("KVP", lambda k: 80 if k % 2 else 140), "kind of image"),
    ],
)
def test_two_series_dovetailed_under_one_uid(tmp_path: Path, change: Change, detail: str) -> None:
    slices = maker.stack(maker.ramp((8, 4, 4)))
    change(slices)
    text = refusal(slices, tmp_path)
    assert "MIXED_SERIES" in text
    assert detail in text


def test_acquisitions_one_after_the_other_are_one_series(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp((8, 4, 4)))
    each("AcquisitionNumber", lambda k: k // 4)(slices)
    assert imported(slices, tmp_path).ct is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (setting(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "NOT_A_VOLUME"),
        (setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "NOT_A_VOLUME"),
        (setting(PhotometricInterpretation="PALETTE COLOR"), "NOT_A_VOLUME"),
        (each("ImagePositionPatient", lambda k: [1e9, 0.0, 2.0 * k]), "NOT_A_VOLUME"),
        (each("ImagePositionPatient", lambda k: [0.0, 0.0, 0.2 * k]), "2 mm thick advance by 0.2 mm"),
        (setting(RescaleSlope=0), "UNSUPPORTED_UNITS"),
        (setting(HighBit=15, BitsStored=12), "UNREADABLE"),
    ],
)
def test_headers_that_cannot_be_true(tmp_path: Path, change: Change, code: str) -> None:
    slices = maker.stack(maker.ramp((8, 4, 4)))
    setting(SliceThickness=2.0)(slices)
    change(slices)
    assert code in refusal(slices, tmp_path)


def gated(**values: object) -> Dataset:
    ds = maker.spect(maker.ramp((6, 4, 4)), 2.0)
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


@pytest.mark.parametrize(
    "values",
    [
        {"SliceVector": [1, 2, 3] * 2, "TimeSlotVector": [1, 1, 1, 2, 2, 2]},
        {"NumberOfSlices": 3},
        {"NumberOfEnergyWindows": 2},
        {"NumberOfTimeSlots": 2},
        {"EnergyWindowVector": [1, 1, 1, 2, 2, 2]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"]},
    ],
)
def test_phases_and_windows_are_not_stacked(tmp_path: Path, values: dict[str, object]) -> None:
    assert "MIXED_SERIES" in refusal([gated(**values)], tmp_path)


def test_two_detectors_that_contradict_each_other(tmp_path: Path) -> None:
    ds = maker.spect(maker.ramp((3, 2, 2)), 2.0)
    other = Dataset()
    ds.DetectorInformationSequence.append(other)
    assert imported([ds], tmp_path / "one").series[0].grid.origin_mm.tolist() == [1.0, 2.0, 3.0]
    other.ImagePositionPatient, other.ImageOrientationPatient = [1.0, 2.0, 3.01], [1, 0, 0, 0, 1, 0]
    assert imported([ds], tmp_path / "same").series[0].grid.origin_mm.tolist() == [1.0, 2.0, 3.0]
    other.ImagePositionPatient = [1.0, 2.0, 5.0]
    assert "NOT_A_VOLUME" in refusal([ds], tmp_path / "other")


def test_frames_of_a_multi_frame_image(tmp_path: Path) -> None:
    stored = maker.ramp((4, 5, 6))
    ds = maker.enhanced_ct(stored, 3.0)
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    ds.PerFrameFunctionalGroupsSequence = Sequence([frames[2], frames[0], frames[3], frames[1]])
    ds.PixelData = stored[[2, 0, 3, 1]].tobytes()
    np.testing.assert_array_equal(imported([ds], tmp_path / "a").series[0].volume(), stored * 2.0 - 1024.0)
    ds = maker.enhanced_ct(stored, 3.0)
    wider = Dataset()
    wider.PixelSpacing = [3.0, 3.0]
    ds.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = Sequence([wider])
    assert "NOT_A_VOLUME" in refusal([ds], tmp_path / "b")
    ds = maker.enhanced_ct(stored, 3.0)
    ds.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = [5.0, 6.0, 20.0]
    assert "UNEQUAL_SPACING" in refusal([ds], tmp_path / "c")


def test_a_dynamic_pet_lies_several_times_in_one_place(tmp_path: Path) -> None:
    frames = [maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b") for _ in range(2)]
    for number, ds in enumerate(frames[1]):
        ds.SOPInstanceUID, ds.FrameReferenceTime = f"1.2.9.{number}", 60_000
        ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    text = refusal([*frames[0], *frames[1]], tmp_path)
    assert "DUPLICATE_POSITION: 4 slices share the place" in text
    assert "--drop-copies" not in text


def test_a_file_that_is_there_twice_needs_a_confirmation(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    maker.save([slices[2]], tmp_path / "d" / "again")
    text = refusal(slices, tmp_path)
    assert "DUPLICATE_POSITION" in text
    assert "--drop-copies confirms leaving out 1 files" in text
    study = imported(slices, tmp_path, drop_copies=True)
    np.testing.assert_array_equal(study.series[0].volume(), maker.ramp() - 1024.0)
    # another slice at the same place is no copy, whatever was confirmed
    slices[1].ImagePositionPatient = slices[2].ImagePositionPatient
    (tmp_path / "other").mkdir()
    assert "DUPLICATE_POSITION" in refusal(slices, tmp_path / "other", drop_copies=True)


@pytest.mark.parametrize(
    "change",
    [
        each("InstanceNumber", lambda k: 9 - k),
        each("SliceLocation", lambda k: -k),
        setting(PixelPaddingValue=-2000),
        setting(2, RescaleSlope="1.0000000"),
        each("PatientPosition", lambda k: "HFS " if k % 2 else "HFS"),
    ],
)
def test_what_does_not_matter(tmp_path: Path, change: Change) -> None:
    slices = maker.stack(maker.ramp())
    change(slices)
    series = imported(slices, tmp_path).series[0]
    assert series.defects == ()
    np.testing.assert_array_equal(series.volume(), maker.ramp() - 1024.0)


def test_uids_padded_with_spaces(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    setting(SeriesInstanceUID="1.2.3.4", FrameOfReferenceUID="1.2.5.6.7.8.9")(slices)
    for path in sorted(maker.save(slices[1:], tmp_path / "d" / "b").iterdir())[::2]:
        raw = path.read_bytes()
        assert b"1.2.3.4\0" in raw
        path.write_bytes(
            raw.replace(b"1.2.3.4\0", b"1.2.3.4 ").replace(b"1.2.5.6.7.8.9\0", b"1.2.5.6.7.8.9 ")
        )
    study = imported(slices[:1], tmp_path)
    assert len(study.series) == 1
    assert study.series[0].defects == ()


def test_noise_of_rounding_is_no_defect(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    slices = maker.stack(maker.ramp((20, 4, 4)))
    for ds in slices:
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            setattr(ds, name, [f"{float(v) + rng.normal(0.0, 1e-4):.7g}" for v in ds[name].value])
    assert imported(slices, tmp_path).series[0].defects == ()


def test_a_series_in_many_folders_with_a_slope_of_its_own_per_slice(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    each("RescaleSlope", lambda k: 1.0 + 0.5 * k)(slices)
    for number, ds in enumerate(slices[1:]):
        maker.save([ds], tmp_path / "d" / f"{number}" / "deep")
    series = imported(slices[:1], tmp_path).series[0]
    expected = maker.ramp() * (1.0 + 0.5 * np.arange(5))[:, None, None] - 1024.0
    np.testing.assert_allclose(series.volume(), expected, rtol=1e-6)


def packed(values: np.ndarray, signed: int) -> Callable[[list[Dataset]], None]:
    """12-bit values with foreign bits above them."""

    def change(slices: list[Dataset]) -> None:
        for ds, plane in zip(slices, values, strict=True):
            ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, signed
            ds.PixelData = (plane.astype(np.int64) & 0x0FFF | 0x5000).astype("<u2").tobytes()

    return change


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_above_the_stored_ones_are_no_values(tmp_path: Path, signed: int) -> None:
    values = maker.ramp().astype(np.int64) - 1100 * signed
    slices = maker.stack(maker.ramp())
    packed(values, signed)(slices)
    np.testing.assert_array_equal(imported(slices, tmp_path).series[0].volume(), values - 1024.0)


def test_the_wrong_representation_of_a_padding_value(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    setting(PixelPaddingValue=-2000)(slices)
    maker.save(slices, tmp_path / "d")
    for path in (tmp_path / "d").iterdir():
        raw = path.read_bytes()
        assert b"\x28\x00\x20\x01SS" in raw
        path.write_bytes(raw.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    (tmp_path / "out").mkdir()
    import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out")))
    np.testing.assert_array_equal(load_study(tmp_path / "out").series[0].volume(), maker.ramp() - 1024.0)


def test_a_private_way_of_writing_is_unreadable(tmp_path: Path) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    for path in (tmp_path / "d").iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.276.99.1.2.3.4\0\0"))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="UNREADABLE"):
        import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out")))


def test_jpeg_that_lost_something_is_marked(tmp_path: Path) -> None:
    import SimpleITK

    slices = maker.stack(maker.ramp((3, 16, 16)))
    for ds in slices:
        plane = (np.frombuffer(ds.PixelData, "<i2").reshape(16, 16) - 1000) // 4
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(plane.astype(np.uint8)), str(tmp_path / "x.jpg"))
        data = (tmp_path / "x.jpg").read_bytes()
        data += b"\0" * (len(data) % 2)
        item = b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data
        ds.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + item
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    series = imported(slices, tmp_path).series[0]
    assert series.facts["lossy_compression"] is True
    expected = (maker.ramp((3, 16, 16)) - 1000) // 4 - 1024.0
    assert np.abs(series.volume() - expected).max() < 12.0


# An asymmetric phantom: one hot voxel towards each side of the patient, each with its own value (T16).
SIDES_LPS = {
    "L": (3, 0, 0),
    "R": (-2, 0, 0),
    "P": (0, 3, 0),
    "A": (0, -1, 0),
    "S": (0, 0, 2),
    "I": (0, 0, -3),
}
MIDDLE = np.array([12.0, -34.0, 56.0])


def phantom(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The phantom as stored in voxels of 1 mm along `axes`, and the place of the first voxel."""
    values = np.full((7, 7, 7), 100, dtype=np.int16)
    for number, offset in enumerate(SIDES_LPS.values()):
        i, j, k = np.rint(axes.T @ offset).astype(int) + 3
        values[k, j, i] = 1000 + number
    return values, MIDDLE - axes @ np.array([3.0, 3.0, 3.0])


def assert_sides(study: Study, zero: float) -> None:
    series = study.series[0]
    volume = series.volume()
    for number, offset in enumerate(SIDES_LPS.values()):
        i, j, k = np.rint(series.grid.index_of((MIDDLE + offset)[None])[0]).astype(int)
        assert volume[k, j, i] == 1000 + number + zero


def all_axes() -> list[np.ndarray]:
    return [np.eye(3)[:, o] * s for o, s in product(permutations(range(3)), product((1, -1), repeat=3))]


def test_left_is_left_in_all_48_orientations_of_a_stack_of_frames(tmp_path: Path) -> None:
    seen = set()
    for number, axes in enumerate(all_axes()):
        values, first = phantom(axes)
        ds = maker.spect(values, float(np.linalg.det(axes)))
        ds.PixelSpacing = [1.0, 1.0]
        detector = ds.DetectorInformationSequence[0]
        detector.ImagePositionPatient = [float(v) for v in first]
        detector.ImageOrientationPatient = [float(v) for v in (*axes[:, 0], *axes[:, 1])]
        study = imported([ds], tmp_path / str(number))
        assert_sides(study, 0.0)
        np.testing.assert_allclose(study.series[0].grid.direction, axes, atol=1e-12)
        seen.add(study.series[0].volume().tobytes())
    assert len(seen) == 48


def test_left_is_left_in_every_orientation_of_single_slices(tmp_path: Path) -> None:
    # a stack that steps against its normal is the same stack counted from the other end: 24 proper ones
    proper = [axes for axes in all_axes() if np.linalg.det(axes) > 0.0]
    assert len(proper) == 24
    for number, axes in enumerate(proper):
        values, first = phantom(axes)
        slices = maker.stack(values, axes, 1.0, origin=tuple(first))
        assert_sides(imported(slices[:: 1 if number % 2 else -1], tmp_path / str(number)), -1024.0)
