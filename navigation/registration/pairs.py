"""Which point belongs to which: by label, by order, or by the distances among them alone.

Without labels the lists may differ in order and number; a match that is not proven is refused with words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from navigation.io.points import PointList
from navigation.registration.doubts import unit_doubts
from navigation.registration.evidence import Evidence
from navigation.registration.matching import (
    FEWEST_MATCHED,
    MOST_POINTS,
    NO_PARTNER,
    Assignment,
    Match,
    TooManyWaysError,
    match,
)
from navigation.registration.targeterror import FleBelief
from tracking.errors import InputError

Array = NDArray[np.float64]
Way = Literal["auto", "labels", "order", "any"]
WAYS: tuple[Way, ...] = ("auto", "labels", "order", "any")


@dataclass(frozen=True, slots=True, eq=False)
class PointPairs:
    """Matched points (n, 3) in mm; `unmatched` are the points that only one list has.

    `rows` (n, 2) are their places in the two lists, from 0; `match` says how they were found, `certain` that it is
    more than the order of two unlabelled files; `reasons` refuse a match that is not proven (there are no pairs then).
    """

    fixed_mm: Array
    moving_mm: Array
    labels: tuple[str, ...] | None
    unmatched: tuple[str, ...] = ()
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    match: str = "order"
    certain: bool = False
    reasons: tuple[str, ...] = ()
    wrong: float | None = None

    def __len__(self) -> int:
        return len(self.fixed_mm)

    @property
    def names(self) -> list[str]:
        """The labels, else the numbers of the pairs from 1."""
        return list(self.labels) if self.labels else [str(i + 1) for i in range(len(self))]

    def without(self, names: Sequence[str]) -> PointPairs:
        """The pairs that are not named; what is left keeps its names. Raises InputError for a name that no pair has."""
        if not names:
            return self
        for name in names:
            if name not in self.names:
                raise InputError(f"no pair '{name}' to exclude; there are: {', '.join(self.names)}")
        keep = np.array([n not in names for n in self.names], dtype=bool)
        return PointPairs(
            self.fixed_mm[keep],
            self.moving_mm[keep],
            tuple(n for n in self.names if n not in names),
            self.unmatched,
            self.rows[keep],
            self.match,
            self.certain,
            self.reasons,
            self.wrong,
        )

    def as_json(self) -> dict[str, Any]:
        """`match`, `pairs` (numbers of the points in the two files, from 1) and `unmatched` of reg.json."""
        told = {"match": self.match, "pairs": (self.rows + 1).tolist(), "unmatched": list(self.unmatched)}
        return told if self.wrong is None else {**told, "match_wrong_probability": self.wrong}


def match_points(
    fixed: PointList, moving: PointList, way: Way = "auto", belief: FleBelief | None = None
) -> PointPairs:
    """Pairs in the order of `fixed`; "auto" is by labels where both have them, else by order.

    Raises InputError if the lists cannot be matched so at all.
    """
    if way == "any":
        return _by_distances(fixed, moving, belief)
    labelled = fixed.labels is not None and moving.labels is not None
    if way == "order" or (way == "auto" and not labelled):
        return _by_order(fixed, moving, certain=way == "order")
    return _by_label(fixed, moving)


def _by_order(fixed: PointList, moving: PointList, certain: bool) -> PointPairs:
    if len(fixed) != len(moving):
        raise InputError(
            f"{len(fixed)} fixed and {len(moving)} moving points without common labels cannot be matched by order; "
            "--match any finds which belongs to which"
        )
    rows = np.repeat(np.arange(len(fixed))[:, None], 2, axis=1)
    labels = fixed.labels or moving.labels
    return PointPairs(fixed.points_mm, moving.points_mm, labels, rows=rows, match="order", certain=certain)


def _by_label(fixed: PointList, moving: PointList) -> PointPairs:
    if fixed.labels is None or moving.labels is None:
        raise InputError("both lists need labels to be matched by them")
    common = tuple(label for label in fixed.labels if label in moving.labels)
    if not common:
        raise InputError("the two lists have no label in common")
    rows = np.array([(fixed.labels.index(c), moving.labels.index(c)) for c in common], dtype=np.int64)
    unmatched = tuple(sorted(set(fixed.labels) ^ set(moving.labels)))
    return PointPairs(
        fixed.points_mm[rows[:, 0]],
        moving.points_mm[rows[:, 1]],
        common,
        unmatched,
        rows,
        match="labels",
        certain=True,
    )


def _by_distances(fixed: PointList, moving: PointList, belief: FleBelief | None) -> PointPairs:
    if max(len(fixed), len(moving)) > MOST_POINTS:
        raise InputError(f"more than {MOST_POINTS} points: these are matched by labels or by order only")
    evidence = Evidence.of(belief)
    try:
        found = match(fixed.points_mm, moving.points_mm, evidence)
    except TooManyWaysError:
        return _refused(fixed, moving, ("the points are too regular or too close together: matches abound",))
    reasons = _doubts(fixed, moving, found)
    if reasons or found.best is None:
        return _refused(fixed, moving, reasons, found.wrong)
    used = np.nonzero(found.best.partner != NO_PARTNER)[0]
    rows = np.column_stack([used, found.best.partner[used]])
    return PointPairs(
        fixed.points_mm[rows[:, 0]],
        moving.points_mm[rows[:, 1]],
        _labels(fixed, moving, rows),
        _left(fixed, "fixed", rows[:, 0]) + _left(moving, "moving", rows[:, 1]),
        rows,
        match="any",
        certain=True,
        wrong=found.wrong,
    )


def _labels(fixed: PointList, moving: PointList, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Of the fixed list, else of the moving one, else the numbers in the fixed one."""
    if fixed.labels is None and moving.labels is not None:
        return tuple(moving.labels[j] for j in rows[:, 1])
    return tuple(_name(fixed, i) for i in rows[:, 0])


