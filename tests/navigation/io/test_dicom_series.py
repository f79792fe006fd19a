"""Series read from real files: geometry as ITK sees it, values in their units, every defect by its name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from scipy.spatial.transform import Rotation

from navigation.io.dicom_headers import FileHeader, UnreadableError, read_header
from navigation.io.dicom_pixels import load_volume
from navigation.io.dicom_series import Series, read_folder, series_of
from tests.navigation.io import dicom_maker as maker


def only_series(folder: Path) -> Series:
    contents = read_folder(folder)
    assert contents.unreadable == ()
    series = series_of(contents.headers)
    assert len(series) == 1
    return series[0]


def codes(series: Series) -> list[str]:
    return [d.code.value for d in series.defects]


def itk_image(files: list[Path]) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    return reader.Execute()


def assert_same_as_itk(series: Series, files: list[Path]) -> None:
    image = itk_image(files)
    volume, grid = load_volume(series)
    np.testing.assert_allclose(volume, SimpleITK.GetArrayFromImage(image), atol=1e-3)
    assert grid.size == image.GetSize()
    for index in ((0, 0, 0), tuple(n - 1 for n in grid.size)):
        ours = grid.matrix[:3] @ [*index, 1.0]
        np.testing.assert_allclose(ours, image.TransformIndexToPhysicalPoint(index), atol=1e-3)


@pytest.mark.parametrize("modality", ["CT", "PET"])
def test_a_real_pair_as_itk_sees_it(test_data: Path, modality: str) -> None:
    series = only_series(test_data / "petct_sts001" / modality)
    assert series.defects == ()
    assert_same_as_itk(series, [series.headers[f].path for f in series.proof.order] if series.proof else [])


def test_the_hottest_voxel_of_the_real_pet(test_data: Path) -> None:
    volume, grid = load_volume(only_series(test_data / "petct_sts001" / "PET"))
    k, j, i = np.unravel_index(int(volume.argmax()), volume.shape)
    # from the data's own SOURCE.md
    assert volume.max() == pytest.approx(25.41, abs=0.01)
    np.testing.assert_allclose(grid.matrix[:3] @ [i, j, k, 1.0], [7.03, 21.09, -691.64], atol=0.01)


def test_a_real_spect_with_its_place_in_the_detector_information(test_data: Path) -> None:
    series = only_series(test_data / "nm_jaszczak")
    assert codes(series) == ["NEGATIVE_SPACING", "NO_PATIENT_POSITION", "NO_FRAME_OF_REFERENCE"]
    volume, grid = load_volume(series)
    assert volume.sum(dtype=np.float64) == 124591663.0
    assert np.unravel_index(int(volume.argmax()), volume.shape) == (16, 64, 65)
    np.testing.assert_allclose(grid.origin_mm, [0.0, -264.32, -165.2], atol=1e-3)
    np.testing.assert_array_equal(grid.direction, np.diag([1.0, 1.0, -1.0]))
    np.testing.assert_allclose(grid.spacing_mm, 4.13, atol=1e-3)


@pytest.mark.parametrize("codec", ["j2k", "jpeg", "jpegls", "rle"])
def test_compressed_series_are_bit_identical(test_data: Path, codec: str) -> None:
    folder = test_data / "dcm_compressed"
    volume, grid = load_volume(only_series(folder / f"compressed_{codec}"))
    assert volume.sum(dtype=np.float64) == 33304746.0
    truth = SimpleITK.ReadImage(str(folder / "compressed_ground_truth.nii.gz"))
    values = SimpleITK.GetArrayFromImage(truth)
    for index in ((0, 0, 0), (255, 10, 3), (100, 180, 2)):
        i, j, k = truth.TransformPhysicalPointToIndex((grid.matrix[:3] @ [*index, 1.0]).tolist())
        assert values[k, j, i] == volume[index[2], index[1], index[0]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("dcm_corner_ct/gantrytilting", "GANTRY_TILT"),
        ("dcm_corner_ct/sliceincrement", "MISSING_SLICE"),
        ("dcm_compressed/CT_small.dcm", "TOO_FEW_SLICES"),
        ("dcm_enhanced/eCT_Supplemental.dcm", "UNSUPPORTED_UNITS"),
        ("dcm_enhanced/emri_small.dcm", "NOT_A_VOLUME"),
    ],
)
def test_real_defective_series(test_data: Path, where: str, expected: str) -> None:
    assert [d.code.value for d in only_series(test_data / where).fatal] == [expected]


def test_all_48_axis_permutations_and_flips(tmp_path: Path) -> None:
    stored = maker.ramp((3, 4, 5))
    landmark = (4, 1, 1)  # i, j, k: 4, 3 and 2 mm from the first voxel, so that no two axes look alike
    seen = set()
    for number, (order, signs) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        axes = np.eye(3)[:, order] * signs
        folder = tmp_path / str(number)
        series = only_series(maker.save(maker.stack(stored, axes, pixel_mm=(1.0, 3.0)), folder))
        assert series.defects == ()
        volume, grid = load_volume(series)
        k, j, i = np.argwhere(volume == stored[landmark[::-1]] - 1024.0)[0]
        place = grid.matrix[:3] @ [i, j, k, 1.0]
        np.testing.assert_allclose(
            place, np.array([10.0, -20.0, 30.0]) + axes @ (np.array([1.0, 3.0, 2.0]) * landmark), atol=1e-6
        )
        seen.add(tuple(np.round(place, 3)))
    assert len(seen) == 48


@pytest.mark.parametrize("seed", range(4))
def test_oblique_series_as_itk_sees_it(tmp_path: Path, seed: int) -> None:
    axes = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    datasets = maker.stack(maker.ramp(), axes, pixel_mm=(0.7, 1.9))
    folder = maker.save(datasets[::-1], tmp_path / "a")
    series = only_series(folder)
    assert series.defects == ()
    assert_same_as_itk(series, sorted(folder.iterdir(), reverse=True))


@pytest.mark.parametrize("step_mm", [2.5, -2.5])
def test_spect_of_either_sign(tmp_path: Path, step_mm: float) -> None:
    stored = maker.ramp((4, 5, 6))
    series = only_series(maker.save([maker.spect(stored, step_mm)], tmp_path))
    assert codes(series) == (["NEGATIVE_SPACING"] if step_mm < 0 else [])
    volume, grid = load_volume(series)
    np.testing.assert_array_equal(volume, stored)
    # columns 3 mm apart, rows 4 mm, slices along the signed step
    np.testing.assert_allclose(grid.matrix[:3] @ [5, 4, 3, 1], [1 + 15, 2 + 16, 3 + 3 * step_mm])


def test_spect_slices_in_another_order(tmp_path: Path) -> None:
    stored = maker.ramp((3, 2, 2))
    ds = maker.spect(stored[[2, 0, 1]], 2.0)
    ds.SliceVector = [3, 1, 2]
    volume, grid = load_volume(only_series(maker.save([ds], tmp_path)))
    np.testing.assert_array_equal(volume, stored)
    np.testing.assert_allclose(grid.origin_mm, [1.0, 2.0, 3.0])


def test_planar_images_are_no_volume(tmp_path: Path) -> None:
    ds = maker.spect(maker.ramp((2, 4, 4)), 2.0, image_type="WHOLE BODY")
    assert codes(only_series(maker.save([ds], tmp_path))) == ["NOT_A_VOLUME"]


def test_an_enhanced_multi_frame(tmp_path: Path) -> None:
    stored = maker.ramp((4, 5, 6))
    series = only_series(maker.save([maker.enhanced_ct(stored, 3.0)], tmp_path))
    assert series.defects == ()
    volume, grid = load_volume(series)
    np.testing.assert_array_equal(volume, stored * 2.0 - 1024.0)
    np.testing.assert_allclose(grid.matrix[:3] @ [5, 4, 3, 1], [5 + 2.5, 6 + 6.0, 7 + 9.0])


def real_world(units: str) -> Sequence:
    mapping, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = units, "UCUM"
    mapping.MeasurementUnitsCodeSequence = Sequence([code])
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, 2.0
    return Sequence([mapping])


def test_spect_in_becquerel(tmp_path: Path) -> None:
    ds = maker.spect(maker.ramp((3, 2, 2)), 2.0)
    ds.RealWorldValueMappingSequence = real_world("Bq/ml")
    series = only_series(maker.save([ds], tmp_path))
    assert series.first.meanings[0].units == "BQML"
    assert load_volume(series)[0][0, 0, 0] == 1000 * 0.5 + 2.0


def changed(index: int | None, **values: object) -> Callable[[list[Dataset]], None]:
    """Set header values of one slice, or of all."""

    def change(slices: list[Dataset]) -> None:
        for number, ds in enumerate(slices):
            if index is None or number == index:
                for name, value in values.items():
                    if value is None:
                        delattr(ds, name)
                    else:
                        setattr(ds, name, value)

    return change


def lose_one(slices: list[Dataset]) -> None:
    del slices[2]


def repeat_one(slices: list[Dataset]) -> None:
    slices[2].ImagePositionPatient = slices[3].ImagePositionPatient


def tilt(slices: list[Dataset]) -> None:
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [10.0, -20.0 + 0.5 * k, 30.0 + 2.0 * k]


@pytest.mark.parametrize(
    ("modality", "change", "expected"),
    [
        ("CT", lose_one, "MISSING_SLICE"),
        ("CT", repeat_one, "DUPLICATE_POSITION MISSING_SLICE"),
        ("CT", tilt, "GANTRY_TILT"),
        ("CT", changed(3, ImagePositionPatient=[10, -20, 36.7]), "UNEQUAL_SPACING"),
        ("CT", changed(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "MIXED_ORIENTATION"),
        ("CT", changed(3, ImageOrientationPatient=[1, 0, 0, 0, 0.9999, 0.0141]), "MIXED_ORIENTATION"),
        ("CT", changed(3, ImagePositionPatient=[13, -20, 36]), "MIXED_SERIES"),
        ("CT", changed(3, PixelSpacing=[1.0, 1.1]), "MIXED_SERIES"),
        ("CT", changed(3, FrameOfReferenceUID="1.2.3"), "MIXED_SERIES"),
        ("CT", changed(3, StudyInstanceUID="1.2.3"), "MIXED_SERIES"),
        ("CT", changed(3, PatientID="P-2"), "MIXED_SERIES"),
        ("CT", changed(3, PatientPosition="FFS"), "MIXED_SERIES"),
        ("CT", changed(None, ImagePositionPatient=None), "NOT_A_VOLUME"),
        ("CT", changed(2, ImageOrientationPatient=None), "NOT_A_VOLUME"),
        ("CT", changed(None, PixelSpacing=None), "NOT_A_VOLUME"),
        ("CT", changed(None, PixelSpacing=[0, 1]), "NOT_A_VOLUME"),
        ("CT", changed(None, SamplesPerPixel=3), "NOT_A_VOLUME"),
        ("CT", changed(None, RescaleSlope=None), "UNSUPPORTED_UNITS"),
        ("CT", changed(None, RescaleType="Z_EFF"), "UNSUPPORTED_UNITS"),
        ("CT", changed(None, ImageType=["DERIVED", "PRIMARY", "PERFUSION"]), "UNSUPPORTED_UNITS"),
        ("PT", changed(None, Units="PROPCPS"), "UNSUPPORTED_UNITS"),
        ("PT", changed(None, Units=None), "UNSUPPORTED_UNITS"),
        ("PT", changed(2, Units="GML"), "MIXED_SERIES"),
        ("CT", changed(None, GantryDetectorTilt=12.0), "GANTRY_TILT"),
        ("CT", changed(None, PatientPosition=""), "NO_PATIENT_POSITION"),
        ("CT", changed(None, FrameOfReferenceUID=None), "NO_FRAME_OF_REFERENCE"),
        ("CT", changed(None, SpacingBetweenSlices=-2.0), "NEGATIVE_SPACING"),
        ("CT", changed(None, SpacingBetweenSlices=2.0), ""),
        ("PT", changed(None, Units="CNTS"), ""),
    ],
)
def test_each_defect_is_named(
    tmp_path: Path, modality: str, change: Callable[[list[Dataset]], None], expected: str
) -> None:
    slices = maker.stack(maker.ramp((8, 4, 4)), modality=modality)
    change(slices)
    assert sorted(codes(only_series(maker.save(slices, tmp_path)))) == expected.split()


def test_slices_of_unequal_size(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp((5, 4, 4)))
    maker.set_pixels(slices[2], np.zeros((4, 5), dtype=np.int16))
    series = only_series(maker.save(slices, tmp_path))
    assert codes(series) == ["MIXED_SERIES"]
    assert "rows and columns" in series.defects[0].detail


def test_another_frame_of_reference_is_recorded(tmp_path: Path) -> None:
    ct = maker.stack(maker.ramp())
    pet = maker.stack(maker.ramp(), modality="PT", series="b")
    for ds in pet:
        ds.FrameOfReferenceUID = "1.2.3.4"
    maker.save(pet, tmp_path / "b")
    maker.save(ct, tmp_path / "deep" / "er" / "a")
    first, second = series_of(read_folder(tmp_path).headers)
    assert (first.first.modality, codes(first)) == ("CT", [])
    assert (second.first.modality, codes(second)) == ("PT", ["FRAME_MISMATCH"])
    assert not second.fatal


def test_what_is_no_image_series_is_counted(tmp_path: Path) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path)
    (tmp_path / "README.txt").write_text("x")
    plan = maker.base("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", "rt", 1)
    scout = maker.slice_of(np.zeros((4, 4)), np.zeros(3), series="scout")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    capture = maker.slice_of(np.zeros((4, 4)), np.zeros(3), series="capture")
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    maker.save([plan, scout, capture], tmp_path / "others")
    contents = read_folder(tmp_path)
    assert contents.skipped == {"not DICOM": 1, "RTSTRUCT": 1, "localizer": 1, "secondary capture": 1}
    assert len(series_of(contents.headers)) == 1


def ball_centre(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    weights = volume.reshape(-1) + 1024.0
    return (points * weights[:, None]).sum(axis=0) / weights.sum()


@pytest.mark.parametrize(("slope_i", "slope_j"), [(0.0, 0.27), (0.0, -0.4), (0.13, 0.2)])
def test_a_tilted_series_is_set_upright_to_a_tenth_of_a_millimetre(
    tmp_path: Path, slope_i: float, slope_j: float
) -> None:
    # A smooth ball in space, sampled where the slices of a tilted gantry lie.
    centre, n, side = np.array([23.0, -1.5, 61.0]), 20, 48
    j, i = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    slices = []
    for k in range(n):
        origin = np.array([0.0 + 2.0 * k * slope_i, -25.0 + 2.0 * k * slope_j, 40.0 + 2.0 * k])
        points = origin + np.stack([i * 1.0, j * 1.0, 0.0 * i], axis=-1)
        values = 1000.0 * np.exp(-((points - centre) ** 2).sum(axis=-1) / (2.0 * 4.0**2))
        slices.append(maker.slice_of(values, origin, instance=k + 1))
    series = only_series(maker.save(slices, tmp_path))
    assert codes(series) == ["GANTRY_TILT"]
    volume, grid = load_volume(series)
    np.testing.assert_allclose(ball_centre(volume, grid.points()), centre, atol=0.1)
    # the direction is a rotation, so any viewer shows it true
    np.testing.assert_allclose(grid.direction @ grid.direction.T, np.eye(3), atol=1e-12)
    assert volume.min() == -1024.0


@pytest.mark.parametrize(
    "raw",
    [b"", b"not dicom at all", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 64],
)
def test_files_that_only_claim_to_be_dicom(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(raw)
    contents = read_folder(tmp_path)
    assert len(contents.unreadable) == 1
    assert contents.headers == ()


def test_absurd_sizes_are_refused_before_memory_is(tmp_path: Path) -> None:
    ds = maker.slice_of(np.zeros((4, 4)), np.zeros(3))
    ds.Rows = ds.Columns = 65535
    path = maker.save([ds], tmp_path) / "s000.dcm"
    with pytest.raises(UnreadableError, match="out of range"):
        read_header(path)


def test_pixels_that_are_cut_off(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    slices[2].PixelData = slices[2].PixelData[:-10]
    series = only_series(maker.save(slices, tmp_path))
    with pytest.raises(UnreadableError, match=r"s002\.dcm"):
        load_volume(series)


def test_a_file_without_preamble(tmp_path: Path) -> None:
    for number, ds in enumerate(maker.stack(maker.ramp())):
        path = tmp_path / f"{number}.bin"
        ds.save_as(path, enforce_file_format=True)
        path.write_bytes(path.read_bytes()[132:])
        # the meta group itself is dropped as well: a bare dataset in explicit little endian
        raw = path.read_bytes()
        length = int.from_bytes(raw[8:12], "little")
        path.write_bytes(raw[12 + length :])
    assert only_series(tmp_path).slices == 5


def test_mutated_files_never_escape_the_parser(tmp_path: Path) -> None:
    path = maker.save([maker.spect(maker.ramp((3, 4, 4)), 2.0)], tmp_path) / "s000.dcm"
    raw = bytearray(path.read_bytes())
    rng = np.random.default_rng(2)
    read, refused = 0, 0
    for _ in range(300):
        damaged = raw.copy()
        for place in rng.integers(128, len(raw), 8):
            damaged[place] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            found = read_header(path)
            if isinstance(found, FileHeader):
                series = series_of([found])[0]
                if not series.fatal:
                    load_volume(series)
            read += 1
        except UnreadableError:
            refused += 1
    assert read + refused == 300
    assert refused > 0


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRBigEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.keyword,
)
def test_other_ways_of_writing_the_same(tmp_path: Path, syntax: UID) -> None:
    slices = maker.stack(maker.ramp())
    for number, ds in enumerate(slices):
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").byteswap().tobytes()
            ds["PixelData"].VR = "OW"
        ds.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    volume, _ = load_volume(only_series(tmp_path))
    np.testing.assert_array_equal(volume, maker.ramp() - 1024.0)


def test_dimensions_in_the_wrong_representation(tmp_path: Path) -> None:
    folder = maker.save(maker.stack(maker.ramp()), tmp_path)
    for path in folder.iterdir():
        raw = path.read_bytes()
        # Rows (0028,0010) as a four-byte UL instead of a two-byte US
        wrong = raw.replace(
            b"\x28\x00\x10\x00US\x02\x00\x06\x00", b"\x28\x00\x10\x00UL\x04\x00\x06\x00\x00\x00"
        )
        assert wrong != raw
        path.write_bytes(wrong)
    volume, _ = load_volume(only_series(folder))
    np.testing.assert_array_equal(volume, maker.ramp() - 1024.0)


def test_a_bottomless_sequence_is_unreadable(tmp_path: Path) -> None:
    path = maker.save([maker.slice_of(np.zeros((4, 4)), np.zeros(3))], tmp_path) / "s000.dcm"
    # 3,000 sequences of undefined length, each the only item of the one before
    item = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    raw = path.read_bytes()
    place = raw.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(raw[:place] + item * 3000 + raw[place:])
    assert len(read_folder(tmp_path).unreadable) == 1
