"""Rows by their time of arrival: found without reading what lies before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracking.recording import Record, Recorder


def test_rows_are_found_by_arrival(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with Recorder(path, {}) as recorder:
        for i in range(1000):
            recorder.append("s", 100.0 + 0.1 * i, "raw", b"x")
    record = Record(path)
    # Row n arrived at 100 + 0.1 (n - 1) s.
    assert [record.row_at(t) for t in (0.0, 100.0, 100.05, 110.0, 199.9, 1e9)] == [1, 1, 2, 101, 1000, 1001]


@pytest.mark.parametrize("at_s", [-1e9, 0.0, 1e9])
def test_an_empty_record_has_no_row(tmp_path: Path, at_s: float) -> None:
    Recorder(tmp_path / "r", {}).close()
    assert Record(tmp_path / "r").row_at(at_s) == 1
