"""What the room does over time: hands, dead time, decay, late counts, lost markers, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.simulate import SCENES, build_scene
from navigation.simulate.devices import COUNT_INTERVAL_S, Counter, Tracker
from navigation.simulate.room import OperatingRoom
from navigation.simulate.scenes import DEAD_TIME_S, HALF_LIFE_S
from tracking.errors import InputError
from tracking.sample import PoseStatus
from tracking.transform import invert_rigid, rigidity_fault

START_S = 600.0


def scanning(
    scene: str = "bed", seed: int = 1, phase: str = "scan-1", seconds: float = 10.0
) -> OperatingRoom:
    room = OperatingRoom(build_scene(scene, seed, probe_seed=0), START_S)
    room.command(phase, START_S, seconds)
    return room


def test_unknown_scene_and_phase_are_named() -> None:
    with pytest.raises(InputError, match="kitchen"):
        build_scene("kitchen", 0)
    room = OperatingRoom(build_scene("bed", 0, probe_seed=0))
    with pytest.raises(InputError, match="dance"):
        room.command("dance", 0.0)
    with pytest.raises(InputError, match="nothing has been resected"):
        room.command("touch-bed", 0.0)
    with pytest.raises(InputError, match="duration"):
        room.command("scan-1", 0.0, -3.0)


def test_equal_seeds_give_equal_worlds() -> None:
    times = np.linspace(START_S + 2.0, START_S + 9.0, 20)
    one, two, other = scanning(), scanning(), scanning(seed=2)
    assert np.array_equal(one.probe_in_body(times), two.probe_in_body(times))
    assert not np.allclose(one.probe_in_body(times), other.probe_in_body(times))
    first, second = (Counter(room, START_S) for room in (one, two))
    assert [first.measure() for _ in range(20)] == [second.measure() for _ in range(20)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bed_scene_is_as_specified(seed: int) -> None:
    patient = build_scene("bed", seed, probe_seed=0).patient
    lesion = patient.lesions[0]
    x, y, z = lesion.centre
    assert 14.5 < float(patient.body.skin(x, y)) - z < 20.5
    assert 90.0 <= lesion.activity_kbq <= 110.0
    after = patient.resected()
    assert [s.name for s in after.lesions] == [s.name for s in patient.lesions[1:]]
    for remnant in after.lesions:
        assert 6.0 <= remnant.activity_kbq <= 12.0
        assert remnant.activity_kbq == pytest.approx(patient.lesions[1].activity_kbq)
        # Behind the wall, by at most 5 mm: a sphere of that radius round its centre reaches the cavity.
        directions = np.random.default_rng(0).normal(size=(500, 3))
        reach = remnant.centre + 5.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        assert not after.body.inside(reach).all()


def test_some_beds_hold_a_remnant_and_some_none() -> None:
    kept = {bool(build_scene("bed", s, probe_seed=0).patient.resected().lesions) for s in range(12)}
    assert kept == {True, False}


def test_hot_neighbour_lies_beside_the_node() -> None:
    for seed in range(4):
        patient = build_scene("node", seed, probe_seed=0).patient
        (node,), (hot,) = patient.lesions, patient.others
        lateral = np.linalg.norm(node.centre[:2] - hot.centre[:2])
        assert 25.0 <= lateral <= 36.0
        assert 150.0 <= node.activity_kbq <= 300.0
        assert 10e3 <= hot.activity_kbq <= 30e3


@pytest.mark.parametrize(("phase", "seconds"), [("scan-1", 30.0), ("rescan", 20.0)])
def test_hand_moves_like_a_hand(phase: str, seconds: float) -> None:
    room = OperatingRoom(build_scene("bed", 1, probe_seed=0), START_S)
    if phase == "rescan":
        room.command("resect", START_S)
    room.command(phase, START_S, seconds)
    t = START_S + np.arange(1.2, seconds, 0.02)  # the first second is the approach
    poses = room.probe_in_body(t)
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / 0.02
    assert 20.0 <= np.median(speed) <= 30.0
    assert np.percentile(speed, 95) < 45.0
    body = room.patient_at(START_S + 1).body
    x, y, z = poses[:, :3, 3].T
    height = (z - body.surface(x, y)) * body.normal(x, y)[:, 2]
    # Never in the tissue; in the cavity the rim of the face keeps the centre off the wall.
    assert height.min() > -0.2
    assert height.max() < 6.5 if phase == "scan-1" else height.max() < 12.0
    cosine = -(body.normal(x, y) * poses[:, :3, 2]).sum(axis=1)
    assert np.degrees(np.arccos(cosine.min())) < (16.0 if phase == "scan-1" else 30.0)


def test_sweep_passes_over_the_check_source() -> None:
    room = scanning(phase="sweep", seconds=7.0)
    t = START_S + np.arange(1.2, 7.0, 0.05)
    near = np.linalg.norm(room.probe_in_body(t)[:, :3, 3] - room.scene.equipment.check_source.centre, axis=1)
    assert 10.0 < near.min() < 26.0
    speed = np.linalg.norm(np.diff(room.probe_in_body(t)[:, :3, 3], axis=0), axis=1) / 0.05
    assert 60.0 < np.percentile(speed, 75) < 125.0
    rates = [room.expected_counts(u, u + COUNT_INTERVAL_S) / COUNT_INTERVAL_S for u in t[::4]]
    assert max(rates) > 300.0
    # The source is put away with the end of the phase.
    assert room.expected_counts(START_S + 8.0, START_S + 8.1) < 0.2 * max(rates) * COUNT_INTERVAL_S


def test_activity_decays() -> None:
    # After its phase the hand rests, so that half a rate one half-life later is decay alone, and the slow
    # drift.
    room = scanning(seconds=2.0)
    now = START_S + 3.0
    both = np.array([now, now + HALF_LIFE_S])
    first, later = (room.rate_cps(np.array([t, t + 0.01]))[0] for t in both)
    gain = room.scene.equipment.mismatch.gain(both)
    assert first > 0.0
    assert later / first == pytest.approx(0.5 * gain[1] / gain[0], rel=1e-6)


def test_dead_time_is_not_paralysable() -> None:
    room = OperatingRoom(build_scene("node", 1, probe_seed=0), START_S)
    room.command("scan-1", START_S, 30.0)
    begins = START_S + np.arange(2.0, 28.0, 1.0)
    for begin in begins:
        t = begin + (np.arange(8) + 0.5) / 80.0
        rate = room.rate_cps(t)
        expected = (rate / (1.0 + rate * DEAD_TIME_S)).mean() * 0.1
        assert room.expected_counts(begin, begin + 0.1) == pytest.approx(expected, rel=1e-9)
    peak = max(room.expected_counts(b, b + 0.1) for b in begins)
    assert peak < 0.1 / DEAD_TIME_S


def test_counts_come_late_and_add_up() -> None:
    room = scanning()
    counter = Counter(room, START_S)
    samples = [counter.measure() for _ in range(80)]
    late = np.array([s.t_s - START_S - s.seq * COUNT_INTERVAL_S for s in samples])
    latency = room.scene.equipment.count_latency_s
    assert 0.06 <= latency <= 0.18
    # One-sided: never earlier than the latency; an exponential with mean 4 ms stays below 60 ms.
    assert (late > latency).all()
    assert late.max() < latency + 0.06
    assert [s.seq for s in samples] == list(range(1, 81))
    assert samples[-1].counts_total == sum(s.counts for s in samples)
    assert samples[-1].live_time_s == pytest.approx(8.0)


def test_counts_are_poisson() -> None:
    # 300 intervals at rest, mean m: the index of dispersion is 1 with an SD of sqrt(2 / 299) = 0.08.
    room = scanning(seconds=1.0)
    counter = Counter(room, START_S + 1.5)
    counts = np.array([counter.measure().counts for _ in range(300)])
    assert counts.var(ddof=1) / counts.mean() == pytest.approx(1.0, abs=0.33)


def test_tracker_noise_and_frames() -> None:
    room = scanning(seconds=20.0)
    equipment, patient = room.scene.equipment, room.scene.patient
    tracker = Tracker(room)
    errors = []
    for t in START_S + np.arange(2.0, 18.0, 0.05):
        probe, reference, stylus = tracker.measure(float(t))
        assert (probe.name, reference.name, stylus.name) == (
            "ProbeToTracker",
            "ReferenceToTracker",
            "StylusToTracker",
        )
        if probe.status is PoseStatus.OK and reference.status is PoseStatus.OK:
            assert rigidity_fault(probe.matrix) is None
            true = patient.T_reference_body @ room.probe_in_body(np.array([t]))[0]
            seen = invert_rigid(tracker.reference_in_tracker(float(t))) @ probe.matrix
            errors.append((seen @ equipment.T_probe_probetip)[:3, 3] - true[:3, 3])
    # 0.25 mm of the marker, and 0.3 degrees seen over 135 mm of shaft: of the three rotations two move the
    # tip, so sqrt(0.25^2 + 2/3 * (135 * 0.00524)^2) = 0.63 mm.
    rms = np.sqrt((np.array(errors) ** 2).sum(axis=1).mean())
    assert rms == pytest.approx(0.63, abs=0.2)


def test_occlusions_hide_a_tool_and_end() -> None:
    room = OperatingRoom(build_scene("occult", 1, probe_seed=0), START_S)
    room.command("scan-1", START_S, 30.0)
    assert len(room.occlusions) == 4
    for tool, begin, end in room.occlusions:
        assert 0.3 <= end - begin <= 1.0
        assert room.hidden(tool, 0.5 * (begin + end))
        assert not room.hidden(tool, end + 1e-6) or len(room.occlusions) > 1


def test_stylus_slides_over_the_skin_and_the_wall() -> None:
    room = OperatingRoom(build_scene("bed", 1, probe_seed=0), START_S)
    room.command("touch", START_S)
    room.command("resect", START_S + 6.0)
    room.command("touch-bed", START_S + 7.0)
    for begin, at in ((START_S, START_S + 1.0), (START_S + 7.0, START_S + 8.0)):
        body = room.patient_at(begin).body
        x, y, z = room.stylus_in_body(np.arange(at, at + 3.8, 0.02))[:, :3, 3].T
        normal = body.normal(x, y)
        assert np.abs((z - body.surface(x, y)) * normal[:, 2]).max() < 0.8


def test_stylus_rests_on_the_fiducials() -> None:
    room = OperatingRoom(build_scene("bed", 1, probe_seed=0), START_S)
    events = room.command("landmarks", START_S, 12.0)
    starts = [e for e in events if e.action == "dwell-start"]
    stops = [e for e in events if e.action == "dwell-stop"]
    fiducials = room.scene.patient.fiducials
    assert len(starts) == len(stops) == len(fiducials)
    for start, stop, place in zip(starts, stops, fiducials, strict=True):
        poses = room.stylus_in_body(np.linspace(start.t_s, stop.t_s, 9))
        assert poses[:, :3, 3] == pytest.approx(np.tile(place, (9, 1)), abs=1e-6)


@pytest.mark.parametrize("scene", SCENES)
def test_resection_removes_the_target(scene: str) -> None:
    patient = build_scene(scene, 3, probe_seed=0).patient
    target = patient.lesions[0]
    after = patient.resected()
    assert target.name not in [s.name for s in after.lesions]
    assert sum(s.activity_kbq for s in after.others) == pytest.approx(
        sum(s.activity_kbq for s in patient.others), rel=0.01
    )


def test_old_history_is_forgotten() -> None:
    room = OperatingRoom(build_scene("bed", 1, probe_seed=0), START_S)
    for k in range(20):
        room.command("scan", START_S + 2.0 * k, 2.0)
    before = room.probe_in_body(np.array([START_S + 37.0]))
    room.forget_before(START_S + 36.0)
    assert np.array_equal(room.probe_in_body(np.array([START_S + 37.0])), before)
    assert len(room._probe.what) <= 3
