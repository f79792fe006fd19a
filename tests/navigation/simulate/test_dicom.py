"""The phantom study, read back with pydicom: geometry, units, fiducials where the landmarks say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from navigation.simulate import Scene, build_scene
from navigation.simulate.dicom import write_study
from navigation.simulate.folder import REFERENCE_UTC_S
from navigation.simulate.setup import landmark_record
from navigation.simulate.truth import truth_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    folder = tmp_path_factory.mktemp("study")
    scene = build_scene("bed", 1, probe_seed=0)
    write_study(scene, folder, REFERENCE_UTC_S)
    return scene, folder


def ct_volume(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels (nz, ny, nx) in HU, centre of the first voxel and spacing (3,) along x, y, z."""
    slices = sorted(
        (pydicom.dcmread(p) for p in (folder / "ct").glob("*.dcm")), key=lambda d: d.InstanceNumber
    )
    first, second = (np.array(d.ImagePositionPatient, dtype=float) for d in slices[:2])
    hu = np.stack([d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in slices])
    spacing = np.array(
        [slices[0].PixelSpacing[1], slices[0].PixelSpacing[0], (second - first)[2]], dtype=float
    )
    return hu, first, spacing


def test_one_frame_of_reference_and_stamps(study: tuple[Scene, Path]) -> None:
    files = [pydicom.dcmread(p, stop_before_pixels=True) for p in study[1].rglob("*.dcm")]
    assert len(files) > 50
    assert len({d.FrameOfReferenceUID for d in files}) == 1
    assert len({d.StudyInstanceUID for d in files}) == 1
    assert len({d.SeriesInstanceUID for d in files}) == 2
    assert len({d.SOPInstanceUID for d in files}) == len(files)
    assert all("SIMULATION" in str(d.PatientName) and "SIMULATION" in d.StudyDescription for d in files)


def test_fiducials_lie_where_the_landmarks_say(study: tuple[Scene, Path]) -> None:
    scene, folder = study
    hu, origin, spacing = ct_volume(folder)
    k, j, i = np.nonzero(hu > 1000.0)
    bright = origin + spacing * np.stack([i, j, k], axis=1)
    weight = hu[k, j, i] - 1000.0
    for mark in landmark_record(scene)["landmarks"]:
        near = np.linalg.norm(bright - mark["position_mm"], axis=1) < 8.0
        assert near.any()
        centroid = weight[near] @ bright[near] / weight[near].sum()
        # 3 mm slices and 0.3 mm of marking error per axis.
        assert np.linalg.norm(centroid - mark["position_mm"]) < 1.8


def test_truth_brings_the_reference_frame_onto_the_study(study: tuple[Scene, Path]) -> None:
    scene, folder = study
    truth = truth_of(scene, REFERENCE_UTC_S)
    lesion = np.array([*truth["scan-1"]["lesions"][0]["position_mm"], 1.0])
    in_study = (truth["T_study_reference"] @ lesion)[:3]
    nm = pydicom.dcmread(folder / "nm" / "spect.dcm")
    detector = nm.DetectorInformationSequence[0]
    origin = np.array(detector.ImagePositionPatient, dtype=float)
    spacing = np.array([nm.PixelSpacing[1], nm.PixelSpacing[0], nm.SpacingBetweenSlices], dtype=float)
    activity = nm.pixel_array * float(nm.RescaleSlope)
    assert nm.pixel_array.shape == (nm.NumberOfFrames, nm.Rows, nm.Columns)
    k, j, i = np.unravel_index(activity.argmax(), activity.shape)
    brightest = origin + spacing * (i, j, k)
    # One voxel of 4.6 mm in each direction, and the counting noise of a lesion blurred to 10 mm.
    assert np.abs(brightest - in_study).max() < 7.0
    assert "ImagePositionPatient" not in nm
    assert list(nm.ImageType)[2] == "RECON TOMO"


def test_ct_shows_air_tissue_and_bone(study: tuple[Scene, Path]) -> None:
    hu, origin, spacing = ct_volume(study[1])
    patient = study[0].patient
    T = patient.T_study_body

    def value(body_point: tuple[float, float, float]) -> float:
        index = np.round((T[:3, :3] @ body_point + T[:3, 3] - origin) / spacing).astype(int)
        return float(hu[tuple(index[::-1])])

    x, y = patient.scan_centre
    assert value((x, y, 25.0)) < -900.0
    assert abs(value((x, y, -30.0)) - 40.0) < 60.0
    assert value((x, y, -2 * patient.body.c_mm + 38.0)) > 500.0
