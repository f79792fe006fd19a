"""The DICOM objects of a case: valid by an independent judge, in the right place by arithmetic of our own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from navigation.dicomresults import codes, write_dicom
from navigation.dicomresults.common import Context, encoded
from navigation.dicomresults.identity import deidentified
from navigation.dicomresults.maps import parametric_map
from navigation.dicomresults.place import placement_of
from navigation.dicomresults.regions import segmentation
from navigation.report.results import Volume, read_case
from navigation.volume import VoxelGrid
from tests.conftest import missing
from tests.navigation.dicomresults import oblique

PLACE_MM = 0.01
NAMES = (
    *("findings.dcm", "report.dcm", "scan-1-activity.dcm"),
    *("scan-1-mda.dcm", "scan-1-regions.dcm"),
)
PDF = b"%PDF-1.4\n%%EOF\n"


def written(folder: Path, *, with_identity: bool = False, **how: bool) -> Path:
    oblique.write_oblique(folder, **how)
    (folder / "report.pdf").write_bytes(PDF)
    write_dicom(read_case(folder), folder, with_identity=with_identity)
    return folder / "dicom"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("case"))


def frames(ds: Dataset) -> Iterator[tuple[int, Dataset, NDArray[np.float64]]]:
    """Number, functional groups and (4, 4) from (column, row) of each frame, by PS3.3 C.7.6.2.1.1."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for number, own in enumerate(ds.PerFrameFunctionalGroupsSequence):
        M = np.eye(4)
        M[:3, 0], M[:3, 1] = axes[0] * across, axes[1] * down
        M[:3, 3] = own.PlanePositionSequence[0].ImagePositionPatient
        yield number, own, M


def place(M: NDArray[np.float64], column: float, row: float) -> NDArray[np.float64]:
    return np.asarray((M @ [column, row, 0.0, 1.0])[:3])


def texts(ds: Dataset) -> str:
    """Everything in it that can be read as words."""
    return " | ".join(str(e.value) for e in ds.iterall() if e.VR not in ("OB", "OW", "OF", "SQ"))


def test_the_validator_finds_no_error_in_any_object(made: Path) -> None:
    if shutil.which("dciodvfy") is None:
        missing("no dciodvfy: install dicom3tools")
    assert sorted(p.name for p in made.iterdir()) == sorted(NAMES)
    for path in made.iterdir():
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        complaints = [line for line in (told.stdout + told.stderr).splitlines() if "Error" in line]
        assert (path.name, complaints, told.returncode) == (path.name, [], 0)


def worst_mm(ds: Dataset, grid: VoxelGrid) -> float:
    """By how much the marked voxels of a map lie elsewhere than the registration puts them."""
    pixels = np.frombuffer(ds.FloatPixelData, dtype="<f4").reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)
    found = {}
    for number, _, M in frames(ds):
        for row, column in np.argwhere(pixels[number] > 1.0):
            found[float(pixels[number, row, column])] = place(M, column, row)
    assert sorted(found) == sorted(oblique.MARKED.values())
    T = oblique.registration()
    off = [
        found[value] - oblique.apply(T, grid.matrix[:3, :3] @ [i, j, k] + grid.origin_mm)
        for (k, j, i), value in oblique.MARKED.items()
    ]
    return float(np.abs(off).max())


def test_every_voxel_of_the_map_lies_where_it_did(made: Path) -> None:
    ds = pydicom.dcmread(made / "scan-1-activity.dcm")
    assert ds.FrameOfReferenceUID == oblique.FRAME
    assert worst_mm(ds, oblique.reference_grid()) < PLACE_MM


