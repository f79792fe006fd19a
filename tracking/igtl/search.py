"""Finds the next intact message in a stream that is out of step: a look-alike counts once its CRC agrees.

The work stays in proportion to the bytes that came, whatever they hold, and the buffer below the largest
message that is allowed.
"""

from __future__ import annotations

import re
from bisect import insort

from tracking.errors import WireError
from tracking.igtl.crc import crc64
from tracking.igtl.header import HEADER_BYTES, Header, largest_body_bytes

# Look-alikes whose bodies have not come yet. More only come from somebody who makes them; then those that
# would end last are given up.
MOST_OPEN = 1024
# CRC work that one received byte pays for, and bodies that are small enough to be checked for nothing.
_CHECKED_PER_BYTE = 16
_CHEAP_BYTES = 4096
# Version 1 or 2, a type, a name, a stamp, and a body of less than 4 GiB.
_START = re.compile(rb"\x00[\x01\x02][A-Z][A-Z0-9_\x00]{11}[^\x01-\x1f\x7f]{20}.{8}\x00{4}", re.DOTALL)


def body_limit(header: Header, largest_bytes: int | None) -> int:
    """The cap on a body of that type, tightened by the receiver's own."""
    limit = largest_body_bytes(header.type, header.version)
    return limit if largest_bytes is None else min(limit, largest_bytes)


def is_intact(view: memoryview, start: int, end: int, header: Header) -> bool:
    """Whether the CRC of the body agrees with the header at `start`."""
    with view[start + HEADER_BYTES : end] as body:
        return crc64(body) == header.crc


class Search:
    """Scans a growing buffer from `at` on for the first intact message: (start, end, proven).

    A CRC of zero proves nothing, since that of no body and of one of zeros is that.
    """

    def __init__(self, largest_bytes: int | None, at: int) -> None:
        self._largest = largest_bytes
        self._scanned = at
        self._open: list[tuple[int, int, Header]] = []
        self._seen = 0
        self._credit = 0

    @property
    def open_count(self) -> int:
        """Look-alikes whose bodies are waited for."""
        return len(self._open)

    def find(self, buffer: bytearray) -> tuple[int, int, bool] | None:
        """Go on with what has come since; None when more is needed."""
        self._credit += _CHECKED_PER_BYTE * (len(buffer) - self._seen)
        self._seen = len(buffer)
        with memoryview(buffer) as view:
            return self._completed(view) or self._scan(view)

    def drop_garbage(self, buffer: bytearray) -> int:
        """Forget what can belong to no message any more; returns how many bytes that were."""
        keep_from = min((start for _, start, _ in self._open), default=self._scanned)
        keep_from = min(keep_from, len(buffer))
        del buffer[:keep_from]
        self._open = [(end - keep_from, start - keep_from, header) for end, start, header in self._open]
        self._scanned -= keep_from
        self._seen -= keep_from
        return keep_from

    def _completed(self, view: memoryview) -> tuple[int, int, bool] | None:
        """An open look-alike that is complete by now and intact; others that are complete are closed."""
        while self._open and self._open[0][0] <= len(view):
            end, start, header = self._open.pop(0)
            if self._can_pay(header.body_bytes) and is_intact(view, start, end, header):
                return start, end, header.crc != 0
        return None

    def _scan(self, view: memoryview) -> tuple[int, int, bool] | None:
        last = len(view) - HEADER_BYTES
        while (match := _START.search(view, self._scanned)) is not None and match.start() <= last:
            start = match.start()
            self._scanned = start + 1
            header = self._header(view, start)
            if header is None:
                continue
            end = start + HEADER_BYTES + header.body_bytes
            if end > len(view):
                insort(self._open, (end, start, header), key=lambda candidate: candidate[:2])
                del self._open[MOST_OPEN:]
            elif self._can_pay(header.body_bytes) and is_intact(view, start, end, header):
                return start, end, header.crc != 0
        self._scanned = max(self._scanned, last + 1)
        return None

    def _header(self, view: memoryview, start: int) -> Header | None:
        try:
            header = Header.unpack(view, start)
        except WireError:
            return None
        return header if header.body_bytes <= body_limit(header, self._largest) else None

    def _can_pay(self, size: int) -> bool:
        """Whether what has come allows the check of a body; a large one uses it up."""
        if size <= _CHEAP_BYTES:
            return True
        if size > self._credit:
            return False
        self._credit -= size
        return True
