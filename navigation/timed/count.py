"""A timed count: what a probe counted at one place, with everything that its rate and a comparison rest on.

Exposures are seconds for which the counter was ready, weighted by decay, so that rates of counts at different times
are rates at one reference time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from calibration.counter.deadtime import NON_PARALYSABLE, DeadTime
from tracking.errors import InputError

TARGET, BACKGROUND, BED, SPECIMEN = "target", "background", "bed", "specimen"
KINDS = (TARGET, BACKGROUND, BED, SPECIMEN)
# Other words for a specimen.
EX_VIVO = ("exvivo", "ex-vivo")
# What a timed count takes unless it is told otherwise: the everyday practice.
DEFAULT_S = 10.0
# Below it a single count decides; beyond it nobody holds a probe still.
SHORTEST_S, LONGEST_S = 1.0, 300.0


@dataclass(frozen=True, slots=True)
class TimedCount:
    """`counts` in `window_s` of the counter's own live time; stamps are Unix seconds on the counter's line.

    `decay` is the mean activity over the count, over that at the reference time. `dispersion` is the scatter of the
    counts over Poisson's, never below 1. `marks` say what is wrong with a count that may be used all the same;
    `failed` why it may not. A count that is void stays, with who said so and why.
    """

    id: int
    kind: str
    name: str
    counts: float
    window_s: float
    wanted_s: float
    start_s: float
    end_s: float
    dead: DeadTime
    decay: float = 1.0
    dispersion: float = 1.0
    saturated: bool = False
    specimen: int | None = None
    against: int | None = None  # the background that somebody chose for it
    marks: tuple[str, ...] = ()
    failed: str | None = None
    void: str | None = None
    void_by: str = ""
    place_mm: tuple[float, float, float] | None = None  # of the probe's tip in Reference, where it was seen

    @property
    def usable(self) -> bool:
        """Whether it is compared with others."""
        return self.failed is None and self.void is None and self.window_s > 0.0

    @property
    def label(self) -> str:
        """As people call it: its kind, number and name."""
        words = self.kind if self.specimen is None else f"{self.kind} {self.specimen}"
        return f"{words} {self.name}".strip()

    @property
    def recorded_cps(self) -> float:
        """As counted, without any correction."""
        return self.counts / self.window_s if self.window_s > 0.0 else 0.0

    @property
    def live_s(self) -> float:
        """Seconds for which the counter was ready."""
        return ready_s(self, self.dead)

    def with_void(self, reason: str, by: str) -> TimedCount:
        """The same, void. Raises InputError without a reason or when it is void already."""
        if not reason:
            raise InputError("say why the count is void")
        if self.void is not None:
            raise InputError(f"count {self.id} is void already: {self.void}")
        return replace(self, void=reason, void_by=by)


def ready_s(count: TimedCount, dead: DeadTime) -> float:
    """Seconds for which a counter with that dead time was ready within the count; 0 where it cannot record so much."""
    return float(dead.live_s(count.counts, count.window_s)) if count.window_s > 0.0 else 0.0


def dead_times(dead: DeadTime, z: float) -> tuple[DeadTime, ...]:
    """The dead time, and where it is not known exactly also both ends of its interval of `z` standard errors."""
    if dead.sd_s == 0.0:
        return (dead,)
    ends = (max(dead.tau_s - z * dead.sd_s, 0.0), dead.tau_s + z * dead.sd_s)
    return (dead, *(DeadTime(tau, dead.model) for tau in ends))


def scatter(count: TimedCount, dead: DeadTime) -> float:
    """Variance of the counts' logarithm over that of as many Poisson counts, never below 1.

    The corrected rate of a non-paralysable counter scatters as Poisson counts in its ready time do, exactly; that of a
    paralysable one by more, as its slope falls (see `DeadTime.count_variance`).
    """
    if dead.model == NON_PARALYSABLE or dead.tau_s == 0.0:
        return count.dispersion
    rate = float(dead.corrected(count.recorded_cps))
    x = rate * dead.tau_s
    if not x < 1.0:
        return count.dispersion
    recorded = count.recorded_cps * dead.tau_s
    return count.dispersion * max((1.0 - 2.0 * recorded) / (1.0 - x) ** 2, 1.0)


def kind_of(value: object) -> str:
    """A kind of count. Raises InputError for anything else."""
    value = SPECIMEN if value in EX_VIVO else value
    if value not in KINDS:
        raise InputError(f"a count is of {', '.join(KINDS)}, not {value!r}")
    return str(value)


def seconds_of(content: Mapping[str, Any], default_s: float = DEFAULT_S) -> float:
    """How long the count that a command asks for takes. Raises InputError for no such time."""
    value = content.get("seconds")
    value = default_s if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not SHORTEST_S <= value <= LONGEST_S:
        raise InputError(f"a count takes {SHORTEST_S:g} to {LONGEST_S:g} s, not {value!r}")
    return float(value)


def usable(counts: Iterable[TimedCount], *kinds: str) -> list[TimedCount]:
    """Those that may be compared, of these kinds, in order."""
    return [c for c in counts if c.usable and c.kind in (kinds or KINDS)]
