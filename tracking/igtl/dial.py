"""How a client reaches its source: the name looked up, each address tried, and all of it given up at once on stop."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

from tracking.igtl.sockets import Bell

CONNECT_TIMEOUT_S = 2.0

_Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class Dialer:
    """Makes connections to host:port; `bell` is rung and `stopping` true when they are wanted no more."""

    def __init__(self, host: str, port: int, bell: Bell, stopping: Callable[[], bool]) -> None:
        self._host, self._port = host, port
        self._bell = bell
        self._stopping = stopping
        self._lookup: Future[list[_Address]] | None = None

    def dial(self, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket | None:
        """A connected socket, or None on stop; each address gets `timeout_s`.

        Raises OSError with the last address's reason when none answers or the name is not known.
        """
        failure = OSError(f"{self._host} has no address")
        for family, address in self._addresses(timeout_s):
            try:
                return self._connected(family, address, timeout_s)
            except OSError as error:
                failure = error
        if self._stopping():
            return None
        raise failure

    def _addresses(self, timeout_s: float) -> list[_Address]:
        try:
            return _looked_up(self._host, self._port, socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):
            return self._asked(timeout_s)

    def _asked(self, timeout_s: float) -> list[_Address]:
        """The resolver's answer; it may hang for long and cannot be interrupted, so it has its own thread."""
        if self._lookup is None:
            self._lookup = Future()
            threading.Thread(target=self._look_up, args=(self._lookup,), name="lookup", daemon=True).start()
        lookup = self._lookup
        if not self._wait(None, timeout_s, lookup.done):
            if self._stopping():
                return []
            raise TimeoutError(f"the name {self._host} is still being looked up")
        self._lookup = None
        return lookup.result()

    def _look_up(self, lookup: Future[list[_Address]]) -> None:
        try:
            lookup.set_result(_looked_up(self._host, self._port))
        except (OSError, UnicodeError) as error:
            lookup.set_exception(OSError(f"the name {self._host} is not known: {error}"))
        self._bell.ring()

    def _connected(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int] | tuple[str, int, int, int],
        timeout_s: float,
    ) -> socket.socket | None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect_ex(address)
            found = self._wait(sock, timeout_s, lambda: False)
            if self._stopping():
                sock.close()
                return None
            if not found:
                raise TimeoutError(f"no answer in {timeout_s:g} s")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            if sock.getsockname() == sock.getpeername():
                raise ConnectionRefusedError("connected to itself: nobody listens there")
        except OSError:
            sock.close()
            raise
        return sock

    def _wait(self, sock: socket.socket | None, timeout_s: float, done: Callable[[], bool]) -> bool:
        """Until the socket is connected or has failed, or `done`; False on timeout and stop."""
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            if sock is not None:
                selector.register(sock, selectors.EVENT_WRITE)
            while not self._stopping():
                if done():
                    return True
                left_s = deadline_s - time.monotonic()
                if left_s <= 0.0:
                    return False
                for key, _ in selector.select(left_s):
                    if key.fileobj is sock:
                        return True
                    self._bell.hush()
        return False


def _looked_up(host: str, port: int, flags: int = 0) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found if isinstance(address[0], str)]
