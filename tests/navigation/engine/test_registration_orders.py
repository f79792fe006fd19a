"""Registrations in any order of crashes, bumps, undos, shifts and touched points, against where the patient is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from navigation.engine import events
from navigation.engine.console import Console
from navigation.engine.events import json_event
from navigation.engine.imaging import Imager
from navigation.engine.jobs import TickJob
from navigation.engine.results import write_results
from navigation.engine.session import Session
from navigation.engine.snapshot import ShiftState
from navigation.engine.view import Viewer
from navigation.registration.study import RAS_FROM_LPS
from navigation.schedule import LAST_WORK
from tests.navigation.engine import test_registrations as bench
from tests.navigation.engine.fakes import EPOCH_S, build, stream
from tracking.errors import GammanavError, GateRefusedError
from tracking.jsonfile import read_json
from tracking.steady import Moved

START_S = bench.START_S


def crash(session: Session, after_s: float = 0.0) -> None:
    session.handle(json_event("engine", START_S + after_s, events.RESUME, {}))


def bump(session: Session, after_s: float) -> None:
    session.hub.check.moved = Moved(START_S + after_s, 3.0, 0.5)


def touch(session: Session, name: str, after_s: float = 0.0) -> None:
    place = bench.in_reference(bench.LANDMARKS[name]).tolist()
    session.handle(bench.command("landmark", after_s, name=name, touched_mm=place))


@pytest.mark.parametrize("what", ["crash", "bump"])
def test_undo_brings_back_nothing_of_before_a_crash_or_a_bump_as_good(what: str) -> None:
    session = bench.session_with()
    bench.registered(session, "reg-1")
    if what == "crash":
        crash(session, 10.0)
    else:
        bump(session, 10.0)
    bench.registered(session, "reg-2", 3.0, after_s=12.0)
    assert session.registration.state == "as registered" and session.blocked is None
    session.handle(bench.command("undo_registration", 14.0))
    assert session.registration.id == "reg-1"
    assert session.registration.state == "restored, unverified" and session.blocked is not None
    for name in ("A", "B", "C"):
        bench.check(session, name, after_s=15.0)
    assert session.registration.state == "verified"
    bench.registered(session, "reg-3", 1.0, after_s=16.0)
    session.handle(bench.command("undo_registration", 17.0))
    assert session.registration.state == "as registered", "it was checked since"


def test_a_point_that_was_off_is_not_forgotten_with_its_registration() -> None:
    session = bench.session_with()
    bench.registered(session, "reg-1")
    bench.check(session, "B", off_mm=12.0)
    bench.registered(session, "reg-2", 3.0)
    session.handle(bench.command("undo_registration", 14.0))
    assert session.registration.state == "restored, unverified"


def test_landmarks_touched_before_a_crash_register_nothing() -> None:
    session = bench.session_with()
    for name in bench.LANDMARKS:
        touch(session, name)
    crash(session, 5.0)
    with pytest.raises(GammanavError):
        session.handle(bench.command("register_landmarks", 6.0, landmarks=bench.LANDMARKS))
    assert session.registration.id == "none"


@pytest.mark.parametrize("touched_since", [False, True])
def test_of_landmarks_only_those_since_a_bump_outlast_its_confirmation(touched_since: bool) -> None:
    session = bench.session_with()
    bench.registered(session)
    if not touched_since:
        touch(session, "D")
    bump(session, 10.0)
    if touched_since:
        touch(session, "D", 11.0)
    for name in ("A", "B", "C"):
        bench.check(session, name, after_s=12.0)
    session.handle(bench.command("verify_registration", 13.0))
    assert set(session.registrations.landmarks) == ({"D"} if touched_since else set())


def test_points_from_before_a_bump_complete_no_verification() -> None:
    session = bench.session_with()
    bench.registered(session)
    crash(session)
    for name in ("A", "B"):
        bench.check(session, name, after_s=5.0)
    bump(session, 10.0)
    bench.check(session, "C", after_s=12.0)
    assert session.registration.unverified and session.registration.checks == 1
    session.handle(bench.command("confirm_registration", 13.0))
    assert session.registration.state == "as registered"


def test_a_map_of_before_the_reference_moved_is_not_shown_under_a_new_registration() -> None:
    session, imager = bench.session_with(), Imager(build)
    bench.registered(session)
    viewer = Viewer(session)
    session.handle(bench.command("start", mode="scan", name="scan-1"))
    for event in stream(3.0, start_s=EPOCH_S + 110.0):
        session.handle(event)
    tick = {"scan": "scan-1", "work": LAST_WORK.to_json()}
    (job,) = session.handle(json_event("engine", START_S + 13.0, events.TICK, tick))
    assert isinstance(job, TickJob)
    viewer.show(imager.run(job))
    bump(session, 14.0)
    before = viewer.snapshot(START_S + 14.5)
    assert before.map is not None and before.map_locked is None
    bench.registered(session, "reg-2", 3.0, after_s=15.0)
    after = viewer.snapshot(START_S + 15.5)
    assert after.map is None and after.spots == () and not after.map_fresh
    assert after.map_locked is not None and any("scan-1 is not shown" in hint for hint in after.hints)


def test_a_shift_seen_in_another_place_of_the_reference_is_no_proposal() -> None:
    session = bench.session_with()
    bench.registered(session)
    session.handle(bench.command("start", mode="scan", name="scan-1"))
    session.handle(bench.command("stop"))
    viewer = Viewer(session)
    found = viewer.snapshot(START_S)
    assert found.shift is None
    viewer._shift = ShiftState("scan-1", "reg-1", True, "", np.eye(4), 10.0, None)
    assert viewer.snapshot(START_S + 1.0).shift is not None
    bump(session, 5.0)
    bench.registered(session, "reg-1", after_s=6.0)
    assert viewer.snapshot(START_S + 7.0).shift is None
    proposal = {"T_seen_believed": np.eye(4).tolist(), "registration": "reg-1", "scan": "scan-1"}
    with pytest.raises(GateRefusedError, match="before the reference moved"):
        session.handle(bench.command("accept_shift", 8.0, by="A. Klein", **proposal))


def test_results_name_the_scans_that_the_last_registration_does_not_place(tmp_path: Path) -> None:
    session = bench.session_with()
    bench.registered(session)
    for name in ("scan-1", "scan-2"):
        session.handle(bench.command("start", mode="scan", name=name))
        session.handle(bench.command("stop"))
        if name == "scan-1":
            bump(session, 5.0)
            bench.registered(session, "reg-2", after_s=6.0)
    write_results(session, [], tmp_path)
    assert read_json(tmp_path / "registrations.json")["scans_elsewhere"] == ["scan-1"]


class Room:
    """A patient who lies somewhere, a reference that is pushed about, and hands that make no error of their own."""

    def __init__(self) -> None:
        self.session = bench.session_with()
        self.away_mm = 0.0  # where the study's x truly is in the reference's frame
        self.now_s = 0.0
        self.scans = 0
        self.proposals: list[dict[str, object]] = []

    def do(self, word: str) -> None:
        self.now_s += 1.0
        with suppress(GammanavError):
            getattr(self, word)()

    def _command(self, do: str, **content: object) -> None:
        self.session.handle(bench.command(do, self.now_s, by="A. Klein", **content))

    def _truth(self) -> np.ndarray:
        T = bench.T_study_reference()
        T[0, 3] += self.away_mm
        return T

    def _seen(self, name: str) -> list[float]:
        return [float(v) for v in (np.linalg.inv(self._truth()) @ [*bench.LANDMARKS[name], 1.0])[:3]]

    def _check(self, name: str) -> None:
        places = {"expected_mm": bench.LANDMARKS[name], "touched_mm": self._seen(name)}
        self._command("check_point", name=name, **places)

    def _touch(self, *names: str) -> None:
        for name in names:
            self._command("landmark", name=name, touched_mm=self._seen(name))

    def push(self) -> None:
        self.away_mm += 20.0
        moved = self.session.hub.check.moved
        now_s = START_S + self.now_s
        again = Moved(now_s, 20.0, 0.0) if moved is None else replace(moved, again_s=now_s)
        self.session.hub.check.moved = again

    def crash(self) -> None:
        crash(self.session, self.now_s)

    def crash_and_push_unseen(self) -> None:
        self.away_mm -= 20.0
        self.crash()

    def given(self) -> None:
        matrix = (RAS_FROM_LPS @ self._truth()).tolist()
        self._command("registration", id=f"at {self.away_mm:g}", matrix=matrix, tre_mm=2.0)

    def undo(self) -> None:
        self._command("undo_registration")

    def verify(self) -> None:
        self._command("verify_registration")

    def check_a(self) -> None:
        self._check("A")

    def check_b(self) -> None:
        self._check("B")

    def check_c(self) -> None:
        self._check("C")

    def check_all(self) -> None:
        for name in bench.LANDMARKS:
            self._check(name)

    def touch_two(self) -> None:
        self._touch("A", "B")

    def touch_others(self) -> None:
        self._touch("C", "D")

    def by_landmarks(self) -> None:
        self._command("register_landmarks", landmarks=bench.LANDMARKS)

    def propose(self) -> None:
        """A scan sees where the targets are under the registration that holds."""
        believed = self.session.registration.T_study_reference
        if believed is None or self.session.hub.check.moved is not None:
            return
        self.scans += 1
        name = f"scan-{self.scans}"
        self._command("start", mode="scan", name=name)
        self._command("stop")
        T = np.linalg.inv(self._truth()) @ believed
        found = {"T_seen_believed": T.tolist(), "registration": self.session.registration.id, "scan": name}
        self.proposals.append(found)

    def accept(self) -> None:
        for found in self.proposals:
            self._command("accept_shift", **found)

    @property
    def error_mm(self) -> float:
        """How far off the registration puts the study."""
        believed = self.session.registration.T_study_reference
        assert believed is not None
        return float(np.linalg.norm((believed - self._truth())[:3, 3]))


WORDS = sorted(n for n in vars(Room) if not n.startswith("_") and n not in ("do", "error_mm"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=18))
@example(["given", "push", "given", "undo"])
@example(["given", "crash_and_push_unseen", "given", "undo"])
@example(["touch_two", "touch_others", "crash_and_push_unseen", "by_landmarks"])
@example(["given", "push", "check_a", "check_b", "push", "check_all", "verify"])
@example(["given", "push", "touch_two", "push", "touch_others", "by_landmarks"])
def test_no_order_of_words_shows_a_wrong_registration_as_good(words: list[str]) -> None:
    room = Room()
    for word in words:
        before = room.session.registrations.entries
        room.do(word)
        found = room.session.registration
        assert room.session.registrations.entries[: len(before)] == before
        if found.id != "none" and room.session.blocked is None and found.doubt is None:
            assert room.error_mm < 5.0, words
        if found.state == "verified":
            assert found.checks >= 3


def test_a_word_that_fails_does_not_make_the_case_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    console = Console(cast(Any, SimpleNamespace(session=bench.session_with())), said.append)

    def fail(*_: object, **__: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(console, "_do", fail)
    assert console.obey("stop") and console.obey("status of nothing")
    assert said[0] == "failed: TimeoutError: no answer" and len(said) == 2
