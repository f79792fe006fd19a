"""Entries of study.json as what they stand for: grids, series and structures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.io.clock import Clock, clock_from
from navigation.io.nrrd import read_nrrd
from navigation.volume import VoxelGrid
from tracking.errors import InputError

# Note of a structure that this program wrote as a result of an earlier case.
OUR_RESULT = "a result of an earlier scan of this program, outlined by nobody"
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True, eq=False)
class StudySeries:
    """One imported series: its grid in LPS millimetres, and the volume on demand.

    `usable` is False while the series has no frame of reference in common with the study's first one and is not
    registered onto it either; `clock` says when it was acquired, as far as that is known.
    """

    id: str
    file: Path
    modality: str
    units: str
    frame_of_reference: str | None
    grid: VoxelGrid
    defects: tuple[str, ...]
    usable: bool
    simulated: bool
    facts: dict[str, Any]  # the whole entry of study.json
    clock: Clock = field(default_factory=Clock)
    registration: str | None = None  # id of that which brought `grid` into the study's frame
    file_grid: VoxelGrid | None = None  # the file's own grid where `grid` is a registered one

    def volume(self) -> NDArray[np.float32]:
        """Values (nz, ny, nx) in `units`. Raises InputError if the file does not fit study.json."""
        return _fitting(self.file, self.file_grid or self.grid)


@dataclass(frozen=True, slots=True, eq=False)
class StudyStructure:
    """A region drawn in the study: centroid (3,), box (3,) along L, P and S in mm, volume in mL.

    `usable` is False where it is empty or its frame of reference is not that of a usable series; then the place
    must not be shown in the study. `file` and `grid` are None without a mask, `series` is the id of the series
    whose grid it is, if so.
    """

    id: str
    name: str
    source: str  # RTSTRUCT or SEG
    frame_of_reference: str | None
    usable: bool
    centroid_mm: NDArray[np.float64] | None
    volume_ml: float | None
    extent_mm: NDArray[np.float64] | None
    series: str | None
    file: Path | None
    grid: VoxelGrid | None
    notes: tuple[str, ...]
    facts: dict[str, Any]

    def mask(self) -> NDArray[np.bool_]:
        """Which voxels (nz, ny, nx) of `grid` belong to it. Raises InputError without a mask that fits."""
        if self.file is None or self.grid is None:
            raise InputError(f"{self.id}: has no mask")
        return np.asarray(_fitting(self.file, self.grid) > 0.0)


def _fitting(file: Path, grid: VoxelGrid) -> NDArray[np.float32]:
    loaded = read_nrrd(file)
    if loaded.grid.size != grid.size or not np.allclose(loaded.grid.matrix, grid.matrix):
        raise InputError(f"{file}: its geometry is not that of study.json")
    return loaded.array


def grid_from(geometry: Any) -> VoxelGrid:
    """A grid out of study.json. Raises one of the errors of a wrong entry."""
    size = tuple(int(n) for n in geometry["size"])
    return VoxelGrid(
        np.asarray(geometry["origin_mm"], dtype=np.float64).reshape(3),
        np.asarray(geometry["spacing_mm"], dtype=np.float64).reshape(3),
        (size[0], size[1], size[2]),
        np.asarray(geometry["direction"], dtype=np.float64).reshape(3, 3),
    )


def series_from(entry: Any, file: Path, number: int, clocks: Any) -> StudySeries:
    """A series of study.json at `file`; `clocks` is that table of the patient's. Raises InputError."""
    try:
        return StudySeries(
            id=str(entry["id"]),
            file=file.parent / Path(str(entry["file"])).name,
            modality=str(entry["modality"]),
            units=str(entry["units"]),
            frame_of_reference=entry.get("frame_of_reference"),
            grid=grid_from(entry["geometry"]),
            defects=tuple(entry.get("defects", ())),
            usable=entry.get("usable") is True,
            simulated=entry.get("simulated") is True,
            facts=dict(entry),
            clock=clock_from((clocks if isinstance(clocks, dict) else {}).get(entry["id"])),
        )
    except _WRONG as fault:
        raise InputError(f"{file}, series {number}: {fault} is missing or wrong") from None


def structure_from(entry: Any, file: Path, number: int) -> StudyStructure:
    """A structure of study.json at `file`. Raises InputError."""
    try:
        mask = entry.get("file")
        volume = entry.get("volume_ml")
        return StudyStructure(
            id=str(entry["id"]),
            name=str(entry["name"]),
            source=str(entry["source"]),
            frame_of_reference=entry.get("frame_of_reference"),
            usable=entry.get("usable") is True,
            centroid_mm=_vector(entry.get("centroid_mm")),
            volume_ml=None if volume is None else float(volume),
            extent_mm=_vector(entry.get("extent_mm")),
            series=entry.get("series"),
            file=None if mask is None else file.parent / Path(str(mask)).name,
            grid=None if entry.get("geometry") is None else grid_from(entry["geometry"]),
            notes=tuple(str(n) for n in entry.get("notes", ())),
            facts=dict(entry),
        )
    except _WRONG as fault:
        raise InputError(f"{file}, structure {number}: {fault} is missing or wrong") from None


def _vector(value: Any) -> NDArray[np.float64] | None:
    return None if value is None else np.asarray(value, dtype=np.float64).reshape(3)
