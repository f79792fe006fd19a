"""The live engine: sources into one queue, the queue into record and session, jobs into their own thread.

The record is written before anything is interpreted. Nothing here waits for a view or a client.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from navigation.bedwords import with_records
from navigation.engine import events
from navigation.engine.events import EngineEvent, json_event
from navigation.engine.imaging import Imager
from navigation.engine.jobs import Job, Outcome, TickJob, result_content
from navigation.engine.journal import Noticed
from navigation.engine.planner import Planner
from navigation.engine.restore import Restored
from navigation.engine.session import READING, SCAN, Session
from navigation.engine.snapshot import RecorderState, Snapshot
from navigation.engine.sources import device_for
from navigation.engine.view import Viewer, id_and_state
from tracking.device import DeviceState
from tracking.errors import GammanavError
from tracking.hub import Alarm

logger = logging.getLogger(__name__)

USER, ENGINE = "user", "engine"
RESIDUAL_SUSPECTED = "residual-suspected"
# Rhythm of the map: that of the counters, since a tick costs a fifth of it and no more as the scan goes on.
TICK_S = 0.1
# Rhythm of snapshots: smooth for the eye, cheap to publish.
SNAPSHOT_S = 0.05


class SteadyClock:
    """Unix seconds that never jump: the wall clock is read once, then only the monotonic clock counts."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return time.monotonic() + self._offset


class Sink(Protocol):
    """Where the sequence goes before it is interpreted: the recorder."""

    def append(self, source: str, arrival_s: float, kind: str, payload: bytes) -> object:
        """Keep one event."""

    def keep(self, outcome: Outcome, now_s: float) -> None:
        """Keep what an analysis gave."""

    @property
    def state(self) -> RecorderState:
        """What is wrong with it, if anything is."""


OnSnapshot = Callable[[Snapshot], None]


