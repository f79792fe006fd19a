"""One DICOM file's header as plain facts: where its frames lie, what they mean, whose they are.

Three ways of saying where a frame lies are read: image plane (CT, PET, MR), functional groups (enhanced
multi-frame), and the detector information of a reconstructed NM volume (DICOM PS3.3 C.8.4.15).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from navigation.io.defects import Code, Defect
from navigation.io.dicom_facts import Facts, facts_of
from navigation.io.dicom_identity import PatientFacts, patient_of
from navigation.io.dicom_units import Meaning, meaning_of

IMAGE_MODALITIES = ("CT", "PT", "NM", "MR")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY = "1.2.840.10008.1.3.10"
_PREAMBLE_BYTES = 132
# A file without preamble starts with a tag of group 0008, whose second element byte is small.
_GROUP_8 = b"\x08\x00"
# 2^28 voxels are 1 GiB of float32: beyond any study that fits the memory a parser is allowed.
MOST_VOXELS = 1 << 28
MOST_FRAMES = 1 << 14

# What a parser may raise over a damaged or hostile file; anything else is a fault of ours.
PARSER_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class UnreadableError(Exception):
    """The file claims to be DICOM and cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class FileHeader:
    """What one image file says, without its pixels; n frames.

    `positions_mm` (n, 3) and `orientations` (n, 6) in LPS and `pixel_mm` (along i, along j) are None where
    the file does not say; `meanings` holds unit and rescale line per frame; `problems` are its own defects.
    """

    path: Path
    study_uid: str
    series_uid: str
    sop_uid: str
    series_number: int
    modality: str
    frame_of_reference: str | None
    patient_position: str | None
    kind: tuple[str, ...]  # SOP class and what else must be equal throughout a series
    size: tuple[int, int]  # columns, rows
    frames: int
    positions_mm: NDArray[np.float64] | None
    orientations: NDArray[np.float64] | None
    pixel_mm: tuple[float, float] | None
    meanings: tuple[Meaning, ...]
    slice_spacing_mm: float | None
    tilt_deg: float
    patient: PatientFacts
    facts: Facts
    problems: tuple[Defect, ...] = field(default=())


def is_dicom(path: Path) -> bool:
    """Whether the first bytes are those of a DICOM file, with or without preamble."""
    with path.open("rb") as file:
        start = file.read(_PREAMBLE_BYTES)
    return start[128:132] == b"DICM" or (start[:2] == _GROUP_8 and start[3:4] == b"\0")


