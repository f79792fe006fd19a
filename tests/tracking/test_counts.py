"""The counter's story: sums survive loss, order does not matter, contradictions are refused (H08, H09)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.counts import CountInterval, CountStream
from tracking.sample import CountSample

COUNTS = [12, 7, 0, 31, 5, 18, 22, 9, 14, 3, 27, 16, 8, 40, 11, 6, 19, 25, 2, 13]


def samples(counts: list[int] = COUNTS, first_seq: int = 1, t_0: float = 100.0) -> list[CountSample]:
    """A 10 Hz counter: sample i ends at t_0 + 0.1 (i + 1)."""
    totals = np.cumsum(counts)
    return [
        CountSample(
            round(t_0 + 0.1 * (i + 1), 6),
            first_seq + i,
            float(c),
            0.1,
            float(totals[i]),
            round(0.1 * (i + 1), 6),
        )
        for i, c in enumerate(counts)
    ]


def fed(stream: CountStream, given_samples: list[CountSample]) -> list[CountInterval]:
    out: list[CountInterval] = []
    for sample in given_samples:
        out += stream.add(sample, sample.t_s + 0.01)
    return out + list(stream.flush())


def test_an_undisturbed_counter_comes_through_at_once() -> None:
    stream = CountStream()
    for sample in samples():
        (interval,) = stream.add(sample, sample.t_s + 0.01)
        assert interval == CountInterval(sample.t_s, sample.counts, 0.1, sample.t_s + 0.01, 0.1)
    assert (stream.gaps, stream.missing, stream.duplicates, stream.restarts, stream.lost_s) == (0, 0, 0, 0, 0)
    assert stream.newest_t_s == samples()[-1].t_s
    assert stream.rate_cps() == pytest.approx((6 + 19 + 25 + 2 + 13) / 0.5)


@settings(deadline=None)
@given(st.data())
def test_order_and_repeats_change_nothing(data: st.DataObject) -> None:
    """Every sample at most two places late (0.2 s), some twice: the same intervals as in order."""
    keys = [i + data.draw(st.floats(0.0, 1.9)) for i in range(1, len(COUNTS))]
    late = [samples()[0], *(s for _, s in sorted(zip(keys, samples()[1:], strict=True), key=lambda x: x[0]))]
    for place in data.draw(st.lists(st.integers(0, len(late) - 1), max_size=5)):
        late.insert(place + 1, late[place])
    stream = CountStream()
    got = [(i.t_end_s, i.counts) for i in fed(stream, late)]
    assert got == [(s.t_s, s.counts) for s in samples()]
    assert stream.duplicates == len(late) - len(COUNTS)
    assert stream.gaps == 0


@settings(deadline=None)
@given(st.sets(st.integers(1, len(COUNTS) - 2), max_size=12))
def test_loss_never_loses_counts(lost: set[int]) -> None:
    stream = CountStream()
    kept = [s for i, s in enumerate(samples()) if i not in lost]
    intervals = fed(stream, kept)
    assert sum(i.counts for i in intervals) == sum(COUNTS)
    assert sum(i.window_s for i in intervals) == pytest.approx(0.1 * len(COUNTS))
    assert stream.missing == len(lost)
    ends = np.array([i.t_end_s for i in intervals])
    np.testing.assert_allclose(ends[1:] - [i.window_s for i in intervals[1:]], ends[:-1], atol=1e-6)


def test_a_gap_is_one_interval_over_the_missing_time() -> None:
    stream = CountStream()
    intervals = fed(stream, [s for i, s in enumerate(samples()) if i not in (4, 5, 6)])
    gap = intervals[4]
    assert gap.counts == COUNTS[4] + COUNTS[5] + COUNTS[6] == 45
    assert (gap.t_end_s, gap.window_s, gap.live_s) == pytest.approx((100.7, 0.3, 0.3))
    assert (stream.gaps, stream.missing) == (1, 3)


def test_a_pause_of_the_counter_is_no_cold_place() -> None:
    # Numbers 4 and 5 never were: the counter stood still for 0.2 s, and its totals and live time with it.
    stream = CountStream()
    before = [CountSample(0.1 * i, i, 9.0, 0.1, 9.0 * i, 0.1 * i) for i in (1, 2, 3)]
    after = [CountSample(0.1 * i, i, 9.0, 0.1, 9.0 * (i - 2), 0.1 * (i - 2)) for i in range(6, 12)]
    intervals = fed(stream, [*before, *after])
    assert [i.counts for i in intervals] == [9.0] * 9
    assert (stream.gaps, stream.lost_s) == (1, pytest.approx(0.2))


def test_a_sender_without_live_time_still_loses_no_counts() -> None:
    stream = CountStream()
    kept = [CountSample(0.1 * i, i, 9.0, 0.1, 9.0 * i, 0.0) for i in (1, 2, 3, 5, 6, 7, 8, 9)]
    intervals = fed(stream, kept)
    assert sum(i.counts for i in intervals) == 81.0
    assert sum(i.live_s for i in intervals) == pytest.approx(0.9)


def test_a_gap_waits_for_a_late_sample_but_not_for_ever() -> None:
    stream, s = CountStream(), samples()
    settled = [len(stream.add(s[i], 0.0)) for i in (0, 1, 3, 4, 5, 6)]
    # Sample 2 is missing; 3, 4, 5 (0.2 s) wait for it, 6 (0.3 s later) ends the wait: gap + 3, 4, 5, 6.
    assert settled == [1, 1, 0, 0, 0, 5]
    assert stream.add(s[2], 0.0) == ()  # too late: its counts are in the gap already
    assert stream.duplicates == 1


def test_a_slow_counter_does_not_wait_another_second() -> None:
    stream = CountStream()
    slow = [CountSample(float(i), i, 50.0, 1.0, 50.0 * i, float(i)) for i in (1, 2, 4, 5)]
    out = [len(stream.add(s, s.t_s)) for s in slow]
    assert out == [1, 1, 0, 3]


def test_a_long_pause_is_lost_time_not_a_smear() -> None:
    stream = CountStream()
    s = samples()
    later = replace(s[10], t_s=s[10].t_s + 30.0)
    intervals = fed(stream, [s[0], s[1], later])
    assert [i.counts for i in intervals] == [12, 7, 27]
    assert stream.gaps == 1
    assert stream.lost_s == pytest.approx(30.8)  # from 100.2 to 131.1 less the last 0.1


def test_a_fallen_total_is_a_restart() -> None:
    stream = CountStream()
    before, after = samples(), samples([5, 6, 7], t_0=103.0)
    intervals = fed(stream, before + after)
    assert [i.counts for i in intervals] == [*COUNTS, 5, 6, 7]
    assert (stream.restarts, stream.duplicates, stream.gaps) == (1, 0, 0)
    assert stream.lost_s == pytest.approx(1.0)  # from 102.0 to 103.0


def test_a_restart_of_a_probe_that_sees_nothing() -> None:
    stream = CountStream()
    intervals = fed(stream, samples([0] * 5) + samples([0] * 5, t_0=101.0))
    assert len(intervals) == 10  # the totals never fall, but the numbers do, at later stamps
    assert stream.restarts == 1


def test_late_samples_from_before_a_restart_are_not_counted_again() -> None:
    stream = CountStream()
    before, after = samples(), samples([5, 6, 7, 8], t_0=103.0)
    mixed = [*before[:-1], after[0], before[-1], before[4], after[1], after[0], after[2], after[3]]
    intervals = fed(stream, mixed)
    # The last of the old ones comes after the restart: where its counts belong nobody knows any more.
    assert [i.counts for i in intervals] == [*COUNTS[:-1], 5, 6, 7, 8]
    assert stream.refused == {"from before the restart": 2}
    assert (stream.restarts, stream.duplicates) == (1, 1)
    assert stream.lost_s == pytest.approx(1.1)  # from 101.9 to 103.0


@pytest.mark.parametrize("wrap", [1 << 16, 1 << 32])
def test_a_total_that_rolls_over_loses_nothing(wrap: int) -> None:
    stream = CountStream()
    offset = wrap - sum(COUNTS[:7])  # the 7th interval fills the number, its total is 0
    rolled = [replace(x, counts_total=(x.counts_total + offset) % wrap) for x in samples()]
    intervals = fed(stream, rolled)
    assert [i.counts for i in intervals] == COUNTS
    assert (stream.rollovers, stream.restarts, stream.gaps, stream.lost_s) == (1, 0, 0, 0.0)
    assert not stream.refused


def test_a_roll_over_within_a_gap_is_told_as_lost() -> None:
    """The missing counts could be any number modulo 2^32: the honest tally is the time."""
    stream, wrap = CountStream(), 1 << 32
    rolled = [replace(x, counts_total=(x.counts_total + wrap - 70) % wrap) for x in samples()]
    intervals = fed(stream, rolled[:3] + rolled[8:])
    assert [i.counts for i in intervals] == COUNTS[:3] + COUNTS[8:]
    assert stream.restarts == 1
    assert stream.lost_s == pytest.approx(0.5)


def test_a_repeated_sample_is_not_fresh() -> None:
    stream = CountStream()
    for sample in samples():
        stream.add(sample, sample.t_s)
    stream.add(samples()[-1], 110.0)
    assert stream.arrival_s == samples()[-1].t_s
    assert stream.duplicates == 1


def test_after_a_hole_the_stream_begins_anew() -> None:
    stream, s = CountStream(), samples()
    for sample in (s[0], s[1], s[3]):  # the third was on its way
        stream.add(sample, sample.t_s)
    stream.rejoin()
    assert stream.newest_t_s == pytest.approx(s[1].t_s)
    intervals = fed(stream, [s[1], s[10], s[11]])
    assert [i.counts for i in intervals] == [27, 16]
    assert (stream.gaps, stream.restarts, stream.lost_s) == (0, 0, 0.0)


def test_a_restart_settles_what_still_waits() -> None:
    stream, s = CountStream(), samples()
    fed_before = [i.counts for x in (s[0], s[1], s[3]) for i in stream.add(x, 0.0)]
    after = [i.counts for i in stream.add(samples([4], t_0=103.0)[0], 0.0)]
    assert fed_before + after == [12, 7, 0, 31, 4]


def test_totals_must_be_the_sum_of_their_parts() -> None:
    """A reader that sends its total as the interval's counts, or the other way round."""
    stream = CountStream()
    wrong = [replace(x, counts=x.counts_total) for x in samples()]
    intervals = fed(stream, wrong)
    assert len(intervals) == 1  # the first has nothing to contradict it
    assert stream.refused == {"counts do not add up to the total": len(COUNTS) - 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"counts": float("nan")}, "not finite"),
        ({"t_s": float("inf")}, "not finite"),
        ({"counts": -1.0}, "negative counts or no interval"),
        ({"interval_s": 0.0}, "negative counts or no interval"),
        ({"counts_total": -5.0}, "negative counts or no interval"),
        ({"counts": 2e6, "counts_total": 2e6}, "rate beyond any probe"),
    ],
)
def test_impossible_samples_are_refused(change: dict[str, float], reason: str) -> None:
    stream = CountStream()
    assert stream.add(replace(samples()[0], **change), 0.0) == ()
    assert stream.refused == {reason: 1}
    assert stream.last is None
