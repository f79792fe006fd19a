"""Raw messages in, poses and counts out; rivals, strangers and rubbish are told (H01, H02, H38, H40)."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.counts import CountInterval
from tracking.hub import CLAIM_S, DeviceStats, Hub
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message, counts_string_message
from tracking.igtl.messages import string_message
from tracking.igtl.poses import pose_message
from tracking.inputs import ClockKind, Inputs, WorkingVolume
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


def test_a_source_that_changes_its_form_goes_on_counting() -> None:
    hub = Hub()
    intervals = [i for k in range(1, 11) for i in hub.handle(PROBE, 0.1 * k, count_bytes(k, sensor=k < 5))]
    assert [i.counts for i in intervals] == [10.0] * 10
    assert (hub.counts.gaps, hub.counts.restarts, hub.counts.duplicates) == (0, 0, 0)


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


def test_only_what_is_on_the_list_of_a_source_is_taken() -> None:
    hub = Hub({TRACKER: Inputs(counts=False, devices=("ProbeToTracker",))})
    for i in range(3):
        hub.handle(TRACKER, 100.0 + i, pose_bytes("ProbeToTracker", 100.0 + i))
        hub.handle(TRACKER, 100.0 + i, pose_bytes("ReferenceToTracker", 100.0 + i))
    assert hub.buffer.names == ("ProbeToTracker",)
    assert hub.refused[TRACKER] == 3
    assert [a.text for a in hub.alarms] == ["tracker may not send ReferenceToTracker: it is not on its list"]


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


@pytest.mark.parametrize("bridge", [True, False])
def test_a_set_clock_is_told_and_bridged(bridge: bool) -> None:
    hub = Hub(bridge_clock_steps=bridge)
    playing(hub)
    for i in range(31, 91):
        t = STEP_S * i
        hub.handle(TRACKER, t, pose_bytes("ProbeToTracker", t + 3600.0, x_mm=30.0 * t))
        if 0.78 < t < 0.98:  # half a second in which nothing is sure: shown as expired, never as live
            assert hub.judging
            assert not device(hub, "ProbeToTracker", t).valid
    assert not hub.judging
    assert [a.kind for a in hub.alarms] == ["clock"]
    assert "set by +3600" in hub.alarms[0].text
    assert bool(hub.buffer.track("ProbeToTracker").valid_at([0.8])[0]) is bridge
    assert hub.stats(1.5).clocks[0].steps == 1


def test_both_sources_of_one_host_are_bridged_alike() -> None:
    """Counts and poses keep their places to each other: the same shift to the last bit."""
    hub = Hub()
    intervals = []
    for i in range(1, 240):
        t = 5000.0 + STEP_S * i
        ahead = -3600.0 if t > 5002.0 else 0.0
        hub.handle(TRACKER, t + 1e-4, pose_bytes("ProbeToReference", t + ahead, x_mm=30.0 * (t - 5000.0)))
        if i % 6 == 0:
            raw = encode(counts_sensor_message(CountSample(t + ahead, i // 6, 7.0, 0.1, 7.0 * i / 6, t)))
            intervals += hub.handle(PROBE, t + 3e-4, raw)
    assert [a.kind for a in hub.alarms] == ["clock", "clock"]
    assert len(intervals) == 39
    ends = np.array([i.t_end_s for i in intervals])
    np.testing.assert_allclose(ends, 5000.0 + 0.1 * np.arange(1, 40), atol=3e-4)
    poses, valid = hub.buffer.tool_in_reference("Probe", ends[-5:])
    assert valid.all()
    # Both were bridged alike: places are those of the counts' ends, but for 0.3 ms at 30 mm/s.
    np.testing.assert_allclose(poses[:, 0, 3], 3.0 * np.arange(35, 40), atol=0.01)


def test_clocks_of_two_hosts_are_laid_on_ours() -> None:
    """Tracker 37 s ahead and 200 ppm fast, counter here: poses meet counts within 0.1 mm at 30 mm/s."""
    hub = Hub({TRACKER: Inputs(counts=False, clock=ClockKind.OWN), PROBE: Inputs(poses=False)})
    rng = np.random.default_rng(5)
    for i in range(1, 60 * 40):
        t = STEP_S * i
        raw = pose_bytes("ProbeToReference", 37.0 + t * (1.0 + 2e-4), x_mm=30.0 * t)
        hub.handle(TRACKER, t + 3e-4 + float(rng.exponential(2e-3)), raw)
        if i % 6 == 0:
            hub.handle(PROBE, t + 5e-4, count_bytes(i // 6))
    at = np.linspace(2.0, 39.0, 200)
    poses, valid = hub.buffer.tool_in_reference("Probe", at)
    assert valid.all()
    assert np.abs(poses[:, 0, 3] - 30.0 * at).max() < 0.1
    tracker, probe = hub.stats(40.0).clocks
    assert (tracker.kind, probe.kind) == (ClockKind.OWN, ClockKind.SHARED)
    assert tracker.offset_s == pytest.approx(-37.0 - 2e-4 * 40.0, abs=2e-3)
    assert tracker.drift_ppm == pytest.approx(200.0, abs=20.0)
    assert tracker.uncertainty_s < 3e-3
    assert not hub.alarms


def test_after_a_crash_a_clock_of_its_own_is_laid_on_the_clock_of_the_new_process() -> None:
    """Ours was set by 2 s while nobody ran: without a new look poses would lie 2 s before the counts."""
    hub = Hub({TRACKER: Inputs(counts=False, clock=ClockKind.OWN)})
    name = "ProbeToReference"
    for i in range(1, 60 * 80):
        t = STEP_S * i
        if i == 60 * 60:
            hub.resume()
        set_s = 2.0 if i >= 60 * 60 else 0.0
        hub.handle(TRACKER, t + set_s, pose_bytes(name, 37.0 + t, x_mm=30.0 * t))
    places, valid = hub.buffer.tool_in_reference("Probe", [50.0, 72.0])
    assert valid.all()
    # 30 mm/s of true time: at 72 s of the new clock 70 s have passed.
    assert places[:, 0, 3] == pytest.approx([1500.0, 2100.0], abs=0.1)


def test_a_counter_that_was_late_at_first_is_told_and_its_rate_stays() -> None:
    """A second late for its first two: the time that is told once only is no second's counts in half of one."""
    hub = Hub({PROBE: Inputs(poses=False, clock=ClockKind.OWN)})
    settled: list[CountInterval] = []
    for i in range(1, 100):
        t = 0.1 * i
        arrival_s = 3.0 + 1e-4 * i if 20 <= i < 30 else t + (1.0 if i < 20 else 0.0)
        settled += hub.handle(PROBE, arrival_s, count_bytes(i))
    assert [a.kind for a in hub.alarms] == ["clock"]
    assert "late until now" in hub.alarms[0].text
    assert [i.counts / i.window_s for i in settled] == pytest.approx([100.0] * len(settled))
    assert len({round(i.t_end_s, 3) for i in settled}) == len(settled) >= 75


