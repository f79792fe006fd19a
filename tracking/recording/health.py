"""How a recorder is: for the status line, and how long the disk will last."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# A warning comes when the disk is full in less than this at the present rate.
WARN_MINUTES = 30.0
# It is withdrawn with this much more, so that it does not flicker at the border.
WARN_AGAIN_MINUTES = 35.0
# The rate is taken over this long: long enough for maps that come by the second.
RATE_WINDOW_S = 60.0
# Less than this says nothing about the rate.
RATE_LEAST_S = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong (None: nothing); events not kept, waiting, safe from a kill, safe from a power cut.

    `minutes_left`: until the disk is full at the present rate; None while that is not known.
    """

    fault: str | None
    lost: int
    waiting: int
    committed: int
    durable: int
    minutes_left: float | None


class Forecast:
    """Minutes until the disk is full, from looks at the bytes written and the bytes free."""

    def __init__(self) -> None:
        self.minutes_left: float | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._warned = False

    def look(self, now_s: float, written: int, free: int) -> None:
        """Take one look; `now_s` monotonic."""
        self._seen.append((now_s, written))
        while self._seen[0][0] < now_s - RATE_WINDOW_S:
            self._seen.popleft()
        since_s, before = self._seen[0]
        known = now_s - since_s >= RATE_LEAST_S and written > before
        self.minutes_left = free / ((written - before) / (now_s - since_s)) / 60.0 if known else None

    def warns(self) -> bool:
        """True once each time that the disk begins to run short."""
        if self.minutes_left is None:
            return False
        if self.minutes_left > WARN_AGAIN_MINUTES:
            self._warned = False
        elif self.minutes_left < WARN_MINUTES and not self._warned:
            self._warned = True
            return True
        return False
