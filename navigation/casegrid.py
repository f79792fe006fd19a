"""The table [map] of a case file: what it fixes of the map's grid, checked before anything rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.field import (
    AUTOMATIC,
    LARGEST_VOXEL_MM,
    MOST_FIXED_VOXELS,
    SMALLEST_VOXEL_MM,
    MapGrid,
    sizes_of,
)
from tracking.errors import InputError

Array = NDArray[np.float64]

KEYS = ("voxel_mm", "box_mm", "centre_mm", "extent_mm")
# Edges of a box in mm: a map of less than the probe resolves shows nothing, one of more is no field of a probe.
SHORTEST_EDGE_MM, LONGEST_EDGE_MM = 20.0, 600.0


def grid_at(table: object, where: str) -> MapGrid:
    """What a case fixes: `voxel_mm`, and either `box_mm` (two corners) or `centre_mm` and `extent_mm`, in Reference.

    Raises InputError naming the key.
    """
    if table is None:
        return AUTOMATIC
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: {table!r} is no table")
    unknown = sorted(table.keys() - set(KEYS))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}: is unknown; it may hold {', '.join(KEYS)}")
    voxel_mm = _voxel(table.get("voxel_mm"), f"{where}.voxel_mm")
    box = _box(table, where)
    if box is None:
        return MapGrid(voxel_mm)
    _require_size(box, voxel_mm, where)
    (x0, y0, z0), (x1, y1, z1) = (corner.tolist() for corner in box)
    return MapGrid(voxel_mm, (x0, y0, z0), (x1, y1, z1))


def _voxel(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} is no number of mm")
    if not SMALLEST_VOXEL_MM <= value <= LARGEST_VOXEL_MM:
        raise InputError(
            f"{where}: {value:g} mm is not between {SMALLEST_VOXEL_MM:g} and {LARGEST_VOXEL_MM:g} mm"
        )
    return float(value)


def _box(table: Mapping[str, Any], where: str) -> tuple[Array, Array] | None:
    if "box_mm" in table:
        if "centre_mm" in table or "extent_mm" in table:
            raise InputError(f"{where}.box_mm: is given beside centre_mm or extent_mm; one of them is enough")
        low, high = _numbers(table["box_mm"], (2, 3), f"{where}.box_mm", "two corners of three numbers")
        return low, high
    if "centre_mm" not in table and "extent_mm" not in table:
        return None
    missing = [key for key in ("centre_mm", "extent_mm") if key not in table]
    if missing:
        raise InputError(f"{where}.{missing[0]}: is missing")
    centre, extent = (
        _numbers(table[key], (3,), f"{where}.{key}", "three numbers") for key in ("centre_mm", "extent_mm")
    )
    return centre - extent / 2, centre + extent / 2


def _numbers(value: object, shape: tuple[int, ...], where: str, what: str) -> Array:
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != shape or not np.isfinite(found).all():
        raise InputError(f"{where}: {value!r} is not {what}")
    return found


def _require_size(box: tuple[Array, Array], voxel_mm: float | None, where: str) -> None:
    edges = box[1] - box[0]
    if not ((edges >= SHORTEST_EDGE_MM) & (edges <= LONGEST_EDGE_MM)).all():
        told = " x ".join(f"{edge:g}" for edge in edges)
        raise InputError(
            f"{where}: a box of {told} mm; each edge must be {SHORTEST_EDGE_MM:g} to {LONGEST_EDGE_MM:g} mm"
        )
    number = int(np.prod(sizes_of(*box, voxel_mm or LARGEST_VOXEL_MM)))
    if number > MOST_FIXED_VOXELS:
        raise InputError(
            f"{where}: {number} voxels are more than {MOST_FIXED_VOXELS}: make the box smaller or voxel_mm larger"
        )
