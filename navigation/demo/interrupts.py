"""Ctrl-C and SIGTERM end the demonstration alike, and neither is lost nor strikes where a child would be orphaned.

An exception raised by a signal handler vanishes when it strikes inside a callback of the interpreter; the request is
therefore kept as well, and asked for several times a second.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Interrupts:
    """A context that turns both signals into KeyboardInterrupt; used without entering, it never interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self._held = False
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._strike)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came, however long ago."""
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals within only leave their request; `check` afterwards."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _strike(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._held:
            raise KeyboardInterrupt
