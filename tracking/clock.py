"""A peer's clock against ours: its offset, and the steps it makes.

Stamps are never rewritten where they are kept; bridging a step is one explicit stage, off unless asked for,
because a wrong guess would shift poses against counts. `arrival_s` comes from a local clock without jumps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# A step beyond this is a clock that was set, not a network that was slow.
JUMP_S = 0.1
# The offset is the smallest delay of the recent past: long enough to hold an undelayed message.
OFFSET_WINDOW_S = 10.0
# Ten seconds of 200 messages a second; the bound is for a peer that floods.
MOST_DELAYS = 2000
# How many steps are kept for the log.
MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The peer's clock was set by `step_s` (positive: forward), noticed at `arrival_s`."""

    arrival_s: float
    step_s: float


class PeerClock:
    """Watches one stream of stamps for steps; with `bridge` the time line goes on as if there were none.

    A step is a stamp more than 100 ms before the one before it, or one more than 100 ms further ahead than
    both the time that passed here and the stream's own last interval. A message that is merely late, or a
    burst that was held up, is no step.
    """

    def __init__(self, bridge: bool = False) -> None:
        self.steps: deque[ClockStep] = deque(maxlen=MOST_STEPS)
        self._bridge = bridge
        self._shift_s = 0.0
        self._last: tuple[float, float] | None = None
        self._interval_s = 0.0
        self._delays: deque[tuple[float, float]] = deque(maxlen=MOST_DELAYS)

    @property
    def offset_s(self) -> float | None:
        """Arrival minus stamp of the least delayed recent message; None before the first."""
        return min(delay for _, delay in self._delays) if self._delays else None

    def to_local(self, stamp_s: float, arrival_s: float) -> float:
        """The stamp itself, or with `bridge` the stamp on the time line of the peer's first stamps."""
        t_s = stamp_s + self._shift_s
        if self._last is not None:
            passed_s = arrival_s - self._last[1]
            advance_s = t_s - self._last[0]
            if advance_s < -JUMP_S or advance_s > max(passed_s, self._interval_s) + JUMP_S:
                t_s = self._step(advance_s - passed_s, t_s, arrival_s)
        self._remember(t_s, arrival_s)
        return t_s if self._bridge else stamp_s

    def _step(self, step_s: float, t_s: float, arrival_s: float) -> float:
        """Note the step; the time line continues by the time that passed here."""
        self.steps.append(ClockStep(arrival_s, step_s))
        self._shift_s -= step_s
        self._delays.clear()
        self._last = None
        return t_s - step_s

    def _remember(self, t_s: float, arrival_s: float) -> None:
        if self._last is None or t_s > self._last[0]:
            self._interval_s = t_s - self._last[0] if self._last is not None else self._interval_s
            self._last = (t_s, arrival_s)
        self._delays.append((arrival_s, arrival_s - t_s))
        while self._delays[0][0] < arrival_s - OFFSET_WINDOW_S:
            self._delays.popleft()
