"""The window: a process of its own that reads the published stream and may die alone.

On a display it is shown; without one it runs under Xvfb, where that is installed, and leaves its picture.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

SCREEN = "-screen 0 1600x1000x24"
# Time for the window to write its picture and close.
CLOSE_S = 5.0


class Window:
    """Opened when the publisher listens, closed at the end; leaves `picture` if that is given.

    `study` is the folder whose CT is drawn behind the map once it is there. `remark` says afterwards why there
    was no window or no picture.
    """

    def __init__(self, headless: bool, picture: Path | None, study: Path | None = None) -> None:
        self.picture = picture
        self.study = study
        self.shown = not headless and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        self.remark: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, port: int) -> None:
        """Start the window's process; a missing Xvfb only becomes the remark."""
        command = [sys.executable, "-m", "navigation.ui", "--connect", f"127.0.0.1:{port}"]
        if self.study is not None:
            command += ["--study", str(self.study)]
        if self.picture is not None:
            command += ["--screenshot", str(self.picture)]
        elif not self.shown:
            self.remark = "No display: the case runs without a window."
            return
        if not self.shown:
            xvfb = shutil.which("xvfb-run")
            if xvfb is None:
                self.remark = (
                    "No display and no xvfb-run here: the window was not drawn (window.png is missing)."
                )
                return
            command = [xvfb, "-a", "-s", SCREEN, *command]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def running(self) -> bool:
        """Whether there is a window now."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the window and wait for it; harmless when repeated."""
        process = self._process
        if process is None:
            return
        self._process = None
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            _end(process)
        if self.picture is not None and not self.picture.is_file():
            self.remark = "The window ended without leaving its picture (window.png is missing)."


def _end(process: subprocess.Popen[bytes]) -> None:
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
