"""Record, session, reconstruction and publisher put together: what a live case runs on."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from navigation.engine.imaging import Build, Imager
from navigation.engine.keeping import KeptRecorder
from navigation.engine.live import LiveEngine
from navigation.engine.pedal import PedalPort
from navigation.engine.restore import Restored, restore
from navigation.engine.session import Session
from navigation.engine.settings import Settings
from navigation.engine.snapshot import Snapshot
from navigation.publish import Publisher
from tracking.errors import InputError
from tracking.igtl.codec import Message
from tracking.recording import DamagedRecordError, Record, Recorder

logger = logging.getLogger(__name__)

# More alarms of the recorder between two snapshots say the same.
MOST_ALARMS = 20
RECORD_NAME = "record.gnav"
SETTINGS_KEY = "settings"


class LiveStatistics:
    """How live the live map was: seen from outside, over one scan at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, float]] = {}
        self._last: object = None

    def take(self, snapshot: Snapshot) -> None:
        """Look at one snapshot."""
        if snapshot.mode != "scan" or snapshot.map is None or snapshot.map_scan != snapshot.scan:
            return
        with self._lock:
            row = self._seen.setdefault(
                str(snapshot.scan),
                {"maps": 0, "first_s": snapshot.t_s, "last_s": snapshot.t_s, "oldest_s": 0.0},
            )
            row["maps"] += snapshot.map is not self._last
            row["last_s"] = snapshot.t_s
            row["oldest_s"] = max(row["oldest_s"], snapshot.map_age_s or 0.0)
            self._last = snapshot.map

    def content(self) -> dict[str, Any]:
        """For each scan: maps, maps per second, greatest age of the map in s."""
        with self._lock:
            return {
                scan: {
                    "maps": int(row["maps"]),
                    "maps_per_s": round(row["maps"] / max(row["last_s"] - row["first_s"], 1e-9), 2),
                    "greatest_age_s": round(row["oldest_s"], 3),
                }
                for scan, row in self._seen.items()
            }


class LiveCase:
    """A running case as a context; with `resume` one that goes on in its record after a crash.

    `key` signs the record when it is closed. Entering raises SurroundingsError when the port is in use or the
    record cannot be written, and InputError when the record exists, or with `resume` when it does not or is
    none of a live case.
    """

    def __init__(
        self,
        settings: Settings,
        record: Path,
        port: int,
        build: Build,
        resume: bool = False,
        key: bytes | None = None,
    ) -> None:
        self.statistics = LiveStatistics()
        self.newest: Snapshot | None = None
        self.session = Session(settings)
        self.publisher = Publisher(port, settings.publish_host, self._from_client)
        self._pedal: PedalPort | None = None
        self.restored: Restored | None = None
        self._record = record
        self._build = build
        self._resume = resume
        self._key = key
        self._alarms: deque[str] = deque(maxlen=MOST_ALARMS)
        self._beside = ThreadPoolExecutor(1, "beside")

    def __enter__(self) -> LiveCase:
        with ExitStack() as undo:
            self.publisher.start()
            undo.callback(self.publisher.stop)
            self.recorder, imager = self._taken_up() if self._resume else self._begun()
            undo.callback(self._give_up_record)
            self.kept = KeptRecorder(self.recorder)
            undo.callback(self._beside.shutdown)
            self.engine = LiveEngine(self.session, imager, self.kept, self._show, restored=self.restored)
            undo.pop_all()
        self._pedal = PedalPort(self.session.settings, self.engine.command, self.engine.viewer.fault)
        self.engine.start()
        return self

    def _give_up_record(self) -> None:
        """A record in which nothing was written yet is not left behind."""
        self.recorder.close()
        if not self._resume:
            self._record.unlink()

    def _begun(self) -> tuple[Recorder, Imager]:
        self._record.parent.mkdir(parents=True, exist_ok=True)
        head = head_of(self.session.settings)
        recorder = Recorder(self._record, head, key=self._key, on_alarm=self._alarm)
        return recorder, Imager(self._build, beside=self._beside)

    def _taken_up(self) -> tuple[Recorder, Imager]:
        """The record goes on; if rows in its middle are damaged, what precedes them does."""
        try:
            imager = self._restored()
            return self._reopened(whole=False), imager
        except DamagedRecordError:
            recorder = self._reopened(whole=True)
        try:
            return recorder, self._restored()
        except BaseException:
            recorder.close()
            raise

    def _restored(self) -> Imager:
        self.session = Session(self.session.settings)
        imager = Imager(self._build, beside=self._beside)
        self.restored = restore(Record(self._record), self.session, imager)
        return imager

    def _reopened(self, whole: bool) -> Recorder:
        return Recorder.resume(self._record, key=self._key, on_alarm=self._alarm, whole=whole)

    def _from_client(self, peer: str, message: Message) -> Message | None:
        """What a client of the publisher sends: nothing but a pedal's, on the server's thread."""
        return None if self._pedal is None else self._pedal.take(peer, message)

    def _alarm(self, kind: str, text: str) -> None:
        """An alarm of the recorder, on one of its threads; a lasting fault is in its health, too."""
        logger.warning("recorder, %s: %s", kind, text)
        self._alarms.append(f"recorder: {text}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.stop()
        self._beside.shutdown()
        self.publisher.stop()
        self.recorder.close()

    def _show(self, snapshot: Snapshot) -> None:
        while self._alarms:
            self.engine.viewer.fault(self._alarms.popleft())
        self.newest = snapshot
        self.statistics.take(snapshot)
        self.publisher.show(snapshot)
        self.kept.show(snapshot)


def head_of(settings: Settings) -> dict[str, Any]:
    """The head of a record."""
    return {
        SETTINGS_KEY: settings.to_json(),
        "started": time.time(),
        "simulated": settings.simulated,
        "nuclide": settings.nuclide,
        "epoch_s": settings.epoch_s,
        "dead_time_s": settings.dead_time_s,
        "T_probe_probetip": settings.tips.probe.tolist(),
    }


def settings_of(record: Record) -> Settings:
    """The settings in a record's head. Raises InputError when it was not written by the engine."""
    found = record.meta.get(SETTINGS_KEY)
    if found is None:
        raise InputError(
            f"{record.path}: not a record of a live case; a scan imported with --calibration can be replayed"
        )
    try:
        return Settings.from_json(found)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{record.path}: not a record of a live case ({error!r})") from error
