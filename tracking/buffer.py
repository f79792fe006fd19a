"""Pose histories that answer "where was it at t" and never guess.

Poses are interpolated between usable neighbours, never extrapolated (`tracking.validity` says which count);
a driver that repeats a lost tool's last pose is found by its bit-identical repeats or its frame numbers.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import GoneError, NotYetError
from tracking.poses import Bools, Floats, interpolate, rigid_mask
from tracking.sample import PoseSample, PoseStatus
from tracking.transform import invert_rigid, rigidity_fault
from tracking.validity import Usable, bracket, covered, decided, usable_frames

# Half an hour at 60 Hz, 20 MB: a whole scan is placed anew when its latency is found to be another.
DEFAULT_CAPACITY = 1 << 17
SMALLEST_ALLOCATION = 256
# Live questions are about the last seconds: only so many frames are judged anew for them.
RECENT_FRAMES = 2048

STALE = "frozen repeat"
DUPLICATE = "duplicate"
UNNUMBERED = -1
TOO_OLD = "older than the history kept"


class PoseTrack:
    """One transform's bounded history; any thread may append and ask.

    `refused` counts by reason what will never be used. Repeats of a pose are withheld until another pose
    follows: within 3 intervals they become usable, later they are stale for good, back to the first repeat.
    """

    def __init__(self, name: str = "", capacity: int = DEFAULT_CAPACITY) -> None:
        self.name = name
        self.refused: Counter[str] = Counter()
        self._capacity = max(capacity, 8)
        self._lock = threading.Lock()
        self._n = 0
        rows = min(SMALLEST_ALLOCATION, self._capacity)
        self._t = np.zeros(rows)
        self._matrix = np.zeros((rows, 4, 4))
        self._good = np.zeros(rows, dtype=bool)
        self._repeat = np.zeros(rows, dtype=bool)
        self._number = np.full(rows, UNNUMBERED, dtype=np.int64)
        self._same_frame = np.zeros(rows, dtype=bool)
        self._dropped_until = -np.inf
        self._recent: Usable | None = None
        self._whole: Usable | None = None
        self._last_word = ""
        self._last_status = PoseStatus.UNKNOWN

    @classmethod
    def from_arrays(cls, t_s: ArrayLike, matrices: Floats, name: str = "") -> PoseTrack:
        """A history of times (n,), strictly increasing, and matrices (n, 4, 4) in mm; NaN is "not visible".

        Raises ValueError when shapes or order are wrong. Rows that are not rigid are refused as in `append`.
        """
        times = np.array(t_s, dtype=np.float64)
        if matrices.shape != (len(times), 4, 4) or not (np.diff(times) > 0).all():
            raise ValueError("a history needs increasing times (n,) and matrices (n, 4, 4)")
        track = cls(name, capacity=len(times))
        track._load(times, matrices)
        return track

    def append(self, sample: PoseSample) -> bool:
        """Take one pose, in any order of time. False if it is refused: unusable, duplicate or frozen."""
        matrix = np.asarray(sample.matrix, dtype=np.float64)
        if not sample.status.usable:
            fault: str | None = f"status {sample.status.value}"
        else:
            fault = rigidity_fault(matrix)
        number = UNNUMBERED if sample.frame is None else sample.frame
        with self._lock:
            word = self._take(float(sample.t_s), matrix, fault, number)
            if self._n and self._t[self._n - 1] == sample.t_s and word != DUPLICATE:
                self._last_word, self._last_status = word, sample.status
            if word != "OK":
                self.refused[word] += 1
            return word == "OK"

    def sample(self, t_s: ArrayLike) -> tuple[Floats, Bools]:
        """Poses (n, 4, 4) at times (n,) and whether each is valid (n,); an invalid pose is all NaN."""
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        poses = np.full((len(times), 4, 4), np.nan)
        with self._lock:
            usable = self._usable(_earliest(times))
            valid, left, right, fraction = bracket(usable, times)
            first = self._matrix[usable.row[left[valid]]]
            second = self._matrix[usable.row[right[valid]]]
        poses[valid] = interpolate(first, second, fraction[valid])
        return poses, valid

    def valid_at(self, t_s: ArrayLike) -> Bools:
        """(n,) bool: whether `sample` would give a pose at each time (n,)."""
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        return bracket(self._locked_usable(_earliest(times)), times)[0]

    def measured_at(self, t_s: ArrayLike) -> Bools:
        """(n,) bool: whether a usable frame has exactly this stamp, for times (n,)."""
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        known: Bools = np.isin(times, self._locked_usable(_earliest(times)).t_s)
        return known

    def covers(self, start_s: ArrayLike, end_s: ArrayLike) -> Bools:
        """(n,) bool: whether every time of the closed windows [start, end] (n,) is valid."""
        start = np.atleast_1d(np.asarray(start_s, dtype=np.float64))
        end = np.atleast_1d(np.asarray(end_s, dtype=np.float64))
        return covered(self._locked_usable(_earliest(start)), start, end)

    def decided(self, start_s: ArrayLike, end_s: ArrayLike) -> Bools:
        """(n,) bool: whether no frame up to 200 ms late can change an answer in the closed windows (n,)."""
        start = np.atleast_1d(np.asarray(start_s, dtype=np.float64))
        end = np.atleast_1d(np.asarray(end_s, dtype=np.float64))
        with self._lock:
            usable = self._usable()
            first = int(np.searchsorted(self._t[: self._n], float(start.min(initial=np.inf))))
            part = slice(max(first - 1, self._n - RECENT_FRAMES, 0), self._n)
            return decided(usable, self._t[part], self._good[part] & ~self._repeat[part], start, end)

    def at(self, t_s: float) -> Floats:
        """The pose (4, 4) at one time. Raises NotYetError when waiting may help, GoneError when it cannot."""
        poses, valid = self.sample([t_s])
        if valid[0]:
            pose: Floats = poses[0]
            return pose
        settled = self.settled_t_s
        if settled is None:
            raise NotYetError(f"{self.name} at {t_s:.3f} s: no pose received yet")
        if t_s > settled:
            raise NotYetError(f"{self.name} at {t_s:.3f} s: known only up to {settled:.3f} s")
        raise GoneError(f"{self.name} at {t_s:.3f} s: not visible then; known up to {settled:.3f} s")

    def frame_times(self, start_s: float = -np.inf, end_s: float = np.inf) -> Floats:
        """Times (n,) of the frames kept in [start, end], of any kind, usable or not."""
        with self._lock:
            low, high = np.searchsorted(self._t[: self._n], [start_s, end_s])
            high += int(high < self._n and self._t[high] == end_s)
            return self._t[low:high].copy()

    @property
    def newest_t_s(self) -> float | None:
        """Time of the newest usable pose; a frozen driver does not advance it."""
        times = self._locked_usable().t_s
        return float(times[-1]) if len(times) else None

    @property
    def newest_frame_t_s(self) -> float | None:
        """Time of the newest frame of any kind, usable or not."""
        with self._lock:
            return float(self._t[self._n - 1]) if self._n else None

    @property
    def interval_s(self) -> float | None:
        """Median time between the frames kept; None before the second."""
        interval = self._locked_usable().interval_s
        return interval if np.isfinite(interval) else None

    @property
    def settled_t_s(self) -> float | None:
        """Up to here frames yet to come in order change no answer; None before the first usable one."""
        settled = self._locked_usable().settled_t_s
        return settled if np.isfinite(settled) else None

    @property
    def stale(self) -> int:
        """How many of the frames kept are frozen repeats."""
        return len(self._locked_usable(-np.inf).frozen)

    @property
    def last_word(self) -> str:
        """OK, or why the newest frame by its stamp was refused; empty before the first."""
        return self._last_word

    @property
    def last_status(self) -> PoseStatus:
        """What the sender said of the newest frame by its stamp; UNKNOWN before the first."""
        return self._last_status

    def __len__(self) -> int:
        return self._n

    def clear(self) -> None:
        """Forget the history but not the refusals: after a step of the sender's clock."""
        with self._lock:
            self._n, self._dropped_until = 0, -np.inf
            self._forget()

    def _locked_usable(self, earliest_s: float = np.inf) -> Usable:
        with self._lock:
            return self._usable(earliest_s)

    def _usable(self, earliest_s: float = np.inf) -> Usable:
        """The judged frames, at least those that answer for times from `earliest_s` on."""
        if self._recent is None:
            self._recent = self._judged(self._recent_start())
        if len(self._recent.t_s) and self._recent.t_s[0] <= earliest_s:
            return self._recent
        if self._whole is None:
            self._whole = self._judged(0)
        return self._whole

    def _judged(self, start: int) -> Usable:
        part = slice(start, self._n)
        return usable_frames(
            self._t[part], self._good[part], self._repeat[part], start, self._same_frame[part]
        )

    def _recent_start(self) -> int:
        """Row of the last genuine pose (no repeat) that has RECENT_FRAMES frames after it."""
        before = max(self._n - RECENT_FRAMES, 0)
        genuine = np.flatnonzero(self._good[:before] & ~self._repeat[:before])
        return int(genuine[-1]) if len(genuine) else 0

    def _forget(self) -> None:
        self._recent = self._whole = None

    def _take(self, t_s: float, matrix: Floats, fault: str | None, number: int) -> str:
        """Insert one frame; returns OK or the reason of the refusal."""
        if not np.isfinite(t_s):
            return "time not finite"
        place = int(np.searchsorted(self._t[: self._n], t_s))
        if place < self._n and self._t[place] == t_s:
            return DUPLICATE
        place -= self._make_room()
        if t_s <= self._dropped_until:
            return TOO_OLD
        self._insert(place, t_s, matrix, fault is None, number)
        if fault is not None:
            return fault
        return STALE if self._repeat[place] and place in self._usable().frozen else "OK"

    @property
    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self._t, self._matrix, self._good, self._repeat, self._number, self._same_frame

    def _insert(self, place: int, t_s: float, matrix: Floats, good: bool, number: int) -> None:
        n = self._n
        if place < n:
            for array in self._columns:
                array[place + 1 : n + 1] = array[place:n].copy()
        self._t[place] = t_s
        self._number[place] = number
        self._good[place] = good
        self._matrix[place] = matrix if good else np.nan
        self._n = n + 1
        self._forget()
        self._mark_repeat(place)
        self._mark_repeat(self._good_neighbour(place, +1))

    def _good_neighbour(self, place: int, step: int) -> int:
        """Row of the next good frame from `place` in the direction of `step`, or -1."""
        place += step
        while 0 <= place < self._n and not self._good[place]:
            place += step
        return place if 0 <= place < self._n else -1

    def _mark_repeat(self, place: int) -> None:
        if place < 0:
            return
        before = self._good_neighbour(place, -1) if self._good[place] else -1
        number = self._number[place]
        same = before >= 0 and number != UNNUMBERED and number == self._number[before]
        self._same_frame[place] = same
        self._repeat[place] = same or (
            before >= 0 and self._matrix[place].tobytes() == self._matrix[before].tobytes()
        )

    def _make_room(self) -> int:
        """Make room for one more frame; returns how many of the oldest were dropped for it."""
        n = self._n
        if n < len(self._t):
            return 0
        if n < self._capacity:
            self._grow(min(2 * n, self._capacity))
            return 0
        drop = max(n // 4, 1)
        self._dropped_until = float(self._t[drop - 1])
        for array in self._columns:
            array[: n - drop] = array[drop:n].copy()
        self._n = n - drop
        self._forget()
        return drop

    def _grow(self, rows: int) -> None:
        more = rows - len(self._t)
        self._t = np.concatenate([self._t, np.zeros(more)])
        self._matrix = np.concatenate([self._matrix, np.zeros((more, 4, 4))])
        self._good = np.concatenate([self._good, np.zeros(more, dtype=bool)])
        self._repeat = np.concatenate([self._repeat, np.zeros(more, dtype=bool)])
        self._number = np.concatenate([self._number, np.full(more, UNNUMBERED, dtype=np.int64)])
        self._same_frame = np.concatenate([self._same_frame, np.zeros(more, dtype=bool)])

    def _load(self, times: Floats, matrices: Floats) -> None:
        n = len(times)
        self._grow(self._capacity)
        good = rigid_mask(matrices)
        self._t[:n], self._matrix[:n], self._good[:n], self._n = times, matrices, good, n
        rows = np.flatnonzero(good)
        self._repeat[rows[1:]] = (matrices[rows[1:]] == matrices[rows[:-1]]).all(axis=(1, 2))
        for row in np.flatnonzero(~good):
            self.refused[rigidity_fault(matrices[row]) or "not rigid"] += 1


def _earliest(times_s: Floats) -> float:
    return float(np.nanmin(times_s)) if np.isfinite(times_s).any() else np.inf


class TransformBuffer:
    """The histories of all transforms by wire name, and the chain Tip -> Probe -> Tracker -> Reference."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._tracks: dict[str, PoseTrack] = {}
        self._lock = threading.Lock()

    def add(self, sample: PoseSample) -> bool:
        """Take one pose into the history of its name; False if it is refused."""
        return self.track(sample.name).append(sample)

    def track(self, name: str) -> PoseTrack:
        """The history of a wire name such as ProbeToTracker, empty if nothing was received."""
        with self._lock:
            if name not in self._tracks:
                self._tracks[name] = PoseTrack(name, self._capacity)
            return self._tracks[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all histories, in order of first use."""
        with self._lock:
            return tuple(self._tracks)

    def chain(self, tool: str) -> tuple[PoseTrack, PoseTrack | None]:
        """The histories that give `tool` in Reference: one direct, or tool and reference in Tracker."""
        direct = f"{tool}ToReference"
        if direct in self.names:
            return self.track(direct), None
        return self.track(f"{tool}ToTracker"), self.track("ReferenceToTracker")

    def tool_in_reference(
        self, tool: str, t_s: ArrayLike, T_tool_tip: NDArray[np.float64] | None = None
    ) -> tuple[Floats, Bools]:
        """`T_reference_tool`, or `T_reference_tip` with `T_tool_tip` (4, 4), at times (n,).

        Returns poses (n, 4, 4), all NaN where invalid, and valid (n,): both tool and reference are (H05).
        """
        tool_track, reference_track = self.chain(tool)
        poses, valid = tool_track.sample(t_s)
        if reference_track is not None:
            references, seen = reference_track.sample(t_s)
            valid = valid & seen
            poses = invert_rigid(references) @ poses
        if T_tool_tip is not None:
            poses = poses @ T_tool_tip
        poses[~valid] = np.nan
        return poses, valid

    def covers(self, tool: str, start_s: ArrayLike, end_s: ArrayLike) -> Bools:
        """(n,) bool: whether tool and reference are valid at every time of the closed windows (n,)."""
        whole: Bools = np.all([t.covers(start_s, end_s) for t in self.chain(tool) if t is not None], axis=0)
        return whole

    def decided(self, tool: str, start_s: ArrayLike, end_s: ArrayLike) -> Bools:
        """(n,) bool: whether no pose up to 200 ms late can change where `tool` was in the windows (n,)."""
        whole: Bools = np.all([t.decided(start_s, end_s) for t in self.chain(tool) if t is not None], axis=0)
        return whole

    def settled_t_s(self, tool: str) -> float | None:
        """Up to here no answer for `tool` will change by poses yet to come in order; None if nothing is."""
        settled = [t.settled_t_s for t in self.chain(tool) if t is not None]
        known = [t for t in settled if t is not None]
        return min(known) if len(known) == len(settled) else None
