"""The link to the engine: decodes on its own thread, and hands over the newest of everything when asked."""

from __future__ import annotations

import json
import threading
import time

from navigation.ui.model import ViewModel
from navigation.ui.sound import Voice
from tracking.errors import WireError
from tracking.igtl import Client, LinkState, Message, StringContent, decode, names

# Poses of a camera kept between two frames: between two of them a picture is placed.
CAMERA_POSES = 60


class EngineLink:
    """A client of the publisher at host:port. Memory is bounded: one message is kept for each type and name.

    Count rates go to the `voice` at once: it does not wait for the next frame.
    """

    def __init__(self, host: str, port: int, voice: Voice | None = None) -> None:
        self._voice = voice
        self._lock = threading.Lock()
        self._news: dict[tuple[str, str], tuple[Message, float]] = {}
        self._status: list[tuple[Message, float]] = []
        self._camera: list[tuple[Message, float]] = []
        self._connected = False
        self.was_connected = False
        self.client = Client(host, port, "window", self._on_raw, self._on_state)

    def _on_raw(self, source: str, arrival_s: float, raw: bytes) -> None:
        try:
            message = decode(raw)
        except WireError:
            return
        if message.device == names.COUNT_RATE and self._voice is not None:
            _let_hear(self._voice, message)
        with self._lock:
            if message.device == names.CAMERA_TO_REFERENCE:
                self._camera = [*self._camera[-CAMERA_POSES:], (message, arrival_s)]
                return
            self._news[message.type, message.device] = (message, arrival_s)
            if message.device == names.ENGINE_STATUS:
                self._status = [*self._status[-20:], (message, arrival_s)]

    def _on_state(self, source: str, state: LinkState, detail: str) -> None:
        self._connected = state is LinkState.CONNECTED
        self.was_connected |= self._connected

    @property
    def lost(self) -> bool:
        """There was an engine, and it has gone."""
        return self.was_connected and not self._connected

    def pour_into(self, model: ViewModel) -> None:
        """Hand over what has arrived; every heartbeat and pose of a camera counts, of the rest only the newest."""
        with self._lock:
            news, self._news = self._news, {}
            status, self._status = self._status, []
            camera, self._camera = self._camera, []
        for key, (message, arrival_s) in news.items():
            if key[1] != names.ENGINE_STATUS:
                model.receive(message, arrival_s)
        for message, arrival_s in [*camera, *status]:
            model.receive(message, arrival_s)
        model.connected = self._connected

    @staticmethod
    def now_s() -> float:
        """The clock that stamps arrivals."""
        return time.monotonic()


def _let_hear(voice: Voice, message: Message) -> None:
    content = message.body
    if not isinstance(content, StringContent):
        return
    try:
        found = json.loads(content.text)
        rate = found["rate_cps"]
        voice.feed(None if rate is None else float(rate), bool(found["saturated"]), time.monotonic())
    except (ValueError, TypeError, KeyError):
        return
