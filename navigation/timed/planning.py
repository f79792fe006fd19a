"""How long a count must be until it tells on which side of a threshold a ratio lies.

A count that was planned is made anew at its whole length: to go on counting until it decides would decide too often.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from navigation.timed.count import LONGEST_S, TimedCount

# A planned count decides in four of five cases, if the rates are what they seem.
ADVERSE_Z = 0.8416
# Nobody counts to a tenth of a second.
STEP_S = 1.0

Decide = Callable[[TimedCount, TimedCount], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of a new count that would decide, and how many that is more; `both`: the other one as long, too."""

    seconds: float
    more_s: float
    both: bool


def plan_for(
    first: TimedCount, second: TimedCount, threshold: float, decides: Decide, longest_s: float = LONGEST_S
) -> Plan | None:
    """The shortest count of `first` (if that is not enough, of both) after which `decides` is expected to hold.

    None where none up to `longest_s` would, or the ratio lies on the threshold itself.
    """
    up = _rate(first) > threshold * _rate(second)
    for both in (False, True):
        longer = max(first.window_s, second.window_s) if both else first.window_s

        def told(seconds: float, both: bool = both) -> bool:
            mine = imagined(first, seconds, -1.0 if up else 1.0)
            theirs = imagined(second, seconds, 1.0 if up else -1.0) if both else second
            return decides(mine, theirs)

        if longer > longest_s or not told(longest_s):
            continue
        seconds = _shortest(told, longer, longest_s)
        return Plan(seconds, max(seconds - first.window_s, STEP_S), both)
    return None


def _shortest(told: Callable[[float], bool], low_s: float, high_s: float) -> float:
    """By halving, in whole seconds; `told(high_s)` holds."""
    while high_s - low_s > STEP_S:
        middle = 0.5 * (low_s + high_s)
        low_s, high_s = (low_s, middle) if told(middle) else (middle, high_s)
    return math.ceil(high_s)


def imagined(count: TimedCount, seconds: float, towards: float) -> TimedCount:
    """The same count over so many seconds, `ADVERSE_Z` standard deviations `towards` fewer (-1) or more (+1)."""
    mean = count.recorded_cps * seconds
    spread = math.sqrt(max(mean, 1.0) * count.dispersion)
    counts = max(mean + towards * ADVERSE_Z * spread, 0.0)
    return replace(count, counts=counts, window_s=seconds)


def _rate(count: TimedCount) -> float:
    ready = count.live_s * count.decay
    return count.counts / ready if ready > 0.0 else math.inf
