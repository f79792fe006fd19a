"""Where raw messages become poses and counts, with a tally of everything that was not believed.

The state is a function of the sequence of (source, arrival, bytes) alone: no clock is read here, so a replay
of the sequence gives the same state bit for bit.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tracking.buffer import DEFAULT_CAPACITY, PoseTrack, TransformBuffer
from tracking.clock import LONGEST_HOLD_S, MOST_STEPS, ClockStep, PeerClock
from tracking.counts import CountInterval, CountStream
from tracking.errors import WireError
from tracking.igtl.codec import Message, decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.igtl.names import GAMMA_PROBE
from tracking.igtl.poses import poses_from_message
from tracking.inputs import ClockKind, Inputs, frame_number, within
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.steady import SteadyWatch
from tracking.volumewatch import VolumeWatch

# A source that was silent for this long has lost its claim to a name, so that a reconnect may take it over.
CLAIM_S = 2.0
# Poses expire after this long, or after 3 intervals of a slow tracker; counts after 2.5 of their intervals.
POSE_EXPIRY_S = 0.25
POSE_EXPIRY_INTERVALS = 3.0
COUNT_EXPIRY_INTERVALS = 2.5
MOST_ALARMS = 200
# A second marker on the patient, which must not move against the reference (H04).
CHECK = "Check"
# Sources said to share a clock may differ by this before it is told: 0.6 mm at 30 mm/s; and by half to rearm.
MOST_DEPARTURE_S = 0.02


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a user must be told: `kind` is one of rival, refused, restart, gap, clock, bump, volume, tip,
    background, latency.
    """

    arrival_s: float
    kind: str
    text: str


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
    status: PoseStatus = PoseStatus.UNKNOWN  # what the sender said of the newest


@dataclass(frozen=True, slots=True)
class ClockStats:
    """One source's clock: `offset_s` is to be added to its stamps to give our time; drift positive = gains."""

    source: str
    kind: ClockKind
    offset_s: float | None
    drift_ppm: float | None
    uncertainty_s: float
    steps: int
    judging: bool  # messages wait until it is sure that the clock was set, or was not


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
    refused: Mapping[str, int]  # by source: undecodable, not allowed, rival, out of line in time
    clocks: tuple[ClockStats, ...] = ()


@dataclass(slots=True)
class _Claim:
    """Who sends a name, when it did last, and when its newest sample by stamp arrived."""

    source: str
    arrival_s: float
    newest_arrival_s: float
    received: int = 0


Sample = CountSample | PoseSample


