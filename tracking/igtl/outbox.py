"""What waits for one client: small messages first, images when no small one waits, newest-wins keys once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from tracking.igtl.header import Header
from tracking.igtl.wishes import Wishes

# Up to here a message is small: a pose, a status, a list of spots. Larger ones wait behind all small ones.
SMALL_BYTES = 1 << 16
# What one client may have waiting; a client that reads at all stays far below: minutes of poses, or a map
# of each kind.
MOST_SMALL_MESSAGES = 16384
MOST_SMALL_BYTES = 16 << 20
MOST_LARGE_MESSAGES = 16
# Small messages that wait together leave together, in one call of the kernel.
_BATCH_BYTES = 1 << 14


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

    @property
    def size(self) -> int:
        """Bytes that it holds in memory."""
        return len(self.raw_v1 or b"") + len(self.raw_v2 or b"")


class Outbox:
    """The two queues of one client and what is on its way; not thread-safe by itself."""

    def __init__(self, wishes: Wishes | None = None) -> None:
        self.version = 1
        self.wishes = wishes or Wishes()
        self.sent_messages = 0
        self.replaced_messages = 0
        self._small: dict[Hashable, bytes] = {}
        self._large: dict[Hashable, bytes] = {}
        self._small_bytes = 0
        self._large_bytes = 0
        self._count = 0
        self._on_its_way = b""
        self._at = 0
        self._messages_on_their_way = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._small_bytes + self._large_bytes + len(self._on_its_way) - self._at

    @property
    def small_bytes(self) -> int:
        """Bytes of small messages that wait: they are this client's alone."""
        return self._small_bytes

    @property
    def larges(self) -> list[bytes]:
        """The large messages that wait or are on their way; the same objects for all clients."""
        return [*self._large.values(), *([self._on_its_way] if self.amid_large else [])]

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

    def offer(self, pending: Pending, now_s: float) -> None:
        """Queue a message of the stream if this client wants it now."""
        if self.wishes.admit(pending.type, pending.device, now_s):
            self.put(pending)

    def put(self, pending: Pending) -> None:
        """Queue a message; it takes the place of one that waits under the same key."""
        raw = pending.raw(self.version)
        if raw is None:
            return
        if pending.key is None:
            self._count += 1
            key: Hashable = self._count
        else:
            key = ("key", pending.key)
            self._forget(key, keep_place=len(raw) <= SMALL_BYTES)
        if len(raw) <= SMALL_BYTES:
            self._small[key] = raw
            self._small_bytes += len(raw)
        else:
            self._large[key] = raw
            self._large_bytes += len(raw)

    def _forget(self, key: Hashable, keep_place: bool) -> None:
        """Make room for a newer message of a key; among the small ones it may keep its place."""
        small, large = self._small.get(key), self._large.pop(key, None)
        if small is not None and not keep_place:
            del self._small[key]
        self._small_bytes -= len(small or b"")
        self._large_bytes -= len(large or b"")
        self.replaced_messages += small is not None or large is not None

    def rest(self, may_start_large: bool = True) -> memoryview:
        """What is left of what is on its way, or the next; empty when none may go.

        A large message is only begun where the caller allows it and no small one waits.
        """
        if self._at == len(self._on_its_way):
            self._on_its_way, self._at = self._next(may_start_large), 0
        return memoryview(self._on_its_way)[self._at :]

    def _next(self, may_start_large: bool) -> bytes:
        if self._small:
            return self._batch()
        if self._large and may_start_large:
            raw = self._large.pop(next(iter(self._large)))
            self._large_bytes -= len(raw)
            self._messages_on_their_way = 1
            return raw
        return b""

    def _batch(self) -> bytes:
        """The small messages that wait, as many as go well together."""
        keys: list[Hashable] = []
        size = 0
        for key, raw in self._small.items():
            if keys and size + len(raw) > _BATCH_BYTES:
                break
            keys.append(key)
            size += len(raw)
        self._small_bytes -= size
        self._messages_on_their_way = len(keys)
        return b"".join([self._small.pop(key) for key in keys])

    def taken(self, count: int) -> None:
        """The kernel took so many bytes of the rest."""
        self._at += count
        if self._at == len(self._on_its_way):
            self.sent_messages += self._messages_on_their_way
