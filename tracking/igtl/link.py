"""A client of one OpenIGTLink source: its own thread, reconnecting for as long as it is wanted.

What arrives is handed on raw, cut into messages, with the time of arrival; interpretation comes after
recording.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from tracking.errors import WireError
from tracking.igtl.codec import Message, encode
from tracking.igtl.content import OpaqueContent
from tracking.igtl.dial import Dialer
from tracking.igtl.messages import status_message
from tracking.igtl.sockets import RECEIVE_BYTES, Bell, tune
from tracking.igtl.stream import StreamSplitter

logger = logging.getLogger(__name__)

# A source that is just being started should be found within a heartbeat; one that is off should cost
# nothing.
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0
# Clients that lost the same source together do not come back together.
_JITTER = 0.25
# A link that stood for so long and delivered was a good one: the next is tried soon.
_STEADY_S = 1.0
# Silence after which a link is taken for half-open. Keepalive sees a dead machine, this a frozen program:
# three seconds less what noticing takes.
SILENCE_S = 2.5
# At this share of the silence the source is asked for its status, so that one with nothing to say stays.
_ASK_AT = 0.4
# A source that is silent on one link after another, though it takes the links, has nothing to say and does
# not answer: it is tried less and less often.
_LONGEST_SILENCE_S = 60.0
# Bytes that arrive for so long without completing a message mean that a header lied about its size.
_STUCK_S = 1.0
# A peer that sends so much that is no message does not speak OpenIGTLink.
_LARGEST_GARBAGE_BYTES = 1 << 20
_SEND_TIMEOUT_S = 2.0


class LinkState(StrEnum):
    """What a link is doing."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    STOPPED = "stopped"


OnRaw = Callable[[str, float, bytes], None]
OnState = Callable[[str, LinkState, str], None]


