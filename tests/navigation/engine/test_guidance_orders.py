"""What is taken back, marked as removed, gone for and outlined in a live case; the record keeps all of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.engine.events import COMMAND, TICK, json_event
from navigation.engine.folders import scan_of
from navigation.engine.guidancewords import GuidanceWords
from navigation.engine.imaging import Imager
from navigation.engine.jobs import Job, Outcome, TickJob
from navigation.engine.navigating import navigation_of
from navigation.engine.results import guidance_content
from navigation.engine.session import Session
from navigation.schedule import Work
from tests.navigation.engine.fakes import EPOCH_S, build, pose, pose_event, settings, spot, stream
from tracking.errors import InputError
from tracking.recording import Record, Recorder
from tracking.recording.phases import inside, phases_of

COVARIANCE = np.eye(3).tolist()
NOW_S = EPOCH_S + 13.0


def asked(session: Session, do: str, at_s: float = NOW_S, **content: object) -> list[Job]:
    return session.handle(json_event("user", at_s, COMMAND, {"do": do, **content}))


def tick(session: Session, scheduled: bool = True) -> list[Job]:
    work = {"work": Work().to_json()} if scheduled else {}
    return session.handle(json_event("engine", NOW_S, TICK, {"scan": "scan-1", **work}))


def scanned(
    seconds: float = 4.0, scheduled: bool = True, continuous: bool = False
) -> tuple[Session, list[Job]]:
    """A scan over the fakes' stream, ticked as it goes."""
    session = Session(replace(settings(), continuous_touch=continuous))
    asked(session, "start", mode="scan", name="scan-1")
    jobs: list[Job] = []
    for i, event in enumerate(stream(seconds)):
        jobs += session.handle(event)
        jobs += tick(session, scheduled) if i % 60 == 59 else []
    return session, jobs


def total(jobs: Iterable[Job]) -> float:
    """What the fakes' map holds at the end: the sum over all readings of counts and place."""
    imager, value = Imager(build), 0.0
    for job in jobs:
        outcome: Outcome = imager.run(job)
        value = float(outcome.map.activity.max()) if outcome.map is not None else value
    return value


def test_what_is_discarded_is_in_no_map_and_in_no_folder_but_the_rest_is() -> None:
    session, jobs = scanned()
    scan, before = session.scans["scan-1"], len(session.scans["scan-1"].intervals)
    newest = scan.intervals[-1].t_end_s
    jobs += asked(session, "discard", seconds=1.0)
    assert len(scan.intervals) == before - 10
    assert scan.intervals[-1].t_end_s <= newest - 1.0 + 1e-6
    jobs += asked(session, "stop")
    short, others = scanned()
    kept = [i for i in short.scans["scan-1"].intervals if i.t_end_s <= newest - 1.0 + 1e-6]
    short.scans["scan-1"].intervals, short.scans["scan-1"].batches = kept, []
    short.scans["scan-1"].renew("only these", replace_all=True)
    others += asked(short, "stop")
    assert total(jobs) == pytest.approx(total(others))
    assert scan_of(session, "scan-1").counts.t_s[-1] == pytest.approx(newest - 1.0 - EPOCH_S, abs=1e-5)


def test_counts_that_come_after_a_discard_count_again_and_late_ones_of_before_do_not() -> None:
    session, _ = scanned(2.0)
    scan = session.scans["scan-1"]
    asked(session, "discard", seconds=1.0)
    kept = len(scan.intervals)
    for event in stream(1.0, EPOCH_S + 12.0, first_seq=21):
        session.handle(event)
    assert len(scan.intervals) >= kept + 9
    low, high = scan.discarded[0]
    assert not any(low + 1e-5 < i.t_end_s <= high for i in scan.intervals)


@pytest.mark.parametrize("scheduled", [True, False])
def test_the_map_is_begun_anew_without_what_was_discarded(scheduled: bool) -> None:
    session, _ = scanned(scheduled=scheduled)
    scan = session.scans["scan-1"]
    revision = scan.revision
    asked(session, "discard", seconds=2.0)
    assert scan.revision == revision + 1 and "discarded" in scan.why
    (job,) = tick(session, scheduled)
    assert isinstance(job, TickJob) and job.basis.revision == scan.revision
    assert len(job.batch) == scan.placed
    assert job.batch.t_s.max() <= scan.discarded[0][0] - EPOCH_S


def test_nothing_is_discarded_twice_or_of_what_was_analysed() -> None:
    session = Session(settings())
    with pytest.raises(InputError, match="no scan"):
        asked(session, "discard")
    session, _ = scanned(2.0)
    for wrong in (0.0, -1.0, 1e9, "ten"):
        with pytest.raises(InputError, match="can be discarded"):
            asked(session, "discard", seconds=wrong)
    asked(session, "discard", seconds=60.0)
    assert not session.scans["scan-1"].intervals
    with pytest.raises(InputError, match="holds no counts"):
        asked(session, "discard")
    done, _ = scanned(2.0)
    asked(done, "stop")
    asked(done, "analyze", scan="scan-1")
    with pytest.raises(InputError, match="analysed already"):
        asked(done, "discard")


