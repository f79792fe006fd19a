"""Landmarks that are marked in the study while the case goes on: registered with, forgotten with their study."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from navigation.engine.registrationwords import RegistrationWords
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.engine.words import status_words
from navigation.studymodel import StudyModel
from navigation.targets import TargetList
from navigation.uptake import Uptake
from tests.navigation.engine import test_registrations as bench
from tests.navigation.engine.fakes import settings
from tracking.errors import GateRefusedError, InputError


def words_of(session: Session) -> RegistrationWords:
    def do(order: str, /, **content: Any) -> None:
        session.handle(bench.command(order, 1.0, **content))

    return RegistrationWords(cast(Any, SimpleNamespace(session=session)), do)


def touch(session: Session, name: str) -> None:
    place = bench.in_reference(bench.LANDMARKS[name]).tolist()
    session.handle(bench.command("landmark", 2.0, name=name, touched_mm=place))


def test_what_is_marked_and_touched_registers_the_patient() -> None:
    session = bench.session_with()
    words = words_of(session)
    for name, (x, y, z) in bench.LANDMARKS.items():
        assert words.words["mark"]([name, str(x), str(y), str(z)]).startswith(f"{name} is marked")
    shown = Viewer(session).snapshot(bench.START_S + 3.0).landmarks
    assert [(m.name, m.touched) for m in shown] == [(n, False) for n in bench.LANDMARKS]
    for name in bench.LANDMARKS:
        touch(session, name)
    told = words.words["register"](["Dr.", "Who"])
    assert told.endswith("as registered")
    found = session.registration.T_study_reference
    assert found is not None
    np.testing.assert_allclose(found, bench.T_study_reference(), atol=1e-9)


def test_the_state_tells_where_each_lies_in_the_study() -> None:
    session = bench.session_with()
    words_of(session).words["mark"](["left", "spine", "-1.5", "2", "3"])
    told = status_words(Viewer(session).snapshot(bench.START_S + 3.0))["landmarks"]
    assert told == [{"name": "left spine", "touched": False, "lps_mm": [-1.5, 2.0, 3.0]}]


def test_a_landmark_that_is_marked_elsewhere_has_to_be_touched_again() -> None:
    session = bench.session_with()
    words = words_of(session)
    words.words["mark"](["A", "0", "0", "0"])
    touch(session, "A")
    assert Viewer(session).snapshot(bench.START_S + 3.0).landmarks[0].touched
    words.words["mark"](["A", "0", "0", "9"])
    assert not Viewer(session).snapshot(bench.START_S + 3.0).landmarks[0].touched
    with pytest.raises(GateRefusedError, match="no landmark was touched"):
        words.words["register"]([])


def test_marks_belong_to_their_study() -> None:
    session = bench.session_with()
    words = words_of(session)
    words.words["mark"](["A", "0", "0", "0"])
    other = StudyModel("another", None, (), TargetList(), Uptake())
    session.handle(bench.command("study", 2.0, study=other.to_json()))
    assert not session.registrations.marked


def test_the_marks_of_the_case_file_are_there_and_can_be_taken_away() -> None:
    bare = Session(
        replace(
            settings(),
            study=StudyModel("abc", None, (), TargetList(), Uptake()),
            landmarks={"nose": (1.0, 2.0, 3.0)},
        )
    )
    words = words_of(bare)
    assert words.words["unmark"](["nose"]) == "nose is no landmark any more"
    with pytest.raises(InputError, match="there is no landmark 'nose'"):
        words.words["unmark"](["nose"])


@pytest.mark.parametrize(
    "rest", [[], ["A"], ["1", "2", "3"], ["A", "1", "2"], ["A", "x", "2", "3"], ["A", "nan", "0", "0"]]
)
def test_a_mark_without_name_or_place_is_refused(rest: list[str]) -> None:
    with pytest.raises(InputError, match="expected `mark NAME X Y Z`"):
        words_of(bench.session_with()).words["mark"](rest)


def test_without_a_study_there_is_nothing_to_mark_in() -> None:
    with pytest.raises(InputError, match="no study"):
        words_of(Session(settings())).words["mark"](["A", "1", "2", "3"])
