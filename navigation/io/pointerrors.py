"""How well the points of a list are known: a number for all of them, or a table with a row for each.

A row holds [label,] and one number (3D RMS), three (SD along x, y, z) or six (xx, yy, zz, xy, xz, yz in mm2), in the
frame of the list; a heading is skipped, a single row without label holds for every point.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.points import PointList, is_number, table_rows
from tracking.errors import InputError

Array = NDArray[np.float64]

_WIDTHS = (1, 3, 6)


def point_errors(stated: str, points: PointList, name: str) -> Array:
    """Covariances (n, 3, 3) mm2 of the points of a list, from a number (3D RMS, mm) or a file.

    Raises InputError naming `name` or file and row.
    """
    try:
        number = float(stated)
    except ValueError:
        return _from_file(Path(stated), points)
    return np.tile(_covariance([number], name), (len(points), 1, 1))


def _from_file(path: Path, points: PointList) -> Array:
    rows = [(cells, f"{path}, row {row}") for row, cells in table_rows(path)]
    if rows and not any(is_number(c) for c in rows[0][0]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{path}: no errors of points in this file")
    labelled = [len(cells) - 1 in _WIDTHS for cells, _ in rows]
    if not any(labelled):
        return _by_order(path, rows, len(points))
    if not all(labelled) or points.labels is None:
        raise InputError(f"{path}: errors with labels go with labelled points, and each needs one")
    known = {cells[0]: _covariance(_numbers(cells[1:], where), where) for cells, where in rows}
    missing = [label for label in points.labels if label not in known]
    if missing:
        raise InputError(f"{path}: no error for the point '{missing[0]}'")
    return np.array([known[label] for label in points.labels])


def _by_order(path: Path, rows: list[tuple[list[str], str]], n: int) -> Array:
    if len(rows) not in (1, n):
        raise InputError(f"{path}: {len(rows)} rows for {n} points; one for each, or one for all")
    found = [_covariance(_numbers(cells, where), where) for cells, where in rows]
    return np.array(found * n if len(rows) == 1 else found)


def _numbers(cells: list[str], where: str) -> list[float]:
    try:
        return [float(c) for c in cells]
    except ValueError:
        raise InputError(f"{where}: {','.join(cells)} is no error of a point") from None


def _covariance(values: list[float], where: str) -> Array:
    """(3, 3) mm2 of 3D RMS, of SDs along the axes, or of the six elements."""
    if len(values) not in _WIDTHS or not all(math.isfinite(v) for v in values):
        raise InputError(f"{where}: one, three or six numbers expected")
    if len(values) < 6 and min(values) <= 0.0:
        raise InputError(f"{where}: an error of a point is above zero")
    if len(values) == 1:
        return np.eye(3) * values[0] ** 2 / 3.0
    if len(values) == 3:
        return np.diag(np.square(values))
    xx, yy, zz, xy, xz, yz = values
    matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if np.linalg.eigvalsh(matrix)[0] <= 0.0:
        raise InputError(f"{where}: no covariance (not positive definite)")
    return matrix
