"""The window's process: timer, link, study in the background, and the picture it leaves.

The picture is of the best moment seen: a live map with the probe, foci and a distance, the latest of them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QImage
from PyQt5.QtWidgets import QApplication

from navigation.io.study import load_study
from navigation.ui.compose import Backdrop
from navigation.ui.dashboard import Dashboard
from navigation.ui.model import ViewModel
from navigation.ui.shell import Shell
from navigation.ui.sound import Voice
from navigation.ui.soundout import SoundOut
from navigation.ui.source import EngineLink
from navigation.ui.state import ViewState
from navigation.ui.words import speak
from navigation.windowsettings import CameraSettings, WindowSettings
from navigation.windowtalk import Orders
from tracking.errors import GateRefusedError, InputError, SurroundingsError

if TYPE_CHECKING:
    from navigation.ui.camera.track import Video

logger = logging.getLogger(__name__)

# Sixteen frames a second: a hand that moves sees the probe follow; half of one core at most.
FRAME_MS = 60
WINDOW_SIZE = (1600, 1000)
# A picture is kept at most this often: grabbing costs as much as painting.
FRAMES_BETWEEN_GRABS = 5
# With the focus this close to the probe's axis the slices go through it.
THROUGH_MM = 4.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; `after_s` ends the window by itself."""

    host: str
    port: int
    study: Path | None
    screenshot: Path | None
    after_s: float | None
    talk: bool = False  # orders go to standard output, answers come by standard input
    sound: bool = False
    settings: WindowSettings = field(default_factory=WindowSettings)


class LiveWindow:
    """Puts link, model and views together; `frame` is called sixteen times a second. Without `orders` it only shows."""

    def __init__(self, options: Options, finish: Callable[[], None], orders: Orders | None = None) -> None:
        self.options = options
        self.model = ViewModel()
        settings = options.settings
        self.voice = Voice()
        self.voice.settings = replace(self.voice.settings, threshold_cps=settings.sound_above_cps)
        self.link = EngineLink(options.host, options.port, self.voice)
        self._sound: SoundOut | None = None
        self.dashboard = Dashboard(self._select_next, self._select, settings)
        self.orders = orders
        self.shell = Shell(self.dashboard, orders, self.voice)
        self.shell.fit(*_room())
        self._finish = finish
        self._frames = 0
        self._best: tuple[int, QImage] | None = None
        self._backdrop_asked = False
        self.model.video = None if settings.camera is None else video_of(settings.camera)

    def start(self) -> None:
        """Connect and show."""
        self.link.client.start()
        if self.model.video is not None:
            self.model.video.frames.start()
        self.shell.show()
        if self.options.sound:
            self._sound = SoundOut(self.voice)

    def _select(self, number: int) -> None:
        """A focus was chosen: at once in this window, and in the case, which remembers it."""
        self.model.select(number)
        if self.orders is not None:
            self.orders.say(f"go focus {number}")

    def _select_next(self) -> None:
        number = self.model.next_id()
        if number is not None:
            self._select(number)

    def frame(self) -> None:
        """One frame: news into the model, one state to all views."""
        self.link.pour_into(self.model)
        self.model.sound = self._sound_words()
        heard = self._sound is not None and self.voice.settings.on
        self.model.sound_above_cps = self.voice.settings.threshold_cps if heard else None
        state = self.model.state(self.link.now_s())
        self.shell.show_state(state)
        if self.orders is not None:
            self._talk(self.orders)
        self._frames += 1
        self._load_study(state)
        if self.options.screenshot is not None:
            self._keep_best(state)
            if self.link.lost or self._time_is_up():
                self._finish()
        elif self._time_is_up():
            self._finish()

    def _sound_words(self) -> str:
        """What is to be heard; why nothing can be."""
        if self._sound is None:
            return ""
        return self._sound.look() or self.voice.settings.words

    def _talk(self, orders: Orders) -> None:
        """Beat; leave with a case that has ended, stay with one that has died and say so."""
        orders.beat()
        if orders.bye:
            self._finish()
        self.model.engine_gone = orders.ended

    def _time_is_up(self) -> bool:
        limit = self.options.after_s
        return limit is not None and self._frames * FRAME_MS >= 1000.0 * limit

    def _keep_best(self, state: ViewState) -> None:
        if self._frames % FRAMES_BETWEEN_GRABS:
            return
        worth = picture_worth(state)
        if self._best is None or worth >= self._best[0]:
            self._best = (worth, self.shell.grab().toImage())

    def _load_study(self, state: ViewState) -> None:
        """Read the CT once, when it is there, beside the painting."""
        folder = self.options.study
        if folder is None or self._backdrop_asked or not (folder / "study.json").is_file():
            return
        self._backdrop_asked = True
        threading.Thread(target=self._read_study, args=(folder,), name="study", daemon=True).start()

    def _read_study(self, folder: Path) -> None:
        try:
            self.dashboard.backdrop = backdrop_of(folder)
            self.dashboard.study = folder
        except (InputError, OSError) as fault:
            logger.warning("no CT behind the map: %s", fault)

    def close(self) -> None:
        """Leave the picture and end the link."""
        self.link.client.stop()
        if self.model.video is not None:
            self.model.video.frames.stop()
        if self._sound is not None:
            self._sound.close()
        target = self.options.screenshot
        if target is None:
            return
        image = self._best[1] if self._best is not None else self.shell.grab().toImage()
        temporary = target.with_name(f".{os.getpid()}.{target.name}")
        if not image.save(str(temporary), "PNG"):
            raise SurroundingsError(f"{target}: the picture cannot be written")
        temporary.replace(target)


