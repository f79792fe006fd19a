"""Cuts a byte stream into complete messages: whatever the pieces, and whatever lies between the messages.

Known types over their limit are garbage; unknown types over their limit are skipped as they pass. After
garbage the splitter trusts a header only once the CRC of its body agrees, and looks for later messages
while it waits.
"""

from __future__ import annotations

import re

from tracking.errors import WireError
from tracking.igtl.crc import crc64
from tracking.igtl.header import (
    HEADER_BYTES,
    LARGEST_CONTENT_BYTES,
    Header,
    largest_body_bytes,
)

# A message larger than this is no message of a navigation system: the header is taken for garbage.
SKIPPED_LARGEST_BYTES = 1 << 30
# Header look-alikes kept open at once while searching; each costs one CRC over its own body.
_OPEN_CANDIDATES = 16
# Version 1 or 2, then the first character of a type.
_START = re.compile(rb"\x00[\x01\x02][A-Z]")


class StreamSplitter:
    """Feed it bytes as they come; it returns the raw complete messages, their CRC checked.

    `largest_bytes` tightens the limits of all types (a server expects only small messages). `garbage_bytes`
    counts what belonged to no message, `skipped_messages` the unknown ones that were too large.
    """

    def __init__(self, largest_bytes: int | None = None) -> None:
        self.garbage_bytes = 0
        self.skipped_messages = 0
        self._largest = largest_bytes
        self._buffer = bytearray()
        self._skip = 0
        self._searching = False
        self._open: list[tuple[int, int]] = []
        self._scanned = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes held for a message that is not complete."""
        return len(self._buffer)

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer) or self._skip > 0

    def distrust(self) -> None:
        """Give up trust in the message that is being waited for: later messages may overtake it.

        For a caller that sees bytes arrive but no message completed: the header of version 1 is covered by
        no checksum.
        """
        if self._buffer and not self._searching:
            self._start_search(0)
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes]:
        """All messages that `data` completes, in order."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        messages: list[bytes] = []
        while self._step(messages):
            pass
        return messages

    def _step(self, messages: list[bytes]) -> bool:
        """One message or one decision; False when more bytes are needed."""
        return self._search(messages) if self._searching else self._follow(messages)

    def _follow(self, messages: list[bytes]) -> bool:
        """In step with the stream: the next header starts at the first byte."""
        if len(self._buffer) < HEADER_BYTES:
            return False
        header = self._plausible(0)
        if header is None:
            self._start_search(1)
            return True
        end = HEADER_BYTES + header.body_bytes
        if header.body_bytes > self._limit(header):
            self.skipped_messages += 1
            self._skip = max(0, end - len(self._buffer))
            del self._buffer[:end]
            return bool(self._buffer)
        if len(self._buffer) < end:
            return False
        if not self._intact(0, end):
            self._start_search(1)
            return True
        self._take(0, end, messages)
        return True

    def _start_search(self, at: int) -> None:
        self._searching = True
        self._open = []
        self._scanned = at

    def _search(self, messages: list[bytes]) -> bool:
        """Out of step: the first look-alike header whose body has the right CRC ends the search."""
        found = self._complete_candidate() or self._next_candidate()
        if found is None:
            self._drop_garbage()
            return False
        start, end = found
        self.garbage_bytes += start
        self._searching = False
        self._take(start, end, messages)
        return True

    def _complete_candidate(self) -> tuple[int, int] | None:
        """An open candidate that is complete by now and intact; the others that are complete are closed."""
        for start, end in list(self._open):
            if end <= len(self._buffer):
                if self._intact(start, end):
                    return start, end
                self._open.remove((start, end))
        return None

    def _next_candidate(self) -> tuple[int, int] | None:
        """Scan on to a message that is complete and intact; look-alikes that are not complete stay open."""
        last = len(self._buffer) - HEADER_BYTES
        for match in _START.finditer(self._buffer, self._scanned):
            start = match.start()
            if start > last:
                break
            header = self._plausible(start)
            if header is None or header.body_bytes > self._limit(header):
                continue
            end = start + HEADER_BYTES + header.body_bytes
            if end > len(self._buffer):
                self._open = [*self._open, (start, end)][-_OPEN_CANDIDATES:]
            elif self._intact(start, end):
                return start, end
        self._scanned = max(self._scanned, last + 1)
        return None

    def _drop_garbage(self) -> None:
        keep_from = min((start for start, _ in self._open), default=self._scanned)
        keep_from = min(keep_from, len(self._buffer))
        self.garbage_bytes += keep_from
        del self._buffer[:keep_from]
        self._open = [(start - keep_from, end - keep_from) for start, end in self._open]
        self._scanned -= keep_from

    def _take(self, start: int, end: int, messages: list[bytes]) -> None:
        messages.append(bytes(memoryview(self._buffer)[start:end]))
        del self._buffer[:end]

    def _intact(self, start: int, end: int) -> bool:
        with memoryview(self._buffer) as view, view[start + HEADER_BYTES : end] as body:
            return crc64(body) == Header.unpack(view, start).crc

    def _limit(self, header: Header) -> int:
        limit = largest_body_bytes(header.type, header.version)
        return limit if self._largest is None else min(limit, self._largest)

    def _plausible(self, at: int) -> Header | None:
        """The header at `at`, or None if no sender would write it."""
        try:
            header = Header.unpack(self._buffer, at)
        except WireError:
            return None
        unknown = header.type not in LARGEST_CONTENT_BYTES
        return (
            header
            if header.body_bytes <= (SKIPPED_LARGEST_BYTES if unknown else self._limit(header))
            else None
        )
