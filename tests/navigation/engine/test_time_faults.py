"""Faults of time in a whole scan: simulated instruments, the session, the real reconstruction (H01-H09, T09)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from navigation.engine.events import TICK, EngineEvent, json_event
from navigation.engine.jobs import Job, TickJob
from navigation.engine.session import Session
from navigation.engine.view import REFERENCE_MOVED, Viewer
from navigation.engine.words import status_words
from navigation.volume import ScanResult
from tests.navigation.engine.fakes import EPOCH_S, bumped, pose, pose_event, stream
from tests.navigation.engine.fakes import settings as fake_settings
from tests.navigation.engine.room_stream import (
    PROBE,
    SCAN,
    SCAN_S,
    TRACKER,
    Scanned,
    begin_s,
    command,
    delivered,
    scanned,
    sent,
)
from tracking.errors import InputError
from tracking.igtl.codec import decode
from tracking.igtl.poses import poses_from_message
from tracking.inputs import ClockKind
from tracking.sample import CountSample, PoseStatus, Readings

# The figures of the hazard table (T09).
LATEST_S, TWICE_SHARE, LOST_SHARE = 0.2, 0.05, 0.1
SPOT_MM = 0.1
STEP_S = 3600.0
# Nothing is on its way when the scan is started and stopped: what is belongs to neither.
EDGE_S = 0.3
# Ways in which a pose is none, and what is said of them.
BAD = ("nan", "inf", "denormal", "zero", "scale", "shear", "mirror", "far")
REASONS = (
    "not finite",
    "rotation part is not orthonormal",
    "rotation part is mirrored",
    "translation beyond 10 m",
)


@pytest.fixture(scope="module")
def faultless() -> Scanned:
    return scanned(delivered())


@pytest.fixture(scope="module")
def expected(faultless: Scanned) -> ScanResult:
    return faultless.result()


def moved_mm(result: ScanResult, expected: ScanResult) -> float:
    """By how much the spot that moved most did; the spots must be the same ones."""
    assert len(result.spots) == len(expected.spots) >= 1
    pairs = zip(result.spots, expected.spots, strict=True)
    return max(float(np.linalg.norm(a.position_mm - b.position_mm)) for a, b in pairs)


def late(seed: int, share: float) -> NDArray[np.float64]:
    """Lateness (n,) of up to 200 ms for a share of the messages, none at the edges of the scan."""
    rng = np.random.default_rng(seed)
    n = len(sent())
    found = np.where(rng.random(n) < share, rng.uniform(0.0, LATEST_S, n), 0.0)
    t = np.array([message.t_s for message in sent()])
    for edge in (begin_s(), begin_s() + SCAN_S + 0.5, float(t[-1]) + 1e-3):
        found[(t > edge - EDGE_S) & (t < edge)] = 0.0
    return found


def assert_same_readings(found: Scanned, expected: Scanned) -> None:
    a, b = found.readings, expected.readings
    for name in ("t_s", "counts", "live_s", "poses", "weights", "first"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.unplaced == b.unplaced


def places(readings: Readings) -> NDArray[np.float64]:
    """Mean tip position (n, 3) of each reading."""
    weighted = readings.poses[:, :3, 3] * readings.weights[:, None]
    return np.asarray(np.add.reduceat(weighted, readings.first[:-1]))


def counts_in(scan: Scanned) -> tuple[float, float]:
    """Counts placed and unplaced."""
    state = scan.session.scans[SCAN]
    return float(scan.readings.counts.sum()), state.unplaced_counts


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_reordered_and_repeated_messages_give_the_same_map(
    share: float, faultless: Scanned, expected: ScanResult
) -> None:
    rng = np.random.default_rng(11)
    again = rng.random(len(sent())) < TWICE_SHARE
    again[-100:] = False  # so that all have come by the end
    found = scanned(delivered(late_s=late(11, share), again=again))
    assert_same_readings(found, faultless)
    if share == 1.0:
        result = found.result()
        np.testing.assert_array_equal(result.map.activity, expected.map.activity)
        assert moved_mm(result, expected) == 0.0
    hub = found.session.hub
    twice = hub.counts.duplicates + sum(
        hub.buffer.track(name).refused["duplicate"] for name in hub.buffer.names
    )
    assert twice == again.sum()
    assert not hub.alarms


def test_an_orderly_stream_does_not_wait_for_late_messages(faultless: Scanned) -> None:
    """Each tick of 0.3 s places three readings: only those whose poses are still to come wait."""
    sizes = [len(batch) + batch.unplaced for batch in faultless.batches[2:20]]
    assert np.mean(sizes) == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("who", [(TRACKER,), (PROBE,), (TRACKER, PROBE)], ids=" and ".join)
@pytest.mark.parametrize("step_s", [STEP_S, -STEP_S, 0.15, -0.15])
def test_a_clock_set_in_the_middle_of_a_scan_moves_no_spot(
    who: tuple[str, ...], step_s: float, faultless: Scanned, expected: ScanResult
) -> None:
    at_s = begin_s() + 9.03

    def set_clock(t_s: float) -> float:
        return t_s + (step_s if t_s >= at_s else 0.0)

    found = scanned(delivered(dict.fromkeys(who, set_clock)))
    assert [a.kind for a in found.session.hub.alarms] == ["clock"] * len(who)
    # Nothing is lost, and no place is off by more than the least delays differ: below 2 ms at 50 mm/s. (A
    # reading that is cut into more pieces averages the tracker's noise over other frames.)
    np.testing.assert_array_equal(found.readings.counts, faultless.readings.counts)
    cut = np.diff(found.readings.first) != np.diff(faultless.readings.first)
    assert cut.sum() <= 5
    off = np.linalg.norm(places(found.readings) - places(faultless.readings), axis=1)
    assert off[~cut].max() < 0.1
    if step_s == STEP_S:
        assert moved_mm(found.result(), expected) < SPOT_MM


def test_a_tracker_on_another_host_moves_no_spot(faultless: Scanned, expected: ScanResult) -> None:
    """37 s away and drifting by 200 ppm; the counter is on this computer."""

    def drifting(t_s: float) -> float:
        return t_s + 37.0 + 2e-4 * (t_s - begin_s())

    found = scanned(delivered({TRACKER: drifting}), {TRACKER: ClockKind.OWN})
    assert len(found.readings) == len(faultless.readings)
    assert moved_mm(found.result(), expected) < SPOT_MM
    (tracker, _) = found.session.hub.stats(begin_s() + SCAN_S).clocks
    assert tracker.drift_ppm == pytest.approx(200.0, abs=20.0)
    assert tracker.offset_s == pytest.approx(-37.0 - 2e-4 * SCAN_S, abs=2e-3)
    shown = status_words(Viewer(found.session).snapshot(begin_s() + SCAN_S))["sources"][TRACKER]
    assert shown["clock"] == "own"
    assert shown["offset_s"] == pytest.approx(tracker.offset_s, abs=1e-3)
    assert shown["offset_uncertainty_s"] < 0.003


def test_loss_only_lowers_the_exposure(faultless: Scanned) -> None:
    rng = np.random.default_rng(5)
    found = scanned(delivered(lost=rng.random(len(sent())) < LOST_SHARE))
    readings, whole = found.readings, faultless.readings
    assert 0.1 < readings.live_s.sum() / whole.live_s.sum() < 0.9
    # What is placed lies where the probe was: the same places as without loss, where the windows are the same.
    _, here, there = np.intersect1d(
        readings.t_s.round(4), whole.t_s.round(4), assume_unique=True, return_indices=True
    )
    assert len(here) > 20
    np.testing.assert_array_equal(readings.counts[here], whole.counts[there])
    assert np.linalg.norm(places(readings)[here] - places(whole)[there], axis=1).max() < 1e-9
    # Counts are cumulative on the wire: placed and unplaced add up to all that the counter counted.
    first, last = (found.session.scans[SCAN].intervals[i] for i in (0, -1))
    counted = sum(
        m.sample.counts
        for m in sent()
        if isinstance(m.sample, CountSample)
        and first.t_end_s - first.window_s + 0.05 < m.t_s < last.t_end_s + 0.05  # to the nearest interval
    )
    assert sum(counts_in(found)) == counted
    assert found.session.hub.counts.lost_s == 0.0
    assert found.session.hub.counts.gaps > 10


def test_counts_go_on_when_the_tracker_is_lost(faultless: Scanned) -> None:
    """Its last message after 10 s of the scan: no count of later is placed, rate and totals go on (H01)."""
    gone_s = begin_s() + 10.0
    lost = np.array([m.source == TRACKER and m.t_s >= gone_s for m in sent()])
    found = scanned(delivered(lost=lost))
    session, whole = found.session, faultless.session
    latest = found.readings.t_s.max() + session.settings.epoch_s
    assert gone_s - 0.5 < latest < gone_s
    state = session.scans[SCAN]
    assert state.placed + state.unplaced == whole.scans[SCAN].placed + whole.scans[SCAN].unplaced
    assert sum(counts_in(found)) == sum(counts_in(faultless))
    assert counts_in(found)[1] > counts_in(faultless)[1]
    assert session.counts.last == whole.counts.last
    assert session.counts.rate_cps() == whole.counts.rate_cps()
    # Readings wait 0.6 s for poses that never come, not longer: a map a second old is shown as expired.
    ticks = [len(batch) + batch.unplaced for batch in found.batches]
    assert sum(ticks[:-1]) >= sum(ticks) - 8


def test_lost_tools_expire_and_counts_stay_fresh() -> None:
    """250 ms after the last pose no tool is live any more, 250 ms (2.5 intervals) after the last counts."""
    gone_s = begin_s() + 2.0
    messages = [e for e in delivered() if e.source == PROBE or e.arrival_s < gone_s]
    session = scanned([e for e in messages if e.arrival_s < begin_s() + 4.0]).session
    last = max(e.arrival_s for e in messages if e.source == TRACKER)
    assert session.tools.states(last + 0.24)["ProbeTipToReference"].valid
    assert not session.tools.states(last + 0.26)["ProbeTipToReference"].valid
    counts = session.counts
    assert counts.arrival_s is not None
    devices = {d.name: d for d in session.hub.stats(counts.arrival_s + 0.24).devices}
    assert devices["GammaProbe"].valid
    devices = {d.name: d for d in session.hub.stats(counts.arrival_s + 0.26).devices}
    assert not devices["GammaProbe"].valid


def spoiled(matrix: NDArray[np.float64], kind: str, size: float) -> NDArray[np.float64]:
    """A pose that is none any more, in one of the ways drivers know."""
    bad = matrix.copy()
    match kind:
        case "nan":
            bad[1, 2] = np.nan
        case "inf":
            bad[0, 3] = -np.inf
        case "denormal":
            bad[:3, :3] *= 1e-40
        case "zero":
            bad[:3] = 0.0
        case "scale":
            bad[:3, :3] *= 1.0 + size
        case "shear":
            bad[0, 1] += size
        case "mirror":
            bad[:3, 2] *= -1.0
        case "far":
            bad[2, 3] = 2e4 * (1.0 + size)
    return bad


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_bad_poses_are_all_refused_and_leave_no_trace(data: st.DataObject) -> None:
    """T06: between good poses of tool and reference, whatever they look like, wherever they come."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    kinds = data.draw(st.lists(st.sampled_from(BAD), min_size=1, max_size=4))
    share = data.draw(st.floats(0.02, 0.4))
    clean, mixed, bad = list(stream(2.5)), [], 0
    for event in clean:
        mixed.append(event)
        if event.source == TRACKER and rng.random() < share:
            name = str(rng.choice(["ProbeToTracker", "ReferenceToTracker"]))
            matrix = spoiled(pose(3.0), str(rng.choice(kinds)), float(rng.uniform(0.02, 1e3)))
            mixed.append(pose_event(name, event.arrival_s + float(rng.uniform(1e-4, 5e-3)), matrix))
            bad += 1
    session, readings = placed(mixed)
    _, expected = placed(clean)
    tracks = [session.hub.buffer.track(f"{tool}ToTracker") for tool in ("Probe", "Reference")]
    assert sum(track.refused.total() for track in tracks) == bad
    assert all(reason in REASONS for track in tracks for reason in track.refused)
    for name in ("t_s", "counts", "poses", "weights"):
        np.testing.assert_array_equal(getattr(readings, name), getattr(expected, name))


