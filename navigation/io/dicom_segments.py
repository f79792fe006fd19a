"""Segments of a DICOM SEG file as masks on their own proven grid.

Frames may be there only where a segment is, so that gaps are allowed that are whole steps (DICOM PS3.3 C.8.20).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from navigation.io.dicom_frames import groups_of, item_of, number_of, planes_of, text_of
from navigation.io.dicom_geometry import (
    AXIS_TOLERANCE,
    PLACE_TOLERANCE_MM,
    SAME_PLACE_MM,
    axes_of,
)
from navigation.io.dicom_headers import MOST_FRAMES, MOST_VOXELS, PARSER_FAULTS, UnreadableError
from navigation.io.dicom_pixels import stored_values
from navigation.io.studyfile import OUR_RESULT
from navigation.volume import VoxelGrid

# A fraction belongs to the segment from here on.
HALF = 0.5
MOST_SEGMENTS = 200
# Whose code says what a segment is, where this program wrote it (`dicomresults.codes`): nobody outlined that.
OUR_SCHEME = "99GAMMANAV"
# Index steps that are whole numbers to this are those of one lattice: a twentieth of a voxel.
LATTICE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment: `mask` (nz, ny, nx) of 0 and 1 on `grid`, with what the file says of it."""

    name: str
    number: int
    kind: str | None
    frame_of_reference: str | None
    mask: NDArray[np.uint8]
    grid: VoxelGrid
    series: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Every segment of a SEG file. Raises UnreadableError, also when its frames form no grid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _segments(pydicom.dcmread(path, force=True))
    except PARSER_FAULTS as fault:
        raise UnreadableError.of(fault) from None


def _segments(ds: Dataset) -> tuple[Segment, ...]:
    frames, rows, columns = int(ds.get("NumberOfFrames", 1) or 1), int(ds.Rows), int(ds.Columns)
    if min(frames, rows, columns) < 1 or frames > MOST_FRAMES or frames * rows * columns > MOST_VOXELS:
        raise UnreadableError(f"{frames} frames of {columns} x {rows} pixels are out of range")
    stated = list(ds.get("SegmentSequence") or ())
    if not 0 < len(stated) <= MOST_SEGMENTS:
        raise UnreadableError(f"{len(stated)} segments are out of range")
    groups = [groups_of(ds, i) for i in range(frames)]
    grid, places = _lattice(ds, groups, (columns, rows))
    owners = np.array([_owner(g) for g in groups])
    pixels = stored_values(ds).reshape(frames, rows, columns)
    return tuple(_segment(ds, item, pixels, owners, places, grid) for item in stated)


def _owner(groups: list[Dataset]) -> int:
    """Number of the segment that a frame belongs to; -1 where it does not say."""
    item = item_of(groups, "SegmentIdentificationSequence")
    return -1 if item is None else int(item.get("ReferencedSegmentNumber", -1))


def _segment(
    ds: Dataset,
    item: Dataset,
    pixels: NDArray[np.generic],
    owners: NDArray[np.int64],
    places: NDArray[np.int64],
    grid: VoxelGrid,
) -> Segment:
    number = int(item.get("SegmentNumber", -1))
    labels = text_of(ds, "SegmentationType") == "LABELMAP"
    least, notes = _least(ds)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for n in range(len(places)) if labels else np.nonzero(owners == number)[0]:
        frame = pixels[n]
        mask[places[n]] |= (frame == number if labels else frame >= least).astype(np.uint8)
    kinds = item.get("SegmentedPropertyTypeCodeSequence")
    ours = bool(kinds) and text_of(kinds[0], "CodingSchemeDesignator") == OUR_SCHEME
    return Segment(
        name=text_of(item, "SegmentLabel") or f"segment {number}",
        number=number,
        kind=text_of(kinds[0], "CodeMeaning") if kinds else None,
        frame_of_reference=text_of(ds, "FrameOfReferenceUID"),
        mask=mask,
        grid=grid,
        series=frozenset(
            text_of(s, "SeriesInstanceUID") or "" for s in ds.get("ReferencedSeriesSequence") or ()
        ),
        notes=(OUR_RESULT, *notes) if ours else notes,
    )


def _least(ds: Dataset) -> tuple[float, tuple[str, ...]]:
    """The stored value from which a voxel belongs to its segment."""
    if text_of(ds, "SegmentationType") != "FRACTIONAL":
        return 1.0, ()
    most = number_of(ds, "MaximumFractionalValue") or 255.0
    kind = (text_of(ds, "SegmentationFractionalType") or "fraction").lower()
    return HALF * most, (f"outlined where its {kind} is at least one half",)


