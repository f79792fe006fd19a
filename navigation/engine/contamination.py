"""Background checks of a live case: a timed count with the probe held away, compared with the first of its kind.

A rise by more than three sigma is a contaminated tip or drape until a later check is in order or somebody explains
it (H45); meanwhile nothing is said to be absent. State follows from the events alone, so a replay has it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from calibration.counter.counttest import counted
from calibration.daily.background import (
    DEFAULT_SECONDS,
    KINDS,
    ROOM,
    SHORTEST_S,
    UNSTEADY,
    Background,
    Rise,
    standing,
)
from tracking.counts import CountInterval
from tracking.errors import InputError

# Nobody waits longer with the probe in the air.
LONGEST_S = 300.0
# The probe is held away from the patient by at least this, or it counts the patient.
AWAY_MM = 150.0
# Stamps of a window that begins where the last one ended may seem earlier by rounding.
ROUNDING_S = 1e-6
# A check whose counter is silent for so long is given up.
SILENT_S = 5.0
BLOCKED = "the background has risen and nobody has explained it: the probe may be contaminated"


@dataclass(frozen=True, slots=True)
class BackgroundState:
    """As views show it: the newest check, whether it stands as risen, and what is under way."""

    rate_cps: float | None = None
    ci95_cps: tuple[float, float] | None = None
    kind: str | None = None
    checked_s: float | None = None  # Unix
    reference_cps: float | None = None
    sigma: float | None = None
    risen: bool = False
    counting_s: float | None = None  # counted so far of the check under way
    wanted_s: float | None = None
    checks: int = 0
    explained: str | None = None
    due: bool = False


@dataclass(slots=True)
class _Count:
    """A check under way."""

    kind: str
    seconds: float
    since_s: float  # stamp of the counter
    asked_s: float
    intervals: list[CountInterval] = field(default_factory=list)

    @property
    def live_s(self) -> float:
        return sum(i.live_s for i in self.intervals)


class BackgroundWatch:
    """Counts and compares. `minutes`: after so long a check is due again, 0: never."""

    def __init__(self, nuclide: str, minutes: float) -> None:
        self.nuclide = nuclide
        self.minutes = minutes
        self.series: dict[str, list[Background]] = {kind: [] for kind in KINDS}
        self.risen: dict[str, Rise] = {}
        self.explained: str | None = None
        self._under_way: _Count | None = None
        self._newest: tuple[Background, Rise | None, float] | None = None
        self._first_counts_s: float | None = None
        self._checks = 0

    @property
    def counting(self) -> bool:
        """Whether a check is under way."""
        return self._under_way is not None

    @property
    def blocked(self) -> str | None:
        """Why nothing may be said to be absent."""
        return BLOCKED if self.risen else None

    def begin(self, content: dict[str, Any], newest_t_s: float, now_s: float) -> None:
        """Start a check of `content["seconds"]`. Raises InputError for a nonsensical length or kind."""
        seconds, kind = background_s(content), str(content.get("kind", ROOM))
        if kind not in KINDS:
            raise InputError(f"a background is of {' or '.join(KINDS)}, not {kind!r}")
        self._under_way = _Count(kind, seconds, newest_t_s, now_s)

    def give_up(self) -> None:
        """Forget the check under way."""
        self._under_way = None

    def explain(self, content: dict[str, Any]) -> None:
        """Somebody knows why it rose: the newest check is the reference from now on. Raises InputError."""
        reason = " ".join(str(content.get("reason", "")).split())
        if not reason:
            raise InputError("say why the background rose: `explain REASON`")
        if not self.risen:
            raise InputError("no background check has found a rise")
        for kind in self.risen:
            self.series[kind] = self.series[kind][-1:]
        self.risen = {}
        self.explained = reason

    def take(self, settled: Iterable[CountInterval], arrival_s: float) -> str | None:
        """Counting intervals as they settle; the words of an alarm when a check ends with a rise."""
        if self._first_counts_s is None:
            self._first_counts_s = arrival_s
        count = self._under_way
        if count is None:
            return None
        if arrival_s - count.asked_s > count.seconds + SILENT_S:
            self._under_way = None
            return "the background check was given up: the counter was silent"
        count.intervals.extend(i for i in settled if i.t_end_s - i.window_s >= count.since_s - ROUNDING_S)
        if count.live_s < count.seconds - ROUNDING_S:
            return None
        self._under_way = None
        return self._judge(count, arrival_s)

    def _judge(self, count: _Count, arrival_s: float) -> str | None:
        found = counted([i.counts for i in count.intervals], [i.live_s for i in count.intervals])
        middle = datetime.fromtimestamp(arrival_s - count.seconds / 2.0, UTC)
        now = Background(count.kind, found, self.nuclide, middle)
        if now.unsteady:
            return f"no background check: {UNSTEADY}; count again"
        series = self.series[count.kind]
        self._checks += 1
        series.append(now)
        stands = standing(series)
        self._newest = (now, None if stands is None else stands.against, arrival_s)
        if stands is None or not stands.risen:
            self.risen.pop(count.kind, None)
            self.explained = None
            return None
        self.risen[count.kind] = stands.against
        return risen_words(series[0], now, stands.against, not stands.against.risen)

    def due(self, now_s: float) -> bool:
        """Whether the last check, or the first count of the case, is too long ago."""
        since = self._newest[2] if self._newest is not None else self._first_counts_s
        return since is not None and self.minutes > 0.0 and now_s - since > 60.0 * self.minutes

    def faults(self) -> list[str]:
        """A rise, as long as it stands."""
        words = []
        for kind, against in self.risen.items():
            series = self.series[kind]
            words.append(risen_words(series[0], series[-1], against, not against.risen))
        return words

    def hints(self, now_s: float) -> list[str]:
        """What is to be done now: a check is under way, or due."""
        words = []
        if self._under_way is not None:
            count = self._under_way
            words.append(
                f"background check: {count.live_s:.0f} of {count.seconds:.0f} s, hold the probe away"
            )
        elif self.due(now_s):
            done = "no background check was made" if self._newest is None else "the last background check is"
            since = self._newest[2] if self._newest is not None else self._first_counts_s
            assert since is not None
            minutes = (now_s - since) / 60.0
            told = (
                f"{done} for {minutes:.0f} min" if self._newest is None else f"{done} {minutes:.0f} min old"
            )
            words.append(f"{told}: hold the probe away and make one")
        return words

    def state(self, now_s: float) -> BackgroundState:
        """For the snapshot of `now_s`."""
        count = self._under_way
        so_far = None if count is None else count.live_s
        wanted = None if count is None else count.seconds
        if self._newest is None:
            return BackgroundState(due=self.due(now_s), counting_s=so_far, wanted_s=wanted)
        now, against, when = self._newest
        series = self.series[now.kind]
        return BackgroundState(
            rate_cps=now.counted.rate_cps,
            ci95_cps=now.counted.ci95_cps,
            kind=now.kind,
            checked_s=when,
            reference_cps=None if against is None else series[0].counted.rate_cps,
            sigma=None if against is None else against.sigma,
            risen=bool(self.risen),
            checks=self._checks,
            explained=self.explained,
            due=self.due(now_s),
            counting_s=so_far,
            wanted_s=wanted,
        )


def background_s(content: dict[str, Any]) -> float:
    """How long the check that a command asks for takes. Raises InputError for no such time."""
    value = content.get("seconds", DEFAULT_SECONDS)
    if not isinstance(value, int | float) or not SHORTEST_S <= value <= LONGEST_S:
        raise InputError(f"a background check takes {SHORTEST_S:g} to {LONGEST_S:g} s, not {value!r}")
    return float(value)


def risen_words(reference: Background, now: Background, against: Rise, slowly: bool) -> str:
    """The prompt: what was counted, against what, and what to do."""
    how = "creeps up" if slowly else f"rose by {against.sigma:.1f} sigma"
    return (
        f"background {how}: {now.counted.rate_cps:.1f} cps, {reference.counted.rate_cps:.1f} at first; is the probe"
        " or drape contaminated? Change it, check again where it was held at first, or explain"
    )


def background_words(state: BackgroundState) -> str:
    """The outcome of the newest check for the operator."""
    if state.rate_cps is None or state.ci95_cps is None:
        return "no background check was completed"
    low, high = state.ci95_cps
    told = f"{state.kind} background {state.rate_cps:.2f} cps ({low:.2f} to {high:.2f})"
    if state.sigma is None or state.reference_cps is None:
        return f"{told}: the reference of later ones"
    against = f"{state.sigma:+.1f} sigma against {state.reference_cps:.2f} cps at first"
    if state.risen:
        return f"{told}, {against}: RISEN, is the probe or drape contaminated? Change it and check again, or `explain`"
    return f"{told}, {against}: in order"