def placed(messages: list[EngineEvent]) -> tuple[Session, Readings]:
    """A scan over the stand-in stream, ticked every 50 messages."""
    session = Session(fake_settings())
    session.handle(command("start", mode="scan", name=SCAN))
    jobs: list[Job] = []
    for i, event in enumerate(messages):
        jobs += session.handle(event)
        jobs += session.handle(json_event("engine", 0.0, TICK, {"scan": SCAN})) if i % 50 == 49 else []
    jobs += session.handle(command("stop"))
    return session, Readings.joined([job.batch for job in jobs if isinstance(job, TickJob)])


def test_a_sender_without_a_status_is_shown_as_unknown() -> None:
    silent = [
        pose_event(e.payload[14:34].rstrip(b"\0").decode(), e.arrival_s, pose(i), PoseStatus.UNKNOWN)
        if e.source == TRACKER
        else e
        for i, e in enumerate(stream(1.0))
    ]
    session, readings = placed(silent)
    assert len(readings) >= 8  # usable: fresh, rigid, no frozen repeat
    tool = session.tools.states(silent[-1].arrival_s)["ProbeTipToReference"]
    assert (tool.valid, tool.status) == (True, "UNKNOWN")


def test_a_disowned_tool_is_shown_with_its_sender_s_word() -> None:
    session, _ = placed(list(stream(1.0)))
    last = 0.0
    for event in stream(1.5):
        if event.source == TRACKER and event.arrival_s > EPOCH_S + 11.0:
            last = event.arrival_s
            session.handle(pose_event("ProbeToTracker", last, np.eye(4), PoseStatus.OUT_OF_VIEW))
            session.handle(pose_event("ReferenceToTracker", last, pose(0.0, 1e-6 * (last % 1))))
    tool = session.tools.states(last)["ProbeTipToReference"]
    assert (tool.valid, tool.status) == (False, "OUT_OF_VIEW")


