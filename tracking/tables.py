"""Columns of numbers from CSV files, quickly, with every fault named by file, row and column.

A row is named by its line in the file, the header being row 1, as an editor or a spreadsheet counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Numbers (n, columns) and the line of the file that each row stands in (n,)."""

    path: Path
    values: NDArray[np.float64]
    line: NDArray[np.int64]

    def fault(self, row: int, what: str) -> InputError:
        """The error that names row `row` of the table."""
        return InputError(f"{self.path}, row {self.line[row]}: {what}")

    def require(self, good: ArrayLike, what: str) -> None:
        """Raise InputError for the first row that is not good (n,)."""
        bad = np.flatnonzero(~np.asarray(good, dtype=bool))
        if len(bad):
            raise self.fault(int(bad[0]), what)


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """The named columns of a CSV file with a header line; other columns are ignored, "NaN" is a number.

    Raises InputError when the file is missing, empty, lacks a column, or a row is short or not numeric.
    """
    lines = _lines_of(path)
    if not lines:
        raise InputError(f"{path}: is empty")
    header = _fields(lines[0])
    where = [_column(path, header, name) for name in columns]
    kept = [(i, line) for i, line in enumerate(lines[1:], start=2) if line.strip()]
    if not kept:
        raise InputError(f"{path}: has a header but no rows")
    for i, line in kept:
        if line.count(",") != len(header) - 1:
            raise InputError(f"{path}, row {i}: {line.count(',') + 1} columns, the header has {len(header)}")
    values = _numbers(path, kept, where, columns)
    return Table(path, values, np.array([i for i, _ in kept]))


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _fields(line: str) -> list[str]:
    return [field.strip().strip('"') for field in line.split(",")]


def _column(path: Path, header: list[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    trouble = "is missing" if name not in header else "appears twice"
    raise InputError(f"{path}, row 1: column {name} {trouble}")


def _numbers(
    path: Path, kept: list[tuple[int, str]], where: list[int], columns: Sequence[str]
) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = np.loadtxt(
            [line for _, line in kept], delimiter=",", usecols=where, ndmin=2, comments=None
        )
    except ValueError:
        raise _first_fault(path, kept, where, columns) from None
    return values


def _first_fault(
    path: Path, kept: list[tuple[int, str]], where: list[int], columns: Sequence[str]
) -> InputError:
    for i, line in kept:
        fields = _fields(line)
        for index, name in zip(where, columns, strict=True):
            try:
                float(fields[index])
            except ValueError:
                return InputError(f"{path}, row {i}: {name} is {fields[index]!r}, not a number")
    return InputError(f"{path}: cannot be read as numbers")
