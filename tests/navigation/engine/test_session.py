"""The state machine: the sequence of events alone decides what is computed from which readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from navigation.engine.events import COMMAND, RAW, TICK, EngineEvent, json_event
from navigation.engine.jobs import AnalyzeJob, BedJob, Job, TickJob
from navigation.engine.session import Session
from tests.navigation.engine.fakes import (
    EPOCH_S,
    counts_event,
    pose,
    pose_event,
    settings,
    stream,
)
from tracking.errors import InputError
from tracking.igtl.codec import decode, encode
from tracking.igtl.counts import counts_sensor_message
from tracking.sample import CountSample, PoseStatus, Readings

START_S = EPOCH_S + 10.0


def command(do: str, **content: object) -> EngineEvent:
    return json_event("user", 0.0, COMMAND, {"do": do, **content})


def tick(scan: str = "scan-1") -> EngineEvent:
    return json_event("engine", 0.0, TICK, {"scan": scan})


def play(session: Session, events: Iterable[EngineEvent]) -> list[Job]:
    return [job for event in events for job in session.handle(event)]


def scanned(events: Iterable[EngineEvent]) -> tuple[Session, Readings]:
    """All readings of one scan over the events, ticked every 40 events."""
    session = Session(settings())
    session.handle(command("start", mode="scan", name="scan-1"))
    parts: list[Readings] = []
    for i, event in enumerate(events):
        jobs = session.handle(event)
        jobs += session.handle(tick()) if i % 40 == 39 else []
        parts += [job.batch for job in jobs if isinstance(job, TickJob)]
    parts += [job.batch for job in session.handle(command("stop")) if isinstance(job, TickJob)]
    return session, Readings.joined(parts)


def test_counts_land_on_the_path_with_times_since_the_reference_time() -> None:
    _, readings = scanned(stream(3.0))
    # 3 s less the last tracker interval hold 29 whole intervals, none of them before the first pose.
    assert len(readings) == 29
    assert readings.unplaced == 0
    # The first interval is 10.0 to 10.1 s after the epoch; at its middle the probe is at 20 mm/s * 0.05 s.
    assert readings.t_s[0] == pytest.approx(10.05, abs=1e-6)
    assert readings.mid_poses[0, 0, 3] == pytest.approx(1.0, abs=0.2)
    # The tip lies 100 mm along the marker's z axis.
    assert readings.mid_poses[0, 2, 3] == pytest.approx(100.0, abs=1e-3)


def test_the_same_sequence_gives_the_same_batches_bit_for_bit() -> None:
    _, once = scanned(stream(3.0))
    _, again = scanned(stream(3.0))
    assert np.array_equal(once.poses, again.poses)
    assert np.array_equal(once.counts, again.counts)


def test_poses_that_are_no_poses_change_nothing() -> None:
    broken = [np.full((4, 4), np.nan), np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0])]

    def poisoned() -> Iterable[EngineEvent]:
        for i, event in enumerate(stream(3.0)):
            yield event
            if i % 50 == 0:
                yield pose_event("ProbeToTracker", event.arrival_s + 0.001, broken[i // 50 % 3])

    session, readings = scanned(poisoned())
    _, clean = scanned(stream(3.0))
    assert session.hub.buffer.track("ProbeToTracker").refused.total() > 5
    # The frames' times make the gaps between good poses no longer: every interval is still placed.
    assert len(readings) == len(clean)
    assert np.isfinite(readings.poses).all()


def test_counts_while_the_probe_is_hidden_are_tallied_not_placed() -> None:
    def occluded() -> Iterable[EngineEvent]:
        for event in stream(3.0):
            name = event.payload[14:34].rstrip(b"\0")
            if name == b"ProbeToTracker" and START_S + 1.0 <= event.arrival_s < START_S + 2.0:
                yield pose_event("ProbeToTracker", event.arrival_s, np.eye(4), PoseStatus.OUT_OF_VIEW)
            else:
                yield event

    session, readings = scanned(occluded())
    # Of 29 intervals the 10 hidden ones, and at most the two that reach into the gap, find no place.
    assert 10 <= session.scans["scan-1"].unplaced <= 12
    assert len(readings) == 29 - session.scans["scan-1"].unplaced
    assert not ((readings.t_s > 11.06) & (readings.t_s < 11.94)).any()


def test_the_reference_hidden_counts_as_hidden() -> None:
    def occluded() -> Iterable[EngineEvent]:
        for event in stream(2.0):
            name = event.payload[14:34].rstrip(b"\0")
            if not (name == b"ReferenceToTracker" and event.arrival_s > START_S + 1.0):
                yield event

    session, _ = scanned(occluded())
    assert session.scans["scan-1"].unplaced >= 9


def test_a_source_may_only_send_what_it_is_for() -> None:
    session = Session(settings())
    session.handle(counts_event(1, START_S, 5.0, 5.0, source="tracker"))
    session.handle(EngineEvent("stranger", 0.0, "raw", pose_event("ProbeToTracker", 1.0, pose(0.0)).payload))
    session.handle(EngineEvent("tracker", 0.0, "raw", b"rubbish"))
    assert session.counts.last is None
    assert session.tools.newest_t_s("Probe") is None
    assert session.hub.refused == {"tracker": 2, "stranger": 1}


def test_outlining_keeps_touched_points_apart() -> None:
    session = Session(settings())
    session.handle(command("start", mode="surface"))
    play(session, stream(3.0))
    session.handle(command("stop"))
    points = session.touched["surface"].points_mm
    assert points is not None
    # 60 mm at 4 mm apart: 15 points, one more or less at the ends.
    assert len(points) == pytest.approx(15, abs=1)
    assert np.diff(points[:, 0]).min() > 3.99  # float32 on the wire


def test_a_stylus_that_is_not_seen_touches_nothing() -> None:
    session = Session(replace(settings(), continuous_touch=False))
    session.handle(command("start", mode="surface"))
    messages = list(stream(2.0))
    play(session, messages)
    last_s = max(event.arrival_s for event in messages)
    touch = command("touch")
    session.handle(replace(touch, arrival_s=last_s + 0.1))
    assert len(session.touched["surface"]) == 1
    with pytest.raises(InputError, match="not seen"):
        session.handle(replace(touch, arrival_s=last_s + 1.0))
    assert len(session.touched["surface"]) == 1


def test_commands_that_make_no_sense_are_refused() -> None:
    session = Session(settings())
    for bad in (
        command("fly"),
        command("start", mode="scan"),
        command("start", mode="dance"),
        command("analyze", scan="scan-9"),
        command("touch"),
        command("check_bed", scan="scan-1", threshold_kbq=4.0, confidence=0.95, depth_mm=10.0),
    ):
        with pytest.raises(InputError):
            session.handle(bad)
    assert session.mode == "idle"


def test_a_name_is_scanned_once() -> None:
    session, _ = scanned(stream(1.0))
    with pytest.raises(InputError, match="scan-1"):
        session.handle(command("start", mode="scan", name="scan-1"))


def test_analysis_and_bed_check_carry_what_they_rest_on() -> None:
    session, _ = scanned(stream(1.0))
    (analysis,) = session.handle(command("analyze", scan="scan-1"))
    assert isinstance(analysis, AnalyzeJob)
    assert analysis.samples_total == 9
    session.handle(command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]))
    (check,) = session.handle(
        command("check_bed", scan="scan-1", threshold_kbq=4.0, confidence=0.95, depth_mm=10.0)
    )
    assert isinstance(check, BedJob)
    assert check.bed.points_mm.shape == (3, 3)
    assert check.basis.simulated


def test_a_kilohertz_counter_gives_ten_readings_a_second() -> None:
    fast = [
        EngineEvent("probe", t_s, RAW, encode(counts_sensor_message(sample)))
        for i in range(1, 3001)
        for t_s in [START_S + i * 1e-3]
        for sample in [CountSample(t_s, i, 1.0, 1e-3, float(i), i * 1e-3)]
    ]
    poses = [e for e in stream(3.1) if e.source == "tracker"]
    session, readings = scanned(sorted([*poses, *fast], key=lambda e: e.arrival_s))
    # 3 s in tenths of 100 counts each; a path seen from its first to beyond its last moment.
    assert readings.counts.tolist() == [100.0] * 30
    assert readings.unplaced == 0
    assert session.scans["scan-1"].placed == 30


def test_a_frame_in_which_the_probe_was_lost_stays_lost_on_disk() -> None:
    lost_s = START_S + 1.0
    events = [
        pose_event(m.device, m.t_s, np.eye(4), PoseStatus.MISSING)
        if m.device == "ProbeToTracker" and abs(m.t_s - lost_s) < 1e-3
        else e
        for e in stream(2.0)
        for m in [decode(e.payload)]
    ]
    session, _ = scanned(events)
    stamps, poses = session.scans["scan-1"].walked(session.tools)
    unseen = np.isnan(poses).any(axis=(1, 2))
    assert unseen.sum() == 1
    assert stamps[unseen][0] == pytest.approx(lost_s, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/tmp/x", "a/b", "a\nb", "a\0b", "record.gnav", "Study", "x.json"]
)
def test_a_scan_is_named_as_a_folder_can_be(name: str) -> None:
    session = Session(settings())
    with pytest.raises(InputError, match="scan name"):
        session.handle(command("start", mode="scan", name=name))
    assert session.mode == "idle"
    assert not session.scans
