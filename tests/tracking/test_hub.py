"""Raw messages in, poses and counts out; rivals, strangers and rubbish are told (H01, H02, H38, H40)."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.hub import CLAIM_S, DeviceStats, Hub, Inputs
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message, counts_string_message
from tracking.igtl.messages import string_message
from tracking.igtl.poses import pose_message
from tracking.sample import CountSample, PoseSample, PoseStatus

TRACKER, PROBE = "tracker", "probe"
STEP_S = 1 / 60


def pose_bytes(name: str, t_s: float, status: PoseStatus = PoseStatus.OK, x_mm: float | None = None) -> bytes:
    matrix = np.eye(4)
    matrix[0, 3] = 30.0 * t_s if x_mm is None else x_mm
    return encode(pose_message(PoseSample(name, t_s, matrix, status), version=2))


def count_bytes(i: int, sensor: bool = True) -> bytes:
    """Interval i of a counter that sees 10 counts each 0.1 s."""
    sample = CountSample(0.1 * i, i, 10.0, 0.1, 10.0 * i, 0.1 * i)
    return encode(counts_sensor_message(sample) if sensor else counts_string_message(sample))


def playing(hub: Hub, n: int = 30, start: int = 1) -> None:
    for i in range(start, start + n):
        t = STEP_S * i
        hub.handle(TRACKER, t, pose_bytes("ProbeToTracker", t))
        hub.handle(TRACKER, t, pose_bytes("ReferenceToTracker", t))


def device(hub: Hub, name: str, now_s: float) -> DeviceStats:
    return next(d for d in hub.stats(now_s).devices if d.name == name)


def test_poses_and_counts_find_their_place() -> None:
    hub = Hub()
    playing(hub)
    intervals = [i for k in (1, 2, 3) for i in hub.handle(PROBE, 0.1 * k, count_bytes(k))]
    assert [i.counts for i in intervals] == [10.0, 10.0, 10.0]
    poses, valid = hub.buffer.tool_in_reference("Probe", [0.25])
    assert valid.all()
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-5)  # both move alike; float32 on the wire
    assert device(hub, "ProbeToTracker", 0.5).valid
    assert device(hub, "ProbeToTracker", 0.5).interval_s == pytest.approx(STEP_S, abs=1e-6)
    assert device(hub, "GammaProbe", 0.4).valid
    assert not hub.alarms


def test_both_forms_of_counts_are_the_same() -> None:
    forms = [[Hub().handle(PROBE, 0.1, count_bytes(1, sensor))] for sensor in (True, False)]
    assert forms[0] == forms[1]


def test_devices_expire() -> None:
    hub = Hub()
    playing(hub)  # the newest pose arrived at 0.5
    hub.handle(PROBE, 0.5, count_bytes(5))
    assert device(hub, "ProbeToTracker", 0.74).valid
    assert not device(hub, "ProbeToTracker", 0.76).valid
    assert device(hub, "GammaProbe", 0.74).valid
    assert not device(hub, "GammaProbe", 0.76).valid  # 2.5 intervals of 0.1 s


def test_a_tool_that_is_disowned_or_frozen_is_shown_as_such() -> None:
    hub = Hub()
    playing(hub)
    for i in range(31, 61):
        hub.handle(TRACKER, STEP_S * i, pose_bytes("ProbeToTracker", STEP_S * i, PoseStatus.OUT_OF_VIEW))
        hub.handle(TRACKER, STEP_S * i, pose_bytes("ReferenceToTracker", STEP_S * i, x_mm=15.0))
    probe, reference = device(hub, "ProbeToTracker", 1.0), device(hub, "ReferenceToTracker", 1.0)
    assert (probe.valid, probe.word) == (False, "status OUT_OF_VIEW")
    assert (reference.valid, reference.word) == (False, "frozen repeat")
    assert probe.refused["status OUT_OF_VIEW"] == 30


def test_a_rival_is_refused_and_told_once() -> None:
    hub = Hub()
    playing(hub)
    for i in range(31, 61):
        hub.handle(TRACKER, STEP_S * i, pose_bytes("ProbeToTracker", STEP_S * i))
        hub.handle("other", STEP_S * i, pose_bytes("ProbeToTracker", STEP_S * i + 1e-3, x_mm=-500.0))
    assert hub.refused == {"other": 30}
    assert [(a.kind, a.text) for a in hub.alarms] == [
        ("rival", "ProbeToTracker comes from tracker, now also other")
    ]
    poses, valid = hub.buffer.track("ProbeToTracker").sample(np.linspace(0.5, 0.99, 50))
    assert valid.all()
    assert (poses[:, 0, 3] > 0.0).all()  # none of the rival's -500


def test_a_second_counter_is_a_rival_too() -> None:
    hub = Hub()
    hub.handle(PROBE, 0.1, count_bytes(1))
    assert hub.handle("other", 0.15, count_bytes(2)) == ()
    assert hub.alarms[0].kind == "rival"
    assert hub.counts.last is not None
    assert hub.counts.last.seq == 1


def test_a_name_is_free_again_after_silence() -> None:
    hub = Hub()
    playing(hub)
    late = 0.5 + CLAIM_S + 0.01
    hub.handle("other", late, pose_bytes("ProbeToTracker", late))
    assert not hub.alarms
    assert device(hub, "ProbeToTracker", late).source == "other"


def test_a_source_sends_only_what_it_may() -> None:
    hub = Hub({TRACKER: Inputs(poses=True, counts=False), PROBE: Inputs(poses=False, counts=True)})
    hub.handle(TRACKER, 0.1, count_bytes(1))
    hub.handle(PROBE, 0.1, pose_bytes("ProbeToTracker", 0.1))
    hub.handle("stranger", 0.1, pose_bytes("ProbeToTracker", 0.1))
    assert hub.counts.last is None
    assert len(hub.buffer.track("ProbeToTracker")) == 0
    assert [a.text for a in hub.alarms] == [
        "tracker may not send GammaProbe",
        "probe may not send ProbeToTracker",
        "stranger may not send ProbeToTracker",
    ]


def test_rubbish_is_counted_and_changes_nothing() -> None:
    hub = Hub()
    playing(hub)
    broken = bytearray(pose_bytes("ProbeToTracker", 0.6))
    broken[-1] ^= 1  # the CRC no longer fits
    hub.handle(TRACKER, 0.6, bytes(broken))
    hub.handle(TRACKER, 0.6, b"not a message")
    hub.handle(PROBE, 0.6, encode(string_message("GammaProbe", '{"seq": 1}', 0.6)))
    hub.handle(PROBE, 0.6, encode(string_message("Greeting", "hello", 0.6)))  # no input of ours: ignored
    assert hub.refused == {TRACKER: 2, PROBE: 1}
    assert len(hub.buffer.track("ProbeToTracker")) == 30


def test_gaps_and_restarts_are_told() -> None:
    hub = Hub()
    for i in (1, 2, 6, 7, 8, 9):
        hub.handle(PROBE, 0.1 * i, count_bytes(i))
    hub.handle(PROBE, 5.0, encode(counts_sensor_message(CountSample(5.0, 1, 3.0, 0.1, 3.0, 0.1))))
    stats = hub.stats(5.0)
    assert (stats.gaps, stats.missing, stats.restarts) == (1, 3, 1)
    assert [a.kind for a in hub.alarms] == ["gap", "restart"]


def test_a_set_clock_is_told_and_bridged_on_request() -> None:
    for bridge in (False, True):
        hub = Hub(bridge_clock_steps=bridge)
        playing(hub)
        for i in range(31, 61):
            t = STEP_S * i
            hub.handle(TRACKER, t, pose_bytes("ProbeToTracker", t + 3600.0, x_mm=30.0 * t))
        assert [a.kind for a in hub.alarms] == ["clock"]
        assert "set by +3600" in hub.alarms[0].text
        assert bool(hub.buffer.track("ProbeToTracker").valid_at([0.8])[0]) is bridge


def test_the_same_sequence_gives_the_same_state() -> None:
    first, second = Hub(), Hub()
    rng = np.random.default_rng(3)
    sequence = [(TRACKER, pose_bytes("ProbeToTracker", STEP_S * i)) for i in range(1, 200)]
    sequence += [(PROBE, count_bytes(i)) for i in range(1, 30)]
    order = rng.permutation(len(sequence))
    for hub in (first, second):
        for arrival, k in enumerate(order):
            hub.handle(sequence[k][0], 0.01 * arrival, sequence[k][1])
    t = np.linspace(0.0, 3.3, 500)
    np.testing.assert_array_equal(
        first.buffer.track("ProbeToTracker").sample(t)[0], second.buffer.track("ProbeToTracker").sample(t)[0]
    )
    assert first.stats(9.0) == second.stats(9.0)
    assert list(first.alarms) == list(second.alarms)
