"""What each step of a case says of itself, over the states that a case goes through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from navigation.engine.snapshot import LandmarkState, Registration
from navigation.engine.tipstate import IN_ORDER, WRONG, TipState
from navigation.workflow import (
    CALIBRATION,
    CHECK_BED,
    DEVICES,
    DONE,
    NAVIGATE,
    READY,
    REFUSED,
    REGISTRATION,
    REPORT,
    SCAN,
    STUDY,
    TITLES,
    Step,
    current,
    steps,
)
from tests.navigation.ui.scene import snapshot


def step(key: str, **changes: object) -> Step:
    return next(s for s in steps(snapshot(**changes)) if s.key == key)


def test_all_steps_stand_in_the_order_of_an_operation() -> None:
    assert [s.key for s in steps(snapshot())] == list(TITLES)


def test_a_scan_without_calibration_or_tracker_or_with_a_wrong_tip_is_refused_with_the_reason() -> None:
    assert step(SCAN).state == READY
    for changes, reason in (
        ({"calibration_id": "none"}, "calibration"),
        ({"tracked": False}, "no tracker"),
        ({"tip_check": TipState(WRONG)}, "tip"),
    ):
        found = step(SCAN, **changes)
        assert found.state == REFUSED and reason in found.refused[0]
        assert step(CHECK_BED, **changes).state == REFUSED


def test_navigation_needs_a_map_or_a_placed_target() -> None:
    assert step(NAVIGATE).state == READY
    found = step(NAVIGATE, map=None)
    assert found.state == REFUSED and "scan first" in found.refused[0]
    assert "bumped" in step(NAVIGATE, map=None, map_locked="the reference was bumped").refused[0]


def test_devices_are_done_only_while_the_probe_is_seen_and_counts_come() -> None:
    assert step(DEVICES).done
    shot = snapshot()
    blind = {name: replace(tool, valid=False) for name, tool in shot.tools.items()}
    assert step(DEVICES, tools=blind).open == ("the probe is not seen",)
    assert step(DEVICES, counts=replace(shot.counts, fresh=False)).open == ("no counts come",)


def test_a_registration_in_doubt_is_not_done() -> None:
    assert step(REGISTRATION, study_id="s").done
    for doubtful in (Registration("r", restored=True), Registration("r", doubt="moved"), Registration()):
        assert not step(REGISTRATION, study_id="s", registration=doubtful).done
    marks = (LandmarkState("xiphoid", True), LandmarkState("navel", False))
    told = step(REGISTRATION, study_id="s", registration=Registration(), landmarks=marks)
    assert told.open == ("touch navel: 1 of 2 landmarks touched",)


@pytest.mark.parametrize("state", [TipState(), TipState(WRONG)])
def test_an_unchecked_or_wrong_tip_leaves_the_check_of_calibration_undone(state: TipState) -> None:
    assert not step(CALIBRATION, tip_check=state).done
    assert step(CALIBRATION, tip_check=TipState(IN_ORDER, rms_mm=0.2)).done


def test_a_running_scan_keeps_the_report_open_and_a_finished_one_is_done() -> None:
    assert "stop it first" in " ".join(step(REPORT).open)
    assert step(SCAN, mode="idle", map_final=True).state == DONE


def test_the_case_is_at_its_first_step_that_can_be_done() -> None:
    checked = TipState(IN_ORDER)
    assert current(steps(snapshot(tip_check=checked, registration=Registration()))) == REGISTRATION
    assert current(steps(snapshot(tip_check=checked))) == SCAN
    assert current((Step(STUDY, True), Step(DEVICES, False))) == DEVICES
