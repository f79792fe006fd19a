"""Targets and named points in files that other programs write and read: tables, 3D Slicer's markups.

LPS millimetres throughout; Slicer's files say so themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from navigation.io.points import read_points
from navigation.targets import Target, TargetList, clicked, targets_of
from tracking.errors import InputError
from tracking.jsonfile import read_json, write_text

# 3D Slicer knows a file of markups by this name.
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def read_targets(path: Path) -> TargetList:
    """Targets of a targets.json, or of a .csv, .mrk.json or .fcsv with points. Raises InputError.

    A table of points tells neither uncertainty nor activity: they count as clicked.
    """
    if path.name.lower().endswith(".json") and "markups" not in read_json(path):
        return targets_of(read_json(path), path)
    points = read_points(path)
    names = points.labels or tuple(f"T{n}" for n in range(1, len(points) + 1))
    try:
        return TargetList(tuple(clicked(n, p) for n, p in zip(names, points.points_mm, strict=True)))
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None


def write_points(
    path: Path, names: Iterable[str], points_mm: ArrayLike, notes: Iterable[str] | None = None
) -> None:
    """Write named points (n, 3) in LPS as .csv, .mrk.json or .fcsv, whole or not at all.

    Raises InputError for another ending, OSError.
    """
    suffix = path.name.lower()
    if suffix.endswith(".mrk.json"):
        write_text(path, markups_json(names, points_mm, notes))
    elif suffix.endswith(".csv"):
        write_text(path, points_csv(names, points_mm))
    elif suffix.endswith(".fcsv"):
        write_text(path, points_fcsv(names, points_mm))
    else:
        raise InputError(f"{path}: points are written as .mrk.json, .csv or .fcsv")


def write_targets(path: Path, targets: Iterable[Target]) -> None:
    """Write the places of targets as `write_points` does; their notes go along into .mrk.json."""
    chosen = list(targets)
    places = [t.position_mm for t in chosen]
    write_points(path, [t.name for t in chosen], places, [_told(t) for t in chosen])


def _told(target: Target) -> str:
    activity = "" if target.expected_kbq is None else f"{target.expected_kbq:.3g} kBq expected"
    parts = (target.origin, activity, target.label or "", target.note)
    return "; ".join(p for p in parts if p)


def points_csv(names: Iterable[str], points_mm: ArrayLike) -> str:
    """A table label,x_mm,y_mm,z_mm in LPS, as `register points` reads it."""
    places = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
    rows = [",".join([_cell(n), *(f"{v:.4f}" for v in p)]) for n, p in zip(names, places, strict=True)]
    return "\n".join(["label,x_mm,y_mm,z_mm", *rows]) + "\n"


def _cell(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(c in text for c in ',"#') else text


def markups_json(names: Iterable[str], points_mm: ArrayLike, notes: Iterable[str] | None = None) -> str:
    """Points (n, 3) in LPS as a list of markups that 3D Slicer opens."""
    names = list(names)
    said = [""] * len(names) if notes is None else list(notes)
    controls = [
        {
            "id": str(number),
            "label": name,
            "description": note,
            "position": [float(v) for v in point],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (name, point, note) in enumerate(
            zip(names, np.asarray(points_mm).reshape(-1, 3), said, strict=True), start=1
        )
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": controls,
    }
    return json.dumps({"@schema": _SCHEMA, "markups": [markup]}, ensure_ascii=False, indent=1) + "\n"


def points_fcsv(names: Iterable[str], points_mm: ArrayLike) -> str:
    """Slicer's older table of markups, in LPS."""
    places = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
    head = [
        "# Markups fiducial file version = 4.11",
        "# CoordinateSystem = LPS",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
    ]
    rows = [
        ",".join([f"gammanav_{n}", *(f"{v:.4f}" for v in p), "0,0,0,1,1,1,0", _cell(name), "", ""])
        for n, (name, p) in enumerate(zip(names, places, strict=True), start=1)
    ]
    return "\n".join([*head, *rows]) + "\n"