def read_header(path: Path) -> FileHeader | str:
    """The facts of an image, or in a word what else the file is. Raises UnreadableError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            other = _other_kind(ds)
            return other if other is not None else _header(ds, path)
    except PARSER_FAULTS as fault:
        raise UnreadableError(f"{type(fault).__name__}: {fault}") from None


def _other_kind(ds: Dataset) -> str | None:
    """What a file is that is not an image series, else None."""
    sop_class = str(ds.get("SOPClassUID", "") or "")
    if sop_class == _DIRECTORY or "DirectoryRecordSequence" in ds:
        return "DICOMDIR"
    if not sop_class and "SeriesInstanceUID" not in ds:
        raise UnreadableError("no SOP class and no series")
    modality = str(ds.get("Modality", "") or "other")
    if modality not in IMAGE_MODALITIES or "Rows" not in ds:
        return modality if modality not in IMAGE_MODALITIES else "no image"
    if sop_class.startswith(_SECONDARY_CAPTURE):
        return "secondary capture"
    return "localizer" if "LOCALIZER" in _image_type(ds) else None


def _image_type(ds: Dataset) -> tuple[str, ...]:
    value = ds.get("ImageType")
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def _header(ds: Dataset, path: Path) -> FileHeader:
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    columns, rows = int(ds.Columns), int(ds.Rows)
    if min(frames, columns, rows) < 1 or frames > MOST_FRAMES or frames * columns * rows > MOST_VOXELS:
        raise UnreadableError(f"{frames} frames of {columns} x {rows} pixels are out of range")
    groups = [groups_of(ds, i) for i in range(frames)]
    meanings = tuple(meaning_of(ds, g) for g in groups)
    positions, orientations, pixel = planes_of(ds, groups)
    return FileHeader(
        path=path,
        study_uid=text_of(ds, "StudyInstanceUID") or "",
        series_uid=text_of(ds, "SeriesInstanceUID") or "",
        sop_uid=text_of(ds, "SOPInstanceUID") or "",
        series_number=int(ds.get("SeriesNumber", 0) or 0),
        modality=str(ds.Modality),
        frame_of_reference=text_of(ds, "FrameOfReferenceUID"),
        patient_position=text_of(ds, "PatientPosition"),
        kind=(str(ds.get("SOPClassUID", "")), *_image_type(ds)[2:3], text_of(ds, "EchoTime") or ""),
        size=(columns, rows),
        frames=frames,
        positions_mm=positions,
        orientations=orientations,
        pixel_mm=pixel,
        meanings=meanings,
        slice_spacing_mm=number_of(ds, "SpacingBetweenSlices"),
        tilt_deg=number_of(ds, "GantryDetectorTilt") or 0.0,
        patient=patient_of(ds),
        facts=facts_of(ds),
        problems=tuple(_problems(ds, meanings, positions is not None and orientations is not None, pixel)),
    )


def text_of(ds: Dataset, name: str) -> str | None:
    """A text without its padding; None where there is none."""
    value = str(ds.get(name, "") or "").strip()
    return value or None


def number_of(ds: Dataset, name: str) -> float | None:
    """A number; None where there is none."""
    value = ds.get(name)
    return None if value is None or value == "" else float(value)


def _floats(ds: Dataset | None, name: str, n: int) -> NDArray[np.float64] | None:
    """A vector of n finite numbers, or None."""
    value: Any = None if ds is None else ds.get(name)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != n:
        return None
    array = np.array([float(v) for v in value])
    return array if np.isfinite(array).all() else None


def groups_of(ds: Dataset, frame: int) -> list[Dataset]:
    """Functional groups of a frame, its own before the shared ones; none in a classic image."""
    found = []
    own = ds.get("PerFrameFunctionalGroupsSequence")
    if own and frame < len(own):
        found.append(own[frame])
    shared = ds.get("SharedFunctionalGroupsSequence")
    return [*found, *(shared or [])]


def item_of(groups: list[Dataset], name: str) -> Dataset | None:
    """First item of the named sequence in the first functional group that has it."""
    for group in groups:
        items = group.get(name)
        if items:
            item: Dataset = items[0]
            return item
    return None


Planes = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, tuple[float, float] | None]


def planes_of(ds: Dataset, groups: list[list[Dataset]]) -> Planes:
    """Positions (n, 3), orientations (n, 6) and pixel size, whichever way the file states them."""
    if str(ds.Modality) == "NM" and not groups[0]:
        return _detector_planes(ds, len(groups))
    positions, orientations = [], []
    for g in groups:
        position = _floats(item_of(g, "PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = _floats(item_of(g, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        positions.append(position if g else _floats(ds, "ImagePositionPatient", 3))
        orientations.append(orientation if g else _floats(ds, "ImageOrientationPatient", 6))
    measures = item_of(groups[0], "PixelMeasuresSequence") if groups[0] else ds
    stacked = len(groups) == 1 or bool(groups[0])
    return (
        _stacked(positions) if stacked else None,
        _stacked(orientations) if stacked else None,
        _pixel(measures),
    )


def _stacked(rows: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    return None if any(r is None for r in rows) else np.array(rows)


def _pixel(ds: Dataset | None) -> tuple[float, float] | None:
    """PixelSpacing is (between rows, between columns): the second runs along i."""
    spacing = _floats(ds, "PixelSpacing", 2)
    if spacing is None or not (spacing > 0.0).all():
        return None
    return float(spacing[1]), float(spacing[0])


def _detector_planes(ds: Dataset, frames: int) -> Planes:
    """A reconstructed NM volume: the first slice's place, the others along the normal by signed steps."""
    detectors = ds.get("DetectorInformationSequence")
    places = [ds, *(detectors or [])]
    position = next(
        (p for p in (_floats(d, "ImagePositionPatient", 3) for d in places) if p is not None), None
    )
    axes = next(
        (o for o in (_floats(d, "ImageOrientationPatient", 6) for d in places) if o is not None), None
    )
    step = number_of(ds, "SpacingBetweenSlices") or number_of(ds, "SliceThickness")
    if position is None or axes is None or (step is None and frames > 1):
        return None, None, _pixel(ds)
    vector = ds.get("SliceVector")
    numbers = np.arange(frames) if vector is None else np.atleast_1d(np.array(vector, dtype=float)) - 1.0
    if len(numbers) != frames:
        return None, None, _pixel(ds)
    normal = np.cross(axes[:3], axes[3:])
    positions = position + np.outer(numbers * (step or 0.0), normal)
    return positions, np.tile(axes, (frames, 1)), _pixel(ds)


def _problems(
    ds: Dataset,
    meanings: tuple[Meaning, ...],
    placed: bool,
    pixel: tuple[float, float] | None,
) -> list[Defect]:
    """What is wrong with this file by itself."""
    found = []
    image_type = _image_type(ds)
    if str(ds.Modality) == "NM" and not any("RECON" in part for part in image_type):
        found.append(Defect(Code.NOT_A_VOLUME, f"NM image of type {'/'.join(image_type[2:3]) or 'unstated'}"))
    elif not placed:
        found.append(Defect(Code.NOT_A_VOLUME, "no image position and orientation"))
    elif pixel is None:
        found.append(Defect(Code.NOT_A_VOLUME, "no pixel spacing"))
    if int(ds.get("SamplesPerPixel", 1)) != 1:
        found.append(Defect(Code.NOT_A_VOLUME, "colour pixels"))
    faults = sorted({m.fault for m in meanings if m.fault is not None})
    found += [Defect(Code.UNSUPPORTED_UNITS, fault) for fault in faults]
    return found
