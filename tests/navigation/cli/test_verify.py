"""`gammanav verify`: one line on a record that is whole, one line and exit 2 on one that is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from tests.tracking.recording.test_resume import old_record
from tracking.errors import WireError
from tracking.igtl.codec import decode, encode
from tracking.igtl.crc import crc64
from tracking.igtl.header import Header
from tracking.igtl.poses import pose_message
from tracking.recording import Record, Recorder
from tracking.sample import PoseSample

KEY = b"a key of more than sixteen bytes"
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "site.key"
    path.write_bytes(KEY)
    return path


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Twenty poses, a map that is no JSON, and a tick."""
    path = tmp_path / "r.gnav"
    with Recorder(path, {"nuclide": "Tc-99m"}, key=KEY) as recorder:
        for i in range(20):
            pose = PoseSample("ProbeToTracker", 1000.0 + i, np.eye(4))
            recorder.append("tracker", 1000.0 + i, "raw", encode(pose_message(pose)))
        recorder.append("engine", 1020.0, "map", b"\x93NUMPY")
        recorder.append("engine", 1020.0, "tick", b"{}")
    return path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs the command: exit code and its one line."""

    def ask(*arguments: object) -> tuple[int, str]:
        code = run(["verify", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (out + err).count("\n") == 1
        return code, err if code else out

    return ask


def change(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


def test_a_whole_record(record: Path, key: Path, say: Say) -> None:
    seal = Record(record).seal
    assert seal is not None
    code, line = say(record)
    assert code == 0
    assert f"{record}: 22 rows (20 raw, 1 map, 1 tick), chain whole, sealed 20" in line
    assert "signed (no --key to check it)" in line
    assert f"chain {seal.chain.hex()}" in line  # to be noted elsewhere
    code, line = say(record, "--key", key)
    assert (code, "signature fits" in line) == (0, True)


def test_a_record_that_was_not_closed(tmp_path: Path, key: Path, say: Say) -> None:
    with Recorder(tmp_path / "r.gnav", {}) as recorder:
        recorder.append("s", 0.0, "note", b"{}")
        while recorder.waiting:
            pass
        code, line = say(tmp_path / "r.gnav")
        assert (code, "1 rows (1 note), chain whole, open (not closed" in line) == (0, True)
        assert say(tmp_path / "r.gnav", "--key", key)[0] == 2


def test_a_record_without_a_chain(tmp_path: Path, key: Path, say: Say) -> None:
    path = old_record(tmp_path / "old.gnav", rows=0)
    code, line = say(path)
    assert (code, "0 rows (empty), complete and in order; version 1, rows carry no hash chain" in line) == (
        0,
        True,
    )
    code, line = say(path, "--key", key)
    assert (code, "no key can fit" in line) == (2, True)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE event SET arrival_s = 7 WHERE id = 9", "row 9: changed (it does not continue the chain)"),
        ("DELETE FROM event WHERE id = 17", "row 17: missing (row 18 follows)"),
        ("DELETE FROM event WHERE id > 17", "row 18: missing (the seal counts 22 rows)"),
    ],
)
def test_the_first_bad_row_is_named(record: Path, say: Say, statement: str, told: str) -> None:
    change(record, statement)
    code, line = say(record)
    assert code == 2
    assert f"{record}, {told}; good rows before it: " in line


def test_a_torn_record_says_how_many_rows_are_good(record: Path, say: Say) -> None:
    data = record.read_bytes()
    place = data.find(b"\x93NUMPY")  # row 21
    record.write_bytes(data[:place] + b"\x00" + data[place + 1 :])
    code, line = say(record)
    assert (code, line.strip()) == (
        2,
        f"gammanav: {record}, row 21: changed (it does not continue the chain); good rows before it: 20",
    )


def test_another_key(record: Path, tmp_path: Path, say: Say) -> None:
    (tmp_path / "other.key").write_bytes(KEY[::-1])
    code, line = say(record, "--key", tmp_path / "other.key")
    assert (code, "seal: not signed with this key, or changed" in line) == (2, True)
    code, line = say(record, "--key", tmp_path / "none.key")
    assert (code, "no key can be read there" in line) == (2, True)


def test_a_message_that_fails_its_own_checksum_is_named(tmp_path: Path, say: Say) -> None:
    """It came broken and was recorded as it came: the chain is whole, the message is not."""
    raw = bytearray(encode(pose_message(PoseSample("ProbeToTracker", 1000.0, np.eye(4)))))
    raw[-1] ^= 1
    with Recorder(tmp_path / "r.gnav", {}) as recorder:
        recorder.append("tracker", 1000.0, "raw", bytes(raw))
    code, line = say(tmp_path / "r.gnav")
    assert (code, "r.gnav, row 1: " in line) == (2, True)


def test_what_a_source_sent_wrongly_is_no_fault_of_the_record(tmp_path: Path, say: Say) -> None:
    path = tmp_path / "r.gnav"
    body = bytes(71)  # TDATA comes in rows of 70 bytes
    raw = Header(1, "TDATA", "T", 0, len(body), crc64(body)).pack() + body
    with pytest.raises(WireError):
        decode(raw)
    with Recorder(path, {}) as recorder:
        recorder.append("tracker", 1000.0, "raw", raw)
    code, line = say(path)
    assert code == 0
    assert "1 rows (1 raw), chain whole" in line
