"""What a tracker, a counter and the synchroniser hand on: frozen samples with units in their names.

All `t_s` are seconds on one clock. Frame names follow PLUS: `AToB` maps points of A into B.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class PoseStatus(StrEnum):
    """What the sender says of a pose, in PLUS's words; UNKNOWN when it says nothing."""

    OK = "OK"
    MISSING = "MISSING"
    OUT_OF_VIEW = "OUT_OF_VIEW"
    OUT_OF_VOLUME = "OUT_OF_VOLUME"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"

    @property
    def usable(self) -> bool:
        """Only OK and UNKNOWN poses may ever place a count."""
        return self in (PoseStatus.OK, PoseStatus.UNKNOWN)


@dataclass(frozen=True, slots=True, eq=False)
class PoseSample:
    """One pose as received: wire name (`ProbeToTracker`), time of acquisition, (4, 4) matrix in mm.

    `frame` is the number of the tracker's frame, None where the sender gives none.
    """

    name: str
    t_s: float
    matrix: NDArray[np.float64]
    status: PoseStatus = PoseStatus.UNKNOWN
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class CountSample:
    """Counts of one interval that ends, by the counter's own stamp, at `t_s` (latency not removed).

    `counts_total` and `live_time_s` are cumulative; `seq` numbers the intervals. The nuclide, window and
    serial are None when the form on the wire does not carry them.
    """

    t_s: float
    seq: int
    counts: float
    interval_s: float
    counts_total: float
    live_time_s: float
    nuclide: str | None = None
    window_kev: tuple[float, float] | None = None
    probe_serial: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Counting intervals placed on the probe's path: a structure of arrays, n intervals, m path poses.

    `t_s` (n,) is the true middle of each interval (latency removed), `counts` and `live_s` (n,).
    The path of interval i is `poses[first[i]:first[i + 1]]`: (m, 4, 4) `T_reference_probetip`, with
    `weights` (m,) that sum to 1 in each interval. `unplaced` counts the intervals that had no valid pose
    over their whole length; they are not among the n.
    """

    t_s: NDArray[np.float64]
    counts: NDArray[np.float64]
    live_s: NDArray[np.float64]
    poses: NDArray[np.float64]
    weights: NDArray[np.float64]
    first: NDArray[np.int64]
    unplaced: int = 0

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def mid_poses(self) -> NDArray[np.float64]:
        """(n, 4, 4): the pose nearest the middle of each interval's path."""
        middle = (self.first[:-1] + self.first[1:] - 1) // 2
        poses: NDArray[np.float64] = self.poses[middle]
        return poses

    def head(self, n: int) -> Readings:
        """The first n intervals."""
        return self.select(slice(0, n))

    def select(self, which: slice) -> Readings:
        """A contiguous run of intervals."""
        start, stop, step = which.indices(len(self))
        if step != 1:
            raise ValueError("readings are taken in contiguous runs")
        low, high = int(self.first[start]), int(self.first[stop])
        return Readings(
            self.t_s[start:stop],
            self.counts[start:stop],
            self.live_s[start:stop],
            self.poses[low:high],
            self.weights[low:high],
            self.first[start : stop + 1] - low,
            self.unplaced,
        )

    @staticmethod
    def joined(parts: list[Readings]) -> Readings:
        """Several runs one after the other; the unplaced tallies add up."""
        if not parts:
            return Readings.empty()
        offsets = np.cumsum([0] + [len(p.poses) for p in parts])
        firsts = [p.first[:-1] + o for p, o in zip(parts, offsets[:-1], strict=True)]
        return Readings(
            np.concatenate([p.t_s for p in parts]),
            np.concatenate([p.counts for p in parts]),
            np.concatenate([p.live_s for p in parts]),
            np.concatenate([p.poses for p in parts]),
            np.concatenate([p.weights for p in parts]),
            np.concatenate([*firsts, offsets[-1:]]).astype(np.int64),
            sum(p.unplaced for p in parts),
        )

    @staticmethod
    def empty() -> Readings:
        """No interval at all."""
        none = np.zeros(0)
        return Readings(none, none, none, np.zeros((0, 4, 4)), none, np.zeros(1, dtype=np.int64))
