"""What the report says of alarms, of what was asked for, of the record, and where it is signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from navigation.report.content import document
from navigation.report.html import render_html
from navigation.report.journalpart import alarm_rows, marks_of
from navigation.report.results import read_case
from tests.navigation.case_folder import write_case
from tests.navigation.report.test_report import words
from tracking.recording import Record, Recorder

EPOCH_S = datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()


def alarm(text: str, began_s: float, ended_s: float | None, by: str = "") -> dict[str, Any]:
    return {
        "text": text,
        "began_s": EPOCH_S + began_s,
        "ended_s": None if ended_s is None else EPOCH_S + ended_s,
        "acknowledged_s": EPOCH_S + 50.0 if by else None,
        "acknowledged_by": by,
    }


JOURNAL = {
    "alarms": [
        alarm("the disk has room for 29 minutes", 5.0, 9.0, "nurse"),
        alarm("tracker is not connected", 7.0, None),
        alarm("the disk has room for 12 minutes", 20.0, 30.0, "nurse"),
    ],
    "marks": [
        {"t_s": EPOCH_S - 40.0, "words": "surface begins"},
        {"t_s": EPOCH_S + 11.5, "words": "H1: removed"},
    ],
}


def said_of(folder: Path) -> str:
    """The report's words, without pictures."""
    page = folder / "page.html"
    page.write_text(render_html(document(read_case(folder), {})), encoding="utf-8")
    return words(page)


def test_alarms_of_one_kind_are_one_row() -> None:
    disk, tracker = alarm_rows(JOURNAL["alarms"])
    assert disk == ("10:00:05", "2", "14 s", "the disk has room for 29 minutes", "nurse")
    assert tracker == ("10:00:07", "1", "to the end", "tracker is not connected", "nobody")


def test_one_of_a_kind_that_nobody_noted_is_nobodys() -> None:
    rows = alarm_rows([alarm("gap of 1 s", 0.0, 1.0, "nurse"), alarm("gap of 2 s", 5.0, 6.0)])
    assert rows[0][-1] == "nobody"


def test_the_report_holds_alarms_marks_record_and_two_fields_to_sign(tmp_path: Path) -> None:
    write_case(tmp_path)
    (tmp_path / "journal.json").write_text(json.dumps(JOURNAL))
    with Recorder(tmp_path / "record.gnav", {"nuclide": "Tc-99m"}) as recorder:
        recorder.append("probe", 1.0, "raw", b"x")
    said = said_of(tmp_path)
    assert "Nobody took note of 1 of these 2 alarms" in said
    record = Record(tmp_path / "record.gnav")
    end = record.link_of(record.last_row).hex()
    assert f"1 rows, closed; its chain ends with {end[:32]}" in said
    assert said.count("Signature") >= 2 and "Surgeon Name Date Signature" in said
    assert "approves nothing" in said


def test_marks_are_on_the_scans_clock_and_only_those_of_its_time(tmp_path: Path) -> None:
    write_case(tmp_path)
    (tmp_path / "journal.json").write_text(json.dumps(JOURNAL))
    case = read_case(tmp_path)
    assert marks_of(case, case.scans[0]) == [(pytest.approx(11.5), "H1: removed")]


def test_a_case_without_a_journal_says_so(tmp_path: Path) -> None:
    write_case(tmp_path)
    said = said_of(tmp_path)
    assert "kept no journal of its alarms" in said and "No record lies beside these results" in said
