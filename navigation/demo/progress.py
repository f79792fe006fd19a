"""Progress of a procedure whose length is known: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """A bar over `total_s` seconds with the name of what is being done."""

    def __init__(self, total_s: float) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=round(total_s),
            disable=not sys.stderr.isatty(),
            bar_format="{desc:<34} |{bar}| {n:.0f}/{total:.0f} s",
            leave=False,
        )
        self._began_s = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def say(self, text: str) -> None:
        """What is being done now."""
        self._bar.set_description_str(text)
        self.tick()

    def tick(self) -> None:
        """Move the bar to the time that has passed."""
        passed = min(time.monotonic() - self._began_s, float(self._bar.total or 0))
        self._bar.update(passed - self._bar.n)