@pytest.mark.parametrize("tool", ["Probe", "Reference"])
def test_a_frozen_driver_places_no_count(tool: str) -> None:
    """Bit-identical poses for a second: unplaced back to the first repeat, of tool or reference (H02, H05)."""
    name, first, events = f"{tool}ToTracker", None, []
    for event in stream(3.0):
        if event.source == TRACKER and event.payload[14:34].rstrip(b"\0") == name.encode():
            t = event.arrival_s - EPOCH_S - 10.0
            first = event if first is None or not 1.0 <= t < 2.0 else first
            matrix = poses_from_message(decode(first.payload))[0].matrix
            events.append(pose_event(name, event.arrival_s, matrix))
        else:
            events.append(event)
    session, readings = placed(events)
    state = session.scans[SCAN]
    # 29 intervals of 3 s less the last frame's; those that reach into the frozen second find no place.
    assert len(readings) + state.unplaced == 29
    middle = readings.t_s - 10.0
    assert not ((middle > 0.96) & (middle < 2.04)).any()
    assert 10 <= state.unplaced <= 12
    assert state.unplaced_counts == 7.0 * state.unplaced
    assert session.hub.buffer.track(name).stale >= 58


def test_after_a_bump_of_the_reference_the_map_is_locked_until_it_is_confirmed() -> None:
    """H04: what was placed stays, nothing is added, no tool is shown, and a new scan follows a confirmation."""
    at_s = EPOCH_S + 10.0 + 8.0
    events = bumped(list(stream(24.0)), at_s)
    session = Session(fake_settings())
    viewer = Viewer(session)
    session.handle(command("start", mode="scan", name=SCAN))
    jobs: list[Job] = []
    shown: list[tuple[float, bool, bool]] = []
    for i, event in enumerate(events):
        jobs += session.handle(event)
        jobs += session.handle(json_event("engine", 0.0, TICK, {"scan": SCAN})) if i % 50 == 49 else []
        if i == 3200:
            session.handle(command("confirm_registration"))
        if i % 100 == 0 and i > 100:
            snapshot = viewer.snapshot(event.arrival_s)
            tool = snapshot.tools["ProbeTipToReference"]
            shown.append((event.arrival_s, tool.valid, REFERENCE_MOVED in snapshot.faults))
    jobs += session.handle(command("stop"))
    readings = Readings.joined([job.batch for job in jobs if isinstance(job, TickJob)])
    confirmed_s = events[3200].arrival_s
    assert at_s + 1.0 < confirmed_s < at_s + 10.0
    # All readings up to the bump are in, less the interval that ends with it; none of later, confirmed or not.
    latest = readings.t_s.max() + EPOCH_S
    assert at_s - 0.25 < latest < at_s + 0.1
    for t, valid, told in shown:
        if at_s + 0.7 < t < confirmed_s:
            assert (valid, told) == (False, True)
        elif t < at_s or t > confirmed_s + 0.1:
            assert (valid, told) == (True, False)
    assert [a.kind for a in session.hub.alarms] == ["bump"]


@pytest.mark.parametrize("moved", [True, False])
def test_a_bed_is_not_compared_over_a_reference_that_moved(moved: bool) -> None:
    """A new registration says that the reference moved; a confirmed one that it was the check marker."""
    session = Session(fake_settings())
    session.handle(command("points", what="surface", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]))
    session.handle(command("start", mode="scan", name=SCAN))
    for event in bumped(list(stream(16.0)), EPOCH_S + 18.0):
        session.handle(event)
    session.handle(command("stop"))
    registered = command("registration", id="new", matrix=np.eye(4).tolist())
    session.handle(registered if moved else command("confirm_registration"))
    assert len(session.touched["surface"]) == (0 if moved else 3)
    session.handle(command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]))
    check = command("check_bed", scan=SCAN, threshold_kbq=4.0, confidence=0.95, depth_mm=10.0)
    if moved:
        with pytest.raises(InputError, match="the reference was moved after"):
            session.handle(check)
    else:
        assert len(session.handle(check)) == 1
