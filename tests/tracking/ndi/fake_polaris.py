"""A Polaris made of nothing: speaks NDI's API on TCP or on a pty, so that the real driver accepts it.

Frames advance by one with each BX. What it does wrong on purpose is set from outside while it runs.
"""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import struct
import threading
import tty
from collections import Counter
from collections.abc import Callable

import numpy as np

MISSING, OUT_OF_VOLUME = "missing", "out of volume"
_READY = 0x01 | 0x10 | 0x20
_POLY = 0xA001  # x^16 + x^15 + x^2 + 1, reflected
# Command, its optional parameter, the CRC16 of both; ends with CR.
_COMMAND = re.compile(rb"([A-Z0-9]+):(.*)([0-9A-F]{4})\r", re.S)


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLY if crc & 1 else 0)
    return crc


class FakePolaris:
    """`tools` maps part numbers to what that tool does at a frame: a pose (8 floats), MISSING or OUT_OF_VOLUME.

    The pose is (q0, qx, qy, qz, x, y, z, error). `commands` counts what was asked; `deaf` answers nothing,
    `damaged` sends this many bad replies, `frozen` keeps the frame number, `forget` leaves tools disabled.
    """

    def __init__(self, tools: dict[str, Callable[[int], object]]) -> None:
        self.tools = tools
        self.commands: Counter[str] = Counter()
        self.roms: dict[int, bytearray] = {}
        self.enabled: dict[int, str] = {}
        self.frame = 0
        self.deaf = self.frozen = self.refusing = self.forget = False
        self.damaged = 0
        self.tracking = False
        self._ended = threading.Event()
        self._links: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> FakePolaris:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _serve(self) -> None:
        raise NotImplementedError

    def talk(self, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        """Answer commands until the peer is gone."""
        pending = b""
        while not self._ended.is_set():
            data = read()
            if data == b"":
                return
            pending += data
            while b"\r" in pending:
                line, pending = pending.split(b"\r", 1)
                reply = self.answer(line + b"\r")
                if reply and not self.deaf:
                    write(reply)

    def answer(self, line: bytes) -> bytes:
        match = _COMMAND.fullmatch(line)
        if match is None or crc16(line[:-5]) != int(match[3], 16):
            return self._text("ERROR04")
        name, parameter = match[1].decode(), match[2].decode()
        self.commands[name] += 1
        if name == "BX":
            return self._bx()
        handler = getattr(self, f"_on_{name.lower()}", None)
        return self._text("ERROR01" if handler is None else handler(parameter))

    def _text(self, text: str) -> bytes:
        return f"{text}{crc16(text.encode()):04X}\r".encode()

    def _on_init(self, _: str) -> str:
        self.tracking = False
        self.roms.clear()
        self.enabled.clear()
        return "ERROR0D" if self.refusing else "OKAY"

    def _on_comm(self, _: str) -> str:
        return "OKAY"

    def _on_ver(self, _: str) -> str:
        return "Fake Polaris\n S/N: 0001 made for tests"

    def _on_phrq(self, _: str) -> str:
        handle = 1 + len(self.roms)
        self.roms[handle] = bytearray(1024)
        return f"{handle:02X}"

    def _on_pvwr(self, parameter: str) -> str:
        handle, address = int(parameter[:2], 16), int(parameter[2:6], 16)
        chunk = bytes.fromhex(parameter[6:])
        if handle not in self.roms or len(chunk) != 64:
            return "ERROR02"
        self.roms[handle][address : address + 64] = chunk
        return "OKAY"

    def _on_phsr(self, parameter: str) -> str:
        ready = [h for h in self.roms if (h in self.enabled) is (parameter in ("00", "04"))]
        handles = [] if parameter == "01" else ready
        return f"{len(handles):02X}" + "".join(f"{h:02X}031" for h in handles)

    def _on_phf(self, parameter: str) -> str:
        self.roms.pop(int(parameter, 16), None)
        return "OKAY"

    def _on_pinit(self, parameter: str) -> str:
        rom = self.roms.get(int(parameter, 16), bytearray())
        summed = sum(rom[6:]) & 0xFFFF
        return "OKAY" if rom[:4] == b"NDI\0" and summed == struct.unpack_from("<H", rom, 4)[0] else "ERROR0A"

    def _on_pena(self, parameter: str) -> str:
        handle = int(parameter[:2], 16)
        self.enabled[handle] = bytes(self.roms[handle][592:612]).split(b"\0")[0].decode()
        return "OKAY"

    def _on_phinf(self, parameter: str) -> str:
        part = self.enabled.get(int(parameter[:2], 16), "")
        return f"{'02000000':8}{'NDI':12}{'001':3}{part[:8]:8}31"

    def _on_tstart(self, _: str) -> str:
        self.tracking = True
        return "OKAY"

    def _on_tstop(self, _: str) -> str:
        self.tracking = False
        return "OKAY"

    def _bx(self) -> bytes:
        if not self.tracking:
            return self._text("ERROR0C")
        self.frame += not self.frozen
        body = bytes([len(self.enabled)])
        body += b"".join(self._bx_tool(handle, part) for handle, part in self.enabled.items())
        body += struct.pack("<H", 0)  # system status
        head = struct.pack("<HH", 0xA5C4, len(body))
        reply = head + struct.pack("<H", crc16(head)) + body + struct.pack("<H", crc16(body))
        if self.damaged:
            self.damaged -= 1
            reply = reply[:-1] + bytes([reply[-1] ^ 0x55])
        return reply

    def _bx_tool(self, handle: int, part: str) -> bytes:
        if self.forget:
            return struct.pack("<BB", handle, 4)
        state = self.tools[part](self.frame)
        status = _READY | (0x40 if state == OUT_OF_VOLUME else 0)
        if isinstance(state, str):
            return struct.pack("<BBII", handle, 2, status, self.frame)
        return struct.pack("<BB8fII", handle, 1, *np.asarray(state, dtype=float), status, self.frame)


class TcpPolaris(FakePolaris):
    """On a free loopback port; `cut` closes every connection, as a pulled plug does."""

    def __init__(self, tools: dict[str, Callable[[int], object]], port: int = 0) -> None:
        super().__init__(tools)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.02)
        self.port = int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with self._listener:
            while not self._ended.is_set():
                try:
                    link, _ = self._listener.accept()
                except TimeoutError:
                    continue
                self._links.append(link)
                threading.Thread(target=self._follow, args=(link,), daemon=True).start()
        self.cut()

    def _follow(self, link: socket.socket) -> None:
        def read() -> bytes:
            try:
                return link.recv(4096)
            except OSError:
                return b""

        def write(reply: bytes) -> None:
            try:
                link.sendall(reply)
            except OSError:
                return

        self.talk(read, write)

    def cut(self) -> None:
        while self._links:
            link = self._links.pop()
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                link.close()


class PtyPolaris(FakePolaris):
    """On a pseudo-terminal whose name is `device`."""

    def __init__(self, tools: dict[str, Callable[[int], object]]) -> None:
        super().__init__(tools)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)

    def _serve(self) -> None:
        def read() -> bytes:
            while not self._ended.is_set():
                if select.select([self._master], [], [], 0.02)[0]:
                    return os.read(self._master, 4096)
            return b""

        self.talk(read, lambda reply: os.write(self._master, reply))

    def stop(self) -> None:
        super().stop()
        os.close(self._slave)
        os.close(self._master)
