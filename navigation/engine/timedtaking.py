"""One timed count while it is taken: which of the counter's intervals belong to it, and what is wrong with them.

The interval that is under way at the press is not counted: part of it is from before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calibration.counter.counttest import counted
from calibration.counter.deadtime import NO_DEAD_TIME, SATURATED_LOSS, DeadTime
from calibration.physics.nuclide import nuclide
from navigation.timed.count import TimedCount
from tracking.counts import CountInterval, CountStream

# Sums of tenths of a second err by rounding; a nanosecond counts nothing.
ROUNDING_S, ROUNDED_DIGITS = 1e-6, 9
# Stamps jitter: a window that seems to begin earlier by this share of itself does not.
JITTER_SHARE = 0.25
# Whole windows that are missing between two others are told; jitter of their stamps is not.
HOLE_SHARE = 0.5
# A counter whose own live time falls behind its intervals by more corrects its dead time itself; less is rounding.
OWN_LIVE_SHARE = 2e-3
# One count in a hundred scatters enough to be widened by chance alone; told is what hardly happens by chance.
MARKED_DISPERSION = 1.5
# A probe held by hand trembles by some millimetres; one that goes further counts another place.
MOVED_MM = 8.0


@dataclass(slots=True)
class Taking:
    """`count` as it was asked for, and what has come in of it; `stream` is the counter."""

    count: TimedCount
    asked_s: float
    stream: CountStream
    latency_s: float
    restarts: int = 0
    lost_before_s: float = 0.0
    missing_before: int = 0
    from_s: float | None = None  # None: the interval under way at the press is still awaited
    live_from_s: float | None = None
    saturated: bool = False
    intervals: list[CountInterval] = field(default_factory=list)
    places: list[NDArray[np.float64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """What was amiss before the count is not its own."""
        self.restarts = self.stream.restarts
        self.lost_before_s, self.missing_before = self.stream.lost_s, self.stream.missing

    @property
    def live_s(self) -> float:
        """Counted so far."""
        return round(sum(i.live_s for i in self.intervals), ROUNDED_DIGITS)

    @property
    def start_s(self) -> float:
        """Stamp at which the first interval began; there must be one."""
        return self.intervals[0].t_end_s - self.intervals[0].window_s

    @property
    def complete(self) -> bool:
        """Whether it has lasted as long as was asked."""
        return self.live_s >= self.count.wanted_s - ROUNDING_S

    @property
    def restarted(self) -> bool:
        """Whether the counter began anew while the count went on."""
        return self.stream.restarts > self.restarts

    @property
    def corrects_itself(self) -> bool:
        """Whether the counter's own live time says that it corrects its dead time."""
        return self._own_live_s() is not None

    def add(self, settled: Sequence[CountInterval], live_before_s: float | None) -> bool:
        """Take intervals, `live_before_s` being the counter's live time before them; False for those of before."""
        if self.from_s is None:
            # What was sent before the press and waited for others since is not it.
            if settled[-1].arrival_s > self.asked_s:
                self.from_s = settled[-1].t_end_s + self.latency_s
            return False
        if not self.intervals:
            first = settled[0]
            if first.t_end_s - first.window_s < self.from_s - JITTER_SHARE * first.window_s:
                return False
            self.live_from_s = live_before_s
        self.intervals.extend(settled)
        return True

    def finished(self, dead: DeadTime, nuclide_name: str, epoch_s: float, failed: str | None) -> TimedCount:
        """The count as it is kept, for activity at `epoch_s` (Unix)."""
        if not self.intervals:
            return replace(self.count, failed=failed)
        window_s, own_live, saturated = self.live_s, self._own_live_s(), self.saturated
        if own_live is not None:
            saturated = 1.0 - own_live / window_s >= SATURATED_LOSS
            window_s, dead = own_live, NO_DEAD_TIME
        start_s, end_s = self.start_s, self.intervals[-1].t_end_s
        series = counted([i.counts for i in self.intervals], [i.live_s for i in self.intervals])
        place, moved_mm = place_of(self.places)
        return replace(
            self.count,
            counts=series.counts,
            window_s=window_s,
            start_s=start_s,
            end_s=end_s,
            dead=dead,
            decay=nuclide(nuclide_name).mean_decay_factor(start_s - epoch_s, end_s - epoch_s),
            dispersion=series.dispersion,
            saturated=saturated,
            marks=tuple(self._marks(series.dispersion, saturated, own_live, moved_mm)),
            failed=failed,
            place_mm=place,
        )

    def _own_live_s(self) -> float | None:
        """The counter's cumulative live time over the count where it says that it corrects its dead time itself."""
        last = self.stream.last
        if self.live_from_s is None or last is None or self._lost_s() > 0.0:
            return None
        own = last.live_time_s - self.live_from_s
        return own if 0.0 < own < (1.0 - OWN_LIVE_SHARE) * self.live_s else None

    def _lost_s(self) -> float:
        """Seconds between the first and the last interval that are in none."""
        holes = [(b.t_end_s - b.window_s - a.t_end_s, b.window_s) for a, b in pairwise(self.intervals)]
        wide = sum(hole for hole, window in holes if hole > HOLE_SHARE * window)
        return max(wide, self.stream.lost_s - self.lost_before_s)

    def _marks(
        self, dispersion: float, saturated: bool, own_live: float | None, moved_mm: float
    ) -> list[str]:
        marks = []
        if saturated:
            marks.append("saturated: a lower bound only")
        lost_s, missing = self._lost_s(), self.stream.missing - self.missing_before
        if lost_s > 0.0:
            marks.append(f"{lost_s:.1f} s in between were lost and are not in it")
        elif missing > 0:
            marks.append(f"{missing} messages missing, their counts known from the counter's total")
        if dispersion > MARKED_DISPERSION:
            marks.append("the counts rise and fall: the probe was moved, or something passed by")
        if moved_mm > MOVED_MM:
            marks.append(f"the probe moved by {moved_mm:.0f} mm")
        if own_live is not None:
            marks.append("the counter corrects its dead time itself: its own live time is used")
        return marks


def place_of(places: Sequence[NDArray[np.float64]]) -> tuple[tuple[float, float, float] | None, float]:
    """Median of the tip's places (3,) in mm, and the greatest distance from it; (None, 0) where it was not seen."""
    if not places:
        return None, 0.0
    every = np.array(places)
    x, y, z = (float(v) for v in np.median(every, axis=0))
    return (x, y, z), float(np.linalg.norm(every - np.array([x, y, z]), axis=1).max())
