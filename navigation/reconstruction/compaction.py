"""Which old rows of a full store become one: those whose poses nearly coincide, decided by the rows alone.

A merged row is the live-time-weighted mean of its readings' rows and stands for the sum of their counts: without dead
time the model of that sum is exact, and what is lost is only how the counts were shared out within a pose distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Depth at which a change of direction counts as a shift: typical of a node, and of where the response is narrow.
LEVER_MM = 30.0
# Pose distance within which rows are merged first, and the factor by which it grows while a store is still full.
FIRST_MM, GROWTH = 0.25, 2.0
# A third of the narrowest view of a probe: a store that had to merge farther apart has lost resolution, and users are
# to be told. Farther apart than the widest such distance rows see different places: then the store outgrows its cap.
FINE_MM, WIDEST_MM = 4.0, 16.0
# Neighbours looked at per row and round.
NEIGHBOURS = 4
# Farther than any scan reaches.
KINDS_APART_MM = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """`label` (n,) of each row: the least index of the rows it joins, its own where it stays alone; `centre` (n, 6)
    and `radius_mm` (n,) of what each label's row then stands for, meaningful at the labels.
    """

    label: Index
    centre: Array
    radius_mm: Array


def placed(poses: Array) -> Array:
    """(n, 6): tip and direction of poses (n, 4, 4), such that Euclidean distance is pose distance in mm.

    Turning about the axis is no change: the response has none.
    """
    return np.concatenate([poses[:, :3, 3], LEVER_MM * poses[:, :3, 2]], axis=1)


def merges(centre: Array, radius_mm: Array, weight: Array, kind: NDArray[np.int64], surplus: int) -> Merge:
    """Merge rows at `centre` (n, 6) until `surplus` are gone; only rows of one `kind` (n,) join.

    `radius_mm` (n,) is how far the readings of a row already lie from its centre, `weight` (n,) its live time. Fewer
    rows go where no two of a kind fit within WIDEST_MM.
    """
    state = _State(np.arange(len(centre)), centre.copy(), radius_mm.copy(), weight.copy(), kind)
    distance = FIRST_MM
    while surplus > 0 and distance <= WIDEST_MM and state.mergeable():
        gone = state.merge_within(distance, surplus)
        surplus -= gone
        if gone == 0:
            distance *= GROWTH
    return Merge(state.label, state.centre, state.radius_mm)


@dataclass(slots=True, eq=False)
class _State:
    label: Index
    centre: Array
    radius_mm: Array
    weight: Array
    kind: NDArray[np.int64]

    def mergeable(self) -> bool:
        kinds = self.kind[self._heads()]
        return len(np.unique(kinds)) < len(kinds)

    def merge_within(self, distance_mm: float, surplus: int) -> int:
        """Join nearest pairs, nearest first, none twice; how many rows that removed."""
        heads = self._heads()
        used: set[int] = set()
        for i, j in zip(*self._pairs(heads, distance_mm), strict=True):
            if len(used) == 2 * surplus:
                break
            if i not in used and j not in used:
                self._join(i, j)
                used |= {i, j}
        return len(used) // 2

    def _heads(self) -> Index:
        return np.flatnonzero(self.label == np.arange(len(self.label)))

    def _pairs(self, heads: Index, distance_mm: float) -> tuple[list[int], list[int]]:
        """Pairs of heads of one kind that fit within a distance when joined: nearest first, then the oldest."""
        _, kind = np.unique(self.kind[heads], return_inverse=True)
        at = np.column_stack([self.centre[heads], KINDS_APART_MM * kind])
        k = min(NEIGHBOURS + 1, len(heads))
        near = cKDTree(at).query(at, k=k, distance_upper_bound=2.0 * distance_mm)
        apart, other = np.asarray(near[0]), np.asarray(near[1])
        row, column = np.nonzero(np.isfinite(apart))
        one, two, d = heads[row], heads[other[row, column]], apart[row, column]
        i, j = np.minimum(one, two), np.maximum(one, two)
        fits = (i < j) & (self._reach(i, j, d) <= distance_mm)
        i, j, d = i[fits], j[fits], d[fits]
        order = np.lexsort((j, i, d))
        return i[order].tolist(), j[order].tolist()

    def _reach(self, i: Index, j: Index, apart_mm: Array) -> Array:
        """How far the readings of rows i and j would lie from their common centre, at most."""
        share = self._share(i, j)
        return np.maximum(share * apart_mm + self.radius_mm[i], (1.0 - share) * apart_mm + self.radius_mm[j])

    def _share(self, i: Index, j: Index) -> Array:
        """Weight of row j beside row i; equal ones where neither has any."""
        total = self.weight[i] + self.weight[j]
        return np.where(total > 0, self.weight[j] / np.where(total > 0, total, 1.0), 0.5)

    def _join(self, i: int, j: int) -> None:
        one, two = np.array([i]), np.array([j])
        step = self.centre[two] - self.centre[one]
        self.radius_mm[i] = self._reach(one, two, np.linalg.norm(step, axis=1))[0]
        self.centre[i] += float(self._share(one, two)[0]) * step[0]
        self.weight[i] += self.weight[j]
        self.label[self.label == j] = i
