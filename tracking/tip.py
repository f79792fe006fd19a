"""The probe's tip in its marker's frame, from tip.json, axis.json or both, or from a PLUS configuration.

Tip frame: origin at the centre of the probe's face, +Z out of the face (PLUS and SlicerIGT: -Z from the tip
back to the marker). Without a full matrix the roll about Z is free and is chosen the same way every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json
from tracking.plus.coordinates import read_coordinate_definitions
from tracking.seal import require_in_date, require_untouched
from tracking.transform import rigidity_fault

# A unit vector written with three digits is off by up to 1e-3; one off by more was not meant as one.
UNIT_VECTOR_TOLERANCE = 1e-2
TIP_KEYS = ("T_probe_probetip", "tip_offset_mm", "axis")


def read_tip(paths: Sequence[Path], tool: str = "Probe", day: date | None = None) -> dict[str, Any]:
    """The tip's keys of several files in one; a later file overrides an earlier one.

    A file that ends in .xml is a PLUS configuration; of it the tip of `tool` is taken (ProbeTipToProbe). Raises
    InputError naming the file, GateRefusedError for a calibration that was not accepted, was altered or is expired on
    `day` (default: today).
    """
    return merge_tips([_read_plus(path, tool) if _is_plus(path) else _read_one(path, day) for path in paths])


def merge_tips(tips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Keys of several tips in one; a later offset or axis displaces an earlier full matrix."""
    merged: dict[str, Any] = {}
    for tip in tips:
        if "T_probe_probetip" not in tip:
            merged.pop("T_probe_probetip", None)
        merged.update(tip)
    return merged


def _read_one(path: Path, day: date | None) -> dict[str, Any]:
    values = read_json(path)
    require_untouched(values, path)
    require_in_date(values, path, day)
    if values.get("accepted") is False:
        reasons = "; ".join(str(r) for r in values.get("reasons") or ()) or "no reason given"
        raise GateRefusedError(f"{path}: this calibration was not accepted ({reasons})")
    tip: dict[str, Any] = {key: values[key] for key in TIP_KEYS if values.get(key) is not None}
    if not tip:
        raise InputError(f"{path}: has none of {', '.join(TIP_KEYS)}")
    _check(tip, str(path))
    return tip


def _is_plus(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _read_plus(path: Path, tool: str) -> dict[str, Any]:
    found = read_coordinate_definitions(path)
    name = f"{tool}TipTo{tool}"
    if name not in found:
        others = ", ".join(found) or "none"
        raise InputError(f"{path}: CoordinateDefinitions has no {name} (but {others})")
    tip = {"T_probe_probetip": found[name].matrix.tolist()}
    _check(tip, f"{path}, {name}")
    return tip


def tip_matrix(tip: Mapping[str, Any], source: str = "tip.json") -> NDArray[np.float64]:
    """`T_probe_probetip` (4, 4) in mm from a full matrix, or from `tip_offset_mm` and `axis`.

    Raises InputError naming `source` and the key that is missing or wrong.
    """
    _check(tip, source)
    if tip.get("T_probe_probetip") is not None:
        return np.asarray(tip["T_probe_probetip"], dtype=np.float64)
    for key in ("tip_offset_mm", "axis"):
        if tip.get(key) is None:
            raise InputError(f"{source}: {key} is missing (or give T_probe_probetip)")
    return frame_along(tip["tip_offset_mm"], tip["axis"])


def frame_along(origin_mm: ArrayLike, axis: ArrayLike) -> NDArray[np.float64]:
    """A frame (4, 4) at `origin_mm` (3,) with +Z along `axis` (3,); X leans to the axis least along Z."""
    z = np.asarray(axis, dtype=np.float64)
    z = z / np.linalg.norm(z)
    x = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = x - (x @ z) * z
    x = x / np.linalg.norm(x)
    frame = np.eye(4)
    frame[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    frame[:3, 3] = origin_mm
    return frame


def _check(tip: Mapping[str, Any], source: str) -> None:
    """Raise InputError when a key is present but is not what it should be."""
    if tip.get("T_probe_probetip") is not None:
        fault = rigidity_fault(_array(tip, "T_probe_probetip", source))
        if fault is not None:
            raise InputError(f"{source}, T_probe_probetip: {fault}")
    for key in ("tip_offset_mm", "axis"):
        if tip.get(key) is None:
            continue
        vector = _array(tip, key, source)
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise InputError(f"{source}, {key}: not three finite numbers")
        if key == "axis" and abs(np.linalg.norm(vector) - 1.0) > UNIT_VECTOR_TOLERANCE:
            raise InputError(f"{source}, axis: length {np.linalg.norm(vector):.3g}, not a unit vector")


def _array(tip: Mapping[str, Any], key: str, source: str) -> NDArray[np.float64]:
    try:
        return np.asarray(tip[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{source}, {key}: not an array of numbers") from None
