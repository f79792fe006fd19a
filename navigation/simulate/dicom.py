"""The phantom as DICOM: a CT series and a reconstructed SPECT (NM RECON TOMO) in one frame of reference.

The NM object has its geometry only in the DetectorInformationSequence, as cameras write it (DICOM PS3.3
C.8.4.15).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from navigation.simulate.phantom import (
    CT_SIZE,
    CT_SPACING_MM,
    NM_SIZE,
    NM_SPACING_MM,
    activity,
    ct_numbers,
    study_grid,
)
from navigation.simulate.scenes import HALF_LIFE_S, WINDOW_KEV, Scene
from navigation.volume import VoxelGrid

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
# The study was made this long before the operation's reference time, the injection another three hours
# earlier.
STUDY_BEFORE_S, INJECTION_BEFORE_S = 2 * 3600.0, 3 * 3600.0
INJECTED_MBQ = 600.0
LARGEST_STORED = 60000.0
BQ_PER_KBQ = 1000.0
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


@dataclass(frozen=True, slots=True)
class _Study:
    """What all files share."""

    scene: Scene
    made: datetime
    entropy: str

    def uid(self, *labels: str) -> str:
        """A UID that is the same for the same scene, seed and time."""
        return str(generate_uid(entropy_srcs=[self.entropy, *labels]))


def write_study(scene: Scene, folder: Path, reference_utc_s: float) -> None:
    """Write `folder`/ct/*.dcm and `folder`/nm/spect.dcm; OSError when that fails."""
    made = datetime.fromtimestamp(reference_utc_s - STUDY_BEFORE_S, UTC)
    study = _Study(scene, made, f"gammanav simulation {scene.name} {scene.seed} {reference_utc_s:.6f}")
    (folder / "ct").mkdir(parents=True, exist_ok=True)
    (folder / "nm").mkdir(parents=True, exist_ok=True)
    grid = study_grid(scene.patient, CT_SPACING_MM, CT_SIZE)
    for k, plane in enumerate(ct_numbers(scene, grid)):
        _save(_ct_slice(study, grid, k, plane), folder / "ct" / f"slice-{k:03d}.dcm")
    grid = study_grid(scene.patient, NM_SPACING_MM, NM_SIZE)
    # The scene's activity is that at the reference time; the camera saw what has decayed since.
    seen = activity(scene, grid) * 2.0 ** (STUDY_BEFORE_S / HALF_LIFE_S)
    _save(_nm(study, grid, seen), folder / "nm" / "spect.dcm")


def _save(ds: Dataset, path: Path) -> None:
    ds.save_as(path, enforce_file_format=True)


def _common(study: _Study, modality: str, sop_class: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(study.uid(modality, instance))
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, study.uid(modality, instance)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.uid("study"), study.uid("series", modality)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = study.uid("frame"), ""
    ds.Modality, ds.Manufacturer, ds.InstitutionName = modality, "gammanav SIMULATION", "SIMULATION"
    ds.PatientName, ds.PatientID = "SIMULATION^PHANTOM", f"SIM-{study.scene.name}-{study.scene.seed}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientPosition = "", "O", "HFS"
    ds.StudyDescription = "SIMULATION phantom SPECT/CT"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "SIM", "", ""
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = f"{study.made:%Y%m%d}"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = f"{study.made:%H%M%S}"
    ds.TimezoneOffsetFromUTC = "+0000"
    ds.SpecificCharacterSet = "ISO_IR 192"
    return ds


def _pixels(ds: Dataset, array: NDArray[np.int16] | NDArray[np.uint16]) -> None:
    """Pixel data (..., rows, columns), 16 bit, signed as the array."""
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    ds.PixelData = array.astype(array.dtype.newbyteorder("<")).tobytes()


def _ct_slice(study: _Study, grid: VoxelGrid, k: int, plane: NDArray[np.int16]) -> Dataset:
    ds = _common(study, "CT", CT_STORAGE, str(k))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "SIMULATION CT", 1, k + 1
    position = grid.origin_mm + np.array([0.0, 0.0, k * grid.spacing_mm[2]])
    ds.ImagePositionPatient = [round(float(v), 6) for v in position]
    ds.ImageOrientationPatient = AXIAL
    ds.PixelSpacing = [float(grid.spacing_mm[1]), float(grid.spacing_mm[0])]
    ds.SliceThickness, ds.SliceLocation = float(grid.spacing_mm[2]), round(float(position[2]), 6)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0.0, 1.0, "HU"
    ds.KVP, ds.AcquisitionNumber = 120.0, 1
    ds.WindowCenter, ds.WindowWidth = 40.0, 400.0
    _pixels(ds, plane)
    return ds


def _nm(study: _Study, grid: VoxelGrid, kbq_per_ml: NDArray[np.float64]) -> Dataset:
    ds = _common(study, "NM", NM_STORAGE, "spect")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "SIMULATION SPECT", 2, 1
    frames = kbq_per_ml.shape[0]
    ds.NumberOfFrames, ds.FrameIncrementPointer = frames, 0x00540080
    ds.NumberOfSlices, ds.SliceVector = frames, list(range(1, frames + 1))
    ds.PixelSpacing = [float(grid.spacing_mm[1]), float(grid.spacing_mm[0])]
    ds.SliceThickness = ds.SpacingBetweenSlices = float(grid.spacing_mm[2])
    ds.CorrectedImage = ["ATTN", "SCAT", "DECY", "UNIF"]
    ds.Units, ds.DecayCorrection = "BQML", "START"
    slope = BQ_PER_KBQ * max(float(kbq_per_ml.max()), 1e-6) / LARGEST_STORED
    ds.RescaleSlope, ds.RescaleIntercept = float(f"{slope:.9g}"), 0.0
    _geometry(ds, grid)
    _energy(ds)
    _tracer(ds, study)
    _pixels(ds, np.round(BQ_PER_KBQ * kbq_per_ml / ds.RescaleSlope).astype(np.uint16))
    return ds


def _geometry(ds: Dataset, grid: VoxelGrid) -> None:
    """Where the first frame lies; the others follow along the slice normal."""
    detector = Dataset()
    detector.CollimatorType = "PARA"
    detector.ImagePositionPatient = [round(float(v), 6) for v in grid.origin_mm]
    detector.ImageOrientationPatient = AXIAL
    ds.DetectorInformationSequence = Sequence([detector])
    ds.NumberOfDetectors = 1


def _energy(ds: Dataset) -> None:
    window = Dataset()
    window.EnergyWindowLowerLimit, window.EnergyWindowUpperLimit = WINDOW_KEV
    energy = Dataset()
    energy.EnergyWindowName, energy.EnergyWindowRangeSequence = "Tc-99m", Sequence([window])
    ds.EnergyWindowInformationSequence = Sequence([energy])
    ds.NumberOfEnergyWindows = 1


def _tracer(ds: Dataset, study: _Study) -> None:
    tracer = Dataset()
    tracer.Radiopharmaceutical = "99mTc-EDDA/HYNIC-TOC"
    injected = study.made - timedelta(seconds=INJECTION_BEFORE_S)
    tracer.RadiopharmaceuticalStartDateTime = f"{injected:%Y%m%d%H%M%S}"
    tracer.RadiopharmaceuticalStartTime = f"{injected:%H%M%S}"
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = INJECTED_MBQ, HALF_LIFE_S
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-163A8", "SRT", "^99m^Technetium"
    tracer.RadionuclideCodeSequence = Sequence([code])
    ds.RadiopharmaceuticalInformationSequence = Sequence([tracer])
