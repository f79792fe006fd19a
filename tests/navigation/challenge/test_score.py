"""Scores of answers whose worth is known by construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from navigation.challenge.score import score_set, summary
from navigation.cli.main import run
from tracking.errors import InputError


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def source(x: float, kbq: float = 50.0, extent: float = 3.0) -> dict[str, Any]:
    return {"name": "node", "position_mm": [x, 0.0, 20.0], "activity_kbq": kbq, "extent_mm": extent}


def spot(x: float, kbq: float = 50.0, **more: Any) -> dict[str, Any]:
    return {"position_mm": [x, 0.0, 20.0], "activity_kbq": kbq, **more}


def a_set(folder: Path, *truths: dict[str, Any]) -> Path:
    put(folder / "challenge.json", {"version": 1})
    for n, truth in enumerate(truths, 1):
        name = f"case-{n:03d}"
        put(folder / "truth" / f"{name}.json", {"case": name, "scene": "node", "phase": "scan-1", **truth})
    return folder


def answered(folder: Path, number: int, *spots: dict[str, Any]) -> Path:
    put(folder / f"case-{number:03d}" / "spots.json", {"spots": list(spots)})
    return folder


def test_two_sources_are_paired_with_the_nearest_spots_in_sum(tmp_path: Path) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0), source(12.0)]})
    answers = answered(tmp_path / "answers", 1, spot(4.0), spot(-5.0))
    (score,) = score_set(answers, truth)
    # 4 is nearer to 0 than -5 is, but then -5 would be 17 from 12: 12 takes 4 (8 mm) and 0 takes -5.
    assert score.errors_mm == pytest.approx([5.0, 8.0]) and score.false == 0


def test_beyond_ten_millimetres_a_source_is_missed_and_the_spot_is_false(tmp_path: Path) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0)]})
    answers = answered(tmp_path / "answers", 1, spot(10.1))
    (score,) = score_set(answers, truth)
    assert score.errors_mm == (None,)
    # Within the source's own extent of 3 mm and 10 more it is not called false.
    assert score.false == 0
    (score,) = score_set(answered(tmp_path / "far", 1, spot(13.1)), truth)
    assert score.errors_mm == (None,) and score.false == 1


def test_spots_on_an_organ_are_neither_found_nor_false(tmp_path: Path) -> None:
    truth = {"lesions": [source(0.0)], "other_activity": [source(80.0, 5000.0, 25.0)]}
    answers = answered(tmp_path / "answers", 1, spot(0.5), spot(50.0), spot(40.0))
    (score,) = score_set(answers, a_set(tmp_path / "set", truth))
    assert (
        score.errors_mm == (pytest.approx(0.5),) and score.false == 1
    )  # 40 is 40 mm from the organ's middle


def test_what_a_method_does_not_stand_by_does_not_count(tmp_path: Path) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0)]})
    answers = answered(tmp_path / "answers", 1, spot(0.0, quality="unusable"), spot(60.0, quality="unusable"))
    (score,) = score_set(answers, truth)
    assert score.errors_mm == (None,) and score.false == 0


def test_errors_are_held_against_the_methods_own_region_and_interval(tmp_path: Path) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0)]}, {"lesions": [source(0.0)]})
    matrix = (np.eye(3) * 4.0).tolist()
    # chi2(3) at 95 % is 7.815: with SD 2 mm a place 5.59 mm off is the edge.
    answers = answered(
        tmp_path / "answers", 1, spot(5.5, 60.0, covariance_mm2=matrix, activity_ci95_kbq=[49, 70])
    )
    answered(tmp_path / "answers", 2, spot(5.7, 40.0, covariance_mm2=matrix, activity_ci95_kbq=[30, 49]))
    inside, outside = score_set(answers, truth)
    assert inside.in_region == (True,) and inside.in_interval == (True,)
    assert outside.in_region == (False,) and outside.in_interval == (False,)
    assert inside.log_ratios == pytest.approx([np.log(1.2)])


@pytest.mark.parametrize(
    ("kbq", "wrong"), [(3.9, False), (4.1, True)], ids=["less than the threshold", "more than the threshold"]
)
def test_an_absence_is_wrong_where_more_than_the_threshold_was_left(
    tmp_path: Path, kbq: float, wrong: bool
) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0, kbq)]})
    answers = answered(tmp_path / "answers", 1)
    put(answers / "case-001" / "bed_check.json", {"finding": "none-above", "threshold_kbq": 4.0})
    (score,) = score_set(answers, truth)
    assert score.stated_absence and score.wrong_absence is wrong


def test_an_unanswered_case_has_missed_all(tmp_path: Path) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0)]}, {"lesions": [source(0.0), source(20.0)]})
    figures = summary(score_set(answered(tmp_path / "answers", 1, spot(1.0)), truth))["all"]
    assert figures["answered"] == 1 and figures["cases"] == 2
    assert figures["found"]["k"] == 1 and figures["found"]["n"] == 3
    # Clopper-Pearson of 1 in 3, from the tables.
    assert figures["found"]["ci95"] == pytest.approx([0.0084, 0.9057], abs=1e-4)
    assert figures["error_mm"]["median"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"spots": [{"position_mm": [1, 2]}]}, "spot 1"),
        ({"spots": [{}]}, "spot 1"),
        ({"spots": [{"position_mm": [1, 2, None]}]}, "spot 1"),
        ({"foci": []}, "spots"),
        (
            {"spots": [{"position_mm": [1, 0, 20], "covariance_mm2": [[0, 0, 0]] * 3, "activity_kbq": 1}]},
            "covariance",
        ),
    ],
)
def test_a_malformed_answer_is_named(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    put(tmp_path / "answers" / "case-001" / "spots.json", content)
    with pytest.raises(InputError, match=words):
        score_set(tmp_path / "answers", a_set(tmp_path / "set", {"lesions": [source(0.0)]}))


def test_a_folder_without_a_case_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = a_set(tmp_path / "set", {"lesions": [source(0.0)]})
    (tmp_path / "answers").mkdir()
    words = ["score", str(tmp_path / "answers"), "--set", str(truth), "--out", str(tmp_path / "scores")]
    assert run(["challenge", *words]) == 2
    assert "no folder there has the name of a case" in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()
