"""The window of a guided calibration: states over a real pipe, what is painted, and what the user can say."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PyQt5.QtCore import Qt
from PyQt5.QtGui import QImage

from calibration.guided.guidepivot import PivotGuide
from navigation.ui.calibration import CalibrationWindow, States
from navigation.ui.calibrationview import CalibrationView
from tests.calibration.guided_hand import Hand
from tests.navigation.guided_bench import bench

STEPS = [["pivot", "Tip in the divot"], ["axis", "Spin about the axis"]]


def state_of(guide: PivotGuide, **more: Any) -> dict[str, Any]:
    """A state as the session sends it."""
    return {
        **guide.guidance().as_json(),
        "steps": STEPS,
        "steps_done": ["axis"],
        "rate_cps": 1234.0,
        "with_counts": True,
        "lost": [],
        "simulated": True,
        "outcome": None,
        **more,
    }


def tilted(turns: float) -> PivotGuide:
    """A guide whose tool has been tilted round that far."""
    hand, guide = Hand(5), PivotGuide("stylus", target_sd_mm=0.001)
    hand.hold(guide, 2.0)
    hand.lean(guide, (-20.0, 0.0))
    for turn in np.linspace(np.pi, np.pi * (1 + 2 * turns), 3 + int(20 * turns)):
        hand.lean(guide, (26 * np.cos(turn), 26 * np.sin(turn)))
    return guide


def painted(view: CalibrationView) -> np.ndarray:
    """(rows, columns, 3): what the window shows."""
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    assert bits is not None
    raw = np.frombuffer(bits.asstring(image.byteCount()), dtype=np.uint8)
    rows = raw.reshape(image.height(), image.bytesPerLine())[:, : 3 * image.width()]
    return rows.reshape(image.height(), image.width(), 3).astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int], room: int = 14) -> int:
    return int((np.abs(picture - colour) <= room).all(axis=-1).sum())


@pytest.fixture
def pipe() -> Iterator[tuple[IO[str], IO[str]]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "r") as out, os.fdopen(writer, "w") as into:
        yield out, into


def test_states_from_a_pipe_are_painted_and_a_picture_is_left(
    pipe: tuple[IO[str], IO[str]], qtbot: Any, tmp_path: Path
) -> None:
    out, into = pipe
    target = tmp_path / "window.png"
    window = CalibrationWindow(States(out), io.StringIO(), target)
    qtbot.addWidget(window.view)
    window.view.show()
    into.write("no json\n" + json.dumps(state_of(tilted(0.6))) + "\n")
    into.flush()

    def seen() -> bool:
        window.frame()
        return window.view.state is not None

    qtbot.waitUntil(seen, timeout=30_000)
    window.close()
    assert QImage(str(target)).width() == 1600
    into.close()
    qtbot.waitUntil(lambda: not window.frame(), timeout=30_000)


def test_the_map_fills_as_the_tool_goes_round_and_the_cell_asked_for_is_outlined(qtbot: Any) -> None:
    view = CalibrationView(lambda word: None)
    qtbot.addWidget(view)
    view.resize(1600, 1000)
    filled, asked = [], []
    for turns in (0.25, 1.0):
        guide = tilted(turns)
        view.show_state(state_of(guide, simulated=False))
        picture = painted(view)
        # The blue of covered cells over the panel's own colour: 59 % of (86, 180, 233) over (25, 30, 37).
        filled.append(near(picture, (61, 118, 152)))
        asked.append(near(picture, (255, 180, 84)))
    assert filled[1] > 1.5 * filled[0] > 3000
    assert min(asked) > 500


def test_nothing_is_green(qtbot: Any) -> None:
    view = CalibrationView(lambda word: None)
    qtbot.addWidget(view)
    view.resize(1600, 1000)
    accepted = {"accepted": True, "reasons": [], "path": "cal/tip.json", "pictures": [], "code": 0}
    for state in (state_of(tilted(1.0)), state_of(tilted(1.0), outcome=accepted)):
        view.show_state(state)
        red, green, blue = np.moveaxis(painted(view), -1, 0)
        assert not ((green > 90) & (green > 1.3 * red) & (green > 1.3 * blue)).any()


def test_simulation_is_stamped_over_the_whole_window(qtbot: Any) -> None:
    view = CalibrationView(lambda word: None)
    qtbot.addWidget(view)
    view.resize(1600, 1000)
    view.show_state(state_of(tilted(0.5)))
    assert near(painted(view)[:50], (138, 43, 226)) > 40_000
    view.show_state(state_of(tilted(0.5), simulated=False))
    assert near(painted(view)[:50], (138, 43, 226)) == 0


def outcome(accepted: bool) -> dict[str, Any]:
    reasons = [] if accepted else ["3D RMS 0.9 mm, at most 0.5 allowed"]
    return {"accepted": accepted, "reasons": reasons, "path": "cal/tip.json", "pictures": [], "code": 0}


@pytest.mark.parametrize(
    ("accepted", "key", "said"),
    [
        (True, Qt.Key.Key_A, ["accept"]),
        (True, Qt.Key.Key_R, ["refuse"]),
        (False, Qt.Key.Key_A, []),
        (False, Qt.Key.Key_Escape, ["stop"]),
    ],
)
def test_what_the_gates_refused_nobody_can_accept(
    accepted: bool, key: Qt.Key, said: list[str], qtbot: Any
) -> None:
    words: list[str] = []
    view = CalibrationView(words.append)
    qtbot.addWidget(view)
    view.resize(1600, 1000)
    view.show_state(state_of(tilted(0.5), outcome=outcome(accepted)))
    view.grab()
    qtbot.keyClick(view, key)
    assert words == said
    assert [word for _, word in view._buttons] == (["accept", "refuse"] if accepted else ["stop"])


def test_a_click_on_a_button_is_a_word(qtbot: Any) -> None:
    words: list[str] = []
    view = CalibrationView(words.append)
    qtbot.addWidget(view)
    view.resize(1600, 1000)
    view.show_state(state_of(tilted(0.5), outcome=outcome(True)))
    view.grab()
    for box, _ in list(view._buttons):
        qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=box.center().toPoint())
    assert words == ["accept", "refuse"]


def guided(tmp_path: Path, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    words = ["calibrate", "guide", "pivot", "--live", f"127.0.0.1:{port}", "--tool", "Stylus"]
    words += ["--out", str(tmp_path / "cal"), "--screenshot", str(tmp_path / "w.png"), "--longest-s", "40"]
    return subprocess.run(
        [sys.executable, "-m", "navigation.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**kept, "XDG_RUNTIME_DIR": str(tmp_path), **environment},
        check=False,
    )


def test_a_whole_step_in_the_window_over_real_sockets(tmp_path: Path) -> None:
    with bench("pivot", seed=2, speed=8.0) as (_, tracker, _probe):
        done = guided(tmp_path, tracker, QT_QPA_PLATFORM="offscreen")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "cal" / "tip.json").read_text(encoding="utf-8"))["accepted"] is True
    for name in ("w.png", "w-result.png"):
        image = QImage(str(tmp_path / name))
        assert (image.width(), image.height()) == (1600, 1000)


def test_without_a_display_it_says_what_else_leads(tmp_path: Path) -> None:
    done = guided(tmp_path, 1)
    assert done.returncode == 2
    assert done.stderr.strip() == "gammanav: no display: --headless leads by words on the terminal"
