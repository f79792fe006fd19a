"""Where raw messages become poses and counts, with a tally of everything that was not believed.

The state is a function of the sequence of (source, arrival, bytes) alone: no clock is read here, so a replay
of the sequence gives the same state bit for bit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tracking.buffer import DEFAULT_CAPACITY, PoseTrack, TransformBuffer
from tracking.clock import PeerClock
from tracking.counts import CountInterval, CountStream
from tracking.errors import WireError
from tracking.igtl.codec import Message, decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.igtl.names import GAMMA_PROBE
from tracking.igtl.poses import poses_from_message
from tracking.sample import CountSample, PoseSample

# A source that was silent for this long has lost its claim to a name, so that a reconnect may take it over.
CLAIM_S = 2.0
# Poses expire after this long, or after 3 intervals of a slow tracker; counts after 2.5 of their intervals.
POSE_EXPIRY_S = 0.25
POSE_EXPIRY_INTERVALS = 3.0
COUNT_EXPIRY_INTERVALS = 2.5
MOST_ALARMS = 200


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a user must be told: `kind` is one of rival, refused, restart, gap, clock."""

    arrival_s: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a source may send (H40); everything else from it is refused."""

    poses: bool = True
    counts: bool = True


@dataclass(frozen=True, slots=True)
class DeviceStats:
    """One device at one moment. `valid`: fresh and usable now; `word`: OK or why the newest was refused."""

    name: str
    source: str
    age_s: float
    valid: bool
    word: str
    interval_s: float | None
    received: int
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HubStats:
    """Everything a view shows of the inputs."""

    devices: tuple[DeviceStats, ...]
    gaps: int
    missing: int
    duplicates: int
    restarts: int
    lost_s: float
    count_rate_cps: float | None
    refused: Mapping[str, int]  # by source: undecodable, not allowed, rival


@dataclass(slots=True)
class _Claim:
    """Who sends a name, and when it did last."""

    source: str
    arrival_s: float
    received: int = 0


class Hub:
    """Takes raw messages in order of arrival; poses go to `buffer`, counts to `counts`.

    `inputs` maps source names to what they may send (None: anything from anyone). `bridge_clock_steps`
    continues the time line of a source whose clock was set; without it a step is only an alarm. `capacity`
    bounds each pose history, in poses.
    """

    def __init__(
        self,
        inputs: Mapping[str, Inputs] | None = None,
        bridge_clock_steps: bool = False,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self.buffer = TransformBuffer(capacity)
        self.counts = CountStream()
        self.alarms: deque[Alarm] = deque(maxlen=MOST_ALARMS)
        self.refused: Counter[str] = Counter()
        self._inputs = inputs
        self._bridge = bridge_clock_steps
        self._claims: dict[str, _Claim] = {}
        self._clocks: dict[tuple[str, str], PeerClock] = {}
        self._last_refusal: dict[str, str] = {}

    def handle(self, source: str, arrival_s: float, raw: bytes) -> tuple[CountInterval, ...]:
        """Take one raw message; returns the counting intervals that it settles."""
        try:
            return self.take(source, arrival_s, decode(raw))
        except WireError as error:
            self._refuse(source, arrival_s, "refused", str(error))
            return ()

    def take(self, source: str, arrival_s: float, message: Message) -> tuple[CountInterval, ...]:
        """Take one decoded message. Raises WireError for counts that contradict themselves."""
        allowed = Inputs() if self._inputs is None else self._inputs.get(source, Inputs(False, False))
        if is_counts(message):
            sample = counts_from_message(message)
            if self._admitted(source, arrival_s, message.device, allowed.counts):
                return self._take_counts(source, arrival_s, sample)
            return ()
        for pose in poses_from_message(message):
            if self._admitted(source, arrival_s, pose.name, allowed.poses):
                self._take_pose(source, arrival_s, pose)
        return ()

    def stats(self, now_s: float) -> HubStats:
        """The inputs at `now_s`, on the clock of the arrivals."""
        counts = self.counts
        return HubStats(
            tuple(self._device(name, claim, now_s) for name, claim in self._claims.items()),
            counts.gaps,
            counts.missing,
            counts.duplicates,
            counts.restarts,
            counts.lost_s,
            counts.rate_cps(),
            dict(self.refused),
        )

    def _admitted(self, source: str, arrival_s: float, name: str, allowed: bool) -> bool:
        """Whether `source` may send `name` now: it is allowed to, and no other live source does (H38)."""
        if not allowed:
            self._refuse(source, arrival_s, "refused", f"{source} may not send {name}")
            return False
        claim = self._claims.get(name)
        if claim is not None and claim.source != source and arrival_s - claim.arrival_s <= CLAIM_S:
            self._refuse(source, arrival_s, "rival", f"{name} comes from {claim.source}, now also {source}")
            return False
        if claim is None or claim.source != source:
            claim = self._claims[name] = _Claim(source, arrival_s)
        claim.arrival_s = arrival_s
        claim.received += 1
        return True

    def _take_pose(self, source: str, arrival_s: float, pose: PoseSample) -> None:
        t_s = self._on_our_time_line(source, pose.name, pose.t_s, arrival_s)
        self.buffer.add(PoseSample(pose.name, t_s, pose.matrix, pose.status))

    def _take_counts(self, source: str, arrival_s: float, sample: CountSample) -> tuple[CountInterval, ...]:
        self._on_our_time_line(source, GAMMA_PROBE, sample.t_s, arrival_s)
        counts = self.counts
        before = (counts.restarts, counts.gaps)
        settled = counts.add(sample, arrival_s)
        if counts.restarts > before[0]:
            self._alarm(arrival_s, "restart", f"{source}: the probe has restarted, its total fell")
        if counts.gaps > before[1]:
            self._alarm(arrival_s, "gap", f"{source}: counts were missing, {counts.missing} in all")
        return settled

    def _on_our_time_line(self, source: str, name: str, stamp_s: float, arrival_s: float) -> float:
        clock = self._clocks.setdefault((source, name), PeerClock(self._bridge))
        before = len(clock.steps)
        t_s = clock.to_local(stamp_s, arrival_s)
        if len(clock.steps) > before:
            step = clock.steps[-1].step_s
            self._alarm(arrival_s, "clock", f"{source}: the clock of {name} was set by {step:+.3f} s")
        return t_s

    def _refuse(self, source: str, arrival_s: float, kind: str, text: str) -> None:
        """Count a refusal; the same one in a row is one alarm, not a flood."""
        self.refused[source] += 1
        if self._last_refusal.get(source) != text:
            self._last_refusal[source] = text
            self._alarm(arrival_s, kind, text)

    def _alarm(self, arrival_s: float, kind: str, text: str) -> None:
        self.alarms.append(Alarm(arrival_s, kind, text))

    def _device(self, name: str, claim: _Claim, now_s: float) -> DeviceStats:
        age_s = now_s - claim.arrival_s
        if name == GAMMA_PROBE:
            last = self.counts.last
            interval = None if last is None else last.interval_s
            fresh = interval is not None and age_s <= COUNT_EXPIRY_INTERVALS * interval
            refused = dict(self.counts.refused)
            return DeviceStats(
                name, claim.source, age_s, fresh, "OK" if fresh else "", interval, claim.received, refused
            )
        track = self.buffer.track(name)
        return DeviceStats(
            name,
            claim.source,
            age_s,
            _is_valid(track, age_s),
            track.last_word,
            track.interval_s,
            claim.received,
            dict(track.refused),
        )


def _is_valid(track: PoseTrack, age_s: float) -> bool:
    """Whether the newest usable pose is fresh: by arrival, and by stamp against the newest frame."""
    newest, frame, interval = track.newest_t_s, track.newest_frame_t_s, track.interval_s
    if newest is None or frame is None or interval is None:
        return False
    return age_s + (frame - newest) <= max(POSE_EXPIRY_S, POSE_EXPIRY_INTERVALS * interval)
