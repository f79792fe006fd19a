"""Point lists from outside: CSV tables, 3D Slicer's markups and lists of targets, in millimetres.

Slicer's files say whether they are LPS or RAS and come out as LPS; a CSV says nothing and is taken as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.jsonfile import read_json

# Slicer writes words in new files and numbers in old ones: 0 RAS, 1 LPS.
_SIGNS = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"

# A hundred metres: nothing that is tracked or imaged has coordinates beyond.
FARTHEST_MM = 1e5


@dataclass(frozen=True, slots=True, eq=False)
class PointList:
    """Points (n, 3) in mm, read-only, with their labels if the file gives any, each only once."""

    points_mm: NDArray[np.float64]
    labels: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.points_mm)


def read_points(path: Path) -> PointList:
    """Points of a .csv, .mrk.json, .fcsv or targets.json file. Raises InputError that names the file and the row."""
    name = path.name.lower()
    if name.endswith(".json"):
        content = read_json(path)
        labels, points = (_read_targets if "targets" in content else _read_markups)(path, content)
    elif name.endswith(".fcsv"):
        labels, points = _read_fcsv(path)
    else:
        labels, points = _read_csv(path)
    if not points:
        raise InputError(f"{path}: no points in this file")
    return PointList(_frozen(points), _unique(labels, path))


def _frozen(points: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    array = np.array(points, dtype=np.float64)
    array.setflags(write=False)
    return array


def _unique(labels: list[str], path: Path) -> tuple[str, ...] | None:
    if not any(labels):
        return None
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"{path}: the label '{label}' occurs more than once")
    return tuple(labels)


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InputError(f"{path}, byte {fault.start + 1}: not UTF-8 text; save it as UTF-8") from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are neither empty nor comments."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, [cell.strip() for cell in next(csv.reader(io.StringIO(line)))]


def table_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of the rows of a table, without empty lines and comments. Raises InputError."""
    return list(_rows(_text(path)))


def is_number(cell: str) -> bool:
    """A cell of a table that `float` takes."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _position(cells: Sequence[str], path: Path, row: int) -> list[float]:
    if not all(is_number(c) for c in cells) or not np.isfinite([float(c) for c in cells]).all():
        raise InputError(f"{path}, row {row}: {','.join(cells)} is not a position")
    place = [float(c) for c in cells]
    if max(map(abs, place)) > FARTHEST_MM:
        raise InputError(f"{path}, row {row}: {','.join(cells)} is no place in an operating room (mm)")
    return place


def _read_csv(path: Path) -> tuple[list[str], list[list[float]]]:
    labels: list[str] = []
    points: list[list[float]] = []
    width = 0
    for row, cells in _rows(_text(path)):
        if not width:
            width = len(cells)
            if width not in (3, 4):
                raise InputError(f"{path}, row {row}: x,y,z or label,x,y,z expected")
            if not any(is_number(c) for c in cells[-3:]):
                continue
        if len(cells) != width:
            raise InputError(f"{path}, row {row}: {len(cells)} cells, {width} expected")
        labels.append(cells[0] if width == 4 else "")
        points.append(_position(cells[-3:], path, row))
    return labels, points


def _read_fcsv(path: Path) -> tuple[list[str], list[list[float]]]:
    text = _text(path)
    stated = {
        line[1:].split("=", 1)[0].strip(): line.split("=", 1)[1].strip()
        for line in text.splitlines()
        if line.startswith("#") and "=" in line
    }
    signs = _signs(stated.get("CoordinateSystem", "0"), path)
    columns = [c.strip() for c in stated.get("columns", _FCSV_COLUMNS).split(",")]
    if any(name not in columns for name in ("x", "y", "z")):
        raise InputError(f"{path}: the columns {','.join(columns)} hold no x, y, z")
    places = [columns.index(name) for name in ("x", "y", "z")]
    named = columns.index("label") if "label" in columns else None
    labels: list[str] = []
    points: list[list[float]] = []
    for row, cells in _rows(text):
        if len(cells) <= max(places):
            raise InputError(f"{path}, row {row}: {len(cells)} cells, {len(columns)} expected")
        position = _position([cells[p] for p in places], path, row)
        points.append([s * v for s, v in zip(signs, position, strict=True)])
        labels.append(cells[named] if named is not None and named < len(cells) else "")
    return labels, points


def _signs(system: str, path: Path) -> tuple[int, int, int]:
    signs = _SIGNS.get(system.strip().upper())
    if signs is None:
        raise InputError(f"{path}: coordinate system '{system}' is neither LPS nor RAS")
    return signs


def _read_targets(path: Path, content: dict[str, object]) -> tuple[list[str], list[list[float]]]:
    """Names and places of a list of targets; what else it says of them is not looked at."""
    targets = content["targets"]
    if not isinstance(targets, list):
        raise InputError(f"{path}, targets: not a list")
    labels: list[str] = []
    points: list[list[float]] = []
    for number, target in enumerate(targets, start=1):
        if not isinstance(target, dict):
            raise InputError(f"{path}, target {number}: not an object")
        points.append(_triple(target.get("position_mm"), f"{path}, target {number}"))
        labels.append(str(target.get("name", "")))
    return labels, points


def _read_markups(path: Path, content: dict[str, object]) -> tuple[list[str], list[list[float]]]:
    markups = content.get("markups")
    if not isinstance(markups, list) or len(markups) != 1 or not isinstance(markups[0], dict):
        raise InputError(f"{path}: exactly one list of markups expected")
    markup = markups[0]
    signs = _signs(str(markup.get("coordinateSystem", "LPS")), path)
    units = markup.get("coordinateUnits", "mm")
    if units != "mm" and units != ["mm", "mm", "mm"]:
        raise InputError(f"{path}: coordinate units {units} are not mm")
    controls = markup.get("controlPoints")
    if not isinstance(controls, list):
        raise InputError(f"{path}: no control points")
    labels: list[str] = []
    points: list[list[float]] = []
    for number, control in enumerate(controls, start=1):
        if not isinstance(control, dict):
            raise InputError(f"{path}, control point {number}: not an object")
        if control.get("positionStatus", "defined") == "defined":
            position = _triple(control.get("position"), f"{path}, control point {number}")
            points.append([s * v for s, v in zip(signs, position, strict=True)])
            labels.append(str(control.get("label", "")))
    return labels, points


def _triple(position: object, where: str) -> list[float]:
    if (
        not isinstance(position, list)
        or len(position) != 3
        or not all(isinstance(v, int | float) and np.isfinite(v) for v in position)
    ):
        raise InputError(f"{where}: {position} is not a position")
    return [float(v) for v in position]
