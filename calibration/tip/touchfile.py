"""Touched points and known distances from CSV files; faults are named by file and row. Lengths mm."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.tip.distances import KnownDistance
from tracking.errors import InputError

TOUCH_COLUMNS = ("label", "x_mm", "y_mm", "z_mm")
DISTANCE_COLUMNS = ("first", "second", "length_mm")


def read_touches(path: Path, once: bool = False) -> list[tuple[str, NDArray[np.float64]]]:
    """Labelled points, each (3,), in order; with `once` a label that occurs twice is refused.

    Raises InputError naming the file and the row.
    """
    found: list[tuple[str, NDArray[np.float64]]] = []
    for row, cells in _rows(path, TOUCH_COLUMNS):
        label, place = cells[0], np.array(_numbers(path, row, cells[1:]))
        if once and any(label == other for other, _ in found):
            raise InputError(f"{path}, row {row}: the label {label!r} occurs more than once")
        found.append((label, place))
    return found


def read_distances(path: Path) -> list[KnownDistance]:
    """Known distances between labelled points. Raises InputError naming the file and the row."""
    found = []
    for row, (first, second, *rest) in _rows(path, DISTANCE_COLUMNS):
        (length_mm,) = _numbers(path, row, rest)
        if first == second or length_mm <= 0.0:
            raise InputError(f"{path}, row {row}: no distance of two points")
        found.append(KnownDistance(first, second, length_mm))
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the cells of `columns`, of all rows under the header; lines with # are remarks."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    where: list[int] | None = None
    for row, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if where is None:
            where = _header(path, row, cells, columns)
        elif len(cells) <= max(where) or not cells[where[0]]:
            raise InputError(f"{path}, row {row}: {','.join(columns)} expected")
        else:
            yield row, [cells[i] for i in where]
    if where is None:
        raise InputError(f"{path}: is empty")


def _header(path: Path, row: int, cells: list[str], columns: Sequence[str]) -> list[int]:
    missing = [name for name in columns if name not in cells]
    if missing:
        raise InputError(f"{path}, row {row}: column {missing[0]} is missing")
    return [cells.index(name) for name in columns]


def _numbers(path: Path, row: int, cells: Sequence[str]) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        raise InputError(f"{path}, row {row}: not a number") from None
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{path}, row {row}: a number is not finite")
    return values
