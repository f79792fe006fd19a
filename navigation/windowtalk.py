"""What the window and the case say to each other beside the published stream: orders up, answers down.

JSON, one object a line. The window writes `{"beat": n}` and `{"id": n, "say": words}`, words as at the console; the
case answers `{"id": n, "text": ..., "refused": bool}`, and `{"bye": true}` when it has ended. A stream that ends
without that is a case that has died.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

logger = logging.getLogger(__name__)

# One order may take seconds, as the analysis of a scan does; a count is asked for meanwhile.
AT_ONCE = 4
# Nobody says more with a button.
LONGEST_LINE = 4000

Obey = Callable[[str], Mapping[str, Any]]


class Talk:
    """The case's end. `obey` takes words and gives the answer's content; it runs on threads of the talk."""

    def __init__(self, up: IO[bytes], down: IO[bytes], obey: Obey) -> None:
        self._obey = obey
        self._down = down
        self._lock = threading.Lock()
        self._beat_s: float | None = None
        self._orders = ThreadPoolExecutor(AT_ONCE, "order")
        reader = threading.Thread(target=self._read, args=(up,), name="talk", daemon=True)
        reader.start()

    def silent_s(self) -> float:
        """Seconds since the window's last beat; 0 before the first."""
        return 0.0 if self._beat_s is None else time.monotonic() - self._beat_s

    def end(self) -> None:
        """Tell the window that there is nobody to talk to any more."""
        with self._lock:
            for part in (lambda: self._down.write(b'{"bye": true}\n'), self._down.flush, self._down.close):
                with suppress(OSError, ValueError):  # the window had gone already
                    part()
        self._orders.shutdown(wait=False)

    def _read(self, up: IO[bytes]) -> None:
        with up:
            for row in iter(lambda: up.readline(LONGEST_LINE), b""):
                if not self._heard(_object(row)):
                    return

    def _heard(self, found: dict[str, Any]) -> bool:
        """Take a line; False when nothing is obeyed any more."""
        if "beat" in found:
            self._beat_s = time.monotonic()
        elif isinstance(found.get("say"), str):
            try:
                self._orders.submit(self._answer, found.get("id"), found["say"])
            except RuntimeError:
                return False  # the case has ended
        return True

    def _answer(self, number: object, words: str) -> None:
        answer = {"id": number, **self._obey(words)}
        with self._lock:
            try:
                self._down.write(json.dumps(answer).encode() + b"\n")
                self._down.flush()
            except (OSError, ValueError):
                logger.info("the window did not wait for the answer to %r", words)


class Orders:
    """The window's end: `say` an order; `answers` holds what came back since it was asked last."""

    def __init__(self, up: IO[str], down: IO[str]) -> None:
        self.ended = False
        self.bye = False  # the case ended on purpose
        self._up = up
        self._lock = threading.Lock()
        self._number = self._beats = 0
        self._pending: dict[int, str] = {}
        self._answers: list[tuple[str, str, bool]] = []
        threading.Thread(target=self._read, args=(down,), name="answers", daemon=True).start()

    def say(self, words: str) -> None:
        """Ask for something in the console's words."""
        with self._lock:
            self._number += 1
            self._pending[self._number] = words
            self._write({"id": self._number, "say": words})

    def beat(self) -> None:
        """Say that the window's own loop runs."""
        with self._lock:
            self._beats += 1
            self._write({"beat": self._beats})

    def _write(self, content: dict[str, Any]) -> None:
        try:
            self._up.write(json.dumps(content) + "\n")
            self._up.flush()
        except (OSError, ValueError):
            self.ended = True

    @property
    def pending(self) -> tuple[str, ...]:
        """Orders that were not answered yet, the oldest first."""
        with self._lock:
            return tuple(self._pending.values())

    def answers(self) -> list[tuple[str, str, bool]]:
        """(order, answer, refused) of all that came since the last call."""
        with self._lock:
            found, self._answers = self._answers, []
        return found

    def _read(self, down: IO[str]) -> None:
        for row in down:
            found = _object(row)
            self.bye = self.bye or bool(found.get("bye"))
            with self._lock:
                order = self._pending.pop(found.get("id", 0), None)
                if order is not None:
                    self._answers.append((order, str(found.get("text", "")), bool(found.get("refused"))))
        self.ended = True


def _object(row: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(row)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