class LiveEngine:
    """Runs a session on live sources; `on_snapshot` runs on the engine's thread and must return at once.

    `restored`: session and imager come from a record that ended in a crash, and the case goes on.
    """

    def __init__(
        self,
        session: Session,
        imager: Imager,
        recorder: Sink,
        on_snapshot: OnSnapshot = lambda snapshot: None,
        clock: Callable[[], float] | None = None,
        restored: Restored | None = None,
    ) -> None:
        self.session = session
        self.imager = imager
        self.clock = clock or SteadyClock()
        self.viewer = Viewer(session, lambda: recorder.state)
        self.outcomes: list[Outcome] = []
        self._recorder = recorder
        self._on_snapshot = on_snapshot
        self._inbox: queue.SimpleQueue[tuple[EngineEvent, Future[Outcome | None] | None] | None] = (
            queue.SimpleQueue()
        )
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Outcome | None] | None] | None] = queue.SimpleQueue()
        self._asked = self._done = 0  # each is written by one thread only
        self._next_tick_s = self._next_snapshot_s = 0.0
        self._planner = Planner()
        self._tick_took_s: float | None = None
        self._restored = restored
        self._deferred: deque[Job] = deque()
        self._hurry = False
        self._noticed = Noticed(session.journal.open_texts)
        session.new_alarms()  # of what was restored: they are in the record
        self._devices = [
            device_for(role, name, self._on_raw, self._on_state, self.clock)
            for name, role in session.settings.sources.items()
        ]
        self._threads = [
            threading.Thread(target=self._loop, name="engine", daemon=True),
            threading.Thread(target=self._work, name="reconstruction", daemon=True),
        ]

    def start(self) -> None:
        """Connect to the sources and run."""
        if self._restored is not None:
            self._go_on(self._restored)
        for thread in self._threads:
            thread.start()
        for device in self._devices:
            device.start()

    def stop(self) -> None:
        """Leave the sources, finish what is queued and end the threads; harmless when repeated."""
        for device in self._devices:
            device.stop()
        self._inbox.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def command(self, do: str, **content: Any) -> Future[Outcome | None]:
        """Put a command into the sequence; the future holds the outcome of its last job, or its error."""
        future: Future[Outcome | None] = Future()
        self._inbox.put((json_event(USER, self.clock(), events.COMMAND, {"do": do, **content}), future))
        return future

    def wait_connected(self, timeout_s: float) -> str | None:
        """Name of the first source that did not answer in time, None if all did."""
        deadline = time.monotonic() + timeout_s
        for device in self._devices:
            if not device.wait_for(DeviceState.CONNECTED, timeout_s=max(0.0, deadline - time.monotonic())):
                return device.name
        return None

    def finish_deferred(self, timeout_s: float) -> bool:
        """Do the analyses put off after a crash now and wait for them; False when they took longer."""
        self._hurry = True
        deadline = time.monotonic() + timeout_s
        while self._deferred or self._asked != self._done:
            if time.monotonic() > deadline:
                return False
            time.sleep(SNAPSHOT_S)
        return True

    def _go_on(self, restored: Restored) -> None:
        """Take up a case after a crash: the sequence says so, and the analyses wait until there is time."""
        content = {"events": restored.events, "map_as_recorded": restored.same}
        self._take(json_event(ENGINE, self.clock(), events.RESUME, content), None)
        self._deferred.extend(restored.deferred)
        if restored.outcome is not None:
            self.viewer.show(restored.outcome)
        if restored.same is False:
            self.viewer.fault("the scan brought back is not the one that was recorded")

    def _on_raw(self, source: str, arrival_s: float, raw: bytes) -> None:
        self._inbox.put((EngineEvent(source, arrival_s, events.RAW, raw), None))

    def _on_state(self, source: str, state: DeviceState, detail: str) -> None:
        content = {"connected": state is DeviceState.CONNECTED, "state": state.value, "detail": detail}
        self._inbox.put((json_event(source, self.clock(), events.LINK, content), None))

    def _loop(self) -> None:
        while True:
            try:
                item = self._inbox.get(timeout=self._pause_s())
            except queue.Empty:
                self._on_time()
                continue
            if item is None:
                break
            self._take(*item)
            self._on_time()
        for job in self._deferred:
            self._put(job, None)
        self._jobs.put(None)

    def _pause_s(self) -> float:
        return max(0.001, self._next_snapshot_s - self.clock())

    def _on_time(self) -> None:
        now = self.clock()
        for step in (self._tick, self._picture):
            try:
                step(now)
            except Exception as error:  # noqa: BLE001 - whatever cannot be done on time must not end the recording
                self._refuse(error, None)

    def _tick(self, now: float) -> None:
        session = self.session
        due = self._asked == self._done and now >= self._next_tick_s
        if session.mode == SCAN and session.current and due:
            self._next_tick_s = now + TICK_S
            self._take(json_event(ENGINE, now, events.TICK, self._planned(session.current, now)), None)
        self._catch_up()

    def _catch_up(self) -> None:
        """Do what was put off until the scan has ended."""
        idle = self.session.mode != SCAN or self._hurry
        if self._deferred and idle and self._asked == self._done:
            self._put(self._deferred[0], None)
            self._deferred.popleft()

    def _picture(self, now: float) -> None:
        if now >= self._next_snapshot_s:
            self._next_snapshot_s = now + SNAPSHOT_S
            snapshot = self.viewer.snapshot(now)
            self._on_snapshot(snapshot)
            news = self._noticed.news(snapshot.faults, now)
            if news is not None:
                self._take(json_event(ENGINE, now, events.NOTICE, news), None)

    def _planned(self, scan: str, now_s: float) -> dict[str, Any]:
        """The next tick: which scan, and what is to be done. The reconstruction rests meanwhile."""
        took_s, self._tick_took_s = self._tick_took_s, None
        bed = self.session.guidance.aim is not None
        work = self._planner.plan(scan, now_s, self.imager.progress(scan), took_s, bed)
        return {"scan": scan, "work": work.to_json()}

    def _take(self, event: EngineEvent, future: Future[Outcome | None] | None) -> None:
        self._recorder.append(event.source, event.arrival_s, event.kind, event.payload)
        if event.kind == events.RESULT:
            return
        before = (self.session.mode, self.session.current)
        try:
            jobs = self.session.handle(event)
        except Exception as error:  # noqa: BLE001 - shown and handed to whoever asked; the engine must go on
            self._refuse(error, future)
            return
        self._mark_phases(before, event.arrival_s)
        self._mark_discarded(event.arrival_s)
        self._keep_alarms()
        for job in jobs[:-1]:
            self._put(job, None)
        if jobs:
            self._put(jobs[-1], future)
        elif future is not None:
            future.set_result(None)

    def _keep_alarms(self) -> None:
        for kept in alarm_events(self.session.new_alarms()):
            self._recorder.append(kept.source, kept.arrival_s, kept.kind, kept.payload)

    def _mark_phases(self, before: tuple[str, str | None], arrival_s: float) -> None:
        """Tell the record where a scan began and ended, for whoever cuts scans out of it."""
        after = (self.session.mode, self.session.current)
        if after == before:
            return
        for (mode, scan), action in ((before, "stop"), (after, "start")):
            if mode in READING:
                stamp = self.session.counts.newest_t_s
                content: dict[str, object] = {"phase": scan, "action": action, "t_s": max(stamp, 0.0)}
                if action == "start" and scan is not None:
                    content |= self._basis(scan)
                self._recorder.append(ENGINE, arrival_s, events.PHASE, json.dumps(content).encode())

    def _mark_discarded(self, arrival_s: float) -> None:
        """Tell the record what of a scan is not to be used, for whoever cuts scans out of it."""
        for scan, from_s, to_s in self.session.guidance.newly_discarded():
            content = {"phase": scan, "action": "discard", "from_s": from_s, "t_s": to_s}
            self._recorder.append(ENGINE, arrival_s, events.PHASE, json.dumps(content).encode())

    def _basis(self, scan: str) -> dict[str, object]:
        """What a scan rests on, so that it can be mapped again from the record alone."""
        state = self.session.scans[scan]
        surface = None if state.surface_mm is None else state.surface_mm.tolist()
        calibration, written = id_and_state(self.session.calibration)
        found = {"count_latency_s": state.latency_s, "surface_mm": surface}
        return {**found, "calibration_id": calibration, "calibration_state": written}

    def _refuse(self, error: Exception, future: Future[Outcome | None] | None) -> None:
        logger.warning("refused: %s", error, exc_info=not isinstance(error, GammanavError))
        self.viewer.fault(str(error))
        if future is not None:
            future.set_exception(error)

    def _put(self, job: Job, future: Future[Outcome | None] | None) -> None:
        self._asked += 1
        self._jobs.put((job, future))

    def _work(self) -> None:
        while True:
            item = self._jobs.get()
            if item is None:
                return
            try:
                self._carry_out(*item)
            finally:
                self._done += 1  # not before the outcome is where those who wait for it look

    def _carry_out(self, job: Job, future: Future[Outcome | None] | None) -> None:
        try:
            outcome = self.imager.run(job)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked; the engine goes on without this result
            self._failed(job, error, future)
            return
        outcome = withheld(outcome, self._recorder.state)
        try:
            self._report(outcome)
        except Exception as error:  # noqa: BLE001 - what cannot be told or kept must not end the reconstruction
            self._failed(job, error, future)
            return
        if future is not None:
            future.set_result(outcome)

    def _failed(self, job: Job, error: Exception, future: Future[Outcome | None] | None) -> None:
        logger.error("%s of %s failed", type(job).__name__, job.basis.scan, exc_info=error)
        self.viewer.fault(f"{job.basis.scan}: {error}")
        if future is not None:
            future.set_exception(error)

    def _report(self, outcome: Outcome) -> None:
        self._tick_took_s = usual_s(outcome)
        self.viewer.show(outcome)
        alarm = self.viewer.lag_watch.take(outcome, self.clock())
        if alarm is not None:
            for event in alarm_events([alarm]):
                self._inbox.put((event, None))
        self._recorder.keep(outcome, self.clock())
        if not isinstance(outcome.job, TickJob) or outcome.job.last:
            self.outcomes.append(outcome)
        self._inbox.put((json_event(ENGINE, self.clock(), events.RESULT, result_content(outcome)), None))