def test_who_cuts_the_scan_out_of_the_record_does_not_get_it_either(tmp_path: Path) -> None:
    session, _ = scanned(2.0)
    intervals = list(session.scans["scan-1"].intervals)
    asked(session, "discard", seconds=1.0)
    (told,) = session.guidance.newly_discarded()
    assert session.guidance.newly_discarded() == []
    mark = {"phase": told[0], "action": "discard", "from_s": told[1], "t_s": told[2]}
    with Recorder(tmp_path / "r.record", {}) as recorder:
        for content in ({"phase": "scan-1", "action": "start", "t_s": EPOCH_S}, mark):
            recorder.append("engine", 1.0, "phase", json.dumps(content).encode())
    phase = phases_of(Record(tmp_path / "r.record"))["scan-1"]
    assert [i.t_end_s for i in intervals if inside(i, phase)] == [
        i.t_end_s for i in session.scans["scan-1"].intervals
    ]
    content = guidance_content(session)
    assert content["discarded"][0]["to_s"] - content["discarded"][0]["from_s"] == pytest.approx(1.0)


def with_target(session: Session, place: list[float]) -> None:
    asked(
        session, "target_add", name="node 1", position_mm=place, covariance_mm2=COVARIANCE, activity_kbq=80.0
    )


def test_a_mark_ends_the_target_there_and_no_other() -> None:
    session, _ = scanned(3.0)
    at = session.tools.states(NOW_S)["ProbeTipToReference"].matrix
    assert at is not None
    with_target(session, (at[:3, 3] + [0.0, 5.0, 0.0]).tolist())
    asked(session, "target_add", name="far", position_mm=[900.0, 0.0, 0.0], covariance_mm2=COVARIANCE)
    asked(session, "select", kind="target", name="node 1")
    asked(session, "removed_here", by="A. Klein")
    near, far = session.target_desk.states(None, session.frame)
    assert near.end is not None and near.end.outcome == "removed" and near.end.by == "A. Klein"
    assert far.end is None
    (mark,) = session.guidance.marks()
    np.testing.assert_allclose(mark.place_mm, at[:3, 3])
    assert mark.t_s == NOW_S and mark.ended == ("node 1",)
    way = navigation_of(session, (), NOW_S)
    assert way is not None and way.removed and way.words == "node 1: marked as removed"
    assert any("removed here" in m.words for m in session.journal.marks)
    assert guidance_content(session)["removed_here"][0]["ended"] == ["node 1"]


def test_a_mark_needs_a_probe_and_is_none_once_the_reference_has_moved() -> None:
    with pytest.raises(InputError, match="not seen"):
        asked(Session(settings()), "removed_here")
    session, _ = scanned(3.0)
    asked(session, "removed_here")
    session.leave_frame()
    assert session.guidance.marks() == () and len(session.guidance.removals) == 1


def test_the_way_to_a_focus_in_the_probes_frame() -> None:
    session, _ = scanned(3.0)
    at = session.tools.states(NOW_S)["ProbeTipToReference"].matrix
    assert at is not None
    place = at[:3, 3] + at[:3, :3] @ np.array([3.0, 4.0, 12.0])
    asked(
        session, "select", kind="focus", name="focus 1", position_mm=place.tolist(), covariance_mm2=COVARIANCE
    )
    way = navigation_of(session, (), NOW_S)
    assert way is not None and way.direction is not None
    assert way.distance_mm == pytest.approx(13.0)
    assert way.ahead_mm == pytest.approx(12.0) and way.beside_mm == pytest.approx(5.0)
    np.testing.assert_allclose(way.direction, np.array([3.0, 4.0, 12.0]) / 13.0)
    assert way.words.startswith("focus 1: 13 mm away (SD 1 mm), 12 mm ahead, 5 mm beside")
    behind = replace(way, ahead_mm=-3.4)
    assert "3 mm BEHIND, 5 mm beside" in behind.words
    assert "0 mm ahead" in replace(way, ahead_mm=-0.2).words
    # The focus has been sought anew since: its newest place counts.
    moved = replace(spot(), position_mm=place + at[:3, 2] * 4.0)
    assert navigation_of(session, (moved,), NOW_S).ahead_mm == pytest.approx(16.0)  # type: ignore[union-attr]
    asked(session, "select", kind=None)
    assert navigation_of(session, (), NOW_S) is None


