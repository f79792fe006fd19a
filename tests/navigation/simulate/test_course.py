"""What may go wrong in the simulated room, and that the engine tells it: bump, moved table, breathing, a shift."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.simulate import course_of
from navigation.engine.events import RAW, EngineEvent
from navigation.engine.session import Session
from navigation.simulate.course import QUIET, TABLE_S, Course
from navigation.simulate.devices import TRACKER_HZ, Tracker
from navigation.simulate.folder import REFERENCE_UTC_S, START_S
from navigation.simulate.motion import Motion
from navigation.simulate.room import PATH_POSES, OperatingRoom
from navigation.simulate.scenes import HALF_LIFE_S, build_scene
from navigation.simulate.truth import truth_of
from tests.navigation.engine import room_stream
from tracking.errors import InputError
from tracking.sample import PoseSample
from tracking.transform import invert_rigid

SCENE = build_scene("bed", 3)
BREATHING = Motion(10.0, 4.0, dwelling=True)


def room_of(course: Course) -> OperatingRoom:
    room = OperatingRoom(SCENE, START_S, course)
    room.command("scan-1", START_S, 30.0)
    return room


def measured(room: OperatingRoom, t_s: float) -> dict[str, np.ndarray]:
    """Poses by tool, without occlusions' identity."""
    return {s.name: s.matrix for s in Tracker(room).measure(t_s) if s.status.usable}


def test_tissue_slides_under_the_probe_and_the_counts_tell() -> None:
    t = START_S + np.linspace(9.0, 9.09, 8)
    room, still = room_of(Course(breathing=BREATHING)), room_of(QUIET)
    shift = BREATHING.shift(t)
    assert np.ptp(BREATHING.shift(START_S + np.linspace(0.0, 4.0, 400))[:, 1]) == pytest.approx(
        10.0, abs=0.01
    )
    # The hand does not know of it; the head is where it was, and the source as much elsewhere.
    np.testing.assert_array_equal(room.probe_in_body(t), still.probe_in_body(t))
    moved = still.probe_in_body(t).copy()
    moved[:, :3, 3] -= shift
    patient = SCENE.patient
    sources = [*patient.lesions, *patient.others]
    lesion = still.model.of_sources(sources, patient.body, moved, PATH_POSES)
    ends = still.model.of_background(patient.background, patient.body, moved[[0, -1]])
    want = (
        (lesion + np.linspace(ends[0], ends[1], 8))
        * 0.5 ** (t / HALF_LIFE_S)
        * SCENE.equipment.mismatch.gain(t)
    )
    np.testing.assert_allclose(room.rate_cps(t), want, rtol=1e-12)
    seen = [t + later for later in np.arange(0.0, 15.0, 0.7)]
    assert max(np.abs(room.rate_cps(s) / still.rate_cps(s) - 1.0).max() for s in seen) > 0.2


def test_a_shift_comes_with_the_resection_and_the_stylus_feels_it() -> None:
    room, still = (OperatingRoom(SCENE, START_S, c) for c in (Course(shift_mm=(0.0, 8.0, -3.0)), QUIET))
    for each in (room, still):
        each.command("touch", START_S, 5.0)
        each.command("resect", START_S + 6.0)
    before, after = np.array([START_S + 4.0]), np.array([START_S + 6.5])
    np.testing.assert_array_equal(room.stylus_in_body(before), still.stylus_in_body(before))
    felt = room.stylus_in_body(after)[0, :3, 3] - still.stylus_in_body(after)[0, :3, 3]
    assert felt == pytest.approx([0.0, 8.0, -3.0])


def test_a_bump_moves_the_marker_and_nothing_else() -> None:
    t = START_S + 10.0
    before, after = (
        measured(room_of(c), t) for c in (QUIET, Course(bump_s=t - 1.0, bump_mm=5.0, bump_deg=2.0))
    )
    np.testing.assert_array_equal(before["ProbeToTracker"], after["ProbeToTracker"])
    step = invert_rigid(before["ReferenceToTracker"]) @ after["ReferenceToTracker"]
    # The marker's error of 0.1 mm and 0.1 degrees is applied in its own frame: it turns the step a little.
    assert np.linalg.norm(step[:3, 3]) == pytest.approx(5.0, abs=0.1)
    assert np.degrees(np.arccos((np.trace(step[:3, :3]) - 1.0) / 2.0)) == pytest.approx(2.0, abs=0.1)


