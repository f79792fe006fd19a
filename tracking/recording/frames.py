"""A record's poses and counts merged into frames in order of time, read as a stream.

A frame is a time at which any transform was measured; the others are interpolated there by the rules of
`tracking.buffer`, or invalid. Every counting interval is told in exactly one frame: the next one within the
interval's length, else one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.buffer import PoseTrack, TransformBuffer
from tracking.counts import CountInterval
from tracking.hub import Hub
from tracking.inputs import Inputs
from tracking.recording.phases import POSE_MARGIN_S, Phase, inside
from tracking.recording.reader import Event
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.transform import rigidity_fault

Floats = NDArray[np.float64]

# Frames this far behind the newest stamp are settled: late messages and repeats of a lost tool are known.
SETTLED_S = 5.0
# Poses and intervals between two looks at what is settled: few looks, little memory.
BATCH = 2048
NO_POSE = np.eye(4)
# A gap of up to 1.5 intervals is bridged wholly, and half of it lies on either side of its middle.
HALF_A_BRIDGE = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class ToolPose:
    """A matrix (4, 4) in mm, identity where invalid, and its status; `measured`: not interpolated."""

    matrix: Floats
    status: PoseStatus
    measured: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """`t_s` on the time line of the stamps, transforms by wire name, and the interval told here, if any."""

    t_s: float
    tools: dict[str, ToolPose]
    counts: CountSample | None


def frames_of(
    events: Iterable[Event], stretch: Phase | None = None, inputs: Mapping[str, Inputs] | None = None
) -> Iterator[Frame]:
    """Frames of raw `events`, all of them or those of a stretch with a margin of poses round its counts.

    The counts are numbered anew, with totals over what is told here. `inputs` are the sources, as for `Hub`.
    """
    playing = _Playing(stretch, inputs)
    for event in events:
        playing.take(event)
        if playing.waiting >= BATCH:
            yield from playing.settled(final=False)
    yield from playing.settled(final=True)


class _ToldBuffer(TransformBuffer):
    """A buffer that keeps what the sender said of each frame until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[float, dict[str, PoseSample]] = {}

    def add(self, sample: PoseSample) -> bool:
        if np.isfinite(sample.t_s):
            self.told.setdefault(sample.t_s, {}).setdefault(sample.name, sample)
        return super().add(sample)


class _Playing:
    """The record while it is read: poses in a bounded history, frames and intervals that wait."""

    def __init__(self, stretch: Phase | None, inputs: Mapping[str, Inputs] | None) -> None:
        self.waiting = 0
        self._stretch = stretch
        self._hub = Hub(inputs)
        self._hub.buffer = self._buffer = _ToldBuffer()
        self._intervals: list[CountInterval] = []
        self._newest_s = -np.inf
        self._seq = 0
        self._total = self._live_s = 0.0

    def take(self, event: Event) -> None:
        """One raw message."""
        self._keep(self._hub.handle(event.source, event.arrival_s, event.payload))
        self.waiting += 1

    def _keep(self, intervals: Iterable[CountInterval]) -> None:
        stretch = self._stretch
        self._intervals += [i for i in intervals if stretch is None or inside(i, stretch)]

    def settled(self, final: bool) -> Iterator[Frame]:
        """The frames that nothing can change any more, or all that are left."""
        self.waiting = 0
        if final:
            self._keep(self._hub.counts.flush())
        told = self._buffer.told
        stamps = [*told, *(i.t_end_s for i in self._intervals)]
        self._newest_s = max([self._newest_s, *stamps])
        until_s = np.inf if final else self._newest_s - SETTLED_S
        times = np.array(sorted(t for t in told if t <= until_s))
        owner, alone = self._placed(times, until_s)
        tools = self._tools(times)
        frames = [
            (float(t), pose, owner.get(i)) for i, (t, pose) in enumerate(zip(times, tools, strict=True))
        ]
        frames += [(i.t_end_s, {}, i) for i in alone]
        for t_s, poses, interval in sorted(frames, key=lambda f: f[0]):
            if interval is not None or self._wanted(t_s):
                yield Frame(t_s, poses, None if interval is None else self._numbered(interval))

    def _wanted(self, t_s: float) -> bool:
        s = self._stretch
        return s is None or s.start_s - POSE_MARGIN_S <= t_s <= s.stop_s + POSE_MARGIN_S

    def _placed(self, times: Floats, until_s: float) -> tuple[dict[int, CountInterval], list[CountInterval]]:
        """Which frame tells which interval, and the intervals that get a frame of their own.

        A frame tells the last interval that ended before it, and since the frame before, if that is near.
        """
        last: dict[int, CountInterval] = {}
        alone: list[CountInterval] = []
        later: list[CountInterval] = []
        for interval in self._intervals:
            frame = int(np.searchsorted(times, interval.t_end_s))
            if later or (frame == len(times) and interval.t_end_s + interval.window_s > until_s):
                later.append(interval)
            elif frame == len(times):
                alone.append(interval)
            else:
                alone += [last[frame]] if frame in last else []
                last[frame] = interval
        self._intervals = later
        owner = {f: i for f, i in last.items() if times[f] - i.t_end_s <= i.window_s}
        return owner, alone + [i for f, i in last.items() if f not in owner]

    def _tools(self, times: Floats) -> list[dict[str, ToolPose]]:
        """The transforms at each time (n,)."""
        found: list[dict[str, ToolPose]] = [{} for _ in times]
        if not len(times):
            return found
        tracks = {name: self._buffer.track(name) for name in self._buffer.names}
        sampled = {name: (track.sample(times)[0], between(track, times)) for name, track in tracks.items()}
        for i, t_s in enumerate(times.tolist()):
            told = self._buffer.told.pop(t_s)
            for name, (poses, bridged) in sampled.items():
                found[i][name] = _judged(told.get(name), poses[i], bool(bridged[i]))
        return found

    def _numbered(self, interval: CountInterval) -> CountSample:
        self._seq += 1
        self._total += interval.counts
        self._live_s += interval.live_s
        return CountSample(
            interval.t_end_s, self._seq, interval.counts, interval.window_s, self._total, self._live_s
        )


def between(track: PoseTrack, t_s: Floats) -> NDArray[np.bool_]:
    """(n,) whether a pose interpolated at each time (n,) may stand for a measured one.

    Only in a gap that is bridged wholly: a pose in the middle of a longer one would make two short ones of it,
    and counts would be placed where nobody saw the probe.
    """
    interval_s = track.interval_s
    if interval_s is None:
        return np.zeros(len(t_s), dtype=bool)
    reach_s = HALF_A_BRIDGE * interval_s
    return track.covers(t_s - reach_s, t_s + reach_s)


def _judged(told: PoseSample | None, pose: Floats, bridged: bool) -> ToolPose:
    """What was measured as it was sent, what lies between as interpolated, and no matrix that is no pose."""
    if told is None:
        tool = (pose, PoseStatus.OK) if bridged else (NO_POSE, PoseStatus.INVALID)
        return ToolPose(*tool, measured=False)
    if not told.status.usable:
        return ToolPose(NO_POSE, told.status, True)
    matrix = np.asarray(told.matrix, dtype=np.float64)
    if np.isnan(pose).any() or rigidity_fault(matrix) is not None:
        return ToolPose(NO_POSE, PoseStatus.INVALID, True)
    return ToolPose(matrix, told.status, True)
