"""Background checks of a live case: a rise is an alarm, blocks absence, and is the same in a replay (H45)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.bed import Bed
from navigation.engine.assembly import RECORD_NAME, LiveCase, settings_of
from navigation.engine.console import Console
from navigation.engine.contamination import background_words
from navigation.engine.events import ALARM, COMMAND, EngineEvent, json_event
from navigation.engine.imaging import Imager, without_absence
from navigation.engine.jobs import BedJob, Job
from navigation.engine.live import alarm_events
from navigation.engine.replay import ReplayEngine
from navigation.engine.restore import restore
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.engine.words import status_words
from tests.navigation.engine.fakes import (
    COUNTS_S,
    EPOCH_S,
    Devices,
    SumImaging,
    build,
    counts_event,
    pose,
    pose_event,
    settings,
)
from tracking.errors import InputError
from tracking.recording import Record, Replay

START_S = EPOCH_S + 10.0


class Counter:
    """A counter whose rate the test sets; a session that hears it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.seq, self.total, self.t_s = 0, 0.0, START_S

    def run(self, seconds: float, per_window: float) -> None:
        for _ in range(round(seconds / COUNTS_S)):
            self.seq += 1
            self.total += per_window
            self.t_s += COUNTS_S
            self.session.handle(counts_event(self.seq, self.t_s, per_window, self.total))

    def command(self, do: str, **content: object) -> list[object]:
        return list(self.session.handle(json_event("user", self.t_s, COMMAND, {"do": do, **content})))

    def check(self, per_window: float, seconds: float = 10.0, kind: str = "room") -> None:
        self.command("background", seconds=seconds, kind=kind)
        self.run(seconds + 1.0, per_window)

    def wait(self, minutes: float) -> None:
        """Nothing is counted for a while: the counter rests."""
        self.t_s += 60.0 * minutes


@pytest.fixture
def counter() -> Counter:
    made = Counter(Session(settings()))
    made.run(1.0, 1.0)
    return made


def alarms(session: Session) -> list[str]:
    return [alarm.text for alarm in session.hub.alarms if alarm.kind == "background"]


def test_the_first_check_is_the_reference_and_a_quiet_one_is_in_order(counter: Counter) -> None:
    counter.check(1.0)
    state = counter.session.background.state(counter.t_s)
    # One count in each of a hundred windows of 0.1 s.
    assert state.rate_cps == pytest.approx(10.0)
    assert state.sigma is None
    assert "the reference" in background_words(state)
    counter.check(1.0)
    state = counter.session.background.state(counter.t_s)
    assert state.reference_cps == pytest.approx(10.0)
    assert not state.risen
    assert "in order" in background_words(state)
    assert counter.session.mode == "idle"
    assert not alarms(counter.session)


def test_a_rise_of_more_than_three_sigma_is_an_alarm_that_lasts(counter: Counter) -> None:
    counter.check(1.0)
    counter.check(2.0)
    # 200 after 100 counts: binomial(300, 1/2) >= 200 is (200 - 150) / sqrt(75) = 5.8 sigma.
    state = counter.session.background.state(counter.t_s)
    assert state.risen
    assert state.sigma == pytest.approx(5.8, abs=0.2)
    assert len(alarms(counter.session)) == 1
    assert "contaminated" in alarms(counter.session)[0]
    for later_s in (1.0, 3600.0):
        faults = Viewer(counter.session).snapshot(counter.t_s + later_s).faults
        assert any("contaminated" in fault for fault in faults)


def test_chance_alone_is_no_rise(counter: Counter) -> None:
    counter.check(1.0)
    counter.check(1.3)
    # 130 after 100: 30 / sqrt(230) = 2.0 sigma.
    assert not counter.session.background.state(counter.t_s).risen


def stood(counter: Counter, *rates_cps: float) -> list[bool]:
    """Whether absence is blocked after each check of ten seconds."""
    found = []
    for rate in rates_cps:
        counter.check(rate * COUNTS_S)
        found.append(counter.session.background.blocked is not None)
    return found


def test_a_background_that_creeps_up_blocks_until_a_check_is_back_in_order(counter: Counter) -> None:
    # 345 after 300 counts are 1.8 sigma, 1.2 above the slack: beyond the limit of five at the fifth check.
    assert stood(counter, 30.0, 34.0, *[34.5] * 4) == [False] * 5 + [True]
    assert stood(counter, 34.5, 34.5, 31.5) == [True] * 3
    assert "creeps up" in counter.session.background.faults()[0]
    assert stood(counter, 30.0, 34.5) == [False, False]
    assert not counter.session.background.faults()


