"""One client of the server: its socket, what it has sent so far and what waits for it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from tracking.errors import WireError
from tracking.igtl.allowance import Allowance
from tracking.igtl.outbox import Outbox
from tracking.igtl.sockets import tune
from tracking.igtl.stream import StreamSplitter
from tracking.igtl.wishes import Wishes

# A small kernel buffer keeps what is queued where newer data can still replace or overtake it; half of this
# costs throughput on loopback, whose segments have 64 KiB.
_SEND_BUFFER_BYTES = 1 << 17
# Clients of a publisher only send requests and status.
_LARGEST_REQUEST_BYTES = 1 << 20
_LARGEST_GARBAGE_BYTES = 1 << 16
# What is read of one client before it is the next one's turn: some 70 requests.
_REQUEST_TURN_BYTES = 1 << 12
# Far more than any viewer asks for, and little work: 200 requests cost some 10 ms.
_REQUESTS_PER_S, _REQUESTS_AT_ONCE = 200.0, 1000.0
_REQUEST_BYTES_PER_S, _REQUEST_BYTES_AT_ONCE = float(4 << 20), float(4 << 20)
# What one client gets before it is the next one's turn.
_TURN_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """What the server knows of one client."""

    peer: str
    version: int
    queued_bytes: int
    sent_messages: int
    replaced_messages: int


class Connection:
    """A client's socket and queues; everything but `info` belongs to the server's thread."""

    def __init__(self, sock: socket.socket, peer: str, images: bool | None = None) -> None:
        sock.setblocking(False)
        tune(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.socket = sock
        self.peer = peer
        self.outbox = Outbox(Wishes(images))
        self.full = False  # the kernel takes no more for now
        self.watched = 0  # the events that the server waits for
        self._splitter = StreamSplitter(_LARGEST_REQUEST_BYTES)
        self._requests = Allowance(_REQUESTS_PER_S, _REQUESTS_AT_ONCE)
        self._bytes = Allowance(_REQUEST_BYTES_PER_S, _REQUEST_BYTES_AT_ONCE)
        self._progress_s = time.monotonic()

    def info(self) -> ClientInfo:
        """A snapshot for other threads."""
        box = self.outbox
        return ClientInfo(self.peer, box.version, box.queued_bytes, box.sent_messages, box.replaced_messages)

    def receive(self, now_s: float) -> list[bytes]:
        """One turn's worth of what the client has sent.

        Raises OSError when it is gone, WireError when it sends no messages.
        """
        try:
            data = self.socket.recv(_REQUEST_TURN_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("closed by the client")
        messages = self._splitter.feed(data)
        self._requests.take(len(messages), now_s)
        self._bytes.take(len(data), now_s)
        if self._splitter.garbage_bytes > _LARGEST_GARBAGE_BYTES:
            raise WireError("the client does not speak OpenIGTLink")
        return messages

    def deaf_s(self, now_s: float) -> float:
        """How long it is not listened to, because it has sent more than it may; 0 when it is."""
        return max(self._requests.wait_s(now_s), self._bytes.wait_s(now_s))

    def send(self, may_start_large: bool) -> bool:
        """Hand the kernel what it takes, one turn's worth at most; whether more could go out now.

        Raises OSError when the client is gone.
        """
        left = _TURN_BYTES
        self.full = False
        while left > 0 and len(rest := self.outbox.rest(may_start_large)):
            try:
                count = self.socket.send(rest[:left])
            except BlockingIOError:
                self.full = True
                return False
            self.outbox.taken(count)
            self._progress_s = time.monotonic()
            left -= count
        return left <= 0

    def idle_s(self, now_s: float) -> float:
        """How long the kernel has taken nothing although something is on offer."""
        if not self.full:
            self._progress_s = now_s
        return now_s - self._progress_s
