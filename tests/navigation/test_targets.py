"""Targets: their files, and a history of ends that nobody can take back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.io.points import read_points
from navigation.targetfiles import read_targets, write_targets
from navigation.targets import (
    CLICK_SD_MM,
    UNEXPECTED_NOTE,
    End,
    Target,
    TargetList,
    clicked,
    load_targets,
    save_targets,
)
from tracking.errors import InputError

COVARIANCE = np.array([[4.0, 0.5, 0.0], [0.5, 9.0, 0.0], [0.0, 0.0, 1.0]])


def two() -> TargetList:
    first = Target(
        "node, left", np.array([1.0, -2.0, 3.5]), COVARIANCE, 12.5, "hot spot", "a note", 2.0, 7.0, "kidney L"
    )
    return TargetList((first, clicked("T2", [10.0, 20.0, -30.0])), (), 2.5, True)


def test_a_list_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    targets = two().ended(End("T2", "not found", "no counts above background", "surgeon", 100.0))
    assert save_targets(tmp_path, targets) == tmp_path / "targets.json"
    assert load_targets(tmp_path).as_json() == targets.as_json()
    assert read_targets(tmp_path / "targets.json").as_json() == targets.as_json()
    assert load_targets(tmp_path).simulated
    assert load_targets(tmp_path).after_image_h == 2.5
    np.testing.assert_array_equal(load_targets(tmp_path).targets[0].covariance_mm2, COVARIANCE)


def test_a_study_without_targets_has_an_empty_list_and_a_missing_file_none(tmp_path: Path) -> None:
    assert len(load_targets(tmp_path)) == 0
    with pytest.raises(InputError, match="no such file"):
        load_targets(tmp_path / "none.json")


def test_ends_are_only_added_and_the_last_one_holds() -> None:
    targets = two()
    found = targets.ended(End("T2", "found", "counts at the place", "AB", 10.0))
    removed = found.ended(End("T2", "removed", "specimen 2, 55 kBq ex vivo", "AB", 20.0))
    assert [e.outcome for e in removed.history("T2")] == ["found", "removed"]
    assert (removed.outcome("T2") or removed.ends[0]).outcome == "removed"
    assert targets.outcome("T2") is None
    assert [t.name for t in removed.open] == ["node, left"]
    with pytest.raises(InputError, match="before the last"):
        removed.ended(End("node, left", "left", "out of reach", "AB", 15.0))
    with pytest.raises(InputError, match="has ended"):
        removed.without("T2")
    with pytest.raises(InputError, match="has ended"):
        removed.replaced([clicked("T2", [0.0, 0.0, 0.0])])
    with pytest.raises(AttributeError):
        removed.ends[0].reason = "other"  # type: ignore[misc]


def test_a_file_never_loses_an_end(tmp_path: Path) -> None:
    ended = two().ended(End("T2", "left", "too close to the artery", "AB", 10.0))
    save_targets(tmp_path, ended)
    for shorter in (two(), two().ended(End("T2", "left", "another reason", "AB", 10.0))):
        with pytest.raises(InputError, match="only added to"):
            save_targets(tmp_path, shorter)
    assert load_targets(tmp_path).ends == ended.ends
    save_targets(tmp_path, ended.ended(End("node, left", "removed", "specimen 1", "AB", 11.0)))
    assert len(load_targets(tmp_path).ends) == 2


@pytest.mark.parametrize(
    ("outcome", "reason", "by", "t_s"),
    [("gone", "r", "b", 0.0), ("found", " ", "b", 0.0), ("found", "r", "", 0.0), ("left", "r", "b", np.nan)],
)
def test_an_end_says_what_why_who_and_when(outcome: str, reason: str, by: str, t_s: float) -> None:
    with pytest.raises(InputError, match="target T1"):
        End("T1", outcome, reason, by, t_s)


def test_an_unexpected_focus_says_so() -> None:
    more = two().unexpected(Target("U1", np.zeros(3), np.eye(3), 8.0, "click", "seen at 10:12"))
    assert more.target("U1").origin == "unexpected"
    assert more.target("U1").note == f"{UNEXPECTED_NOTE}; seen at 10:12"
    with pytest.raises(InputError, match="more than once"):
        more.unexpected(more.target("U1"))


@pytest.mark.parametrize("name", ["t.csv", "t.mrk.json", "t.fcsv"])
def test_targets_reach_slicer_and_come_back(name: str, tmp_path: Path) -> None:
    targets = two().targets
    write_targets(tmp_path / name, targets)
    back = read_points(tmp_path / name)
    assert back.labels == ("node, left", "T2")
    np.testing.assert_allclose(back.points_mm, [t.position_mm for t in targets], atol=1e-4)
    read = read_targets(tmp_path / name)
    assert [t.origin for t in read.targets] == ["click", "click"]
    assert read.targets[0].sd_mm == pytest.approx(CLICK_SD_MM)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position_mm": [1.0, 2.0]}, "targets 1: .*position"),
        ({"position_mm": [1.0, 2.0, None]}, "targets 1"),
        ({"covariance_mm2": (-COVARIANCE).tolist()}, "no covariance"),
        ({"origin": "guess"}, "origin"),
        ({"expected_kbq": -1.0}, "expected_kbq"),
        ({"name": "T2"}, "more than once"),
        ({"name": "a\nb"}, "printable"),
        ({"name": None, "position_mm": "x"}, "targets 1"),
    ],
)
def test_a_wrong_file_is_refused_by_entry(change: dict[str, object], said: str, tmp_path: Path) -> None:
    content = two().as_json()
    content["targets"][0] |= change
    (tmp_path / "targets.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        load_targets(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, {"format": 1, "frame": "RAS"}, {"format": 1, "frame": "LPS", "targets": {}}]
)
def test_a_file_of_another_kind_is_refused(content: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "targets.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"targets\.json"):
        load_targets(tmp_path)
