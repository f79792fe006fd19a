"""A whole case through the window's own buttons: real sockets, real engine, real widgets, a simulated patient.

Leaves a picture of every step in build/window/ for whoever looks at them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PyQt5.QtCore import Qt

from navigation.case import read_case
from navigation.demo.calibrations import detector_calibration, sweep_latency
from navigation.demo.simulator import Simulator
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.console import Console
from navigation.engine.reconstruct import build_imaging
from navigation.engine.results import write_results
from navigation.ui.window import LiveWindow, Options
from navigation.windowtalk import Orders, Talk

if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

pytestmark = pytest.mark.slow
PICTURES = Path(__file__).resolve().parents[2] / "build" / "window"
PATIENCE_MS = 90_000
# A hand that picks up a tool needs a moment to reach the patient.
APPROACH_S = 1.2


class Operator:
    """Somebody at the window: looks at it, presses its buttons, waits for what it says."""

    def __init__(self, window: LiveWindow, qtbot: Any) -> None:
        self.window, self.qtbot = window, qtbot
        self._pictures = 0

    def until(self, true: Callable[[], object]) -> None:
        def looked() -> bool:
            self.window.frame()
            return bool(true())

        self.qtbot.waitUntil(looked, timeout=PATIENCE_MS)

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def step(self, key: str) -> None:
        self.until(lambda: self.window.shell.rail._steps)
        self.window.shell.rail.select(key)
        self.window.frame()

    def press(self, label: str) -> str:
        """Press a button and wait for the answer."""
        bar = self.window.shell.bar

        def offered() -> Any:
            return next((b for a, b in bar.buttons if a.label == label and b.isEnabled()), None)

        self.until(offered)
        self.qtbot.mouseClick(offered(), Qt.MouseButton.LeftButton)
        orders = self.window.orders
        assert orders is not None
        self.until(lambda: not orders.pending)
        self.window.frame()
        return str(bar.told.text())

    def picture(self, name: str) -> None:
        self.rest(0.6)
        PICTURES.mkdir(parents=True, exist_ok=True)
        self._pictures += 1
        assert self.window.shell.grab().save(str(PICTURES / f"{self._pictures:02d}-{name}.png"))


class Room:
    """The simulated patient, the engine's case and the window on it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.out = folder / "case"
        setup = folder / "setup"
        self.simulator = stack.enter_context(Simulator("bed", 3, 0, folder / "truth.json", setup))
        settings = read_case(setup / "case.toml")
        self.case = stack.enter_context(LiveCase(settings, self.out / RECORD_NAME, 0, build_imaging))
        assert self.case.engine.wait_connected(20.0) is None
        self._prepare(setup)
        self.ended = False

    def _prepare(self, setup: Path) -> None:
        """What the physicist has done: a calibrated detector, and the latency of its counts from a sweep."""
        do = self.case.engine.command
        probe = detector_calibration(setup)
        self.simulator.phase("sweep", 6.0)
        self.simulator.pause(APPROACH_S, self.simulator.check)
        do("start", mode="sweep", name="sweep").result(20.0)
        self.simulator.wait_stop("sweep", 6.0, self.simulator.check)
        do("stop").result(60.0)
        do("calibration", probe=probe).result(60.0)
        do("latency", **sweep_latency(self.case.session, "sweep", probe, setup)).result(20.0)

    def obey(self, console: Console) -> Callable[[str], dict[str, Any]]:
        def answer(words: str) -> dict[str, Any]:
            found = console.answer(words)
            self.ended |= found.last
            return {"text": found.text, "refused": found.refused}

        return answer


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(tmp_path, stack)


