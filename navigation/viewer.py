"""The window: a process of its own that reads the published stream, says what the user wants, and may die alone.

On a display it is shown; without one it runs under Xvfb, where that is installed, and leaves its picture. A window that
crashes or hangs is started anew (H30): the engine holds everything that it showed.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from navigation.windowtalk import Obey, Talk

logger = logging.getLogger(__name__)

SCREEN = "-screen 0 1600x1000x24"
# Time for the window to write its picture and close.
CLOSE_S = 5.0
# A window that says nothing for so long hangs; one that has not said anything yet is still starting.
HANG_S, LOOK_S = 3.0, 0.2
# A window that dies so often so soon will not live: the case goes on without it.
MOST_STARTS, WITHIN_S = 5, 60.0

Process = subprocess.Popen[bytes]


class Window:
    """Opened when the publisher listens, closed at the end; leaves `picture` if that is given.

    `study` is the folder whose CT is drawn behind the map once it is there. `obey` answers what the user asks for in
    the window; without it the window only shows. `remark` says afterwards why there was no window or no picture.
    `on_closed` is told when the user has closed the window. `case` is the file whose tables set the window up.
    """

    def __init__(
        self,
        headless: bool,
        picture: Path | None,
        study: Path | None = None,
        obey: Obey | None = None,
        on_closed: Callable[[], None] = lambda: None,
        case: Path | None = None,
    ) -> None:
        self.picture = picture
        self.study = study
        self.case = case
        self.shown = not headless and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        self.remark: str | None = None
        self.starts = 0
        self._obey, self._on_closed = obey, on_closed
        self._process: Process | None = None
        self._talk: Talk | None = None
        self._closing = threading.Event()
        self._started_s: list[float] = []

    def open(self, port: int) -> None:
        """Start the window's process; a missing Xvfb only becomes the remark."""
        command = self._command(port)
        if command is None:
            return
        self._closing.clear()
        self._start(command)
        threading.Thread(target=self._watch, args=(command,), name="window", daemon=True).start()

    def _command(self, port: int) -> list[str] | None:
        command = [sys.executable, "-m", "navigation.ui", "--connect", f"127.0.0.1:{port}"]
        if self.study is not None:
            command += ["--study", str(self.study)]
        if self.case is not None and self.case.is_file():
            command += ["--case", str(self.case)]
        if self.picture is not None:
            command += ["--screenshot", str(self.picture)]
        elif not self.shown:
            self.remark = "No display: the case runs without a window."
            return None
        if self._obey is not None:
            command += ["--talk", "--sound"]
        if self.shown:
            return command
        xvfb = shutil.which("xvfb-run")
        if xvfb is None:
            self.remark = "No display and no xvfb-run here: the window was not drawn (window.png is missing)."
            return None
        return [xvfb, "-a", "-s", SCREEN, *command]

    def _start(self, command: list[str]) -> None:
        if self._talk is not None:
            self._talk.end()
        pipe = subprocess.DEVNULL if self._obey is None else subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._process = process
        self.starts += 1
        self._started_s.append(time.monotonic())
        if self._obey is not None and process.stdin is not None and process.stdout is not None:
            self._talk = Talk(process.stdout, process.stdin, self._obey)

    def _watch(self, command: list[str]) -> None:
        """Start it anew when it crashes or hangs, until it is closed."""
        while not self._closing.is_set():
            process, talk = self._process, self._talk
            if process is None:
                return
            try:
                code = process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                if talk is not None and talk.silent_s() > HANG_S:
                    logger.warning("the window hangs: it is started anew")
                    _kill(process)
                continue
            if self._closing.is_set():
                return
            if code == 0:
                self._on_closed()
                return
            if self._too_often():
                self.remark = f"The window died {MOST_STARTS} times: the case runs without it."
                logger.error(self.remark)
                return
            logger.warning("the window died (%d): it is started anew", code)
            self._start(command)
            if self._closing.is_set() and self._process is not None:
                _kill(self._process)  # closed while it was being started

    def _too_often(self) -> bool:
        since = time.monotonic() - WITHIN_S
        return len([s for s in self._started_s if s >= since]) >= MOST_STARTS

    @property
    def running(self) -> bool:
        """Whether there is a window now."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the window and wait for it; harmless when repeated."""
        self._closing.set()
        process = self._process
        if process is None:
            return
        self._process = None
        if self._talk is not None:
            self._talk.end()
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            _end(process)
        if self.picture is not None and not self.picture.is_file():
            self.remark = "The window ended without leaving its picture (window.png is missing)."


def _kill(process: Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _end(process: Process) -> None:
    """End the whole group: xvfb-run, its server and the window."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(CLOSE_S)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
        return
