"""The file under a recorder: rows with their links go into SQLite, from one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tracking.errors import InputError, SurroundingsError
from tracking.recording import schema
from tracking.recording.ballast import ballast_of
from tracking.recording.chain import head_digest, link, sealed

Row = tuple[float, str, str, bytes]  # arrival_s, source, kind, payload
# Files that SQLite keeps beside a database in WAL mode.
LOG, INDEX = "-wal", "-shm"
# The log is moved into the database when it holds this much ...
LOG_BYTES = 4 << 20
# ... and by the commit itself, which then waits, when that does not happen.
MOST_LOG_BYTES = 64 << 20
# Pages of a small commit.
COMMIT_BYTES = 8 << 10
# While a log is moved some frames are added; a second pass is short enough to catch up.
MOVES = 3
# Source and kind of the recorder's own rows: JSON with "event" and what belongs to it.
RECORDER = "recorder"


def beside(path: Path, ending: str) -> Path:
    """The file with the record's name and `ending`."""
    return path.with_name(path.name + ending)


def with_companions(path: Path) -> tuple[Path, ...]:
    """The record and every file that may lie beside it while it is written."""
    return path, beside(path, LOG), beside(path, INDEX), ballast_of(path)


def supersede(new: Path, old: Path) -> None:
    """Put the closed record `new` in the place of `old`: whose log would else be taken for that of `new`.

    Raises SurroundingsError when somebody records into `old`.
    """
    lock = WriteLock(old) if old.exists() else None
    try:
        for left in with_companions(old)[1:]:
            left.unlink(missing_ok=True)
        os.replace(new, old)
    finally:
        if lock is not None:
            lock.release()


def recorder_row(arrival_s: float, event: str, **content: Any) -> Row:
    """A row of the recorder's own; `arrival_s` is that of the row before, so that no replay waits for it."""
    payload = json.dumps({"event": event, **content}, allow_nan=False).encode()
    return arrival_s, RECORDER, RECORDER, payload


