"""What the simulated instruments send during one short scan, so that faults of time can be put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from calibration.probe.gridfit import Grid
from navigation.engine.events import COMMAND, RAW, TICK, EngineEvent, json_event
from navigation.engine.jobs import Job, ScanBasis, TickJob
from navigation.engine.reconstruct import build_imaging
from navigation.engine.session import Session
from navigation.engine.settings import Settings, SourceRole
from navigation.engine.snapshot import LatencyState
from navigation.engine.tools import Tips
from navigation.simulate.devices import TRACKER_HZ, Counter, Tracker
from navigation.simulate.folder import REFERENCE_UTC_S, START_S, touched
from navigation.simulate.room import OperatingRoom
from navigation.simulate.scenes import DEAD_TIME_S, NUCLIDE, Scene, build_scene
from navigation.simulate.setup import probe_grid
from navigation.volume import ScanResult
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message
from tracking.igtl.poses import pose_message
from tracking.inputs import ClockKind
from tracking.sample import CountSample, PoseSample, Readings

TRACKER, PROBE = "tracker", "probe"
SCAN = "scan-1"
# The instruments run before the scan so that their clocks are known; the last counts are late.
LEAD_S, SCAN_S, TAIL_S = 15.0, 20.0, 1.0
TICK_S = 0.3
# What a message needs at least on its way, and how much more in the mean.
DELAY_S, JITTER_S = 3e-4, 1e-3

Stamp = Callable[[float], float]
Events = list[EngineEvent]


def true(t_s: float) -> float:
    """A clock that is right."""
    return t_s


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A message by one instrument at `t_s`, which it stamps truly: poses of one frame are three of these."""

    source: str
    t_s: float
    sample: PoseSample | CountSample

    def raw(self, stamp: Stamp) -> bytes:
        """The bytes, with the instrument's clock telling `stamp(t)` at t."""
        sample = replace(self.sample, t_s=stamp(self.sample.t_s))
        if isinstance(sample, CountSample):
            return encode(counts_sensor_message(sample))
        return encode(pose_message(sample, version=2))


_chosen = ["occult", 3]


def choose(name: str, seed: int) -> None:
    """Another scene from now on."""
    _chosen[:] = [name, seed]
    for cached in (scene, sent, calibration):
        cached.cache_clear()


@cache
def scene() -> Scene:
    name, seed = _chosen
    return build_scene(str(name), int(seed))


@cache
def sent() -> tuple[Sent, ...]:
    """Everything both instruments send, in order, at Unix times."""
    room = OperatingRoom(scene(), START_S)
    room.command(SCAN, START_S + LEAD_S, SCAN_S)
    tracker, counter = Tracker(room), Counter(room, START_S)
    found: list[Sent] = []
    for i in range(round((LEAD_S + SCAN_S + TAIL_S) * TRACKER_HZ)):
        t = START_S + i / TRACKER_HZ
        found += [_dated(TRACKER, sample) for sample in tracker.measure(t)]
        while counter.due_s <= t:
            found.append(_dated(PROBE, counter.measure()))
    return tuple(found)


def _dated(source: str, sample: PoseSample | CountSample) -> Sent:
    t_s = sample.t_s + REFERENCE_UTC_S
    return Sent(source, t_s, replace(sample, t_s=t_s))


@cache
def calibration() -> dict[str, Any]:
    """Content of probe.json of the scene's probe."""
    return calibrate(Grid(*probe_grid(scene()).T), nuclide(NUCLIDE), simulated=True)


def settings(clocks: dict[str, ClockKind] | None = None) -> Settings:
    """The case of the scene; `clocks` by source."""
    kinds = {TRACKER: ClockKind.SHARED, PROBE: ClockKind.SHARED, **(clocks or {})}
    room = OperatingRoom(scene(), START_S)
    latency = scene().equipment.count_latency_s
    return Settings(
        case_id="time",
        nuclide=NUCLIDE,
        epoch_s=REFERENCE_UTC_S,
        tips=Tips(scene().equipment.T_probe_probetip),
        sources={
            TRACKER: SourceRole("127.0.0.1", 1, poses=True, counts=False, clock=kinds[TRACKER]),
            PROBE: SourceRole("127.0.0.1", 2, poses=False, counts=True, clock=kinds[PROBE]),
        },
        calibration=calibration(),
        latency=LatencyState(latency, (latency - 0.002, latency + 0.002), True),
        surface_mm=touched(room, "touch"),
        dead_time_s=DEAD_TIME_S,
        simulated=True,
    )


def begin_s() -> float:
    """When the scan is started, on our clock."""
    return START_S + LEAD_S + REFERENCE_UTC_S


def delivered(
    clocks: dict[str, Stamp] | None = None,
    late_s: NDArray[np.float64] | None = None,
    lost: NDArray[np.bool_] | None = None,
    again: NDArray[np.bool_] | None = None,
) -> Events:
    """The messages as they arrive. `clocks` by source stamp them; `late_s` (n,) beside the jitter of a quiet
    network, which keeps the order; those `lost` (n,) never come, those `again` (n,) come a second time.
    """
    clocks, n = clocks or {}, len(sent())
    rng = np.random.default_rng(7)
    quiet = np.array([x.t_s for x in sent()]) + DELAY_S + rng.exponential(JITTER_S, n)
    sources = np.array([x.source for x in sent()])
    for source in (TRACKER, PROBE):
        quiet[sources == source] = np.maximum.accumulate(quiet[sources == source])
    arrival = quiet if late_s is None else quiet + late_s
    found = []
    for i, message in enumerate(sent()):
        if lost is not None and lost[i]:
            continue
        raw = message.raw(clocks.get(message.source, true))
        found.append(EngineEvent(message.source, float(arrival[i]), RAW, raw))
        if again is not None and again[i]:
            found.append(EngineEvent(message.source, float(arrival[i]) + rng.uniform(0.0, 0.2), RAW, raw))
    return sorted(found, key=lambda event: event.arrival_s)


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """A session after one scan, what it placed at each tick, and everything joined."""

    session: Session
    basis: ScanBasis
    batches: list[Readings]

    @property
    def readings(self) -> Readings:
        return Readings.joined(self.batches)

    def result(self) -> ScanResult:
        """The full analysis by the real reconstruction."""
        imaging = build_imaging(self.basis)
        for batch in self.batches:
            imaging.add(batch)
        return imaging.finish()


def scanned(messages: Events, clocks: dict[str, ClockKind] | None = None) -> Scanned:
    """The scan as the live engine runs it: started and stopped by command, a tick every 0.3 s."""
    session = Session(settings(clocks))
    start, stop = begin_s(), begin_s() + SCAN_S + 0.5
    calls = [(start, command("start", mode="scan", name=SCAN)), (stop, command("stop"))]
    ticks = np.arange(start + TICK_S, stop, TICK_S)
    calls += [(float(t), json_event("engine", float(t), TICK, {"scan": SCAN})) for t in ticks]
    timed = [(event.arrival_s, event) for event in messages] + calls
    jobs: list[Job] = []
    for _, event in sorted(timed, key=lambda pair: pair[0]):
        jobs += session.handle(event)
    batches = [job.batch for job in jobs if isinstance(job, TickJob)]
    return Scanned(session, jobs[0].basis, batches)


def command(do: str, **content: object) -> EngineEvent:
    return json_event("user", 0.0, COMMAND, {"do": do, **content})
