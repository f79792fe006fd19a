"""Socket settings shared by both ends of a link: small messages leave at once, a dead peer is noticed."""

from __future__ import annotations

import contextlib
import socket

# A peer whose machine or cable is gone is noticed within idle + interval * count seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
# Sent data that nobody acknowledges for so long ends the link.
_USER_TIMEOUT_MS = 4000
RECEIVE_BYTES = 1 << 16


def tune(sock: socket.socket) -> None:
    """No Nagle delay; keepalive and user timeout where the platform has them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {**_KEEPALIVE, "TCP_USER_TIMEOUT": _USER_TIMEOUT_MS}.items():
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
