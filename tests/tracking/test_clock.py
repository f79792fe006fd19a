"""Steps of a peer's clock are noticed and bridged; delays, bursts and overtaking are no steps (H07, T09)."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tracking.clock import MOST_HELD, MOST_STEPS, ClockStep, PeerClock
from tracking.envelope import DelayEnvelope
from tracking.timeline import MOST_SLEW, TimeLine

Floats = NDArray[np.float64]
HZ = 50.0
BEGIN_S = 100.0


def times(seconds: float, hz: float = HZ) -> Floats:
    """When the messages are sent, on our clock."""
    return BEGIN_S + np.arange(round(seconds * hz)) / hz


def delays(n: int, seed: int = 0, least_s: float = 3e-4, mean_s: float = 2e-3) -> Floats:
    """A quiet network: never less than 0.3 ms, 2 ms more in the mean."""
    return least_s + np.random.default_rng(seed).exponential(mean_s, n)


def played(clock: PeerClock[int], stamps: Floats, arrivals: Floats) -> dict[int, float]:
    """Times of the messages by number, taken in order of arrival."""
    found: dict[int, float] = {}
    for i in np.argsort(arrivals, kind="stable"):
        for timed in clock.take(float(stamps[i]), float(arrivals[i]), int(i)):
            assert timed.arrival_s == arrivals[timed.payload]
            found[timed.payload] = timed.t_s
    return found


def stepped(sent: Floats, at_s: float, step_s: float) -> Floats:
    return sent + np.where(sent >= at_s, step_s, 0.0)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 1.0, -1.0, 0.15, -0.15])
@pytest.mark.parametrize("hz", [60.0, 10.0, 1.0])
def test_a_set_clock_is_bridged_and_no_message_is_lost(step_s: float, hz: float) -> None:
    sent = times(40.0, hz)
    clock: PeerClock[int] = PeerClock()
    found = played(clock, stepped(sent, BEGIN_S + 20.03, step_s), sent + delays(len(sent)))
    assert sorted(found) == list(range(len(sent)))
    # The step is known as well as the least delay before and after: of 0.5 s of 60 Hz or 10 Hz, or of four
    # messages of 1 Hz, whose least delay exceeds 0.3 ms by 2 / 4 ms in the mean.
    assert [s.step_s for s in clock.steps] == [pytest.approx(step_s, abs=2e-3)]
    error = np.array([found[i] for i in range(len(sent))]) - sent
    assert np.abs(error).max() < 2e-3
    assert (error[sent < BEGIN_S + 20.0] == 0.0).all()  # nothing is touched before


@pytest.mark.parametrize("step_s", [3600.0, -0.15])
def test_without_bridging_a_step_is_told_and_stamps_stay(step_s: float) -> None:
    sent = times(10.0)
    stamps = stepped(sent, BEGIN_S + 5.0, step_s)
    clock: PeerClock[int] = PeerClock(bridge=False)
    found = played(clock, stamps, sent + delays(len(sent)))
    assert len(clock.steps) == 1
    assert [found[i] for i in range(len(sent))] == stamps.tolist()


def test_two_sources_on_one_clock_see_the_same_step_to_the_last_bit() -> None:
    steps: deque[ClockStep] = deque()
    clocks: list[PeerClock[int]] = [PeerClock(steps=steps), PeerClock(steps=steps)]
    for clock, hz, seed in ((clocks[0], 60.0, 1), (clocks[1], 10.0, 2)):
        sent = times(20.0, hz)
        played(clock, stepped(sent, BEGIN_S + 10.0, -3600.0), sent + delays(len(sent), seed))
    assert clocks[0].steps[0].step_s == clocks[1].steps[0].step_s


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([60.0, 10.0]), st.floats(0.02, 1.0))
def test_overtaking_by_up_to_200_ms_changes_no_time(seed: int, hz: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    sent = times(12.0, hz)
    late = np.where(rng.random(len(sent)) < share, rng.uniform(0.0, 0.2, len(sent)), 0.0)
    late[-round(hz) :] = 0.0  # whatever waits is released
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, sent + late)
    assert [found[i] for i in range(len(sent))] == sent.tolist()
    assert not clock.steps
    assert clock.refused == 0


@pytest.mark.parametrize("stall_s", [0.3, 1.0, 5.0])
def test_a_stall_and_its_burst_are_no_step(stall_s: float) -> None:
    sent = times(20.0)
    arrivals = sent + delays(len(sent))
    held_up = (sent >= BEGIN_S + 10.0) & (sent < BEGIN_S + 10.0 + stall_s)
    arrivals[held_up] = BEGIN_S + 10.0 + stall_s + 1e-4 * np.arange(held_up.sum())
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, arrivals)
    assert [found[i] for i in range(len(sent))] == sent.tolist()
    assert not clock.steps


@pytest.mark.parametrize("backlog_s", [0.15, 0.5, 3.0, 60.0])
@pytest.mark.parametrize("growth_s", [0.0, 4.0])
def test_a_backlog_that_stays_is_no_step(backlog_s: float, growth_s: float) -> None:
    # A peer or a network that falls behind and later catches up: its stamps were right all the time.
    sent = times(40.0)
    growing = np.clip((sent - BEGIN_S - 10.0) / max(growth_s, 1e-9), 0.0, 1.0)
    behind = np.where(sent < BEGIN_S + 30.0, backlog_s * growing, 0.0)
    arrivals = np.maximum.accumulate(sent + behind + delays(len(sent)))
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, arrivals)
    assert [found[i] for i in range(len(sent))] == sent.tolist()
    assert not clock.steps


@pytest.mark.parametrize(
    ("began_s", "stall_s", "catch_up_s"), [(4.0, 3.0, 2.2), (4.0, 15.0, 4.0), (8.0, 40.0, 26.0)]
)
def test_a_stall_whose_backlog_is_thrown_away_is_no_step(
    began_s: float, stall_s: float, catch_up_s: float
) -> None:
    """Messages come late, hardly faster than they were sent, and then the rest is skipped: stamps leap."""
    sent = times(80.0)
    arrivals = sent + delays(len(sent))
    since = sent - BEGIN_S - began_s
    held = (since >= 0.0) & (since < stall_s)
    arrivals[held] = BEGIN_S + began_s + stall_s + 0.8 * since[held]
    arrives = np.maximum.accumulate(arrivals)
    over = BEGIN_S + began_s + stall_s + catch_up_s
    kept = (arrives < over) & (sent < over - 1.0) | (sent >= over)
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent[kept], arrives[kept])
    assert not clock.steps
    assert clock.refused == 0
    assert [found[i] for i in sorted(found)] == sent[kept].tolist()  # all of them, as they were stamped


@pytest.mark.parametrize("seed", range(8))
def test_overtaking_amid_a_backlog_is_no_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sent = times(40.0)
    behind = np.where((sent > BEGIN_S + 10.0) & (sent < BEGIN_S + 30.0), 3.0, 0.0)
    late = np.where(rng.random(len(sent)) < 0.2, rng.uniform(0.0, 0.2, len(sent)), 0.0)
    late[-50:] = 0.0  # whatever waits is released
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, np.maximum.accumulate(sent + behind) + late)
    assert [found[i] for i in range(len(sent))] == sent.tolist()
    assert not clock.steps


def test_a_step_in_a_silence_is_believed_when_another_source_saw_it() -> None:
    steps: deque[ClockStep] = deque()
    probe: PeerClock[int] = PeerClock(steps=steps)
    sent = times(20.0, 10.0)
    played(probe, stepped(sent, BEGIN_S + 10.0, -3.0), sent + delays(len(sent), 2))
    # The tracker was silent for 6 s round the step: its stamps never went backwards.
    tracker: PeerClock[int] = PeerClock(steps=steps)
    sent = np.array([t for t in times(20.0) if not BEGIN_S + 8.0 < t < BEGIN_S + 14.0])
    found = played(tracker, stepped(sent, BEGIN_S + 10.0, -3.0), sent + delays(len(sent)))
    assert tracker.steps[0].step_s == steps[0].step_s
    assert max(abs(found[i] - sent[i]) for i in found) < 5e-3
    assert len(found) == len(sent)


def test_silence_is_no_step() -> None:
    sent = np.concatenate([times(5.0), times(5.0) + 600.0])
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, sent + delays(len(sent)))
    assert len(found) == len(sent)
    assert not clock.steps


@pytest.mark.parametrize("speed", [0.5, 3.0, 20.0])
def test_a_simulation_faster_or_slower_than_time_is_no_step(speed: float) -> None:
    sent = times(60.0)
    clock: PeerClock[int] = PeerClock()
    found = played(clock, sent, BEGIN_S + (sent - BEGIN_S) / speed)
    assert len(found) == len(sent)
    assert not clock.steps
    assert clock.departure_s is None  # and says nothing of its clock


def test_a_stamp_from_the_future_is_refused_and_the_line_goes_on() -> None:
    sent = times(10.0)
    stamps = sent.copy()
    stamps[250] += 1000.0
    clock: PeerClock[int] = PeerClock()
    found = played(clock, stamps, sent + delays(len(sent)))
    assert 250 not in found
    assert clock.refused == 1
    assert not clock.steps
    assert all(found[i] == sent[i] for i in found)


def test_while_it_is_judged_nothing_comes_through() -> None:
    """Half a second of expired tools is the price; a pose at a wrong time would be worse."""
    sent = times(10.0)
    stamps = stepped(sent, BEGIN_S + 5.0, -0.15)
    clock: PeerClock[int] = PeerClock()
    through = [(a, t.t_s) for s, a in zip(stamps, sent + 1e-3, strict=True) for t in clock.take(s, a, 0)]
    assert all(abs(t - a) < 0.5 + 0.05 + 2 / HZ for a, t in through)
    judged = [a for s, a in zip(stamps, sent, strict=True) if a >= BEGIN_S + 5.0 and a < BEGIN_S + 5.45]
    assert not {round(a + 1e-3, 6) for a in judged} & {round(a, 6) for a, _ in through}
    assert clock.held_since_s is None


@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_a_clock_of_its_own_is_laid_on_ours(ppm: float) -> None:
    """37 s ahead, 200 ppm: within 3.3 ms, 0.1 mm at 30 mm/s, once settled (T09)."""
    sent = times(90.0)
    stamps = sent + 37.0 + 1e-6 * ppm * (sent - BEGIN_S)
    clock: PeerClock[int] = PeerClock(own=True)
    found = played(clock, stamps, sent + delays(len(sent), least_s=5e-4, mean_s=5e-3))
    assert len(found) == len(sent)
    error = np.array([found[i] for i in range(len(sent))]) - sent
    # 0.5 ms is the network's least delay, which nothing can show; 20 s after the start the drift is known.
    assert np.abs(error[sent > BEGIN_S + 2.0]).max() < 3.3e-3
    assert np.abs(error[sent > BEGIN_S + 20.0] - 5e-4).max() < 0.5e-3
    assert clock.drift_ppm == pytest.approx(ppm, abs=10.0)
    assert clock.offset_s == pytest.approx(-37.0 - 1e-6 * ppm * 90.0, abs=2e-3)
    assert 1e-3 <= clock.uncertainty_s < 3e-3


@pytest.mark.parametrize(("late_s", "until_s"), [(0.3, 1.0), (0.8, 1.0), (0.08, 5.0), (2.5, 3.0)])
def test_a_beginning_that_was_late_is_no_lasting_shift(late_s: float, until_s: float) -> None:
    """A backlog at the connection looks like another clock; the first message that is prompt shows it."""
    sent = times(30.0)
    arrivals = sent + delays(len(sent)) + np.where(sent < BEGIN_S + until_s, late_s, 0.0)
    arrivals = np.maximum.accumulate(arrivals)
    clock: PeerClock[int] = PeerClock(own=True)
    found = played(clock, sent + 37.0, arrivals)
    # Right once the backlog is worked off; lost are the moments that had been told already, and a hole.
    right_s = BEGIN_S + until_s + 1.0
    error = np.array([found[i] - sent[i] for i in sorted(found) if sent[i] > right_s])
    assert np.abs(error).max() < 5e-3
    told = np.array([found[i] for i in sorted(found)])
    assert (np.diff(told) > 0.0).all()
    assert np.diff(told).max() == pytest.approx(0.5, abs=0.05)
    assert len(sent) - len(found) == pytest.approx((late_s + 0.5) * HZ, abs=5.0)
    assert clock.laid_anew == 1
    assert not clock.steps


@pytest.mark.parametrize("hole_s", [200.0, 200.37])
def test_a_minute_after_a_hole_the_line_is_that_of_who_heard_all(hole_s: float) -> None:
    """A case brought back skips what lies between its scans, and must find the map of before bit for bit."""
    began_s = (
        1.7e9  # Unix seconds, which float64 resolves to 0.2 us: what is left after a minute is far below
    )
    sent = began_s + times(300.0)
    stamps = sent * (1.0 + 1e-4) - 1e-4 * began_s + 37.0
    arrivals = np.maximum.accumulate(sent + delays(len(sent)))
    whole = played(PeerClock(own=True), stamps, arrivals)
    heard = (sent - sent[0] < 20.0) | (sent - sent[0] > 20.0 + hole_s)
    part = played(PeerClock(own=True), stamps[heard], arrivals[heard])
    rows = np.flatnonzero(heard)
    late = [i for i in part if sent[rows[i]] - sent[0] > 20.0 + hole_s + 60.0]
    assert len(late) > 900
    assert [part[i] for i in late] == [whole[int(rows[i])] for i in late]


def test_the_same_stamp_is_the_same_time_however_late() -> None:
    sent = times(30.0)
    stamps = sent * (1.0 + 2e-4) + 37.0
    clock: PeerClock[int] = PeerClock(own=True)
    found = played(clock, stamps, sent + delays(len(sent)))
    again = [clock.take(float(stamps[i]), float(sent[-1]) + 0.01, -1)[-1].t_s for i in range(-4, 0)]
    assert again == [found[i] for i in range(len(sent) - 4, len(sent))]
    assert (np.diff([found[i] for i in range(len(sent))]) > 0.0).all()


def test_sources_that_drift_apart_show_it() -> None:
    sent = times(120.0, 10.0)
    clock: PeerClock[int] = PeerClock()
    played(clock, sent * (1.0 - 2e-4), sent + delays(len(sent)))
    # Known after 10 s; 200 ppm of the 110 s since are 22 ms.
    assert clock.departure_s == pytest.approx(0.022, abs=2e-3)


def test_a_clock_gone_mad_fills_no_memory() -> None:
    clock: PeerClock[int] = PeerClock()
    rng = np.random.default_rng(1)
    came = 0
    for i in range(3 * MOST_HELD):
        came += len(clock.take(1000.0 + float(rng.uniform(-1e4, 1e4)), 1000.0 + 0.001 * i, i))
        assert len(clock._held) <= MOST_HELD + 1
    assert len(clock.steps) <= MOST_STEPS
    assert came + clock.refused + len(clock._held) == 3 * MOST_HELD


def test_a_frozen_stamp_is_never_taken_for_a_step() -> None:
    clock: PeerClock[int] = PeerClock()
    for t in times(5.0):
        clock.take(float(t), float(t) + 1e-3, 0)
    for t in times(60.0) + 5.0:
        clock.take(BEGIN_S + 4.98, float(t) + 1e-3, 0)
    assert not clock.steps


def test_the_envelope_is_the_line_under_the_delays() -> None:
    envelope = DelayEnvelope()
    assert envelope.at(0.0) is None
    rng = np.random.default_rng(4)
    for i in range(3000):  # one minute; the least delay grows by 1e-4 s/s from 1 ms
        arrival = 0.02 * i
        envelope.add(arrival, 1e-3 + 1e-4 * arrival + rng.exponential(5e-3))
    assert envelope.calm
    assert envelope.drift == pytest.approx(1e-4, abs=2e-5)
    assert envelope.at(60.0) == pytest.approx(7e-3, abs=3e-4)
    assert 0.0 < envelope.spread_s < 1e-3


def test_a_time_line_is_continuous_and_never_steered_hard() -> None:
    line = TimeLine()
    line.steer(0.0, 10.0, 0.0)
    assert line.to_ours(-1.0) == 9.0
    line.steer(1.0, 10.5, 0.0)  # half a second off at once: 5 ms/s is all it gives
    assert line.to_ours(1.0) == 11.0
    assert line.to_ours(3.0) == pytest.approx(13.0 + 2.0 * MOST_SLEW)
    line.steer(0.5, 99.0, 0.0)  # what was mapped stays
    assert line.to_ours(0.75) == 10.75
