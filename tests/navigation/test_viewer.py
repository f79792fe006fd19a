"""The window as a process: it talks, and when it dies it comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from navigation.viewer import Window
from tracking.igtl import Server

PATIENCE_S = 60.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if not os.environ.get("DISPLAY"):
        monkeypatch.setenv("DISPLAY", ":none")  # the window is started as on a screen, and draws off it
        monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    found = Server(0)
    found.start()
    yield found
    found.stop()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def no_order(_words: str) -> dict[str, Any]:
    return {"text": "", "refused": False}


def beating(window: Window) -> bool:
    talk = window._talk
    return talk is not None and talk._beat_s is not None


def test_a_window_that_is_killed_comes_back_and_talks_again(server: Server) -> None:
    window = Window(False, None, obey=no_order)
    window.open(server.port)
    try:
        until(lambda: beating(window))
        assert window._process is not None
        first = window._process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: window.starts >= 2 and beating(window))
        assert window._process.pid != first and window.running
    finally:
        before = window.starts
        window.close()
    assert not window.running
    assert window.starts == before  # closing it on purpose is no crash


def test_a_window_that_hangs_is_started_anew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(False, None, obey=no_order)
    window.open(server.port)
    try:
        until(lambda: beating(window))
        assert window._process is not None
        os.kill(window._process.pid, signal.SIGSTOP)
        until(lambda: window.starts >= 2 and beating(window))
    finally:
        window.close()


def test_a_window_that_cannot_live_is_given_up_with_a_remark(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "nothing-of-the-kind")
    window = Window(False, None, obey=no_order)
    window.open(server.port)
    try:
        until(lambda: window.remark is not None)
        assert "the case runs without it" in str(window.remark)
    finally:
        window.close()


def test_without_a_display_there_is_a_remark_and_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    window = Window(False, None)
    window.open(1)
    assert window.remark == "No display: the case runs without a window."
    assert not window.running
