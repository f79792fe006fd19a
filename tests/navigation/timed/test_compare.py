"""Ratios, the usual rules, the 10 % rule and the count that would decide."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from navigation.timed.compare import ABOVE, BELOW, OPEN, background_of, classical, pair_of, pairs_of, tell
from navigation.timed.count import BED, SPECIMEN, TARGET, TimedCount
from navigation.timed.exact import p_above, p_below
from navigation.timed.planning import plan_for
from navigation.timed.sentinel import nodes_of
from tests.navigation.timed.test_exact import background, made


def specimen(number: int, counts: float, window_s: float = 10.0, **more: object) -> TimedCount:
    return made(counts, window_s, SPECIMEN, number, specimen=number, **more)  # type: ignore[arg-type]


def bed(counts: float, window_s: float = 10.0) -> TimedCount:
    return made(counts, window_s, BED, 50)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        # 100 counts of background: 1.5:1 from 150, 2:1 from 200, three sigma from 130 on.
        (129, (False, False, False)),
        (130, (False, False, True)),
        (149, (False, False, True)),
        (150, (True, False, True)),
        (200, (True, True, True)),
        (0, (False, False, False)),
    ],
)
def test_the_usual_rules(target: int, rules: tuple[bool, ...]) -> None:
    assert tuple(classical(made(target), background(100)).values()) == rules


def test_the_usual_rules_with_other_times_decay_and_no_background_counts() -> None:
    # 25 counts in 5 s with half of the activity left are 100 counts in 10 s at the reference time.
    assert classical(made(150), background(25, 5.0, decay=0.5)) == classical(made(150), background(100))
    # No background counts: three sigma of one count; a target of three is beyond it, and infinitely many times it.
    assert tuple(classical(made(3), background(0)).values()) == (True, True, True)
    assert tuple(classical(made(0), background(0)).values()) == (False, False, False)


def test_a_saturated_count_leaves_open_what_it_does_not_prove() -> None:
    hot = {"saturated": True}
    assert set(classical(made(500, **hot), background(100)).values()) == {True}  # type: ignore[arg-type]
    assert set(classical(made(50, **hot), background(100)).values()) == {None}  # type: ignore[arg-type]
    assert set(classical(made(50), background(100, **hot)).values()) == {False}
    assert set(classical(made(500), background(100, **hot)).values()) == {None}
    assert tell(made(500), background(100, **hot), 1.5).plan is None


def test_the_newest_background_before_a_count_is_its_own_unless_one_is_chosen() -> None:
    first, second, third = background(10, id=1), background(20, id=3), background(30, id=6)
    target = made(100, id=4)
    assert background_of(target, [first, second, target, third]) is second
    assert background_of(target, [target, third]) is third
    assert background_of(target, [target]) is None
    assert background_of(replace(target, against=1), [first, second, target]) is first
    void = replace(second, void="probe slipped")
    assert background_of(target, [first, void, target]) is first
    # Somebody chose it, and it is void: nobody else chooses another one.
    assert background_of(replace(target, against=3), [first, void, target]) is None


def test_void_and_failed_counts_are_compared_with_nothing() -> None:
    good, bad = made(100, id=4), replace(made(100, id=5), failed="the counter restarted")
    pairs = pairs_of([background(10, id=1), good, bad, replace(good, id=6, void="wrong")])
    assert [p.first.id for p in pairs] == [4]


def test_what_a_ratio_tells_of_each_threshold() -> None:
    pair = pair_of(made(170), background(100))
    # 170 over 100: binomial(270, 1/2) at least 170 is 4.2 sigma; at most 170 where 2:1 is 1.3 sigma.
    assert {name: told.state for name, told in pair.told.items()} == {
        "ratio_1": ABOVE,
        "ratio_1_5": OPEN,
        "ratio_2": OPEN,
    }
    assert tell(made(100), background(100), 2.0).state == BELOW


def test_the_planned_count_decides_in_four_of_five_cases_and_a_shorter_one_does_not() -> None:
    first, second = made(46, 10.0), background(750, 300.0)
    plan = tell(first, second, 1.5).plan
    assert plan is not None
    assert not plan.both
    assert plan.more_s == plan.seconds - 10.0

    rng = np.random.default_rng(7)

    def share(seconds: float) -> float:
        counts = rng.poisson(4.6 * seconds, 400)
        told = [tell_fast(made(float(y), seconds), second) for y in counts]
        return float(np.mean(told))

    # 400 trials: a standard error of 0.02. Rates are those counted, and a whole second is a coarse step.
    assert 0.75 <= share(plan.seconds) <= 0.9
    assert share(plan.seconds / 3.0) < 0.7


def tell_fast(first: TimedCount, second: TimedCount, threshold: float = 1.5) -> bool:
    return min(p_above(first, second, threshold), p_below(first, second, threshold)) <= 0.025


def test_both_are_counted_anew_where_the_background_is_too_short() -> None:
    plan = tell(made(16, 10.0), background(4, 2.0), 1.0).plan
    assert plan is None or plan.both
    plan = tell(made(60, 10.0), background(6, 2.0), 1.0).plan
    assert plan is not None
    assert plan.both


def test_nothing_is_planned_beyond_what_anybody_holds_still_for() -> None:
    assert tell(made(151), background(100), 1.5).plan is None
    # Beyond 300 s: a difference of a tenth at one count a second.
    assert plan_for(made(11), background(10), 1.0, lambda a, b: tell_fast(a, b, 1.0)) is None


def test_the_ten_percent_rule_met_not_met_and_not_decided() -> None:
    nodes = nodes_of([specimen(1, 5000), specimen(2, 2000), specimen(3, 100), specimen(4, 480), bed(300)])
    assert nodes is not None
    assert nodes.hottest.specimen == 1
    assert nodes.rivals == ()
    assert [s.state for s in nodes.shares] == [ABOVE, BELOW, OPEN, BELOW]
    assert [s.rule for s in nodes.shares] == [True, False, False, False]
    assert [round(float(s.value or 0), 3) for s in nodes.shares] == [0.4, 0.02, 0.096, 0.06]
    open_one = nodes.shares[2]
    # 480 of 5000 are 4 % below the limit: some 2,500 counts of it decide, if both are counted as long.
    assert open_one.plan is not None
    assert 30.0 <= open_one.plan.seconds <= 300.0


def test_the_interval_of_a_share_is_that_of_a_ratio_with_one_specimen_and_wider_with_more() -> None:
    alone = nodes_of([specimen(1, 5000), bed(300)])
    more = nodes_of([specimen(1, 5000), specimen(2, 20), specimen(3, 30), bed(300)])
    assert alone is not None
    assert more is not None
    low, high = 300 / 5000 * math.exp(-1.96 * 0.06), 300 / 5000 * math.exp(1.96 * 0.06)
    assert alone.shares[0].low == pytest.approx(low, rel=0.02)
    assert alone.shares[0].high == pytest.approx(high, rel=0.02)
    assert more.shares[-1].low == alone.shares[0].low
    assert float(more.shares[-1].high or 0) > float(alone.shares[0].high or 0)


def test_a_saturated_hottest_still_excludes_what_is_far_below_it() -> None:
    nodes = nodes_of([specimen(1, 50_000, saturated=True), specimen(2, 6_000), specimen(3, 100)])
    assert nodes is not None
    low, high = nodes.shares
    # 12 % of a lower bound is no share that is known; 0.2 % of it is below a tenth all the same.
    assert (low.state, low.rule, low.low, low.plan) == (OPEN, None, 0.0, None)
    assert (high.state, high.rule) == (BELOW, False)


def test_newer_counts_of_a_specimen_replace_older_ones_and_void_ones_none() -> None:
    again = replace(specimen(1, 900), id=7)
    void = replace(specimen(1, 90_000), id=8, void="wrong node")
    nodes = nodes_of([specimen(1, 5000), specimen(2, 600), again, void])
    assert nodes is not None
    assert nodes.hottest.id == 7
    assert nodes_of([specimen(1, 0.0), bed(3)]) is None
    assert nodes_of([made(10), bed(3)]) is None


def test_the_ten_percent_rule_errs_as_rarely_as_it_says_whichever_specimen_is_the_hottest() -> None:
    rng = np.random.default_rng(11)
    n, wrong_below, wrong_above = 300, 0, 0
    for _ in range(n):
        # Four specimens of nearly the same rate, and a bed of just a tenth of the hottest.
        rates = np.array([40.0, 40.0, 38.0, 40.0])
        counts = rng.poisson(rates * 10.0)
        every = [specimen(k + 1, float(c)) for k, c in enumerate(counts)]
        share = shares_only([*every, bed(float(rng.poisson(0.1 * 40.0 * 10.0)))])
        wrong_below += share == BELOW
        wrong_above += share == ABOVE
    # Each at most 2.5 %, with three standard errors of 0.9 %.
    assert max(wrong_below, wrong_above) / n <= 0.025 + 3 * 0.009


def shares_only(counts: list[TimedCount]) -> str:
    from navigation.timed.sentinel import side_of

    return side_of(counts[-1], counts[:-1], 0.025)


def test_a_target_is_no_specimen() -> None:
    nodes = nodes_of([specimen(1, 500), made(400, kind=TARGET, id=9)])
    assert nodes is not None
    assert nodes.shares == ()
