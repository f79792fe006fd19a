"""The bridge itself: a serial line on one side, an OpenIGTLink server on the other, and a word on the state.

It sends what it has read and nothing else: a silent line is told by STATUS, never by a repeated count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tracking.bridge.line import RETRY_S, SerialLine
from tracking.bridge.lineformat import LineFormat
from tracking.bridge.readings import Ledger, LineReader, spread
from tracking.errors import SurroundingsError
from tracking.igtl.codec import Message, encode
from tracking.igtl.content import StatusContent
from tracking.igtl.counts import counts_sensor_message, counts_string_message
from tracking.igtl.messages import status_message
from tracking.igtl.server import Server

LOOPBACK = "127.0.0.1"
STATUS_DEVICE = "ProbeBridge"
# A viewer that has heard nothing for longer than this may take the bridge itself for dead.
STATUS_EVERY_S = 1.0
# The standard's codes for: connection lost, not ready, not present, shutting down.
SILENT, STARTING, UNPLUGGED, ENDING = 7, 13, 16, 19

OnState = Callable[[int, str], None]


class Bridge:
    """Serves the counts of one serial device on a port of `host`, as SENSOR or as STRING.

    A `host` that is not loopback lets other machines in. `on_state(code, text)` gets every change of the
    state that STATUS tells. `start` raises SurroundingsError when the device is missing or the port in use;
    `run` then works until `stop` is set.
    """

    def __init__(
        self,
        device: str,
        form: LineFormat,
        port: int,
        *,
        host: str = LOOPBACK,
        string: bool = False,
        on_state: OnState = lambda code, text: None,
    ) -> None:
        self.stop = threading.Event()
        self._line = SerialLine(device, form)
        self._reader = LineReader(form)
        self._ledger = Ledger(form)
        self._server = Server(port, host, allow_remote=host != LOOPBACK)
        self._form = form
        self._message = counts_string_message if string else counts_sensor_message
        self._on_state = on_state
        self._state: tuple[int, str] = (STARTING, "no reading yet")
        self._told = -1
        self._tell_s = 0.0
        self._heard_s = time.monotonic()
        self._retry_s = 0.0

    @property
    def port(self) -> int:
        """The port it serves on."""
        return self._server.port

    def start(self) -> None:
        """Open the device, then serve."""
        self._line.open()
        try:
            self._server.start()
        except BaseException:
            self._line.close()
            raise

    def run(self) -> None:
        """Pass readings on until `stop` is set; leaves the device and the clients in order."""
        try:
            while not self.stop.is_set():
                self._step()
                self._tell()
        finally:
            self._line.close()
            self._state = (ENDING, "the bridge ends")
            self._tell()
            self._server.stop()

    def _step(self) -> None:
        """Wait a moment for lines and pass on what they say."""
        now_s = time.monotonic()
        try:
            if not self._line.is_open:
                self._reopen(now_s)
                return
            lines = self._line.lines()
        except SurroundingsError as error:
            self._ledger.interrupted()
            self._state = (UNPLUGGED, str(error))
            self._retry_s = now_s + RETRY_S
            return
        self._pass_on(lines)
        if time.monotonic() - self._heard_s > self._form.silence_s:
            self._state = (SILENT, f"no reading for more than {self._form.silence_s:g} s")

    def _reopen(self, now_s: float) -> None:
        if self.stop.wait(max(0.0, min(self._retry_s - now_s, STATUS_EVERY_S / 4))) or now_s < self._retry_s:
            return
        self._line.open()
        self._state = (STARTING, "the device is back, no reading yet")
        self._heard_s = time.monotonic()

    def _pass_on(self, lines: list[bytes]) -> None:
        arrival_s, steady_s = time.time(), time.monotonic()
        readings = [r for r in map(self._reader.read, lines) if r is not None]
        for reading, at_s in zip(readings, spread(readings, arrival_s), strict=True):
            self._heard_s = steady_s
            self._state = (StatusContent.OK, "")
            sample = self._ledger.take(reading, at_s, steady_s + at_s - arrival_s)
            if sample is not None:
                raw_v1, raw_v2 = (encode(self._message(sample, version)) for version in (1, 2))
                self._server.publish(raw_v1, raw_v2)

    def _tell(self) -> None:
        """STATUS on every change of the state, and once a second."""
        code, text = self._state
        now_s = time.monotonic()
        changed = code != self._told
        if not changed and now_s < self._tell_s:
            return
        self._told, self._tell_s = code, now_s + STATUS_EVERY_S
        whole = "; ".join(filter(None, [text, self._tally()]))
        if changed:
            self._on_state(code, whole)
        raw_v1, raw_v2 = (encode(self._status(code, whole, version)) for version in (1, 2))
        self._server.publish(raw_v1, raw_v2, STATUS_DEVICE, newest_wins=True)

    def _status(self, code: int, text: str, version: int) -> Message:
        return status_message(STATUS_DEVICE, time.time(), code, text, version=version)

    def _tally(self) -> str:
        """What did not become a count, in words; empty when everything did."""
        ledger = self._ledger
        parts = [f"{n} lines {why}" for why, n in self._reader.garbage.most_common()]
        parts += [
            f"{n} {what}"
            for n, what in (
                (ledger.lost, "readings lost"),
                (ledger.repeats, "repeats"),
                (ledger.restarts, "restarts"),
            )
            if n
        ]
        return ", ".join(parts)
