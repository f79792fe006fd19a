"""Which frames of a pose history may be used, and which times and windows they cover.

A time is valid when a usable pose lies within 1.5 tracker intervals on both sides of it: a gap of up to 1.5
intervals is bridged wholly, one of more than 3 not at all, one in between only where both sides are near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.poses import Bools, Floats

Rows = NDArray[np.int64]

# A pose may be used this many tracker intervals away from itself, on either side.
REACH_INTERVALS = 1.5
# A bit-identical pose for longer than this is a driver that repeats a lost tool.
FROZEN_INTERVALS = 3.0
# Rates from here on are rounded to whole Hz, slower ones to tenths.
SLOW_HZ = 9.95
# Where frames lie closer than this none is missing between them, 20 % of jitter on either side allowed.
COMPLETE_INTERVALS = 1.6
# A frame may be overtaken by others for 200 ms (hazard H08); what is older by this much can no longer change.
LATEST_FRAME_S = 0.25
# The tracker's interval is trusted to tell a missing frame once so many frames came.
FEWEST_FRAMES = 32
# Unix seconds as float64 resolve 2.4e-7 s, tables with six decimals 1e-6 s: times this close are the same.
TIME_ROUNDING_S = 2e-6
# The tracker's interval is the median over this many newest frames: 17 s at 60 Hz.
INTERVAL_FRAMES = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Usable:
    """The usable frames of a history: times and rows (m,), rows of frozen repeats; times in s."""

    t_s: Floats
    row: Rows
    frozen: Rows
    interval_s: float
    settled_t_s: float

    @property
    def reach_s(self) -> float:
        """How far from a usable pose a time may lie."""
        return REACH_INTERVALS * self.interval_s + TIME_ROUNDING_S


def usable_frames(
    t_s: Floats, good: Bools, repeat: Bools, first_row: int = 0, same_frame: Bools | None = None
) -> Usable:
    """Judge a history: times (n,) increasing, `good` frames, `repeat`: bit-identical to the good one before.

    The first of a run of repeats is genuine. The repeats are usable once another pose has followed within 3
    intervals; a longer run is frozen, and one that is still open is withheld. A repeat under the very same
    frame number (`same_frame`) is frozen at once. Rows count from `first_row`, the row of the first frame
    given, which must not itself be a repeat.
    """
    measured = t_s if same_frame is None else t_s[~same_frame]
    interval = (
        _steady(float(np.median(np.diff(measured[-INTERVAL_FRAMES:])))) if len(measured) > 1 else np.nan
    )
    row = np.flatnonzero(good)
    if not len(row) or not np.isfinite(interval):
        none = np.zeros(0, dtype=np.int64)
        return Usable(np.zeros(0), none, none, interval, -np.inf)
    t, again = t_s[row], repeat[row]
    again[0] = False
    start = np.flatnonzero(~again)
    end = np.append(start[1:], len(row)) - 1
    long = t[end] - t[start] > FROZEN_INTERVALS * interval + TIME_ROUNDING_S
    run = np.cumsum(~again) - 1
    frozen = again & long[run]
    if same_frame is not None:
        frozen |= again & same_frame[row]
    use = ~(frozen | (again & (run == len(start) - 1)))
    settled = max(float(t[use][-1]), float(t_s[-1]) - FROZEN_INTERVALS * interval)
    return Usable(t[use], row[use] + first_row, row[frozen] + first_row, interval, settled)


def _steady(interval_s: float) -> float:
    """The interval of the nearest round rate: jitter must not change from one moment to the next what is valid.

    Trackers run at whole numbers of Hz; below 10 Hz tenths are told apart.
    """
    rate_hz = 1.0 / interval_s
    rounded_hz = round(rate_hz, 0 if rate_hz >= SLOW_HZ else 1)
    return 1.0 / rounded_hz if rounded_hz > 0.0 else interval_s


def decided(usable: Usable, t_s: Floats, plain: Bools, start_s: Floats, end_s: Floats) -> Bools:
    """(n,) bool: whether no frame yet to come can change an answer within the closed windows (n,).

    `t_s` (m,) are the times of all frames round the windows and since, `plain` (m,) which of them are good
    and no repeats. A window is decided when the plain frames round it leave no room for another, or when
    stamps have passed it by more than a frame can be late.
    """
    if not len(usable.t_s):
        return np.zeros(len(start_s), dtype=bool)
    interval = usable.interval_s
    orderly: Bools = end_s <= usable.settled_t_s
    passed = orderly & (end_s <= t_s[-1] - LATEST_FRAME_S - FROZEN_INTERVALS * interval)
    low = np.searchsorted(t_s, start_s + TIME_ROUNDING_S, side="right") - 1
    high = np.searchsorted(t_s, end_s - TIME_ROUNDING_S, side="left")
    inside = orderly & (low >= 0) & (high < len(t_s)) & (len(usable.t_s) >= FEWEST_FRAMES)
    low, high = np.maximum(low, 0), np.minimum(high, len(t_s) - 1)
    wide = np.append(0, np.cumsum(np.diff(t_s) > COMPLETE_INTERVALS * interval))
    doubtful = np.append(0, np.cumsum(~plain))
    complete = (wide[high] == wide[low]) & (doubtful[high + 1] == doubtful[low])
    known: Bools = passed | (inside & complete)
    return known


def bracket(usable: Usable, t_s: Floats) -> tuple[Bools, Rows, Rows, Floats]:
    """For times (n,): valid, index of the usable frame at or before, at or after, fraction between."""
    known = usable.t_s
    if not len(known):
        nowhere = np.zeros(len(t_s), dtype=np.int64)
        return np.zeros(len(t_s), dtype=bool), nowhere, nowhere, np.zeros(len(t_s))
    right = np.searchsorted(known, t_s, side="left")
    last = len(known) - 1
    exact = known[np.minimum(right, last)] == t_s
    left = np.where(exact, right, right - 1)
    inside = (left >= 0) & (right <= last)
    left, right = np.clip(left, 0, last), np.clip(right, 0, last)
    before, after = t_s - known[left], known[right] - t_s
    on_frame = np.minimum(np.abs(before), np.abs(after)) <= TIME_ROUNDING_S
    valid: Bools = on_frame | (inside & (before <= usable.reach_s) & (after <= usable.reach_s))
    span = np.where(right > left, known[right] - known[left], 1.0)
    return valid, left, right, np.where(valid, np.clip(before / span, 0.0, 1.0), 0.0)


def covered(usable: Usable, start_s: Floats, end_s: Floats) -> Bools:
    """(n,) bool: whether every time of the closed windows [start, end] (n,) is valid."""
    known = usable.t_s
    last = len(known) - 1
    if last < 0:
        return np.zeros(len(start_s), dtype=bool)
    middle, rounding = 0.5 * (start_s + end_s), TIME_ROUNDING_S
    forward = start_s <= end_s
    start_s, end_s = np.minimum(start_s + rounding, middle), np.maximum(end_s - rounding, middle)
    low = np.searchsorted(known, start_s, side="right") - 1
    high = np.searchsorted(known, end_s, side="left")
    inside: Bools = (low >= 0) & (high <= last) & forward
    low, high = np.clip(low, 0, last), np.clip(high, 0, last)
    long_before = np.append(0, np.cumsum(np.diff(known) > usable.reach_s))
    first_end = np.minimum(low + 1, last)
    last_start = np.maximum(high - 1, 0)
    unbroken = long_before[np.maximum(last_start, first_end)] == long_before[first_end]
    both_near = _near(usable, low, first_end, start_s, np.minimum(end_s, known[first_end])) & _near(
        usable, last_start, high, np.maximum(start_s, known[last_start]), end_s
    )
    whole: Bools = inside & ((low >= high) | (unbroken & both_near))
    return whole


def _near(usable: Usable, left: Rows, right: Rows, start_s: Floats, end_s: Floats) -> Bools:
    """Whether the stretch [start, end] between neighbouring frames stays within reach of both."""
    reach, t = usable.reach_s, usable.t_s
    near: Bools = (end_s - t[left] <= reach) & (t[right] - start_s <= reach)
    return near
