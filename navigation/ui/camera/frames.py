"""Video frames from OpenIGTLink IMAGE messages or from a camera that OpenCV opens; each comes on its own thread.

`openigtlink:HOST:PORT[/DEVICE]`, or `opencv:0` and `opencv:FILE-OR-URL`.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError, SurroundingsError, WireError
from tracking.igtl import Client, ImageContent, LinkState, decode

logger = logging.getLogger(__name__)

IGTL, OPENCV = "openigtlink", "opencv"
LARGEST_PORT = 65535
# A camera that gives nothing is asked again after so long.
AGAIN_S = 0.5
# Beyond that a picture is no video frame.
MOST_PIXELS = 4096 * 2160


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """RGB (h, w, 3), and when it arrived on this computer's monotonic clock."""

    pixels: NDArray[np.uint8]
    arrival_s: float
    number: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


class Frames(Protocol):
    """The newest frame of a running source; `fault` says why there is none."""

    fault: str

    def start(self) -> None:
        """Begin."""

    def newest(self) -> Frame | None:
        """The last one that came, None before the first."""

    def stop(self) -> None:
        """End; harmless when repeated."""


def open_frames(text: str) -> Frames:
    """The source that a setting names. Raises InputError."""
    kind, _, rest = text.partition(":")
    if kind == OPENCV and rest:
        return OpencvFrames(rest)
    if kind == IGTL:
        address, _, device = rest.partition("/")
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and 0 < int(port) <= LARGEST_PORT:
            return IgtlFrames(host.strip("[]"), int(port), device)
    raise InputError(
        f"video {text!r}: must be openigtlink:HOST:PORT, openigtlink:HOST:PORT/DEVICE or opencv:CAMERA"
    )


def rgb_of(content: ImageContent) -> NDArray[np.uint8] | None:
    """(h, w, 3) of a single slice of bytes with one or three components; None of anything else."""
    array = content.array
    if array.shape[0] != 1 or array.dtype != np.uint8 or array[0, ..., :1].size > MOST_PIXELS:
        return None
    if array.ndim == 4 and array.shape[3] == 3:
        return np.ascontiguousarray(array[0])
    return np.repeat(array[0][..., None], 3, axis=-1) if array.ndim == 3 else None


class IgtlFrames:
    """IMAGE messages of one device, or of the first that sends pictures; rows as sent, the first one on top."""

    def __init__(self, host: str, port: int, device: str = "") -> None:
        self.fault = f"no video from {host}:{port}"
        self._device = device
        self._where = f"{host}:{port}"
        self._newest: Frame | None = None
        self._client = Client(host, port, "video", self._take, self._state)

    def start(self) -> None:
        """Connect, and go on trying."""
        self._client.start()

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        try:
            message = decode(raw)
        except WireError:
            return
        if not isinstance(message.body, ImageContent) or self._device not in ("", message.device):
            return
        pixels = rgb_of(message.body)
        if pixels is None:
            self.fault = f"{message.device} of {self._where} is no video: a slice of 8 bit grey or RGB is"
            return
        self.fault = ""
        number = 0 if self._newest is None else self._newest.number + 1
        self._newest = Frame(pixels, arrival_s, number)

    def _state(self, source: str, state: LinkState, detail: str) -> None:
        if state is not LinkState.CONNECTED:
            self.fault = f"no video from {self._where}"

    def newest(self) -> Frame | None:
        """The last one."""
        return self._newest

    def stop(self) -> None:
        """Leave."""
        self._client.stop()


class OpencvFrames:
    """A camera by number, a device, a file or an address, as OpenCV opens it."""

    def __init__(self, camera: str) -> None:
        self.fault = f"no video from camera {camera}"
        self._camera = camera
        self._newest: Frame | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="video", daemon=True)

    def start(self) -> None:
        """Open it, and go on trying."""
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            capture = cv2.VideoCapture(int(self._camera) if self._camera.isdigit() else self._camera)
            while not self._ending.is_set() and self._read(capture):
                pass
            capture.release()
            self.fault = f"no video from camera {self._camera}"
            self._ending.wait(AGAIN_S)

    def _read(self, capture: cv2.VideoCapture) -> bool:
        found, picture = capture.read()
        if not found or picture is None:
            return False
        arrival_s = time.monotonic()
        number = 0 if self._newest is None else self._newest.number + 1
        self._newest = Frame(
            np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8), arrival_s, number
        )
        self.fault = ""
        return True

    def newest(self) -> Frame | None:
        """The last one."""
        return self._newest

    def stop(self) -> None:
        """Close it."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(2.0)


def first_frame(frames: Frames, wait_s: float) -> Frame:
    """The first frame of a started source. Raises SurroundingsError when none comes."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        found = frames.newest()
        if found is not None:
            return found
        time.sleep(0.05)
    raise SurroundingsError(frames.fault or "no video came")
