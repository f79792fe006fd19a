"""The redraw study: one scan of it in the simulator's own physics, and how it counts what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import redraws
from benchmarks.redraws import CHI2_95, judged, line, study


def spot(place: list[float], quality: str = "ok") -> dict[str, Any]:
    return {"place": place, "covariance": np.eye(3).tolist(), "kbq": 40.0, "ci": [30, 50], "quality": quality}


def scan(spots: list[dict[str, Any]], *truths: tuple[list[float], bool]) -> dict[str, Any]:
    told = [{"place": place, "kbq": 50.0, "radius": 4.0, "lesion": lesion} for place, lesion in truths]
    bound = np.diag([0.25, 0.25, 0.25, 0.01]).tolist()
    lesions = sum(lesion for _, lesion in truths)
    return {"truth": told, "bound": [bound] * lesions, "spots": spots, "up": [0, 0, 1], "cpu_s": 1.0}


def test_a_focus_is_judged_by_the_nearest_truth_and_the_rest_are_false() -> None:
    # 3 up and 4 aside: 5 mm; covariance 1 mm2 an axis: chi2 25; SD 1 over 0.5 mm an axis: twice the bound.
    spots = [spot([4, 0, 3]), spot([60, 0, 0]), spot([90, 0, 0], "unusable")]
    result = judged(scan(spots, ([0, 0, 0], True)))
    (found,) = result["found"]
    assert (found["error"], found["depth"], found["side"]) == pytest.approx((5.0, 3.0, 4.0))
    assert (found["chi2"], found["ratio"], found["kbq_ratio"]) == pytest.approx((25.0, 2.0, 0.8))
    assert found["inside"]
    assert result["false"] == 1
    assert result["lesions"] == 1


def test_a_second_focus_of_one_organ_is_false_and_the_organ_is_no_lesion() -> None:
    result = judged(scan([spot([40, 0, 0]), spot([44, 0, 0])], ([0, 0, 0], True), ([42, 0, 0], False)))
    assert result["found"] == []
    assert result["false"] == 1


def test_a_focus_that_strayed_counts_as_a_region_that_missed() -> None:
    # 20 mm beside the lesion: false, the lesion is not found, and its region held it not; 60 mm: another thing.
    assert judged(scan([spot([20, 0, 0])], ([0, 0, 0], True)))["strayed"] == 1
    assert judged(scan([spot([60, 0, 0])], ([0, 0, 0], True)))["strayed"] == 0
    both = scan([spot([1, 0, 0]), spot([50, 0, 0])], ([0, 0, 0], True), ([30, 0, 0], True))
    both["bound"] = [np.diag([0.25, 0.25, 0.25, 0.01]).tolist()] * 2
    assert judged(both)["strayed"] == 1
    assert "0.50" in line("occult", [both])


def test_one_scan_of_the_study(tmp_path: Path) -> None:
    (first,) = study("occult", range(7, 8), tmp_path / "out")
    result = judged(first)
    (found,) = result["found"]
    assert result["false"] == 0
    # An occult 40 kBq focus at 25 mm: the physical floor is some 3.5 mm, the region is that of 95 %.
    assert 2.0 < found["floor"] < 5.0
    assert found["chi2"] < CHI2_95
    assert 0.8 < found["ratio"] < 2.0
    assert line("occult", [first]).startswith("occult")


def test_a_study_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def drawn(name: str, seed: int, probes: Path) -> dict[str, Any]:
        asked.append(seed)
        return {"scene": name, "seed": seed}

    monkeypatch.setattr(redraws, "one_scan", drawn)
    study("empty", range(3), tmp_path)
    path = tmp_path / "empty.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    assert [s["seed"] for s in study("empty", range(4), tmp_path)] == [0, 1, 2, 3]
    assert asked == [0, 1, 2, 2, 3]
