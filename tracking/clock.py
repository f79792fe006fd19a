"""A peer's clock against ours: offset, drift, and the steps it makes when somebody sets it.

Stamps are never rewritten where they are kept; putting them on an unbroken time line is this one stage,
which can be switched off. `arrival_s` comes from a local clock without jumps.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from tracking.envelope import MOST_DRIFT, DelayEnvelope
from tracking.timeline import TimeLine

# A step beyond this is a clock that was set, not a network that was slow (hazard H07).
JUMP_S = 0.1
# No message of a live stream is under way for this long while others overtake it.
LATEST_S = 2.0
# A suspicion is judged after so long and so many different stamps: half a second holds an undelayed message.
JUDGED_S = 0.5
FEWEST_STAMPS = 4
# Below LATEST_S a slow network looks alike, but its delays scatter: nine in ten must agree to 25 ms.
FEWEST_SMALL = 8
STEADY_S, STEADY_SHARE = 0.025, 0.9
# The judgement is sought no more often than this: it looks at all that is held.
AGAIN_S = 0.05
# A suspicion that cannot be settled is dropped after this: the messages were late, no more.
LONGEST_HOLD_S = 3.0
# Messages held at most, for a peer that floods: three seconds of a thousand a second.
MOST_HELD = 3000
# Sources on one clock see the same step: within these bounds it is given the same size, to the last bit.
SAME_STEP_S, SAME_STEP_WITHIN_S = 0.02, 10.0
# Messages that come so much earlier than the line says prove it wrong: 1 mm at 50 mm/s. It is laid anew then.
MOST_AHEAD_S = 0.02
# Between what was laid wrongly and what comes after lies a hole that no pose bridges, nor any count.
HOLE_S = 0.5
# What an undelayed message needs on a local network at most; no stream of stamps can show it.
NETWORK_DELAY_S = 1e-3
# How many steps are kept for the log, and intervals for the stream's rhythm.
MOST_STEPS = 100
RHYTHM = 5

Payload = TypeVar("Payload")


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The peer's clock was set by `step_s` (positive: forward), told by a message that came at `arrival_s`."""

    arrival_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class Timed(Generic[Payload]):
    """A message on its time line."""

    t_s: float
    arrival_s: float
    payload: Payload


@dataclass(frozen=True, slots=True)
class _Held(Generic[Payload]):
    """A message that waits for the judgement; `lateness_s` against the least delay to be expected."""

    stamp_s: float
    arrival_s: float
    lateness_s: float
    payload: Payload