class Hub:
    """Takes raw messages in order of arrival; poses go to `buffer`, counts to `counts`.

    `inputs` maps source names to what they may send (None: anything from anyone, on one clock).
    `bridge_clock_steps` continues the time line of a source whose clock was set; without it a step is only
    an alarm. `capacity` bounds each pose history, in poses.
    """

    def __init__(
        self,
        inputs: Mapping[str, Inputs] | None = None,
        bridge_clock_steps: bool = True,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self.buffer = TransformBuffer(capacity)
        self.counts = CountStream()
        self.alarms: deque[Alarm] = deque(maxlen=MOST_ALARMS)
        self.refused: Counter[str] = Counter()
        self.check = SteadyWatch()
        self.places = VolumeWatch()
        self._checked_s = -math.inf
        self._inputs = inputs
        self._bridge = bridge_clock_steps
        self._claims: dict[str, _Claim] = {}
        self._clocks: dict[str, PeerClock[tuple[Sample, ...]]] = {}
        self._shared_steps: deque[ClockStep] = deque(maxlen=MOST_STEPS)
        self._apart = False
        self._arrival_s = -math.inf
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
        samples = self._samples(source, arrival_s, message)
        if not samples:
            return ()
        self._arrival_s = max(self._arrival_s, arrival_s)
        clock = self._clock(source)
        before = (len(clock.steps), clock.refused, clock.envelope.drawn, clock.laid_anew)
        settled: list[CountInterval] = []
        for timed in clock.take(message.t_s, arrival_s, samples):
            for sample in timed.payload:
                on_line = sample if sample.t_s == timed.t_s else replace(sample, t_s=timed.t_s)
                settled += self._accept(source, timed.arrival_s, on_line)
        self._tell_of_clock(source, clock, before, arrival_s)
        return tuple(settled)

    def rejoin(self) -> None:
        """The streams go on after a hole: what was sent in it is unknown, and no gap of theirs."""
        self.counts.rejoin()
        for clock in self._clocks.values():
            clock.forget_held()

    def resume(self) -> None:
        """After a crash: a hole, and our clock is another one, so what is laid on it is measured anew."""
        self.rejoin()
        for source in list(self._clocks):
            if self._inputs_of(source).clock is ClockKind.OWN:
                del self._clocks[source]

    @property
    def judging(self) -> bool:
        """Whether samples of a live source wait until it is sure whether its clock was set."""
        held = [clock.held_since_s for clock in self._clocks.values()]
        return any(since is not None and self._arrival_s - since <= LONGEST_HOLD_S for since in held)

    def stats(self, now_s: float) -> HubStats:
        """The inputs at `now_s`, on the clock of the arrivals."""
        counts = self.counts
        return HubStats(
            tuple(self._device(name, claim, now_s) for name, claim in list(self._claims.items())),
            counts.gaps,
            counts.missing,
            counts.duplicates,
            counts.restarts,
            counts.lost_s,
            counts.rate_cps(),
            dict(self.refused),
            self.clocks(),
        )

    def clocks(self) -> tuple[ClockStats, ...]:
        """The clocks of the sources heard so far."""
        return tuple(
            ClockStats(
                source,
                self._inputs_of(source).clock,
                clock.offset_s,
                clock.drift_ppm,
                clock.uncertainty_s,
                len(clock.steps),
                clock.held_since_s is not None,
            )
            for source, clock in self._clocks.items()
        )

    def _inputs_of(self, source: str) -> Inputs:
        return Inputs() if self._inputs is None else self._inputs.get(source, Inputs(False, False))

    def _clock(self, source: str) -> PeerClock[tuple[Sample, ...]]:
        if source not in self._clocks:
            own = self._inputs_of(source).clock is ClockKind.OWN
            self._clocks[source] = PeerClock(self._bridge, own, None if own else self._shared_steps)
        return self._clocks[source]

    def _samples(self, source: str, arrival_s: float, message: Message) -> tuple[Sample, ...]:
        """What the message holds of that which the source may send now."""
        allowed = self._inputs_of(source)
        if is_counts(message):
            sample = counts_from_message(message)
            return (sample,) if self._admitted(source, arrival_s, message.device, allowed.counts) else ()
        frame = frame_number(message.metadata)
        return tuple(
            within(pose if frame is None else replace(pose, frame=frame), allowed.volume)
            for pose in poses_from_message(message)
            if self._admitted(source, arrival_s, pose.name, allowed.poses)
        )

    def _admitted(self, source: str, arrival_s: float, name: str, allowed: bool) -> bool:
        """Whether `source` may send `name` now: it is allowed to, and no other live source does (H38)."""
        if not allowed:
            self._refuse(source, arrival_s, "refused", f"{source} may not send {name}")
            return False
        if not self._inputs_of(source).allows(name):
            self._refuse(source, arrival_s, "refused", f"{source} may not send {name}: it is not on its list")
            return False
        claim = self._claims.get(name)
        if claim is not None and claim.source != source and arrival_s - claim.arrival_s <= CLAIM_S:
            self._refuse(source, arrival_s, "rival", f"{name} comes from {claim.source}, now also {source}")
            return False
        if claim is None or claim.source != source:
            newest_s = -math.inf if claim is None else claim.newest_arrival_s
            claim = self._claims[name] = _Claim(source, arrival_s, newest_s)
        claim.arrival_s = arrival_s
        claim.received += 1
        return True

    def _accept(self, source: str, arrival_s: float, sample: Sample) -> tuple[CountInterval, ...]:
        """Put one sample into its history; only one that is newer by its stamp makes the device fresh."""
        if isinstance(sample, CountSample):
            return self._take_counts(source, arrival_s, sample)
        track = self.buffer.track(sample.name)
        newest = track.newest_frame_t_s
        self.buffer.add(sample)
        if newest is None or sample.t_s > newest:
            self._claims[sample.name].newest_arrival_s = arrival_s
        if self.places.take(sample, self._inputs_of(source).good_volume):
            self._alarm(arrival_s, "volume", f"{source}: {sample.name} left the good part of its volume")
        if sample.name.startswith(f"{CHECK}To"):
            self._check_reference(source, arrival_s)
        return ()

    def _check_reference(self, source: str, arrival_s: float) -> None:
        """Look where the check marker is now that both it and the reference are known."""
        times = [track.newest_t_s for track in self.buffer.chain(CHECK) if track is not None]
        newest = min((-math.inf if t is None else t) for t in times)
        if newest <= self._checked_s:
            return
        self._checked_s = newest
        poses, valid = self.buffer.tool_in_reference(CHECK, [newest])
        moved = self.check.moved
        if valid[0]:
            self.check.take(newest, poses[0])
        by = self.check.moved
        if by is None or by is moved:
            return
        text = f"the reference marker has moved, by at least {by.by_mm:.1f} mm and {by.by_deg:.1f} degrees"
        if moved is not None:
            text = "the reference marker has moved again: what was touched since it moved first is void"
        self._alarm(arrival_s, "bump", f"{source}: {text}")

    def accept_reference(self) -> None:
        """The reference is where it should be from now on: the next seconds say where that is."""
        self.check = SteadyWatch()

    def _take_counts(self, source: str, arrival_s: float, sample: CountSample) -> tuple[CountInterval, ...]:
        counts = self.counts
        before = (counts.restarts, counts.gaps)
        settled = counts.add(sample, arrival_s)
        if counts.arrival_s is not None:
            self._claims[GAMMA_PROBE].newest_arrival_s = counts.arrival_s
        if counts.restarts > before[0]:
            self._alarm(arrival_s, "restart", f"{source}: the probe has restarted, its total fell")
        if counts.gaps > before[1]:
            self._alarm(arrival_s, "gap", f"{source}: counts were missing, {counts.missing} in all")
        return settled

    def _tell_of_clock(
        self,
        source: str,
        clock: PeerClock[tuple[Sample, ...]],
        before: tuple[int, int, int, int],
        arrival_s: float,
    ) -> None:
        if len(clock.steps) > before[0]:
            self._alarm(arrival_s, "clock", f"{source}: its clock was set by {clock.steps[-1].step_s:+.3f} s")
        for _ in range(clock.refused - before[1]):
            self._refuse(source, arrival_s, "clock", f"{source}: a stamp ahead of all others")
        if clock.envelope.drawn > before[2]:
            self._compare_shared(arrival_s)
        if clock.laid_anew > before[3]:
            self._alarm(arrival_s, "clock", f"{source}: was late until now, and so is what was placed of it")
            if GAMMA_PROBE in self._claims and self._claims[GAMMA_PROBE].source == source:
                self.counts.rejoin()  # stamps on either side tell nothing of the time between

    def _compare_shared(self, arrival_s: float) -> None:
        """Tell when sources that are said to share a clock drift apart, once."""
        away = {
            source: clock.departure_s
            for source, clock in self._clocks.items()
            if self._inputs_of(source).clock is ClockKind.SHARED
        }
        known = {source: s for source, s in away.items() if s is not None}
        if len(known) < 2:
            return
        slow, fast = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
        apart_s = known[slow] - known[fast]
        if apart_s > MOST_DEPARTURE_S and not self._apart:
            text = f"{fast} and {slow} share no clock: {1000 * apart_s:.0f} ms apart since they were known"
            self._alarm(arrival_s, "clock", text)
        self._apart = apart_s > (0.5 if self._apart else 1.0) * MOST_DEPARTURE_S

    def _refuse(self, source: str, arrival_s: float, kind: str, text: str) -> None:
        """Count a refusal; the same one in a row is one alarm, not a flood."""
        self.refused[source] += 1
        if self._last_refusal.get(source) != text:
            self._last_refusal[source] = text
            self._alarm(arrival_s, kind, text)

    def _alarm(self, arrival_s: float, kind: str, text: str) -> None:
        self.alarms.append(Alarm(arrival_s, kind, text))

    def _device(self, name: str, claim: _Claim, now_s: float) -> DeviceStats:
        age_s = now_s - claim.newest_arrival_s
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
            track.last_status,
        )


def _is_valid(track: PoseTrack, age_s: float) -> bool:
    """Whether the newest usable pose is fresh: by arrival, and by stamp against the newest frame."""
    newest, frame, interval = track.newest_t_s, track.newest_frame_t_s, track.interval_s
    if newest is None or frame is None or interval is None:
        return False
    return age_s + (frame - newest) <= max(POSE_EXPIRY_S, POSE_EXPIRY_INTERVALS * interval)
