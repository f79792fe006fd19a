"""The 10 % rule of sentinel nodes: each specimen and the bed against a tenth of the hottest specimen, ex vivo.

Which specimen is the hottest is itself counted. A share of the true hottest is at most that of any other, so its lower
bound is the least of the lower bounds, and its upper bound the least of upper bounds that hold all at once
(Bonferroni): neither errs by the choice of the hottest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from navigation.timed.compare import ABOVE, BELOW, OPEN, Rule, exceeded
from navigation.timed.count import BED, SPECIMEN, TimedCount, usable
from navigation.timed.exact import CONFIDENCE, p_above, p_below, rate_of, ratio_ends
from navigation.timed.planning import Plan, plan_for

TENTH = 0.1
SCALES = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Share:
    """A count as a share of the hottest specimen. `rule`: at least a tenth of it, as counted."""

    count: TimedCount
    value: float | None
    low: float
    high: float | None
    rule: Rule
    state: str  # ABOVE (a tenth or more), BELOW, or OPEN
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Nodes:
    """The hottest specimen, others that may be the hottest as well, and what is compared with it."""

    hottest: TimedCount
    rivals: tuple[TimedCount, ...]
    shares: tuple[Share, ...]


def nodes_of(counts: Iterable[TimedCount], confidence: float = CONFIDENCE) -> Nodes | None:
    """The 10 % rule on the newest count of each specimen and every bed; None without a specimen that counts."""
    every = list(counts)
    specimens = newest_specimens(every)
    if not any(s.counts > 0.0 for s in specimens):
        return None
    return _nodes(tuple(specimens), tuple(usable(every, BED)), confidence)


@lru_cache(maxsize=4)  # a count of something else changes nothing of it
def _nodes(specimens: tuple[TimedCount, ...], beds: tuple[TimedCount, ...], confidence: float) -> Nodes:
    hottest = max(specimens, key=lambda s: (s.saturated, rate_of(s).cps or 0.0))
    others = [s for s in specimens if s is not hottest]
    tail = (1.0 - confidence) / 2.0
    rivals = tuple(s for s in others if p_below(s, hottest, 1.0) > tail)
    shares = (share_of(c, hottest, specimens, tail) for c in (*others, *beds))
    return Nodes(hottest, rivals, tuple(shares))


def newest_specimens(counts: Iterable[TimedCount]) -> list[TimedCount]:
    """The newest usable count of each number, by number."""
    newest = {c.specimen: c for c in usable(counts, SPECIMEN) if c.specimen is not None}
    return [newest[number] for number in sorted(newest)]


def share_of(count: TimedCount, hottest: TimedCount, specimens: Sequence[TimedCount], tail: float) -> Share:
    """One count against a tenth of the hottest; `tail` is the probability of each error."""
    against = [s for s in specimens if s is not count]
    low, high = bounds_of(count, against, tail)
    mine, theirs = rate_of(count).cps, rate_of(hottest).cps
    bound = count.saturated or hottest.saturated
    value = None if mine is None or not theirs or bound else mine / theirs
    ready = hottest.live_s * hottest.decay
    limit = TENTH * hottest.counts * (count.live_s * count.decay) / ready if ready > 0.0 else 0.0
    rule = exceeded(count, hottest, limit)
    state = side_of(count, against, tail)
    plan = None
    if state == OPEN and not (count.saturated or hottest.saturated):
        # Much colder ones decide nothing, and asking all of them at every step takes long.
        near = [s for s in against if s is not hottest and p_below(s, hottest, 1.0) > tail]
        plan = plan_for(
            count, hottest, TENTH, lambda a, b: side_of(a, [b, *near], tail, len(against)) != OPEN
        )
    return Share(count, value, low, high, rule, state, plan)


def side_of(count: TimedCount, against: Sequence[TimedCount], tail: float, asked: int | None = None) -> str:
    """At least a tenth of all of them is at least a tenth of the hottest; below a tenth of one is below it.

    `asked`: how many may have been asked, by default those.
    """
    if max(p_above(count, other, TENTH) for other in against) <= tail:
        return ABOVE
    if min(p_below(count, other, TENTH) for other in against) <= tail / (asked or len(against)):
        return BELOW
    return OPEN


def bounds_of(count: TimedCount, against: Sequence[TimedCount], tail: float) -> tuple[float, float | None]:
    """Simultaneous bounds of the share of the hottest of `against`; a specimen may be no more than the whole."""
    lows, highs = [], []
    for other in against:
        ends = [ratio_ends(count, other, tail, tail / len(against), scale) for scale in SCALES]
        lows.append(0.0 if other.saturated else min(low for low, _ in ends))
        known = [high for _, high in ends if high is not None]
        if len(known) == len(ends) and not count.saturated:
            highs.append(max(known))
    return min(lows), min(highs) if highs else None
