"""The shell: what is pressed is said, what ends something is pressed twice, nothing is said in nobody's name."""

from __future__ import annotations

import io
import json
import shlex
from typing import Any

import pytest
from PyQt5.QtCore import Qt

from navigation.engine.snapshot import LandmarkState, Registration
from navigation.ui.actions import Action, actions, always
from navigation.ui.dashboard import Dashboard
from navigation.ui.rail import NARROW_PX
from navigation.ui.shell import Shell
from navigation.ui.sound import Voice
from navigation.windowtalk import Orders
from navigation.workflow import TITLES
from tests.navigation.ui.scene import model_of, snapshot


class Bench:
    def __init__(self, qtbot: Any) -> None:
        self.up = io.StringIO()
        self.shell = Shell(
            Dashboard(lambda: None, lambda number: None), Orders(self.up, io.StringIO("")), Voice()
        )
        qtbot.addWidget(self.shell)
        self.shell.resize(1600, 1000)

    def show(self, step: str, **changes: Any) -> None:
        state = model_of(snapshot(**changes)).state(0.05)
        self.shell.show_state(state)
        self.shell.rail.select(step)
        self.shell.show_state(state)

    def said(self) -> list[str]:
        return [json.loads(row)["say"] for row in self.up.getvalue().splitlines()]

    def press(self, label: str) -> None:
        bar = self.shell.bar
        bar.press(next(a for a, _ in bar.buttons if a.label == label))


@pytest.fixture
def bench(qtbot: Any) -> Bench:
    return Bench(qtbot)


def test_what_ends_the_case_is_pressed_twice(bench: Bench) -> None:
    bench.show("report", mode="idle")
    bench.press("End the case")
    assert bench.said() == []
    assert "press once more" in bench.shell.bar.told.text()
    bench.press("End the case")
    assert bench.said() == ["quit"]


def test_another_press_in_between_disarms(bench: Bench) -> None:
    bench.show("report", mode="idle")
    bench.press("End the case")
    bench.press("Count bed")
    bench.press("End the case")
    assert bench.said() == ["count bed"]


def test_nothing_is_said_in_nobodys_name_and_a_name_of_two_words_is_one(bench: Bench) -> None:
    bench.show("report", mode="idle")
    bench.press("Note all alarms")
    assert bench.said() == [] and bench.shell.bar.told.refused
    bench.shell.bar.by.setText("Ada O'Neil")
    bench.press("Note all alarms")
    assert bench.said() == ["acknowledge 'Ada O'\"'\"'Neil'"]


def test_the_threshold_is_said_with_the_check(bench: Bench) -> None:
    bench.show("check-bed", mode="idle", bed_points=12)
    bench.shell.bar.kbq.setValue(4.5)
    bench.press("Check bed at")
    assert bench.said() == ["check 4.5"]


def test_what_cannot_be_done_says_why_and_is_not_said(bench: Bench) -> None:
    bench.show("scan", mode="idle", calibration_id="none")
    bench.press("Start scan")
    assert bench.said() == []
    assert "calibration" in bench.shell.bar.told.text()


def test_the_return_key_and_a_presenter_do_what_is_offered_first(bench: Bench, qtbot: Any) -> None:
    marks = (LandmarkState("xiphoid", True), LandmarkState("left spine", False))
    bench.show("registration", mode="idle", study_id="s", landmarks=marks, registration=Registration())
    qtbot.keyClick(bench.shell, Qt.Key.Key_PageDown)
    assert bench.said() == ["landmark 'left spine'"]


def test_return_in_a_field_orders_nothing(bench: Bench, qtbot: Any) -> None:
    bench.show("report")  # a scan goes on: the first action stops it
    bench.shell.show()
    bench.shell.bar.by.setFocus()
    qtbot.keyClicks(bench.shell.bar.by, "Ada")
    qtbot.keyClick(bench.shell.bar.by, Qt.Key.Key_Return)
    assert bench.said() == []
    bench.show("study")
    bench.shell.study.name.setFocus()
    qtbot.keyClicks(bench.shell.study.name, "navel")
    qtbot.keyClick(bench.shell.study.name, Qt.Key.Key_Return)
    assert bench.said() == []


def test_a_name_with_braces_and_quotes_is_said_as_it_is() -> None:
    name = "node {left} 'A'"
    marks = (LandmarkState(name, False),)
    shot = snapshot(mode="idle", study_id="s", landmarks=marks, registration=Registration())
    first = actions("registration", model_of(shot).state(0.05))[0]
    assert shlex.split(first.filled({"by": "", "kbq": "8"})) == ["landmark", name]


def test_function_keys_go_to_the_steps(bench: Bench, qtbot: Any) -> None:
    bench.show("study")
    for number, key in enumerate(TITLES):
        qtbot.keyClick(bench.shell, Qt.Key(Qt.Key.Key_F1 + number))
        assert bench.shell.rail.selected == key


def test_a_running_scan_can_be_stopped_from_every_step_and_a_count_cancelled() -> None:
    state = model_of(snapshot()).state(0.05)
    for step in TITLES:
        assert actions(step, state)[0].words == "stop"
    assert [a.words for a in always(state)][-1] == "removed"


@pytest.mark.parametrize("step", list(TITLES))
def test_every_step_offers_something_and_its_words_are_the_consoles(step: str) -> None:
    from navigation.engine.console import WORDS

    known = [w.strip() for w in WORDS.split(",")]
    state = model_of(snapshot(mode="idle", study_id="s")).state(0.05)
    offered = (*actions(step, state), *always(state))
    assert offered
    assert all(a.words.split()[0] in known for a in offered), [a.words for a in offered]


def test_sound_keys_change_what_is_heard(bench: Bench, qtbot: Any) -> None:
    voice = bench.shell.voice
    assert voice is not None
    before = voice.settings.threshold_cps
    qtbot.keyClick(bench.shell, Qt.Key.Key_Plus)
    assert voice.settings.threshold_cps > before
    qtbot.keyClick(bench.shell, Qt.Key.Key_M)
    assert not voice.settings.on


def test_on_a_small_screen_the_rail_keeps_its_signs(bench: Bench) -> None:
    bench.show("check-bed", mode="idle", bed_points=5)
    bench.shell.fit(1024, 768)
    assert bench.shell.rail.width() == NARROW_PX
    assert bench.shell.minimumSizeHint().width() <= 1024
    assert bench.shell.minimumSizeHint().height() <= 768
    assert not bench.shell.grab().isNull()


def test_without_a_talk_the_window_only_shows(qtbot: Any) -> None:
    shell = Shell(Dashboard(lambda: None, lambda number: None), None)
    qtbot.addWidget(shell)
    shell.show_state(model_of(snapshot()).state(0.05))
    assert not shell.rail.isVisibleTo(shell) and not shell.bar.isVisibleTo(shell)


def test_an_action_fills_its_fields() -> None:
    action = Action("Check", "check {kbq}")
    assert action.filled({"kbq": "8", "by": ""}) == "check 8"