def video_of(camera: CameraSettings) -> Video:
    """The camera's frames and calibration; a calibration that cannot be read is told and not used."""
    from navigation.ui.camera.frames import open_frames
    from navigation.ui.camera.model import read_camera
    from navigation.ui.camera.track import Video

    found = None
    if camera.calibration is not None:
        try:
            found = read_camera(camera.calibration)
        except (InputError, GateRefusedError) as fault:
            logger.warning("%s", fault)
    return Video(open_frames(camera.video), found, camera.delay_s)


def _room() -> tuple[int, int]:
    """Width and height in pixels of the screen; as much as is meant where nothing is shown on one."""
    screen = QApplication.primaryScreen()
    if screen is None or QApplication.platformName() == "offscreen":
        return WINDOW_SIZE
    room = screen.availableGeometry()
    return room.width(), room.height()


def picture_worth(state: ViewState) -> int:
    """How much of the window's purpose a frame shows."""
    target = state.target
    far = target is not None and target.text != "--"
    offset = None if target is None else target.offset_mm
    aimed = far and offset is not None and float(offset[2]) > 0.0
    through = aimed and offset is not None and float(np.hypot(offset[0], offset[1])) < THROUGH_MM
    growing = state.live and not state.map_final and not state.map_of_other_scan
    registered = state.T_ras_reference is not None
    return 32 * through + 16 * growing + 8 * far + 4 * state.live + 2 * aimed + registered


def backdrop_of(folder: Path) -> Backdrop | None:
    """The CT of a study folder; None when it has none that may be used. Raises InputError."""
    series = load_study(folder).ct
    if series is None or not series.usable:
        return None
    return Backdrop(series.grid, np.asarray(series.volume(), dtype=np.float32))


def run_window(options: Options) -> None:
    """Show the window until it is closed. Raises SurroundingsError without a display."""
    require_display()
    orders = Orders(sys.stdout, sys.stdin) if options.talk else None
    application = QApplication(["gammanav"])
    spoken = speak(application, options.settings.language)
    window = LiveWindow(options, application.quit, orders)
    timer = QTimer()
    timer.timeout.connect(window.frame)
    timer.start(FRAME_MS)
    _quit_on_signals(application)
    window.start()
    try:
        application.exec_()
    finally:
        timer.stop()
        window.close()
        if spoken is not None:
            application.removeTranslator(spoken)


def require_display() -> None:
    """One line instead of Qt's abort when there is nowhere to draw."""
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if platform in ("offscreen", "minimal", "vnc"):
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise SurroundingsError("no display: set DISPLAY, or run under xvfb-run")


def _quit_on_signals(application: QApplication) -> None:
    """SIGTERM and SIGINT end the event loop, so that the picture is still written."""
    import signal

    def leave(*_: object) -> None:
        application.quit()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
