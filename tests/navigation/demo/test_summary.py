"""The last five lines: what they say when things were found, missed, and invented."""

from __future__ import annotations

from typing import Any

import numpy as np

from navigation.bed import BedCheck, Residual
from navigation.demo.summary import against_truth, five_lines
from navigation.volume import ActivityMap, ScanResult, Spot, VoxelGrid
from tracking.jsonfile import write_json


def spot(number: int, x_mm: float, kbq: float, quality: str = "ok") -> Spot:
    return Spot(
        number, np.array([x_mm, 0.0, 0.0]), np.eye(3), 0.0, kbq, (kbq - 9, kbq + 9), 9.0, 3.0, quality
    )


def result(*spots: Spot) -> ScanResult:
    grid = VoxelGrid.aligned([0.0, 0.0, 0.0], 1.0, (1, 1, 1))
    empty = np.zeros(grid.shape, dtype=np.float32)
    found = ActivityMap(grid, empty, empty, empty, empty, empty > 0, 1, 0.0, 0)
    return ScanResult(found, spots, 0.1, 0.1, None, 10, 10, "Tc-99m", simulated=True)


def check(*residuals: Residual) -> BedCheck:
    finding = "residual-suspected" if residuals else "partly-assessed"
    return BedCheck(
        finding, 8.0, 0.95, 0.9, 4.0, 5.0, 6.0, residuals, (), "Statement.", (), {}, 90.0, (80.0, 99.0)
    )


def source(name: str, x_mm: float, kbq: float) -> dict[str, Any]:
    return {"name": name, "position_mm": [x_mm, 0.0, 0.0], "activity_kbq": kbq}


def truth(left: list[dict[str, Any]], *before: dict[str, Any]) -> dict[str, Any]:
    return {"scan-1": {"lesions": list(before), "other_activity": []}, "scan-2": {"lesions": left}}


def test_a_found_lesion_is_measured() -> None:
    said = against_truth(result(spot(1, 2.0, 110.0)), check(), truth([], source("lesion", 0.0, 100.0)))
    assert "lesion 2.0 mm and +10 % off; 0 false; nothing was left in the bed." in said


def test_one_spot_stands_for_one_source_only() -> None:
    sources = (source("lesion", 0.0, 100.0), source("remnant", 10.0, 5.0))
    said = against_truth(result(spot(1, 1.0, 100.0)), check(), truth([sources[1]], *sources))
    assert "lesion 1.0 mm and +0 % off; remnant (5.0 kBq) not told apart" in said
    assert "the remnant of 5.0 kBq left in the bed was not suspected" in said


def test_a_spot_where_nothing_is_counts_as_false_and_an_unusable_one_does_not_count() -> None:
    spots = (spot(1, 0.0, 100.0), spot(2, 60.0, 20.0), spot(3, 90.0, 9.0, "unusable"))
    assert "1 false" in against_truth(result(*spots), check(), truth([], source("lesion", 0.0, 100.0)))


def test_a_suspected_remnant_is_measured_and_an_invented_one_named() -> None:
    residual = Residual(np.array([3.0, 0.0, 0.0]), 6.0, (2.0, 9.0), 5.0)
    remnant = source("remnant", 0.0, 5.0)
    assert "was suspected 3.0 mm from its place" in against_truth(result(), check(residual), truth([remnant]))
    assert "yet activity was suspected" in against_truth(result(), check(residual), truth([]))


def test_five_lines_without_any_find_claim_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    write_json(tmp_path / "truth.json", truth([], source("lesion", 0.0, 30.0)))
    lines = five_lines(result(), check(), None, tmp_path / "truth.json", tmp_path / "report.html")
    assert len(lines) == 5
    assert "no focus of activity stood out" in lines[0]
    assert "clear" not in " ".join(lines).lower()
    assert "lesion (30 kBq) not told apart" in lines[4]
