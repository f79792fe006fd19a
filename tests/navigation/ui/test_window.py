from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PyQt5.QtGui import QImage

from navigation.ui.window import LiveWindow, Options
from tests.navigation.ui.scene import messages, snapshot
from tracking.igtl import Server, encode


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(0)
    found.start()
    yield found
    found.stop()


def publish(server: Server, number: int) -> None:
    for message in messages(snapshot(id=number)):
        first, second = encode(message.with_version(1)), encode(message.with_version(2))
        server.publish(first, second, (message.type, message.device), True)


def window_on(server: Server, finished: list[bool], qtbot: Any, picture: Path | None = None) -> LiveWindow:
    options = Options("127.0.0.1", server.port, None, picture, None)
    window = LiveWindow(options, lambda: finished.append(True))
    qtbot.addWidget(window.dashboard)
    window.start()
    return window


def test_window_shows_what_a_real_server_streams_and_says_when_it_stops(server: Server, qtbot: Any) -> None:
    window = window_on(server, [], qtbot)
    numbers = iter(range(1, 10_000))

    def live() -> bool:
        publish(server, next(numbers))
        window.frame()
        state = window.dashboard._state
        return state is not None and state.live and state.ticks >= 2

    try:
        qtbot.waitUntil(live, timeout=10_000)
        server.stop()

        def silent() -> bool:
            window.frame()
            state = window.dashboard._state
            return state is not None and any("ENGINE SILENT" in b for b in state.banners)

        qtbot.waitUntil(silent, timeout=30_000)
    finally:
        window.close()


def test_window_leaves_the_picture_of_its_best_moment_when_the_engine_ends(
    server: Server, qtbot: Any, tmp_path: Path
) -> None:
    finished: list[bool] = []
    picture = tmp_path / "window.png"
    window = window_on(server, finished, qtbot, picture)
    numbers = iter(range(1, 10_000))

    def kept() -> bool:
        publish(server, next(numbers))
        window.frame()
        return window._best is not None and window._best[0] > 24

    try:
        qtbot.waitUntil(kept, timeout=15_000)
        server.stop()

        def ended() -> bool:
            window.frame()
            return bool(finished)

        qtbot.waitUntil(ended, timeout=30_000)
    finally:
        window.close()
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (1600, 1000)
    assert [p.name for p in tmp_path.iterdir()] == ["window.png"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-m", "navigation.ui", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept | environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "no display"), (("--connect", "here"), "HOST:PORT"), (("--port", "99999"), "99999")],
)
def test_bad_surroundings_are_one_line_and_exit_2(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_window_without_an_engine_says_so_and_ends_when_told(tmp_path: Path) -> None:
    picture = tmp_path / "w.png"
    done = run(
        "--port",
        "1",
        "--after",
        "1.5",
        "--screenshot",
        str(picture),
        QT_QPA_PLATFORM="offscreen",
        XDG_RUNTIME_DIR=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert picture.is_file()
