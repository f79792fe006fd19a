"""Files that read well and mean something else than they seem to: values, patients, frames and regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from navigation.io import dicom_identity
from navigation.io.dicom_identity import PatientFacts, same_patient, strangers
from tests.navigation.io import dicom_maker as maker
from tests.navigation.io.test_dicom_traps import Change, each, imported, refusal, setting


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def pet() -> list[Dataset]:
    return maker.stack(maker.ramp(), modality="PT")


def without(name: str) -> Change:
    def change(slices: list[Dataset]) -> None:
        for ds in slices:
            delattr(ds, name)

    return change


@pytest.mark.parametrize(
    ("gone", "left"), [("RescaleIntercept", "RescaleSlope"), ("RescaleSlope", "RescaleIntercept")]
)
def test_half_a_rescale_line_is_no_line(tmp_path: Path, gone: str, left: str) -> None:
    slices = pet()
    setting(**{left: 0.25})(slices)
    without(gone)(slices)
    assert "UNSUPPORTED_UNITS: a rescale slope without an intercept" in refusal(slices, tmp_path)


def test_a_lone_slope_of_one_changes_nothing(tmp_path: Path) -> None:
    slices = pet()
    without("RescaleIntercept")(slices)
    np.testing.assert_array_equal(imported(slices, tmp_path).series[0].volume(), maker.ramp())


@pytest.mark.parametrize("slope", ["1e300", "-1e38"])
def test_values_beyond_any_number_are_unreadable(tmp_path: Path, slope: str) -> None:
    slices = pet()
    setting(RescaleSlope=slope)(slices)
    assert "UNREADABLE" in refusal(slices, tmp_path)


@pytest.mark.parametrize(
    ("modality", "padding", "expected"), [("CT", 32767, -1024.0), ("PT", 32767, 0.0), ("CT", -2000, -3024.0)]
)
def test_padding_is_neither_metal_nor_activity(
    tmp_path: Path, modality: str, padding: int, expected: float
) -> None:
    stored = maker.ramp().astype(np.int16)
    stored[:, 0] = padding
    slices = maker.stack(stored, modality=modality)
    setting(PixelPaddingValue=padding)(slices)
    volume = imported(slices, tmp_path).series[0].volume()
    assert (volume[:, 0] == expected).all()
    np.testing.assert_array_equal(volume[:, 1:], stored[:, 1:] - (1024.0 if modality == "CT" else 0.0))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # it is what the test is about
@pytest.mark.parametrize("value", ["nan", "-inf"])
@pytest.mark.parametrize("name", ["SpacingBetweenSlices", "SliceThickness", "GantryDetectorTilt"])
def test_a_length_that_is_no_number_proves_nothing(tmp_path: Path, name: str, value: str) -> None:
    spect = maker.spect(maker.ramp((4, 3, 3)), -2.0)
    setattr(spect, name, value)
    assert "UNREADABLE" in refusal([spect], tmp_path)


def labelled(content: Callable[[int], Dataset], name: str) -> Dataset:
    ds = maker.enhanced_ct(maker.ramp(), 2.0)
    for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        setattr(group, name, Sequence([content(n)]))
    return ds


def time_of(n: int) -> Dataset:
    item = Dataset()
    item.TemporalPositionIndex = 1 + n % 2
    return item


def kind_of(n: int) -> Dataset:
    item = Dataset()
    item.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "MAXIMUM" if n % 2 else "NONE"]
    return item


@pytest.mark.parametrize(
    ("content", "name", "what"),
    [(time_of, "FrameContentSequence", "times"), (kind_of, "CTImageFrameTypeSequence", "kinds")],
)
def test_frames_of_two_volumes_dovetailed_in_one_file(
    tmp_path: Path, content: Callable[[int], Dataset], name: str, what: str
) -> None:
    assert f"slices of 2 {what} alternate" in refusal([labelled(content, name)], tmp_path)


def test_frames_numbered_along_the_stack_are_one_volume(tmp_path: Path) -> None:
    def numbered(n: int) -> Dataset:
        item = Dataset()
        item.FrameAcquisitionNumber, item.StackID = n + 1, "1"
        return item

    assert imported([labelled(numbered, "FrameContentSequence")], tmp_path).series[0].usable


@pytest.mark.parametrize(
    ("values", "mixed"),
    [
        ({"PatientBirthDate": "19910203"}, True),
        ({"PatientID": "", "PatientName": "Roe^Anna"}, True),
        ({"PatientBirthDate": "", "PatientName": "Roe^Anna"}, True),
        ({"PatientName": "DOE^JANE^^Dr"}, False),
        ({"PatientID": "", "PatientBirthDate": ""}, False),
        ({"PatientName": ""}, False),
    ],
)
def test_one_number_does_not_make_one_patient(tmp_path: Path, values: dict[str, object], mixed: bool) -> None:
    other = maker.stack(maker.ramp(), modality="PT", series="b")
    setting(**values)(other)
    slices = [*maker.stack(maker.ramp()), *other]
    if not mixed:
        assert len(imported(slices, tmp_path).series) == 2
        return
    told = refusal(slices, tmp_path)
    assert "MIXED_PATIENTS" in told and "Anna" not in told and "1991" not in told


def test_slices_of_two_persons_are_no_series(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    each("PatientBirthDate", lambda n: "19700102" if n < 3 else "19910203")(slices)
    assert "slices differ in patient" in refusal(slices, tmp_path)


def test_a_thousand_spellings_are_not_compared_one_by_one() -> None:
    assert strangers(PatientFacts("P", f"Doe^{n}", "19700102", "") for n in range(1000))
    assert same_patient(PatientFacts("P", "A", "19700102", ""), PatientFacts("P", "B", "19700102", ""))


def ball(x: float) -> list[np.ndarray]:
    t = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    return [np.c_[x + 2 * np.cos(t), -17 + 2 * np.sin(t), np.full(24, 32.0 + 2 * k)] for k in range(3)]


def test_structures_of_another_patient_are_left_out(tmp_path: Path) -> None:
    drawn = maker.structure_set(["node"])
    maker.contours(drawn, 1, ball(13.0))
    drawn.PatientID = "P-2"
    place = np.array([10.0, -20.0, 30.0])
    segments = maker.segmentation([np.ones((7, 6), np.uint8)], [place], [1])
    segments.PatientBirthDate = "19910203"
    study = imported([*maker.stack(maker.ramp()), drawn, segments], tmp_path)
    assert study.structures == ()
    text = (tmp_path / "out" / "study.json").read_text()
    assert text.count("MIXED_PATIENTS: it is of another patient") == 2


def test_a_region_in_two_parts_is_whole_and_two_of_one_number_are_none(tmp_path: Path) -> None:
    drawn = maker.structure_set(["node"])
    maker.contours(drawn, 1, ball(12.0)[:2])
    maker.contours(drawn, 1, ball(12.0)[2:])
    (node,) = imported([*maker.stack(maker.ramp()), drawn], tmp_path).structures
    assert node.centroid_mm is not None
    np.testing.assert_allclose(node.centroid_mm, [12.0, -17.0, 34.0], atol=0.05)
    twice = maker.structure_set(["node", "organ"])
    maker.contours(twice, 1, ball(12.0))
    twice.StructureSetROISequence[1].ROINumber = 1
    assert imported([*maker.stack(maker.ramp()), twice], tmp_path).structures == ()


def test_who_drew_a_region_stands_in_no_name(tmp_path: Path) -> None:
    drawn = maker.structure_set(["GTV Schmidt"])
    drawn.ReviewerName = "Schmidt^Eva"
    maker.contours(drawn, 1, ball(12.0))
    (node,) = imported([*maker.stack(maker.ramp()), drawn], tmp_path).structures
    assert node.name == "GTV [removed]"
