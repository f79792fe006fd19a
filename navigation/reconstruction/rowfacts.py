"""What a store knows of each row besides its values: scale, place, live time, age, and how many readings it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation import _core
from navigation.reconstruction.compaction import placed

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Index = NDArray[np.intp]
Whole = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Facts:
    """Arrays over the rows: `centre` (n, 6) as `compaction.placed`, nan where a row has no pose; `age` counts up."""

    scale: Array32
    centre: Array
    radius_mm: Array
    live_s: Array
    kind: Whole
    readings: Whole
    age: Whole
    newest: int = 0

    @staticmethod
    def empty(n: int) -> Facts:
        """Of n rows to come."""
        kind, readings, age = np.zeros((3, n), dtype=np.int64)
        scale = np.zeros(n, dtype=np.float32)
        return Facts(scale, np.zeros((n, 6)), np.zeros(n), np.zeros(n), kind, readings, age)

    @staticmethod
    def of(n: int, poses: Array | None, live_s: Array | None, kind: Whole | None) -> Facts:
        """Of n fresh rows; without poses and live times they are never merged."""
        facts = Facts.empty(n)
        facts.readings[:] = 1
        facts.centre[:] = np.nan if poses is None or live_s is None else placed(poses)
        if live_s is not None:
            facts.live_s[:] = live_s
        if kind is not None:
            facts.kind[:] = kind
        return facts

    def put(self, target: slice, other: Facts, part: slice) -> None:
        """Take over rows `part` of another at `target`; they are the newest."""
        for mine, theirs in zip(self._arrays(), other._arrays(), strict=True):
            mine[target] = theirs[part]
        n = target.stop - target.start
        self.age[target] = self.newest + 1 + np.arange(n)
        self.newest += n

    def merge(self, head: int, members: Index, packed: NDArray[np.uint16]) -> None:
        """Row `head` becomes the live-time-weighted mean of `members`, whose first it is."""
        live = self.live_s[members]
        total = float(live.sum())
        weights = live / total if total > 0 else np.full(len(members), 1.0 / len(members))
        _core.merge_rows(packed, self.scale, members.astype(np.int64), weights.astype(np.float32), int(head))
        self.live_s[head] = total
        self.readings[head] = self.readings[members].sum()
        self.age[head] = self.age[members].max()

    def move(self, target: Index, source: Index) -> None:
        """Rows at `source` go to `target`."""
        for array in self._arrays():
            array[target] = array[source]

    def grown(self, n: int) -> Facts:
        """The same with room for n rows."""
        grown = Facts.empty(n)
        for mine, theirs in zip(grown._arrays(), self._arrays(), strict=True):
            mine[: len(theirs)] = theirs
        grown.newest = self.newest
        return grown

    def _arrays(self) -> tuple[NDArray[np.generic], ...]:
        return self.scale, self.centre, self.radius_mm, self.live_s, self.kind, self.readings, self.age
