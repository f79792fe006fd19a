"""DICOM files of small series with known geometry and any defect asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PET_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
STUDY_UID = generate_uid(entropy_srcs=["study"])
FRAME_UID = generate_uid(entropy_srcs=["frame"])


def series_uid(name: str) -> str:
    return str(generate_uid(entropy_srcs=["series", name]))


def base(modality: str, storage: str, series: str, instance: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = UID(storage)
    ds.SOPClassUID = storage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(instance)])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, series_uid(series)
    ds.FrameOfReferenceUID = FRAME_UID
    ds.Modality = modality
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "P-1", "Doe^Jane", "19700102"
    ds.StudyDate, ds.SeriesNumber, ds.InstanceNumber = "20260101", 1, instance
    ds.PatientPosition = "HFS"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    return ds


def set_pixels(ds: Dataset, array: np.ndarray) -> None:
    ds.Rows, ds.Columns = array.shape[-2:]
    ds.PixelRepresentation = int(array.dtype.kind == "i")
    ds.PixelData = array.tobytes()


def slice_of(
    plane: np.ndarray,
    position: np.ndarray,
    axes: np.ndarray | None = None,
    *,
    modality: str = "CT",
    series: str = "a",
    instance: int = 1,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
) -> Dataset:
    """A single CT or PET slice; `axes` (3, 3) with columns i, j, k."""
    directions = np.eye(3) if axes is None else axes
    ds = base(modality, CT_STORAGE if modality == "CT" else PET_STORAGE, series, instance)
    ds.ImagePositionPatient = [f"{v:.8g}" for v in position]
    ds.ImageOrientationPatient = [f"{v:.9f}" for v in (*directions[:, 0], *directions[:, 1])]
    ds.PixelSpacing = [pixel_mm[1], pixel_mm[0]]
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024 if modality == "CT" else 0
    if modality == "PT":
        ds.Units, ds.DecayCorrection = "BQML", "START"
    set_pixels(ds, plane.astype(np.int16))
    return ds


def stack(
    volume: np.ndarray,
    axes: np.ndarray | None = None,
    step_mm: float = 2.0,
    origin: tuple[float, float, float] = (10.0, -20.0, 30.0),
    **options: object,
) -> list[Dataset]:
    """The slices of a stored volume (nz, ny, nx), stepping along the third axis."""
    directions = np.eye(3) if axes is None else axes
    return [
        slice_of(
            plane,
            np.array(origin) + k * step_mm * directions[:, 2],
            directions,
            instance=k + 1,
            **options,  # type: ignore[arg-type]
        )
        for k, plane in enumerate(volume)
    ]


def ramp(shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    """Stored values that are all different."""
    return np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape) + 1000


def save(datasets: list[Dataset], folder: Path, prefix: str = "s") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, ds in enumerate(datasets):
        ds.save_as(folder / f"{prefix}{number:03d}.dcm", enforce_file_format=True)
    return folder


def spect(volume: np.ndarray, step_mm: float, image_type: str = "RECON TOMO") -> Dataset:
    """A reconstructed NM volume, its place only in the detector information."""
    ds = base("NM", NM_STORAGE, "nm", 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY", image_type, "EMISSION"]
    ds.NumberOfFrames = volume.shape[0]
    ds.PixelSpacing = [4.0, 3.0]
    ds.SliceThickness, ds.SpacingBetweenSlices = abs(step_mm), step_mm
    detector = Dataset()
    detector.ImagePositionPatient = [1.0, 2.0, 3.0]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.DetectorInformationSequence = Sequence([detector])
    set_pixels(ds, volume.astype(np.uint16))
    return ds


def enhanced_ct(volume: np.ndarray, step_mm: float) -> Dataset:
    """A multi-frame CT whose geometry lies in the functional groups."""
    ds = base("CT", ENHANCED_CT_STORAGE, "enhanced", 1)
    ds.NumberOfFrames = volume.shape[0]
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [1.5, 0.5]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -1024, "HU"
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([values])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(volume.shape[0]):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [5.0, 6.0, 7.0 + k * step_mm]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(ds, volume.astype(np.int16))
    return ds


def contours(
    ds: Dataset, number: int, polygons: list[np.ndarray], kinds: str | list[str] = "CLOSED_PLANAR"
) -> None:
    """Give a region of interest its polygons (n, 3)."""
    items = []
    for n, points in enumerate(polygons):
        item = Dataset()
        item.ContourGeometricType = kinds if isinstance(kinds, str) else kinds[n]
        item.NumberOfContourPoints = len(points)
        item.ContourData = [f"{v:.6g}" for v in points.ravel()]
        items.append(item)
    drawn = Dataset()
    drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence(items)
    ds.ROIContourSequence.append(drawn)


def structure_set(names: list[str], frame: str = FRAME_UID, series: str | None = "a") -> Dataset:
    """An RTSTRUCT with regions of interest that have no contours yet, drawn on a series."""
    ds = base("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", "rt", 1)
    del ds.FrameOfReferenceUID, ds.ImageType, ds.PatientPosition
    items = []
    for number, name in enumerate(names, start=1):
        item = Dataset()
        item.ROINumber, item.ROIName, item.ReferencedFrameOfReferenceUID = number, name, frame
        items.append(item)
    ds.StructureSetROISequence = Sequence(items)
    ds.ROIContourSequence = Sequence([])
    of_frame, of_study, of_series = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = series_uid(series or "none")
    of_study.RTReferencedSeriesSequence = Sequence([of_series])
    of_frame.FrameOfReferenceUID, of_frame.RTReferencedStudySequence = frame, Sequence([of_study])
    ds.ReferencedFrameOfReferenceSequence = Sequence([of_frame])
    return ds


def segmentation(
    masks: list[np.ndarray],
    positions: list[np.ndarray],
    owners: list[int],
    *,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
    axes: np.ndarray | None = None,
    step_mm: float = 2.0,
    fractional: bool = False,
    frame: str = FRAME_UID,
) -> Dataset:
    """A SEG of frames (ny, nx), each at its place and of one segment."""
    ds = base("SEG", "1.2.840.10008.5.1.4.1.1.66.4", "seg", 1)
    ds.FrameOfReferenceUID, ds.NumberOfFrames = frame, len(masks)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    directions = np.eye(3) if axes is None else axes
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [float(v) for v in (*directions[:, 0], *directions[:, 1])]
    measures.PixelSpacing, measures.SpacingBetweenSlices = [pixel_mm[1], pixel_mm[0]], step_mm
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, segments = [], []
    for position, owner in zip(positions, owners, strict=True):
        item, place, of_segment = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(v) for v in position]
        of_segment.ReferencedSegmentNumber = owner
        item.PlanePositionSequence = Sequence([place])
        item.SegmentIdentificationSequence = Sequence([of_segment])
        frames.append(item)
    for owner in sorted(set(owners)):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = owner, f"segment {owner}"
        segments.append(segment)
    ds.PerFrameFunctionalGroupsSequence, ds.SegmentSequence = Sequence(frames), Sequence(segments)
    stored = np.stack(masks).astype(np.uint8)
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.PixelRepresentation = 0
    if fractional:
        ds.SegmentationType, ds.SegmentationFractionalType = "FRACTIONAL", "OCCUPANCY"
        ds.MaximumFractionalValue = 100
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)
    else:
        ds.SegmentationType = "BINARY"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
        packed = np.packbits(stored.ravel(), bitorder="little").tobytes()
        ds.PixelData = packed + b"\0" * (len(packed) % 2)
    return ds
