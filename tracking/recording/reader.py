"""Reading a record back: its head and its events, in the order in which they were written."""

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
    """A record opened for reading. Raises InputError when the file is missing, foreign or damaged."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such record")
        self.path = path
        self.meta: dict[str, Any] = self._read_meta()

    def events(self, *kinds: str) -> Iterator[Event]:
        """All events, or those of the given kinds, in order."""
        newest = 0
        try:
            with closing(self._open()) as database:
                for row in database.execute(schema.SELECT_EVENTS):
                    event = _whole(row, newest + 1)
                    newest = event.id
                    if not kinds or event.kind in kinds:
                        yield event
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: damaged after event {newest} ({error})") from error

    def _open(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)  # an iterator may change hands

    def _read_meta(self) -> dict[str, Any]:
        try:
            with closing(self._open()) as database:
                application = database.execute("PRAGMA application_id").fetchone()[0]
                version = database.execute("PRAGMA user_version").fetchone()[0]
                row = database.execute(schema.SELECT_META).fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: not a record ({error})") from error
        if application != schema.APPLICATION_ID or row is None:
            raise InputError(f"{self.path}: not a record")
        if version != schema.VERSION:
            raise InputError(f"{self.path}: record of version {version}, not {schema.VERSION}")
        meta: dict[str, Any] = json.loads(row[0])
        return meta


def _whole(row: tuple[Any, ...], expected_id: int) -> Event:
    """The event in a row. Raises sqlite3.DatabaseError when the row is torn or one before it is missing."""
    kinds = (int, float, str, str, bytes)
    if row[0] != expected_id or not all(isinstance(v, k) for v, k in zip(row, kinds, strict=True)):
        raise sqlite3.DatabaseError("the next row is not whole")
    return Event(*row)


def read_events(path: Path, *kinds: str) -> Iterator[Event]:
    """The events of the record at `path`, all or of the given kinds. Raises InputError as `Record`."""
    return Record(path).events(*kinds)


def read_meta(path: Path) -> dict[str, Any]:
    """The head of the record at `path`. Raises InputError as `Record`."""
    return Record(path).meta
