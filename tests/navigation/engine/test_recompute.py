"""When calibration, latency or surface change, the newest scan begins anew from its readings, and says so meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from navigation.engine.events import COMMAND, RESUME, TICK, EngineEvent, json_event
from navigation.engine.imaging import Imager
from navigation.engine.jobs import AnalyzeJob, BedJob, TickJob
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.publish import Publisher
from navigation.schedule import LAST_WORK, Work
from tests.navigation.engine.fakes import EPOCH_S, build, settings, stream
from tracking.errors import InputError

LATENCY = {"do": "latency", "count_latency_s": 0.05, "ci95_s": [0.04, 0.06], "determined": True}
ONE_PASS = Work()
SURFACE = [[float(x), float(y), 0.0] for x in range(0, 60, 10) for y in range(0, 60, 10)]


def command(**content: Any) -> EngineEvent:
    return json_event("user", EPOCH_S + 20.0, COMMAND, content)


def tick(work: Work | None = ONE_PASS) -> EngineEvent:
    content: dict[str, Any] = {"scan": "scan-1"}
    return json_event(
        "engine", EPOCH_S, TICK, content if work is None else {**content, "work": work.to_json()}
    )


def scanning(seconds: float = 4.0, work: Work | None = ONE_PASS) -> tuple[Session, TickJob]:
    """A session in the middle of a scan, and its newest tick."""
    session = Session(settings())
    session.handle(command(do="start", mode="scan", name="scan-1"))
    for event in stream(seconds):
        session.handle(event)
    (job,) = session.handle(tick(work))
    assert isinstance(job, TickJob)
    return session, job


def next_tick(session: Session) -> TickJob:
    (job,) = session.handle(tick())
    assert isinstance(job, TickJob)
    return job


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (LATENCY, "the count latency has changed"),
        ({"do": "calibration", "probe": {"id": "another"}}, "the calibration has changed"),
        ({"do": "points", "what": "surface", "points_mm": SURFACE}, "the surface has changed"),
    ],
)
def test_a_running_scan_begins_anew_and_the_old_map_is_not_shown(
    change: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("navigation.engine.session.require_usable", lambda *_: None)
    session, first = scanning()
    viewer, imager = Viewer(session), Imager(build)
    viewer.show(imager.run(first))
    assert viewer.snapshot(EPOCH_S).map is not None
    assert session.handle(command(**change)) == []
    between = viewer.snapshot(EPOCH_S)
    assert between.map is None
    assert between.spots == ()
    assert between.map_age_s is None
    assert between.recomputing == why
    assert f"recomputing the map: {why}" in between.hints
    anew = next_tick(session)
    assert anew.basis.revision == first.basis.revision + 1
    # 50 ms before the first reading there was no pose yet: with that latency it has no place.
    assert len(anew.batch) + anew.batch.unplaced == len(first.batch)
    outcome = imager.run(anew)
    assert outcome.map is not None
    assert outcome.map.n_readings == len(anew.batch)
    viewer.show(outcome)
    after = viewer.snapshot(EPOCH_S)
    assert after.map is outcome.map
    assert after.recomputing is None


def test_readings_lie_where_another_latency_puts_them() -> None:
    session, first = scanning()
    session.handle(command(**LATENCY))
    anew = next_tick(session)
    # The probe moves at 20 mm/s along x; 50 ms earlier it was 1 mm behind. The first reading has no pose any more.
    moved = anew.batch.mid_poses[5, 0, 3] - np.interp(
        anew.batch.t_s[5] + 0.05, first.batch.t_s, first.batch.mid_poses[:, 0, 3]
    )
    assert moved == pytest.approx(-1.0, abs=0.2)
    assert anew.basis.count_latency_s == 0.05
    assert anew.basis.count_latency_ci95_s == (0.04, 0.06)


def test_a_scan_that_has_ended_begins_anew_until_it_is_analysed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navigation.engine.session.require_usable", lambda *_: None)
    session, first = scanning()
    (last,) = session.handle(command(do="stop"))
    assert isinstance(last, TickJob)
    assert last.work == LAST_WORK
    (again,) = session.handle(command(do="calibration", probe={"id": "another"}))
    assert isinstance(again, TickJob)
    assert again.last
    assert len(again.batch) == len(first.batch) + len(last.batch)
    assert again.basis.calibration == {"id": "another"}
    (analysis,) = session.handle(command(do="analyze", scan="scan-1"))
    assert isinstance(analysis, AnalyzeJob)
    assert session.handle(command(do="calibration", probe={"id": "a third"})) == []
    assert session.basis(session.scans["scan-1"]).calibration == {"id": "another"}


def test_a_scan_of_before_keeps_what_it_was_made_with() -> None:
    session, _ = scanning()
    session.handle(command(do="stop"))
    session.handle(command(do="start", mode="scan", name="scan-2"))
    session.handle(command(**LATENCY))
    before, now = (session.basis(session.scans[name]) for name in ("scan-1", "scan-2"))
    assert (before.count_latency_s, before.count_latency_ci95_s, before.revision) == (0.0, None, 0)
    # The second has no tick yet: it simply begins with what is known by then.
    assert now.revision == 0


def test_ticks_of_old_records_are_played_as_they_were() -> None:
    session, job = scanning(work=None)
    assert job.work is None
    session.handle(command(**LATENCY))
    assert session.basis(session.scans["scan-1"]).revision == 0
    (last,) = session.handle(command(do="stop"))
    assert isinstance(last, TickJob)
    assert last.work is None


def test_after_a_crash_the_running_scan_begins_anew() -> None:
    session, first = scanning()
    session.handle(json_event("engine", EPOCH_S + 30.0, RESUME, {}))
    anew = next_tick(session)
    assert anew.basis.revision == 1
    assert len(anew.batch) == len(first.batch)
    assert (anew.batch.poses == first.batch.poses).all()


def bed_job(session: Session) -> BedJob:
    outline = {"do": "points", "what": "bed", "points_mm": SURFACE}
    session.handle(command(**outline))
    content = {"do": "check_bed", "scan": "scan-1", "depth_mm": 8.0, "threshold_kbq": 4.0, "confidence": 0.95}
    (job,) = session.handle(command(**content))
    assert isinstance(job, BedJob)
    return job


def test_a_bed_check_on_an_old_basis_says_nothing_of_absence() -> None:
    session, first = scanning()
    viewer, imager = Viewer(session), Imager(build)
    viewer.show(imager.run(first))
    session.handle(command(do="points", what="bed", points_mm=SURFACE))
    viewer.show(imager.run(next_tick(session)))
    viewer.show(imager.run(bed_job(session)))
    told = viewer.snapshot(EPOCH_S).bed_check
    assert told is not None
    assert told.finding == "partly-assessed"
    session.handle(command(**LATENCY))
    since = viewer.snapshot(EPOCH_S).bed_check
    assert since is not None
    assert since.finding == "not-assessed"
    assert "the count latency has changed since this check" in since.statement


def test_nothing_is_analysed_on_the_basis_before() -> None:
    session, first = scanning()
    imager = Imager(build)
    imager.run(first)
    session.handle(command(**LATENCY))
    (job,) = session.handle(command(do="analyze", scan="scan-1"))
    with pytest.raises(InputError, match="scan-1: its map is being made anew"):
        imager.run(job)
    imager.run(next_tick(session))
    assert imager.run(job).result is not None


def test_viewers_are_told_that_nothing_is_examined_while_a_map_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, first = scanning()
    viewer, imager, publisher = Viewer(session), Imager(build), Publisher(0)
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(publisher.server, "publish", lambda _first, _second, key, _keep: sent.append(key))
    viewer.show(imager.run(first))
    publisher._publish(viewer.snapshot(EPOCH_S))
    sent.clear()
    session.handle(command(**LATENCY))
    for _ in range(2):
        publisher._publish(viewer.snapshot(EPOCH_S + 0.1))
    names = [device.removesuffix("_Reference") for kind, device in sent if kind == "IMAGE"]
    assert names == ["Activity", "RelSd", "Coverage"]
    assert any(kind == "POINT" for kind, _ in sent)
