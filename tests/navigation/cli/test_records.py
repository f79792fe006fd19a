"""Scans into a record and out of it again, and a damaged record named by its row."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan, read_scan, write_scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two seconds: a probe that moves, hidden for a while, and 10 counts in each 0.1 s."""
    t = np.arange(0.0, 2.0, 0.05)
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    poses[:, 0, 3] = 20.0 * t
    poses[20:24] = np.nan
    ends = np.arange(1, 20) * 0.1
    counts = CountTable(ends, np.full(19, 10.0), np.full(19, 0.1))
    scan = Scan(
        "Tc-99m", "2026-01-01T10:00:00Z", TIP_POSES, PoseTable(t, poses), counts, 1e-5, simulated=True
    )
    write_scan(scan, tmp_path / "scan-7")
    return tmp_path / "scan-7"


def test_a_scan_survives_the_record(folder: Path, tmp_path: Path) -> None:
    record, back = tmp_path / "r.gnav", tmp_path / "back"
    assert run(["import", str(folder), "--out", str(record)]) == 0
    assert run(["verify", str(record)]) == 0
    assert run(["export", str(record), "--to", "csv", "--out", str(back)]) == 0
    before, after = read_scan(folder), read_scan(back / "scan-7")
    assert np.array_equal(before.counts.counts, after.counts.counts)
    assert np.allclose(before.counts.t_s, after.counts.t_s, atol=1e-6)
    # The wire carries float32: 38 mm to some micrometres.
    assert np.allclose(before.poses.matrices, after.poses.matrices, atol=1e-4, equal_nan=True)
    assert after.simulated
    assert after.dead_time_s == 1e-5


def test_an_existing_record_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.gnav").write_text("mine")
    assert run(["import", str(folder), "--out", str(tmp_path / "r.gnav")]) == 2
    assert (tmp_path / "r.gnav").read_text() == "mine"


def test_a_removed_row_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "r.gnav"
    run(["import", str(folder), "--out", str(record)])
    with sqlite3.connect(record) as database:
        database.execute("DELETE FROM event WHERE id = 17")
    database.close()
    assert run(["verify", str(record)]) == 2
    assert "row 17: missing" in capsys.readouterr().err


def test_a_changed_message_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "r.gnav"
    run(["import", str(folder), "--out", str(record)])
    with sqlite3.connect(record) as database:
        (raw,) = database.execute("SELECT payload FROM event WHERE id = 9").fetchone()
        changed = raw[:-1] + bytes([raw[-1] ^ 1])
        database.execute("UPDATE event SET payload = ? WHERE id = 9", (changed,))
    database.close()
    assert run(["verify", str(record)]) == 2
    assert "row 9" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "export", "replay"])
def test_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    extra = ["--out", str(tmp_path / "x")] if command != "verify" else []
    assert run([command, str(tmp_path / "nothing.gnav"), *extra]) == 2
    printed = capsys.readouterr().err
    assert "nothing.gnav" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "x").exists()