def test_a_rise_that_was_cleaned_up_hides_no_later_drift(counter: Counter) -> None:
    assert stood(counter, 30.0, 60.0, 30.0, 30.0) == [False, True, False, False]
    found = stood(counter, *[34.5] * 10)
    assert not any(found[:3])
    assert all(found[5:])
    counter.command("explain_background", reason="tracer injected beside")
    assert stood(counter, *[34.5] * 6) == [False] * 6


def test_a_creeping_background_stands_alike_when_the_events_are_told_again(counter: Counter) -> None:
    again, live = Session(settings()), counter.session
    handle = live.handle

    def both(event: EngineEvent) -> list[Job]:
        again.handle(event)
        return handle(event)

    live.handle = both  # type: ignore[method-assign]
    stood(counter, 30.0, 60.0, 30.0, *[34.5] * 7)
    assert live.background.blocked is not None
    assert again.background.blocked == live.background.blocked
    assert again.background.faults() == live.background.faults()
    assert again.background.state(counter.t_s) == live.background.state(counter.t_s)


def outline(counter: Counter) -> None:
    counter.command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]])
    counter.command("start", mode="scan", name="scan-1")
    counter.run(2.0, 1.0)
    counter.command("stop")


def checked_bed(counter: Counter) -> BedJob:
    (job,) = counter.command("check_bed", scan="scan-1", threshold_kbq=4.0, confidence=0.95, depth_mm=10.0)
    assert isinstance(job, BedJob)
    return job


def test_a_rise_blocks_absence_until_a_check_is_in_order(counter: Counter) -> None:
    outline(counter)
    counter.check(1.0)
    assert checked_bed(counter).blocked is None
    counter.check(2.0)
    blocked = checked_bed(counter).blocked
    assert blocked is not None
    assert "contaminated" in blocked
    counter.check(1.0)
    assert checked_bed(counter).blocked is None


def test_a_rise_blocks_absence_until_it_is_explained(counter: Counter) -> None:
    outline(counter)
    with pytest.raises(InputError, match="no background check has found"):
        counter.command("explain_background", reason="tracer injected beside")
    counter.check(1.0)
    counter.check(2.0)
    with pytest.raises(InputError, match="say why"):
        counter.command("explain_background", reason="  ")
    counter.command("explain_background", reason="tracer injected beside")
    assert checked_bed(counter).blocked is None
    # What was explained is the reference now.
    counter.check(2.0)
    assert not counter.session.background.state(counter.t_s).risen
    counter.check(4.0)
    assert counter.session.background.state(counter.t_s).risen


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        ("none-above", "not-assessed"),
        ("partly-assessed", "not-assessed"),
        ("residual-suspected", "residual-suspected"),
    ],
)
def test_what_is_blocked_is_absence_never_a_suspicion(finding: str, told: str) -> None:
    imaging = SumImaging.__new__(SumImaging)
    bed = Bed(np.zeros((3, 3)), 10.0)
    check = replace(SumImaging.check_bed(imaging, bed, 4.0, 0.95, None), finding=finding, statement="Said.")
    held = without_absence(check, "contaminated")
    assert held.finding == told
    assert "contaminated" in held.reasons
    assert without_absence(check, None) is check
    assert ("Said." in held.statement) == (told == finding)


def test_an_absence_already_shown_is_withdrawn(counter: Counter) -> None:
    viewer, imager = Viewer(counter.session), Imager(build)
    outline(counter)
    counter.check(1.0)
    job = checked_bed(counter)
    imager.load(counter.session._batch(counter.session.scans["scan-1"]))
    viewer.show(imager.run(job))
    assert viewer.snapshot(counter.t_s).bed_check.finding == "partly-assessed"  # type: ignore[union-attr]
    counter.check(2.0)
    shown = viewer.snapshot(counter.t_s).bed_check
    assert shown is not None
    assert shown.finding == "not-assessed"
    assert viewer.snapshot(counter.t_s).bed_check is shown  # one object, so that it is recorded once
    counter.check(1.0)
    assert viewer.snapshot(counter.t_s).bed_check.finding == "partly-assessed"  # type: ignore[union-attr]


def test_the_patients_background_decays_and_the_rooms_does_not() -> None:
    for kind, risen in (("patient", True), ("room", False)):
        counter = Counter(Session(settings()))
        counter.run(1.0, 1.0)
        counter.check(2.0, 30.0, kind)
        counter.t_s += 6.007 * 3600.0  # a half-life of Tc-99m: half of a patient's is expected
        counter.run(1.0, 1.0)
        counter.check(2.0, 30.0, kind)
        assert counter.session.background.state(counter.t_s).risen is risen, kind