class Client:
    """One source at host:port, named `name` in everything it reports.

    `on_raw(name, arrival_s, raw)` gets every complete message, `on_state(name, state, detail)` every change
    of the link; both run on the client's thread. `arrival_s` is read from `clock`. With `hello` an empty
    version 2 STATUS is sent on connect, so that the source answers with metadata; a peer that only knows
    version 1 must not get it. `messages`, `connections` and `garbage_bytes` count over all connections.
    A link that delivers no byte for `silence_s`, not even an answer to GET_STATUS, is taken for half-open
    and made anew; each one in a row that never delivers a byte is waited on twice as long. None: never.
    `largest_bytes` limits what is held of any message of a source that has no use for images: what is larger
    passes by, unrecorded.
    """

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        on_raw: OnRaw,
        on_state: OnState | None = None,
        *,
        hello: bool = True,
        silence_s: float | None = SILENCE_S,
        largest_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host, self.port, self.name = host, port, name
        self.messages = 0
        self.connections = 0
        self.garbage_bytes = 0
        self._on_raw = on_raw
        self._on_state = on_state
        self._hello = hello
        self._silence_s = self._patience_s = silence_s
        self._largest_bytes = largest_bytes
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._send_lock = threading.Lock()
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._bell = Bell()

    @property
    def connected(self) -> bool:
        """Whether the link stands, as far as TCP knows."""
        return self._connected.is_set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Block until the link stands; False on timeout."""
        return self._connected.wait(timeout_s)

    def start(self) -> None:
        """Start connecting; returns at once."""
        if self._thread is not None:
            raise RuntimeError(f"client {self.name!r} was started before")
        self._bell.open()
        self._thread = threading.Thread(target=self._run, name=f"igtl-client-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the link and end the thread; harmless when repeated."""
        self._stopping.set()
        if self._thread is None:
            return
        self._bell.ring()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def send(self, raw: bytes) -> bool:
        """Send one complete message to the source; False when there is no link to send it on.

        A message that the source does not take within two seconds ends the link: half of it may have gone.
        """
        with self._send_lock:
            sock = self._socket
            if sock is None:
                return False
            try:
                sock.sendall(raw)
            except OSError as error:
                logger.warning("%s: sending failed: %s", self.name, error)
                _hang_up(sock)
                return False
            return True

    def _report(self, state: LinkState, detail: str = "") -> None:
        logger.info("%s: %s %s", self.name, state.value, detail)
        if self._on_state is not None:
            self._on_state(self.name, state, detail)

    def _run(self) -> None:
        try:
            self._report(LinkState.CONNECTING, f"{self.host}:{self.port}")
            self._keep_connected()
        finally:
            self._connected.clear()
            self._bell.close()
            self._report(LinkState.STOPPED)

    def _keep_connected(self) -> None:
        dialer = Dialer(self.host, self.port, self._bell, self._stopping.is_set)
        backoff_s, last_reason = FIRST_BACKOFF_S, ""
        while not self._stopping.is_set():
            before, began_s = self.messages, time.monotonic()
            try:
                reason = self._session(dialer)
            except (OSError, WireError) as error:
                reason = str(error)
            if self._connected.is_set():
                self._connected.clear()
                self._report(LinkState.LOST, reason)
            elif reason != last_reason:
                self._report(LinkState.CONNECTING, reason)
            last_reason = reason
            steady = self.messages > before and time.monotonic() - began_s > _STEADY_S
            self._stopping.wait(backoff_s * random.uniform(1.0 - _JITTER, 1.0 + _JITTER))
            backoff_s = FIRST_BACKOFF_S if steady else min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _session(self, dialer: Dialer) -> str:
        """One connection from connect to end; returns why it ended."""
        sock = dialer.dial()
        if sock is None:
            return "stopped"
        with sock:
            tune(sock)
            sock.settimeout(_SEND_TIMEOUT_S)
            if self._hello:
                sock.sendall(encode(status_message("", time.time(), version=2)))
            with self._send_lock:
                self._socket = sock
            self.connections += 1
            self._connected.set()
            self._report(LinkState.CONNECTED, f"{self.host}:{self.port}")
            try:
                return self._receive(sock)
            finally:
                with self._send_lock:
                    self._socket = None

    def _receive(self, sock: socket.socket) -> str:
        intake = Intake(largest_bytes=self._largest_bytes)
        garbage_before = self.garbage_bytes
        asked = heard = False
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not self._stopping.is_set():
                ready = selector.select(self._listening_s(asked))
                if not ready:
                    if asked:
                        return self._silent(heard)
                    asked = True
                    self.send(_status_query())
                    continue
                if all(key.fileobj is not sock for key, _ in ready):
                    self._bell.hush()
                    continue
                data = sock.recv(RECEIVE_BYTES)
                arrival_s = self._clock()
                if not data:
                    return "closed by the source"
                asked, heard = False, True
                messages = intake.feed(data)
                self.garbage_bytes = garbage_before + intake.garbage_bytes
                for raw in messages:
                    self.messages += 1
                    self._on_raw(self.name, arrival_s, raw)
        return "stopped"

    def _listening_s(self, asked: bool) -> float | None:
        """How long to wait for a byte before asking, or after it."""
        if self._patience_s is None:
            return None
        return self._patience_s * (1.0 - _ASK_AT if asked else _ASK_AT)

    def _silent(self, heard: bool) -> str:
        """The reason; the next link gets the usual patience if this one ever delivered, else twice its own."""
        assert self._patience_s is not None
        assert self._silence_s is not None
        reason = f"silent for {self._patience_s:g} s"
        longest_s = max(_LONGEST_SILENCE_S, self._silence_s)
        self._patience_s = self._silence_s if heard else min(2 * self._patience_s, longest_s)
        return reason


def _status_query() -> bytes:
    """GET_STATUS in version 1, which every peer understands or skips."""
    return encode(Message("GET_STATUS", "", time.time(), 1, {}, OpaqueContent()))


def _hang_up(sock: socket.socket) -> None:
    """End a link from another thread than the one that reads it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


class Intake:
    """A splitter that gives up on a message that never completes and on a peer that sends no messages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, largest_bytes: int | None = None) -> None:
        self._clock = clock
        self._splitter = StreamSplitter(largest_bytes)
        self._waiting_since_s: float | None = None

    @property
    def garbage_bytes(self) -> int:
        """Bytes that belonged to no message."""
        return self._splitter.garbage_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes; WireError when there is nothing but garbage."""
        messages = self._splitter.feed(data)
        now_s = self._clock()
        if messages or self._waiting_since_s is None:
            self._waiting_since_s = now_s
        elif now_s - self._waiting_since_s > _STUCK_S:
            self._splitter.distrust()
            messages = self._splitter.feed(b"")
        if not self._splitter.waiting:
            self._waiting_since_s = None
        if self._splitter.garbage_bytes > _LARGEST_GARBAGE_BYTES:
            raise WireError("the source does not speak OpenIGTLink")
        return messages
