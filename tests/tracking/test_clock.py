"""Steps of a peer's clock are noticed; delays and bursts are not taken for steps (H07)."""

from __future__ import annotations

import pytest

from tracking.clock import MOST_STEPS, PeerClock

STEP_S = 0.02


def feed(
    clock: PeerClock, n: int, first: float, stamp_ahead_s: float = 0.0, delay_s: float = 0.001
) -> list[float]:
    """So many messages at 50 Hz from local time `first`, stamped ahead of it, delayed by `delay_s`."""
    times = [first + STEP_S * i for i in range(n)]
    return [clock.to_local(t + stamp_ahead_s, t + delay_s) for t in times]


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.15, -0.15])
def test_a_set_clock_is_noticed_and_bridged_on_request(step_s: float) -> None:
    plain, bridging = PeerClock(), PeerClock(bridge=True)
    feed(plain, 50, 100.0)
    feed(bridging, 50, 100.0)
    raw = feed(plain, 50, 101.0, stamp_ahead_s=step_s)
    bridged = feed(bridging, 50, 101.0, stamp_ahead_s=step_s)
    for clock in (plain, bridging):
        assert [s.step_s for s in clock.steps] == [pytest.approx(step_s, abs=1e-3)]
        assert clock.steps[0].arrival_s == pytest.approx(101.001)
    assert raw[0] == 101.0 + step_s  # raw stamps are never touched
    assert bridged[-1] == pytest.approx(101.98, abs=1e-6)


def test_a_stall_and_its_burst_are_no_step() -> None:
    clock = PeerClock(bridge=True)
    feed(clock, 50, 100.0)
    stamps = [101.0 + STEP_S * i for i in range(50)]
    out = [clock.to_local(t, 102.0 + 1e-4 * i) for i, t in enumerate(stamps)]  # one second late, all at once
    assert out == stamps
    assert not clock.steps


def test_silence_is_no_step() -> None:
    clock = PeerClock()
    feed(clock, 50, 100.0)
    feed(clock, 50, 140.0)  # an occlusion of 39 s
    assert not clock.steps


def test_small_reordering_is_no_step() -> None:
    clock = PeerClock()
    for stamp in (1.0, 1.06, 1.02, 1.04, 1.08):
        clock.to_local(stamp, 1.1)
    assert not clock.steps


def test_offset_is_that_of_the_least_delayed_message() -> None:
    clock = PeerClock()
    assert clock.offset_s is None
    for i, delay in enumerate([0.03, 0.004, 0.2, 0.01]):
        clock.to_local(10.0 + 0.1 * i, 1010.0 + 0.1 * i + delay)
    assert clock.offset_s == pytest.approx(1000.004)
    for i in range(200):  # the quick one leaves the window of 10 s
        clock.to_local(11.0 + 0.1 * i, 1011.0 + 0.1 * i + 0.02)
    assert clock.offset_s == pytest.approx(1000.02)


def test_a_clock_gone_mad_does_not_fill_the_memory() -> None:
    clock = PeerClock()
    for i in range(3 * MOST_STEPS):
        clock.to_local(1000.0 * (i % 2), float(i))
    assert len(clock.steps) == MOST_STEPS