class PeerClock(Generic[Payload]):
    """Takes one peer's messages in order of arrival and hands them on with their times.

    A message that jumps ahead of the time that passed, or falls behind its predecessor by more than 100 ms, is
    held together with those that follow: a message on the old line releases them (they were late; one from
    the future is refused), half a second of agreement makes a step. Nothing is lost by a step but the time it
    takes to be sure. A backlog, in which stamps go on but arrive late, is no step however long it lasts. With
    `bridge` the time line then goes on as if there had been none.

    With `own` times are those of our clock: stamp + offset, the offset steered along the least delays, and
    the first messages held until it is known. If those were all delayed, which an earlier one proves later, the
    line is laid anew (`laid_anew`), and what would fall into times given before is dropped: nothing is told
    twice of one moment. `steps` is shared by the sources that have one clock.
    """

    def __init__(self, bridge: bool = True, own: bool = False, steps: deque[ClockStep] | None = None) -> None:
        self.steps: deque[ClockStep] = deque(maxlen=MOST_STEPS)
        self.refused = 0
        self.envelope = DelayEnvelope()
        self._bridge = bridge
        self._line = TimeLine() if own else None
        self._known_steps = deque(maxlen=MOST_STEPS) if steps is None else steps
        self._shift_s = 0.0
        self._held: list[_Held[Payload]] = []
        self._judged_s = -math.inf
        self._newest: tuple[float, float] | None = None
        self._intervals: deque[float] = deque(maxlen=RHYTHM)
        self._calm_delay_s: float | None = None
        self.laid_anew = 0
        self._broken_at_s, self._resumes_s = math.inf, -math.inf

    @property
    def offset_s(self) -> float | None:
        """What must be added to the peer's stamps now to give our time; None before the first."""
        base = None if self._newest is None else self.envelope.at(self._newest[1])
        return None if base is None else base + self._shift_s

    @property
    def drift_ppm(self) -> float | None:
        """How fast the peer's clock goes, positive when it gains; None while ten seconds are not seen."""
        return -1e6 * self.envelope.drift if self.envelope.calm else None

    @property
    def uncertainty_s(self) -> float:
        """How far the offset may be off: the network's least delay and the scatter of the best messages."""
        return NETWORK_DELAY_S + self.envelope.spread_s

    @property
    def held_since_s(self) -> float | None:
        """Arrival of the first message that waits for a judgement; None while none does."""
        return self._held[0].arrival_s if self._held else None

    @property
    def departure_s(self) -> float | None:
        """How far the clock has drifted from ours since it was first known; None while it is not."""
        base = None if self._newest is None else self.envelope.at(self._newest[1])
        if base is None or self._calm_delay_s is None or not self.envelope.calm:
            return None
        return base - self._calm_delay_s

    def take(self, stamp_s: float, arrival_s: float, payload: Payload) -> list[Timed[Payload]]:
        """The next message; returns those whose times are known now, often just this one."""
        lateness = self._lateness(stamp_s, arrival_s)
        if self._line is not None and not self._line.known:
            return self._settle(_Held(stamp_s, arrival_s, lateness, payload))
        if self._suspicious(stamp_s, arrival_s, lateness):
            self._held.append(_Held(stamp_s, arrival_s, lateness, payload))
            return self._judge()
        released = self._release()
        return [*released, *self._accept(stamp_s, arrival_s, payload)]

    def forget_held(self) -> None:
        """Drop what waits for a judgement: the stream goes on after a hole."""
        self._held.clear()

    def _lateness(self, stamp_s: float, arrival_s: float) -> float:
        base = self.envelope.at(arrival_s)
        return 0.0 if base is None else arrival_s - stamp_s - self._shift_s - base

    def _suspicious(self, stamp_s: float, arrival_s: float, lateness_s: float) -> bool:
        beyond_s = JUMP_S if self.envelope.mature else LATEST_S
        if abs(lateness_s) <= beyond_s or self._newest is None:
            return False
        if self._held and (self._held[0].lateness_s > 0.0) == (lateness_s > 0.0):
            return True
        advance_s = stamp_s + self._shift_s - self._newest[0]
        passed_s = arrival_s - self._newest[1]
        rhythm_s = median(self._intervals) if self._intervals else 0.0
        if lateness_s < -(JUMP_S + MOST_DRIFT * self.envelope.unsure_since(arrival_s)):
            return advance_s > max(passed_s, rhythm_s) + JUMP_S
        # Late alone is a backlog, however long: a clock set back shows in a stamp that goes back, or elsewhere.
        went_back = advance_s < rhythm_s - JUMP_S
        return lateness_s > JUMP_S and (went_back or self._known_elsewhere(lateness_s, arrival_s))

    def _known_elsewhere(self, lateness_s: float, arrival_s: float) -> bool:
        """Whether another source on the same clock has just seen it set back by this much."""
        return any(
            abs(known.arrival_s - arrival_s) <= SAME_STEP_WITHIN_S
            and abs(known.step_s + lateness_s) <= SAME_STEP_S
            and known not in self.steps
            for known in self._known_steps
        )

    def _settle(self, held: _Held[Payload]) -> list[Timed[Payload]]:
        """Hold the first messages of a clock of its own until an undelayed one was among them."""
        self._held.append(held)
        self.envelope.add(held.arrival_s, held.arrival_s - held.stamp_s)
        if not self._heard_enough(FEWEST_STAMPS):
            return []
        base = self.envelope.at(held.arrival_s)
        assert self._line is not None
        assert base is not None
        self._line.steer(self._held[0].stamp_s, base, 0.0)
        return self._release()

    def _heard_enough(self, stamps: int) -> bool:
        heard_s = self._held[-1].arrival_s - self._held[0].arrival_s
        return heard_s >= JUDGED_S and len({h.stamp_s for h in self._held}) >= stamps

    def _judge(self) -> list[Timed[Payload]]:
        """Whether what is held is a step by now; if so it is released on the new line."""
        newest_s = self._held[-1].arrival_s
        if newest_s - self._judged_s < AGAIN_S and len(self._held) <= MOST_HELD:
            return []
        self._judged_s = newest_s
        late = [h.lateness_s for h in self._held]
        least = min(late)
        if least > 0.0 and not self._fell_back(least):
            return self._release()
        certain = least < 0.0 or least > LATEST_S
        agreeing = sum(x - least <= STEADY_S for x in late)
        if self._heard_enough(FEWEST_STAMPS if certain else FEWEST_SMALL) and (
            certain or agreeing >= STEADY_SHARE * len(late)
        ):
            self._step(-least)
            return self._release()
        unsettled = not certain and newest_s - self._held[0].arrival_s > LONGEST_HOLD_S
        if (unsettled and self._heard_enough(FEWEST_SMALL)) or len(late) > MOST_HELD:
            return self._release()
        return []

    def _fell_back(self, lateness_s: float) -> bool:
        """Whether what is held lies behind the old line, as after a step; a message overtaken amid a backlog
        is followed by others that go on where the newest was.
        """
        assert self._newest is not None
        passed_s = self._held[-1].arrival_s - self._newest[1]
        advance_s = max(h.stamp_s for h in self._held) + self._shift_s - self._newest[0]
        return advance_s < passed_s - 0.5 * lateness_s

    def _step(self, step_s: float) -> None:
        arrival_s = self._held[0].arrival_s
        for known in self._known_steps:
            near = abs(known.arrival_s - arrival_s) <= SAME_STEP_WITHIN_S
            if near and abs(known.step_s - step_s) <= SAME_STEP_S:
                step_s = known.step_s
        self.steps.append(ClockStep(arrival_s, step_s))
        self._known_steps.append(self.steps[-1])
        self._shift_s -= step_s
        self._held = [_Held(h.stamp_s, h.arrival_s, h.lateness_s + step_s, h.payload) for h in self._held]

    def _release(self) -> list[Timed[Payload]]:
        """Hand on what was held; messages from the future are refused instead, unless a step explains them."""
        held, self._held = self._held, []
        good = [h for h in held if h.lateness_s > -JUMP_S]
        self.refused += len(held) - len(good)
        return [timed for h in good for timed in self._accept(h.stamp_s, h.arrival_s, h.payload)]

    def _accept(self, stamp_s: float, arrival_s: float, payload: Payload) -> list[Timed[Payload]]:
        t_s = stamp_s + self._shift_s
        drawn = self.envelope.drawn
        self.envelope.add(arrival_s, arrival_s - t_s)
        self._lay_anew_if_wrong(arrival_s)
        if self._newest is None or t_s > self._newest[0]:
            if self._newest is not None:
                self._intervals.append(t_s - self._newest[0])
            self._newest = (t_s, arrival_s)
        if self.envelope.drawn > drawn:
            self._steer()
        if self._line is not None:
            ours_s = self._line.to_ours(t_s)
            return [Timed(ours_s, arrival_s, payload)] if self._may_tell(t_s, ours_s) else []
        return [Timed(t_s if self._bridge else stamp_s, arrival_s, payload)]

    def _may_tell(self, t_s: float, ours_s: float) -> bool:
        """Whether a message is not of times that were given, wrongly, to others before it."""
        return t_s <= self._broken_at_s or ours_s > self._resumes_s

    def _lay_anew_if_wrong(self, arrival_s: float) -> None:
        """No message comes before it was sent: one that seems to shows that all before were delayed."""
        base = self.envelope.at(arrival_s)
        if self._line is None or self._newest is None or base is None:
            return
        newest_s = self._newest[0]
        again = self._line.to_ours(newest_s) <= self._resumes_s  # nothing was told of this piece yet
        if self._line.ahead_s(newest_s, base) <= (0.0 if again else MOST_AHEAD_S):
            return
        if not again:
            self.laid_anew += 1
            self._broken_at_s = newest_s
            self._resumes_s = self._line.to_ours(newest_s) + HOLE_S
        self._line.lay_anew(newest_s, base, self.envelope.drift, again)

    def _steer(self) -> None:
        """The line under the delays was drawn anew."""
        assert self._newest is not None
        base = self.envelope.at(self._newest[1])
        assert base is not None
        if self._line is not None:
            self._line.steer(self._newest[0], base, self.envelope.drift)
        if self._calm_delay_s is None and self.envelope.calm:
            self._calm_delay_s = base
