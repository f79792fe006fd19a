"""Stored values of every kind of unit brought to activity at the operation, or plainly unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from navigation.io import dicom_identity
from navigation.io.dicom_import import Options, import_folder
from navigation.io.study import StudySeries, load_study
from navigation.studyactivity import activity_scale, activity_scale_of
from tests.navigation.io import dicom_maker as maker

# 2026-01-01 10:00:00 UTC; F-18 has a half-life of 109.8 min.
SCAN_S = 1767261600.0
HALF_LIFE_S = 6588.0
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def tracer(half_life_s: float | None = HALF_LIFE_S, **more: object) -> Sequence:
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    item.RadionuclideCodeSequence = Sequence([code])
    item.RadionuclideTotalDose, item.RadiopharmaceuticalStartTime = 400e6, "090000"
    if half_life_s is not None:
        item.RadionuclideHalfLife = half_life_s
    for name, value in more.items():
        setattr(item, name, value)
    return Sequence([item])


def pet(tmp_path: Path, **changes: object) -> StudySeries:
    """A PET in BQML, decay corrected to its start at 10:00 UTC; the tracer was given at 9:00."""
    slices = maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b", step_mm=3.0)
    for number, ds in enumerate(slices):
        ds.SeriesDate = ds.AcquisitionDate = "20260101"
        ds.SeriesTime, ds.AcquisitionTime = "100000", f"1{number:02d}000"
        ds.TimezoneOffsetFromUTC = "+0000"
        ds.PatientWeight = 80.0
        ds.RadiopharmaceuticalInformationSequence = tracer()
        for name, value in changes.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
    return imported(slices, tmp_path)


def imported(slices: list[Dataset], tmp_path: Path) -> StudySeries:
    maker.save(slices, tmp_path / "d")
    (tmp_path / "out").mkdir()
    import_folder(Options(str(tmp_path / "d"), str(tmp_path / "out")))
    return load_study(tmp_path / "out").series[0]


def test_becquerel_decay_corrected_to_the_start(tmp_path: Path) -> None:
    series = pet(tmp_path)
    assert series.facts["decay_reference_s"] == 0.0
    assert activity_scale(series, SCAN_S) == pytest.approx(1e-3)
    # one half-life after the start of the series, though its last slice was acquired half an hour later
    assert activity_scale(series, SCAN_S + HALF_LIFE_S) == pytest.approx(0.5e-3, rel=1e-4)
    assert activity_scale_of(series, SCAN_S).reasons == ()


def test_corrected_to_the_injection(tmp_path: Path) -> None:
    series = pet(tmp_path, DecayCorrection="ADMIN")
    assert series.facts["decay_reference_s"] == -HOUR_S
    # the values are those of 9:00: an hour later 2^(-3600/6588) is left
    assert activity_scale(series, SCAN_S) == pytest.approx(1e-3 * 2.0 ** (-HOUR_S / HALF_LIFE_S), rel=1e-4)


def test_not_decay_corrected(tmp_path: Path) -> None:
    series = pet(tmp_path, DecayCorrection="NONE", AcquisitionTime="100000", ActualFrameDuration=240_000)
    # the middle of four minutes
    assert series.facts["decay_reference_s"] == 120.0
    assert activity_scale(series, SCAN_S + 120.0) == pytest.approx(1e-3, rel=1e-6)


def test_not_decay_corrected_over_half_an_hour_is_no_moment(tmp_path: Path) -> None:
    scale = activity_scale_of(pet(tmp_path, DecayCorrection="NONE"), SCAN_S + HOUR_S)
    assert scale.kbq_per_ml is None
    assert "too far apart" in scale.reasons[0]


@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_suv_needs_dose_and_weight(tmp_path: Path, correction: str) -> None:
    series = pet(tmp_path, Units="GML", DecayCorrection=correction)
    # 400 MBq over 80 kg is 5 kBq/g at 9:00, whatever the images were corrected to
    expected = 5.0 * 2.0 ** (-3.0 * HOUR_S / HALF_LIFE_S)
    assert activity_scale(series, SCAN_S + 2.0 * HOUR_S) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Units": "GML", "PatientWeight": None}, "weight"),
        (
            {"Units": "GML", "RadiopharmaceuticalInformationSequence": tracer(RadionuclideTotalDose=0)},
            "administered",
        ),
        ({"Units": "GML", "SUVType": "LBM"}, "LBM"),
        ({"Units": "GML", "DecayCorrection": "NONE"}, "SUV without decay correction"),
        ({"Units": "CNTS"}, "no scale"),
        ({"DecayCorrection": None}, "unstated"),
        ({"RadiopharmaceuticalInformationSequence": tracer(4000.0)}, "half-life of 4000 s"),
        ({"RadiopharmaceuticalInformationSequence": None}, "half-life is unknown"),
        (
            {
                "DecayCorrection": "ADMIN",
                "RadiopharmaceuticalInformationSequence": tracer(RadiopharmaceuticalStartTime=""),
            },
            "which moment",
        ),
    ],
)
def test_what_the_header_does_not_support_is_unknown(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    scale = activity_scale_of(pet(tmp_path, **changes), SCAN_S)
    assert scale.kbq_per_ml is None
    assert reason in scale.reasons[0]


def test_an_operation_before_the_study_is_none(tmp_path: Path) -> None:
    assert activity_scale(pet(tmp_path), SCAN_S - 60.0) is None


def test_counts_with_the_makers_own_scale(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b")
    for ds in slices:
        ds.Units, ds.SeriesDate, ds.SeriesTime, ds.TimezoneOffsetFromUTC = (
            "CNTS",
            "20260101",
            "100000",
            "+0000",
        )
        ds.RadiopharmaceuticalInformationSequence = tracer()
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x09, "DS", "2.5")
    assert activity_scale(imported(slices, tmp_path), SCAN_S) == pytest.approx(2.5e-3)


def test_a_stated_zone_moves_the_clock_and_an_unstated_one_is_told(tmp_path: Path) -> None:
    east = pet(tmp_path / "east", TimezoneOffsetFromUTC="+0200")
    # 10:00 at UTC+2 is 8:00 UTC
    assert activity_scale(east, SCAN_S - 2.0 * HOUR_S) == pytest.approx(1e-3)
    silent = activity_scale_of(pet(tmp_path / "silent", TimezoneOffsetFromUTC=None), SCAN_S + 86400.0)
    assert silent.kbq_per_ml is not None
    assert "time zone" in silent.reasons[0]


def test_the_injection_of_yesterday_evening(tmp_path: Path) -> None:
    late = tracer(RadiopharmaceuticalStartTime="233000")
    series = pet(tmp_path, RadiopharmaceuticalInformationSequence=late)
    assert series.facts["radiopharmaceutical"]["injection_to_acquisition_s"] == 10.5 * HOUR_S


def test_a_spect_mostly_says_nothing(tmp_path: Path) -> None:
    ds = maker.spect(maker.ramp((3, 2, 2)), 2.0)
    ds.RadiopharmaceuticalInformationSequence = tracer()
    scale = activity_scale_of(imported([ds], tmp_path), SCAN_S)
    assert scale.kbq_per_ml is None
    assert "CNTS" in scale.reasons[0]


def test_a_spect_that_only_says_it_was_corrected(tmp_path: Path) -> None:
    ds = maker.spect(maker.ramp((3, 2, 2)), 2.0)
    ds.Units, ds.CorrectedImage = "BQML", ["ATTN", "DECY"]
    ds.RadiopharmaceuticalInformationSequence = tracer()
    scale = activity_scale_of(imported([ds], tmp_path), SCAN_S)
    assert scale.kbq_per_ml is None
    assert "DECY" in scale.reasons[0]


def test_slope_per_slice(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp((4, 3, 3)), modality="PT", series="b", step_mm=3.0)
    for k, ds in enumerate(slices):
        ds.RescaleSlope = 0.5 + 0.25 * k
    series = imported(slices, tmp_path)
    stored = maker.ramp((4, 3, 3)) * (0.5 + 0.25 * np.arange(4))[:, None, None]
    np.testing.assert_allclose(series.volume(), stored, rtol=1e-6)


def test_the_real_suv(test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    import_folder(Options(str(test_data / "petct_sts001"), str(tmp_path / "out")))
    series = load_study(tmp_path / "out").functional
    assert series is not None
    assert series.clock.injected_s is not None
    # 388.777 MBq over 71.0 kg at the injection
    at_injection = activity_scale_of(series, series.clock.utc_s(series.clock.injected_s) + 86400.0)
    assert at_injection.kbq_per_ml == pytest.approx(
        388.777 / 71.0 * 2.0 ** (-86400.0 / HALF_LIFE_S), rel=1e-3
    )
