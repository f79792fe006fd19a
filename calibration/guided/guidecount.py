"""Guided background count: hold the probe away from every source until its rate is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.guided.guide import Guidance, Guide

Array = NDArray[np.float64]

# Enough for a rate to a tenth, or what an operator waits for.
ENOUGH_COUNTS, SHORTEST_S, LONGEST_S = 100.0, 10.0, 60.0
# Halves of the count that differ by more than this many standard deviations were not of one place.
UNSTEADY_SIGMAS = 4.0


class CountGuide(Guide):
    """Counts alone; poses are not asked for."""

    step = "background"

    def __init__(self, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S) -> None:
        super().__init__("probe")
        self.shortest_s, self.longest_s = shortest_s, max(longest_s, shortest_s)
        self.counts: list[float] = []
        self.windows_s: list[float] = []
        self.phase = "count"

    @property
    def live_s(self) -> float:
        """Seconds counted."""
        return float(sum(self.windows_s))

    @property
    def total(self) -> float:
        """Counts in all."""
        return float(sum(self.counts))

    def _pose(self, t_s: float, matrix: Array) -> None:
        """Where the probe is held does not matter, as long as it is away from sources."""

    def _counted(self, t_s: float, counts: float, window_s: float) -> None:
        super()._counted(t_s, counts, window_s)
        if self.phase == "done":
            return
        self.counts.append(counts)
        self.windows_s.append(window_s)
        enough = self.total >= ENOUGH_COUNTS and self.live_s >= self.shortest_s
        if enough or self.live_s >= self.longest_s:
            self.phase = "done"

    @property
    def steady(self) -> bool:
        """Whether both halves of the count agree; no source came into view meanwhile."""
        half = len(self.counts) // 2
        if half == 0:
            return True
        first, second = float(sum(self.counts[:half])), float(sum(self.counts[half:]))
        share = float(sum(self.windows_s[:half])) / self.live_s
        expected, spread = share * self.total, np.sqrt(max(self.total * share * (1.0 - share), 1.0))
        return abs(first - expected) <= UNSTEADY_SIGMAS * spread and second >= 0.0

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        done = self.phase == "done"
        counted = min(self.total / ENOUGH_COUNTS, self.live_s / self.shortest_s)
        progress = self.advanced(1.0 if done else 0.99 * max(min(counted, 1.0), self.live_s / self.longest_s))
        refusals = () if self.steady or not done else ("the rate changed while it was counted",)
        return Guidance(
            self.step,
            self.phase,
            progress,
            self._hint(done),
            seconds_left=None if done else max(self.shortest_s - self.live_s, 0.0),
            done=done,
            refusals=refusals,
            figures=self._figures(),
        )

    def _figures(self) -> tuple[tuple[str, str], ...]:
        if not self.counts or self.live_s <= 0.0:
            return ()
        rate, sd = self.total / self.live_s, np.sqrt(max(self.total, 1.0)) / self.live_s
        return (
            ("counted", f"{self.total:.0f} in {self.live_s:.1f} s"),
            ("rate", f"{rate:.2f} ± {sd:.2f} cps"),
        )

    def _hint(self, done: bool) -> str:
        if done:
            return "done"
        if not self.counts:
            return "waiting for the counts of the probe"
        if not self.steady:
            return "the rate changes: hold the probe still, away from every source"
        return "hold the probe still, away from every source"
