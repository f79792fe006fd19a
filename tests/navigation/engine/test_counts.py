"""The counter's story: gaps become long intervals, repeats and restarts are told apart."""

from __future__ import annotations

import pytest

from navigation.engine.counts import CountLog
from tracking.sample import CountSample


def sample(seq: int, counts: float, total: float, t_s: float | None = None) -> CountSample:
    return CountSample(seq * 0.1 if t_s is None else t_s, seq, counts, 0.1, total, seq * 0.1)


def test_intervals_in_a_row_are_taken_as_they_are() -> None:
    log = CountLog()
    settled = [*log.add(sample(1, 5, 5), 0.0), *log.add(sample(2, 7, 12), 0.1)]
    assert [(i.t_end_s, i.counts, i.window_s) for i in settled] == [(0.1, 5, 0.1), (0.2, 7, 0.1)]
    assert log.rate_cps() == pytest.approx(12 / 0.2)


def test_a_gap_is_one_interval_over_the_missing_time_with_the_missing_counts() -> None:
    log = CountLog()
    log.add(sample(1, 5, 5), 0.0)
    gap, last = log.add(sample(5, 4, 30), 0.4)
    # 30 in all, less 5 before and 4 now, were counted between 0.1 s and 0.4 s.
    assert (gap.counts, gap.t_end_s, gap.window_s) == (21, pytest.approx(0.4), pytest.approx(0.3))
    assert last.counts == 4
    assert (log.gaps, log.missing) == (1, 3)


def test_a_pause_beyond_two_seconds_is_counted_but_not_placed() -> None:
    log = CountLog()
    log.add(sample(1, 5, 5), 0.0)
    assert len(log.add(sample(40, 4, 300), 4.0)) == 1
    assert log.gaps == 1


def test_a_repeat_and_a_late_message_are_dropped() -> None:
    log = CountLog()
    log.add(sample(3, 5, 15), 0.0)
    assert log.add(sample(3, 5, 15), 0.1) == ()
    assert log.add(sample(2, 5, 10), 0.2) == ()
    assert log.duplicates == 2
    assert log.restarts == 0


def test_a_total_that_falls_is_a_restart_and_no_gap() -> None:
    log = CountLog()
    log.add(sample(900, 5, 5000), 0.0)
    settled = log.add(sample(1, 6, 6, t_s=91.0), 1.0)
    assert [i.counts for i in settled] == [6]
    assert (log.restarts, log.gaps) == (1, 0)
