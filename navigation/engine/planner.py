"""Decides from the clock how much a tick of the live map does; the decision is an event of the record.

The session and the reconstruction never see a clock: a replay takes the decisions from the record.
"""

from __future__ import annotations

from dataclasses import dataclass

from navigation.schedule import FEWEST_REPLAYED, REPLAYED, Progress, Work

# What a tick may take; where it takes longer, fewer older readings are gone through again.
TICK_BUDGET_S = 0.03
LESS, MORE = 0.7, 1.2
# Foci are sought as often as this and limits as often as that, unless that would be too much of a core.
SEEK_EVERY_S, LIMITS_EVERY_S = 0.5, 1.0
SEEK_SHARE = 0.5
# While a bed is scanned a hand waits for where to go next: nearly all of a core.
BED_SHARE = 0.95
# While nothing new comes in: passes a tick, and for how many ticks, until nothing is left to gain.
IDLE_PASSES, IDLE_TICKS = 4, 100


@dataclass(slots=True)
class _Scan:
    replay: float = REPLAYED
    sought_s: float = float("-inf")
    limits_s: float = float("-inf")
    took_s: float = 0.0
    readings: int = -1
    idle: int = 0
    wide: bool = False


class Planner:
    """One for all scans of a case; every call comes from the engine's thread."""

    def __init__(self, budget_s: float = TICK_BUDGET_S) -> None:
        self._budget_s = budget_s
        self._scans: dict[str, _Scan] = {}

    def plan(
        self, scan: str, now_s: float, progress: Progress, last_tick_s: float | None, bed: bool = False
    ) -> Work:
        """The next tick's work; `last_tick_s` is how long the last one took, None where that tells nothing.

        With a `bed` every search tells its coverage and where to look next, too.
        """
        state = self._scans.setdefault(scan, _Scan())
        if last_tick_s is not None:
            state.replay *= LESS if last_tick_s > self._budget_s else MORE
            state.replay = min(max(state.replay, FEWEST_REPLAYED), REPLAYED)
        state.idle = state.idle + 1 if progress.readings == state.readings else 0
        state.readings = progress.readings
        if progress.searched:
            state.took_s = now_s - state.sought_s
        widen = progress.grown
        seek = self._seeks(state, now_s, progress, widen, BED_SHARE if bed else SEEK_SHARE)
        limits = seek and (widen or now_s - state.limits_s >= LIMITS_EVERY_S)
        if seek:
            state.sought_s = now_s
        if limits:
            state.limits_s = now_s
        return Work(
            replay=round(state.replay),
            passes=self._passes(state),
            adopt=progress.searched,
            seek=seek,
            limits=limits,
            widen=widen,
            grow=progress.wider_due and not progress.growing,
            bed=seek and bed,
        )

    def _passes(self, state: _Scan) -> int:
        if state.idle == 0:
            return 1
        return IDLE_PASSES if state.idle <= IDLE_TICKS else 0

    def _seeks(self, state: _Scan, now_s: float, progress: Progress, widen: bool, share: float) -> bool:
        """Whether a search is due: none goes on, and the last one is long enough ago for what it took."""
        if progress.searching and not progress.searched:
            return False
        if widen:
            return True
        due_s = max(SEEK_EVERY_S, state.took_s / share)
        return state.idle <= IDLE_TICKS and now_s - state.sought_s >= due_s