class WriteLock:
    """The right to write a record, as long as this object holds it. Raises SurroundingsError when taken.

    It is an flock on the record itself: it goes with the process. Closing any descriptor of a file drops the
    locks that SQLite holds on it for this process: so `release` comes after the database is closed, and what
    this process holds already is not opened a second time.
    """

    _held: ClassVar[set[tuple[int, int]]] = set()

    def __init__(self, path: Path, create: bool = False) -> None:
        self._handle = -1
        self._file = (0, 0)
        self.take(path, create)

    def take(self, path: Path, create: bool = False) -> None:
        """Hold the file that is at `path` now, and no other."""
        self.release()
        if not create and _file_of(os.stat(path)) in self._held:
            raise SurroundingsError(f"{path}: this process is recording into it already")
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        self._handle = os.open(path, flags, 0o666)
        self._file = _file_of(os.fstat(self._handle))
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._file != _file_of(os.stat(path)):
                raise BlockingIOError("replaced just now")
        except BlockingIOError:
            os.close(self._handle)
            self._handle = -1
            raise SurroundingsError(f"{path}: another process is recording into it") from None
        self._held.add(self._file)

    def is_at(self, path: Path) -> bool:
        """Whether what is held is what lies at `path` now."""
        try:
            return self._file == _file_of(os.stat(path))
        except OSError:
            return False

    def release(self) -> None:
        """Give it up; harmless when repeated."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            self._held.discard(self._file)
            os.close(handle)


def _file_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Store:
    """Appends rows; `newest` and `chain` are those of the last committed one, `log_bytes` what the log may hold.

    For one thread, but for `sync` and `tidy`. Raises sqlite3.Error or OSError when the disk does not take it.
    """

    def __init__(self, path: Path, lock: WriteLock, newest: int, chain: bytes) -> None:
        self.path = path
        self.newest = newest
        self.chain = chain
        self.log_bytes = LOG_BYTES
        self._lock = lock
        self._log = -1
        self._logged = 0
        self._sealed = False
        self._tidier: sqlite3.Connection | None = None
        self._database = sqlite3.connect(path, check_same_thread=False)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            # A commit would wait for the disk now and then; `tidy` does this beside it.
            self._database.execute("PRAGMA wal_autocheckpoint = 0")
            self._database.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path, meta: str) -> Store:
        """A new record with its head. Raises InputError when `path` exists, SurroundingsError."""
        try:
            lock = WriteLock(path, create=True)
        except FileExistsError:
            raise InputError(f"{path}: already exists; a record is never overwritten") from None
        except OSError as error:
            raise SurroundingsError(f"{path}: cannot record there ({error})") from error
        try:
            store = cls(path, lock, 0, head_digest(meta))
            store._begin(meta)
        except UnicodeEncodeError as error:
            lock.release()
            path.unlink()
            raise InputError(f"{path}: its head would hold a text that is no Unicode ({error})") from None
        except (sqlite3.Error, OSError) as error:
            lock.release()
            for ending in ("", LOG, INDEX):
                beside(path, ending).unlink(missing_ok=True)
            raise SurroundingsError(f"{path}: cannot record there ({error})") from error
        return store

    def _begin(self, meta: str) -> None:
        try:
            with self._database:
                self._database.executescript(f"BEGIN; {schema.CREATE}")
                self._database.execute(schema.INSERT_META, (meta, self.chain))
            self._open_log()
        except BaseException:
            self._database.close()
            raise

    def go_on(self, row: Row) -> None:
        """The first row after an interruption; it takes a seal away. A failure leaves the store closed."""
        try:
            self.commit([row], unseal=True)
            self._open_log()
        except BaseException:
            self._database.close()
            raise

    def _open_log(self) -> None:
        """The log exists once something was written; `sync` needs it."""
        self._log = os.open(beside(self.path, LOG), os.O_RDONLY | os.O_CLOEXEC)

    def commit(self, rows: Sequence[Row], unseal: bool = False) -> None:
        """All rows, or none; `unseal` also takes away the seal of a record that goes on."""
        newest, chain = self.newest, self.chain
        linked = []
        for arrival_s, source, kind, payload in rows:
            newest += 1
            chain = link(chain, newest, arrival_s, source, kind, payload)
            linked.append((newest, arrival_s, source, kind, chain, payload))
        with self._database:
            self._database.executemany(schema.INSERT_EVENT, linked)
            if unseal:
                self._database.execute("INSERT OR REPLACE INTO seal (id) VALUES (1)")
        self.newest, self.chain = newest, chain
        self._logged += COMMIT_BYTES + sum(len(row[3]) for row in rows)
        if self._logged > MOST_LOG_BYTES:
            with contextlib.suppress(sqlite3.Error):  # the rows are committed all the same
                self._move(self._database)

    def sync(self) -> None:
        """Force what is committed to the disk; any thread may call it."""
        os.fdatasync(self._log)

    @property
    def in_place(self) -> bool:
        """False when the file was removed or replaced: SQLite would go on writing into what nobody can open."""
        return self._lock.is_at(self.path)

    def tidy(self) -> None:
        """Move a log that has grown into the database while commits go on; for one other thread."""
        if self._logged > self.log_bytes:
            if self._tidier is None:
                self._tidier = sqlite3.connect(self.path, check_same_thread=False)
                self._tidier.execute("PRAGMA synchronous = NORMAL")
            self._move(self._tidier)

    def _move(self, database: sqlite3.Connection) -> None:
        """What is moved as a whole makes the next commit begin the log anew."""
        for _ in range(MOVES):
            ((_, frames, moved),) = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if frames == moved:
                self._logged = 0
                return

    def seal(self, closed_s: float, key: bytes | None) -> None:
        """Write down where the record ends."""
        seal = sealed(self.newest, self.chain, closed_s, key)
        with self._database:
            self._database.execute(schema.UPDATE_SEAL, (seal.rows, seal.chain, seal.closed_s, seal.signature))
        self._sealed = True

    def fold(self) -> None:
        """Move the log into the database and shorten it, which frees its room."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Leave one durable file; the lock goes in any case. Without a seal it goes on saying that it is open."""
        try:
            if self._log >= 0:
                os.close(self._log)
            if self._tidier is not None:
                self._tidier.close()
            self.fold()
            if self._sealed:
                with contextlib.suppress(sqlite3.OperationalError):  # somebody reads: the log stays, empty
                    self._database.execute("PRAGMA journal_mode = DELETE")
        finally:
            self._database.close()
            self._lock.release()