def test_clocks_said_to_be_one_are_told_when_they_drift_apart() -> None:
    hub = Hub()
    for i in range(1, 1400):
        t = 0.1 * i
        hub.handle(TRACKER, t + 1e-3, pose_bytes("ProbeToTracker", t * (1.0 + 2e-4), x_mm=t))
        hub.handle(PROBE, t + 1e-3, count_bytes(i))
    # 20 ms at 200 ppm are 100 s, after the 10 s in which a drift is first known.
    (alarm,) = hub.alarms
    assert alarm.kind == "clock"
    assert "tracker and probe share no clock" in alarm.text
    assert 105.0 < alarm.arrival_s < 125.0


def test_the_same_message_again_and_again_is_not_fresh() -> None:
    """A stuck sender repeats its last message with its old stamp (H02)."""
    hub = Hub()
    playing(hub)
    hub.handle(PROBE, 0.5, count_bytes(5))
    for i in range(100):
        hub.handle(TRACKER, 0.5 + 0.01 * i, pose_bytes("ProbeToTracker", 0.5))
        hub.handle(PROBE, 0.5 + 0.01 * i, count_bytes(5))
    assert not device(hub, "ProbeToTracker", 1.5).valid
    assert not device(hub, "GammaProbe", 1.5).valid
    assert hub.counts.arrival_s == 0.5


@pytest.mark.parametrize("key", ["FrameNumber", "Seq"])
def test_frame_numbers_that_stand_still_are_a_frozen_driver(key: str) -> None:
    hub = Hub()
    for i in range(1, 61):
        t, number = STEP_S * i, min(i, 40)
        sample = PoseSample("ProbeToTracker", t, np.eye(4) + np.eye(4, k=3) * t, PoseStatus.OK)
        hub.handle(TRACKER, t, encode(pose_message(sample, {key: str(number)}, version=2)))
    track = hub.buffer.track("ProbeToTracker")
    assert track.stale == 20  # the matrices differ; the numbers tell, at once and back to the first repeat
    assert track.newest_t_s == pytest.approx(STEP_S * 40)
    assert not device(hub, "ProbeToTracker", 1.0).valid


def test_a_pose_outside_the_working_volume_is_refused() -> None:
    volume = WorkingVolume((-500.0, -500.0, -2400.0), (500.0, 500.0, -900.0))
    hub = Hub({TRACKER: Inputs(volume=volume)})
    for i, z_mm in enumerate((-1500.0, -1500.0, -899.0, -2401.0, float("nan"))):
        matrix = np.eye(4)
        matrix[:3, 3] = (1e-3 * i, 0.0, z_mm)
        for name in ("ProbeToTracker", "ProbeToReference"):
            raw = encode(pose_message(PoseSample(name, 0.1 * i, matrix, PoseStatus.OK), version=2))
            hub.handle(TRACKER, 0.1 * i, raw)
    assert hub.buffer.track("ProbeToTracker").refused == {"status OUT_OF_VOLUME": 2, "not finite": 1}
    assert hub.buffer.track("ProbeToReference").refused == {"not finite": 1}  # not in the tracker's frame


def test_a_sender_that_says_nothing_is_shown_as_unknown() -> None:
    hub = Hub()
    for i in range(1, 30):
        matrix = np.eye(4)
        matrix[0, 3] = i
        sample = PoseSample("ProbeToTracker", STEP_S * i, matrix)
        hub.handle(TRACKER, STEP_S * i, encode(pose_message(sample, version=1)))
    shown = device(hub, "ProbeToTracker", 0.5)
    assert (shown.valid, shown.word, shown.status) == (True, "OK", PoseStatus.UNKNOWN)


def test_a_stream_goes_on_after_a_hole_without_a_gap() -> None:
    hub = Hub()
    for i in (1, 2, 3):
        hub.handle(PROBE, 0.1 * i, count_bytes(i))
    hub.rejoin()
    assert hub.handle(PROBE, 0.31, count_bytes(3)) == ()  # taken before
    (interval,) = hub.handle(PROBE, 0.9, count_bytes(9))
    assert interval.counts == 10.0
    assert hub.stats(1.0).gaps == 0


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
