"""The bed in cells: each as badly seen as the worst of the tissue behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from navigation.bed import Bed
from navigation.bedcells import MOST_CELLS, bed_cells
from navigation.coverage import Aim, BedCoverage


def coverage(side: int = 8, step_mm: float = 5.0) -> BedCoverage:
    """A flat bed whose tissue lies 5 mm behind each touched point; everything covered."""
    x, y = (v.ravel() for v in np.meshgrid(np.arange(side) * step_mm, np.arange(side) * step_mm))
    surface = np.column_stack([x + 2.5, y + 2.5, np.zeros(len(x))])
    behind = surface + [0.0, 0.0, -5.0]
    mda = np.full(len(x), 2.0)
    return BedCoverage(
        Aim(Bed(surface, 5.0), 4.0), behind, mda, mda, np.ones(len(x), dtype=bool), 0.0, 10, 1.0
    )


def seen_at(found: dict[str, object], x: float, y: float) -> str:
    places = np.array(found["places_mm"])
    return str(found["seen"][int(np.argmin(np.linalg.norm(places - [x, y, 0.0], axis=1)))])  # type: ignore[index]


def test_each_cell_is_told_by_the_worst_behind_it() -> None:
    made = coverage()
    mda, covered = made.mda_kbq.copy(), np.ones(64, dtype=bool)
    mda[9], covered[9] = np.inf, False  # never seen: at (7.5, 7.5)
    covered[20] = False  # seen, and short of the threshold: at (22.5, 12.5)
    found = bed_cells(replace(made, mda_kbq=mda, covered=covered))
    assert len(found["places_mm"]) == 64 and found["size_mm"] == 5.0
    assert seen_at(found, 7.5, 7.5) == "unseen"
    assert seen_at(found, 22.5, 12.5) == "short"
    assert found["seen"].count("covered") == 62


def test_without_a_threshold_nothing_is_covered() -> None:
    found = bed_cells(replace(coverage(), covered=None))
    assert set(found["seen"]) == {"seen"}


def test_a_large_bed_gets_larger_cells() -> None:
    found = bed_cells(coverage(side=60))
    assert len(found["places_mm"]) <= MOST_CELLS and found["size_mm"] > 5.0
