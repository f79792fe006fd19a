"""A series of a study whose frame of reference is not the study's, brought into it by an accepted registration.

The file `registrations/<series>.json` of the study folder holds the transform; it is bound to the two series by
their UIDs and geometry, so that it is never applied to another import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.landmarks import registration_id
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.jsonfile import read_json
from tracking.transform import rigidity_fault

if TYPE_CHECKING:
    from navigation.io.study import StudySeries

FOLDER = "registrations"
Array = NDArray[np.float64]


def registration_file(study: Path, series_id: str) -> Path:
    """Where the registration of a series of a study folder is kept."""
    return study / FOLDER / f"{series_id}.json"


def fingerprint(series: StudySeries) -> str:
    """A short name of a series' identity and geometry; it tells neither."""
    told = {key: series.facts.get(key) for key in ("series_uid", "frame_of_reference", "geometry")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def registered_grid(grid: VoxelGrid, T_target_source: Array) -> VoxelGrid:
    """The same voxels, their centres mapped by a rigid transform (4, 4): in the frame of the target."""
    rotation, shift = T_target_source[:3, :3], T_target_source[:3, 3]
    return VoxelGrid(rotation @ grid.origin_mm + shift, grid.spacing_mm, grid.size, rotation @ grid.direction)


def binding(fixed: StudySeries, moving: StudySeries) -> dict[str, Any]:
    """What a registration file says of the series that it belongs to."""
    return {"fixed_series": _named(fixed), "moving_series": _named(moving)}


def _named(series: StudySeries) -> dict[str, str]:
    return {"id": series.id, "fingerprint": fingerprint(series)}


def anchor(series: StudySeries) -> dict[str, Any]:
    """The record that makes a series' own coordinates the study's frame, where no series has a frame of reference."""
    return {
        "T_target_source": np.eye(4).tolist(),
        "id": registration_id(np.eye(4)),
        "method": "own frame",
        "accepted": True,
        "reasons": [],
        "warnings": [
            "no series of the study states a frame of reference: this one's coordinates are the study's"
        ],
        **binding(series, series),
    }


def with_registrations(folder: Path, series: Sequence[StudySeries]) -> tuple[StudySeries, ...]:
    """The series, those that are not usable as they are registered by their file where an accepted one is.

    Raises InputError when a file is malformed or belongs to other series.
    """
    records = {one.id: _record(folder, one) for one in series if not one.usable}
    anchors = {one.id: one for one in series if one.usable}
    if not anchors:
        anchors = {one.id: one for one in series if _is_anchor(one, records[one.id])}
    return tuple(_registered(folder, one, records.get(one.id), anchors) for one in series)


def _record(folder: Path, one: StudySeries) -> dict[str, Any] | None:
    """The accepted registration that is kept for a series, if there is one, checked to be this series' own."""
    path = registration_file(folder, one.id)
    if not path.is_file():
        return None
    content = read_json(path)
    if content.get("accepted") is not True:
        return None
    if not isinstance(content.get("fixed_series"), dict) or not isinstance(
        content.get("moving_series"), dict
    ):
        raise InputError(f"{path}: does not say which series it belongs to")
    if content["moving_series"] != _named(one):
        raise InputError(f"{path}: the registration of another series, not of {one.id} of this study")
    return content


def _is_anchor(one: StudySeries, record: dict[str, Any] | None) -> bool:
    """Whether a series is said to be the study's frame itself."""
    return record is not None and record["fixed_series"] == _named(one)


def _registered(
    folder: Path, one: StudySeries, record: dict[str, Any] | None, anchors: Mapping[str, StudySeries]
) -> StudySeries:
    if record is None:
        return one
    path = registration_file(folder, one.id)
    fixed = anchors.get(str(record["fixed_series"].get("id")))
    if fixed is None or record["fixed_series"] != _named(fixed):
        raise InputError(f"{path}: registered onto a series that is not a usable one of this study")
    matrix = require_rigid(record.get("T_target_source"), path)
    if fixed is one and not np.array_equal(matrix, np.eye(4)):
        raise InputError(f"{path}: a series cannot be registered onto itself")
    name = registration_id(matrix)
    grid = registered_grid(one.grid, matrix)
    return replace(one, grid=grid, usable=True, registration=name, file_grid=one.grid)


def require_rigid(values: Any, path: Path) -> Array:
    """`T_target_source` of a file as a rigid matrix (4, 4). Raises InputError naming the file."""
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}, T_target_source: {error}") from None
    fault = rigidity_fault(matrix)
    if fault is not None:
        raise InputError(f"{path}, T_target_source: {fault}")
    return matrix
