"""An OpenIGTLink server for many clients on one thread: a slow or stalled client never holds up another.

Small messages go before images, an image only starts when no small message waits, and of each newest-wins
key only the newest waits. Each client is spoken to in header version 1 until it has sent a version 2
message.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

from tracking.errors import InputError, WireError
from tracking.igtl.codec import Message, decode, encode
from tracking.igtl.connection import ClientInfo, Connection
from tracking.igtl.messages import status_message
from tracking.igtl.outbox import Pending
from tracking.igtl.queries import reply_to, tracking_data
from tracking.igtl.sockets import Bell, listen

logger = logging.getLogger(__name__)

LOOPBACK = ("localhost", "::1")
# A client that takes no byte for so long while data waits is cut.
STALL_S = 2.0
# How long `stop` lets what is queued go out.
DRAIN_S = 0.5
MOST_CLIENTS = 64
# STATUS code of a server that takes no more clients.
BUSY = 6
# What all clients together may have waiting, an image that waits for several counted once: a map of 160^3
# of each kind, and as much again for the small ones.
MOST_WAITING_BYTES = 128 << 20
# What may wait for the server's own thread: a minute of everything at a kilohertz.
MOST_PUBLISHED = 1 << 16
_TICK_S = 0.25
# Images on their way at one time, over all clients: each further one would delay every client's poses.
_LARGE_AT_ONCE = 2
# A client that took nothing of its image for so long no longer holds up the images of others.
_LARGE_PATIENCE_S = 0.02
# What the requests of all clients may take between two looks at what is to be sent.
_REQUEST_TURN_S = 0.002

OnMessage = Callable[[str, Message], None]
OnClient = Callable[[str, bool, str], None]


class Server:
    """Listens on a port (0: any free one) once started; `publish` may be called from any thread.

    `on_message(peer, message)` gets what clients send that is no query, `on_client(peer, connected,
    reason)` each coming and going; both run on the server's thread and must be quick. With `image_port`
    images go to the clients of that port and everything else to those of `port`, so that no pose ever
    waits behind an image. Raises InputError for a host that is not loopback unless `allow_remote` says that
    other machines may connect; `start` raises SurroundingsError when a port is in use.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        allow_remote: bool = False,
        image_port: int | None = None,
        on_message: OnMessage | None = None,
        on_client: OnClient | None = None,
        stall_s: float = STALL_S,
        most_clients: int = MOST_CLIENTS,
    ) -> None:
        if not (allow_remote or host in LOOPBACK or host.startswith("127.")):
            raise InputError(
                f"host {host}: the server listens on loopback only, unless other machines are allowed in"
            )
        self.host = host
        self.dropped_messages = 0
        self._port, self._image_port = port, image_port
        self._on_message = on_message
        self._on_client = on_client
        self._stall_s = stall_s
        self._most_clients = most_clients
        self._published: deque[Pending] = deque()
        self._latest: dict[Hashable, Pending] = {}
        self._types: set[str] = set()
        self._connections: dict[socket.socket, Connection] = {}
        self._deaf: dict[Connection, float] = {}
        self._turn = 0
        self._stop_at_s: float | None = None
        self._listeners: dict[socket.socket, bool | None] = {}
        self._bell = Bell()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on; before `start` the one asked for."""
        return self._port

    @property
    def image_port(self) -> int | None:
        """The port for images alone, if there is one."""
        return self._image_port

    @property
    def clients(self) -> tuple[ClientInfo, ...]:
        """The clients connected now."""
        return tuple(connection.info() for connection in list(self._connections.values()))

    def start(self) -> None:
        """Bind, listen and serve on a thread of its own."""
        self._port = self._listen(self._port, None if self._image_port is None else False)
        if self._image_port is not None:
            try:
                self._image_port = self._listen(self._image_port, True)
            except OSError:
                self._listeners.popitem()[0].close()
                raise
        self._bell.open()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"igtl-server-{self.port}", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Let what is queued go out for at most `drain_s`, close everything; harmless when repeated."""
        if self._thread is None:
            return
        self._stop_at_s = time.monotonic() + drain_s
        self._bell.ring()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def publish(
        self,
        raw_v1: bytes | None,
        raw_v2: bytes | None = None,
        key: Hashable = None,
        newest_wins: bool = False,
    ) -> None:
        """Queue one complete message for every client, in the header version that each understands.

        Without `raw_v2` everybody gets `raw_v1`; without `raw_v1` clients of version 1 get nothing. With
        `newest_wins` a newer message of the same `key` replaces one that still waits, and a newcomer gets
        the latest. It never blocks: what the server's thread is too far behind for is counted in
        `dropped_messages`.
        """
        if self._stop_at_s is not None:
            return
        pending = Pending.of(raw_v1, raw_v2, key if newest_wins else None)
        if len(self._published) >= MOST_PUBLISHED:
            self.dropped_messages += 1
            return
        self._published.append(pending)
        self._bell.ring()

    def _listen(self, port: int, images: bool | None) -> int:
        listener = listen(self.host, port)
        self._listeners[listener] = images
        return int(listener.getsockname()[1])

    def _run(self) -> None:
        try:
            patience_s = 0.0
            while not self._finished():
                self._serve(self._selector.select(patience_s))
                self._distribute()
                patience_s = self._flush()
        finally:
            self._close_all()

    def _finished(self) -> bool:
        if self._stop_at_s is None:
            return False
        waits = bool(self._published) or any(c.outbox.queued_bytes for c in self._connections.values())
        return not waits or time.monotonic() >= self._stop_at_s

    def _distribute(self) -> None:
        """Take what was published to each client's outbox."""
        if not self._published:
            return
        now_s = time.monotonic()
        poses = False
        while self._published:
            pending = self._published.popleft()
            poses = poses or pending.type == "TRANSFORM"
            self._types.add(pending.type)
            if pending.key is not None:
                self._latest[pending.key] = pending
            for connection in self._connections.values():
                connection.outbox.offer(pending, now_s)
        if poses:
            self._bundle_poses(now_s)

    def _bundle_poses(self, now_s: float) -> None:
        """All poses in one message for the clients that asked for them so."""
        for connection in self._connections.values():
            wishes = connection.outbox.wishes
            if wishes.tracking is not None and wishes.tracking_due(now_s):
                bundle = tracking_data(wishes.tracking, self._latest.values())
                if bundle is not None:
                    raw = encode(bundle, connection.outbox.version)
                    connection.outbox.put(Pending.of(raw, raw, ("bundle",)))

    def _serve(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Newcomers, then what clients ask for, as far as the time for that goes; the rest stays ready."""
        now_s = time.monotonic()
        asking = []
        for key, mask in events:
            if key.fileobj is self._bell:
                self._bell.hush()
            elif isinstance(key.fileobj, socket.socket) and key.data is None:
                self._accept(key.fileobj)
            elif mask & selectors.EVENT_READ:
                asking.append(key.data)
        first = self._turn % max(len(asking), 1)
        for connection in asking[first:] + asking[:first]:
            if time.monotonic() - now_s > _REQUEST_TURN_S:
                return
            self._hear(connection, now_s)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return
        peer = f"{address[0]}:{address[1]}"
        if len(self._connections) >= self._most_clients:
            self._refuse(sock, peer)
            return
        connection = Connection(sock, peer, self._listeners[listener])
        now_s = time.monotonic()
        for pending in self._latest.values():
            connection.outbox.offer(pending, now_s)
        self._connections[sock] = connection
        self._watch(connection)
        self._tell(connection.peer, True, "")

    def _refuse(self, sock: socket.socket, peer: str) -> None:
        """Say why in a STATUS, then close."""
        reason = f"{self._most_clients} clients are connected already"
        logger.warning("client %s refused: %s", peer, reason)
        with sock:
            sock.setblocking(False)
            try:
                sock.send(encode(status_message("", time.time(), BUSY, reason, "BUSY")))
            except OSError as error:
                logger.info("client %s: %s", peer, error)

    def _tell(self, peer: str, connected: bool, reason: str) -> None:
        logger.info("client %s %s %s", peer, "came" if connected else "went", reason)
        if self._on_client is not None:
            self._on_client(peer, connected, reason)

    def _hear(self, connection: Connection, now_s: float) -> None:
        try:
            for raw in connection.receive(now_s):
                self._answer(connection, raw)
        except (OSError, WireError) as error:
            self._drop(connection, str(error))
            return
        deaf_s = connection.deaf_s(now_s)
        if deaf_s > 0.0:
            self._deaf[connection] = now_s + deaf_s
            self._watch(connection)

    def _answer(self, connection: Connection, raw: bytes) -> None:
        try:
            message = decode(raw)
        except WireError as error:
            logger.warning("client %s: %s", connection.peer, error)
            return
        self._distribute()
        if message.version > 1 and connection.outbox.version == 1:
            connection.outbox.version = message.version
            self._repeat_latest(connection)
        handled = reply_to(message, connection.outbox, self._types, self._latest.values())
        if not handled and self._on_message is not None:
            self._on_message(connection.peer, message)

    def _repeat_latest(self, connection: Connection) -> None:
        """What went out without metadata before the client showed that it understands them."""
        now_s = time.monotonic()
        for pending in self._latest.values():
            if pending.raw_v2 is not None:
                connection.outbox.offer(pending, now_s)

    def _flush(self) -> float:
        """Give every client its turn; returns how long the thread may sleep without an event."""
        now_s = time.monotonic()
        waiting = self._in_turn()
        larges = sum(c.outbox.amid_large and c.idle_s(now_s) < _LARGE_PATIENCE_S for c in waiting)
        more = held = False
        for connection in waiting:
            was_amid = connection.outbox.amid_large
            reason, unfinished = self._send(connection, larges < _LARGE_AT_ONCE)
            if reason is not None:
                self._drop(connection, reason)
                continue
            larges += connection.outbox.amid_large - was_amid
            more = more or unfinished
            held = held or (connection.outbox.queued_bytes > 0 and not connection.full)
        self._turn += 1
        self._shed(waiting)
        hearing_s = self._listen_again(now_s)
        if more or (held and larges < _LARGE_AT_ONCE):
            return 0.0
        return min(hearing_s, _LARGE_PATIENCE_S if held else _TICK_S)

    def _in_turn(self) -> list[Connection]:
        """The clients for which something waits, beginning with another one each time."""
        connections = [c for c in self._connections.values() if c.full or c.outbox.queued_bytes]
        first = self._turn % max(len(connections), 1)
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
            self._drop(worst, "too much waits for all clients together")

    def _listen_again(self, now_s: float) -> float:
        """Hear those that may ask again; returns how long until the next may."""
        for connection, until_s in list(self._deaf.items()):
            if until_s <= now_s:
                del self._deaf[connection]
                self._watch(connection)
        return min((until_s - now_s for until_s in self._deaf.values()), default=_TICK_S)

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

    def _drop(self, connection: Connection, reason: str) -> None:
        if self._connections.pop(connection.socket, None) is None:
            return
        self._deaf.pop(connection, None)
        if connection.watched:
            self._selector.unregister(connection.socket)
        connection.socket.close()
        self._tell(connection.peer, False, reason)

    def _close_all(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection, "the server stops")
        for listener in self._listeners:
            listener.close()
        self._bell.close()
        self._selector.close()
