"""A tip there and back between a result and the `CoordinateDefinitions` of a PLUS configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.jsonfile import write_text
from tracking.plus import read_coordinate_definitions, write_coordinate_definition
from tracking.tip import tip_matrix

# What PLUS takes a file without anything else for.
EMPTY = '<?xml version="1.0" encoding="UTF-8"?>\n<PlusConfiguration version="2.1">\n</PlusConfiguration>\n'


def is_plus(path: Path | None) -> bool:
    """Whether the name is that of a PLUS configuration."""
    return path is not None and path.suffix.lower() == ".xml"


def check_plus(path: Path) -> None:
    """InputError now, rather than after a calibration, if the file is there and is no PLUS configuration."""
    if not is_plus(path):
        raise InputError(f"{path}: a PLUS configuration ends in .xml")
    if path.exists():
        read_coordinate_definitions(path)


def put_tip(path: Path, tool: str, tip: Mapping[str, Any], error_mm: float | None) -> str:
    """Put the tip of `tool` into the file, made if there is none, with today's date; returns its name there.

    `tip` has the keys of tip.json; without an axis +Z runs from the marker to the tip, as PLUS has it.
    """
    import numpy as np

    if not path.exists():
        write_text(path, EMPTY)
    values = dict(tip)
    if "axis" not in values and "T_probe_probetip" not in values:
        offset = np.asarray(values["tip_offset_mm"], dtype=np.float64)
        length = float(np.linalg.norm(offset))
        values["axis"] = (offset / length).tolist() if length else [0.0, 0.0, 1.0]
    write_coordinate_definition(path, f"{tool}Tip", tool, tip_matrix(values, str(path)), error_mm)
    return f"{tool}TipTo{tool}"


def imported_tip(path: Path, tool: str, max_rms_mm: float) -> dict[str, Any]:
    """The content of tip.json from a PLUS file, with its Error and Date; refused where the error is not known.

    Raises InputError naming the file when it has no tip of `tool`, or one that is not rigid.
    """
    found = read_coordinate_definitions(path)
    name = f"{tool}TipTo{tool}"
    if name not in found:
        raise InputError(
            f"{path}: CoordinateDefinitions has no {name} (but {', '.join(found) or 'none'}); --tool names another"
        )
    definition = found[name]
    try:
        matrix = definition.rigid().matrix
    except InputError as error:
        raise InputError(f"{path}, {name}: {error}") from None
    reasons = _import_reasons(definition.error_mm, max_rms_mm)
    return {
        "tip_offset_mm": matrix[:3, 3].tolist(),
        "T_probe_probetip": matrix.tolist(),
        "axis": matrix[:3, 2].tolist(),
        **dict.fromkeys(("pivot_point_mm", "rms_per_axis_mm", "tip_sd_mm", "max_angle_deg", "poses")),
        "rms_mm": definition.error_mm,
        "date": definition.date,
        "method": "imported",
        "transform": f"{tool}ToTracker",
        "imported_from": str(path),
        "accepted": not reasons,
        "reasons": reasons,
    }


def _import_reasons(error_mm: float | None, max_rms_mm: float) -> list[str]:
    if error_mm is None:
        return ["the file tells no error of this calibration: check the tip in a divot, or calibrate it anew"]
    if error_mm > max_rms_mm:
        return [f"error {error_mm:.3f} mm, at most {max_rms_mm:g} allowed"]
    return []
