"""An NDI tracker as a device: the driver's process is watched, ended when it hangs, and started anew."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tracking.device import Device, DeviceState, OnRaw, OnState
from tracking.errors import WireError
from tracking.igtl.codec import decode
from tracking.igtl.content import StatusContent
from tracking.igtl.stream import StreamSplitter
from tracking.ndi.settings import NdiSettings, require_driver

# Each step of the set-up; a serial reset alone may take seven seconds.
STEP_TIMEOUT_S = 12.0
# While tracking: half the time within which a half-open peer must be noticed.
SILENCE_S = 1.5
# How long a process that was asked to end may take before it is killed.
END_S = 0.8
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 2.0
_TICK_S = 0.1
_READ_BYTES = 1 << 16


@dataclass(slots=True)
class _Life:
    """How far one process has come, and when it was last heard."""

    heard_s: float
    step: str = ""
    limit_s: float = STEP_TIMEOUT_S


class NdiDevice(Device):
    """A Polaris or Vega; its tools come as `ProbeToTracker` and so on, with status and `FrameNumber`.

    Raises SurroundingsError when the driver is not installed, InputError for a tool's file that is none.
    """

    def __init__(
        self,
        name: str,
        settings: NdiSettings,
        on_raw: OnRaw,
        on_state: OnState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, on_raw, on_state)
        require_driver()
        settings.check_files()
        self._settings = settings
        self._clock = clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"device-{name}", daemon=True)

    def _start(self) -> None:
        self._thread.start()

    def _stop(self) -> None:
        self._ending.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        backoff_s, last_reason = FIRST_BACKOFF_S, ""
        while not self._ending.is_set():
            before = self.messages
            try:
                reason = self._session()
            except OSError as error:  # no process can be started now
                reason = str(error)
            if self._ending.is_set():
                return
            if self.state is DeviceState.CONNECTED:
                self._report(DeviceState.LOST, reason)
            elif reason != last_reason:
                self._report(DeviceState.CONNECTING, reason)
            last_reason = reason
            went_well = self.messages > before
            backoff_s = FIRST_BACKOFF_S if went_well else min(2 * backoff_s, LONGEST_BACKOFF_S)
            self._ending.wait(backoff_s)

    def _session(self) -> str:
        """One life of the driver's process; returns why it ended."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tracking.ndi.child", json.dumps(self._settings.to_json())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the engine, which then ends the session in order
        )
        try:
            return self._follow(process)
        finally:
            _end(process)

    def _follow(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        splitter, life = StreamSplitter(), _Life(time.monotonic())
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not self._ending.is_set():
                if not selector.select(_TICK_S):
                    if time.monotonic() - life.heard_s > life.limit_s:
                        process.kill()  # it hangs in the driver: there is nothing to wait for
                        return f"{self._settings.where}: no answer for {life.limit_s} s {life.step}".strip()
                    continue
                data = os.read(process.stdout.fileno(), _READ_BYTES)
                arrival_s = self._clock()
                if not data:
                    return life.step or f"the driver ended with code {process.wait()}"
                life.heard_s = time.monotonic()
                for raw in splitter.feed(data):
                    self._take(raw, arrival_s, life)
        return "stopped"

    def _take(self, raw: bytes, arrival_s: float, life: _Life) -> None:
        status = _status_of(raw)
        if status is None:
            self._deliver(self.name, arrival_s, raw)
            return
        life.step = status.message
        if status.code == StatusContent.OK:
            life.limit_s, life.step = SILENCE_S, ""
            self._report(DeviceState.CONNECTED, f"{self._settings.where}: {status.message}")


def _status_of(raw: bytes) -> StatusContent | None:
    try:
        body = decode(raw).body
    except WireError:
        return None
    return body if isinstance(body, StatusContent) else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to leave the tracker in order; kill it when it hangs in the driver."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