def _lattice(
    ds: Dataset, groups: list[list[Dataset]], size: tuple[int, int]
) -> tuple[VoxelGrid, NDArray[np.int64]]:
    """The grid that holds all frames, and each frame's slice in it. Raises UnreadableError."""
    positions, orientations, pixel = planes_of(ds, groups)
    if positions is None or orientations is None or pixel is None:
        raise UnreadableError("its frames do not say where they lie")
    axes = axes_of(orientations[0])
    if axes is None or np.abs(orientations - orientations[0]).max() > AXIS_TOLERANCE:
        raise UnreadableError("its frames are turned against each other")
    local = positions @ axes
    if np.ptp(local[:, :2], axis=0).max() > PLACE_TOLERANCE_MM:
        raise UnreadableError("its frames are shifted against each other")
    measures = item_of(groups[0], "PixelMeasuresSequence") or Dataset()
    step = _step(
        local[:, 2], number_of(measures, "SpacingBetweenSlices"), number_of(measures, "SliceThickness")
    )
    first = float(local[:, 2].min())
    places = np.rint((local[:, 2] - first) / step).astype(np.int64)
    if np.abs(local[:, 2] - first - places * step).max() > PLACE_TOLERANCE_MM:
        raise UnreadableError("its frames are unevenly spaced")
    count = int(places.max()) + 1
    if count * size[0] * size[1] > MOST_VOXELS:
        raise UnreadableError("its frames lie too far apart")
    origin = axes @ np.array([*local[0, :2], first])
    return VoxelGrid(origin, np.array([*pixel, step]), (*size, count), axes), places


def _step(places: NDArray[np.float64], stated: float | None, thickness: float | None) -> float:
    """Distance of slices: stated, else the smallest there is, else the thickness of the only one."""
    gaps = np.diff(np.unique(places))
    gaps = gaps[gaps >= SAME_PLACE_MM]
    step = abs(stated) if stated else float(gaps.min()) if len(gaps) else abs(thickness or 0.0)
    if not np.isfinite(step) or step < SAME_PLACE_MM:
        raise UnreadableError("the distance of its slices is unknown")
    return step


def onto(
    mask: NDArray[np.uint8], grid: VoxelGrid, target: VoxelGrid
) -> tuple[NDArray[np.uint8], bool] | None:
    """A mask on another grid of the same lattice, and whether some of it lies outside; None for another lattice."""
    step = np.linalg.inv(target.matrix) @ grid.matrix
    whole = np.rint(step)
    span = np.array([*grid.size, 1.0])
    if (np.abs(step - whole)[:3] @ span > LATTICE_TOLERANCE * 3.0).any() or not _axes_only(whole[:3, :3]):
        return None
    index = np.argwhere(mask)[:, ::-1]
    there = (index @ whole[:3, :3].T + whole[:3, 3]).astype(np.int64)
    inside = ((there >= 0) & (there < np.array(target.size))).all(axis=1)
    moved = np.zeros(target.shape, dtype=np.uint8)
    i, j, k = there[inside].T
    moved[k, j, i] = 1
    return moved, not bool(inside.all())


def _axes_only(whole: NDArray[np.float64]) -> bool:
    """Whether a matrix of whole numbers only exchanges and reverses axes."""
    magnitude = np.abs(whole)
    return bool((magnitude.sum(axis=0) == 1.0).all() and (magnitude.sum(axis=1) == 1.0).all())


def cropped(mask: NDArray[np.uint8], grid: VoxelGrid) -> tuple[NDArray[np.uint8], VoxelGrid]:
    """The box that holds a mask which is not empty."""
    low, high = _box(mask)
    i, j, k = low
    inner = mask[k : high[2] + 1, j : high[1] + 1, i : high[0] + 1]
    origin = grid.matrix[:3] @ [*low, 1.0]
    size = high - low + 1
    return inner, VoxelGrid(
        origin, grid.spacing_mm, (int(size[0]), int(size[1]), int(size[2])), grid.direction
    )


def _box(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest (i, j, k) of a mask."""
    used: Sequence[NDArray[np.int64]] = [
        np.nonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))[0] for axis in (2, 1, 0)
    ]
    return np.array([u[0] for u in used]), np.array([u[-1] for u in used])


def measures(
    mask: NDArray[np.uint8], grid: VoxelGrid
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Centroid (3,) mm, volume in mL and box (3,) mm along L, P, S of a mask that is not empty."""
    count = int(mask.sum())
    index = [
        float((mask.sum(axis=tuple(a for a in range(3) if a != axis)) @ np.arange(mask.shape[axis])) / count)
        for axis in (2, 1, 0)
    ]
    low, high = _box(mask)
    sides = np.abs(grid.direction * grid.spacing_mm) @ (high - low + 1.0)
    return grid.matrix[:3] @ [*index, 1.0], count * grid.voxel_ml, np.asarray(sides)
