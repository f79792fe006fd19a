"""Stand-ins for the instruments and for the reconstruction: small, exact, and without physics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np

from navigation.bed import Bed, BedCheck
from navigation.engine.events import RAW, EngineEvent
from navigation.engine.jobs import ScanBasis
from navigation.engine.settings import Settings, SourceRole
from navigation.engine.tools import Tips
from navigation.schedule import Frame, Progress, Work
from navigation.volume import ActivityMap, ScanResult, Spot, VoxelGrid
from tracking.errors import InputError
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message
from tracking.igtl.poses import pose_message
from tracking.igtl.server import Server
from tracking.sample import CountSample, PoseSample, PoseStatus, Readings

EPOCH_S = 1_700_000_000.0
TRACKER_S, COUNTS_S = 1 / 60, 0.1


class SumImaging:
    """A "map" whose every voxel is the sum of the counts: any difference in the readings shows."""

    def __init__(self, basis: ScanBasis) -> None:
        self.basis = basis
        self.total, self.n, self.version, self.t_s = 0.0, 0, 0, 0.0

    def add(self, readings: Readings) -> None:
        self.total += float((readings.counts * (1.0 + readings.mid_poses[:, 0, 3])).sum())
        self.n += len(readings)
        self.t_s = float(readings.t_s[-1]) if len(readings) else self.t_s

    def update(self) -> ActivityMap:
        self.version += 1
        grid = VoxelGrid.aligned([1.0, 2.0, 3.0], 2.0, (4, 3, 2))
        full = np.full(grid.shape, self.total, dtype=np.float32)
        return ActivityMap(grid, full, full, full, full, full > 0, self.version, self.t_s, self.n)

    def work_beside(self, beside: Executor) -> None:
        self.beside = beside

    @property
    def progress(self) -> Progress:
        return Progress(self.n)

    def aim_at(self, aim: object) -> None:
        self.aim = aim

    def advance(self, work: Work) -> Frame:
        found = self.update() if self.n else None
        return Frame(found, self.quick_spots(), self.n, self.t_s, self.lag(), work.replay)

    def quick_spots(self) -> tuple[Spot, ...]:
        return (spot(),)

    def lag(self) -> None:
        return None

    def finish(self) -> ScanResult:
        if not self.n:
            raise InputError("0 placed readings are too few")
        return ScanResult(self.update(), self.quick_spots(), 0.5, 0.0, None, 0, self.n, self.basis.nuclide)

    def check_bed(
        self, bed: Bed, threshold_kbq: float, confidence: float, before: object, specimen: object = None
    ) -> BedCheck:
        removed = None if before is None else 1.0
        return BedCheck(
            "partly-assessed",
            threshold_kbq,
            confidence,
            0.5,
            9.0,
            5.0,
            6.0,
            (),
            (),
            "Partly.",
            (),
            {},
            removed,
        )


def build(basis: ScanBasis) -> SumImaging:
    return SumImaging(basis)


def spot() -> Spot:
    return Spot(1, np.array([10.0, 20.0, 30.0]), np.eye(3), 0.0, 100.0, (90.0, 110.0), 12.0, 3.0, "ok")


def settings(tracker_port: int = 1, probe_port: int = 2) -> Settings:
    tip = np.eye(4)
    tip[2, 3] = 100.0
    return Settings(
        case_id="test",
        nuclide="Tc-99m",
        epoch_s=EPOCH_S,
        tips=Tips(tip, tip),
        sources={
            "tracker": SourceRole("127.0.0.1", tracker_port, poses=True, counts=False),
            "probe": SourceRole("127.0.0.1", probe_port, poses=False, counts=True),
        },
        calibration={"id": "test-calibration"},
        simulated=True,
    )


def pose(x_mm: float, turn: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[0, 3] = x_mm
    return matrix


def pose_event(name: str, t_s: float, matrix: np.ndarray, status: PoseStatus = PoseStatus.OK) -> EngineEvent:
    raw = encode(pose_message(PoseSample(name, t_s, matrix, status), version=2))
    return EngineEvent("tracker", t_s, RAW, raw)


def counts_event(seq: int, t_s: float, counts: float, total: float, source: str = "probe") -> EngineEvent:
    sample = CountSample(t_s, seq, counts, COUNTS_S, total, seq * COUNTS_S)
    return EngineEvent(source, t_s, RAW, encode(counts_sensor_message(sample)))


def stream(seconds: float, start_s: float = EPOCH_S + 10.0, first_seq: int = 1) -> Iterator[EngineEvent]:
    """Probe at 20 mm/s along x, a stylus beside it, a still reference, 7 counts in each interval."""
    seq = first_seq
    for i in range(round(seconds / TRACKER_S)):
        t = start_s + i * TRACKER_S
        along = 20.0 * ((t - EPOCH_S - 10.0) % 400.0)  # back before the room ends
        yield pose_event("ReferenceToTracker", t, pose(0.0, 1e-6 * (i % 7)))
        yield pose_event("ProbeToTracker", t, pose(along))
        yield pose_event("StylusToTracker", t, pose(along, 0.1))
        while start_s + (seq - first_seq + 1) * COUNTS_S <= t:
            yield counts_event(seq, start_s + (seq - first_seq + 1) * COUNTS_S, 7.0, 7.0 * seq)
            seq += 1


def bumped(events: list[EngineEvent], at_s: float) -> list[EngineEvent]:
    """The stream with a check marker, and a reference that is pushed by 2 mm at `at_s`."""
    found = []
    for i, event in enumerate(events):
        if b"ReferenceToTracker" in event.payload[:40]:
            shift = 2.0 if event.arrival_s >= at_s else 0.0
            found.append(pose_event("ReferenceToTracker", event.arrival_s, pose(shift, 1e-6 * (i % 7))))
            found.append(pose_event("CheckToTracker", event.arrival_s, pose(80.0, 1e-6 * (i % 5))))
        else:
            found.append(event)
    return found


class Devices:
    """A tracker and a probe on two real sockets that play `stream`, several times as fast as it was."""

    def __init__(self, seconds: float, pace: float = 3.0) -> None:
        self.tracker, self.probe = Server(0), Server(0)
        self._events = list(stream(seconds))
        self._pace = pace
        self._begin, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Devices:
        self.tracker.start()
        self.probe.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._begin.set()
        self._thread.join()
        self.tracker.stop()
        self.probe.stop()

    def begin(self) -> None:
        self._begin.set()

    def finish(self, timeout_s: float = 30.0) -> None:
        """Wait until everything was sent."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()

    def _play(self) -> None:
        self._begin.wait()
        first, began = self._events[0].arrival_s, time.monotonic()
        for event in self._events:
            late = began + (event.arrival_s - first) / self._pace - time.monotonic()
            if self._stop.wait(max(late, 0.0)):
                return
            (self.tracker if event.source == "tracker" else self.probe).publish(event.payload)
