"""One session with an NDI tracker through `ndicapy`: set-up, then frames with status and frame number.

The driver blocks the whole interpreter while it waits for a reply (it keeps the GIL), reports a failed
connection as a success, and leaves a lost tool's old matrix in place: so it lives in a process of its own,
the connection is checked here, and no matrix is read without its handle's status.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import SurroundingsError
from tracking.ndi.settings import BAUD_DIGITS, NdiSettings, NdiTool
from tracking.poses import rotations_of
from tracking.sample import PoseStatus

# A tracker answers within a frame; one that needs longer than this for a reply is gone.
REPLY_TIMEOUT_S = 2.0
# Single damaged replies happen on serial lines; a run of them is a link out of step.
MOST_DAMAGED = 3
TRANSFORMS = 0x0001  # without those out of the characterised volume, which the tracker then calls missing
_READY = 0x01 | 0x10 | 0x20  # port status: tool present, initialised, enabled
_OUT_OF_VOLUME, _PARTLY_OUT = 0x40, 0x80
_BAD_CRC = 0x0100
_IDENTITY = "VER:4"
# Its first lines name the instrument, its serial number and its firmware; licences follow.
MOST_IDENTITY = 200
_WIRELESS = "PHRQ:*********1****"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class ToolFrame:
    """One tool in one frame: (4, 4) tool into tracker in mm, NaN unless `status` is OK."""

    tool: str
    frame: int
    t_s: float
    status: PoseStatus
    matrix: NDArray[np.float64]


class Session:
    """A tracker that follows the tools, from `open` to `close`. Raises SurroundingsError when it fails."""

    def __init__(self, settings: NdiSettings, clock: Callable[[], float] = time.time) -> None:
        import ndicapy

        self._api: Any = ndicapy
        self._settings = settings
        self._clock = clock
        self._handles: dict[str, int] = {}
        self._damaged = 0
        self.identity = ""  # what the tracker says it is

    def open(self, progress: Progress) -> None:
        """Connect, load the tools, start tracking; `progress` is told each step."""
        settings = self._settings
        progress(f"connecting to {settings.where}")
        self._device = self._connected()
        self._initialise(progress)
        self._free_old_handles()
        for tool in settings.tools:
            progress(f"loading {tool.rom.name} as {tool.name}")
            self._handles[tool.name] = self._load(tool)
        self._command("TSTART:")

    def frames(self) -> tuple[ToolFrame, ...]:
        """Every tool's state as the tracker has it now; nothing when this one reply came damaged."""
        if not self._ask():
            return ()
        t_s = self._clock()
        return tuple(self._frame(tool, handle, t_s) for tool, handle in self._handles.items())

    def _ask(self) -> bool:
        """Have the driver fetch a reply and take it apart; False for a single damaged one."""
        try:
            self._api.ndiBX(self._device, TRANSFORMS)
        except UnicodeDecodeError:  # the driver took the reply apart before it failed to show it as text
            self._check("BX")
        except OSError as error:
            self._damaged += 1
            if self._error() != _BAD_CRC or self._damaged >= MOST_DAMAGED:
                raise SurroundingsError(f"{self._settings.where}: {error}") from None
            return False
        self._damaged = 0
        return True

    def close(self) -> None:
        """Stop tracking and let go of the line."""
        try:
            self._command("TSTOP:")
        finally:
            close = self._api.ndiClose if self._settings.serial else self._api.ndiCloseNetwork
            close(self._device)

    def _connected(self) -> Any:
        settings = self._settings
        if settings.host is not None:
            return self._connected_by_network(settings.host, settings.port)
        device = self._api.ndiOpen(settings.serial)
        if device is None:
            raise SurroundingsError(f"{settings.serial}: cannot be opened as a serial line")
        return device

    def _connected_by_network(self, host: str, port: int) -> Any:
        """The driver's connection, known by the socket that appears; its waits get an end."""
        try:
            address = socket.gethostbyname(host)
        except OSError as error:
            raise SurroundingsError(f"{host}: {error}") from None
        before = set(_peers())
        device = self._api.ndiOpenNetwork(address, port)
        opened = [fd for fd in _peers() if fd not in before]
        if device is None or not opened:
            raise SurroundingsError(f"{host}:{port}: nobody answers there")
        with socket.socket(fileno=os.dup(opened[0])) as sock:
            limit = struct.pack("ll", int(REPLY_TIMEOUT_S), int(REPLY_TIMEOUT_S % 1 * 1e6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        return device

    def _initialise(self, progress: Progress) -> None:
        progress("initialising")
        try:
            self._command("INIT:")
        except SurroundingsError:
            if self._settings.serial is None:
                raise
            progress("resetting")
            self._reset()
            self._command("INIT:")
        if self._settings.serial is not None:
            self._command(f"COMM:{BAUD_DIGITS[self._settings.baud]}0000")
        with suppress(SurroundingsError):  # an instrument without a name tracks as well
            self.identity = " ".join(self._command(_IDENTITY).split())[:MOST_IDENTITY]

    def _reset(self) -> None:
        """A serial break: whatever speed an earlier session left, the tracker is back at 9600 after it."""
        try:
            self._api.ndiCommand(self._device, None)
        except OSError as error:
            raise SurroundingsError(f"{self._settings.where}: {error}") from None

    def _free_old_handles(self) -> None:
        self._command("PHSR:01")
        count = self._api.ndiGetPHSRNumberOfHandles(self._device)
        for handle in [int(self._api.ndiGetPHSRHandle(self._device, i)) for i in range(int(count))]:
            self._command(f"PHF:{handle:02X}")

    def _load(self, tool: NdiTool) -> int:
        self._command(_WIRELESS)
        handle = int(self._api.ndiGetPHRQHandle(self._device))
        self._api.ndiPVWRFromFile(self._device, handle, str(tool.rom))
        self._check(f"loading {tool.rom.name}")
        self._command(f"PINIT:{handle:02X}")
        self._command(f"PENA:{handle:02X}D")
        return handle

    def _command(self, command: str) -> str:
        try:
            return str(self._api.ndiCommand(self._device, command))
        except OSError as error:
            raise SurroundingsError(f"{self._settings.where}: {command}: {error}") from None

    def _error(self) -> int:
        return int(self._api.ndiGetError(self._device))

    def _check(self, what: str) -> None:
        error = self._error()
        if error:
            raise SurroundingsError(f"{self._settings.where}: {what}: {self._api.ndiErrorString(error)}")

    def _frame(self, tool: str, handle: int, t_s: float) -> ToolFrame:
        key = bytes([handle])
        word = int(self._api.ndiGetBXPortStatus(self._device, key)) & 0xFF
        frame = int(self._api.ndiGetBXFrame(self._device, key)) & 0xFFFFFFFF
        pose = self._api.ndiGetBXTransform(self._device, key)
        status = status_of(word, pose if isinstance(pose, str) else "")
        matrix = matrix_of(pose) if status is PoseStatus.OK else np.full((4, 4), np.nan)
        return ToolFrame(tool, frame, t_s, status, matrix)


def status_of(port_status: int, absence: str) -> PoseStatus:
    """What the tracker says of a tool: the low byte of its port status, and the driver's word for no pose.

    The driver forms the word from signed bytes: above the low byte it may hold anything.
    """
    if absence not in ("", "MISSING") or port_status & _READY != _READY:
        return PoseStatus.INVALID
    if port_status & (_OUT_OF_VOLUME | _PARTLY_OUT):
        return PoseStatus.OUT_OF_VOLUME
    return PoseStatus.MISSING if absence else PoseStatus.OK


def matrix_of(transform: tuple[float, ...]) -> NDArray[np.float64]:
    """(4, 4) in mm of NDI's (q0, qx, qy, qz, x, y, z, error)."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotations_of(np.array([transform[:4]]))[0]
    matrix[:3, 3] = transform[4:7]
    return matrix


def _peers() -> Iterator[int]:
    """Descriptors of this process that are connected sockets."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as sock:
                sock.getpeername()
        except OSError:
            continue
        yield int(name)
