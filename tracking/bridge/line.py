"""The serial line: opened, asked, cut into lines, and opened again when the device was unplugged."""

from __future__ import annotations

import time
from collections.abc import Callable

import serial

from tracking.bridge.lineformat import LONGEST_TEXT, PARITIES, LineFormat
from tracking.errors import SurroundingsError

# How long one wait for bytes may take: what the bridge needs to notice that it should end.
WAIT_S = 0.05
WRITE_TIMEOUT_S = 1.0
RETRY_S = 0.5


class SerialLine:
    """One serial device; `lines` never blocks for longer than WAIT_S.

    What was under way when the device was opened is dropped up to the first terminator: half a number looks
    like a number. Raises SurroundingsError when the device is not there (`open`) or goes (`lines`).
    """

    def __init__(self, device: str, form: LineFormat, clock: Callable[[], float] = time.monotonic) -> None:
        self._device = device
        self._form = form
        self._clock = clock
        self._port: serial.Serial | None = None
        self._pending = b""
        self._whole = False
        self._next_poll_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the device is there, as far as is known."""
        return self._port is not None

    def open(self) -> None:
        """Open the device with the format's speed."""
        form = self._form
        try:
            self._port = serial.Serial(
                self._device,
                form.baud,
                form.data_bits,
                PARITIES[form.parity],
                form.stop_bits,
                timeout=WAIT_S,
                write_timeout=WRITE_TIMEOUT_S,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise SurroundingsError(f"{self._device}: cannot be opened ({_reason(error)})") from None
        self._pending, self._whole, self._next_poll_s = b"", False, 0.0

    def close(self) -> None:
        """Let go of the device; harmless when repeated."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def lines(self) -> list[bytes]:
        """The lines that are complete by now, without their terminators."""
        if self._port is None:
            raise SurroundingsError(f"{self._device}: is not open")
        try:
            self._poll(self._port)
            data = self._port.read(max(1, self._port.in_waiting))
        except (OSError, TypeError) as error:  # a closed descriptor is a TypeError inside pyserial
            self.close()
            raise SurroundingsError(f"{self._device}: lost ({_reason(error)})") from None
        return self._cut(data)

    def _poll(self, port: serial.Serial) -> None:
        now_s = self._clock()
        if self._form.poll is not None and now_s >= self._next_poll_s:
            self._next_poll_s = max(self._next_poll_s + self._form.poll_every_s, now_s)
            port.write(self._form.poll)

    def _cut(self, data: bytes) -> list[bytes]:
        *lines, self._pending = (self._pending + data).split(self._form.terminator)
        if len(self._pending) > LONGEST_TEXT + len(self._form.terminator):
            lines.append(self._pending)
            self._pending, begins_whole = b"", False
        else:
            begins_whole = self._whole or bool(lines)
        lines = lines if self._whole else lines[1:]
        self._whole = begins_whole
        return lines


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)
