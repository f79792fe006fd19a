"""A record goes on: after a crash, after a close, and from the schema that had no chain (H33)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.tracking.recording.test_recorder import until
from tracking.errors import InputError
from tracking.recording import Record, Recorder, verify

# The tables as version 1 made them.
VERSION_1 = """
PRAGMA application_id = 0x474E6176;
PRAGMA user_version = 1;
CREATE TABLE session (id INTEGER PRIMARY KEY CHECK (id = 1), meta TEXT NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    arrival_s REAL NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    chain BLOB
);
INSERT INTO session (id, meta) VALUES (1, '{"nuclide": "Tc-99m"}');
"""
KEY = b"sixteen bytes at least"


def old_record(path: Path, rows: int = 50) -> Path:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(VERSION_1)
    with database:
        database.executemany(
            "INSERT INTO event (arrival_s, source, kind, payload) VALUES (?, 's', 'raw', ?)",
            [(float(i), bytes([i])) for i in range(rows)],
        )
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    return path


def test_a_closed_record_goes_on_and_its_old_seal_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    with Recorder(path, {"case": 7}, key=KEY) as recorder:
        for i in range(10):
            recorder.append("s", float(i), "raw", b"a")
    first = verify(path, KEY)
    with Recorder.resume(path, key=KEY) as recorder:
        assert Record(path).seal is None  # open again
        recorder.append("s", 10.0, "raw", b"b")
    second = verify(path, KEY)
    assert (first.rows, second.rows) == (10, 12)
    assert second.kinds == {"raw": 11, "recorder": 1}
    assert second.signed
    (note,) = Record(path).events("recorder")
    assert (note.id, note.arrival_s, note.source) == (11, 9.0, "recorder")
    assert first.chain is not None
    assert first.seal is not None
    content = note.content()
    assert content["event"] == "resumed"
    assert content["last_row"] == 10
    assert content["damage"] is content["kept_as"] is None
    assert content["seal"]["chain"] == first.chain.hex()
    assert content["seal"]["closed_s"] == first.seal.closed_s
    assert Record(path).meta == {"case": 7}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_empty_record_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    Recorder(path, {}).close()
    Recorder.resume(path).close()
    assert verify(path).rows == 1


def test_a_record_sealed_with_another_key_does_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    Recorder(path, {}, key=KEY).close()
    with pytest.raises(InputError, match="not signed with this key"):
        Recorder.resume(path, key=KEY + b"?")
    assert verify(path, KEY).signed


def test_a_record_may_be_read_while_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    with Recorder(path, {}) as recorder:
        recorder.append("s", 0.0, "raw", b"")
    sealed = Record(path)
    with Recorder.resume(path) as recorder:
        recorder.append("s", 1.0, "raw", b"")
        until(lambda: recorder.committed == 1, "commit")
        assert len(list(sealed.events())) == 3  # the seal it was opened with counts no more
        assert (sealed.last_row, sealed.last_arrival_s) == (3, 1.0)


def test_a_record_of_version_1_is_read_and_said_to_carry_no_chain(tmp_path: Path) -> None:
    path = old_record(tmp_path / "old.gnav")
    record = Record(path)
    assert record.meta == {"nuclide": "Tc-99m"}
    assert [e.payload for e in record.events()] == [bytes([i]) for i in range(50)]
    assert [e.id for e in record.picked("raw")] == list(range(1, 51))
    verdict = verify(path)
    assert (verdict.rows, verdict.chain, verdict.seal) == (50, None, None)
    with pytest.raises(InputError, match="carries no hash chain"):
        verify(path, KEY)


def test_a_record_of_version_1_goes_on_as_version_2_and_the_old_one_stays(tmp_path: Path) -> None:
    path = old_record(tmp_path / "old.gnav")
    before, old = path.read_bytes(), list(Record(path).events())
    with Recorder.resume(path) as recorder:
        recorder.append("s", 50.0, "raw", b"new")
    record = Record(path)
    assert record.version == 2
    assert record.meta == {"nuclide": "Tc-99m"}
    events = list(record.events())
    assert events[:50] == old
    assert events[50].content()["version"] == 1
    assert events[50].content()["kept_as"] == "old.gnav.v1"
    assert events[51].payload == b"new"
    assert (tmp_path / "old.gnav.v1").read_bytes() == before


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    Recorder(path, {}).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 3")
    database.close()
    for attempt in (Record, verify, Recorder.resume):
        with pytest.raises(InputError, match="record of version 3; this program reads 1 to 2"):
            attempt(path)
