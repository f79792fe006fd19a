"""The bed's surface in cells for a picture: each as badly seen as the worst of the tissue behind it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.coverage import BedCoverage

CELL_MM, MOST_CELLS = 5.0, 300
COVERED, SHORT, SEEN, UNSEEN = "covered", "short", "seen", "unseen"


@lru_cache(maxsize=2)
def bed_cells(coverage: BedCoverage) -> dict[str, Any]:
    """`size_mm`, `places_mm` (n, 3) in Reference, and of each how it was `seen`.

    "covered" or "short" of the threshold, "seen" where none is set, "unseen" where any of it was not examined.
    """
    size, places = _grouped(coverage.aim.bed.points_mm)
    _, nearest = cKDTree(places).query(coverage.points_mm)
    hidden = np.bincount(nearest, coverage.unseen, len(places)) > 0
    some = np.bincount(nearest, minlength=len(places)) > 0
    if coverage.covered is None:
        words = np.where(hidden, UNSEEN, SEEN)
    else:
        left = np.bincount(nearest, ~coverage.covered, len(places)) > 0
        words = np.where(hidden, UNSEEN, np.where(left, SHORT, COVERED))
    return {
        "size_mm": size,
        "places_mm": np.round(places[some], 1).tolist(),
        "seen": words[some].tolist(),
    }


def _grouped(points_mm: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The least size, doubled until the points (n, 3) fall into few enough cells, and the cells' means."""
    size = CELL_MM
    while True:
        _, cell = np.unique(np.floor(points_mm / size).astype(np.int64), axis=0, return_inverse=True)
        cell = cell.ravel()
        count = int(cell.max()) + 1
        if count <= MOST_CELLS:
            sums = np.stack([np.bincount(cell, points_mm[:, k], count) for k in range(3)], axis=1)
            return size, sums / np.bincount(cell, minlength=count)[:, None]
        size *= 2.0