def test_axes_exchanged_turned_and_mirrored_put_no_voxel_elsewhere(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    case = read_case(tmp_path)
    place = placement_of(case, tmp_path / "study", "own", identified=False)
    context = Context(deidentified(case, None), place, simulated=True, version="1")
    grid, values = oblique.reference_grid(), oblique.activity()
    ways = [(p, s) for p in permutations(range(3)) for s in product((1.0, -1.0), repeat=3)]
    for axes, signs in ways[::5]:
        turned = replace(grid, direction=np.eye(3)[:, axes] * signs)
        volumes = {"activity": Volume(turned, values, values > 0.0)}
        ds = parametric_map(replace(case.scans[0], volumes=volumes), 1, "activity", context)
        assert ds is not None
        assert worst_mm(ds, turned) < PLACE_MM


def test_what_was_not_examined_is_no_number_and_what_was_has_its_unit(made: Path) -> None:
    for name, unit, values in (
        ("activity", "kBq/ml", oblique.activity()),
        ("mda", "kBq", oblique.mda()),
    ):
        ds = pydicom.dcmread(made / f"scan-1-{name}.dcm")
        pixels = np.frombuffer(ds.FloatPixelData, dtype="<f4")
        told = values[(values > 0.0) & (values < 1e6)]
        assert np.isnan(pixels).sum() == values.size - told.size > 0
        assert sorted(pixels[np.isfinite(pixels)]) == sorted(told)
        mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        code = mapping.MeasurementUnitsCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == (unit, "UCUM")
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
        assert mapping.DoubleFloatRealWorldValueLastValueMapped == pytest.approx(float(told.max()))


def segments(ds: Dataset) -> dict[str, NDArray[np.float64]]:
    """Places (m, 3) of the voxels of each segment, by its label."""
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    size = ds.Rows * ds.Columns
    found: dict[str, list[NDArray[np.float64]]] = {}
    for number, own, M in frames(ds):
        groups = own if "SegmentIdentificationSequence" in own else ds.SharedFunctionalGroupsSequence[0]
        which = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        label = ds.SegmentSequence[which - 1].SegmentLabel
        mask = bits[number * size : (number + 1) * size].reshape(ds.Rows, ds.Columns)
        found.setdefault(label, []).extend(place(M, c, r) for r, c in np.argwhere(mask))
    return {label: np.array(places) for label, places in found.items()}


def test_regions_of_focus_and_bed_lie_where_they_did(made: Path) -> None:
    ds = pydicom.dcmread(made / "scan-1-regions.dcm")
    assert ds.FrameOfReferenceUID == oblique.FRAME
    found = segments(ds)
    focus, bed, rest = (
        f"SIMULATION {t}" for t in ("Focus 1 of activity", "Bed as outlined", "Bed: not assessed")
    )
    assert set(found) == {focus, bed, rest}
    T = oblique.registration()
    back = np.linalg.inv(T)
    offset = oblique.apply(back, found[focus]) - oblique.SPOT_MM
    covariance = np.array(oblique.spot()["covariance_mm2"])
    away = np.sqrt(np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset))
    # 2.795 is the radius that holds 95 % of a normal distribution in space; half a voxel of margin is 0.5/0.7 of an SD.
    assert away.max() < 2.795 + 0.5 / np.sqrt(0.5) + 1e-6
    assert np.abs(offset.mean(axis=0)).max() < 0.3
    volume = 4.0 / 3.0 * np.pi * 2.795**3 * np.sqrt(np.linalg.det(covariance))
    assert volume < len(offset) < 2.5 * volume
    # The bed's cubes of 2 mm are eight voxels each, and their means are the bed's own places.
    places = oblique.apply(back, found[bed])
    assert len(places) == 8 * len(oblique.bed_points())
    whole = oblique.bed_points()
    near = np.abs(places[:, None, :] - whole[None]).max(axis=2)
    assert np.abs(near.min(axis=1) - 0.5).max() < PLACE_MM
    assert len(found[rest]) == 8 * int((whole[:, 1] >= -20.0).sum())


