"""A foot pedal over OpenIGTLink: a listed client presses, and nobody else's message does anything (H40)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.events import COMMAND
from navigation.engine.pedal import BOUNCE_S, PedalPort, pedal_order, pedal_settings
from tests.navigation.engine.fakes import Devices, build, settings
from tests.navigation.engine.test_live import DEADLINE_S, Listener
from tracking.errors import InputError
from tracking.igtl.codec import Message, encode
from tracking.igtl.control import CommandContent
from tracking.igtl.messages import string_message
from tracking.recording import Record

ROLE = {"clients": ["127.0.0.1"], "device": "Pedal", "press": "count specimen 3"}
PEER = "127.0.0.1:40000"


class Ordered:
    """What a port has ordered and told, on a clock that the test turns."""

    def __init__(self, role: dict[str, Any] | None) -> None:
        self.orders: list[tuple[str, dict[str, Any]]] = []
        self.told: list[str] = []
        self.now_s = 100.0
        self.port = PedalPort(
            replace(settings(), pedal=role, count_s=3.0), self._order, self.told.append, lambda: self.now_s
        )

    def _order(self, do: str, **content: Any) -> None:
        self.orders.append((do, content))

    def say(self, text: str, device: str = "Pedal", peer: str = PEER) -> None:
        self.now_s += 10.0
        self.port.take(peer, string_message(device, text, 1.0))


def test_a_press_does_what_the_case_says() -> None:
    ordered = Ordered(ROLE)
    ordered.say("press")
    assert ordered.orders == [("count", {"kind": "specimen", "specimen": 3, "seconds": 3.0, "via": "Pedal"})]


@pytest.mark.parametrize("form", ["string", "command"])
def test_it_may_say_itself_what_it_counts(form: str) -> None:
    ordered = Ordered(ROLE)
    body = CommandContent(1, "count", "bed lower edge 20")
    command = Message("COMMAND", "Pedal", 1.0, 2, {}, body)
    string = string_message("Pedal", "count bed lower edge 20", 1.0)
    answer = ordered.port.take(PEER, command if form == "command" else string)
    if form == "command":
        assert answer is not None
        assert (answer.type, answer.body) == ("RTS_COMMAND", CommandContent(1, "", "taken"))
    else:
        assert answer is None
    ((do, content),) = ordered.orders
    assert (do, content["kind"], content["name"], content["seconds"]) == ("count", "bed", "lower edge", 20.0)
    ordered.say("count cancel")
    assert ordered.orders[-1][0] == "cancel_count"
    ordered.say("removed")
    assert ordered.orders[-1] == ("removed_here", {"via": "Pedal"})


@pytest.mark.parametrize(
    ("text", "device", "peer"),
    [
        ("press", "Button", PEER),
        ("press", "Pedal", "10.0.0.9:40000"),
        ("count void 1 by foot", "Pedal", PEER),
        ("start scan", "Pedal", PEER),
        ("", "Pedal", PEER),
        ("count lesion", "Pedal", PEER),
        ("removed node 1", "Pedal", PEER),
    ],
)
def test_what_is_not_a_listed_pedals_does_nothing_and_is_told_once(text: str, device: str, peer: str) -> None:
    ordered = Ordered(ROLE)
    ordered.say(text, device, peer)
    ordered.say(text, device, peer)
    assert ordered.orders == []
    assert len(ordered.told) == 1


def test_a_command_is_answered_with_what_was_wrong() -> None:
    ordered = Ordered(ROLE)
    for peer, name, error in (("10.0.0.9:1", "press", "not allowed"), (PEER, "fire", "not understood")):
        ordered.now_s += 10.0
        answer = ordered.port.take(peer, Message("COMMAND", "Pedal", 1.0, 2, {}, CommandContent(7, name)))
        assert answer is not None
        assert answer.body == CommandContent(7, error)
    assert ordered.orders == []


def test_without_a_pedal_in_the_case_nothing_is_taken() -> None:
    ordered = Ordered(None)
    ordered.say("press")
    assert ordered.orders == []


def test_a_switch_that_bounces_presses_once() -> None:
    ordered = Ordered(ROLE)
    for _ in range(3):
        ordered.port.take(PEER, string_message("Pedal", "press", 1.0))
        ordered.now_s += 0.2 * BOUNCE_S
    assert len(ordered.orders) == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"clients": []}, "who may press"),
        ({"clients": ["theatre"]}, "no address"),
        ({"clients": ["127.0.0.1"], "press": "start scan"}, "press"),
        ({"clients": ["127.0.0.1"], "press": "press"}, "press"),
        ({"clients": ["127.0.0.1"], "press": "count against 1 2"}, "press"),
        ({"clients": ["127.0.0.1"], "device": 7}, "device"),
        ({"clients": ["127.0.0.1"], "foot": "left"}, "unknown key 'foot'"),
        (["127.0.0.1"], "no table"),
    ],
)
def test_a_table_that_makes_no_sense_is_named(table: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        pedal_settings(table, "case.toml, pedal")
    assert str(caught.value).startswith("case.toml, pedal")


def test_words_of_a_pedal_are_those_of_the_console() -> None:
    assert pedal_settings(None, "x") is None
    assert pedal_order("press", "count background", 10.0) == (
        "count",
        {"kind": "background", "seconds": 10.0},
    )


def test_a_pedal_on_a_real_socket_counts_and_every_viewer_sees_it(tmp_path: Path) -> None:
    # Three seconds of counts take longer here than a foot needs to bounce: the second order is no bounce.
    with Devices(120.0, pace=4.0) as devices:
        roles = replace(settings(devices.tracker.port, devices.probe.port), pedal=ROLE, count_s=3.0)
        with LiveCase(roles, tmp_path / RECORD_NAME, 0, build) as case:
            assert case.engine.wait_connected(DEADLINE_S) is None
            devices.begin()
            pedal = Listener(case.publisher.server.port)
            pedal.wait(lambda heard: any(m.device == "EngineStatus" for m in heard))
            assert pedal.client.send(encode(string_message("Pedal", "press", time.time())))
            pedal.wait(told(lambda words: len(words["counts"]) == 1))
            order = Message("COMMAND", "Pedal", time.time(), 2, {}, CommandContent(5, "count", "bed 2"))
            assert pedal.client.send(encode(order))
            pedal.wait(lambda heard: any(m.type == "RTS_COMMAND" for m in heard))
            pedal.wait(told(lambda words: len(words["counts"]) == 2))
            pedal.client.stop()
            newest = content(pedal.messages)
    count, bed = newest["counts"]
    assert bed["label"] == "bed"
    assert count["label"] == "specimen 3"
    assert count["counts"] == 210
    assert newest["ten_percent"]["hottest"] == "specimen 3"
    orders = [e.content() for e in Record(tmp_path / RECORD_NAME).events(COMMAND)]
    assert [o["via"] for o in orders if o["do"] == "count"] == ["Pedal", "Pedal"]


def content(messages: list[Message]) -> dict[str, Any]:
    texts = [m.body.text for m in messages if m.device == "TimedCounts"]  # type: ignore[union-attr]
    found: dict[str, Any] = json.loads(texts[-1]) if texts else {"counts": []}
    return found


def told(until: Callable[[dict[str, Any]], bool]) -> Callable[[list[Message]], bool]:
    return lambda messages: until(content(messages))
