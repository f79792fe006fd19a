"""Poses and counts merged into frames: every interval once, nothing invalid shown as a pose, in any portion."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.recording.scene import EPOCH_S, HIDDEN, messages, record, shifted
from tracking.hub import Hub
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message
from tracking.igtl.poses import pose_message
from tracking.recording import frames as module
from tracking.recording.frames import Frame, frames_of
from tracking.recording.phases import phases_of
from tracking.recording.reader import Event, Record
from tracking.sample import CountSample, PoseSample, PoseStatus


def raw(t_s: float, payload: bytes, source: str = "tracker") -> Event:
    return Event(1, t_s, source, "raw", payload)


def pose(t_s: float, x: float, status: PoseStatus = PoseStatus.OK, name: str = "ProbeToTracker") -> Event:
    return raw(t_s, encode(pose_message(PoseSample(name, t_s, shifted(x, 5.0, 1.0), status), version=2)))


def counter(ends: Iterable[float], window_s: float = 0.1) -> list[Event]:
    """Interval i holds i counts."""
    found, total = [], 0.0
    for i, end in enumerate(ends, start=1):
        total += i
        sample = CountSample(end, i, float(i), window_s, total, window_s * i)
        found.append(raw(end, encode(counts_sensor_message(sample)), "probe"))
    return found


def in_order(*events: Event) -> list[Event]:
    return sorted(events, key=lambda e: e.arrival_s)


def told(found: list[Frame]) -> list[tuple[float, float, float]]:
    return [(f.counts.t_s, f.counts.counts, f.counts.interval_s) for f in found if f.counts is not None]


def believed(events: list[Event]) -> list[tuple[float, float, float]]:
    """The intervals that the hub makes of the same messages."""
    hub = Hub()
    settled = [i for e in events for i in hub.handle(e.source, e.arrival_s, e.payload)]
    return [(i.t_end_s, i.counts, i.window_s) for i in (*settled, *hub.counts.flush())]


def test_one_frame_for_each_time_of_measurement(tmp_path: Path) -> None:
    found = list(frames_of(Record(record(tmp_path / "r.record")).events("raw")))
    assert len(found) == 200  # 4 s at 50 Hz: probe and reference share their stamps
    times = np.array([f.t_s for f in found]) - EPOCH_S
    np.testing.assert_allclose(times, 0.02 * np.arange(200), atol=1e-6)
    hidden = [f for f, t in zip(found, times, strict=True) if HIDDEN[0] + 1e-3 < t < HIDDEN[1] - 1e-3]
    assert len(hidden) == 14
    assert all(f.tools["ProbeToTracker"].status is PoseStatus.INVALID for f in hidden)
    assert all(np.array_equal(f.tools["ProbeToTracker"].matrix, np.eye(4)) for f in hidden)
    assert all(f.tools["ReferenceToTracker"].status is PoseStatus.UNKNOWN for f in found)
    # Intervals end at 0.1, 0.2 ... 3.9 s, each on a frame.
    assert [f.counts.seq for f in found if f.counts] == list(range(1, 40))


@pytest.mark.parametrize("status", [s for s in PoseStatus if not s.usable])
def test_a_plausible_matrix_that_is_not_ok_is_never_shown(status: PoseStatus) -> None:
    events = [pose(1.0 + 0.02 * i, 3.0 * i, status if i == 7 else PoseStatus.OK) for i in range(20)]
    found = list(frames_of(events))
    assert [f.tools["ProbeToTracker"].status for f in found] == [
        status if i == 7 else PoseStatus.OK for i in range(20)
    ]
    assert np.array_equal(found[7].tools["ProbeToTracker"].matrix, np.eye(4))


def test_what_is_no_rotation_is_invalid_though_it_says_ok() -> None:
    events = [pose(1.0 + 0.02 * i, 3.0 * i) for i in range(20)]
    bad = PoseSample("ProbeToTracker", 1.14, np.diag([2.0, 2.0, 2.0, 1.0]), PoseStatus.OK)
    events[7] = raw(1.14, encode(pose_message(bad, version=2)))
    tool = list(frames_of(events))[7].tools["ProbeToTracker"]
    assert tool.status is PoseStatus.INVALID
    assert np.array_equal(tool.matrix, np.eye(4))


def test_a_tool_at_other_times_is_interpolated_and_marked() -> None:
    probe = [pose(1.0 + 0.02 * i, 2.0 * i) for i in range(20)]
    stylus = [pose(1.01 + 0.02 * i, 4.0 * i, name="StylusToTracker") for i in range(20)]
    found = list(frames_of(in_order(*probe, *stylus)))
    assert len(found) == 40
    between = found[10].tools["StylusToTracker"]  # at 1.10 s, between 1.09 (x = 16) and 1.11 (x = 20)
    assert (between.status, between.measured) == (PoseStatus.OK, False)
    assert between.matrix[0, 3] == pytest.approx(18.0, abs=1e-3)
    assert found[11].tools["StylusToTracker"].measured
    # Nobody knows where the stylus was before its first pose.
    assert found[0].tools["StylusToTracker"].status is PoseStatus.INVALID


def test_a_frame_that_the_tool_alone_lacks_is_not_made_up() -> None:
    """The probe falls silent for one frame of the tracker: filled in, its gap of two intervals would be none."""
    reference = [pose(1.0 + 0.02 * i, 1.0 * i, name="ReferenceToTracker") for i in range(20)]
    probe = [pose(1.0 + 0.02 * i, 2.0 * i) for i in range(20) if i != 9]
    found = list(frames_of(in_order(*reference, *probe)))
    assert [i for i, f in enumerate(found) if f.tools["ProbeToTracker"].status is PoseStatus.INVALID] == [9]


def test_counts_faster_than_poses_get_frames_of_their_own() -> None:
    events = in_order(
        *(pose(10.0 + 0.05 * i, 2.0 * i) for i in range(21)), *counter(10.0 + 0.01 * np.arange(1, 101), 0.01)
    )
    found = list(frames_of(events))
    assert told(found) == believed(events)
    assert sum(f.counts.counts for f in found if f.counts) == 5050  # 1 + 2 + ... + 100
    own = [f for f in found if not f.tools]
    assert len(own) == 80  # of each five intervals one ends on a pose
    assert all(f.t_s == f.counts.t_s for f in own if f.counts)
    assert [f.t_s for f in found] == sorted(f.t_s for f in found)


def test_a_silent_tracker_loses_no_count() -> None:
    ends = 10.0 + 0.1 * np.arange(1, 600)
    events = in_order(*(pose(12.0 + 0.02 * i, 2.0 * i) for i in range(100)), *counter(ends))
    assert told(list(frames_of(events))) == believed(events)


def test_lost_messages_are_told_as_one_interval() -> None:
    events = [*(pose(10.0 + 0.02 * i, 2.0 * i) for i in range(200)), *counter(10.0 + 0.1 * np.arange(1, 40))]
    del events[210:214]
    events = in_order(*events)
    found = told(list(frames_of(events)))
    assert found == believed(events)
    assert sum(n for _, n, _ in found) == 39 * 40 / 2  # the missing ones are in the total


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from([0.005, 0.0166, 0.05, 0.7, 3.0]), max_size=60),
    windows=st.lists(st.sampled_from([0.001, 0.01, 0.1, 1.0]), min_size=1, max_size=80),
    batch=st.sampled_from([1, 7, 2048]),
)
def test_every_interval_in_exactly_one_frame(steps: list[float], windows: list[float], batch: int) -> None:
    stamps = 100.0 + np.cumsum(steps)
    ends, total, events = 100.0, 0.0, [pose(float(t), 2.0 * i) for i, t in enumerate(stamps)]
    for i, window in enumerate(windows, start=1):
        ends, total = ends + window, total + i
        sample = CountSample(ends, i, float(i), window, total, window * i)
        events.append(raw(ends, encode(counts_sensor_message(sample)), "probe"))
    events = in_order(*events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", batch)
        found = list(frames_of(events))
    assert told(found) == believed(events)
    assert [f.counts.seq for f in found if f.counts] == list(range(1, len(told(found)) + 1))
    assert sorted({round(f.t_s, 9) for f in found if f.tools}) == sorted(
        {round(t, 9) for t in stamps.tolist()}
    )


def test_the_portions_in_which_it_is_read_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [raw(t, payload, source) for source, t, payload in messages(30.0)]
    whole = list(frames_of(events))
    monkeypatch.setattr(module, "BATCH", 50)
    parts = list(frames_of(events))
    assert len(parts) == len(whole) == 1500
    for one, other in zip(parts, whole, strict=True):
        assert (one.t_s, one.counts, one.tools.keys()) == (other.t_s, other.counts, other.tools.keys())
        for name, tool in one.tools.items():
            assert np.array_equal(tool.matrix, other.tools[name].matrix)
            assert tool.status is other.tools[name].status


def test_a_stretch_has_its_counts_and_a_margin_of_poses(tmp_path: Path) -> None:
    source = Record(record(tmp_path / "r.record"))
    found = list(frames_of(source.events("raw"), phases_of(source)["scan-1"]))
    ends = np.array([f.counts.t_s for f in found if f.counts]) - EPOCH_S
    np.testing.assert_allclose(ends, 0.1 * np.arange(6, 26), atol=1e-6)  # windows wholly in 0.5 to 2.5 s
    assert found[0].t_s - EPOCH_S == pytest.approx(0.0, abs=1e-6)
    assert found[-1].t_s - EPOCH_S == pytest.approx(3.0, abs=0.02)
