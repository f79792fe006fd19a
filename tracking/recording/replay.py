"""Plays a record's events in their order, at the recorded pace, faster, or as fast as they are taken.

Times of arrival are handed on as recorded, so that whatever is computed from them comes out the same.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable

from tracking.errors import InputError
from tracking.recording.reader import Event

MAX_SPEED = math.inf

OnEvent = Callable[[Event], None]


def parse_speed(text: str) -> float:
    """ "max" or a positive number such as 1 or 0.5. Raises InputError."""
    if text == "max":
        return MAX_SPEED
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0.0 < speed < math.inf:
        raise InputError(f"speed {text!r} is neither max nor a positive number")
    return speed


class Replay:
    """Hands `events` to `on_event` one after the other, once; `run` returns at the end or after `stop`.

    `clock` and `wait` (seconds; True ends the replay) are arguments so that tests take no time.
    """

    def __init__(
        self,
        events: Iterable[Event],
        on_event: OnEvent,
        speed: float = MAX_SPEED,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        if not speed > 0.0:
            raise ValueError("a replay runs forward: speed must be positive")
        self.played = 0
        self._events = events
        self._on_event = on_event
        self._speed = speed
        self._clock = clock
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait

    def run(self) -> bool:
        """Play to the end; False when it was stopped before."""
        try:
            return self._play()
        finally:
            if isinstance(self._events, Generator):
                self._events.close()  # here and now: what is read is let go of by the thread that read it

    def _play(self) -> bool:
        began_s = self._clock()
        first_s: float | None = None
        for event in self._events:
            first_s = event.arrival_s if first_s is None else first_s
            due_s = began_s + (event.arrival_s - first_s) / self._speed
            delay_s = due_s - self._clock()
            if self._stopping.is_set() or (delay_s > 0.0 and self._wait(delay_s)):
                return False
            self._on_event(event)
            self.played += 1
        return True

    def stop(self) -> None:
        """End `run` before the next event; any thread may call it."""
        self._stopping.set()
