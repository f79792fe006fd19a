"""The simulated devices as a child process: phases go in as lines, what happens comes out as JSON lines.

The child is always ended and waited for, whatever happens here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from navigation.demo.interrupts import Interrupts
from tracking.errors import SurroundingsError

# Start-up imports numpy and scipy and integrates a collimator: 2 s on a quiet machine.
READY_S = 30.0
# How long the child may take to close its sockets before it is killed.
STOP_S = 3.0
# A phase that was commanded but not reported this long after its end means that the child hangs.
LATE_S = 5.0
CHECK_S = 0.1


class Simulator:
    """`gammanav simulate --interactive` as a context. `ports` are those of tracker and probe.

    Entering raises SurroundingsError when the child does not come up: port in use, or it died.
    """

    def __init__(
        self,
        scene: str,
        seed: int,
        port: int,
        truth: Path,
        setup: Path,
        interrupts: Interrupts | None = None,
    ) -> None:
        self._interrupts = interrupts or Interrupts()
        self.ports: tuple[int, int] = (0, 0)
        self._command = [
            *(sys.executable, "-m", "navigation.cli.main", "simulate", scene, "--interactive"),
            *("--seed", str(seed), "--port", str(port), "--truth", str(truth), "--setup", str(setup)),
        ]
        self._news = threading.Condition()
        self._lines: list[dict[str, Any]] = []
        self._complaint = ""
        self._taken = 0

    def __enter__(self) -> Simulator:
        pipe = subprocess.PIPE
        with self._interrupts.held():
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            self._readers = [
                threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
                threading.Thread(target=self._read_complaints, args=(self._process.stderr,), daemon=True),
            ]
            for reader in self._readers:
                reader.start()
        try:
            ready = self._wait({"ready": True}, READY_S)
        except BaseException:
            self.close()
            raise
        self.ports = (int(ready["ports"][0]), int(ready["ports"][1]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The child's process."""
        return self._process.pid

    def phase(self, name: str, seconds: float) -> None:
        """Start a phase and wait until it has started."""
        self._tell(f"phase {name} {seconds:g}")
        self._wait({"phase": name, "action": "start"}, LATE_S)

    def wait_stop(self, name: str, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Wait for the end of a phase that lasts so long, calling `meanwhile` several times a second."""
        self._wait({"phase": name, "action": "stop"}, seconds + LATE_S, meanwhile)

    def pause(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Let the hand move on for some seconds, calling `meanwhile` several times a second."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0.0:
            self._interrupts.check()
            meanwhile()
            time.sleep(min(left, CHECK_S))

    def events(self, phase: str) -> list[dict[str, Any]]:
        """Every line so far about a phase."""
        with self._news:
            return [line for line in self._lines if line.get("phase") == phase]

    def check(self) -> None:
        """Raise SurroundingsError if the child has died."""
        self._interrupts.check()
        if self._process.poll() is not None:
            raise SurroundingsError(self._obituary())

    def close(self) -> None:
        """End the child and wait for it; harmless when repeated."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for reader in self._readers:
            reader.join(STOP_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                _close(stream)

    def _tell(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line + "\n")
            stdin.flush()
        except OSError:
            raise SurroundingsError(self._obituary()) from None

    def _wait(
        self, wanted: Mapping[str, Any], timeout_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """The next line that holds `wanted`; lines before it are passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._interrupts.check()
            with self._news:
                found = self._next(wanted)
                if found is not None:
                    return found
                if self._process.poll() is not None and not self._readers[0].is_alive():
                    raise SurroundingsError(self._obituary())
                if time.monotonic() > deadline:
                    raise SurroundingsError(f"the simulated devices did not answer within {timeout_s:.0f} s")
                self._news.wait(CHECK_S)
            meanwhile()

    def _next(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        while self._taken < len(self._lines):
            line = self._lines[self._taken]
            self._taken += 1
            if "error" in line:
                raise SurroundingsError(f"the simulated devices: {line['error']}")
            if all(line.get(key) == value for key, value in wanted.items()):
                return line
        return None

    def _read(self, stream: IO[str]) -> None:
        for text in stream:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"error": text.strip()}
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _read_complaints(self, stream: IO[str]) -> None:
        for text in stream:
            self._complaint = text.strip() or self._complaint

    def _obituary(self) -> str:
        self._readers[1].join(STOP_S)
        code = self._process.poll()
        return f"the simulated devices stopped (exit code {code}): {self._complaint or 'without a word'}"


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return  # a line for a child that has gone
