"""What waits for one client: small messages first, images when no small one waits, newest-wins keys once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from tracking.igtl.header import Header

# Up to here a message is small: a pose, a status, a list of spots. Larger ones wait behind all small ones.
SMALL_BYTES = 1 << 16
# What one client may have waiting; a client that reads at all stays far below: minutes of poses, or a map
# of each kind.
MOST_SMALL_MESSAGES = 16384
MOST_SMALL_BYTES = 16 << 20
MOST_LARGE_MESSAGES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """One message in both header versions; `key` is None for a message that nothing may replace."""

    type: str
    device: str
    raw_v1: bytes | None
    raw_v2: bytes | None
    key: Hashable = None

    @staticmethod
    def of(raw_v1: bytes | None, raw_v2: bytes | None, key: Hashable = None) -> Pending:
        """Type and name as the header has them; WireError if there is no message."""
        header = Header.unpack(raw_v1 or raw_v2 or b"")
        return Pending(header.type, header.device, raw_v1, raw_v2, key)

    def raw(self, version: int) -> bytes | None:
        """The bytes for a client of that header version, None if there are none for it."""
        return self.raw_v1 if version == 1 or self.raw_v2 is None else self.raw_v2


class Outbox:
    """The two queues of one client and the message that is on its way; not thread-safe by itself."""

    def __init__(self) -> None:
        self.version = 1
        self.muted: set[str] = set()
        self.sent_messages = 0
        self.replaced_messages = 0
        self._small: dict[Hashable, bytes] = {}
        self._large: dict[Hashable, bytes] = {}
        self._small_bytes = 0
        self._large_bytes = 0
        self._count = 0
        self._on_its_way = b""
        self._at = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._small_bytes + self._large_bytes + len(self._on_its_way) - self._at

    @property
    def amid_large(self) -> bool:
        """Whether a large message has begun and not ended."""
        return len(self._on_its_way) > SMALL_BYTES and self._at < len(self._on_its_way)

    @property
    def overflow(self) -> bool:
        """Whether more waits than a client that still reads would leave."""
        return (
            len(self._small) > MOST_SMALL_MESSAGES
            or self._small_bytes > MOST_SMALL_BYTES
            or len(self._large) > MOST_LARGE_MESSAGES
        )

    def put(self, pending: Pending) -> None:
        """Queue a message; it takes the place of one that waits under the same key."""
        raw = pending.raw(self.version)
        if raw is None or (self.muted and pending.type in self.muted):
            return
        key: Hashable = ("key", pending.key)
        if pending.key is None:
            self._count += 1
            key = self._count
        small, large = self._small.get(key), self._large.get(key)
        self.replaced_messages += small is not None or large is not None
        self._small_bytes -= len(small or b"")
        self._large_bytes -= len(large or b"")
        if len(raw) <= SMALL_BYTES:
            self._large.pop(key, None)
            self._small[key] = raw
            self._small_bytes += len(raw)
        else:
            self._small.pop(key, None)
            self._large[key] = raw
            self._large_bytes += len(raw)

    def rest(self, may_start_large: bool = True) -> memoryview:
        """What is left of the message on its way, or all of the next one; empty when none may go.

        A large message is only begun where the caller allows it and no small one waits.
        """
        if self._at == len(self._on_its_way):
            self._on_its_way, self._at = self._next(may_start_large), 0
        return memoryview(self._on_its_way)[self._at :]

    def _next(self, may_start_large: bool) -> bytes:
        if self._small:
            raw = self._small.pop(next(iter(self._small)))
            self._small_bytes -= len(raw)
            return raw
        if self._large and may_start_large:
            raw = self._large.pop(next(iter(self._large)))
            self._large_bytes -= len(raw)
            return raw
        return b""

    def taken(self, count: int) -> None:
        """The kernel took so many bytes of the rest."""
        self._at += count
        if self._at == len(self._on_its_way):
            self.sent_messages += 1