def test_what_is_not_known_to_a_centimetre_has_no_figures() -> None:
    session, _ = scanned(3.0)
    at = session.tools.states(NOW_S)["ProbeTipToReference"].matrix
    assert at is not None
    wide = (np.diag([1.0, 1.0, 11.0]) ** 2).tolist()
    asked(
        session, "select", kind="focus", name="focus 1", position_mm=at[:3, 3].tolist(), covariance_mm2=wide
    )
    way = navigation_of(session, (), NOW_S)
    assert way is not None and way.distance_mm is None and way.words == "focus 1: --"
    session.leave_frame()
    assert navigation_of(session, (), NOW_S).words == "focus 1: --"  # type: ignore[union-attr]
    with_target(session, [0.0, 0.0, 0.0])
    asked(session, "select", kind="target", name="node 1")
    hidden = navigation_of(session, (), NOW_S + 60.0)  # the probe was last seen a minute ago
    assert hidden is not None and hidden.words == "node 1: --"
    for wrong in ({"kind": "target", "name": "none"}, {"kind": "node", "name": "x"}):
        with pytest.raises(InputError):
            asked(session, "select", **wrong)


def grid(z: float = 0.0) -> list[list[float]]:
    return [[float(x), float(y), z] for x in range(-40, 41, 8) for y in range(-40, 41, 8)]


def test_a_sphere_takes_of_the_surface_what_lies_in_it() -> None:
    session = Session(settings())
    with pytest.raises(InputError, match="no surface"):
        asked(session, "bed_sphere", centre_mm=[0.0, 0.0, -5.0], radius_mm=20.0)
    asked(session, "points", what="surface", points_mm=grid())
    asked(session, "bed_sphere", centre_mm=[0.0, 0.0, -5.0], radius_mm=25.0)
    points = session.touched["bed"].points_mm
    assert points is not None and len(points) > 12
    assert np.linalg.norm(points - [0.0, 0.0, -5.0], axis=1).max() <= 25.0
    for wrong in ({"radius_mm": 3.0}, {"radius_mm": -1.0}, {"radius_mm": 9.0, "centre_mm": [0.0, 0.0]}):
        with pytest.raises(InputError):
            asked(session, "bed_sphere", **{"centre_mm": [0.0, 0.0, 0.0], **wrong})
    assert np.array_equal(session.touched["bed"].points_mm, points)


def over(session: Session, z_mm: float, after_s: float = 0.0) -> None:
    """The probe goes along x with its face at a height; its tip lies 100 mm along the marker's z axis."""
    for i in range(60):
        matrix = pose(float(i) - 30.0)
        matrix[2, 3] = z_mm - 100.0
        t = EPOCH_S + 20.0 + after_s + i / 60
        session.handle(pose_event("ReferenceToTracker", t, pose(0.0, 1e-6 * (i % 7))))
        session.handle(pose_event("ProbeToTracker", t, matrix))


def test_a_probe_paints_the_surface_under_it_and_nothing_from_afar() -> None:
    session = Session(settings())
    asked(session, "points", what="surface", points_mm=grid())
    asked(session, "start", mode="bed", tool="Probe")
    over(session, 40.0)
    assert len(session.touched["bed"]) == 0
    over(session, 3.0, after_s=5.0)
    points = session.touched["bed"].points_mm
    assert points is not None
    assert set(map(tuple, points)) <= set(map(tuple, np.array(grid())))
    assert np.abs(points[:, 1]).max() < 8.0 and np.ptp(points[:, 0]) > 40.0
    asked(session, "start", mode="bed")  # the stylus again
    with pytest.raises(InputError, match="stylus is not seen"):
        asked(session, "touch")
    with pytest.raises(InputError, match="outlines with"):
        asked(session, "start", mode="bed", tool="Scalpel")


def test_words_of_the_console(tmp_path: Path) -> None:
    done: list[tuple[str, dict[str, object]]] = []
    words = GuidanceWords(None, lambda do, **content: done.append((do, content))).words  # type: ignore[arg-type]
    words["bed"](["probe"])
    words["bed"](["sphere", "1", "2", "3", "20"])
    words["discard"]([])
    words["removed"](["A.", "Klein"])
    words["go"](["target", "node", "1"])
    words["go"](["nowhere"])
    assert done == [
        ("start", {"mode": "bed", "tool": "Probe"}),
        ("bed_sphere", {"centre_mm": [1.0, 2.0, 3.0], "radius_mm": 20.0}),
        ("discard", {"seconds": 10.0}),
        ("removed_here", {"by": "A. Klein"}),
        ("select", {"kind": "target", "name": "node 1"}),
        ("select", {"kind": None}),
    ]
    for name, rest in (
        ("bed", ["sphere", "1"]),
        ("bed", ["sphere", "a", "b"]),
        ("discard", ["x"]),
        ("go", ["home"]),
    ):
        with pytest.raises(InputError, match="expected"):
            words[name](rest)
    with pytest.raises(InputError, match="no such file"):
        words["bed"]([str(tmp_path / "none.ply")])
