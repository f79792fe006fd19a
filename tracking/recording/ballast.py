"""Room kept for the moment when the disk is full: a file beside the record that gives way to it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

# Eight seconds of 200 messages and a map of 1 MiB a second: what waits for the disk at any time, and the seal.
BALLAST_BYTES = 16 << 20
# On a small disk the ballast takes no more than this part of what is free.
BALLAST_PART = 8


def free_bytes(path: Path) -> int:
    """Bytes that may still be written on the file system of `path`. Raises OSError."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def ballast_of(record: Path) -> Path:
    """Where a record's ballast lies while it is written."""
    return record.with_name(f"{record.name}.ballast")


class Ballast:
    """The file `RECORD.ballast`: `size` bytes that are taken now (None: BALLAST_BYTES, less on a small disk)."""

    def __init__(self, record: Path, size: int | None = None) -> None:
        self.path = ballast_of(record)
        self.path.unlink(missing_ok=True)
        self.size = min(BALLAST_BYTES, free_bytes(record.parent) // BALLAST_PART) if size is None else size
        self.full = False

    def fill(self) -> bool:
        """Take the room; False when it is not there."""
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, max(self.size, 1))
            finally:
                os.close(handle)
        except OSError as error:
            logger.warning("%s: no room (%s)", self.path, error)
            self.release()
            return False
        self.full = True
        return True

    def release(self) -> bool:
        """Give the room back; True when there was some."""
        was, self.full = self.full, False
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s: cannot give its room back (%s)", self.path, error)
            return False
        return was
