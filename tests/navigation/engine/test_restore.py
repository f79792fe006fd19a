"""A case that goes on after a crash: the same scan, the same map, a registration that says what it is."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.engine import events
from navigation.engine.assembly import RECORD_NAME, LiveCase, head_of
from navigation.engine.events import EngineEvent, json_event
from navigation.engine.imaging import Build, Imager
from navigation.engine.jobs import AnalyzeJob, Outcome, TickJob, result_content
from navigation.engine.keeping import KeptRecorder
from navigation.engine.live import alarm_events
from navigation.engine.replay import ReplayEngine
from navigation.engine.restore import LEAD_S, Restored, restore, stretches_of
from navigation.engine.session import Session
from navigation.engine.settings import Settings
from navigation.engine.snapshot import Registration
from navigation.schedule import Frame, Work
from navigation.volume import ActivityMap, Spot
from tests.navigation.engine.fakes import (
    EPOCH_S,
    Devices,
    SumImaging,
    build,
    bumped,
    settings,
    spot,
    stream,
)
from tracking.errors import InputError
from tracking.igtl.codec import decode, encode
from tracking.recording import Event, Record, Recorder, Replay, verify

BEGIN_S = EPOCH_S + 10.0
DEADLINE_S = 60.0


def registered() -> Settings:
    return replace(settings(), registration=Registration("reg-1", np.eye(4), 1.5))


def command(at_s: float, do: str, **content: object) -> EngineEvent:
    return json_event("user", at_s, events.COMMAND, {"do": do, **content})


def tick(at_s: float, scan: str) -> EngineEvent:
    return json_event("engine", at_s, events.TICK, {"scan": scan})


def a_case(idle_s: float = 90.0) -> list[EngineEvent]:
    """A scan of 4 s with its analysis, a long time of nothing in particular, and a scan that was cut off."""
    second_s = BEGIN_S + 5.0 + idle_s
    first = list(stream(5.0))
    idle = list(stream(idle_s, start_s=BEGIN_S + 5.0, first_seq=51))
    second = list(stream(4.0, start_s=second_s, first_seq=51 + round(10 * idle_s)))
    orders = [
        command(BEGIN_S + 0.5, "start", mode="scan", name="scan-1"),
        *(tick(BEGIN_S + t, "scan-1") for t in (1.5, 2.5, 3.5)),
        command(BEGIN_S + 4.5, "stop"),
        command(BEGIN_S + 4.6, "analyze", scan="scan-1"),
        command(second_s + 0.5, "start", mode="scan", name="scan-2"),
        *(tick(second_s + t, "scan-2") for t in (1.5, 2.5, 3.5)),
    ]
    return sorted([*first, *idle, *second, *orders], key=lambda e: e.arrival_s)


def an_hour_on(raw: bytes) -> bytes:
    message = decode(raw)
    return encode(replace(message, t_s=message.t_s + 3600.0))


def recorded(
    path: Path,
    case: list[EngineEvent],
    spoil: bool = False,
    key: bytes | None = None,
    foci: Build = build,
) -> Session:
    """The case as the live engine writes it, with the digests of its results; its session at the end."""
    session, imager = Session(registered()), Imager(foci)
    with Recorder(path, head_of(session.settings), key=key) as recorder:
        for event in case:
            recorder.append(event.source, event.arrival_s, event.kind, event.payload)
            jobs = session.handle(event)
            for alarm in alarm_events(session.new_alarms()):
                recorder.append(alarm.source, alarm.arrival_s, alarm.kind, alarm.payload)
            for job in jobs:
                content = result_content(imager.run(job))
                content["map"] = "00" if spoil else content["map"]
                result = json_event("engine", event.arrival_s, events.RESULT, content)
                recorder.append(result.source, result.arrival_s, result.kind, result.payload)
    return session


def brought_back(path: Path) -> tuple[Session, Imager, Restored]:
    session, imager = Session(registered()), Imager(build)
    return session, imager, restore(Record(path), session, imager)


def test_scans_come_back_as_they_were_without_what_lies_between(tmp_path: Path) -> None:
    case = a_case()
    before = recorded(tmp_path / "r", case)
    session, _, restored = brought_back(tmp_path / "r")
    assert (session.mode, session.current) == ("scan", "scan-2")
    for name, scan in before.scans.items():
        assert session.scans[name].intervals == scan.intervals
        assert (session.scans[name].placed, session.scans[name].unplaced) == (scan.placed, scan.unplaced)
    # 90 s of idle streams, of which the 60 s before the second scan are played, and those after the first.
    raw_of_idle_s = len([e for e in case if e.kind == events.RAW]) / 99.0
    assert restored.events < len(case) - (90.0 - LEAD_S - 5.0) * raw_of_idle_s


def test_the_map_is_the_recorded_one_and_analyses_wait(tmp_path: Path) -> None:
    recorded(tmp_path / "r", a_case(5.0))
    _, _, restored = brought_back(tmp_path / "r")
    assert restored.same is True
    assert restored.outcome is not None
    job = restored.outcome.job
    assert isinstance(job, TickJob)
    assert (job.basis.scan, job.tick) == ("scan-2", 3)
    assert [(type(j), j.basis.scan) for j in restored.deferred] == [(AnalyzeJob, "scan-1")]


class Foci(SumImaging):
    """Foci that tell when they were sought."""

    def quick_spots(self) -> tuple[Spot, ...]:
        return (replace(spot(), activity_kbq=self.total),)


def test_foci_between_two_searches_are_those_of_the_last_one(tmp_path: Path) -> None:
    """Foci are sought once in ten readings: at 10 of the second scan, and not at 14 and 19, where it ends."""
    ticks = [tick(BEGIN_S + 10.0 + t, "scan-2") for t in (1.9, 2.3, 2.7)]
    case = [e for e in a_case(5.0) if e.arrival_s < BEGIN_S + 13.2]
    case = sorted([*(e for e in case if e.arrival_s != BEGIN_S + 12.5), *ticks], key=lambda e: e.arrival_s)
    recorded(tmp_path / "r", case, foci=Foci)
    restored = restore(Record(tmp_path / "r"), Session(registered()), Imager(Foci))
    assert restored.outcome is not None
    assert restored.same is True
    assert restored.outcome.map is not None
    total = float(restored.outcome.map.activity.max())
    assert restored.outcome.spots[0].activity_kbq < total


def test_a_clock_set_while_nothing_was_scanned_is_not_forgotten(tmp_path: Path) -> None:
    # Both devices' clock is set forward by an hour 80 s before the only scan; the 60 s before that are played.
    case = [
        replace(event, payload=an_hour_on(event.payload))
        if event.kind == events.RAW and event.arrival_s > BEGIN_S + 15.0
        else event
        for event in a_case(90.0)
        if b"scan-1" not in event.payload and b'"stop"' not in event.payload
    ]
    before = recorded(tmp_path / "r", case)
    session, _, restored = brought_back(tmp_path / "r")
    assert [a.kind for a in before.hub.alarms].count("clock") == 2
    assert session.scans["scan-2"].intervals == before.scans["scan-2"].intervals
    assert session.scans["scan-2"].intervals[0].t_end_s < BEGIN_S + 100.0
    assert restored.same is True


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_bump_while_nothing_was_scanned_is_not_forgotten(tmp_path: Path, confirmed: bool) -> None:
    # The reference is pushed 80 s before the only scan; of the time between only the 60 s before it are played.
    case = bumped(
        [e for e in a_case(90.0) if b"scan-1" not in e.payload and b'"stop"' not in e.payload],
        BEGIN_S + 15.0,
    )
    if confirmed:
        case = sorted([*case, command(BEGIN_S + 25.0, "confirm_registration")], key=lambda e: e.arrival_s)
    before = recorded(tmp_path / "r", case)
    session, _, restored = brought_back(tmp_path / "r")
    assert [a.kind for a in before.hub.alarms].count("bump") == 1
    assert (session.hub.check.moved is None) is confirmed
    assert (session.scans["scan-2"].placed > 0) is confirmed
    assert session.scans["scan-2"].placed == before.scans["scan-2"].placed
    assert restored.same is True


def test_another_map_than_the_recorded_one_is_noticed(tmp_path: Path) -> None:
    recorded(tmp_path / "r", a_case(5.0), spoil=True)
    assert brought_back(tmp_path / "r")[2].same is False


def test_the_hole_of_a_crash_is_no_loss_on_the_wire(tmp_path: Path) -> None:
    recorded(tmp_path / "r", a_case(5.0))
    session, _, _ = brought_back(tmp_path / "r")
    end_s = BEGIN_S + 14.0
    session.handle(json_event("engine", end_s, events.RESUME, {}))
    tallies = (session.counts.gaps, session.counts.missing, session.counts.restarts)
    # 20 s later the counter's numbers have gone on: 140 for 14 s before, 340 now.
    for event in stream(2.0, start_s=end_s + 20.0, first_seq=341):
        session.handle(event)
    assert (session.counts.gaps, session.counts.missing, session.counts.restarts) == tallies
    newest = session.scans["scan-2"].intervals[-1]
    # stamps are Unix seconds, exact to 2.4e-7 s
    assert newest.t_end_s == pytest.approx(end_s + 22.0, abs=0.11)
    assert newest.window_s == pytest.approx(0.1)


def test_registration_is_restored_unverified_until_confirmed(tmp_path: Path) -> None:
    recorded(tmp_path / "r", a_case(5.0))
    session, _, _ = brought_back(tmp_path / "r")
    assert session.registration.state == "as registered"
    session.handle(json_event("engine", BEGIN_S + 20.0, events.RESUME, {}))
    assert session.registration.state == "restored, unverified"
    session.handle(command(BEGIN_S + 21.0, "confirm_registration"))
    assert session.registration.state == "as registered"


def test_no_registration_is_none_after_a_crash_too() -> None:
    session = Session(settings())
    session.handle(json_event("engine", BEGIN_S, events.RESUME, {}))
    assert session.registration.state == "none"


def test_stretches_have_a_lead_and_an_open_end() -> None:
    orders = [
        command(100.0, "start", mode="surface"),
        command(110.0, "start", mode="scan", name="s"),
        command(150.0, "touch"),
        command(170.0, "stop"),
        command(400.0, "start", mode="bed"),
    ]
    rows = [Event(i + 1, e.arrival_s, e.source, e.kind, e.payload) for i, e in enumerate(orders)]
    assert stretches_of(rows) == [(40.0, 111.0), (50.0, 171.0), (340.0, float("inf"))]


def test_a_live_case_goes_on_in_its_record_and_replays_as_one(tmp_path: Path) -> None:
    path = tmp_path / RECORD_NAME
    recorded(path, a_case(5.0))
    rows = sum(1 for _ in Record(path).events())
    with Devices(3.0) as devices:
        where = settings(devices.tracker.port, devices.probe.port)
        live = replace(registered(), sources=where.sources)
        with LiveCase(live, path, 0, build, resume=True) as case:
            engine = case.engine
            assert engine.wait_connected(DEADLINE_S) is None
            state = engine.viewer.snapshot(engine.clock())
            assert "the registration is restored, unverified" in state.faults
            assert state.mode == "scan"
            devices.begin()
            devices.finish()
            engine.command("stop").result(DEADLINE_S)
            engine.command("analyze", scan="scan-2").result(DEADLINE_S)
            assert engine.finish_deferred(DEADLINE_S)
            analysed = {o.job.basis.scan for o in engine.outcomes if o.result is not None}
    assert analysed == {"scan-1", "scan-2"}
    assert sum(1 for _ in Record(path).events()) > rows
    again = ReplayEngine(Session(registered()), Imager(build))
    assert Replay(Record(path).events(), again.on_event).run()
    assert again.comparison.compared >= 8
    assert again.comparison.differing == []


def test_an_analysis_is_done_when_its_outcome_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are written when nothing is deferred any more; an outcome on its way to the record is not there."""
    path = tmp_path / RECORD_NAME
    recorded(path, a_case(5.0))
    go_on, keeping, keep = threading.Event(), threading.Event(), KeptRecorder.keep

    def keep_slowly(kept: KeptRecorder, outcome: Outcome, now_s: float) -> None:
        if outcome.result is None:
            return
        keeping.set()
        assert go_on.wait(DEADLINE_S)
        keep(kept, outcome, now_s)

    monkeypatch.setattr(KeptRecorder, "keep", keep_slowly)
    with LiveCase(registered(), path, 0, build, resume=True) as case:
        case.engine.command("stop")
        assert keeping.wait(DEADLINE_S)
        assert not case.engine.finish_deferred(0.2)
        go_on.set()
        assert case.engine.finish_deferred(DEADLINE_S)
        assert [o.job.basis.scan for o in case.engine.outcomes if o.result is not None] == ["scan-1"]


