"""Orders and answers over real pipes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from navigation.windowtalk import Orders, Talk

PATIENCE_S = 30.0


class Line:
    """Both ends of a talk; the streams are closed with it."""

    def __init__(self, obey: Callable[[str], Mapping[str, Any]]) -> None:
        up_read, up_write = os.pipe()
        down_read, down_write = os.pipe()
        self.streams = [os.fdopen(up_read, "rb"), os.fdopen(up_write, "w"), os.fdopen(down_read)]
        up, says, hears = self.streams
        self.talk = Talk(up, os.fdopen(down_write, "wb"), obey)  # type: ignore[arg-type]
        self.orders = Orders(says, hears)  # type: ignore[arg-type]

    def end(self) -> None:
        self.talk.end()
        until(lambda: self.orders.ended)
        self.streams[1].close()
        until(lambda: not [t for t in threading.enumerate() if t.name in ("talk", "answers")])
        for stream in self.streams:
            stream.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_order_is_answered_and_says_whether_it_was_refused() -> None:
    line = Line(lambda words: {"text": f"no {words}", "refused": words == "dance"})
    orders = line.orders
    orders.say("dance")
    orders.say("scan")
    found: list[tuple[str, str, bool]] = []
    until(lambda: found.extend(orders.answers()) or len(found) == 2)
    assert sorted(found) == [("dance", "no dance", True), ("scan", "no scan", False)]
    assert orders.pending == ()
    line.end()


def test_a_long_order_holds_up_no_other() -> None:
    let_go = threading.Event()

    def obey(words: str) -> dict[str, Any]:
        if words == "stop":
            let_go.wait(PATIENCE_S)
        return {"text": words, "refused": False}

    line = Line(obey)
    orders = line.orders
    orders.say("stop")
    orders.say("count target")
    found: list[tuple[str, str, bool]] = []
    until(lambda: found.extend(orders.answers()) or found)
    assert found == [("count target", "count target", False)]
    assert orders.pending == ("stop",)
    let_go.set()
    until(lambda: not orders.pending)
    line.end()


def test_beats_are_heard_and_noise_is_not() -> None:
    asked: list[str] = []
    line = Line(lambda words: asked.append(words) or {})  # type: ignore[func-returns-value]
    talk, orders = line.talk, line.orders
    assert talk.silent_s() == 0.0
    orders._up.write('Qt says something\n{"say": 5}\n[]\n')
    orders.beat()
    until(lambda: talk.silent_s() > 0.0)
    assert asked == []
    line.end()
