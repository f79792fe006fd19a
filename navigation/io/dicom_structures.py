"""Contours of an RTSTRUCT file: its regions of interest as closed polygons and marked points in LPS millimetres.

Numbers are read from the bytes of the file, because a plan of a hundred organs holds millions of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from navigation.io.contours import Contour
from navigation.io.dicom_frames import text_of
from navigation.io.dicom_headers import FARTHEST_MM, PARSER_FAULTS, UnreadableError

# A plan of a hundred organs on 500 slices is some 50 MB of text; what is larger would not be read in a minute.
LARGEST_FILE_BYTES = 256 << 20
MOST_POINTS = 5_000_000
MOST_CONTOURS = 100_000
# Organ atlases mark some 120 structures.
MOST_STRUCTURES = 200
_CONTOUR_DATA = Tag("ContourData")
_CLOSED, _XOR, _POINT = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "POINT"


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One region of interest as its file states it.

    `contours` are its closed polygons, `points_mm` (n, 3) what it only marks; `images` are the SOP instances and
    `series` the series UIDs it was drawn on; `slab_mm` is the thickness of a contour if stated.
    """

    name: str
    number: int
    kind: str | None
    frame_of_reference: str | None
    contours: tuple[Contour, ...] = ()
    points_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    images: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    slab_mm: float | None = None
    notes: tuple[str, ...] = ()


def read_structures(path: Path) -> tuple[Structure, ...]:
    """Every region of interest of an RTSTRUCT, empty ones too. Raises UnreadableError."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise UnreadableError(f"larger than {LARGEST_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _structures(pydicom.dcmread(path, force=True))
    except PARSER_FAULTS as fault:
        raise UnreadableError.of(fault) from None


def _structures(ds: Dataset) -> tuple[Structure, ...]:
    stated = list(ds.get("StructureSetROISequence") or ())
    if len(stated) > MOST_STRUCTURES:
        raise UnreadableError(f"{len(stated)} regions of interest are more than {MOST_STRUCTURES}")
    numbers = [int(item.get("ROINumber", -1)) for item in stated]
    if len(set(numbers)) < len(numbers):
        raise UnreadableError("two regions of interest have one number")
    drawn: dict[int, list[Dataset]] = {}
    for item in ds.get("ROIContourSequence") or ():
        drawn.setdefault(int(item.get("ReferencedROINumber", -1)), []).extend(
            item.get("ContourSequence") or ()
        )
    kinds = {
        int(item.get("ReferencedROINumber", -1)): text_of(item, "RTROIInterpretedType")
        for item in ds.get("RTROIObservationsSequence") or ()
    }
    series, frame = frozenset(_series(ds)), text_of(ds, "FrameOfReferenceUID")
    left = [MOST_POINTS, MOST_CONTOURS]
    found = []
    for number, item in zip(numbers, stated, strict=True):
        own = text_of(item, "ReferencedFrameOfReferenceUID") or frame
        name = text_of(item, "ROIName") or f"ROI {number}"
        found.append(_structure(drawn.get(number, []), name, number, kinds.get(number), own, series, left))
    return tuple(found)


def _series(ds: Dataset) -> Iterator[str]:
    """UIDs of the series that the structures refer to."""
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                if uid := text_of(series, "SeriesInstanceUID"):
                    yield uid


def _structure(
    drawn: Sequence[Dataset],
    name: str,
    number: int,
    kind: str | None,
    frame: str | None,
    series: frozenset[str],
    left: list[int],
) -> Structure:
    """One region; `left` is what remains of the points and contours that a file may have."""
    contours: list[Contour] = []
    points: list[NDArray[np.float64]] = []
    notes: dict[str, int] = {}
    images: set[str] = set()
    slabs: set[float] = set()
    for item in drawn:
        left[1] -= 1
        data, kind_of_contour = _points(item), text_of(item, "ContourGeometricType") or "unstated"
        left[0] -= 0 if data is None else len(data)
        if min(left) < 0:
            raise UnreadableError(f"more than {MOST_POINTS} points or {MOST_CONTOURS} contours")
        images |= {
            text_of(i, "ReferencedSOPInstanceUID") or "" for i in item.get("ContourImageSequence") or ()
        }
        slabs |= {float(item.get("ContourSlabThickness") or 0.0)}
        if data is None:
            notes["damaged"] = notes.get("damaged", 0) + 1
        elif kind_of_contour == _POINT:
            points.append(data)
        elif kind_of_contour in (_CLOSED, _XOR):
            contours.append(Contour(data, kind_of_contour == _XOR))
        else:
            notes["open"] = notes.get("open", 0) + 1
    return Structure(
        name=name,
        number=number,
        kind=kind,
        frame_of_reference=frame,
        contours=tuple(contours),
        points_mm=np.concatenate(points) if points else np.zeros((0, 3)),
        images=frozenset(images - {""}),
        series=series,
        slab_mm=(max(slabs) or None) if slabs else None,
        notes=tuple(f"{count} {what} contours left out" for what, count in sorted(notes.items())),
    )


def _points(item: Dataset) -> NDArray[np.float64] | None:
    """(n, 3) of a contour; None where they are no finite triples or not where a patient can be."""
    element: Any = item.get_item(_CONTOUR_DATA)
    raw: Any = None if element is None else element.value
    if not raw:
        return None
    values = (
        raw.strip(b" \0").split(b"\\") if isinstance(raw, bytes) else np.atleast_1d(np.array(raw)).tolist()
    )
    try:
        array = np.array(values, dtype=np.float64)
    except ValueError:
        return None
    if array.size % 3 or not (np.abs(array) <= FARTHEST_MM).all():
        return None
    return array.reshape(-1, 3)