def test_a_moved_table_takes_all_that_lies_on_it_along() -> None:
    t = START_S + 10.0
    course = Course(table_s=t - TABLE_S - 0.1, table_mm=80.0, table_deg=4.0, check_marker=True)
    before, after = (measured(room_of(c), t) for c in (Course(check_marker=True), course))
    gone = after["ReferenceToTracker"][:3, 3] - before["ReferenceToTracker"][:3, 3]
    assert np.linalg.norm(gone) == pytest.approx(80.0, abs=0.1)
    for tool in ("ProbeToTracker", "CheckToTracker"):
        there = [invert_rigid(m["ReferenceToTracker"]) @ m[tool] for m in (before, after)]
        # Equal noise in the markers' own frames leaves the relative pose as it was.
        np.testing.assert_allclose(there[0], there[1], atol=1e-9)


def told(course: Course, seconds: float) -> Session:
    """The engine's session after the tracker's messages of a quiet patient, as they come over the wire."""
    room = OperatingRoom(room_stream.scene(), START_S, course)
    tracker, session = Tracker(room), Session(room_stream.settings())
    for i in range(round(seconds * TRACKER_HZ)):
        for sample in tracker.measure(START_S + i / TRACKER_HZ):
            dated = PoseSample(sample.name, sample.t_s + REFERENCE_UTC_S, sample.matrix, sample.status)
            raw = room_stream.Sent("tracker", dated.t_s, dated).raw(room_stream.true)
            session.handle(EngineEvent("tracker", dated.t_s + 0.001, RAW, raw))
    return session


def test_the_engine_finds_the_bump_by_the_second_marker_within_a_second() -> None:
    at = 14.0
    session = told(Course(bump_s=START_S + at, bump_mm=3.0, check_marker=True), at + 1.0)
    assert [a.kind for a in session.hub.alarms].count("bump") == 1
    assert session.hub.check.moved is not None and session.registration.doubt is not None


def test_the_engine_follows_a_moved_table_without_an_alarm() -> None:
    course = Course(table_s=START_S + 12.0, table_mm=80.0, table_deg=4.0, check_marker=True)
    session = told(course, 18.0)
    assert "bump" not in [a.kind for a in session.hub.alarms]
    assert session.hub.check.moved is None and session.registration.doubt is None


def test_the_truth_tells_what_happened_and_nothing_where_nothing_did() -> None:
    assert "course" not in truth_of(SCENE, REFERENCE_UTC_S)
    course = Course(breathing=BREATHING, bump_s=605.0, bump_mm=2.0, bump_deg=1.0)
    found = json.loads(json.dumps(truth_of(SCENE, REFERENCE_UTC_S, course)["course"]))
    assert found["breathing_mm"] == 10.0 and found["bump"] == [605.0, 2.0, 1.0] and found["table"] is None


def test_the_options_say_what_happens() -> None:
    assert course_of(0.0, 4.0, None, None, None, False) == QUIET
    course = course_of(12.0, 5.0, "1,-2,3", "20,2,0.5", None, True)
    assert course.breathing.breathing_mm == 12.0 and course.breathing.dwelling
    assert course.shift_mm == (1.0, -2.0, 3.0) and course.check_marker
    assert (course.bump_s, course.bump_mm, course.bump_deg) == (620.0, 2.0, 0.5)


@pytest.mark.parametrize("text", ["1,2", "a,b,c", "1,2,nan", "1,2,1e9"])
def test_a_slip_in_them_is_told(text: str) -> None:
    with pytest.raises(InputError, match="--bump"):
        course_of(0.0, 4.0, None, text, None, False)


def test_a_scan_folder_of_a_patient_who_breathes_is_told_as_such(tmp_path: Path) -> None:
    from navigation.simulate.folder import simulate_scan_folder

    simulate_scan_folder("bed", 3, tmp_path / "still", duration_s=8.0)
    simulate_scan_folder("bed", 3, tmp_path / "moved", duration_s=8.0, course=Course(breathing=BREATHING))
    still, moved = ((tmp_path / n / "counts.csv").read_text() for n in ("still", "moved"))
    assert still != moved
    assert (tmp_path / "still" / "poses.csv").read_text() == (tmp_path / "moved" / "poses.csv").read_text()
