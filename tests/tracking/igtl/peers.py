"""Plain-socket peers for the link's tests, independent of the link itself except for the splitter."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from tracking.igtl import Message, StreamSplitter, decode

# Far beyond what loopback needs, short enough for a failing test.
PATIENCE_S = 60.0


class Collector:
    """Gathers what a client's callbacks deliver and waits on conditions over it."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.arrivals_s: list[float] = []
        self.states: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def on_raw(self, source: str, arrival_s: float, raw: bytes) -> None:
        with self._changed:
            self.raw.append(raw)
            self.arrivals_s.append(arrival_s)
            self._changed.notify_all()

    def on_state(self, source: str, state: str, detail: str) -> None:
        with self._changed:
            self.states.append((str(state.value), detail))  # type: ignore[attr-defined]
            self._changed.notify_all()

    def wait(self, condition: Callable[[Collector], bool], timeout_s: float = PATIENCE_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    @property
    def state_names(self) -> list[str]:
        return [state for state, _ in self.states]


class RawClient:
    """A client that sends bytes and reads messages when told to."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self._splitter = StreamSplitter()
        self._ready: list[bytes] = []

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def read_raw(self) -> bytes:
        """The next complete message; EOFError when the server has closed."""
        while not self._ready:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._ready = self._splitter.feed(data)
        return self._ready.pop(0)

    def read(self) -> Message:
        return decode(self.read_raw())

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def poll(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    """Whether the condition becomes true in time; for what offers no event to wait on."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.002)
    return True
