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

from tracking.errors import InputError, SurroundingsError, WireError
from tracking.igtl.codec import Message, decode
from tracking.igtl.connection import ClientInfo, Connection
from tracking.igtl.outbox import Pending
from tracking.igtl.queries import reply_to
from tracking.igtl.sockets import RECEIVE_BYTES

logger = logging.getLogger(__name__)

LOOPBACK = ("localhost", "::1")
# A client that takes no byte for so long while data waits is cut.
STALL_S = 2.0
# How long `stop` lets what is queued go out.
DRAIN_S = 0.5
_LARGEST_GARBAGE_BYTES = 1 << 16
_MOST_CLIENTS = 64
_TICK_S = 0.25
# Images on their way at one time, over all clients: each further one would delay every client's poses.
_LARGE_AT_ONCE = 2
# A client that took nothing of its image for so long no longer holds up the images of others.
_LARGE_PATIENCE_S = 0.02

OnMessage = Callable[[str, Message], None]
OnClient = Callable[[str, bool, str], None]


class Server:
    """Listens on a loopback port (0: any free one) once started; `publish` may be called from any thread.

    `on_message(peer, message)` gets what clients send that is no query, `on_client(peer, connected,
    reason)` each coming and going; both run on the server's thread and must be quick. Raises InputError for
    a host that is not loopback; `start` raises SurroundingsError when the port is in use.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        on_message: OnMessage | None = None,
        on_client: OnClient | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        if host not in LOOPBACK and not host.startswith("127."):
            raise InputError(f"host {host}: the server listens on loopback only")
        self.host = host
        self._port = port
        self._on_message = on_message
        self._on_client = on_client
        self._stall_s = stall_s
        self._published: deque[Pending] = deque()
        self._latest: dict[Hashable, Pending] = {}
        self._types: set[str] = set()
        self._connections: dict[socket.socket, Connection] = {}
        self._turn = 0
        self._stop_at_s: float | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on; before `start` the one asked for."""
        return self._port

    @property
    def clients(self) -> tuple[ClientInfo, ...]:
        """The clients connected now."""
        return tuple(connection.info() for connection in list(self._connections.values()))

    def start(self) -> None:
        """Bind, listen and serve on a thread of its own."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self._port))
            listener.listen(_MOST_CLIENTS)
        except (OSError, OverflowError) as error:
            listener.close()
            raise SurroundingsError(f"port {self._port} on {self.host}: {error}") from error
        listener.setblocking(False)
        self._listener = listener
        self._port = int(listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"igtl-server-{self.port}", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Let what is queued go out for at most `drain_s`, close everything; harmless when repeated."""
        if self._thread is None:
            return
        self._stop_at_s = time.monotonic() + drain_s
        self._wake()
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
        the latest.
        """
        if self._stop_at_s is None:
            self._published.append(Pending.of(raw_v1, raw_v2, key if newest_wins else None))
        if self._thread is not None:
            self._wake()

    def _wake(self) -> None:
        try:
            self._wake_write.send(b"\0")
        except OSError:
            return  # a wake-up is on its way already, or the server has stopped

    def _run(self) -> None:
        try:
            patience_s = _TICK_S
            while not self._finished():
                for key, _ in self._selector.select(patience_s):
                    self._serve(key)
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
        while self._published:
            pending = self._published.popleft()
            self._types.add(pending.type)
            if pending.key is not None:
                self._latest[pending.key] = pending
            for connection in self._connections.values():
                connection.outbox.put(pending)

    def _serve(self, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._wake_read:
            self._wake_read.recv(RECEIVE_BYTES)
        elif key.fileobj is self._listener:
            self._accept()
        else:
            connection: Connection = key.data
            try:
                self._receive(connection)
            except (OSError, WireError) as error:
                self._drop(connection, str(error))

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, address = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= _MOST_CLIENTS:
            logger.warning("client %s refused: %d clients are connected", address, _MOST_CLIENTS)
            sock.close()
            return
        connection = Connection(sock, f"{address[0]}:{address[1]}")
        for pending in self._latest.values():
            connection.outbox.put(pending)
        self._connections[sock] = connection
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._tell(connection.peer, True, "")

    def _tell(self, peer: str, connected: bool, reason: str) -> None:
        logger.info("client %s %s %s", peer, "came" if connected else "went", reason)
        if self._on_client is not None:
            self._on_client(peer, connected, reason)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError("closed by the client")
        for raw in connection.splitter.feed(data):
            self._answer(connection, raw)
        if connection.splitter.garbage_bytes > _LARGEST_GARBAGE_BYTES:
            raise WireError("the client does not speak OpenIGTLink")

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
        for pending in self._latest.values():
            if pending.raw_v2 is not None:
                connection.outbox.put(pending)

    def _flush(self) -> float:
        """Give every client its turn; returns how long the thread may sleep without an event."""
        now_s = time.monotonic()
        larges = sum(c.outbox.amid_large and c.idle_s(now_s) < _LARGE_PATIENCE_S for c in self._in_turn())
        more = held = False
        for connection in self._in_turn():
            was_amid = connection.outbox.amid_large
            reason, unfinished = self._send(connection, larges < _LARGE_AT_ONCE)
            if reason is not None:
                self._drop(connection, reason)
                continue
            larges += connection.outbox.amid_large - was_amid
            more = more or unfinished
            held = held or (connection.outbox.queued_bytes > 0 and not connection.full)
        self._turn += 1
        if more or (held and larges < _LARGE_AT_ONCE):
            return 0.0
        return _LARGE_PATIENCE_S if held else _TICK_S

    def _in_turn(self) -> list[Connection]:
        """All clients, beginning with another one each time."""
        connections = list(self._connections.values())
        first = self._turn % max(len(connections), 1)
        return connections[first:] + connections[:first]

    def _send(self, connection: Connection, may_start_large: bool) -> tuple[str | None, bool]:
        """Give one client its turn: why it must be cut, if it must, and whether it can take more."""
        was_full = connection.full
        try:
            unfinished = connection.send(may_start_large)
        except OSError as error:
            return str(error), False
        if connection.outbox.overflow:
            return "too much waits for it", False
        if connection.idle_s(time.monotonic()) > self._stall_s:
            return f"took nothing for {self._stall_s} s", False
        if connection.full is not was_full:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.full else 0)
            self._selector.modify(connection.socket, events, connection)
        return None, unfinished

    def _drop(self, connection: Connection, reason: str) -> None:
        if self._connections.pop(connection.socket, None) is None:
            return
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._tell(connection.peer, False, reason)

    def _close_all(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection, "the server stops")
        for sock in (self._listener, self._wake_read, self._wake_write):
            if sock is not None:
                sock.close()
        self._selector.close()
