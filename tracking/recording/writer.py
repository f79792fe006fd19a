"""A recorder that never makes its caller wait: a queue, a thread that commits what it drains, one that syncs.

SQLite in WAL mode with `synchronous = NORMAL` survives a killed process with every committed row; the
fdatasync of the write-ahead log every 200 ms bounds what a power cut can take.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import to_json
from tracking.recording.backlog import Backlog
from tracking.recording.ballast import Ballast, free_bytes
from tracking.recording.health import Forecast, Health
from tracking.recording.reader import Record
from tracking.recording.resume import reopen
from tracking.recording.store import Row, Store

logger = logging.getLogger(__name__)

SYNC_CADENCE_S = 0.2
# A commit that failed is tried again this soon.
RETRY_S = 0.5
# After a full disk recording goes on when there is room for the ballast and half of it more.
ROOM_TO_GO_ON = 1.5
# The check in the background rests after every so many rows: the live case comes first.
CHECK_BURST, CHECK_REST_S = 200, 0.002
BEHIND = "the disk does not keep up"

OnAlarm = Callable[[str, str], object]


class Recorder:
    """Appends events to a new record at `path`; `meta` is its head, kept as JSON.

    A failing disk does not stop the caller: `append` then returns False, `fault` says what is wrong, `lost`
    counts the events that were not kept, and the record says so itself where it goes on. What was accepted is
    written even to a full disk, for which a ballast of `ballast_bytes` (None: 16 MiB, less on a small disk)
    keeps the room. `on_alarm(kind, text)` is called from the recorder's threads and must return at once; kinds:
    "full", "disk", "behind", "sync", "gone", "space", "damage", and "recovered" when everything is kept again. `key`
    signs the seal. Raises InputError when `path` exists, SurroundingsError when it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        meta: Mapping[str, Any],
        *,
        key: bytes | None = None,
        on_alarm: OnAlarm | None = None,
        ballast_bytes: int | None = None,
    ) -> None:
        self._begin(Store.create(path, to_json(dict(meta))), key, on_alarm, ballast_bytes)

    @classmethod
    def resume(
        cls,
        path: Path,
        *,
        key: bytes | None = None,
        on_alarm: OnAlarm | None = None,
        ballast_bytes: int | None = None,
        whole: bool = False,
    ) -> Recorder:
        """Go on with the record at `path` after a crash or a close; its ids and its chain continue.

        The newest rows are checked now and the others in the background (alarm "damage"), or all of them now
        with `whole`. A damaged record is kept as `*.damaged` and its good rows go on in a copy. The first row
        is the recorder's own: `{"event": "resumed", ...}` with the last row before it and what was damaged.
        Raises InputError when it is no record or sealed with another key, SurroundingsError when another
        process records into it or the disk does not take it.
        """
        found = reopen(path, key, whole)
        recorder = cls.__new__(cls)
        recorder._begin(found.store, key, on_alarm, ballast_bytes)
        recorder._backlog.newest_s = found.arrival_s
        if found.unchecked:
            recorder._start("recorder-check", lambda: recorder._check(found.unchecked))
        return recorder

    def _begin(
        self, store: Store, key: bytes | None, on_alarm: OnAlarm | None, ballast_bytes: int | None
    ) -> None:
        self.path = store.path
        self._store, self._key, self._on_alarm = store, key, on_alarm
        self._backlog = Backlog()
        self._forecast = Forecast()
        self._durable = 0
        self._write_fault: str | None = None
        self._sync_fault: str | None = None
        self._stuck = self._behind = False
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        try:
            self._ballast = Ballast(self.path, ballast_bytes)
            self._ballast.fill()
            store.log_bytes = min(store.log_bytes, self._ballast.size // 2)  # on a small disk a small log
        except OSError as error:
            store.close()
            raise SurroundingsError(f"{self.path}: cannot record there ({error})") from error
        self._start("recorder", self._write)
        self._start("recorder-sync", self._sync)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def append(self, source: str, arrival_s: float, kind: str, payload: bytes) -> bool:
        """Keep one event; False when it is not accepted. Returns at once, also when the disk does not keep up.

        Raises ValueError for what no record holds: an arrival that is not finite, text that is not Unicode.
        """
        if not math.isfinite(arrival_s):
            raise ValueError(f"an event cannot arrive at {arrival_s}")
        (source + kind).encode()
        # SQLite keeps no negative zero, and the chain is over what it keeps.
        return self._backlog.offer((float(arrival_s) + 0.0, source, kind, bytes(payload)))

    @property
    def fault(self) -> str | None:
        """What is wrong now; None when everything that comes is kept and reaches the disk."""
        return self._write_fault or self._sync_fault or (BEHIND if self._backlog.behind else None)

    @property
    def lost(self) -> int:
        """Events that were not kept."""
        return self._backlog.lost

    @property
    def waiting(self) -> int:
        """Events taken but not yet committed."""
        return self._backlog.waiting

    @property
    def committed(self) -> int:
        """Events that survive the end of this process."""
        return self._backlog.committed

    @property
    def durable(self) -> int:
        """Events that survive a power cut."""
        return self._durable

    @property
    def health(self) -> Health:
        """All of it."""
        return Health(
            self.fault, self.lost, self.waiting, self.committed, self._durable, self._forecast.minutes_left
        )

    def close(self) -> None:
        """Commit what is queued, seal the record and close the file; harmless when repeated.

        Raises SurroundingsError when the disk fails at the end: the record is then incomplete.
        """
        if self._backlog.close():
            self._closing.set()
            for thread in self._threads:
                thread.join()
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
        ended = False
        while not ended:
            rows, ended = self._backlog.drain()
            if rows:
                self._backlog.done(rows, kept=self._persist(rows))

    def _persist(self, rows: list[Row]) -> bool:
        """Commit, however long it takes, unless the recorder is being closed."""
        while not self._commit(rows):
            if self._closing.wait(RETRY_S):
                return self._commit(rows)
        return True

    def _commit(self, rows: list[Row]) -> bool:
        """Commit; where the disk is full, into the room that the ballast leaves."""
        while True:
            try:
                self._store.commit(rows)
            except sqlite3.Error as error:
                if not self._stumble(error):
                    return False
            else:
                self._stuck = False
                return True

    def _stumble(self, error: sqlite3.Error) -> bool:
        """Tell of a failed commit and keep further events out; True when there is room for another try."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes carry the plain one below
        self._stuck = True
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            self._fail("disk", str(error))  # whoever holds it lets go: what comes may wait meanwhile
            return False
        self._backlog.refusing = True
        self._fail("full" if code == sqlite3.SQLITE_FULL else "disk", str(error))
        return self._ballast.release()

    def _fail(self, kind: str, text: str) -> None:
        told, self._write_fault = self._write_fault, text
        if told is None:
            self._alarm(kind, f"{self.path}: the disk takes nothing ({text})")

    def _alarm(self, kind: str, text: str) -> None:
        logger.log(logging.INFO if kind == "recovered" else logging.ERROR, "%s", text)
        if self._on_alarm is None:
            return
        try:
            self._on_alarm(kind, text)
        except Exception:
            logger.exception("nobody took the alarm %s", kind)

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_CADENCE_S):
            committed = self.committed
            if committed > self._durable and self._sync_fault is None:
                self._force(committed)
            self._look_for_the_file()
            self._tidy()
            self._watch()

    def _force(self, committed: int) -> None:
        try:
            self._store.sync()
        except OSError as error:
            # What the kernel could not write it may forget, and a later success would not say so: it stays.
            self._sync_fault = f"not safe from a power cut: {error}"
            self._alarm("sync", f"{self.path}: {self._sync_fault}")
        else:
            self._durable = committed

    def _look_for_the_file(self) -> None:
        if self._sync_fault is None and not self._store.in_place:
            self._sync_fault = "the record was removed or replaced: what comes is lost with this process"
            self._alarm("gone", f"{self.path}: {self._sync_fault}")

    def _tidy(self) -> None:
        try:
            self._store.tidy()
        except sqlite3.Error as error:
            logger.info("%s: the log stays as it is (%s)", self.path, error)  # a full disk; the commits tell

    def _watch(self) -> None:
        """Look at the room on the disk, and whether everything can be kept again."""
        try:
            free = free_bytes(self.path.parent)
        except OSError as error:
            logger.warning("%s: %s", self.path, error)
            return
        self._backlog.fit(free + (self._ballast.size if self._ballast.full else 0))
        self._forecast.look(time.monotonic(), self._backlog.written_bytes, free)
        if self._forecast.warns():
            minutes = self._forecast.minutes_left
            self._alarm("space", f"{self.path}: the disk is full in {minutes:.0f} minutes")
        room = free >= ROOM_TO_GO_ON * self._ballast.size and not self._stuck
        if room and not self._ballast.full and self.waiting == 0 and self._ballast.fill():
            self._backlog.refusing = False
        self._tell_recovery()

    def _tell_recovery(self) -> None:
        behind = self._backlog.behind
        if behind and not self._behind:
            self._alarm("behind", f"{self.path}: events are lost ({BEHIND})")
        recovered = not (self._stuck or self._backlog.refusing or behind)
        if recovered and (self._write_fault is not None or self._behind):
            self._write_fault = None
            self._alarm("recovered", f"{self.path}: recording goes on; {self.lost} events lost so far")
        self._behind = behind

    def _check(self, last: int) -> None:
        """Check the rows up to `last` that the resumption did not look at."""
        try:
            for event, _ in Record(self.path).walk():
                if event.id >= last or (event.id % CHECK_BURST == 0 and self._closing.wait(CHECK_REST_S)):
                    return
        except InputError as error:
            self._backlog.note("damage", damage=str(error))
            self._alarm("damage", str(error))

    def _finish(self) -> None:
        self._look_for_the_file()
        try:
            self._ballast.release()
            try:
                self._store.seal(time.time(), self._key)
            finally:
                self._store.close()
        except (sqlite3.Error, OSError) as error:
            self._write_fault = self._write_fault or str(error)
        if self.fault is None:
            self._durable = self.committed
