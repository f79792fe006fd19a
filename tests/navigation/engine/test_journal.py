"""The journal of a case: alarms as they were shown, who took note of them, and what was asked for."""

from __future__ import annotations

import pytest

from navigation.engine.events import COMMAND, NOTICE, EngineEvent, json_event
from navigation.engine.journal import Noticed
from navigation.engine.session import Session
from tests.navigation.engine.fakes import EPOCH_S, settings
from tracking.errors import InputError


def command(do: str, at_s: float, **content: object) -> EngineEvent:
    return json_event("user", EPOCH_S + at_s, COMMAND, {"do": do, **content})


def notice(at_s: float, **content: object) -> EngineEvent:
    return json_event("engine", EPOCH_S + at_s, NOTICE, dict(content))


def test_an_alarm_begins_once_whatever_its_figures_and_ends_when_it_stays_away() -> None:
    noticed = Noticed()
    assert noticed.news(["room for 29 minutes"], 0.0) == {"began": ["room for 29 minutes"], "ended": []}
    assert noticed.news(["room for 28 minutes"], 0.5) is None
    assert noticed.news([], 1.0) is None  # may be back in a moment
    assert noticed.news(["room for 28 minutes"], 1.4) is None
    assert noticed.news([], 2.5) == {"began": [], "ended": ["room for 29 minutes"]}
    assert noticed.news([], 9.0) is None


def test_what_lasted_before_a_crash_does_not_begin_again() -> None:
    noticed = Noticed(["the probe is not connected"])
    assert noticed.news(["the probe is not connected"], 5.0) is None
    assert noticed.news([], 7.0) == {"began": [], "ended": ["the probe is not connected"]}


def test_an_alarm_that_is_over_before_anyone_looks_again_ends() -> None:
    assert Noticed(["gone while the engine was down"]).news([], 5.0) == {
        "began": [],
        "ended": ["gone while the engine was down"],
    }


def test_the_journal_holds_alarms_with_who_noted_them_and_when() -> None:
    session = Session(settings())
    session.handle(notice(1.0, began=["first", "second"], ended=[]))
    session.handle(command("acknowledge", 2.0, by="circulating nurse"))
    session.handle(notice(3.0, began=["third"], ended=["first"]))
    first, second, third = session.journal.to_json()["alarms"]
    assert first == {
        "text": "first",
        "began_s": EPOCH_S + 1.0,
        "ended_s": EPOCH_S + 3.0,
        "acknowledged_s": EPOCH_S + 2.0,
        "acknowledged_by": "circulating nurse",
    }
    assert second["ended_s"] is None and second["acknowledged_by"] == "circulating nurse"
    assert third["acknowledged_s"] is None


@pytest.mark.parametrize("by", ["", "  "])
def test_nobody_cannot_take_note(by: str) -> None:
    session = Session(settings())
    session.handle(notice(1.0, began=["first"], ended=[]))
    with pytest.raises(InputError, match="who"):
        session.handle(command("acknowledge", 2.0, by=by))
    assert session.journal.notices[0].acknowledged_s is None


def test_without_an_alarm_there_is_nothing_to_note() -> None:
    with pytest.raises(InputError, match="no alarm"):
        Session(settings()).handle(command("acknowledge", 2.0, by="nurse"))


def test_only_what_was_carried_out_is_marked() -> None:
    session = Session(settings())
    session.handle(command("start", 1.0, mode="surface"))
    session.handle(command("stop", 4.0))
    session.handle(command("stop", 5.0))  # nothing was going on: nothing to tell
    with pytest.raises(InputError):
        session.handle(command("start", 6.0, mode="dance"))
    assert [(m.t_s - EPOCH_S, m.words) for m in session.journal.marks] == [
        (pytest.approx(1.0), "surface begins"),
        (pytest.approx(4.0), "surface ends"),
    ]


def test_the_marks_name_commands_that_exist() -> None:
    from navigation.engine.journal import WORDS

    assert set(WORDS) <= set(Session(settings())._commands)
