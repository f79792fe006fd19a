"""Readings of a scan while it grows: appended without copying those before, handed out as views of what is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.sample import Readings

Array = NDArray[np.float64]

FIRST_CAPACITY = 1024


class GrowingArray:
    """Rows that are only ever appended; a view handed out keeps its content."""

    def __init__(self, like: NDArray[np.generic]) -> None:
        self._rows = np.empty((FIRST_CAPACITY, *like.shape[1:]), dtype=like.dtype)
        self._n = 0

    def append(self, rows: NDArray[np.generic]) -> None:
        """Add rows (k, ...)."""
        need = self._n + len(rows)
        if need > len(self._rows):
            grown = np.empty((max(need, 2 * len(self._rows)), *self._rows.shape[1:]), dtype=self._rows.dtype)
            grown[: self._n] = self._rows[: self._n]
            self._rows = grown
        self._rows[self._n : need] = rows
        self._n = need

    @property
    def all(self) -> NDArray[np.generic]:
        """(n, ...): a view, not to be written to."""
        return self._rows[: self._n]


class ReadingLog:
    """`Readings` that grow; `all` is O(1)."""

    def __init__(self) -> None:
        empty = Readings.empty()
        self._parts = {
            name: GrowingArray(getattr(empty, name))
            for name in ("t_s", "counts", "live_s", "poses", "weights", "first")
        }
        self._parts["first"].append(empty.first)
        self._unplaced = 0

    def __len__(self) -> int:
        return len(self._parts["t_s"].all)

    def append(self, more: Readings) -> None:
        """Add readings in order of time."""
        offset = len(self._parts["poses"].all)
        for name in ("t_s", "counts", "live_s", "poses", "weights"):
            self._parts[name].append(getattr(more, name))
        self._parts["first"].append(more.first[1:] + offset)
        self._unplaced += more.unplaced

    @property
    def all(self) -> Readings:
        """Everything so far, as views; what is appended later does not change it."""
        return Readings(**{name: part.all for name, part in self._parts.items()}, unplaced=self._unplaced)  # type: ignore[arg-type]
