"""Sources of raw messages: the wire, a record, a scan folder; all behave alike to whoever listens.

The public methods are final and hold the checks; a back end writes the underscored ones. A device hands raw
bytes on with their time of arrival, in order, from one thread, and interprets nothing.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import final

from tracking.errors import GammanavError
from tracking.igtl.link import SILENCE_S, Client, LinkState
from tracking.recording.reader import Event, Record
from tracking.recording.replay import MAX_SPEED, Replay


class DeviceState(StrEnum):
    """What a device is doing; FINISHED and STOPPED are final."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    FAILED = "failed"
    FINISHED = "finished"
    STOPPED = "stopped"


ENDED = (DeviceState.FAILED, DeviceState.FINISHED, DeviceState.STOPPED)

OnRaw = Callable[[str, float, bytes], None]
OnState = Callable[[str, DeviceState, str], None]


def _ignore(name: str, state: DeviceState, detail: str) -> None:
    """The listener of a device whose states nobody follows."""


class Device(ABC):
    """A source named `name`: `on_raw(source, arrival_s, raw)` gets every message until `stop` returns.

    `on_state(name, state, detail)` gets every change of state. Both run on the device's thread and must
    return soon. A device runs once: a stopped one is not started again.
    """

    def __init__(self, name: str, on_raw: OnRaw, on_state: OnState | None = None) -> None:
        self.name = name
        self._on_raw = on_raw
        self._on_state = on_state or _ignore
        self._state = DeviceState.IDLE
        self._messages = 0
        self._stopping = False
        self._changed = threading.Condition()

    @final
    def start(self) -> None:
        """Begin; returns at once. Raises RuntimeError when it was started before."""
        if self._state is not DeviceState.IDLE or self._stopping:
            raise RuntimeError(f"device {self.name!r} was started before")
        self._report(DeviceState.CONNECTING)
        self._start()

    @final
    def stop(self) -> None:
        """End; when it returns no further message comes. Harmless when repeated or never started."""
        self._stopping = True
        self._stop()
        if self._state not in ENDED:
            self._report(DeviceState.STOPPED)

    @final
    @property
    def state(self) -> DeviceState:
        """What it is doing now."""
        return self._state

    @final
    @property
    def messages(self) -> int:
        """How many messages it has handed on."""
        return self._messages

    @final
    def wait_for(self, *states: DeviceState, timeout_s: float) -> bool:
        """Block until it is in one of the states; False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state in states, timeout_s)

    @final
    def __enter__(self) -> Device:
        self.start()
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @final
    def _deliver(self, source: str, arrival_s: float, raw: bytes) -> None:
        """Hand one message on; a back end calls nothing else to do so."""
        if not self._stopping:
            self._messages += 1
            self._on_raw(source, arrival_s, raw)

    @final
    def _report(self, state: DeviceState, detail: str = "") -> None:
        """Tell a change of state; a back end calls nothing else to do so."""
        with self._changed:
            if self._state in ENDED:
                return
            self._state = state
            self._changed.notify_all()
        self._on_state(self.name, state, detail)

    @abstractmethod
    def _start(self) -> None:
        """Begin to deliver, on another thread."""

    @abstractmethod
    def _stop(self) -> None:
        """End that thread and wait for it; may be called repeatedly and before `_start`."""


_LINK_STATES = {
    LinkState.CONNECTING: DeviceState.CONNECTING,
    LinkState.CONNECTED: DeviceState.CONNECTED,
    LinkState.LOST: DeviceState.LOST,
}


class IgtlDevice(Device):
    """An OpenIGTLink server at host:port, reconnected for as long as the device runs; options as of `Client`."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        on_raw: OnRaw,
        on_state: OnState | None = None,
        *,
        hello: bool = True,
        silence_s: float | None = SILENCE_S,
        largest_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, on_raw, on_state)
        self._client = Client(
            host,
            port,
            name,
            self._deliver,
            self._on_link,
            hello=hello,
            silence_s=silence_s,
            largest_bytes=largest_bytes,
            clock=clock,
        )

    def _on_link(self, name: str, state: LinkState, detail: str) -> None:
        if state in _LINK_STATES:
            self._report(_LINK_STATES[state], detail)

    def _start(self) -> None:
        self._client.start()

    def _stop(self) -> None:
        self._client.stop()


class EventDevice(Device):
    """A device that plays recorded events on a thread of its own, at `speed` times their pace."""

    def __init__(
        self, name: str, on_raw: OnRaw, on_state: OnState | None = None, speed: float = MAX_SPEED
    ) -> None:
        super().__init__(name, on_raw, on_state)
        self._replay = Replay(self._opened(), self._play, speed)
        self._thread = threading.Thread(target=self._run, name=f"device-{name}", daemon=True)

    @abstractmethod
    def _events(self) -> Iterator[Event]:
        """What to play. Raises InputError when the source is missing or malformed."""

    def _opened(self) -> Iterator[Event]:
        """The events; CONNECTED is told when the source has been opened."""
        events = self._events()
        for number, event in enumerate(events):
            if number == 0:
                self._report(DeviceState.CONNECTED)
            yield event

    def _play(self, event: Event) -> None:
        self._deliver(event.source, event.arrival_s, event.payload)

    def _run(self) -> None:
        try:
            if self._replay.run():
                self._report(DeviceState.FINISHED)
        except GammanavError as error:
            self._report(DeviceState.FAILED, str(error))

    def _start(self) -> None:
        self._thread.start()

    def _stop(self) -> None:
        self._replay.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()


class ReplayDevice(EventDevice):
    """The raw messages of a record, from all its sources or from one; sources keep their recorded names."""

    def __init__(
        self,
        name: str,
        path: Path,
        on_raw: OnRaw,
        on_state: OnState | None = None,
        speed: float = MAX_SPEED,
        only: str | None = None,
    ) -> None:
        super().__init__(name, on_raw, on_state, speed)
        self._path = path
        self._only = only

    def _events(self) -> Iterator[Event]:
        for event in Record(self._path).events("raw"):
            if self._only in (None, event.source):
                yield event
