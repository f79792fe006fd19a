"""Reading a record back in the order in which it was written; every row is checked before it is returned.

A row that does not continue the chain ends the reading with `DamagedRecordError`, which names it. Records of
version 1 carry no chain: there only order and completeness are checked.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.recording import schema
from tracking.recording.chain import DIGEST_BYTES, Seal, head_digest, link
from tracking.recording.log import log_damage
from tracking.recording.store import LOG, beside

# Longer than any payload a recorder takes: a damaged length must not make SQLite allocate a gigabyte.
LONGEST_VALUE = 256 << 20
# Some 1,900 years from 1970: no clock says so, and calendars end beyond.
FARTHEST_S = 6e10


class DamagedRecordError(InputError):
    """The rows of a record before `row` are whole; that one is not, or what `where` names.

    `where` is "seal" or "log" (there are no more rows, and others were lost), "tail" (nothing was checked), or
    None for the row.
    """

    def __init__(self, path: Path, row: int, what: str, where: str | None = None) -> None:
        self.row = row
        self.where = where
        self.what = f"{where or f'row {row}'}: {what}"
        good = "" if where == "tail" else f"; good rows before it: {row - 1}"
        super().__init__(f"{path}, {self.what}{good}")


@dataclass(frozen=True, slots=True)
class Event:
    """One row: `kind` says what `payload` is (raw wire bytes, or JSON of a phase, tick, note, command)."""

    id: int
    arrival_s: float
    source: str
    kind: str
    payload: bytes

    def content(self) -> dict[str, Any]:
        """The JSON object in the payload. Raises InputError when it is none."""
        try:
            value = json.loads(self.payload)
        except (ValueError, RecursionError):
            raise InputError(f"event {self.id} ({self.kind}): not JSON") from None
        if not isinstance(value, dict):
            raise InputError(f"event {self.id} ({self.kind}): not a JSON object")
        return value


class Record:
    """A record opened for reading. Raises InputError when the file is missing, foreign, newer or has no head.

    `seal` is None while the record is open, where it was damaged (`walk` tells), and in version 1.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such record")
        self.path = path
        try:
            with closing(self._open()) as database:
                self._read_head(database)
        except sqlite3.Error as error:
            raise InputError(f"{path}: not a record ({error})") from error

    @property
    def chained(self) -> bool:
        """False for version 1."""
        return self.version > schema.VERSION_WITHOUT_CHAIN

    @property
    def last_row(self) -> int:
        """Id of the last row as found, not checked; 0 in an empty record."""
        return self._last()[0]

    @property
    def last_arrival_s(self) -> float:
        """Arrival of the last row as found, not checked; minus infinity in an empty record."""
        return self._last()[1]

    def row_at(self, arrival_s: float) -> int:
        """The first row that arrived then or later, as found, not checked; one past the last where none did.

        Rows are taken to be in order of arrival; where threads overtook each other it is right to some rows.
        """
        low, high = 1, self.last_row + 1
        try:
            with closing(self._open()) as database:
                while low < high:
                    middle = (low + high) // 2
                    row = database.execute(schema.SELECT_ARRIVAL, (middle,)).fetchone()
                    if row is not None and row[0] < arrival_s:
                        low = middle + 1
                    else:
                        high = middle
        except (sqlite3.Error, TypeError) as error:
            raise DamagedRecordError(self.path, 1, f"cannot be read ({error})") from error
        return low

    def events(self, *kinds: str) -> Iterator[Event]:
        """All events, or those of the given kinds, in order.

        Every row is read and checked, also those of other kinds. Raises DamagedRecordError at the first that
        is wrong, and at the end when the seal counts another number of rows.
        """
        for event, _ in self.walk():
            if not kinds or event.kind in kinds:
                yield event

    def picked(self, *kinds: str) -> Iterator[Event]:
        """Events of the given kinds without reading the others: quick where those are large.

        Each is checked against the stored link of the row before it, so none is returned that is not what was
        written there; that rows between them are missing or changed is not noticed. Raises as `events`.
        """
        newest = 0
        try:
            with closing(self._open()) as database:
                for *row, before in database.execute(schema.SELECT_PICKED, (json.dumps(kinds),)):
                    before = self.head if row[0] == 1 else before
                    if self.chained and not isinstance(before, bytes):
                        raise DamagedRecordError(self.path, row[0] - 1, "missing, or without its link")
                    event, _ = self._checked(tuple(row), row[0], before)
                    newest = event.id
                    yield event
        except sqlite3.Error as error:
            raise DamagedRecordError(self.path, newest + 1, f"cannot be read ({error})") from error

    def walk(self, first: int = 1) -> Iterator[tuple[Event, bytes]]:
        """Events from row `first` on, each with its link (b"" in version 1). Raises as `events`.

        With `first` > 1 the stored link of the row before is taken for true.
        """
        newest = first - 1
        try:
            with closing(self._open()) as database:
                database.execute("BEGIN")  # rows and seal as of one moment
                seal, fault = self._read_seal(database)
                chain = self._chain_before(database, first)
                for row in database.execute(schema.SELECT_EVENTS, (first,)):
                    event, chain = self._checked(row, newest + 1, chain, seal)
                    newest = event.id
                    yield event, chain
                self._check_end(newest, chain, seal, fault)
                self._check_log(newest)
        except sqlite3.Error as error:
            raise DamagedRecordError(self.path, newest + 1, f"cannot be read ({error})") from error

    def link_of(self, row: int) -> bytes:
        """The stored link of a row, chain_0 for row 0. Raises DamagedRecordError when there is none."""
        if row == 0:
            return self.head
        try:
            with closing(self._open()) as database:
                return self._chain_before(database, row + 1)
        except sqlite3.Error as error:
            raise DamagedRecordError(self.path, row, f"cannot be read ({error})") from error

    def tail(self, rows: int, size: int) -> int:
        """The first of the last rows: at most `rows`, and no more than `size` bytes of payload.

        Raises DamagedRecordError when the end cannot be read.
        """
        last = self.last_row
        first, total = last + 1, 0
        try:
            with closing(self._open()) as database:
                for number, length in database.execute(schema.SELECT_LENGTHS, (max(1, last - rows + 1),)):
                    total += int(length)
                    if total > size:
                        break
                    first = int(number)
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise DamagedRecordError(self.path, 1, f"the end cannot be read ({error})", "tail") from error
        return max(1, first)

    def _open(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)  # an iterator may change hands
        # Else a file that is shorter than its head says would give not even the rows that are there.
        database.execute("PRAGMA writable_schema = ON")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        return database

    def _read_head(self, database: sqlite3.Connection) -> None:
        application = database.execute("PRAGMA application_id").fetchone()[0]
        self.version: int = database.execute("PRAGMA user_version").fetchone()[0]
        if application != schema.APPLICATION_ID:
            raise InputError(f"{self.path}: not a record")
        if not schema.VERSION_WITHOUT_CHAIN <= self.version <= schema.VERSION:
            raise InputError(
                f"{self.path}: record of version {self.version}; this program reads 1 to {schema.VERSION}"
            )
        row = database.execute(schema.SELECT_META if self.chained else schema.SELECT_META_1).fetchone()
        if row is None:
            raise InputError(f"{self.path}: not a record (no head)")
        self.meta_text, self.head = str(row[0]), self._checked_head(database, *row)
        self.meta: dict[str, Any] = self._parsed(self.meta_text)
        self.seal, _ = self._read_seal(database)

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            meta = json.loads(text)
        except (ValueError, RecursionError):
            meta = None
        if not isinstance(meta, dict):
            raise InputError(f"{self.path}: the head is not JSON")
        return meta

    def _checked_head(self, database: sqlite3.Connection, meta: Any, chain: Any) -> bytes:
        if self.chained:
            if head_digest(str(meta)) != chain:
                raise InputError(f"{self.path}: the head was changed (it does not match its chain)")
            return bytes(chain)
        if database.execute(schema.COUNT_SEAL_TABLES).fetchone()[0]:
            raise InputError(
                f"{self.path}: the head was changed (version 1 has no seal, this record has one)"
            )
        return b""

    def _read_seal(self, database: sqlite3.Connection) -> tuple[Seal | None, str | None]:
        """The seal, None where there is none; and what is wrong with it."""
        if not self.chained:
            return None, None
        try:
            row = database.execute(schema.SELECT_SEAL).fetchone()
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        except sqlite3.Error as error:
            return None, f"cannot be read ({error})"
        if row == (None, None, None, None):
            # While a record is open its file says that a log stands beside it.
            return None, None if mode == "wal" else "removed (the record was closed)"
        return _parsed_seal(row)

    def _last(self) -> tuple[int, float]:
        try:
            with closing(self._open()) as database:
                row = database.execute(schema.SELECT_LAST).fetchone()
        except sqlite3.Error as error:
            raise DamagedRecordError(self.path, 1, f"the end cannot be read ({error})", "tail") from error
        return (0, float("-inf")) if row is None else (int(row[0]), float(row[1]))

    def _chain_before(self, database: sqlite3.Connection, first: int) -> bytes:
        if first == 1 or not self.chained:
            return self.head
        row = database.execute(schema.SELECT_CHAIN, (first - 1,)).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise sqlite3.DatabaseError(f"no link in row {first - 1}")
        return row[0]

    def _checked(
        self, row: tuple[Any, ...], expected: int, before: bytes, seal: Seal | None = None
    ) -> tuple[Event, bytes]:
        """The event in a row and its link. Raises DamagedRecordError when it does not continue the chain."""
        number, arrival_s, source, kind, payload, chain = row
        if seal is not None and expected > seal.rows:
            raise DamagedRecordError(self.path, expected, f"added (the seal counts {seal.rows} rows)")
        if number != expected:
            found = f"missing (row {number} follows)" if number > expected else f"out of order (row {number})"
            raise DamagedRecordError(self.path, expected, found)
        if (type(arrival_s), type(source), type(kind), type(payload)) != (float, str, str, bytes):
            raise DamagedRecordError(self.path, expected, "changed (not the types of a row)")
        if self.chained:
            before = link(before, number, arrival_s, source, kind, payload)
            if before != chain:
                raise DamagedRecordError(self.path, expected, "changed (it does not continue the chain)")
        return Event(number, arrival_s, source, kind, payload), before

    def _check_end(self, newest: int, chain: bytes, seal: Seal | None, fault: str | None) -> None:
        if fault is not None:
            raise DamagedRecordError(self.path, newest + 1, fault, "seal")
        if seal is not None and newest < seal.rows:
            raise DamagedRecordError(self.path, newest + 1, f"missing (the seal counts {seal.rows} rows)")
        if seal is not None and chain != seal.chain:
            raise DamagedRecordError(self.path, newest + 1, "changed (not the end of this chain)", "seal")

    def _check_log(self, newest: int) -> None:
        fault = log_damage(beside(self.path, LOG))
        if fault is not None:
            raise DamagedRecordError(self.path, newest + 1, f"{fault}; later rows are lost", "log")


def _parsed_seal(row: tuple[Any, ...] | None) -> tuple[Seal | None, str | None]:
    if row is None:
        return None, "removed"
    rows, chain, closed_s, signature = row
    kinds_fit = isinstance(rows, int) and isinstance(chain, bytes) and isinstance(closed_s, float)
    if not kinds_fit or not isinstance(signature, bytes | None) or len(chain) != DIGEST_BYTES:
        return None, "changed (not the types of a seal)"
    if not abs(closed_s) < FARTHEST_S:
        return None, f"changed (closed at {closed_s:g} s)"
    return Seal(rows, chain, closed_s, signature), None


def read_events(path: Path, *kinds: str) -> Iterator[Event]:
    """The events of the record at `path`, all or of the given kinds. Raises InputError as `Record`."""
    return Record(path).events(*kinds)


def read_meta(path: Path) -> dict[str, Any]:
    """The head of the record at `path`. Raises InputError as `Record`."""
    return Record(path).meta