def _name(points: PointList, row: int) -> str:
    return str(row + 1) if points.labels is None else points.labels[row]


def _left(points: PointList, which: str, used: NDArray[np.int64]) -> tuple[str, ...]:
    rest = [i for i in range(len(points)) if i not in used]
    return tuple(f"{which} {i + 1}" if points.labels is None else points.labels[i] for i in rest)


def _refused(
    fixed: PointList, moving: PointList, reasons: tuple[str, ...], wrong: float | None = None
) -> PointPairs:
    nothing = np.zeros(0, dtype=np.int64)
    left = _left(fixed, "fixed", nothing) + _left(moving, "moving", nothing)
    empty = np.zeros((0, 3))
    return PointPairs(empty, empty, None, left, match="any", reasons=reasons, wrong=wrong)


def _doubts(fixed: PointList, moving: PointList, found: Match) -> tuple[str, ...]:
    """Why a match is not to be believed; nothing where it is proven."""
    fewest = min(len(fixed), len(moving))
    if fewest < FEWEST_MATCHED:
        return (f"{fewest} points: at least {FEWEST_MATCHED} are needed to match lists without labels",)
    if found.mirrored:
        return ("one list is mirrored: its mirror image fits the other list, it does not",)
    if found.best is None or found.by_chance:
        units = unit_doubts(fixed.points_mm, moving.points_mm)
        agree = "" if found.best is None else f": the best match of {found.best.pairs} points may be chance"
        return (*units, f"the lists do not fit each other in any order{agree}")
    return () if found.unambiguous else (_ambiguous(fixed, found.best, found),)


def _ambiguous(fixed: PointList, best: Assignment, found: Match) -> str:
    nearest = found.others[0]
    differ = np.nonzero(nearest.partner != best.partner)[0].tolist()
    names = ", ".join(_name(fixed, i) for i in differ)
    return (
        f"ambiguous: the match of {names} may be another (probability {found.wrong:.2g}), the points are too symmetric "
        "for their error; label them, or add one off the symmetry"
    )