def usual_s(outcome: Outcome) -> float | None:
    """How long a tick took, if it did what every tick does: only that tells what the next one can afford."""
    work = outcome.job.work if isinstance(outcome.job, TickJob) else None
    if work is None or outcome.map is None or outcome.map.version == 1:
        return None
    return None if work.adopt or work.widen or work.settle or work.passes != 1 else outcome.seconds


def alarm_events(alarms: Iterable[Alarm]) -> list[EngineEvent]:
    """Alarms of the inputs as they stand in the record."""
    return [json_event(ENGINE, a.arrival_s, events.ALARM, {"alarm": a.kind, "text": a.text}) for a in alarms]


def withheld(outcome: Outcome, recorder: RecorderState) -> Outcome:
    """The outcome as it may be told: without a record there is no statement that nothing was found (H35)."""
    check = outcome.bed_check
    if check is None or check.finding == RESIDUAL_SUSPECTED or not (recorder.fault or recorder.lost):
        return outcome
    what = "is down" if recorder.fault else "has lost events"
    words = recorder.fault or f"{recorder.lost} events"
    reason = f"the recorder {what} ({words}): nothing proves later what this rests on"
    told = replace(
        check,
        finding="not-assessed",
        statement=with_records(f"The bed is not assessed: the recorder {what}.", check.records),
        reasons=(*check.reasons, reason),
    )
    return replace(outcome, bed_check=told)
