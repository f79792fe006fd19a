"""What a snapshot holds of timed counts."""

from __future__ import annotations

from dataclasses import dataclass

from navigation.timed.count import TimedCount


@dataclass(frozen=True, slots=True)
class RunningCount:
    """The count under way: `counted_s` of `wanted_s` so far."""

    label: str
    counts: float
    counted_s: float
    wanted_s: float


@dataclass(frozen=True, slots=True)
class TimedState:
    """Every count so far, and the one under way."""

    counts: tuple[TimedCount, ...] = ()
    running: RunningCount | None = None
