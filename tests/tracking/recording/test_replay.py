"""A replay keeps order, times and pace; the same record gives the same poses bit for bit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.tracking.recording.scene import EPOCH_S, messages, record
from tracking.errors import InputError
from tracking.hub import Hub
from tracking.recording import MAX_SPEED, Event, Replay, parse_speed, read_events


class Time:
    """A clock that moves only when someone waits."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now_s += seconds
        return False


def events_at(*times: float) -> list[Event]:
    return [Event(i, t, "s", "raw", b"") for i, t in enumerate(times)]


@pytest.mark.parametrize(("speed", "expected"), [(1.0, [0.5, 1.5]), (10.0, [0.05, 0.15]), (0.5, [1.0, 3.0])])
def test_pace(speed: float, expected: list[float]) -> None:
    time, heard = Time(), []
    replay = Replay(events_at(100.0, 100.5, 102.0), heard.append, speed, time.clock, time.wait)
    assert replay.run()
    assert time.waits == pytest.approx(expected)
    assert [e.arrival_s for e in heard] == [100.0, 100.5, 102.0]
    assert replay.played == 3


def test_a_slow_listener_is_not_waited_for_twice() -> None:
    time = Time()

    def slow(event: Event) -> None:
        time.now_s += 0.8

    Replay(events_at(0.0, 1.0, 2.0), slow, 1.0, time.clock, time.wait).run()
    assert time.waits == pytest.approx([0.2, 0.2])


def test_as_fast_as_possible_never_waits() -> None:
    time = Time()
    assert Replay(events_at(0.0, 1e6), lambda e: None, MAX_SPEED, time.clock, time.wait).run()
    assert time.waits == []


def test_stopping_ends_before_the_next_event() -> None:
    heard: list[Event] = []

    def once(event: Event) -> None:
        heard.append(event)
        replay.stop()

    replay = Replay(events_at(0.0, 1.0, 2.0), once)
    assert not replay.run()
    assert len(heard) == 1


@pytest.mark.parametrize(("text", "speed"), [("max", math.inf), ("1", 1.0), ("0.25", 0.25), ("20", 20.0)])
def test_speeds(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_bad_speeds(text: str) -> None:
    with pytest.raises(InputError, match="neither max nor a positive number"):
        parse_speed(text)


def test_backwards_is_no_speed() -> None:
    with pytest.raises(ValueError, match="positive"):
        Replay([], lambda e: None, speed=-1.0)


def test_a_replay_gives_the_live_state_bit_for_bit(tmp_path: Path) -> None:
    live, again = Hub(), Hub()
    live_counts = [i for m in messages() for i in live.handle(*m)]
    path = record(tmp_path / "r.record")
    replayed: list[object] = []
    Replay(
        read_events(path, "raw"),
        lambda e: replayed.extend(again.handle(e.source, e.arrival_s, e.payload)),
    ).run()
    assert replayed == live_counts
    t = EPOCH_S + np.linspace(0.0, 4.0, 1000)
    for got, expected in zip(
        again.buffer.tool_in_reference("Probe", t), live.buffer.tool_in_reference("Probe", t), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert again.stats(EPOCH_S + 5.0) == live.stats(EPOCH_S + 5.0)