def test_what_is_no_record_is_not_resumed(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="no such record"),
        LiveCase(settings(), tmp_path / RECORD_NAME, 0, build, resume=True),
    ):
        pass
    assert not any(tmp_path.iterdir())


def test_a_record_damaged_in_its_middle_goes_on_with_what_precedes(tmp_path: Path) -> None:
    path = tmp_path / RECORD_NAME
    recorded(path, a_case(5.0))
    with closing(sqlite3.connect(path)) as database, database:
        rows = database.execute("SELECT max(id) FROM event").fetchone()[0]
        # In the second scan: the first is whole.
        database.execute("UPDATE event SET payload = x'00' WHERE id = ?", (rows - 300,))
    with Devices(1.0) as devices:
        where = settings(devices.tracker.port, devices.probe.port)
        live = replace(registered(), sources=where.sources)
        with LiveCase(live, path, 0, build, resume=True) as case:
            assert set(case.session.scans) == {"scan-1", "scan-2"}
            assert len(case.session.scans["scan-1"].intervals) >= 39
    assert sum(1 for _ in Record(path).events()) >= rows - 301
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".damaged")]


def test_a_signed_record_is_signed_after_a_crash_too(tmp_path: Path) -> None:
    path, key = tmp_path / RECORD_NAME, b"sixteen bytes or more"
    recorded(path, a_case(5.0), key=key)
    with Devices(1.0) as devices:
        where = settings(devices.tracker.port, devices.probe.port)
        live = replace(registered(), sources=where.sources)
        with LiveCase(live, path, 0, build, resume=True, key=key):
            pass
    assert verify(path, key).signed
    with pytest.raises(InputError, match="not signed with this key"):
        verify(path, b"another key, as long")


class Failing(SumImaging):
    def advance(self, work: Work) -> Frame:
        raise ArithmeticError("singular")

    def update(self) -> ActivityMap:
        raise ArithmeticError("singular")


def test_a_map_that_cannot_be_brought_back_ends_no_case(tmp_path: Path) -> None:
    recorded(tmp_path / "r", a_case(5.0))
    session, imager = Session(registered()), Imager(Failing)
    restored = restore(Record(tmp_path / "r"), session, imager)
    assert (session.mode, session.current) == ("scan", "scan-2")
    assert restored.outcome is None
    assert restored.same is None
    assert len(session.scans["scan-2"].intervals) > 0
