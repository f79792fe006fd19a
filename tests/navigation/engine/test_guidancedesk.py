"""The bed that a live case aims at: outlined, wanted, handed to every tick, and the same again in a replay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.engine.events import COMMAND, TICK, EngineEvent, json_event
from navigation.engine.guidancewords import aim_of, coverage_words
from navigation.engine.jobs import Job, TickJob
from navigation.engine.planner import Planner
from navigation.engine.session import Session
from navigation.engine.settings import Settings
from navigation.schedule import Progress, Work
from tests.navigation.engine.fakes import EPOCH_S, settings
from tracking.errors import InputError

OUTLINE = [[float(x), float(y), 0.0] for x in range(0, 20, 5) for y in range(0, 20, 5)]


def asked(session: Session, do: str, **content: object) -> list[Job]:
    return session.handle(json_event("user", EPOCH_S, COMMAND, {"do": do, **content}))


def ticked(session: Session, work: Work | None) -> TickJob:
    content: dict[str, object] = {"scan": "scan-1"}
    event: EngineEvent = json_event(
        "engine", EPOCH_S, TICK, {**content, **({} if work is None else {"work": work.to_json()})}
    )
    (job,) = session.handle(event)
    assert isinstance(job, TickJob)
    return job


def scanning(**bed: float) -> Session:
    session = Session(replace(settings(), bed=bed))
    asked(session, "start", mode="scan", name="scan-1")
    return session


def test_ticks_carry_the_outlined_bed_and_the_same_one_until_it_changes() -> None:
    session = scanning(threshold_kbq=4.0, depth_mm=8.0)
    assert ticked(session, Work()).aim is None
    asked(session, "points", what="bed", points_mm=OUTLINE)
    first, second = ticked(session, Work()).aim, ticked(session, Work()).aim
    assert first is second and first is not None
    assert (first.threshold_kbq, first.bed.depth_mm, first.confidence) == (4.0, 8.0, 0.95)
    np.testing.assert_array_equal(first.bed.points_mm, OUTLINE)
    asked(session, "aim", threshold_kbq=2.5)
    other = ticked(session, Work()).aim
    assert other is not None and other.threshold_kbq == 2.5 and other.bed.depth_mm == 8.0
    asked(session, "points", what="bed", points_mm=OUTLINE[4:])
    assert ticked(session, Work()).aim is not other


def test_ticks_of_records_without_a_schedule_carry_none() -> None:
    session = scanning()
    asked(session, "points", what="bed", points_mm=OUTLINE)
    assert ticked(session, None).aim is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_kbq": 0.0},
        {"threshold_kbq": -1.0},
        {"depth_mm": 0.0},
        {"depth_mm": 400.0},
        {"confidence": 1.0},
    ],
)
def test_what_cannot_be_wanted_is_refused_and_changes_nothing(wrong: dict[str, float]) -> None:
    session = scanning(threshold_kbq=4.0)
    asked(session, "points", what="bed", points_mm=OUTLINE)
    before = session.guidance.aim
    with pytest.raises(InputError):
        asked(session, "aim", **wrong)
    assert session.guidance.aim is before


def test_the_reference_that_moved_takes_the_bed_with_it() -> None:
    session = scanning()
    asked(session, "points", what="bed", points_mm=OUTLINE)
    session.leave_frame()
    assert session.guidance.aim is None


def test_every_search_of_a_scan_with_a_bed_tells_its_coverage_at_least_once_a_second() -> None:
    planner, sought = Planner(), []
    for i in range(100):
        work = planner.plan("scan-1", 0.1 * i, Progress(readings=i, searching=i % 5 == 1), None, bed=True)
        assert work.bed == work.seek
        sought += [0.1 * i] if work.bed else []
    assert np.diff(sought).max() <= 1.0 + 1e-9
    assert not Planner().plan("scan-1", 0.0, Progress(), None).bed


def test_the_bed_that_is_wanted_stands_in_the_record() -> None:
    wanted = {"threshold_kbq": 4.0, "depth_mm": 8.0}
    kept = Settings.from_json(replace(settings(), bed=wanted).to_json())
    assert kept.bed == wanted
    old = settings().to_json()
    del old["bed"]
    assert Settings.from_json(old).bed == {}


def test_words() -> None:
    assert aim_of(["4"]) == {"threshold_kbq": 4.0}
    assert aim_of(["4", "12"]) == {"threshold_kbq": 4.0, "depth_mm": 12.0}
    for wrong in ([], ["much"], ["4", "5", "6"]):
        with pytest.raises(InputError, match="aim KBQ"):
            aim_of(wrong)


def test_what_is_said_of_the_coverage_is_rounded_against_ourselves() -> None:
    from navigation.bed import Bed
    from navigation.coverage import Aim, BedCoverage

    points = np.column_stack([np.arange(1000.0), np.zeros(1000), np.zeros(1000)])
    mda = np.full(1000, 3.2)
    mda[:6] = np.inf
    covered = np.isfinite(mda)
    found = BedCoverage(Aim(Bed(points, 5.0), 4.0), points, mda, mda, covered, 12.0, 10, 1.0)
    words = coverage_words(found, None)
    assert "99 % covered at 4 kBq, 12 mm the widest patch" in words
    assert "1 % not examined" in words and "3.2 kBq" in words
    assert not found.reached  # a patch of 12 mm
    assert replace(found, widest_mm=4.0).reached
    assert "clear" not in words