def test_another_library_finds_the_focus_there_too(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    (tmp_path / "scan-1" / "bed_map.csv").unlink()
    case = read_case(tmp_path)
    place = placement_of(case, tmp_path / "study", "own", identified=False)
    context = Context(deidentified(case, None), place, simulated=True, version="1")
    ds = segmentation(case.scans[0], 1, context, None)
    assert ds is not None
    (tmp_path / "focus.dcm").write_bytes(encoded(ds))
    image = SimpleITK.ReadImage(str(tmp_path / "focus.dcm"))
    mask = SimpleITK.GetArrayFromImage(image)
    theirs = [
        image.TransformIndexToPhysicalPoint((int(i), int(j), int(k))) for k, j, i in np.argwhere(mask > 0)
    ]
    (ours,) = segments(ds).values()
    assert len(theirs) == len(ours) > 0
    assert np.abs(np.array(sorted(theirs)) - np.array(sorted(map(tuple, ours)))).max() < PLACE_MM


def test_foci_stand_in_the_report_with_place_figures_and_words(made: Path) -> None:
    ds = pydicom.dcmread(made / "findings.dcm")
    T = oblique.registration()
    placed = [item for item in ds.iterall() if item.tag == pydicom.tag.Tag("GraphicData")]
    assert [e.value for e in ds.iterall() if e.keyword == "ReferencedFrameOfReferenceUID"] == [
        oblique.FRAME
    ] * 2
    for element, expected in zip(placed, (oblique.SPOT_MM, oblique.RESIDUAL_MM), strict=True):
        assert np.abs(np.array(element.value) - oblique.apply(T, expected)).max() < PLACE_MM
    said = texts(ds)
    assert oblique.STATEMENT in said
    assert "Residual activity suspected" in said
    for figure in ("22.4", "92.0", "71.0", "81.25", "7.75", "-21.0", "5.75"):
        assert f"| {figure} |" in said
    assert "Research use only" in said and "not histology" in said
    assert (ds.VerificationFlag, ds.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    # Segment and findings know each other.
    regions = pydicom.dcmread(made / "scan-1-regions.dcm")
    assert regions.SegmentSequence[0].TrackingUID in said
    assert {r.ReferencedSOPInstanceUID for r in references(ds)} == {
        pydicom.dcmread(made / f"scan-1-{n}.dcm").SOPInstanceUID for n in ("activity", "mda", "regions")
    }


def references(ds: Dataset) -> list[Dataset]:
    (study,) = ds.CurrentRequestedProcedureEvidenceSequence
    return [sop for series in study.ReferencedSeriesSequence for sop in series.ReferencedSOPSequence]


def test_codes_are_told_apart_by_what_of_them_goes_out() -> None:
    assert len({value[:16] for value in codes.OWN}) == len(codes.OWN)
    assert max(len(meaning) for meaning in codes.OWN.values()) <= 64


def test_no_word_of_any_object_makes_a_focus_more_than_it_is(made: Path) -> None:
    for path in made.iterdir():
        said = texts(pydicom.dcmread(path)).lower()
        assert not re.search(r"\b(lesion|neoplasm|malignan\w*|metasta\w*|clear|clean|safe)\b", said)


def test_a_simulation_says_so_in_every_object_and_a_patient_does_not(made: Path, tmp_path: Path) -> None:
    real = written(tmp_path / "real", simulated=False)
    for name in NAMES:
        played, measured = (pydicom.dcmread(folder / name) for folder in (made, real))
        assert played.SeriesDescription.startswith("SIMULATION ")
        assert played.QualityControlSubject == "YES"
        assert "SIMULATION" not in texts(measured)
        assert "QualityControlSubject" not in measured
        assert played.SOPInstanceUID != measured.SOPInstanceUID


def test_without_a_registration_the_frame_is_its_own_and_every_object_says_it(tmp_path: Path) -> None:
    folder = written(tmp_path, registered=False)
    for name in NAMES:
        ds = pydicom.dcmread(folder / name)
        assert "NOT REGISTERED" in ds.SeriesDescription
        assert ds.get("FrameOfReferenceUID", "2.25.1").startswith("2.25.")
    ds = pydicom.dcmread(folder / "findings.dcm")
    assert "Not registered to any image" in texts(ds)
    point = next(e.value for e in ds.iterall() if e.keyword == "GraphicData")
    assert np.abs(np.array(point) - oblique.SPOT_MM).max() < PLACE_MM


def test_a_registration_in_doubt_places_nothing(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    (tmp_path / "reg.json").unlink()
    entry = {"number": 1, "id": "r", "T_study_reference": oblique.registration().tolist()}
    accepted = {"accepted": True, "T_target_source": oblique.registration().tolist()}
    for state, placed, more in (
        ("verified", True, None),
        ("as registered", True, None),
        ("doubtful: a bump", False, None),
        ("restored, unverified", False, accepted),
        ("", False, {**accepted, "accepted": False}),
    ):
        oblique.dump(tmp_path / "registrations.json", {"registrations": [entry], "state": state})
        if more is not None:
            oblique.dump(tmp_path / "reg.json", more)
        found = placement_of(read_case(tmp_path), tmp_path / "study", "own", identified=False)
        assert found.registered is placed
        assert (found.frame_uid == oblique.FRAME) is placed
        assert (np.abs(found.points(oblique.SPOT_MM) - oblique.SPOT_MM).max() < PLACE_MM) is not placed


def test_the_longest_description_fits_its_line(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path, registered=False)
    (tmp_path / "scan-1").rename(tmp_path / "a name of a scan that is very long")
    write_dicom(read_case(tmp_path), tmp_path)
    for path in (tmp_path / "dicom").iterdir():
        said = pydicom.dcmread(path).SeriesDescription
        assert (
            len(said) <= 64 and said.startswith("SIMULATION ") and said.endswith("REGISTERED, research use")
        )


def test_a_case_without_its_study_still_knows_the_frame(tmp_path: Path) -> None:
    oblique.write_oblique(tmp_path)
    shutil.rmtree(tmp_path / "study")
    for told, frame in (({}, None), ({"frame_of_reference": oblique.FRAME}, oblique.FRAME)):
        oblique.dump(tmp_path / "case.json", {"case": "C1", "study_id": "ab12", **told})
        found = placement_of(read_case(tmp_path), None, "own", identified=False)
        assert found.registered
        assert (found.frame_uid == frame) is (frame is not None)
        assert ("is not known here" in found.words) is (frame is None)


def test_the_same_results_are_the_same_objects(made: Path, tmp_path: Path) -> None:
    again = written(tmp_path)
    for name in NAMES:
        assert (again / name).read_bytes() == (made / name).read_bytes()
    uids = [pydicom.dcmread(made / n).SOPInstanceUID for n in NAMES]
    assert len(set(uids)) == len(NAMES)
    assert all(re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", u) for u in uids)
