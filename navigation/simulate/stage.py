"""The simulated instruments on two loopback ports, played in (scaled) real time.

Stamps are the simulated time of acquisition in UTC; nothing waits for a client.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from navigation.simulate.bench import BENCH_SCENES, BenchRoom
from navigation.simulate.course import QUIET, Course
from navigation.simulate.devices import TRACKER_HZ, Counter, Tracker
from navigation.simulate.room import Event, OperatingRoom
from navigation.simulate.scenes import Scene
from tracking.errors import InputError
from tracking.igtl.codec import Message, encode
from tracking.igtl.counts import counts_sensor_message, counts_string_message
from tracking.igtl.poses import pose_message
from tracking.igtl.server import Server
from tracking.sample import CountSample, PoseSample

# The reference time lies so long before the start: activities have to be decay-corrected (2 % in 10 min for
# 99mTc).
REFERENCE_AGE_S = 600.0
SIMULATION = {"Simulation": "1"}
LONGEST_NAP_S = 0.05
# Simulated seconds in one step at most: a busy machine is caught up with, an impossible speed becomes a
# slower one.
LONGEST_STEP_S = 2.0
KEPT_HISTORY_S = 30.0


# The procedure as it goes by itself; scanning goes on after it for as long as anyone listens.
PROCEDURE = ("sweep", "landmarks", "touch", "scan-1", "resect", "touch-bed", "scan-2")


class Stage:
    """Tracker server on `port`, probe server on `port` + 1 (0: any two free ones).

    `start` raises SurroundingsError when a port is in use. `play` runs until `stop` is set.
    """

    def __init__(
        self,
        scene: Scene,
        port: int,
        *,
        speed: float = 1.0,
        counts: str = "sensor",
        start_utc_s: float | None = None,
        course: Course = QUIET,
        on_event: Callable[[Event, float], None] | None = None,
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        self.scene = scene
        self.speed = speed
        self.start_utc_s = time.time() if start_utc_s is None else start_utc_s
        self.reference_utc_s = self.start_utc_s - REFERENCE_AGE_S
        room = BenchRoom if scene.name in BENCH_SCENES else OperatingRoom
        self.room = room(scene, REFERENCE_AGE_S, course)
        self.tracker_server = Server(port)
        self.probe_server = Server(port + 1 if port else 0)
        self.stop = threading.Event()
        self.tracker, self.counter = Tracker(self.room), Counter(self.room, REFERENCE_AGE_S)
        self._counts_message = counts_string_message if counts == "string" else counts_sensor_message
        self._on_event, self._on_error = on_event, on_error
        self._events: deque[Event] = deque()
        self._commands: deque[tuple[str, float | None]] = deque()
        self._ticks = 0
        self._now_s, self._wall_s = REFERENCE_AGE_S, time.monotonic()
        self.slowest_counts_s = 0.0

    def start(self) -> tuple[int, int]:
        """Listen; returns the two ports."""
        self.tracker_server.start()
        try:
            self.probe_server.start()
        except OSError:
            self.tracker_server.stop()
            raise
        return self.tracker_server.port, self.probe_server.port

    def _advance(self) -> float:
        """Move the simulated clock on, and return it; it waits where the machine cannot keep up with
        `speed`.
        """
        wall_s = time.monotonic()
        self._now_s += min((wall_s - self._wall_s) * self.speed, LONGEST_STEP_S)
        self._wall_s = wall_s
        return self._now_s

    def command(self, phase: str, duration_s: float | None = None) -> None:
        """Ask for a phase, from any thread; it starts with the next step, ending the one before."""
        self._commands.append((phase, duration_s))

    def play(self, timeline: Callable[[Stage], None] | None = None) -> None:
        """Stream until stopped; `timeline` is asked in each step and may command phases."""
        self._wall_s = time.monotonic()
        while not self.stop.is_set():
            now = self._advance()
            self._report(now)
            if timeline is not None:
                timeline(self)
            self._obey(now)
            self._stream(now)
            self._nap()

    def close(self) -> None:
        """Stop both servers; harmless when repeated."""
        self.tracker_server.stop()
        self.probe_server.stop()

    @property
    def busy(self) -> bool:
        """Whether a phase runs or is asked for."""
        return bool(self._events or self._commands)

    def _obey(self, now_s: float) -> None:
        while self._commands:
            phase, duration_s = self._commands.popleft()
            try:
                events = self.room.command(phase, now_s, duration_s)
            except InputError as error:
                if self._on_error is not None:
                    self._on_error(str(error))
                continue
            for event in self._events:
                if event.action == "stop":
                    self._tell(replace(event, t_s=now_s))
            self._events = deque(events)
            self._report(now_s)

    def _report(self, now_s: float) -> None:
        while self._events and self._events[0].t_s <= now_s:
            self._tell(self._events.popleft())

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event, event.t_s + self.reference_utc_s)

    def _stream(self, now_s: float) -> None:
        while (t := REFERENCE_AGE_S + self._ticks / TRACKER_HZ) <= now_s and not self.stop.is_set():
            samples = self.tracker.measure(t)
            if self.tracker_server.clients:
                for sample in samples:
                    self._send_pose(sample)
            self._ticks += 1
        while self.counter.due_s <= now_s and not self.stop.is_set():
            began = time.perf_counter()
            counted = self.counter.measure()
            self.slowest_counts_s = max(self.slowest_counts_s, time.perf_counter() - began)
            self._send_counts(counted)
        self.room.forget_before(now_s - KEPT_HISTORY_S)

    def _send_pose(self, sample: PoseSample) -> None:
        stamped = replace(sample, t_s=sample.t_s + self.reference_utc_s)
        extra = {**SIMULATION, "Timestamp": f"{stamped.t_s:.6f}", "Seq": str(self._ticks)}
        raw_v2 = encode(pose_message(stamped, extra, version=2))
        raw_v1 = encode(pose_message(stamped, version=1)) if sample.status.usable else None
        self.tracker_server.publish(raw_v1, raw_v2)

    def _send_counts(self, sample: CountSample) -> None:
        stamped = replace(sample, t_s=sample.t_s + self.reference_utc_s)
        first, second = (self._counts_message(stamped, version=v) for v in (1, 2))
        self.probe_server.publish(encode(first), encode(_marked(second, stamped)))

    def _nap(self) -> None:
        tick = REFERENCE_AGE_S + self._ticks / TRACKER_HZ
        left_s = (min(tick, self.counter.due_s) - self._now_s) / self.speed
        if left_s > 0.0:
            self.stop.wait(min(left_s, LONGEST_NAP_S))


def _marked(message: Message, sample: CountSample) -> Message:
    """The message with what a version 2 client may want to know of it."""
    known = {
        "Timestamp": f"{sample.t_s:.6f}",
        "Seq": str(sample.seq),
        "CountsTotal": f"{sample.counts_total:.0f}",
        "LiveTimeS": f"{sample.live_time_s:.1f}",
    }
    return replace(message, metadata={**message.metadata, **SIMULATION, **known})


class Timeline:
    """Commands PROCEDURE, then one scan after the other; on a bench its one phase over and over."""

    def __init__(self, scene: str = "") -> None:
        self._left = deque(() if scene in BENCH_SCENES else PROCEDURE)
        self._then = scene if scene in BENCH_SCENES else "scan"

    def __call__(self, stage: Stage) -> None:
        """Command the next phase when none runs."""
        if not stage.busy:
            stage.command(self._left.popleft() if self._left else self._then)
