"""The clients of a server: what is published goes to each one's outbox, and each gets its turn at the network.

Small messages go before images, an image only starts when no small message waits, and only a few are on
their way at one time. Whoever takes nothing, or for whom too much waits, is cut.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Hashable

from tracking.igtl.codec import encode
from tracking.igtl.connection import Connection
from tracking.igtl.outbox import Pending
from tracking.igtl.queries import tracking_data

# What all clients together may have waiting, an image that waits for several counted once: a map of 160^3
# of each kind, and as much again for the small ones.
MOST_WAITING_BYTES = 128 << 20
# The longest sleep without an event: stalled clients are looked for so often.
TICK_S = 0.25
# Images on their way at one time, over all clients: each further one would delay every client's poses.
_LARGE_AT_ONCE = 2
# A client that took nothing of its image for so long no longer holds up the images of others.
_LARGE_PATIENCE_S = 0.02

Tell = Callable[[str, bool, str], None]


class Crowd:
    """All connections of one server; its thread alone may call anything but `connections`.

    `selector` waits for their events, `tell(peer, connected, reason)` hears of each coming and going.
    """

    def __init__(self, selector: selectors.BaseSelector, stall_s: float, tell: Tell) -> None:
        self.latest: dict[Hashable, Pending] = {}
        self.types: set[str] = set()
        self.turn = 0
        self._selector = selector
        self._stall_s = stall_s
        self._tell = tell
        self._connections: dict[socket.socket, Connection] = {}
        self._deaf: dict[Connection, float] = {}

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that stand now."""
        return tuple(self._connections.values())

    @property
    def waits(self) -> bool:
        """Whether anything has not gone out yet."""
        return any(c.outbox.queued_bytes for c in self._connections.values())

    def add(self, connection: Connection) -> None:
        """A newcomer, who gets the latest of each key."""
        now_s = time.monotonic()
        for pending in self.latest.values():
            connection.outbox.offer(pending, now_s)
        self._connections[connection.socket] = connection
        self._watch(connection)
        self._tell(connection.peer, True, "")

    def distribute(self, published: deque[Pending]) -> None:
        """Take what was published to each client's outbox."""
        if not published:
            return
        now_s = time.monotonic()
        poses = False
        while published:
            pending = published.popleft()
            poses = poses or pending.type == "TRANSFORM"
            self.types.add(pending.type)
            if pending.key is not None:
                self.latest[pending.key] = pending
            for connection in self._connections.values():
                connection.outbox.offer(pending, now_s)
        if poses:
            self._bundle_poses(now_s)

    def _bundle_poses(self, now_s: float) -> None:
        """All poses in one message for the clients that asked for them so."""
        for connection in self._connections.values():
            wishes = connection.outbox.wishes
            if wishes.tracking is not None and wishes.tracking_due(now_s):
                bundle = tracking_data(wishes.tracking, self.latest.values())
                if bundle is not None:
                    raw = encode(bundle, connection.outbox.version)
                    connection.outbox.put(Pending.of(raw, raw, ("bundle",)))

    def repeat_latest(self, connection: Connection) -> None:
        """What went out without metadata before the client showed that it understands them."""
        now_s = time.monotonic()
        for pending in self.latest.values():
            if pending.raw_v2 is not None:
                connection.outbox.offer(pending, now_s)

    def flush(self) -> float:
        """Give every client its turn; returns how long the thread may sleep without an event."""
        now_s = time.monotonic()
        waiting = self._in_turn()
        larges = sum(c.outbox.amid_large and c.idle_s(now_s) < _LARGE_PATIENCE_S for c in waiting)
        more = held = False
        for connection in waiting:
            was_amid = connection.outbox.amid_large
            reason, unfinished = self._send(connection, larges < _LARGE_AT_ONCE)
            if reason is not None:
                self.drop(connection, reason)
                continue
            larges += connection.outbox.amid_large - was_amid
            more = more or unfinished
            held = held or (connection.outbox.queued_bytes > 0 and not connection.full)
        self.turn += 1
        self._shed(waiting)
        hearing_s = self._listen_again(now_s)
        if more or (held and larges < _LARGE_AT_ONCE):
            return 0.0
        return min(hearing_s, _LARGE_PATIENCE_S if held else TICK_S)

    def _in_turn(self) -> list[Connection]:
        """The clients for which something waits, beginning with another one each time."""
        connections = [c for c in self._connections.values() if c.full or c.outbox.queued_bytes]
        first = self.turn % max(len(connections), 1)
        return connections[first:] + connections[:first]

    def _send(self, connection: Connection, may_start_large: bool) -> tuple[str | None, bool]:
        """Give one client its turn: why it must be cut, if it must, and whether it can take more."""
        try:
            unfinished = connection.send(may_start_large)
        except OSError as error:
            return str(error), False
        if connection.outbox.overflow:
            return "too much waits for it", False
        if connection.idle_s(time.monotonic()) > self._stall_s:
            return f"took nothing for {self._stall_s} s", False
        self._watch(connection)
        return None, unfinished

    def _shed(self, waiting: list[Connection]) -> None:
        """Cut the client for which most waits when all together hold too much memory."""
        small = sum(c.outbox.small_bytes for c in waiting)
        larges = {id(raw): len(raw) for c in waiting for raw in c.outbox.larges}
        if small + sum(larges.values()) > MOST_WAITING_BYTES:
            worst = max(waiting, key=lambda c: c.outbox.queued_bytes)
            self.drop(worst, "too much waits for all clients together")

    def deafen(self, connection: Connection, until_s: float) -> None:
        """Do not listen to a client for a while: what it sends waits in its own buffers."""
        self._deaf[connection] = until_s
        self._watch(connection)

    def _listen_again(self, now_s: float) -> float:
        """Hear those that may ask again; returns how long until the next may."""
        for connection, until_s in list(self._deaf.items()):
            if until_s <= now_s:
                del self._deaf[connection]
                self._watch(connection)
        return min((until_s - now_s for until_s in self._deaf.values()), default=TICK_S)

    def _watch(self, connection: Connection) -> None:
        """Wait for the events of a client that matter now."""
        events = 0 if connection in self._deaf else selectors.EVENT_READ
        events |= selectors.EVENT_WRITE if connection.full else 0
        if events == connection.watched:
            return
        if connection.watched and events:
            self._selector.modify(connection.socket, events, connection)
        elif events:
            self._selector.register(connection.socket, events, connection)
        else:
            self._selector.unregister(connection.socket)
        connection.watched = events

    def drop(self, connection: Connection, reason: str) -> None:
        """Close a connection and tell why; harmless when repeated."""
        if self._connections.pop(connection.socket, None) is None:
            return
        self._deaf.pop(connection, None)
        if connection.watched:
            self._selector.unregister(connection.socket)
        connection.socket.close()
        self._tell(connection.peer, False, reason)