def test_a_check_is_due_again_after_half_an_hour_and_the_case_may_say_otherwise() -> None:
    for minutes, due in ((30.0, True), (60.0, False), (0.0, False)):
        counter = Counter(Session(replace(settings(), background_minutes=minutes)))
        counter.run(1.0, 1.0)
        counter.check(1.0)
        watch = counter.session.background
        assert not watch.due(counter.t_s + 60.0)
        assert watch.due(counter.t_s + 31 * 60.0) is due
        assert any("background check" in h for h in watch.hints(counter.t_s + 31 * 60.0)) is due


def test_a_case_that_never_checked_is_told_once_it_is_time(counter: Counter) -> None:
    hints = counter.session.background.hints
    assert hints(counter.t_s + 60.0) == []
    assert "no background check was made" in hints(counter.t_s + 1860.0)[0]


@pytest.mark.parametrize(
    "content",
    [{"seconds": 1.0}, {"seconds": 1e6}, {"kind": "sky"}, {"seconds": math.nan}, {"seconds": "ten"}],
)
def test_a_check_that_makes_no_sense_is_refused(counter: Counter, content: dict[str, object]) -> None:
    with pytest.raises(InputError, match="background"):
        counter.session._command({"do": "background", **content})
    assert counter.session.mode == "idle"


def test_a_scan_is_not_a_background(counter: Counter) -> None:
    counter.command("start", mode="scan", name="scan-1")
    with pytest.raises(InputError, match="stop scan-1 first"):
        counter.command("background")


def test_the_probe_is_held_away_from_the_patient(counter: Counter) -> None:
    session = counter.session
    points = [[x, y, 100.0] for x in (0.0, 50.0) for y in (0.0, 50.0)]
    counter.command("points", what="surface", points_mm=points)
    for k in range(20):
        for name in ("ReferenceToTracker", "ProbeToTracker"):
            session.handle(pose_event(name, counter.t_s + k / 60.0, pose(1e-3 * k)))
    counter.t_s += 0.34
    # The tip of the fake probe lies 100 mm along z: on the surface.
    with pytest.raises(InputError, match="hold it"):
        counter.command("background")
    counter.command("background", kind="patient")
    assert session.mode == "background"


def test_a_check_whose_counter_falls_silent_is_given_up(counter: Counter) -> None:
    counter.command("background", seconds=10.0)
    counter.run(3.0, 1.0)
    counter.wait(1.0)
    counter.run(0.5, 1.0)
    assert counter.session.mode == "idle"
    assert "silent" in alarms(counter.session)[0]
    assert counter.session.background.state(counter.t_s).rate_cps is None


def test_counts_that_rise_and_fall_are_no_background(counter: Counter) -> None:
    counter.command("background", seconds=10.0)
    counter.run(5.0, 1.0)
    counter.run(6.0, 20.0)  # a source came by
    assert "rise and fall" in alarms(counter.session)[0]
    assert counter.session.background.state(counter.t_s).checks == 0
    assert counter.session.mode == "idle"


def test_stop_ends_a_check_without_a_result(counter: Counter) -> None:
    counter.command("background", seconds=10.0)
    counter.run(3.0, 1.0)
    counter.command("stop")
    counter.run(10.0, 1.0)
    assert counter.session.background.state(counter.t_s).checks == 0


def test_live_recorded_replayed_and_restored_alike(tmp_path: Path) -> None:
    said: list[str] = []
    with Devices(30.0, pace=8.0) as devices:
        roles = settings(devices.tracker.port, devices.probe.port)
        with LiveCase(roles, tmp_path / RECORD_NAME, 0, build) as case:
            assert case.engine.wait_connected(20.0) is None
            devices.begin()
            console = Console(case, said.append)
            console.obey("background 3")
            console.obey("background 2 nonsense")
            console.obey("background 3")
            live = case.newest
            devices.finish()
    assert "the reference" in said[0]
    assert "expected `background" in said[1]
    assert "in order" in said[2]
    assert live is not None
    words = status_words(live)["background"]
    assert words["checks"] == 2
    # Seven counts in every window of 0.1 s.
    assert words["rate_cps"] == pytest.approx(70.0, rel=0.05)
    record = Record(tmp_path / RECORD_NAME)
    replayed = ReplayEngine(Session(settings_of(record)), Imager(build))
    Replay(record.events(), replayed.on_event).run()
    restored = Session(settings_of(record))
    restore(Record(tmp_path / RECORD_NAME), restored, Imager(build))
    for session in (replayed.session, restored):
        series = session.background.series["room"]
        assert [b.counted.counts for b in series] == [
            b.counted.counts for b in case.session.background.series["room"]
        ]
        assert not session.background.risen


def test_the_alarm_is_kept_as_those_of_the_inputs_are(counter: Counter) -> None:
    counter.check(1.0)
    counter.session.new_alarms()
    counter.check(3.0)
    (event,) = alarm_events(counter.session.new_alarms())
    assert event.kind == ALARM
    assert event.content()["alarm"] == "background"
