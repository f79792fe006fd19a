"""What the report says of targets, registration and shift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from navigation.report import write_report
from navigation.report.results import read_case
from navigation.report.studypart import registration_text, shift_sentence
from tests.navigation.case_folder import write_case
from tests.navigation.report.test_report import words

SHIFT = {"shift_alarm": True, "shift_mm": 10.2, "shift_ci95_mm": [8.4, 12.1], "reasons": []}
END = {"target": "node", "outcome": "removed", "reason": "in specimen 2", "by": "A. Klein", "t_s": 1.0}
TARGETS = {
    "targets": [
        {"name": "node", "origin": "hot spot", "expected_kbq": 50.0, "label": None, "note": ""},
        {"name": "second", "origin": "unexpected", "note": "unexpected focus, not on preoperative imaging"},
    ],
    "ends": [END],
}


def put(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_case(folder)
    put(folder, "targets.json", TARGETS)
    put(folder / "scan-1", "shift.json", SHIFT)
    write_report(folder)
    return folder


def test_every_target_and_its_end_is_in_the_report(case: Path) -> None:
    said = words(case / "report.html")
    assert "node hot spot 50 kBq removed in specimen 2 A. Klein" in said
    assert "unexpected focus, not on preoperative imaging" in said
    assert "Still open, nobody said how they ended: second." in said


def test_a_shift_alarm_stands_on_the_first_page_as_a_proposal(case: Path) -> None:
    said = words(case / "report.html")
    assert "SHIFT ALARM" in said and "10.2 mm (95 % 8.4 to 12.1 mm)" in said
    assert said.index("SHIFT ALARM") < said.index("Counting intervals")
    assert "nothing was moved by it" in said


@pytest.mark.parametrize(
    ("shift", "told"),
    [
        (
            {**SHIFT, "shift_alarm": False, "shift_mm": 1.0, "shift_ci95_mm": [0.0, 2.0]},
            "no shift of the targets",
        ),
        (
            {"shift_alarm": False, "shift_mm": None, "reasons": ["no target is seen"]},
            "no statement on a shift",
        ),
    ],
)
def test_what_is_said_without_an_alarm(shift: dict[str, Any], told: str) -> None:
    assert told in shift_sentence(shift)


@pytest.mark.parametrize(
    ("tre", "told"),
    [
        ({"predicted": [2.0, 3.1], "bound95": [4.0, 6.2]}, "at most 6.2 mm (95 %)"),
        ({"predicted": [2.0, 3.1]}, "3.1 mm (RMS)"),
        ({"predicted": [None]}, "no error was predicted"),
    ],
)
def test_the_error_told_is_the_predicted_one_and_never_the_landmarks_own(
    tmp_path: Path, tre: dict[str, Any], told: str
) -> None:
    write_case(tmp_path)
    put(tmp_path, "reg.json", {"accepted": True, "id": "abc", "fre_mm": 0.77, "tre_mm": tre})
    text = registration_text(read_case(tmp_path))
    assert told in text and "0.77" not in text and "0.8" not in text


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("elsewhere", [["scan-1"], []])
def test_no_registration_places_the_scans_of_before_the_reference_moved(
    tmp_path: Path, elsewhere: list[str], file: bool
) -> None:
    write_case(tmp_path)
    (tmp_path / "reg.json").unlink(missing_ok=True)
    T = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    entry = {"number": 1, "id": "abc", "method": "landmarks", "tre_mm": 2.0, "T_study_reference": T}
    if file:
        put(tmp_path, "reg.json", {"id": "abc", "T_target_source": T, "accepted": True, "reasons": []})
    content = {"registrations": [entry], "state": "verified", "scans_elsewhere": elsewhere}
    put(tmp_path, "registrations.json", content)
    case = read_case(tmp_path)
    assert (case.T_ras_reference is None) is bool(elsewhere)
    assert ("NOT accepted (abc): the reference has moved since scan-1" in registration_text(case)) is bool(
        elsewhere
    )
