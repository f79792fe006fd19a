"""Every target, bed and specimen against its background: the ratio with its interval, and the usual rules beside it.

The rules are what is done every day, applied to the rates as they are; what a count can tell and what it cannot is the
interval's to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from navigation.timed.count import BACKGROUND, BED, SPECIMEN, TARGET, TimedCount, usable
from navigation.timed.exact import CONFIDENCE, Ratio, p_above, p_below, ratio_of
from navigation.timed.planning import Plan, plan_for

RATIO_1_5, RATIO_2, THREE_SIGMA = "ratio_1_5", "ratio_2", "three_sigma"
RULES = (RATIO_1_5, RATIO_2, THREE_SIGMA)
# Ratios that are asked about: different at all, and the two that are in use.
THRESHOLDS = {"ratio_1": 1.0, RATIO_1_5: 1.5, RATIO_2: 2.0}
SIGMAS = 3.0
ABOVE, BELOW, OPEN = "above", "below", "open"
Rule = bool | None


@dataclass(frozen=True, slots=True)
class Told:
    """On which side of a threshold a ratio lies: ABOVE, BELOW, or OPEN with the count that would tell, if any would."""

    state: str
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A count and its background. `rules`: exceeded or not, None where a saturated count leaves it open."""

    first: TimedCount
    background: TimedCount
    ratio: Ratio
    rules: dict[str, Rule]
    told: dict[str, Told]


def pairs_of(counts: Iterable[TimedCount]) -> list[Pair]:
    """Every usable target, bed and specimen that has a background, in order."""
    every = list(counts)
    found = []
    for first in usable(every, TARGET, BED, SPECIMEN):
        background = background_of(first, every)
        if background is not None:
            found.append(pair_of(first, background))
    return found


def background_of(count: TimedCount, counts: Sequence[TimedCount]) -> TimedCount | None:
    """The one chosen for it, else the newest before it, else the first after it; None where there is none.

    A chosen one that is not usable any more leaves none: somebody has to choose again.
    """
    backgrounds = usable(counts, BACKGROUND)
    if count.against is not None:
        return next((b for b in backgrounds if b.id == count.against), None)
    before = [b for b in backgrounds if b.end_s <= count.start_s]
    return before[-1] if before else next(iter(backgrounds), None)


@lru_cache(maxsize=256)  # counts do not change, and their table is made anew with each one more
def pair_of(first: TimedCount, background: TimedCount, confidence: float = CONFIDENCE) -> Pair:
    """One comparison."""
    told = {name: tell(first, background, limit, confidence) for name, limit in THRESHOLDS.items()}
    return Pair(
        first, background, ratio_of(first, background, confidence), classical(first, background), told
    )


def tell(first: TimedCount, second: TimedCount, threshold: float, confidence: float = CONFIDENCE) -> Told:
    """On which side of the threshold the ratio lies, each error with half of 1 - confidence."""
    tail = (1.0 - confidence) / 2.0
    if p_above(first, second, threshold) <= tail:
        return Told(ABOVE)
    if p_below(first, second, threshold) <= tail:
        return Told(BELOW)
    if first.saturated or second.saturated:
        return Told(OPEN)  # a longer count is as saturated

    def decides(a: TimedCount, b: TimedCount) -> bool:
        return p_above(a, b, threshold) <= tail or p_below(a, b, threshold) <= tail

    return Told(OPEN, plan_for(first, second, threshold, decides))


def classical(first: TimedCount, background: TimedCount) -> dict[str, Rule]:
    """1.5:1, 2:1 and three sigma on the rates as they are: True = exceeded."""
    if min(first.live_s, background.live_s) <= 0.0:
        return dict.fromkeys(RULES)
    expected = background.counts * (first.live_s * first.decay) / (background.live_s * background.decay)
    limits = {
        RATIO_1_5: THRESHOLDS[RATIO_1_5] * expected,
        RATIO_2: THRESHOLDS[RATIO_2] * expected,
        THREE_SIGMA: expected + SIGMAS * math.sqrt(max(expected, 1.0)),
    }
    return {name: exceeded(first, background, limit) for name, limit in limits.items()}


def exceeded(first: TimedCount, second: TimedCount, limit: float) -> Rule:
    """Whether the first counts as many as the limit that the second sets; None where saturation leaves it open."""
    over = first.counts > 0.0 and first.counts >= limit
    if first.saturated and second.saturated:
        return None
    if first.saturated:
        return True if over else None
    if second.saturated:
        return None if over else False
    return over
