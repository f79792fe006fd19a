"""The tip's check in a case: asked for, recorded, judged, alarmed, and no absence is told over a wrong tip (H46)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from navigation.engine.events import COMMAND, EngineEvent, json_event
from navigation.engine.jobs import BedJob
from navigation.engine.session import Session
from navigation.engine.settings import Settings
from navigation.engine.tipcheck import BLOCKED, STYLUS_BLOCKED
from navigation.engine.view import Viewer
from navigation.engine.words import status_words
from tests.navigation.engine.fakes import EPOCH_S, pose, pose_event, settings, stream
from tracking.errors import InputError
from tracking.inputs import WorkingVolume

START_S = EPOCH_S + 10.0
DIVOT_MM = np.array([30.0, -20.0, 5.0])
# The calibrated tip of the fakes' settings: 100 mm along the marker's z.
TIP_MM = np.array([0.0, 0.0, 100.0])
PARTS = 200


def command(do: str, at_s: float = START_S + 20.0, **content: object) -> EngineEvent:
    return json_event("user", at_s, COMMAND, {"do": do, **content})


def rested(tip_mm: np.ndarray = TIP_MM, tilt_deg: float = 20.0, tool: str = "Probe") -> Iterator[EngineEvent]:
    """Events of 200 frames at 30 Hz: a tool whose true tip rests in the divot of a still reference."""
    rng = np.random.default_rng(3)
    for i in range(PARTS):
        t_s = START_S + i / 30.0
        yield pose_event("ReferenceToTracker", t_s, pose(0.0, 1e-6 * (i % 7)))
        tilt = np.radians(tilt_deg) * np.sqrt(i / PARTS)
        axis = np.array([np.cos(0.1 * i), np.sin(0.1 * i), 0.0])
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(tilt * axis).as_matrix()
        matrix[:3, 3] = DIVOT_MM - matrix[:3, :3] @ tip_mm + rng.normal(0.0, 0.1, 3)
        yield pose_event(f"{tool}ToTracker", t_s, matrix)


def checked(
    tip_mm: np.ndarray = TIP_MM,
    tilt_deg: float = 20.0,
    session: Session | None = None,
    **content: object,
) -> Session:
    session = session or Session(settings())
    session.handle(command("start", mode="divot", **content))
    for event in rested(tip_mm, tilt_deg, str(content.get("tool", "Probe"))):
        session.handle(event)
    session.handle(command("stop"))
    return session


def test_a_case_says_that_its_tip_was_not_checked() -> None:
    session = Session(settings())
    told = status_words(Viewer(session).snapshot(START_S))["tip_check"]
    assert told["words"] == "not checked in this case"
    json.dumps(told, allow_nan=False)


def test_a_good_tip_is_in_order_with_its_figures() -> None:
    session = checked()
    state = Viewer(session).snapshot(START_S + 20.0).tip_check
    assert state.state == "in order"
    # 0.1 mm of noise in each of three components, float32 on the wire.
    assert state.rms_mm == pytest.approx(0.173, rel=0.2)
    assert state.shift_mm is not None
    assert state.shift_mm < 0.1
    assert state.checked_s == START_S + 20.0
    # All but the first frame and the newest, which waits for the reference's next.
    assert state.poses == pytest.approx(PARTS, abs=3)
    assert session.mode == "idle"
    assert session.tip_check.blocked is None
    assert [alarm.kind for alarm in session.new_alarms()] == []


def test_a_bent_probe_alarms_and_no_absence_is_told_until_it_is_in_order() -> None:
    session = checked(TIP_MM + [2.0, 0.0, 0.0])
    (alarm,) = session.new_alarms()
    assert alarm.kind == "tip"
    assert "probe tip: the tip lies 2.0" in alarm.text
    snapshot = Viewer(session).snapshot(START_S + 60.0)
    assert any(fault.startswith("PROBE TIP WRONG") for fault in snapshot.faults)
    assert snapshot.tip_check.state == "WRONG"
    assert bed_job(session).blocked == BLOCKED
    # A check that proves nothing does not lift it, one that is in order does.
    checked(tilt_deg=0.5, session=session)
    assert session.tip_check.blocked == BLOCKED
    again = Session(settings())
    checked(TIP_MM + [2.0, 0.0, 0.0], session=again)
    again.handle(command("start", START_S + 30.0, mode="divot"))
    for event in rested():
        later = replace(event, arrival_s=event.arrival_s + 30.0)
        again.handle(moved_on(later))
    again.handle(command("stop", START_S + 50.0))
    assert again.tip_check.blocked is None
    assert not any("TIP WRONG" in fault for fault in Viewer(again).snapshot(START_S + 60.0).faults)


def moved_on(event: EngineEvent) -> EngineEvent:
    """The same pose 30 s later, by its stamp too."""
    from tracking.igtl.codec import decode, encode

    message = decode(event.payload)
    return replace(event, payload=encode(replace(message, t_s=message.t_s + 30.0)))


def bed_job(session: Session) -> BedJob:
    session.handle(command("start", mode="scan", name="scan-1"))
    for event in stream(2.0, start_s=START_S + 21.0):
        session.handle(event)
    session.handle(command("stop"))
    session.handle(command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]))
    (job,) = session.handle(
        command("check_bed", scan="scan-1", before=None, threshold_kbq=4.0, confidence=0.95, depth_mm=10.0)
    )
    assert isinstance(job, BedJob)
    return job


def test_a_tool_that_was_not_turned_has_proven_nothing() -> None:
    session = checked(tilt_deg=0.5)
    state = session.tip_check.state()
    assert state.words.startswith("not proven: the tool was turned too little")
    assert session.tip_check.blocked is None
    assert session.new_alarms() == []


def test_a_divot_whose_place_is_known_needs_no_turning() -> None:
    good = checked(tilt_deg=0.5, point_mm=DIVOT_MM.tolist())
    assert good.tip_check.state().state == "in order"
    bent = checked(TIP_MM + [2.0, 0.0, 0.0], 0.5, point_mm=DIVOT_MM.tolist())
    assert bent.tip_check.state().state == "WRONG"


def test_the_stylus_has_a_tip_too_and_does_not_speak_for_the_probe() -> None:
    session = checked(TIP_MM + [2.0, 0.0, 0.0], tool="Stylus")
    assert session.tip_check.state("Stylus").state == "WRONG"
    assert session.tip_check.state().state == "not checked in this case"


def test_a_bent_stylus_outlines_a_bed_that_is_not_there_and_blocks_absence_too() -> None:
    session = checked(TIP_MM + [2.0, 0.0, 0.0], tool="Stylus")
    assert bed_job(session).blocked == STYLUS_BLOCKED
    assert checked(tool="Stylus").tip_check.blocked is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"tool": "Drill"}, "'Drill' has no tip to check; Probe or Stylus has"),
        ({"point_mm": [1.0, 2.0]}, "three numbers"),
    ],
)
def test_a_check_that_makes_no_sense_changes_nothing(content: dict[str, object], says: str) -> None:
    session = Session(settings())
    session.handle(command("start", mode="surface"))
    with pytest.raises(InputError, match=says):
        session.handle(command("start", mode="divot", **content))
    assert session.mode == "surface"


def test_a_hidden_tool_gives_no_poses() -> None:
    session = Session(settings())
    session.handle(command("start", mode="divot"))
    session.handle(command("stop"))
    assert session.tip_check.state().words == "not proven: 0 usable poses, at least 10 needed"


def test_gates_of_the_case_hold_and_come_back_from_a_record() -> None:
    loose = replace(settings(), gates={"tracker": {"max_tip_shift_mm": 3.0, "max_divot_rms_mm": 1.0}})
    assert checked(TIP_MM + [2.0, 0.0, 0.0], session=Session(loose)).tip_check.state().state == "in order"
    again = Settings.from_json(json.loads(json.dumps(loose.to_json())))
    assert again.gates == loose.gates
    assert Settings.from_json({k: v for k, v in loose.to_json().items() if k != "gates"}).gates == {}


def test_outside_the_good_part_of_the_volume_it_says_so_and_goes_on() -> None:
    small = WorkingVolume((-1000.0, -1000.0, -1000.0), (20.0, 1000.0, 1000.0))
    tracker = replace(settings().sources["tracker"], good_volume=small)
    made = replace(settings(), sources={**settings().sources, "tracker": tracker})
    session = Session(Settings.from_json(json.loads(json.dumps(made.to_json()))))
    for event in stream(2.0):  # 20 mm/s along x: beyond 20 mm after a second
        session.handle(event)
    snapshot = Viewer(session).snapshot(START_S + 2.0)
    assert "ProbeToTracker is outside the good part of the volume" in snapshot.faults
    assert snapshot.tools["ProbeTipToReference"].valid


def test_a_case_file_gives_the_good_part(tmp_path: Path) -> None:
    from navigation.case import tracker_of

    case = tmp_path / "case.toml"
    text = "[tracker]\nport = 1\nvolume_mm = [[-5, -5, -5], [5, 5, 5]]\ngood_volume_mm = [[-1, -1, -1], [{x}, 1, 1]]\n"
    case.write_text(text.format(x=1))
    assert tracker_of(case).good_volume == WorkingVolume((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    case.write_text(text.format(x=7))
    with pytest.raises(InputError, match=r"tracker\.good_volume_mm: does not lie within volume_mm"):
        tracker_of(case)
