"""Cuts a byte stream into complete messages: whatever the pieces, and whatever lies between the messages.

In step, the next header starts where the last message ended; out of step a message counts only once its CRC
agrees. What is too large to be held passes by with a running CRC, and if that shows that its header lied,
the messages that it had swallowed come out.
"""

from __future__ import annotations

from collections import deque

from tracking.errors import WireError
from tracking.igtl.crc import RunningCrc
from tracking.igtl.header import HEADER_BYTES, LARGEST_CONTENT_BYTES, Header
from tracking.igtl.search import Search, body_limit, is_intact

# A message larger than this is no message of a navigation system: the header is taken for garbage.
SKIPPED_LARGEST_BYTES = 1 << 30
# Known types of which larger ones than can be held are still messages; of any other such a size is garbage.
_BULK = frozenset({"IMAGE", "NDARRAY", "POLYDATA", "BIND"})
# What may be kept of the messages that a passing one seems to hold: some seconds of poses, and a map or two.
HELD_LARGEST_BYTES = 4 << 20
# What `_end_of` says where there is no end to tell.
_DAMAGED, _TOO_LARGE = -1, -2


class StreamSplitter:
    """Feed it bytes as they come; it returns the raw complete messages, their CRC checked.

    `largest_bytes` tightens the limits of all types (a server expects only small messages). `garbage_bytes`
    counts what belonged to no message, `skipped_messages` what was too large to be held and passed by with a
    CRC that agreed.
    """

    def __init__(self, largest_bytes: int | None = None) -> None:
        self.garbage_bytes = 0
        self.skipped_messages = 0
        self._largest = largest_bytes
        self._buffer = bytearray()
        self._search: Search | None = None
        self._passing: _Passing | None = None
        self._may_pass = True

    @property
    def pending_bytes(self) -> int:
        """Bytes held for a message that is not complete."""
        return len(self._buffer) + (self._passing.pending_bytes if self._passing else 0)

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer) or self._passing is not None

    def distrust(self) -> None:
        """Give up trust in the message that is being waited for: later messages may overtake it.

        For a caller that sees bytes arrive but no message completed: the header of version 1 is covered by
        no checksum. The next `feed` returns what has overtaken.
        """
        if self._passing is not None:
            self._passing.trusted = False
        elif self._buffer and self._search is None:
            self._search = Search(self._largest, 0)

    def feed(self, data: bytes) -> list[bytes]:
        """All messages that `data` completes, in order."""
        messages: list[bytes] = []
        if self._passing is not None:
            data = self._pass(self._passing, data, messages)
        self._buffer += data
        while self._find(messages) if self._search else self._follow(messages):
            pass
        return messages

    def _follow(self, messages: list[bytes]) -> bool:
        """In step with the stream; False when more bytes are needed."""
        taken = 0
        with memoryview(self._buffer) as view:
            while (end := self._end_of(view, taken)) > taken:
                messages.append(bytes(view[taken:end]))
                taken = end
        del self._buffer[:taken]
        if end == _DAMAGED:
            self._search = Search(self._largest, 1)
        elif end == _TOO_LARGE:
            self._start_passing(messages)
        return end < 0

    def _end_of(self, view: memoryview, at: int) -> int:
        """Where the message that starts at `at` ends: there itself when more bytes are needed."""
        if len(view) - at < HEADER_BYTES:
            return at
        try:
            header = Header.unpack(view, at)
        except WireError:
            return _DAMAGED
        if header.body_bytes > body_limit(header, self._largest):
            return _TOO_LARGE if self._passes(header) else _DAMAGED
        end = at + HEADER_BYTES + header.body_bytes
        if end > len(view):
            return at
        return end if is_intact(view, at, end, header) else _DAMAGED

    def _passes(self, header: Header) -> bool:
        """Whether a message that cannot be held may still be one."""
        plausible = header.type in _BULK or header.type not in LARGEST_CONTENT_BYTES
        return self._may_pass and plausible and header.body_bytes <= SKIPPED_LARGEST_BYTES

    def _find(self, messages: list[bytes]) -> bool:
        """Out of step; False when more bytes are needed."""
        assert self._search is not None
        found = self._search.find(self._buffer)
        if found is None:
            self.garbage_bytes += self._search.drop_garbage(self._buffer)
            return False
        start, end, proven = found
        with memoryview(self._buffer) as view:
            messages.append(bytes(view[start:end]))
        del self._buffer[:end]
        self.garbage_bytes += start
        self._search = None if proven else Search(self._largest, 0)
        return True

    def _start_passing(self, messages: list[bytes]) -> None:
        header = Header.unpack(self._buffer)
        self._passing = _Passing(header, self._largest)
        data = bytes(memoryview(self._buffer)[HEADER_BYTES:])
        self._buffer.clear()
        rest = self._pass(self._passing, data, messages)
        self._buffer += rest

    def _pass(self, passing: _Passing, data: bytes, messages: list[bytes]) -> bytes:
        """Let data go by as part of the message that cannot be held; returns what lies behind its end."""
        own, rest = data[: passing.left], data[passing.left :]
        passing.take(own)
        if passing.is_lie:
            messages += passing.held
            self._become(passing.inner)
        elif not passing.left:
            self.skipped_messages += 1
            self._passing = None
        return rest

    def _become(self, inner: StreamSplitter) -> None:
        """Go on where the one that looked inside a lying message is; the header was garbage."""
        self.garbage_bytes += HEADER_BYTES + inner.garbage_bytes
        self._buffer, self._search, self._passing = inner._buffer, inner._search, None


class _Passing:
    """A message that is too large to be held: its CRC, and the messages that it would hide if it were none.

    `trusted` is taken away by a receiver that waits too long; then the first message inside proves the lie.
    """

    def __init__(self, header: Header, largest_bytes: int | None) -> None:
        self.left = header.body_bytes
        self.trusted = True
        limit = HELD_LARGEST_BYTES if largest_bytes is None else min(largest_bytes, HELD_LARGEST_BYTES)
        self.inner = StreamSplitter(limit)
        self.inner._may_pass = False
        self.inner._search = Search(limit, 0)
        self.held: deque[bytes] = deque()
        self._held_bytes = 0
        self._crc = RunningCrc()
        self._expected_crc = header.crc

    @property
    def pending_bytes(self) -> int:
        return self._held_bytes + self.inner.pending_bytes

    @property
    def is_lie(self) -> bool:
        if self.left == 0:
            return self._crc.value != self._expected_crc
        return not self.trusted and bool(self.held)

    def take(self, data: bytes) -> None:
        self.left -= len(data)
        self._crc.update(data)
        for raw in self.inner.feed(data):
            self.held.append(raw)
            self._held_bytes += len(raw)
        while self._held_bytes > HELD_LARGEST_BYTES:
            self._held_bytes -= len(self.held.popleft())
