"""Socket settings shared by both ends of a link, a bell for threads that wait, and how a server listens.

Small messages leave at once; a peer whose machine, cable or system is gone is noticed within three seconds.
"""

from __future__ import annotations

import contextlib
import socket

from tracking.errors import SurroundingsError

# First probe after a second of silence, then one each second.
_KEEPALIVE = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}
# Probes or data that nobody acknowledges for so long end the link. Linux looks at it when a probe is due, so
# the third second is the last; without this option the count of probes gives the same three seconds.
_USER_TIMEOUT_MS = 1900
RECEIVE_BYTES = 1 << 16
_BACKLOG = 64


def tune(sock: socket.socket) -> None:
    """No Nagle delay; keepalive and user timeout where the platform has them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {**_KEEPALIVE, "TCP_USER_TIMEOUT": _USER_TIMEOUT_MS}.items():
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that never blocks. Raises SurroundingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise SurroundingsError(f"port {port} on {host}: {error}") from error
    listener.setblocking(False)
    return listener


class Bell:
    """Wakes a thread that waits in a selector; may be rung from any thread, also before `open` and after `close`."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._rung = False

    def open(self) -> None:
        """Begin: a selector may wait on it now."""
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)

    def fileno(self) -> int:
        """What a selector waits on; -1 while it is not open."""
        return -1 if self._ends is None else self._ends[0].fileno()

    def ring(self) -> None:
        """Wake whoever waits; one byte is on its way at a time."""
        if self._ends is not None and not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # closed: nobody waits any more
                self._ends[1].send(b"\0")

    def hush(self) -> None:
        """Take notice; what was done before a ring is seen by whoever looks after this."""
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                self._ends[0].recv(RECEIVE_BYTES)
        self._rung = False

    def close(self) -> None:
        """No more waiting; harmless when repeated."""
        for end in self._ends or ():
            end.close()
