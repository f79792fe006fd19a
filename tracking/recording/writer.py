"""A recorder that never makes its caller wait: a queue, a thread that commits what it drains, one that syncs.

SQLite in WAL mode with `synchronous = NORMAL` survives a killed process with every committed row; the
fdatasync of the write-ahead log every 200 ms bounds what a power cut can take.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import to_json
from tracking.recording import schema

logger = logging.getLogger(__name__)

SYNC_CADENCE_S = 0.2
# Ten minutes of 200 messages a second: beyond that the disk is not coming back.
MOST_WAITING = 120_000
# A commit holds at most this many events, so that the tail a crash can take stays short.
MOST_PER_COMMIT = 1000

Row = tuple[float, str, str, bytes]


class Recorder:
    """Appends events to a new record at `path`; `meta` is its head, kept as JSON.

    A failing disk does not stop the caller: `fault` then says what is wrong and `lost` counts the events
    that were not kept. Raises InputError when `path` exists, SurroundingsError when it cannot be made.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        if path.exists():
            raise InputError(f"{path}: already exists; a record is never overwritten")
        self.path = path
        self.lost = 0
        self.fault: str | None = None
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._appended = self._committed = self._durable = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._closed = False
        try:
            self._database = _create(path, to_json(dict(meta)))
            self._log = os.open(f"{path}-wal", os.O_RDONLY)
        except (sqlite3.Error, OSError) as error:
            raise SurroundingsError(f"{path}: cannot record there ({error})") from error
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._syncer = threading.Thread(target=self._sync, name="recorder-sync", daemon=True)
        self._writer.start()
        self._syncer.start()

    def append(self, source: str, arrival_s: float, kind: str, payload: bytes) -> None:
        """Keep one event; returns at once, also when the disk does not keep up."""
        with self._lock:
            if self._closed or self.fault is not None or self.waiting >= MOST_WAITING:
                self.lost += 1
                return
            self._appended += 1
            self._queue.put((arrival_s, source, kind, bytes(payload)))

    @property
    def waiting(self) -> int:
        """Events taken but not yet committed."""
        return self._appended - self._committed

    @property
    def committed(self) -> int:
        """Events that survive the end of this process."""
        return self._committed

    @property
    def durable(self) -> int:
        """Events that survive a power cut."""
        return self._durable

    def close(self) -> None:
        """Commit what is queued and close the file; harmless when repeated.

        Raises SurroundingsError when events were lost: the record is then incomplete.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._queue.put(None)
            self._writer.join()
            self._closing.set()
            self._syncer.join()
            self._finish()
        if self.fault is not None:
            raise SurroundingsError(f"{self.path}: {self.lost} events were not recorded ({self.fault})")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        while True:
            rows, ended = self._drain()
            if rows:
                self._commit(rows)
            if ended:
                return

    def _drain(self) -> tuple[list[Row], bool]:
        """What is queued now, waiting for at least one entry; whether the end was among it."""
        rows: list[Row] = []
        entry = self._queue.get()
        while entry is not None:
            rows.append(entry)
            if len(rows) >= MOST_PER_COMMIT or self._queue.empty():
                return rows, False
            entry = self._queue.get()
        return rows, True

    def _commit(self, rows: list[Row]) -> None:
        if self.fault is None:
            try:
                with self._database:
                    self._database.executemany(schema.INSERT_EVENT, rows)
            except sqlite3.Error as error:
                self.fault = str(error)
                logger.error("%s: recording stopped: %s", self.path, error)
        with self._lock:
            self._committed += len(rows)
            if self.fault is not None:
                self.lost += len(rows)

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_CADENCE_S):
            committed = self._committed
            if committed > self._durable and self.fault is None:
                try:
                    os.fdatasync(self._log)
                except OSError as error:
                    self.fault = str(error)
                    return
                self._durable = committed

    def _finish(self) -> None:
        os.close(self._log)
        try:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(sqlite3.OperationalError):  # somebody reads: the log stays, empty
                self._database.execute("PRAGMA journal_mode = DELETE")
            self._database.close()
        except sqlite3.Error as error:
            self.fault = self.fault or str(error)
        if self.fault is None:
            self._durable = self._committed


def _create(path: Path, meta: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.executescript(schema.CREATE)
    with database:
        database.execute(schema.INSERT_META, (meta,))
    return database
