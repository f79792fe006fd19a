"""Where the frames of a DICOM image lie, whichever of three ways the file says it.

Image plane (CT, PET, MR), functional groups (enhanced multi-frame), and the detector information of a
reconstructed NM volume (DICOM PS3.3 C.8.4.15). Lengths mm, LPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

# Detectors of one camera that state a reconstructed volume's place agree to this: header values are rounded.
SAME_PLACE_MM, SAME_AXES = 0.1, 5e-4
# Vectors that give each frame of an NM file its number in something else than the stack of slices, and their counts.
_VECTORS = (
    ("EnergyWindowVector", "energy windows"),
    ("TimeSlotVector", "phases"),
    ("RRIntervalVector", "intervals"),
    ("PhaseVector", "phases"),
    ("TimeSliceVector", "times"),
)
# What numbers a frame of an enhanced image beside its place, and where its kind is told.
_FRAME_LABELS = ("FrameAcquisitionNumber", "TemporalPositionIndex", "StackID")
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
_COUNTS = (
    ("NumberOfEnergyWindows", "energy windows"),
    ("NumberOfTimeSlots", "phases"),
    ("NumberOfRRIntervals", "intervals"),
    ("NumberOfPhases", "phases"),
)


def text_of(ds: Dataset, name: str) -> str | None:
    """A text without its padding; None where there is none."""
    value = str(ds.get(name, "") or "").strip()
    return value or None


def number_of(ds: Dataset, name: str) -> float | None:
    """A number; None where there is none. Raises ValueError for one that is not finite."""
    value = ds.get(name)
    if value is None or value == "":
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}")
    return number


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
    pixels = [_pixel(item_of(g, "PixelMeasuresSequence")) for g in groups] if groups[0] else [_pixel(ds)]
    stacked = len(groups) == 1 or bool(groups[0])
    return (
        _stacked(positions) if stacked else None,
        _stacked(orientations) if stacked else None,
        pixels[0] if all(p == pixels[0] for p in pixels) else None,
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
    position = _agreed([_floats(d, "ImagePositionPatient", 3) for d in places], SAME_PLACE_MM)
    axes = _agreed([_floats(d, "ImageOrientationPatient", 6) for d in places], SAME_AXES)
    step = number_of(ds, "SpacingBetweenSlices") or number_of(ds, "SliceThickness")
    numbers = _slice_numbers(ds, frames)
    if position is None or axes is None or numbers is None or (step is None and frames > 1):
        return None, None, _pixel(ds)
    normal = np.cross(axes[:3], axes[3:])
    positions = position + np.outer(numbers * (step or 0.0), normal)
    return positions, np.tile(axes, (frames, 1)), _pixel(ds)


def _agreed(stated: list[NDArray[np.float64] | None], tolerance: float) -> NDArray[np.float64] | None:
    """What is stated once or in agreement; None where two detectors contradict each other."""
    known = [v for v in stated if v is not None]
    if not known or any(np.abs(v - known[0]).max() > tolerance for v in known):
        return None
    return known[0]


def _slice_numbers(ds: Dataset, frames: int) -> NDArray[np.float64] | None:
    """(n,): which slice, counted from 0, each frame of an NM volume is."""
    vector = ds.get("SliceVector")
    numbers = np.arange(frames) if vector is None else np.atleast_1d(np.array(vector, dtype=float)) - 1.0
    return np.asarray(numbers, dtype=np.float64) if len(numbers) == frames else None


def labels_of(groups: Sequence[list[Dataset]]) -> tuple[tuple[str, ...], ...]:
    """Per frame of a multi-frame image what numbers its acquisition, its time, its stack and its kind."""
    found = []
    for group in groups:
        content = item_of(group, "FrameContentSequence") or Dataset()
        kinds = (item_of(group, name) for name in _FRAME_TYPES)
        kind = next((str(k.get("FrameType", "")) for k in kinds if k is not None), "")
        found.append((*(str(content.get(name, "") or "") for name in _FRAME_LABELS), kind))
    return tuple(found)


def repeated_volumes(ds: Dataset, frames: int) -> str | None:
    """Why the frames of an NM file are more than one volume: phases, windows; None where they are one."""
    for name, what in _VECTORS:
        vector = ds.get(name)
        if vector is not None and len(np.unique(np.atleast_1d(np.array(vector)))) > 1:
            return f"frames of several {what}"
    slices = int(number_of(ds, "NumberOfSlices") or 0)
    if ds.get("SliceVector") is not None or frames == 1 or slices == frames:
        return None
    if slices:
        return f"{frames} frames of {slices} slices"
    for name, what in _COUNTS:
        if (number_of(ds, name) or 0.0) > 1.0:
            return f"frames of several {what}"
    return "gated frames" if "GATED" in str(ds.get("ImageType", "")) else None