@pytest.fixture
def operator(room: Room, qtbot: Any) -> Iterator[Operator]:
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    says, hears = os.fdopen(up_write, "w"), os.fdopen(down_read)
    console = Console(room.case, lambda words: None)
    talk = Talk(os.fdopen(up_read, "rb"), os.fdopen(down_write, "wb"), room.obey(console))
    options = Options("127.0.0.1", room.case.publisher.server.port, None, None, None, True)
    window = LiveWindow(options, lambda: None, Orders(says, hears))
    qtbot.addWidget(window.shell)
    window.start()
    yield Operator(window, qtbot)
    talk.end()
    says.close()
    window.close()
    qtbot.waitUntil(lambda: window.orders is not None and window.orders.ended, timeout=30_000)
    hears.close()


def play(room: Room, operator: Operator, phase: str, seconds: float) -> None:
    """The simulated hand does something while the window goes on."""
    room.simulator.phase(phase, seconds)
    operator.rest(APPROACH_S)


def test_a_case_from_the_first_look_to_the_results(room: Room, operator: Operator) -> None:
    window = operator.window
    operator.step("devices")
    operator.until(lambda: window.shell.rail._steps[1].state == "done")
    operator.picture("devices")

    operator.step("registration")
    operator.picture("registration")
    operator.step("calibration")
    operator.picture("calibration")

    operator.step("scan")
    room.simulator.phase("touch", 4.0)
    operator.rest(APPROACH_S)
    assert "outlining the surface" in operator.press("Touch surface")
    operator.picture("surface")
    operator.rest(3.0)
    assert operator.press("Stop outlining") == "stopped"

    play(room, operator, "scan-1", 16.0)
    assert operator.press("Start scan").startswith("scanning scan-1")
    operator.rest(12.0)
    operator.picture("scan")
    told = operator.press("Stop scan")
    assert told.startswith("scan-1: ") and "foci of activity" in told
    state = window.model.state(window.link.now_s())
    assert state.spots

    resect(room, operator, state.spots[0].id)
    check_bed(room, operator)
    end(room, operator)


def resect(room: Room, operator: Operator, focus: int) -> None:
    operator.step("navigate")
    assert operator.press(f"To focus {focus}").startswith("the way to focus")
    operator.picture("navigate")

    operator.step("resect")
    assert operator.press("Removed here") == "marked: removed here"
    room.simulator.phase("resect", 0.0)
    operator.picture("resect")


def check_bed(room: Room, operator: Operator) -> None:
    operator.step("check-bed")
    room.simulator.phase("touch-bed", 4.0)
    operator.rest(APPROACH_S)
    assert "outlining the bed" in operator.press("Outline bed (stylus)")
    operator.rest(3.0)
    operator.press("Stop outlining")
    assert "scanned for 8 kBq" in operator.press("Aim at")
    play(room, operator, "rescan", 12.0)
    assert operator.press("Scan bed").startswith("scanning scan-2")
    operator.rest(9.0)
    operator.picture("scan-bed")
    operator.press("Stop scan")
    statement = operator.press("Check bed at")
    assert "kBq" in statement and "clear" not in statement.lower()
    operator.picture("bed")


def end(room: Room, operator: Operator) -> None:
    operator.step("report")
    assert operator.press("End the case") == "End the case: press once more"
    assert not room.ended
    operator.picture("report")
    operator.press("End the case")
    assert room.ended
    names = write_results(room.case.session, room.case.engine.outcomes, room.out)
    assert {"scan-1", "scan-2"} <= set(names)


def test_what_the_engine_refuses_is_told_in_the_window_with_its_reason(
    room: Room, operator: Operator
) -> None:
    operator.step("navigate")
    assert operator.press("To nothing") == "nothing is selected"
    operator.step("study")
    told = operator.press("Send study to viewers")
    bar = operator.window.shell.bar
    assert bar.told.refused and told.startswith("refused: the case names no study")
    operator.step("check-bed")
    disabled = {a.label: b.toolTip() for a, b in bar.buttons if not b.isEnabled()}
    assert disabled["Check bed at"] == "the bed is not outlined"
    operator.step("report")
    # By whom? Nothing is said in nobody's name.
    assert "by whom" in operator.press("Note all alarms")
    bar.by.setText("Dr. O'Hara")
    assert operator.press("Note all alarms") == "noted: every alarm so far"
