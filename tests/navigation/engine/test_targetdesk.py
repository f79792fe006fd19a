"""The target list of a live case: what it asks, what is added, how each target ends, and where it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.engine.events import COMMAND, EngineEvent, json_event
from navigation.engine.jobs import AnalyzeJob
from navigation.engine.session import Session
from navigation.engine.targetwords import target_command, targets_words
from navigation.engine.view import Viewer
from navigation.studymodel import StudyModel
from navigation.targets import TargetList, clicked
from navigation.uptake import Uptake
from tests.navigation.engine.fakes import EPOCH_S, settings, spot, stream
from tracking.errors import InputError

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def study(*names: str) -> StudyModel:
    targets = TargetList(tuple(clicked(n, [10.0 * i, 0.0, -20.0], 2.0) for i, n in enumerate(names)))
    return StudyModel("abc", None, (), targets, Uptake())


def T_study_reference() -> np.ndarray:
    """A quarter turn about z: the study's x is Reference's y; and 5 mm up."""
    T = np.eye(4)
    T[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    T[2, 3] = 5.0
    return T


def command(do: str, **content: object) -> EngineEvent:
    return json_event("user", EPOCH_S + 100.0, COMMAND, {"do": do, **content})


def session_of(model: StudyModel | None, registered: bool = True) -> Session:
    session = Session(replace(settings(), study=model))
    if registered:
        matrix = (RAS @ T_study_reference()).tolist()
        session.handle(command("registration", id="reg-1", matrix=matrix, tre_mm=3.0))
    return session


def seen(session: Session) -> Viewer:
    return Viewer(session)


def test_targets_of_the_study_lie_in_reference_by_the_registration() -> None:
    first, second = seen(session_of(study("A", "B"))).snapshot(EPOCH_S + 101.0).targets
    # B at (10, 0, -20) of the study: x of the study is y of Reference, z is 5 mm less.
    assert second.position_mm == pytest.approx([0.0, 10.0, -25.0]) and second.open
    assert first.position_mm == pytest.approx([0.0, 0.0, -25.0])


def test_without_a_registration_a_target_has_no_place() -> None:
    (target,) = seen(session_of(study("A"), registered=False)).snapshot(EPOCH_S + 101.0).targets
    assert target.position_mm is None


def test_a_focus_of_the_scan_becomes_an_unexpected_target_and_ends() -> None:
    session = session_of(study("A"))
    where = {"position_mm": [1.0, 2.0, 3.0], "covariance_mm2": np.eye(3).tolist(), "activity_kbq": 40.0}
    session.handle(command("target_add", name="new one", **where))
    (_, new) = seen(session).snapshot(EPOCH_S + 101.0).targets
    assert new.origin == "unexpected" and "not on preoperative imaging" in new.note
    assert new.position_mm == pytest.approx([1.0, 2.0, 3.0])
    ended = {"outcome": "removed", "reason": "in specimen 2", "by": "A. Klein"}
    session.handle(command("target_end", target="new one", **ended))
    (_, new) = seen(session).snapshot(EPOCH_S + 102.0).targets
    assert new.words == "removed: in specimen 2 (A. Klein)" and not new.open


def test_what_was_found_before_any_registration_keeps_its_place_until_the_reference_moves() -> None:
    session = session_of(None, registered=False)
    where = {"position_mm": [1.0, 2.0, 3.0], "covariance_mm2": np.eye(3).tolist()}
    session.handle(command("target_add", name="sentinel node", **where))
    assert seen(session).snapshot(EPOCH_S + 101.0).targets[0].position_mm == pytest.approx([1.0, 2.0, 3.0])
    session.frame += 1
    assert seen(session).snapshot(EPOCH_S + 102.0).targets[0].position_mm is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"target": "B", "outcome": "found", "reason": "seen", "by": "K"}, "no target 'B'"),
        ({"target": "A", "outcome": "gone", "reason": "seen", "by": "K"}, "'gone' is no end"),
        ({"target": "A", "outcome": "left", "by": "K"}, "needs a reason"),
    ],
)
def test_an_end_needs_target_outcome_reason_and_name(content: dict[str, str], words: str) -> None:
    session = session_of(study("A"))
    with pytest.raises(InputError, match=words):
        session.handle(command("target_end", **content))
    assert session.target_desk.targets.open


def test_a_study_that_comes_later_keeps_what_was_added() -> None:
    session = session_of(None)
    where = {"position_mm": [1.0, 2.0, 3.0], "covariance_mm2": np.eye(3).tolist()}
    session.handle(command("target_add", name="new one", **where))
    session.handle(command("study", study=study("A", "B").to_json()))
    assert [t.name for t in session.target_desk.targets.targets] == ["A", "B", "new one"]
    assert seen(session).snapshot(EPOCH_S + 101.0).study_id == "abc"


def asked(session: Session) -> AnalyzeJob:
    session.handle(command("start", mode="scan", name="scan-1"))
    for event in stream(1.0):
        session.handle(event)
    session.handle(command("stop"))
    (job,) = session.handle(command("analyze", scan="scan-1"))
    assert isinstance(job, AnalyzeJob)
    return job


def test_an_analysis_asks_where_the_activity_of_open_targets_lies() -> None:
    session = session_of(study("A", "B", "C"))
    session.handle(command("target_end", target="B", outcome="removed", reason="specimen", by="K"))
    job = asked(session)
    assert job.targets is not None and job.targets.names == ("A", "C")
    assert job.targets.believed_mm[1] == pytest.approx([0.0, 20.0, -25.0])
    # 3 mm RMS in space are 1.73 an axis; two places known to 2 mm each leave 1.41 for their mean.
    assert job.targets.registration_sd_mm == pytest.approx(np.hypot(3.0 / 3**0.5, 2.0 / 2**0.5))
    assert job.basis.registration == "reg-1"
    assert job.basis.T_study_reference == pytest.approx(T_study_reference())


def test_without_study_or_registration_nothing_is_asked() -> None:
    assert asked(session_of(None)).targets is None
    assert asked(session_of(study("A"), registered=False)).targets is None


def test_another_registration_makes_a_running_scan_anew() -> None:
    session = session_of(study("A"))
    session.handle(command("start", mode="scan", name="scan-1"))
    scan = session.scans["scan-1"]
    scan.scheduled = True
    matrix = (RAS @ np.eye(4)).tolist()
    session.handle(command("registration", id="reg-2", matrix=matrix, tre_mm=2.0))
    assert scan.revision == 1 and scan.why == "the registration has changed"
    assert session.basis(scan).registration == "reg-2"


def test_words_of_the_console_become_commands() -> None:
    session = session_of(study("A"))
    snapshot = replace(seen(session).snapshot(EPOCH_S + 101.0), spots=(spot(),))
    do, content = target_command(["add", "1", "left", "groin"], snapshot)
    assert (do, content["name"]) == ("target_add", "left groin")
    assert content["position_mm"] == spot().position_mm.tolist()
    do, content = target_command(["end", "A", "not found", "Klein", "three", "scans"], snapshot)
    assert content == {"target": "A", "outcome": "not found", "by": "Klein", "reason": "three scans"}
    assert "A: (0.0, 0.0, -25.0) mm in Reference; open" in targets_words(snapshot)
    for wrong in (["add", "7", "x"], ["end", "A", "gone", "K", "why"], ["remove"]):
        with pytest.raises(InputError):
            target_command(wrong, snapshot)
