"""Statistics of timed counts against independent exact computation, and their coverage by simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from calibration.counter.deadtime import PARALYSABLE, DeadTime
from navigation.timed.count import BACKGROUND, BED, SPECIMEN, TARGET, TimedCount
from navigation.timed.exact import p_above, p_below, rate_of, ratio_of

NONE = DeadTime(0.0)


def made(
    counts: float,
    window_s: float = 10.0,
    kind: str = TARGET,
    id: int = 1,
    dead: DeadTime = NONE,
    **more: object,
) -> TimedCount:
    start_s = 100.0 * id
    found = TimedCount(
        id,
        kind,
        "",
        counts,
        window_s,
        window_s,
        start_s,
        start_s + window_s,
        dead,
        **more,  # type: ignore[arg-type]
    )
    if kind == SPECIMEN and found.specimen is None:
        return replace(found, specimen=id)
    return found


def background(counts: float, window_s: float = 10.0, id: int = 2, **more: object) -> TimedCount:
    return made(counts, window_s, BACKGROUND, id, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("counts", [0, 1, 7, 400])
def test_a_rates_interval_leaves_2_5_percent_on_either_side_by_the_poisson_sum(counts: int) -> None:
    rate = rate_of(made(counts, 8.0))
    assert rate.high_cps is not None
    assert stats.poisson.cdf(counts, rate.high_cps * 8.0) == pytest.approx(0.025, rel=1e-6)
    if counts:
        assert stats.poisson.sf(counts - 1, rate.low_cps * 8.0) == pytest.approx(0.025, rel=1e-6)
    assert rate.low_cps == 0.0 or counts


def test_no_counts_in_ten_seconds_exclude_more_than_the_known_3_7() -> None:
    # Two-sided 95 % of no counts: -ln(0.025) = 3.689.
    assert rate_of(made(0)).high_cps == pytest.approx(-math.log(0.025) / 10.0)


def test_a_ratio_has_the_binomials_own_p_values() -> None:
    first, second = made(9, 10.0), background(4, 20.0)
    # Given 13 counts, each is of the first with probability 10 / 30 if the rates are equal.
    assert p_above(first, second, 1.0) == pytest.approx(stats.binom.sf(8, 13, 1 / 3), rel=1e-9)
    assert p_below(first, second, 1.0) == pytest.approx(stats.binom.cdf(9, 13, 1 / 3), rel=1e-9)
    exact = stats.binomtest(9, 13, 1 / 3, alternative="greater").pvalue
    ratio = ratio_of(first, second)
    assert ratio.p_more == pytest.approx(exact, rel=1e-9)
    assert ratio.value == pytest.approx((9 / 10) / (4 / 20))


@pytest.mark.parametrize(
    ("a", "b", "s", "t"), [(9, 4, 10.0, 20.0), (0, 5, 10.0, 10.0), (6, 0, 5.0, 30.0), (90, 30, 7.0, 11.0)]
)
def test_a_ratios_interval_is_clopper_and_pearsons_mapped_by_the_times(
    a: int, b: int, s: float, t: float
) -> None:
    ratio = ratio_of(made(a, s), background(b, t))
    found = stats.binomtest(a, a + b).proportion_ci(0.95, "exact")
    assert ratio.low == pytest.approx(found.low / (1 - found.low) * t / s, rel=1e-9)
    if b:
        assert ratio.high == pytest.approx(found.high / (1 - found.high) * t / s, rel=1e-9)
    else:
        assert ratio.high is None
        assert ratio.value is None


def test_nothing_against_nothing_says_nothing() -> None:
    ratio = ratio_of(made(0), background(0))
    assert (ratio.value, ratio.low, ratio.high) == (None, 0.0, None)
    assert ratio.p_different == 1.0


@pytest.mark.parametrize(
    ("a", "b"), [(31, 12), (3, 0.5), (1e7, 40), (40, 1e7), (2e5, 2e5), (3e8, 1000), (999, 3e9)]
)
def test_the_bound_and_the_p_value_agree(a: float, b: float) -> None:
    first, second = made(a, 10.0), background(b, 17.0, decay=0.9)
    ratio = ratio_of(first, second)
    assert ratio.high is not None
    assert p_above(first, second, ratio.low) == pytest.approx(0.025, rel=1e-4)
    assert p_below(first, second, ratio.high) == pytest.approx(0.025, rel=1e-4)


def test_decay_brings_both_to_one_time() -> None:
    # The same activity an hour and a half-life later gives half of the counts: the ratio is one.
    early, late = made(4000, decay=1.0), background(2000, decay=0.5)
    assert ratio_of(early, late).value == pytest.approx(1.0)
    assert ratio_of(early, late).p_different > 0.9
    assert rate_of(late).cps == pytest.approx(400.0)


def recorded(rng: np.random.Generator, rate: float, window_s: float, tau_s: float, n: int) -> np.ndarray:
    """Counts of n windows of a counter that is dead for tau after each event: event by event."""
    most = int(rate * window_s + 12.0 * math.sqrt(rate * window_s) + 20)
    gaps = rng.exponential(1.0 / rate, size=(n, most))
    gaps[:, 1:] += tau_s
    return np.asarray((np.cumsum(gaps, axis=1) <= window_s).sum(axis=1))


@pytest.mark.parametrize("tau_s", [0.0, 0.02])
def test_rates_are_covered_as_promised_with_dead_time_and_without(tau_s: float) -> None:
    rng, dead = np.random.default_rng(1), DeadTime(tau_s)
    for rate in (0.4, 3.0, 15.0):
        found = [rate_of(made(float(y), 4.0, dead=dead)) for y in recorded(rng, rate, 4.0, tau_s, 300)]
        covered = np.mean([r.low_cps <= rate <= (r.high_cps or math.inf) for r in found])
        # 300 windows: 0.95 less three standard errors of 0.0126.
        assert covered >= 0.95 - 3 * 0.0126


@pytest.mark.parametrize(("truth", "tau_s"), [(1.0, 0.0), (1.5, 0.02), (4.0, 0.02)])
def test_ratios_are_covered_as_promised_with_unequal_times_and_dead_time(truth: float, tau_s: float) -> None:
    rng, dead = np.random.default_rng(2), DeadTime(tau_s)
    a = recorded(rng, 5.0 * truth, 3.0, tau_s, 250)
    b = recorded(rng, 5.0, 5.0, tau_s, 250)
    found = [
        ratio_of(made(float(x), 3.0, dead=dead), background(float(y), 5.0, dead=dead))
        for x, y in zip(a, b, strict=True)
    ]
    below = np.mean([r.high is not None and r.high < truth for r in found])
    above = np.mean([r.low > truth for r in found])
    # Each side errs in 2.5 % at most: 250 pairs, three standard errors of 0.0099.
    assert max(below, above) <= 0.025 + 3 * 0.0099
    if truth == 1.0:
        assert np.mean([r.p_more <= 0.05 for r in found]) <= 0.05 + 3 * 0.0138


def test_dead_time_uncorrected_would_not_cover() -> None:
    # The same counts held for those of an ideal counter: the rate is lost by a quarter, and the interval with it.
    rng = np.random.default_rng(3)
    found = [rate_of(made(float(y), 4.0)) for y in recorded(rng, 15.0, 4.0, 0.02, 200)]
    assert np.mean([r.high_cps is not None and r.high_cps >= 15.0 for r in found]) < 0.9


def test_a_dead_time_that_is_known_badly_widens_the_interval() -> None:
    sure, unsure = DeadTime(1e-5), DeadTime(1e-5, sd_s=3e-6)
    narrow, wide = (rate_of(made(2e5, dead=dead)) for dead in (sure, unsure))
    assert narrow.cps == wide.cps == pytest.approx(2e4 / (1 - 0.2))
    assert wide.low_cps < narrow.low_cps
    assert wide.high_cps is not None
    assert narrow.high_cps is not None
    assert wide.high_cps > narrow.high_cps
    # 2e4 / (1 - 2e4 * (1e-5 + 1.96 * 3e-6)) = 29,300 cps at the least at the upper end.
    assert wide.high_cps > 2e4 / (1 - 2e4 * (1e-5 + 1.96 * 3e-6))
    ratio = [ratio_of(made(2e5, dead=d), background(1e3, dead=d)) for d in (sure, unsure)]
    assert ratio[1].low < ratio[0].low < ratio[0].high < ratio[1].high  # type: ignore[operator]


def test_a_paralysable_counter_is_corrected_by_its_own_curve() -> None:
    dead = DeadTime(1e-5, PARALYSABLE)
    true = 2e4
    count = made(float(dead.expected(true)) * 10.0, dead=dead)
    rate = rate_of(count)
    assert rate.cps == pytest.approx(true, rel=1e-6)
    assert rate.high_cps is not None
    assert rate.low_cps < true < rate.high_cps


def test_of_a_saturated_count_only_a_lower_bound_is_told() -> None:
    hot, cool = made(1e5, saturated=True), background(1e3)
    assert rate_of(hot).high_cps is None
    assert rate_of(hot).low_cps > 9.9e3
    over, under = ratio_of(hot, cool), ratio_of(cool, hot)
    assert over.high is None
    assert over.low > 90.0
    assert under.low == 0.0
    assert under.high is not None
    assert p_above(cool, hot, 1e-9) == 1.0
    assert p_below(hot, cool, 1e9) == 1.0


def test_counts_that_scatter_are_taken_for_fewer() -> None:
    calm, wild = made(400.0), made(400.0, dispersion=4.0)
    # A quarter of the counts: twice the relative error.
    width = [
        math.log(ratio_of(c, background(1e6)).high / ratio_of(c, background(1e6)).low) for c in (calm, wild)
    ]  # type: ignore[operator]
    assert width[1] == pytest.approx(2.0 * width[0], rel=0.02)


def test_the_scatter_of_one_count_is_not_that_of_the_other() -> None:
    # A target of some 4 counts' worth beside a background that is known to 1 %: 4 counts have an interval of 0.27 to
    # 2.6 times themselves.
    ratio = ratio_of(made(400.0, dispersion=100.0), background(1e4))
    assert ratio.value == pytest.approx(0.04)
    assert ratio.low == pytest.approx(0.27 * 0.04, rel=0.03)
    assert ratio.high == pytest.approx(2.56 * 0.04, rel=0.03)


def test_a_counter_that_records_more_than_it_can_has_a_lower_bound_as_counted() -> None:
    impossible = made(2000.0, 10.0, dead=DeadTime(0.01))
    rate = rate_of(impossible)
    assert rate.cps is None
    assert rate.high_cps is None
    assert rate.low_cps == pytest.approx(stats.chi2.ppf(0.025, 4000) / 2 / 10)
    assert ratio_of(impossible, background(5)).high is None


def test_the_kinds_are_those_of_the_everyday_practice() -> None:
    assert made(1, kind=BED).label == "bed"
    assert made(1, kind=SPECIMEN, id=3).label == "specimen 3"
