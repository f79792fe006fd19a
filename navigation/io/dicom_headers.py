"""One DICOM file's header as plain facts: where its frames lie, what they mean, whose they are.

What is wrong with a file by itself, whatever its neighbours are, is found here.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from navigation.io.defects import Code, Defect
from navigation.io.dicom_facts import Facts, facts_of
from navigation.io.dicom_frames import groups_of, labels_of, number_of, planes_of, repeated_volumes, text_of
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
LONGEST_FAULT = 120
# A deflated file is an image of some MB; a multi-frame one of 500 slices holds 256 MB.
MOST_UNPACKED_BYTES = 512 << 20
_DEFLATED = b"1.2.840.10008.1.2.1.99"
# The syntax stands within the meta information, at the start of the file.
_META_BYTES, _CHUNK_BYTES = 1024, 1 << 22
# Farther from the origin, or larger, nothing of a patient is.
FARTHEST_MM, LARGEST_PIXEL_MM = 10_000.0, 100.0
# Besides class and type of the image: what is one number throughout a reconstruction.
_SHARED = ("EchoTime", "ConvolutionKernel", "KVP")
# What may change along a series, but not to and fro.
LABELS = ("AcquisitionNumber", "TemporalPositionIdentifier")

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

    @classmethod
    def of(cls, fault: BaseException, name: str = "") -> UnreadableError:
        """A parser's fault in one line: parsers put whole tracebacks and values into theirs."""
        first = (str(fault).strip().splitlines() or [""])[0]
        text = "".join(c for c in first if c.isprintable())[:LONGEST_FAULT]
        return cls(f"{name}{type(fault).__name__}{': ' if text else ''}{text}")


@dataclass(frozen=True, slots=True, eq=False)
class FileHeader:
    """What one image file says, without its pixels; n frames.

    `positions_mm` (n, 3) and `orientations` (n, 6) in LPS and `pixel_mm` (along i, along j) are None where
    the file does not say; `meanings` holds unit and rescale line per frame; `labels` number the acquisition it is
    of; `problems` are its own defects.
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
    labels: tuple[str, ...]
    thickness_mm: float | None
    slice_spacing_mm: float | None
    tilt_deg: float
    patient: PatientFacts
    facts: Facts
    problems: tuple[Defect, ...] = field(default=())
    frame_labels: tuple[tuple[str, ...], ...] = ()  # the same of each frame, and its stack and kind


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
            _require_bounded(path)
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            other = _other_kind(ds)
            return other if other is not None else _header(ds, path)
    except PARSER_FAULTS as fault:
        raise UnreadableError.of(fault) from None


def _require_bounded(path: Path) -> None:
    """UnreadableError for a deflated file that unpacks to more than any image: the parser would do it in one go."""
    with path.open("rb") as file:
        start = file.read(_META_BYTES)
        if _DEFLATED not in start or start[128:132] != b"DICM":
            return
        file.seek(_PREAMBLE_BYTES + 12 + int.from_bytes(start[140:144], "little"))
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        data = file.read()
    while data and not unpacker.eof and size <= MOST_UNPACKED_BYTES:
        size += len(unpacker.decompress(data, _CHUNK_BYTES))
        data = unpacker.unconsumed_tail
    if size > MOST_UNPACKED_BYTES:
        raise UnreadableError(f"unpacks to more than {MOST_UNPACKED_BYTES >> 20} MiB")


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
        kind=(str(ds.get("SOPClassUID", "")), *_image_type(ds)[2:3], *(_plain(ds, n) for n in _SHARED)),
        size=(columns, rows),
        frames=frames,
        positions_mm=positions,
        orientations=orientations,
        pixel_mm=pixel,
        meanings=meanings,
        labels=tuple(_plain(ds, n) for n in LABELS),
        thickness_mm=number_of(ds, "SliceThickness"),
        slice_spacing_mm=number_of(ds, "SpacingBetweenSlices"),
        tilt_deg=number_of(ds, "GantryDetectorTilt") or 0.0,
        patient=patient_of(ds),
        facts=facts_of(ds),
        problems=tuple(_problems(ds, meanings, positions, orientations, pixel)),
        frame_labels=labels_of(groups),
    )


def _plain(ds: Dataset, name: str) -> str:
    return str(ds.get(name, "") or "").strip()


def _problems(
    ds: Dataset,
    meanings: tuple[Meaning, ...],
    positions: NDArray[np.float64] | None,
    orientations: NDArray[np.float64] | None,
    pixel: tuple[float, float] | None,
) -> list[Defect]:
    """What is wrong with this file by itself."""
    found = []
    image_type = _image_type(ds)
    several = repeated_volumes(ds, len(meanings)) if str(ds.Modality) == "NM" else None
    if several is not None:
        found.append(Defect(Code.MIXED_SERIES, several))
    if str(ds.Modality) == "NM" and not any("RECON" in part for part in image_type):
        found.append(Defect(Code.NOT_A_VOLUME, f"NM image of type {'/'.join(image_type[2:3]) or 'unstated'}"))
    elif positions is None or orientations is None:
        found.append(Defect(Code.NOT_A_VOLUME, "no one image position and orientation"))
    elif pixel is None:
        found.append(Defect(Code.NOT_A_VOLUME, "no one pixel spacing"))
    elif np.abs(positions).max() > FARTHEST_MM or max(pixel) > LARGEST_PIXEL_MM:
        found.append(Defect(Code.NOT_A_VOLUME, "positions or pixels that no patient can have"))
    found += _pixel_problems(ds)
    faults = sorted({m.fault for m in meanings if m.fault is not None})
    found += [Defect(Code.UNSUPPORTED_UNITS, fault) for fault in faults]
    return found


def _pixel_problems(ds: Dataset) -> list[Defect]:
    """Pixels that are no plain numbers."""
    colour = str(ds.get("PhotometricInterpretation", "") or "MONOCHROME2")
    if int(ds.get("SamplesPerPixel", 1) or 1) != 1 or not colour.startswith("MONOCHROME"):
        return [Defect(Code.NOT_A_VOLUME, "colour pixels")]
    stored, high = ds.get("BitsStored"), ds.get("HighBit")
    if stored is not None and high is not None and int(high) != int(stored) - 1:
        return [Defect(Code.UNREADABLE, f"pixels of {stored} bits that end at bit {high}")]
    return []
