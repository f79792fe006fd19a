"""Timed counts that a counter with dead time gives, event by event: do intervals and rules err as rarely as they say?

    python -m benchmarks.timed [pairs]

Each condition holds that many pairs of counts of unequal lengths. The simulated counter shares nothing with the
statistics: it lines up events and drops those that come while it is dead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import NON_PARALYSABLE, PARALYSABLE, DeadTime
from navigation.timed.compare import ABOVE, BELOW, OPEN, classical, tell
from navigation.timed.count import BACKGROUND, BED, SPECIMEN, TARGET, TimedCount
from navigation.timed.exact import rate_of, ratio_of
from navigation.timed.sentinel import TENTH, side_of

Array = NDArray[np.float64]

PAIRS = 4000
FIRST_S, SECOND_S = 10.0, 15.0
TAIL = 0.025
# (true rate of the second in cps, true ratio, share of events lost at the first's rate, kind of counter)
RATIOS = (
    (0.3, 1.0, 0.0, NON_PARALYSABLE),
    (2.0, 1.0, 0.0, NON_PARALYSABLE),
    (2.0, 1.5, 0.0, NON_PARALYSABLE),
    (5.0, 2.0, 0.0, NON_PARALYSABLE),
    (5.0, 10.0, 0.25, NON_PARALYSABLE),
    (50.0, 2.0, 0.25, NON_PARALYSABLE),
    (50.0, 2.0, 0.25, PARALYSABLE),
    (50.0, 1.0, 0.28, PARALYSABLE),
)


def recorded(
    rng: np.random.Generator, rate: float, window_s: float, dead: DeadTime, n: int
) -> NDArray[np.int64]:
    """Counts (n,) of windows of a running counter: it was running before the window, too."""
    warm_s = 20.0 * dead.tau_s
    length = warm_s + window_s
    most = int(rate * length + 12.0 * np.sqrt(rate * length) + 20)
    found = np.empty(n, dtype=np.int64)
    for at in range(n):
        times = np.cumsum(rng.exponential(1.0 / rate, most))
        times = times[times <= length]
        kept = _paralysed(times, dead.tau_s) if dead.paralysable else _kept(times, dead.tau_s)
        found[at] = int((kept > warm_s).sum())
    return found


def _paralysed(times: Array, tau_s: float) -> Array:
    """Every event prolongs the dead time: recorded is what comes tau after the last one, recorded or not."""
    return times[np.diff(times, prepend=-np.inf) >= tau_s]


def _kept(times: Array, tau_s: float) -> Array:
    if tau_s == 0.0:
        return times
    kept, free_s = [], -np.inf
    for t in times:
        if t >= free_s:
            kept.append(t)
            free_s = t + tau_s
    return np.array(kept)


def counter(lost: float, rate: float, kind: str) -> DeadTime:
    """The dead time at which that share of the events is lost."""
    if lost == 0.0:
        return DeadTime(0.0)
    return DeadTime((-np.log1p(-lost) if kind == PARALYSABLE else lost / (1.0 - lost)) / rate, kind)


def made(kind: str, at: int, counts: float, window_s: float, dead: DeadTime) -> TimedCount:
    """One count."""
    start_s = 1000.0 * at
    number = at if kind == SPECIMEN else None
    return TimedCount(
        at, kind, "", counts, window_s, window_s, start_s, start_s + window_s, dead, specimen=number
    )


def ratio_lines(rng: np.random.Generator, n: int) -> Iterator[str]:
    """Errors of rates and ratios on either side, and what the usual rules call."""
    yield "second cps  ratio  lost  counter          rate: misses  ratio: below above  1.5:1  2:1  3 sigma  (shares)"
    for rate, truth, lost, kind in RATIOS:
        dead = counter(lost, rate * truth, kind)
        a = recorded(rng, rate * truth, FIRST_S, dead, n)
        b = recorded(rng, rate, SECOND_S, dead, n)
        rates, below, above = 0, 0, 0
        called = np.zeros(3)
        for x, y in zip(a, b, strict=True):
            first = made(TARGET, 1, float(x), FIRST_S, dead)
            second = made(BACKGROUND, 2, float(y), SECOND_S, dead)
            mine, ratio = rate_of(first), ratio_of(first, second)
            rates += not mine.low_cps <= rate * truth <= (np.inf if mine.high_cps is None else mine.high_cps)
            below += ratio.high is not None and ratio.high < truth
            above += ratio.low > truth
            called += [bool(rule) for rule in classical(first, second).values()]
        words = "  ".join(f"{share:.3f}" for share in called / n)
        yield (
            f"{rate:9.1f}  {truth:5.1f}  {lost:.2f}  {kind:15s}  {rates / n:.4f}        "
            f"{below / n:.4f} {above / n:.4f}        {words}"
        )


def tenth_lines(rng: np.random.Generator, n: int) -> Iterator[str]:
    """A bed of exactly a tenth of the hottest, of half and of twice that, beside specimens of several kinds."""
    yield "specimens (cps)            bed / tenth   told below   told 10 % or more   open   as counted 10 %"
    for rates in ((40.0,), (40.0, 39.0, 38.0, 40.0), (200.0, 20.0, 5.0, 2.0, 2.0), (40.0,) * 8):
        for share in (0.5, 1.0, 2.0):
            states = {ABOVE: 0, BELOW: 0, OPEN: 0}
            counted = 0
            for _ in range(n):
                specimens = [
                    made(SPECIMEN, k, float(rng.poisson(r * FIRST_S)), FIRST_S, DeadTime(0.0))
                    for k, r in enumerate(rates, 1)
                ]
                mean = share * TENTH * max(rates) * FIRST_S
                bed = made(BED, 50, float(rng.poisson(mean)), FIRST_S, DeadTime(0.0))
                states[side_of(bed, specimens, TAIL)] += 1
                counted += bed.counts >= TENTH * max(s.counts for s in specimens)
            name = ", ".join(f"{r:g}" for r in rates)
            told = "   ".join(f"{states[s] / n:10.4f}" for s in (BELOW, ABOVE, OPEN))
            yield f"{name:28s} {share:8.1f}   {told}   {counted / n:10.4f}"


def plan_lines(rng: np.random.Generator, n: int) -> Iterator[str]:
    """Whether a count of the planned length decides where the rates are those that it was planned with."""
    yield "counts in 10 s  background in 300 s  threshold  planned s  decides"
    for counts, background, threshold in ((46, 750, 1.5), (36, 750, 1.0), (120, 2000, 2.0), (9, 300, 1.5)):
        first = made(TARGET, 1, counts, FIRST_S, DeadTime(0.0))
        second = made(BACKGROUND, 2, background, 300.0, DeadTime(0.0))
        plan = tell(first, second, threshold).plan
        if plan is None or plan.both:
            yield f"{counts:14d}  {background:18d}  {threshold:9.1f}  none, or both are to be counted"
            continue
        anew = rng.poisson(counts / FIRST_S * plan.seconds, n)
        told = [tell(made(TARGET, 1, float(y), plan.seconds, DeadTime(0.0)), second, threshold) for y in anew]
        share = np.mean([t.state != OPEN for t in told])
        yield f"{counts:14d}  {background:18d}  {threshold:9.1f}  {plan.seconds:9.0f}  {share:.3f}"


def main() -> None:
    """All three tables."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    rng = np.random.default_rng(20)
    for lines in (ratio_lines(rng, n), tenth_lines(rng, n), plan_lines(rng, max(n // 4, 1))):
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
