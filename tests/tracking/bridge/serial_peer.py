"""A probe on a pseudo-terminal: writes lines, answers questions, is unplugged and comes back."""

from __future__ import annotations

import os
import pty
import select
import tty
from pathlib import Path


class PtyProbe:
    """`device` is a link that always leads to the present pseudo-terminal, as udev's names do."""

    def __init__(self, folder: Path) -> None:
        self.device = folder / "ttyProbe"
        self._master = self._slave = -1
        self.plug()

    def plug(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.device.unlink(missing_ok=True)
        self.device.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        self.device.unlink(missing_ok=True)
        for end in (self._slave, self._master):
            os.close(end)
        self._master = self._slave = -1

    def write(self, data: bytes | str) -> None:
        os.write(self._master, data if isinstance(data, bytes) else data.encode("ascii"))

    def asked(self, timeout_s: float) -> bytes:
        """What the reader has sent; empty on timeout."""
        if not select.select([self._master], [], [], timeout_s)[0]:
            return b""
        return os.read(self._master, 4096)

    def close(self) -> None:
        if self._master >= 0:
            self.unplug()
