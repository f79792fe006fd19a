"""Structures of RTSTRUCT and SEG files in an imported study: proven to lie in its frame, measured, and written.

A structure is usable only in the frame of reference of a series that was imported; its mask lies on the grid of
the series it was drawn on where that is possible. Nothing here stops the import of the images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.io.contours import NoBodyError, body_of
from navigation.io.dicom_headers import UnreadableError
from navigation.io.dicom_segments import Segment, cropped, measures, onto, read_segments
from navigation.io.dicom_series import Series
from navigation.io.dicom_structures import MOST_STRUCTURES, Structure, read_structures
from navigation.io.nrrd import write_nrrd
from navigation.volume import VoxelGrid

# Masks of a hundred organs on 500 slices; further structures get no mask, or the time would not do.
MOST_MASK_VOXELS = 1 << 33
# What structures may take of the minute that the whole import has.
LONGEST_S = 25.0
OTHER_FRAME = "its frame of reference is that of no imported series"


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A series that was imported, with the id and the grid it got."""

    series: Series
    id: str
    grid: VoxelGrid
    usable: bool

    @property
    def frame_of_reference(self) -> str | None:
        """As the header spells it."""
        return self.series.first.frame_of_reference


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A structure as measured; mask (nz, ny, nx) on `grid`, both None where there is nothing to fill.

    `centroid_mm` is that of the volume, `points_mean_mm` the mean of the drawn points, which some programs call so.
    """

    mask: NDArray[np.uint8] | None = None
    grid: VoxelGrid | None = None
    centroid_mm: NDArray[np.float64] | None = None
    volume_ml: float | None = None
    extent_mm: NDArray[np.float64] | None = None
    points_mean_mm: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def write_outlines(
    files: Sequence[tuple[Path, str]], written: Sequence[Written], out: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Entries of `structures` with their masks beside study.json, and files that could not be read."""
    found: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    left, deadline_s = MOST_MASK_VOXELS, time.monotonic() + LONGEST_S
    for path, source in files:
        try:
            read: Sequence[Structure | Segment] = (
                read_structures(path) if source == "RTSTRUCT" else read_segments(path)
            )
        except UnreadableError as fault:
            broken.append({"source": source, "notes": [f"UNREADABLE: {fault}"]})
            continue
        for one in read[: MOST_STRUCTURES - len(found)]:
            entry, voxels = _write(one, source, f"structure-{len(found) + 1}", written, out, left)
            # nothing is left for masks when the time is over: the images must not wait for the structures
            left = left - voxels if time.monotonic() < deadline_s else 0
            found.append(entry)
    return found, broken


def _write(
    one: Structure | Segment, source: str, label: str, written: Sequence[Written], out: Path, left: int
) -> tuple[dict[str, Any], int]:
    """The entry of one structure, and how many voxels its mask has."""
    home, usable, notes = _home(one, written)
    outline = _outline(one, home) if left > 0 else Outline(notes=("left out: too many structures",))
    if outline.mask is not None and outline.mask.size > left:
        outline = replace(outline, mask=None, notes=(*outline.notes, "no mask: too many structures"))
    name = None
    if outline.mask is not None and outline.grid is not None:
        name = f"{label}.nrrd"
        write_nrrd(out / name, outline.mask, outline.grid, {"structure": label}, stored="uchar")
    shared = home is not None and outline.grid is home.grid
    return {
        "id": label,
        "name": one.name,
        "number": one.number,
        "type": one.kind,
        "source": source,
        "frame_of_reference": one.frame_of_reference,
        "series": home.id if home is not None and shared else None,
        "usable": usable and outline.centroid_mm is not None,
        "centroid_mm": _listed(outline.centroid_mm),
        "points_mean_mm": _listed(outline.points_mean_mm),
        "volume_ml": outline.volume_ml,
        "extent_mm": _listed(outline.extent_mm),
        "file": name,
        "geometry": None if outline.grid is None else geometry_json(outline.grid),
        "notes": [*notes, *one.notes, *outline.notes],
    }, 0 if outline.mask is None else int(outline.mask.size)


def _listed(vector: NDArray[np.float64] | None) -> list[float] | None:
    return None if vector is None else [float(v) for v in vector]


def geometry_json(grid: VoxelGrid) -> dict[str, Any]:
    """A grid as study.json writes it."""
    return {
        "frame": "LPS",
        "origin_mm": grid.origin_mm.tolist(),
        "spacing_mm": grid.spacing_mm.tolist(),
        "size": list(grid.size),
        "direction": grid.direction.tolist(),
    }


def _home(one: Structure | Segment, written: Sequence[Written]) -> tuple[Written | None, bool, list[str]]:
    """The series whose grid a structure belongs on, and whether its frame of reference is proven."""
    if one.frame_of_reference is None:
        return None, False, ["no frame of reference"]
    same = [w for w in written if w.frame_of_reference == one.frame_of_reference]
    drawn_on = [w for w in written if _refers(one, w)]
    if not same:
        return None, False, [OTHER_FRAME]
    if drawn_on and not any(w in same for w in drawn_on):
        return None, False, ["it was drawn on a series of another frame of reference"]
    home = next((w for w in drawn_on if w in same), same[0])
    notes = [] if drawn_on else ["drawn on a series that is not here: placed by the frame of reference"]
    if not any(w.usable for w in same):
        return home, False, [*notes, "its series cannot be used until it is registered"]
    return home, True, notes


def _refers(one: Structure | Segment, written: Written) -> bool:
    """Whether a structure names images of a series, or else the series."""
    if isinstance(one, Structure) and one.images:
        return any(h.sop_uid in one.images for h in written.series.headers)
    return written.series.first.series_uid in one.series


def _outline(one: Structure | Segment, home: Written | None) -> Outline:
    grid = None if home is None else home.grid
    return _segmented(one, grid) if isinstance(one, Segment) else _drawn(one, grid)


def _drawn(one: Structure, grid: VoxelGrid | None) -> Outline:
    if one.contours:
        try:
            body = body_of(one.contours, grid, one.slab_mm)
        except NoBodyError as fault:
            return Outline(notes=(str(fault),))
        return Outline(
            mask=body.mask,
            grid=body.grid,
            centroid_mm=body.centroid_mm,
            volume_ml=body.volume_ml,
            extent_mm=body.extent_mm,
            points_mean_mm=np.concatenate([c.points_mm for c in one.contours]).mean(axis=0),
            notes=body.notes,
        )
    if len(one.points_mm):
        return Outline(
            centroid_mm=one.points_mm.mean(axis=0),
            volume_ml=0.0,
            extent_mm=np.ptp(one.points_mm, axis=0),
            points_mean_mm=one.points_mm.mean(axis=0),
            notes=(f"{len(one.points_mm)} marked points, no volume",),
        )
    return Outline(notes=("no closed contour",))


def _segmented(one: Segment, grid: VoxelGrid | None) -> Outline:
    if not one.mask.any():
        return Outline(notes=("no voxel belongs to it",))
    centroid, volume_ml, extent = measures(one.mask, one.grid)
    moved = None if grid is None else onto(one.mask, one.grid, grid)
    if grid is not None and moved is not None:
        notes = ("it reaches beyond the series: the mask is cut off there",) if moved[1] else ()
        return Outline(moved[0], grid, centroid, volume_ml, extent, notes=notes)
    mask, own = cropped(one.mask, one.grid)
    own_note = ("the mask lies on a grid of its own",)
    return Outline(mask, own, centroid, volume_ml, extent, notes=own_note)
