"""What ends a conversation with a PACS from outside: silence, too much of it, a full disk, a wish to stop.

The libraries' own threads may hang in a peer's hands; so whoever ends the conversation ends the process.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from navigation.io.pacssettings import Peer

# How often the limits are looked at, and how often the parent is told how far it is.
_LOOK_S = 0.05
BEAT_S = 0.2
# Whatever it sends: no retrieval takes longer.
LONGEST_S = 4 * 3600.0
# What a peer may need to stop sending, and then to close the connection.
CANCEL_S, LEAVE_S = 0.5, 2.0


class Watch:
    """Limits of one conversation; every outcome is one JSON line on stdout, the first one counts."""

    def __init__(self, peer: Peer, folder: Path | None) -> None:
        self.peer = peer
        self.folder = folder
        self.most_bytes = peer.limits.most_bytes
        self.leave: Callable[[], None] = lambda: None
        self.files: Callable[[], int] = lambda: 0
        self.connected = False
        self.bytes = 0
        self._start = self._heard = time.monotonic()
        self._voice = threading.Lock()
        self._end = threading.Lock()

    def begin(self) -> None:
        """Watch from now on. A fault in a thread of the library ends the conversation too."""
        threading.excepthook = lambda told: self.fault(told.exc_value)
        for work in (self._look, self._listen):
            threading.Thread(target=work, daemon=True).start()

    def say(self, **line: Any) -> None:
        """One line to the parent; a parent that is gone ends the process."""
        try:
            with self._voice:
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
        except OSError:
            self._vanish()

    def hear(self, count: int = 0) -> None:
        """The peer has sent `count` bytes, or it is our turn."""
        self._heard = time.monotonic()
        self.bytes += count

    def stop(self, words: str) -> NoReturn:
        """Leave the peer, remove what has come, tell why, end."""
        if not self._end.acquire(blocking=False):
            time.sleep(2 * LEAVE_S)  # somebody else is ending it
            self._vanish()
        self.leave()
        self._remove()
        self.say(surroundings=words)
        os._exit(0)

    def fault(self, fault: BaseException | None) -> NoReturn:
        """End over a fault of the disk, of the memory or of the library over what came."""
        self.stop(f"{self.peer.where}: {cause(fault)}")

    def done(self, **result: Any) -> None:
        """Tell the result; nothing else ends the conversation after that."""
        if not self._end.acquire(blocking=False):
            time.sleep(2 * LEAVE_S)
        self.folder = None  # it is the parent's now
        self.say(result=result)

    def _listen(self) -> None:
        """The parent says nothing more; the end of its stream is its wish to stop, or its own end."""
        while sys.stdin.read(1):
            pass
        self.stop(f"{self.peer.where}: stopped")

    def _look(self) -> None:
        told = 0.0
        while True:
            time.sleep(_LOOK_S)
            words = self._overrun(time.monotonic())
            if words is not None:
                self.stop(f"{self.peer.where}: {words}")
            if time.monotonic() - told > BEAT_S:
                told = time.monotonic()
                self.say(beat=self.bytes, files=self.files())

    def _overrun(self, now: float) -> str | None:
        limits = self.peer.limits
        if now - self._heard > self.peer.timeout_s:
            return f"no answer within {self.peer.timeout_s:g} s"
        if self.bytes > self.most_bytes:
            return f"sends more than the {self.most_bytes / 2**30:.3g} GiB that are allowed"
        if self.files() > limits.most_files:
            return f"sends more than the {limits.most_files} files that are allowed"
        if now - self._start > LONGEST_S:
            return f"not done within {LONGEST_S / 3600.0:g} h"
        if self.folder is not None and shutil.disk_usage(self.folder).free < limits.keep_free_bytes:
            return f"less than {limits.keep_free_bytes / 2**20:.0f} MiB free at {self.folder.parent}"
        return None

    def _remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _vanish(self) -> NoReturn:
        self._remove()
        os._exit(1)


def cause(fault: BaseException | None) -> str:
    """A fault in words that hold nothing of what came over the wire."""
    if isinstance(fault, MemoryError):
        return "sends more at once than the memory allowed"
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot store what it sends: {os.strerror(fault.errno)}"
    if isinstance(fault, OSError):
        return (fault.strerror or type(fault).__name__).lower()
    return f"does not keep to the protocol ({type(fault).__name__})"


class LastFault(logging.Handler):
    """Keeps the last exception the library logs, since it is not raised; what is logged goes nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called inside the library's `except`, where the exception is the current one."""
        current = sys.exc_info()[1]
        if current is not None:
            self.fault = current
