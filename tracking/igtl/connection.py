"""One client of the server: its socket, what it has sent so far and what waits for it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from tracking.igtl.outbox import Outbox
from tracking.igtl.sockets import tune
from tracking.igtl.stream import StreamSplitter

# A small kernel buffer keeps what is queued where newer data can still replace or overtake it.
_SEND_BUFFER_BYTES = 1 << 18
# Clients of a publisher only send requests and status.
_LARGEST_REQUEST_BYTES = 1 << 20
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

    def __init__(self, sock: socket.socket, peer: str) -> None:
        sock.setblocking(False)
        tune(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.socket = sock
        self.peer = peer
        self.splitter = StreamSplitter(_LARGEST_REQUEST_BYTES)
        self.outbox = Outbox()
        self.full = False  # the kernel takes no more for now
        self._progress_s = time.monotonic()

    def info(self) -> ClientInfo:
        """A snapshot for other threads."""
        box = self.outbox
        return ClientInfo(self.peer, box.version, box.queued_bytes, box.sent_messages, box.replaced_messages)

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
