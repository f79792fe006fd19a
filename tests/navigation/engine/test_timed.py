"""Timed counts of a live case: the counter's own time decides, what goes missing is told, and a replay has the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from navigation.engine.assembly import RECORD_NAME, LiveCase, settings_of
from navigation.engine.console import Console
from navigation.engine.events import COMMAND, RAW, RESUME, EngineEvent, json_event
from navigation.engine.imaging import Imager
from navigation.engine.replay import ReplayEngine
from navigation.engine.restore import restore
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.timed.count import TimedCount
from tests.navigation.engine.fakes import EPOCH_S, Devices, build, pose, pose_event, settings
from tracking.errors import GateRefusedError, InputError
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message, counts_string_message
from tracking.recording import Record, Replay
from tracking.sample import CountSample

START_S = EPOCH_S + 3600.0


class Counter:
    """A counter that a test holds in its hand: how fast, how long its windows, which messages arrive."""

    def __init__(self, session: Session, window_s: float = 0.1) -> None:
        self.session, self.window_s = session, window_s
        self.seq, self.total, self.live_s, self.t_s = 0, 0.0, 0.0, START_S

    def run(
        self, seconds: float, cps: float, arrives: Callable[[int], bool] = lambda k: True, live: float = 1.0
    ) -> None:
        for k in range(round(seconds / self.window_s)):
            self.seq += 1
            counts = cps * self.window_s
            self.total += counts
            self.live_s += live * self.window_s
            self.t_s += self.window_s
            if arrives(k):
                sample = CountSample(self.t_s, self.seq, counts, self.window_s, self.total, self.live_s)
                raw = encode(counts_sensor_message(sample))
                self.session.handle(EngineEvent("probe", self.t_s, RAW, raw))

    def reset(self) -> None:
        self.seq, self.total, self.live_s = 0, 0.0, 0.0

    def order(self, do: str, **content: object) -> None:
        self.session.handle(json_event("user", self.t_s, COMMAND, {"do": do, **content}))

    def count(self, kind: str, cps: float, seconds: float = 10.0, **content: object) -> TimedCount:
        self.order("count", kind=kind, seconds=seconds, **content)
        self.run(seconds + 1.0, cps)
        return self.counts[-1]

    @property
    def counts(self) -> tuple[TimedCount, ...]:
        return self.session.timed.counts


@pytest.fixture
def counter() -> Counter:
    made = Counter(Session(settings()))
    made.run(1.0, 10.0)
    return made


def test_a_count_lasts_as_long_as_the_counter_says(counter: Counter) -> None:
    found = counter.count("target", 70.0, name="axilla")
    assert (found.kind, found.name, found.id) == ("target", "axilla", 1)
    # A hundred windows of 0.1 s, seven counts each.
    assert found.counts == pytest.approx(700.0)
    assert found.window_s == pytest.approx(10.0)
    assert found.end_s - found.start_s == pytest.approx(10.0)
    assert found.usable
    assert found.marks == ()
    # 99mTc, an hour and some seconds after the reference time: 2^(-1.003/6.007).
    assert found.decay == pytest.approx(0.8908, abs=2e-4)


def test_the_interval_under_way_at_the_press_is_not_counted(counter: Counter) -> None:
    counter.run(0.1, 1e4)
    counter.order("count", kind="bed", seconds=2.0)
    counter.run(0.1, 1e4)  # began before the press, with the probe elsewhere
    counter.run(2.0, 50.0)
    assert counter.counts[-1].counts == pytest.approx(100.0)


@pytest.mark.parametrize(("window_s", "latency_s"), [(0.1, 0.25), (1.0, 0.0), (1.0, 0.13)])
def test_a_late_or_slow_counter_is_waited_for(window_s: float, latency_s: float) -> None:
    counter = Counter(Session(settings()), window_s)
    counter.run(3.0, 10.0)
    counter.order("latency", count_latency_s=latency_s, ci95_s=[0.0, 0.3], determined=True)
    counter.order("count", kind="target", seconds=5.0)
    before_s = counter.t_s
    counter.run(9.0, 30.0)
    found = counter.counts[-1]
    assert found.start_s >= before_s + latency_s - 0.25 * window_s
    assert found.window_s == pytest.approx(5.0)


def test_what_a_lost_message_held_is_known_from_the_total_and_marked(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=5.0)
    counter.run(8.0, 70.0, arrives=lambda k: k not in (12, 13, 14))
    found = counter.counts[-1]
    assert found.counts == pytest.approx(350.0)
    assert found.usable
    assert "3 messages missing" in found.marks[0]


def test_a_hole_that_is_too_long_is_left_out_and_told(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=5.0)
    counter.run(12.0, 70.0, arrives=lambda k: not 12 <= k < 47)
    found = counter.counts[-1]
    # 3.5 s are in no interval: neither their counts nor their time.
    assert found.window_s == pytest.approx(5.0)
    assert found.counts == pytest.approx(350.0)
    assert "3.5 s in between were lost" in found.marks[0]


def test_a_counter_that_restarts_spoils_the_count(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=5.0)
    counter.run(2.0, 70.0)
    counter.reset()
    counter.run(6.0, 70.0)
    (found,) = counter.counts
    assert not found.usable
    assert "restarted" in str(found.failed)
    assert any(a.kind == "count" and "restarted" in a.text for a in counter.session.hub.alarms)


def test_a_silent_counter_ends_a_count_without_one(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=5.0)
    counter.run(2.0, 70.0)
    counter.t_s += 20.0
    counter.session.handle(pose_event("ReferenceToTracker", counter.t_s, pose(0.0)))
    assert "silent" in str(counter.counts[-1].failed)


def test_counts_of_another_nuclide_are_none(counter: Counter) -> None:
    def told(nuclide: str) -> None:
        counter.seq += 1
        counter.total += 7.0
        counter.t_s += 0.1
        sample = CountSample(counter.t_s, counter.seq, 7.0, 0.1, counter.total, 0.1 * counter.seq, nuclide)
        raw = encode(counts_string_message(sample))
        counter.session.handle(EngineEvent("probe", counter.t_s, RAW, raw))

    counter.order("count", kind="target", seconds=5.0)
    for _ in range(20):
        told("In-111")
    assert "not used" in str(counter.counts[-1].failed)
    with pytest.raises(GateRefusedError):
        counter.order("count", kind="target")


def test_a_saturated_count_is_a_lower_bound() -> None:
    counter = Counter(Session(replace(settings(), dead_time_s=1e-5)))
    counter.run(1.0, 100.0)
    # A third of the events are lost at 50,000 true events a second, 33,333 recorded.
    found = counter.count("target", 33_400.0)
    assert found.saturated
    assert "lower bound" in found.marks[0]
    fine = counter.count("target", 10_000.0)
    assert not fine.saturated
    # 10,000 recorded are 10,000 / (1 - 0.1) true.
    assert fine.counts / fine.live_s == pytest.approx(10_000.0 / 0.9)


@pytest.mark.parametrize(
    ("stated", "cps", "told"), [(None, 1100.0, True), (None, 900.0, False), (0.0, 1100.0, False)]
)
def test_a_dead_time_that_nobody_knows_is_told_where_it_matters(
    stated: float | None, cps: float, told: bool
) -> None:
    counter = Counter(Session(replace(settings(), dead_time_s=stated)))
    counter.run(1.0, 100.0)
    assert any("no dead time is known" in mark for mark in counter.count("target", cps, 2.0).marks) is told


def test_a_counter_that_corrects_its_dead_time_itself_is_not_corrected_twice() -> None:
    counter = Counter(Session(replace(settings(), dead_time_s=1e-5)))
    counter.run(1.0, 100.0, live=0.999)
    counter.order("count", kind="target", seconds=10.0)
    counter.run(11.0, 9_000.0, live=0.9)
    found = counter.counts[-1]
    assert found.window_s == pytest.approx(9.0)
    assert found.live_s == pytest.approx(9.0)
    assert "its own live time" in found.marks[0]
    assert found.counts / found.live_s == pytest.approx(10_000.0)


def test_a_probe_that_passes_something_is_told(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=10.0)
    counter.run(5.0, 50.0)
    counter.run(6.0, 500.0)
    assert counter.counts[-1].dispersion > 10.0
    assert "rise and fall" in counter.counts[-1].marks[0]


def test_a_probe_that_moves_is_told_where_it_is_tracked(counter: Counter) -> None:
    counter.order("count", kind="target", seconds=2.0)
    for k in range(25):
        for name, x_mm in (("ReferenceToTracker", 0.0), ("ProbeToTracker", 1.5 * k)):
            for part in range(6):
                at = counter.t_s + part / 60.0
                counter.session.handle(pose_event(name, at, pose(x_mm + 1e-3 * part, 1e-6 * (k + part))))
        counter.run(0.1, 50.0)
    found = counter.counts[-1]
    assert found.place_mm is not None
    assert any("moved by" in mark for mark in found.marks)


def test_a_count_is_cancelled_and_a_wrong_one_is_void_but_kept(counter: Counter) -> None:
    counter.order("count", kind="target")
    counter.run(3.0, 70.0)
    assert counter.session.timed.state().running is not None
    assert "3 of 10 s" in counter.session.timed.hints()[0]
    with pytest.raises(InputError, match="is being counted"):
        counter.order("count", kind="bed")
    counter.order("cancel_count")
    counter.run(20.0, 70.0)
    assert counter.counts == ()
    with pytest.raises(InputError, match="nothing is being counted"):
        counter.order("cancel_count")
    counter.count("target", 70.0)
    with pytest.raises(InputError, match="say why"):
        counter.order("void_count", id=1, reason="  ")
    counter.order("void_count", id=1, reason="wrong node", by="scrub")
    (found,) = counter.counts
    assert (found.void, found.void_by, found.usable) == ("wrong node", "scrub", False)
    assert found.counts == pytest.approx(700.0)
    with pytest.raises(InputError, match="void already"):
        counter.order("void_count", id=1, reason="again")


def test_specimens_are_numbered_and_a_background_is_chosen(counter: Counter) -> None:
    assert counter.count("specimen", 70.0, 2.0).specimen == 1
    assert counter.count("specimen", 70.0, 2.0, specimen=5).specimen == 5
    assert counter.count("specimen", 70.0, 2.0).specimen == 6
    counter.count("background", 10.0, 2.0)
    found = counter.count("target", 70.0, 2.0, against=4)
    assert found.against == 4
    counter.order("count_against", id=5, background=None)
    assert counter.counts[4].against is None
    with pytest.raises(InputError, match="no background that can be used"):
        counter.order("count_against", id=5, background=1)
    counter.order("void_count", id=4, reason="hand slipped")
    with pytest.raises(InputError, match="no background that can be used"):
        counter.order("count_against", id=5, background=4)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "lesion"},
        {"kind": "target", "seconds": 0.5},
        {"kind": "target", "seconds": 301.0},
        {"kind": "target", "seconds": float("nan")},
        {"kind": "target", "seconds": True},
        {"kind": "target", "specimen": 2},
        {"kind": "specimen", "specimen": 0},
        {"kind": "specimen", "specimen": "two"},
        {"kind": "target", "name": "x" * 41},
        {"kind": "target", "name": "a\x1bb"},
        {"kind": "target", "against": 7},
        {},
    ],
)
def test_a_count_that_makes_no_sense_is_refused(counter: Counter, content: dict[str, object]) -> None:
    with pytest.raises(InputError):
        counter.session._command({"do": "count", **content})
    assert not counter.session.timed.counting


def test_a_count_and_a_background_check_exclude_each_other(counter: Counter) -> None:
    counter.order("background", seconds=10.0)
    with pytest.raises(InputError, match="background check"):
        counter.order("count", kind="target")
    counter.order("stop")
    counter.order("count", kind="target")
    with pytest.raises(InputError, match="target is being counted"):
        counter.order("background", seconds=10.0)


def test_counts_of_a_probe_that_may_be_contaminated_say_so(counter: Counter) -> None:
    for cps in (10.0, 30.0):
        counter.order("background", seconds=10.0)
        counter.run(11.0, cps)
    assert any("contaminated" in mark for mark in counter.count("target", 70.0).marks)
    counter.order("explain_background", reason="injected beside")
    assert counter.count("target", 70.0).marks == ()


def test_a_crash_ends_the_count_that_went_on(counter: Counter) -> None:
    counter.order("count", kind="target")
    counter.run(3.0, 70.0)
    counter.session.handle(json_event("engine", counter.t_s, RESUME, {}))
    assert "interrupted" in str(counter.counts[-1].failed)
    assert counter.count("target", 70.0).usable


def test_a_reference_time_out_of_reach_gives_way_to_the_first_count() -> None:
    # A case file that was copied from an old one: four months are 480 half-lives of 99mTc.
    counter = Counter(Session(replace(settings(), epoch_s=START_S - 120 * 86400.0)))
    counter.run(1.0, 10.0)
    first, second = counter.count("background", 70.0), counter.count("target", 140.0)
    assert first.decay == pytest.approx(1.0, abs=1e-3)
    assert "479 half-lives away" in first.marks[0]
    assert "479 half-lives away" in second.marks[0]
    assert counter.session.timed.reference_s == first.start_s
    # Minutes before the count, or a day ahead of it, a reference time is what it says.
    near = Counter(Session(replace(settings(), epoch_s=START_S + 86400.0)))
    near.run(1.0, 10.0)
    assert near.count("target", 70.0).decay == pytest.approx(2 ** (86400 / (6.007 * 3600)), rel=1e-3)


def test_what_was_sent_before_the_press_and_comes_to_light_later_is_not_counted(counter: Counter) -> None:
    # One message is lost: those after it wait a quarter of a second for it, and the press is in between.
    counter.run(0.2, 1e4, arrives=lambda k: k != 0)
    counter.order("count", kind="bed", seconds=2.0)
    counter.run(4.0, 50.0)
    assert counter.counts[-1].counts == pytest.approx(100.0)


def test_a_snapshot_holds_the_counts(counter: Counter) -> None:
    counter.count("target", 70.0)
    counter.order("count", kind="bed")
    counter.run(2.0, 10.0)
    snapshot = Viewer(counter.session).snapshot(counter.t_s)
    assert [c.kind for c in snapshot.timed.counts] == ["target"]
    assert snapshot.timed.running is not None
    assert snapshot.timed.running.label == "bed"
    assert any("counting bed" in hint for hint in snapshot.hints)


def test_live_recorded_replayed_and_restored_alike(tmp_path: Path) -> None:
    said: list[str] = []
    with Devices(40.0, pace=10.0) as devices:
        roles = settings(devices.tracker.port, devices.probe.port)
        with LiveCase(roles, tmp_path / RECORD_NAME, 0, build) as case:
            assert case.engine.wait_connected(20.0) is None
            devices.begin()
            console = Console(case, said.append)
            for line in (
                "count target node A 5",
                "count background 4",
                "count specimen 2 5",
                "counts",
                "count void 3 fell off the table",
                "count bed deep 5",
                "count cancel",
                "count nonsense",
            ):
                console.obey(line)
            live = case.session.timed.counts
    table = said[3].splitlines()
    assert table[0].startswith("1 target node A: 350 counts in 5.0 s, ")
    assert "70" in table[1]
    assert any(line.startswith("target node A over background: ") for line in table)
    assert "fell off the table" in said[4]
    assert said[6] == "cancelled"
    assert "expected `count" in said[7]
    assert [c.label for c in live] == ["target node A", "background", "specimen 2"]
    record = Record(tmp_path / RECORD_NAME)
    replayed = ReplayEngine(Session(settings_of(record)), Imager(build))
    Replay(record.events(), replayed.on_event).run()
    restored = Session(settings_of(record))
    restore(Record(tmp_path / RECORD_NAME), restored, Imager(build))
    for session in (replayed.session, restored):
        assert session.timed.counts == live
