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
from tracking.igtl.crowd import Crowd
from tracking.igtl.messages import status_message
from tracking.igtl.outbox import Pending
from tracking.igtl.queries import reply_to
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
# What may wait for the server's own thread: a minute of everything at a kilohertz.
MOST_PUBLISHED = 1 << 16
# What the requests of all clients may take between two looks at what is to be sent.
_REQUEST_TURN_S = 0.002

OnMessage = Callable[[str, Message], Message | None]
OnClient = Callable[[str, bool, str], None]


class Server:
    """Listens on a port (0: any free one) once started; `publish` may be called from any thread.

    `on_message(peer, message)` gets what clients send that is no query, and may answer that client; `on_client(peer,
    connected, reason)` gets each coming and going; both run on the server's thread and must be quick. With `image_port`
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
        self._crowd: Crowd | None = None
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
        return tuple(connection.info() for connection in (self._crowd.connections if self._crowd else ()))

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
        self._crowd = Crowd(self._selector, self._stall_s, self._tell)
        self._thread = threading.Thread(
            target=self._run, args=(self._crowd,), name=f"igtl-server-{self.port}", daemon=True
        )
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

    def _run(self, crowd: Crowd) -> None:
        try:
            patience_s = 0.0
            while not self._finished(crowd):
                self._serve(crowd, self._selector.select(patience_s))
                crowd.distribute(self._published)
                patience_s = crowd.flush()
        finally:
            self._close_all(crowd)

    def _finished(self, crowd: Crowd) -> bool:
        if self._stop_at_s is None:
            return False
        waits = bool(self._published) or crowd.waits
        return not waits or time.monotonic() >= self._stop_at_s

    def _serve(self, crowd: Crowd, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Newcomers, then what clients ask for, as far as the time for that goes; the rest stays ready."""
        now_s = time.monotonic()
        asking = []
        for key, mask in events:
            if key.fileobj is self._bell:
                self._bell.hush()
            elif isinstance(key.fileobj, socket.socket) and key.data is None:
                self._accept(crowd, key.fileobj)
            elif mask & selectors.EVENT_READ:
                asking.append(key.data)
        first = crowd.turn % max(len(asking), 1)
        for connection in asking[first:] + asking[:first]:
            if time.monotonic() - now_s > _REQUEST_TURN_S:
                return
            self._hear(crowd, connection, now_s)

    def _accept(self, crowd: Crowd, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return
        peer = f"{address[0]}:{address[1]}"
        if len(crowd.connections) >= self._most_clients:
            self._refuse(sock, peer)
        else:
            crowd.add(Connection(sock, peer, self._listeners[listener]))

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

    def _hear(self, crowd: Crowd, connection: Connection, now_s: float) -> None:
        try:
            for raw in connection.receive(now_s):
                self._answer(crowd, connection, raw)
        except (OSError, WireError) as error:
            crowd.drop(connection, str(error))
            return
        deaf_s = connection.deaf_s(now_s)
        if deaf_s > 0.0:
            crowd.deafen(connection, now_s + deaf_s)

    def _answer(self, crowd: Crowd, connection: Connection, raw: bytes) -> None:
        try:
            message = decode(raw)
        except WireError as error:
            logger.warning("client %s: %s", connection.peer, error)
            return
        crowd.distribute(self._published)
        if message.version > 1 and connection.outbox.version == 1:
            connection.outbox.version = message.version
            crowd.repeat_latest(connection)
        handled = reply_to(message, connection.outbox, crowd.types, crowd.latest.values())
        if not handled and self._on_message is not None:
            answer = self._on_message(connection.peer, message)
            if answer is not None:
                raw = encode(answer, connection.outbox.version)
                connection.outbox.put(Pending.of(raw, raw))

    def _close_all(self, crowd: Crowd) -> None:
        for connection in crowd.connections:
            crowd.drop(connection, "the server stops")
        for listener in self._listeners:
            listener.close()
        self._bell.close()
        self._selector.close()
