"""Timed counts in words and files: what is said, what never is, and that a file gives the same counts back."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from calibration.counter.deadtime import PARALYSABLE, DeadTime
from navigation.timed.content import CSV_NAME, HEADER, JSON_NAME, counts_content, read_counts, write_counts
from navigation.timed.count import BED, SPECIMEN, TimedCount
from navigation.timed.words import count_sentence, figure, p_words, sentences
from tests.navigation.timed.test_exact import background, made
from tracking.errors import InputError
from tracking.jsonfile import to_json

EVERY = [
    background(100, id=1),
    made(320, id=2, marks=("3 messages missing, their counts known from the counter's total",)),
    made(120, id=3),
    made(5000, 10.0, SPECIMEN, 4, specimen=1),
    made(480, 10.0, SPECIMEN, 5, specimen=2, dead=DeadTime(1e-5, PARALYSABLE, 1e-6)),
    made(300, 10.0, BED, 6),
    replace(made(9, id=7), void="probe slipped", void_by="scrub"),
    replace(made(0, 0.0, id=8), failed="the counter was silent"),
    made(2e5, 10.0, id=9, saturated=True, place_mm=(1.0, 2.0, 3.5)),
]


def test_the_sentences_of_a_case() -> None:
    said = sentences(EVERY)
    assert said[0] == (
        "target over background: 3.2 (95 % 2.55 to 4.05), p < 0.0001; "
        "rules: 1.5:1 exceeded, 2:1 exceeded, 3 sigma exceeded"
    )
    assert "not told apart from the background at this count" in said[1]
    assert re.search(r"\d+ more seconds would decide \(count \d+ s anew", said[1])
    assert any(s.startswith("hottest ex vivo: specimen 1, ") for s in said)
    assert any(
        s.startswith("specimen 2 against") and "10 % rule not decided at this count; " in s for s in said
    )
    assert any(s.startswith("bed against") and s.endswith("10 % rule met (below 10 %)") for s in said)
    assert "more than" in next(s for s in said if s.startswith("target over background: more"))


def test_a_bed_and_a_specimen_of_a_tenth_or_more() -> None:
    said = sentences(
        [made(5000, kind=SPECIMEN, id=1), made(2000, kind=SPECIMEN, id=2), made(2000, kind=BED, id=3)]
    )
    assert said[-2].endswith("10 % rule met (10 % or more)")
    assert said[-1].endswith("10 % rule not met (10 % or more)")


def test_without_a_background_that_is_said() -> None:
    assert sentences([made(10)]) == [
        "target: no background to compare with: no ratio, and no rule that needs one"
    ]
    assert sentences([]) == []


def test_a_count_that_is_none_says_why() -> None:
    assert count_sentence(EVERY[6]) == "7 target: void (probe slipped, scrub)"
    assert count_sentence(EVERY[7]) == "8 target: no count (the counter was silent)"
    assert count_sentence(EVERY[1]).endswith(
        "; 3 messages missing, their counts known from the counter's total"
    )


def test_nothing_is_called_what_counts_cannot_know() -> None:
    said = " ".join([*sentences(EVERY), *(count_sentence(c) for c in EVERY)]).lower()
    for word in (
        "clear",
        "clean",
        "positive",
        "negative",
        "lesion",
        "tumour",
        "above background",
        "safe",
        "normal",
    ):
        assert word not in said


def test_figures_are_printed_with_three_digits() -> None:
    assert [figure(v) for v in (0.0, 0.01234, 3.2, 12.34, 99.99, 12345.6)] == [
        "0",
        "0.0123",
        "3.2",
        "12.3",
        "100",
        "12346",
    ]
    assert p_words(0.00009) == "< 0.0001"
    assert p_words(0.034) == "0.034"


def test_a_file_gives_the_same_counts_back(tmp_path: Path) -> None:
    content = counts_content(EVERY, "Tc-99m", 1.7e9, True, "case 7")
    write_counts(content, tmp_path)
    assert read_counts(tmp_path) == tuple(EVERY)
    # Garwood's interval of 100 counts.
    assert content["counts"][0]["counts_ci95"] == pytest.approx([81.36, 121.63], abs=0.01)
    again = counts_content(read_counts(tmp_path), "Tc-99m", 1.7e9, True, "case 7")
    assert json.loads(json.dumps(again)) == json.loads((tmp_path / JSON_NAME).read_text())
    assert read_counts(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("text", ['{"counts": 3}', '{"counts": [{"id": 1}]}', '{"counts": [7]}', "[]"])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / JSON_NAME).write_text(text)
    with pytest.raises(InputError, match=JSON_NAME):
        read_counts(tmp_path)


def test_the_table_has_a_row_for_each_count(tmp_path: Path) -> None:
    write_counts(counts_content(EVERY, "Tc-99m", 1.7e9, True, "case 7"), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / CSV_NAME).read_text())))
    assert tuple(rows[0]) == HEADER
    assert [int(r["id"]) for r in rows] == [c.id for c in EVERY]
    assert float(rows[1]["ratio"]) == pytest.approx(3.2)
    assert (rows[1]["background_id"], rows[1]["ratio_1_5"], rows[1]["three_sigma"]) == ("1", "1", "1")
    assert float(rows[5]["share_of_hottest"]) == pytest.approx(0.06)
    assert (rows[5]["ten_percent"], rows[0]["ratio"]) == ("0", "")
    assert rows[6]["void"] == "probe slipped"
    assert rows[8]["rate_high_cps"] == ""


def test_impossible_counts_are_told_without_a_number_that_is_none() -> None:
    dead = [DeadTime(1e-6, PARALYSABLE), DeadTime(1e-3), DeadTime(1e-5, sd_s=1e-3)]
    every = [
        made(y, 1.0, kind, k, dead=d, decay=decay)
        for k, (y, kind, d, decay) in enumerate(product((0, 2e9), (SPECIMEN, BED), dead, (1e-15, 1e15)), 2)
    ]
    content = counts_content([background(0, id=1), *every], "Tc-99m", 1.7e9, True, "case 7")
    assert to_json(content)
    assert len(content["pairs"]) == len(every)


def test_a_label_names_number_and_name() -> None:
    assert TimedCount(1, SPECIMEN, "sentinel", 1.0, 1.0, 1.0, 0.0, 1.0, DeadTime(0.0), specimen=3).label == (
        "specimen 3 sentinel"
    )
