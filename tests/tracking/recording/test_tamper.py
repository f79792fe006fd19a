"""Whatever is changed in a record afterwards is found, and the first bad row is named (H42)."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tracking.errors import InputError
from tracking.recording import DamagedRecordError, Record, Recorder, read_key, verify
from tracking.recording.chain import Seal, head_digest, link, sealed

ROWS = 40
KEY = bytes(range(32))

Change = Callable[[sqlite3.Connection, int], object]


def sql(statement: str) -> Change:
    """A change by one statement; `:n` is the row."""
    return lambda database, n: database.execute(statement, {"n": n} if ":n" in statement else {})


def exchange(database: sqlite3.Connection, n: int) -> None:
    """Rows n and n + 1 change places, whole rows with their links, and are numbered anew."""
    for old, new in ((n, -1), (n + 1, n), (-1, n + 1)):
        database.execute("UPDATE event SET id = ? WHERE id = ?", (new, old))


def close_the_ranks(database: sqlite3.Connection, n: int) -> None:
    """Row n goes, and the rows behind it are numbered anew."""
    database.execute("DELETE FROM event WHERE id = ?", (n,))
    for number in range(n + 1, ROWS + 1):
        database.execute("UPDATE event SET id = ? WHERE id = ?", (number - 1, number))


def insert(database: sqlite3.Connection, n: int) -> None:
    """A copy of row n - 1 comes before row n, and the rows from there on are numbered anew."""
    for number in range(ROWS, n - 1, -1):
        database.execute("UPDATE event SET id = ? WHERE id = ?", (number + 1, number))
    database.execute(
        "INSERT INTO event SELECT ?, arrival_s, source, kind, chain, payload FROM event WHERE id = ?",
        (n, n - 1),
    )


def rewrite_one(database: sqlite3.Connection, n: int) -> None:
    """Another payload with a link that fits it: only the next row shows it."""
    before = database.execute("SELECT chain FROM event WHERE id = ?", (n - 1,)).fetchone()[0]
    arrival_s, source, kind = database.execute(
        "SELECT arrival_s, source, kind FROM event WHERE id = ?", (n,)
    ).fetchone()
    chain = link(before, n, arrival_s, source, kind, b"forged")
    database.execute("UPDATE event SET payload = ?, chain = ? WHERE id = ?", (b"forged", chain, n))


# What is done, and which row is the first bad one, counted from n.
CHANGES: dict[str, tuple[Change, int]] = {
    "payload": (sql("UPDATE event SET payload = x'00' WHERE id = :n"), 0),
    "one bit": (sql("UPDATE event SET payload = payload || x'01' WHERE id = :n"), 0),
    "arrival": (sql("UPDATE event SET arrival_s = arrival_s + 1e-6 WHERE id = :n"), 0),
    "source": (sql("UPDATE event SET source = 'else' WHERE id = :n"), 0),
    "kind": (sql("UPDATE event SET kind = 'note' WHERE id = :n"), 0),
    "border between the names": (sql("UPDATE event SET source = 'sr', kind = 'aw' WHERE id = :n"), 0),
    "type": (sql("UPDATE event SET payload = CAST(payload AS TEXT) WHERE id = :n"), 0),
    "link": (sql("UPDATE event SET chain = zeroblob(32) WHERE id = :n"), 0),
    "no link": (sql("UPDATE event SET chain = '' WHERE id = :n"), 0),
    "deleted": (sql("DELETE FROM event WHERE id = :n"), 0),
    "deleted and numbered anew": (close_the_ranks, 0),
    "exchanged": (exchange, 0),
    "inserted": (insert, 0),
    "rewritten with its link": (rewrite_one, 1),
    "the rest cut off": (sql("DELETE FROM event WHERE id >= :n"), 0),
}
# n does not matter; where the damage is told.
WHOLE: dict[str, tuple[str, str]] = {
    "a row added": (
        "INSERT INTO event SELECT id + 1, arrival_s, source, kind, chain, payload FROM event WHERE id = 40",
        "row 41: added",
    ),
    "all rows deleted": ("DELETE FROM event", "row 1: missing"),
    "head": ("UPDATE session SET meta = '{}'", "the head was changed"),
    "head and its link": ("UPDATE session SET meta = '{}', chain = zeroblob(32)", "the head was changed"),
    "version": ("PRAGMA user_version = 1", "the head was changed"),
    "seal deleted": ("DELETE FROM seal", "seal: removed"),
    "seal emptied": (
        "UPDATE seal SET rows = NULL, chain = NULL, closed_s = NULL, signature = NULL",
        "seal: removed",
    ),
    "seal counts less": ("UPDATE seal SET rows = 39", "row 40: added"),
    "seal counts more": ("UPDATE seal SET rows = 41", "row 41: missing"),
    "seal of another chain": ("UPDATE seal SET chain = zeroblob(32)", "seal: changed"),
    "seal of a time beyond any calendar": ("UPDATE seal SET closed_s = 1e300", "seal: changed"),
    "seal of another type": ("UPDATE seal SET rows = 'forty'", "seal: changed"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "r.gnav"
    with Recorder(path, {"nuclide": "Tc-99m"}, key=KEY) as recorder:
        for i in range(ROWS):
            recorder.append("s", 1000.0 + i, "raw", json.dumps({"row": i}).encode())
    return path


@pytest.fixture
def record(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "r.gnav"))


def change(path: Path, how: Change, n: int = 0) -> None:
    database = sqlite3.connect(path)
    with database:
        how(database, n)
    database.close()


@pytest.mark.parametrize("n", [2, 17, ROWS - 1])
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_any_row_is_found_there(record: Path, what: str, n: int) -> None:
    how, behind = CHANGES[what]
    before = list(Record(record).events())
    change(record, how, n)
    with pytest.raises(DamagedRecordError) as error:
        verify(record)
    assert error.value.row == n + behind
    assert f"row {n + behind}: " in str(error.value)
    got = []
    with pytest.raises(DamagedRecordError):
        for event in Record(record).events("raw"):
            got.append(event)
    assert len(got) == n + behind - 1
    assert got[: n - 1] == before[: n - 1]


@pytest.mark.parametrize("what", WHOLE)
def test_a_change_of_head_seal_or_length_is_found(record: Path, what: str) -> None:
    statement, told = WHOLE[what]
    change(record, sql(statement))
    with pytest.raises(InputError, match=told):
        verify(record)


def test_every_byte_of_every_row_counts(record: Path) -> None:
    """200 random bits in payloads, names, times and links: each is found in its row."""
    rng = random.Random(3)
    for _ in range(200):
        n, column = rng.randrange(1, ROWS + 1), rng.choice(["payload", "chain"])
        database = sqlite3.connect(record)
        database.execute("PRAGMA synchronous = OFF")
        (value,) = database.execute(f"SELECT {column} FROM event WHERE id = ?", (n,)).fetchone()
        at = rng.randrange(len(value))
        changed = value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
        with database:
            database.execute(f"UPDATE event SET {column} = ? WHERE id = ?", (changed, n))
        with pytest.raises(DamagedRecordError) as error:
            verify(record)
        assert error.value.row == n
        with database:
            database.execute(f"UPDATE event SET {column} = ? WHERE id = ?", (value, n))
        database.close()
    assert verify(record, KEY).signed


def forge(database: sqlite3.Connection, _: int) -> None:
    """Everything computed anew from row 5 on, the seal too: what an unkeyed chain does not show."""
    database.execute("UPDATE event SET payload = ? WHERE id = 5", (b"forged",))
    (meta,) = database.execute("SELECT meta FROM session").fetchone()
    chain = head_digest(meta)
    for n, *row in database.execute("SELECT id, arrival_s, source, kind, payload FROM event").fetchall():
        chain = link(chain, n, *row)
        database.execute("UPDATE event SET chain = ? WHERE id = ?", (chain, n))
    seal = sealed(ROWS, chain, 0.0, b"not the key at all")
    database.execute("UPDATE seal SET chain = ?, closed_s = 0.0, signature = ?", (chain, seal.signature))


def test_a_forged_chain_is_shown_by_the_key_and_by_a_digest_noted_elsewhere(record: Path) -> None:
    noted = verify(record).chain
    change(record, forge)
    assert verify(record).chain != noted
    with pytest.raises(DamagedRecordError, match="seal: not signed with this key"):
        verify(record, KEY)


def test_what_is_open_or_unsigned_has_no_signature(tmp_path: Path) -> None:
    path = tmp_path / "r.gnav"
    with Recorder(path, {}) as recorder:
        recorder.append("s", 0.0, "raw", b"")
        assert verify(path).seal is None
        with pytest.raises(InputError, match="not sealed, so the key shows nothing"):
            verify(path, KEY)
    with pytest.raises(InputError, match="not signed"):
        verify(path, KEY)


def test_the_signature_covers_the_time_of_closing(whole: Path) -> None:
    seal = Record(whole).seal
    assert seal is not None
    assert seal.signed_with(KEY)
    assert not Seal(seal.rows, seal.chain, seal.closed_s + 1.0, seal.signature).signed_with(KEY)
    assert not Seal(seal.rows + 1, seal.chain, seal.closed_s, seal.signature).signed_with(KEY)


def test_picked_events_are_checked_one_by_one(record: Path) -> None:
    change(record, CHANGES["payload"][0], 17)
    got = []
    with pytest.raises(DamagedRecordError) as error:
        for event in Record(record).picked("raw"):
            got.append(event.id)
    assert error.value.row == 17
    assert got == list(range(1, 17))
    assert list(Record(record).picked("note")) == []


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(KEY)
    assert read_key(path) == KEY
    path.write_bytes(KEY[:15])
    with pytest.raises(InputError, match="a key of 15 bytes; at least 16"):
        read_key(path)
    with pytest.raises(InputError, match="no key can be read there"):
        read_key(tmp_path / "none")
