"""Which point belongs to which: by label where both lists have them, else by order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.io.points import PointList
from tracking.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class PointPairs:
    """Matched points (n, 3) in mm; `unmatched` are the labels that only one list has."""

    fixed_mm: NDArray[np.float64]
    moving_mm: NDArray[np.float64]
    labels: tuple[str, ...] | None
    unmatched: tuple[str, ...] = ()


def match_points(fixed: PointList, moving: PointList) -> PointPairs:
    """Pairs in the order of `fixed`. Raises InputError if the lists cannot be matched."""
    if fixed.labels is None or moving.labels is None:
        if len(fixed) != len(moving):
            raise InputError(
                f"{len(fixed)} fixed and {len(moving)} moving points without common labels cannot be matched"
            )
        return PointPairs(fixed.points_mm, moving.points_mm, fixed.labels or moving.labels)
    common = tuple(label for label in fixed.labels if label in moving.labels)
    if not common:
        raise InputError("the two lists have no label in common")
    unmatched = sorted(set(fixed.labels) ^ set(moving.labels))
    return PointPairs(
        fixed.points_mm[[fixed.labels.index(c) for c in common]],
        moving.points_mm[[moving.labels.index(c) for c in common]],
        common,
        tuple(unmatched),
    )
