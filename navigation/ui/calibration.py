"""`python -m navigation.ui.calibration`: the window of a guided calibration, a process of its own.

States come as JSON lines on standard input, the user's words go to standard output; end of input ends it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import IO, Any

import click
from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QImage
from PyQt5.QtWidgets import QApplication

from navigation.ui.calibrationview import CalibrationView
from navigation.ui.window import FRAME_MS, FRAMES_BETWEEN_GRABS, WINDOW_SIZE, require_display
from tracking.errors import SurroundingsError

EXIT_INPUT = 2


class States:
    """The newest state, read on a thread of its own: a slow painter skips frames, it never lags."""

    def __init__(self, stream: IO[str]) -> None:
        self.ended = False
        self._newest: dict[str, Any] | None = None
        self._stream = stream
        threading.Thread(target=self._read, name="states", daemon=True).start()

    def _read(self) -> None:
        for row in self._stream:
            try:
                found = json.loads(row)
            except ValueError:
                continue
            if isinstance(found, dict):
                self._newest = found
        self.ended = True

    def newest(self) -> dict[str, Any] | None:
        """None until the first has come."""
        return self._newest


class CalibrationWindow:
    """View, states and the pictures that are left: of the fullest map, and of the result beside it."""

    def __init__(self, states: States, out: IO[str], screenshot: Path | None) -> None:
        self.states, self._out, self._screenshot = states, out, screenshot
        self.view = CalibrationView(self.say)
        self.view.setWindowTitle("gammanav calibration: research use only")
        self.view.resize(*WINDOW_SIZE)
        self._best: tuple[float, QImage] | None = None
        self._frames = 0
        self._result_kept = False

    def say(self, word: str) -> None:
        """A word of the user's to whoever leads the step."""
        self._out.write(word + "\n")
        self._out.flush()

    def frame(self) -> bool:
        """Paint the newest state; False when there will be no more."""
        state = self.states.newest()
        if state is not None and state is not self.view.state:
            self.view.show_state(state)
            if self._screenshot is not None:
                self._keep(state, self._screenshot)
        return not self.states.ended

    def _keep(self, state: dict[str, Any], target: Path) -> None:
        if state.get("outcome") is not None:
            if not self._result_kept:
                self._result_kept = True
                _save(target.with_name(f"{target.stem}-result{target.suffix}"), self.view.grab().toImage())
            return
        self._frames += 1
        better = self._best is None or state["progress"] > self._best[0]
        if better and not state["done"] and self._frames % FRAMES_BETWEEN_GRABS == 1:
            self._best = (state["progress"], self.view.grab().toImage())

    def close(self) -> None:
        """Leave the picture of the fullest map; of what was seen last where the step was over before it opened."""
        if self._screenshot is None or self.view.state is None:
            return
        _save(self._screenshot, self.view.grab().toImage() if self._best is None else self._best[1])


def _save(target: Path, image: QImage) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    if not image.save(str(temporary), "PNG"):
        raise SurroundingsError(f"{target}: the picture cannot be written")
    temporary.replace(target)


@click.command()
@click.option(
    "--screenshot", type=click.Path(path_type=Path), help="Leave pictures: NAME.png and NAME-result.png."
)
def command(screenshot: Path | None) -> None:
    """Show a guided calibration. Keys: A accept, R refuse, Escape stop. Research use only."""
    require_display()
    application = QApplication(["gammanav"])
    window = CalibrationWindow(States(sys.stdin), sys.stdout, screenshot)
    timer = QTimer()
    timer.timeout.connect(lambda: None if window.frame() else application.quit())
    timer.start(FRAME_MS)
    window.view.show()
    application.exec_()
    timer.stop()
    window.close()


def main() -> None:
    """Exit code 2 with one line without a display."""
    try:
        command(standalone_mode=False)
    except (click.ClickException, SurroundingsError) as error:
        click.echo(f"gammanav window: {error}", err=True)
        sys.exit(EXIT_INPUT)


if __name__ == "__main__":
    main()
