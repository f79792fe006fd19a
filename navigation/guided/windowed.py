"""A guided step shown in a window: a process of its own that paints what it is told and answers in words.

State goes down its standard input, a JSON line ten times a second; `accept`, `refuse` or `stop` come back. A window
that dies ends nothing but itself: the step is then not finished, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import click

from navigation.guided.session import LOOK_S, Outcome, Session, put_aside
from tracking.errors import SurroundingsError

# A picture of the result is left after it was shown for so long, where a picture is all that is asked for.
SHOWN_S = 1.5
CLOSE_S = 10.0


class Window:
    """The window's process; `words` are what the user has said since the last call."""

    def __init__(self, screenshot: Path | None) -> None:
        command = [sys.executable, "-m", "navigation.ui.calibration"]
        command += [] if screenshot is None else ["--screenshot", str(screenshot)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def _listen(self, stdout: IO[str] | None) -> None:
        for line in stdout or ():
            self._said.put(line.strip())

    def words(self) -> list[str]:
        """What was said, in order."""
        said = []
        while not self._said.empty():
            said.append(self._said.get())
        return said

    def show(self, state: dict[str, Any]) -> bool:
        """Send a state; False when the window has gone."""
        if self._process.poll() is not None or self._process.stdin is None:
            return False
        try:
            self._process.stdin.write(json.dumps(state, allow_nan=False) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def close(self) -> int | None:
        """End it; returns its exit code."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            return self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def in_window(session: Session, longest_s: float, screenshot: Path | None) -> Outcome | None:
    """Lead the step in a window; None when it was stopped. Raises SurroundingsError when the time is up."""
    window = Window(screenshot)
    try:
        if not _led(session, window, longest_s):
            click.echo(f"step {session.wish.step}: stopped, nothing was calibrated")
            return None
        outcome = session.finish()
        word = _answer(session, window, outcome, None if screenshot is None else SHOWN_S)
    finally:
        window.close()
    if word == "refuse":
        click.echo(f"refused by the operator: kept as {put_aside(outcome)}")
    return outcome


def require_display() -> None:
    """SurroundingsError when there is nowhere to show a window."""
    if os.environ.get("QT_QPA_PLATFORM", "") in ("offscreen", "minimal", "vnc"):
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SurroundingsError("no display: --headless leads by words on the terminal")


def _led(session: Session, window: Window, longest_s: float) -> bool:
    """Whether the step came to its end."""
    end = time.monotonic() + longest_s
    while True:
        told = session.look()
        if not window.show(session.state(told)) or "stop" in window.words():
            return False
        if told.done:
            return True
        if time.monotonic() > end:
            raise SurroundingsError(f"step {session.wish.step}: not done within {longest_s:g} s")
        time.sleep(LOOK_S)


def _answer(session: Session, window: Window, outcome: Outcome, most_s: float | None) -> str | None:
    """Show the result until the user has said something, or for `most_s`."""
    state = session.state(session.guide.guidance()) | {"outcome": told_of(outcome)}
    end = None if most_s is None else time.monotonic() + most_s
    while window.show(state):
        said = [w for w in window.words() if w in ("accept", "refuse", "stop")]
        if said:
            return said[-1]
        if end is not None and time.monotonic() > end:
            return None
        time.sleep(LOOK_S)
    return None


def told_of(outcome: Outcome) -> dict[str, Any]:
    """What the window shows of a result."""
    return {
        "accepted": outcome.accepted,
        "reasons": list(outcome.reasons),
        "path": str(outcome.path),
        "pictures": [str(p) for p in outcome.pictures],
        "code": outcome.code,
    }
