"""One scan while it grows: its counting intervals, and which of them have found their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import LatencyState, Registration
from navigation.engine.tools import PROBE, ToolDesk
from tracking.binning import binned, bins_of
from tracking.counts import CountInterval
from tracking.sample import Readings
from tracking.sync import place_counts

# Poses that have not come this long after the counts will not come: a silent tracker must not hold them.
LONGEST_WAIT_S = 0.6
# Poses kept before the first and after the last counting interval of a scan folder.
POSE_MARGIN_S = 0.5
# Unix seconds as float64 resolve 2.4e-7 s; a window that begins where another ended may seem earlier by that.
ROUNDING_S = 1e-6


@dataclass(slots=True, eq=False)
class ScanState:
    """A scan's readings.

    `epoch_s` is the Unix time that is 0 in everything that leaves the engine, `start_s` the counter's newest
    stamp when the scan began: intervals that began before it are not part of the scan.
    """

    name: str
    epoch_s: float
    start_s: float
    latency_s: float
    surface_mm: NDArray[np.float64] | None
    expected_poses: NDArray[np.float64] | None = None
    intervals: list[CountInterval] = field(default_factory=list)
    settled: int = 0
    placed: int = 0
    unplaced: int = 0
    unplaced_counts: float = 0.0
    ticks: int = 0
    ended: bool = False
    foreign: int = 0  # intervals of a counter that is not the calibration's: they are not among the others
    frame: int = 0  # which place of the reference on the patient its poses are relative to
    outdated: bool = False  # a crash or a move of the reference came after it: it proposes no shift any more
    moved_s: float = np.inf  # since when the reference is not where it was: the map is kept, but locked (H04)
    path: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    calibration: dict[str, Any] | None = None  # of this scan, whatever the case uses by now
    latency: LatencyState | None = None
    registration: Registration | None = None
    scheduled: bool = False  # its ticks are budgeted; those of old records are not
    analyzed: bool = False
    revision: int = 0  # how often it was begun anew on another basis
    why: str = ""  # the last time
    renewed: bool = False  # until its readings are handed out anew
    batches: list[Readings] = field(default_factory=list)
    discarded: list[tuple[float, float]] = field(default_factory=list)  # stamps (from, to], not used any more

    def settle(self, desk: ToolDesk, final: bool) -> Readings:
        """The next run of readings that no pose up to 200 ms late can change, times relative to the epoch."""
        self.moved_s = min(self.moved_s, desk.moved_since_s)
        ready = self._ready(desk, final)
        run = self.intervals[self.settled : self.settled + ready]
        self.settled += ready
        if not run:
            return Readings.empty()
        readings = self._place(run, desk)
        self.placed += len(readings)
        self.unplaced += readings.unplaced
        self.unplaced_counts += sum(i.counts for i in run) - float(readings.counts.sum())
        self.batches.append(readings)
        return readings

    def renew(self, why: str, replace_all: bool = False) -> None:
        """Begin anew on another basis; `replace_all` where the readings themselves lie elsewhere now.

        Those whose poses are forgotten by then have no place any more, and are counted as such.
        """
        self.revision += 1
        self.why, self.renewed = why, True
        if replace_all:
            self.settled = self.placed = self.unplaced = 0
            self.unplaced_counts = 0.0
            self.batches.clear()

    def discard(self, from_s: float, to_s: float) -> int:
        """Use nothing that the counter stamped after `from_s`, up to `to_s`; how many intervals that were.

        The record keeps them; what was made of them has to be begun anew.
        """
        self.discarded.append((from_s, to_s))
        before, settled = len(self.intervals), self.intervals[: self.settled]
        self.settled = sum(1 for i in settled if not self._undone(i))
        self.intervals = [i for i in self.intervals if not self._undone(i)]
        end_s = from_s - self.latency_s - self.epoch_s + ROUNDING_S
        self.batches = [b.select(slice(0, int((b.t_s + b.live_s / 2 <= end_s).sum()))) for b in self.batches]
        self.placed = sum(len(b) for b in self.batches)
        return before - len(self.intervals)

    def _undone(self, interval: CountInterval) -> bool:
        return any(low < interval.t_end_s - ROUNDING_S <= high for low, high in self.discarded)

    def handed_out(self, fresh: Readings) -> Readings:
        """What goes to the reconstruction: the fresh readings, or all of them when it begins anew."""
        if not self.renewed:
            return fresh
        self.renewed = False
        return Readings.joined(self.batches)

    def end(self, desk: ToolDesk) -> None:
        """No more comes; the probe's path is kept, because the tools' histories forget after some minutes."""
        self.ended = True
        self.path = self._walked(desk)

    def walked(self, desk: ToolDesk) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Stamps (n,) in Unix seconds and `T_reference_probetip` (n, 4, 4), NaN where not visible.

        Frames that came after the scan was ended are there too, until those of its beginning are forgotten. One
        in which the probe alone is lost stays lost: made up, it would bridge gaps that the rule leaves open.
        """
        now = self._walked(desk)
        return now if self.path is None or len(now[0]) >= len(self.path[0]) else self.path

    def _walked(self, desk: ToolDesk) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        stamps = self.pose_stamps(desk)
        poses = desk.probe_path(stamps)[0]
        poses[(stamps >= self.moved_s) | ~desk.probe_measured(stamps)] = np.nan
        return stamps, poses

    def take(self, settled: Iterable[CountInterval]) -> None:
        """Keep the intervals that began in the scan."""
        begun = (i for i in settled if i.t_end_s - i.window_s >= self.start_s - ROUNDING_S)
        self.intervals.extend(i for i in begun if not self._undone(i))

    @property
    def newest_arrival_s(self) -> float | None:
        """When the newest settled interval arrived."""
        return self.intervals[self.settled - 1].arrival_s if self.settled else None

    def all_readings(self, desk: ToolDesk, latency_s: float) -> Readings:
        """Every interval placed anew with another latency."""
        return self._place(self.intervals, desk, latency_s)

    def _ready(self, desk: ToolDesk, final: bool) -> int:
        waiting = self.intervals[self.settled :]
        if final or not waiting:
            return len(waiting)
        end = np.array([i.t_end_s for i in waiting])
        window = np.array([i.window_s for i in waiting])
        true_end = end - self.latency_s
        ready = desk.buffer.decided(PROBE, true_end - window, true_end)
        if not desk.hub.judging:
            ready |= end <= end[-1] - LONGEST_WAIT_S
        known = len(ready) if ready.all() else int(np.argmin(ready))
        return int(bins_of(end[:known], window[:known], final=False)[-1])

    def _place(self, run: list[CountInterval], desk: ToolDesk, latency_s: float | None = None) -> Readings:
        latency = self.latency_s if latency_s is None else latency_s
        table = np.array([(i.t_end_s, i.counts, i.window_s, i.live_s) for i in run])
        t_end, counts, window, live = binned(*table.T)
        epoch = self.epoch_s
        return place_counts(
            lambda t: desk.probe_path(t + epoch),
            t_end - epoch,
            counts,
            window,
            latency,
            live,
            covers=lambda start, end: (
                desk.buffer.covers(PROBE, start + epoch, end + epoch) & (end + epoch < self.moved_s)
            ),
        )

    def pose_stamps(self, desk: ToolDesk) -> NDArray[np.float64]:
        """Stamps (n,) of the probe's frames during the scan, with a margin, in Unix seconds."""
        if not self.intervals:
            return np.zeros(0)
        low = self.intervals[0].t_end_s - self.intervals[0].window_s - self.latency_s - POSE_MARGIN_S
        high = self.intervals[-1].t_end_s + POSE_MARGIN_S
        return desk.probe_frames(low, high)
