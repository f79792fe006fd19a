"""A counter of another nuclide, window or probe than case and calibration are for: nothing of it is placed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration.records.record import sealed, stamped
from navigation.engine.assembly import RECORD_NAME, LiveCase, settings_of
from navigation.engine.events import RAW, EngineEvent, json_event
from navigation.engine.imaging import Imager
from navigation.engine.jobs import AnalyzeJob, BedJob, TickJob
from navigation.engine.probewatch import ProbeWatch
from navigation.engine.replay import ReplayEngine
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from tests.navigation.engine.fakes import COUNTS_S, Devices, build, settings, stream
from tests.navigation.engine.test_live import Listener, texts
from tracking.errors import GateRefusedError
from tracking.igtl.codec import Message, encode
from tracking.igtl.counts import counts_string_message
from tracking.recording import Record, Replay
from tracking.recording.export import export_scan
from tracking.sample import CountSample

DEADLINE_S = 60.0
CALIBRATION = stamped(
    {"response": {}, "accepted": True},
    "detector",
    nuclide="Tc-99m",
    window_kev=(126.0, 154.0),
    probe_serial="SN7",
)
OURS = {"nuclide": "Tc-99m", "window_kev": (126.5, 154.5), "probe_serial": "sn 7"}
OTHERS = (
    ({"nuclide": "In-111"}, "the calibration is for Tc-99m, the counter is In-111"),
    ({"window_kev": (80.0, 154.0)}, "energy window 126 to 154 keV, the counter is 80 to 154 keV"),
    ({"probe_serial": "SN8"}, "probe serial SN7, the counter is SN8"),
    ({"nuclide": "Unobtainium-1"}, "unknown nuclide"),
)


def telling(
    events: Iterable[EngineEvent], told: dict[str, Any], from_s: float = 0.0
) -> Iterator[EngineEvent]:
    """The stream with its counts as STRING, which tells of the probe; before `from_s` it tells of ours."""
    seq = 0
    for event in events:
        if event.source != "probe":
            yield event
            continue
        seq += 1
        said = told if event.arrival_s >= from_s else OURS
        sample = CountSample(event.arrival_s, seq, 7.0, COUNTS_S, 7.0 * seq, seq * COUNTS_S, **said)
        yield EngineEvent("probe", event.arrival_s, RAW, encode(counts_string_message(sample)))


def command(do: str, **content: object) -> EngineEvent:
    return json_event("user", 1.7e9, "command", {"do": do, **content})


def session(**changes: Any) -> Session:
    return Session(replace(settings(), calibration=dict(CALIBRATION), **changes))


def test_our_own_probe_is_verified_by_what_it_tells() -> None:
    case = session()
    for event in telling(stream(1.0), OURS):
        case.handle(event)
    assert case.foreign is None
    case.handle(command("start", mode="scan", name="scan-1"))
    (job,) = case.handle(command("stop"))
    assert isinstance(job, TickJob)
    assert job.basis.stated == {"nuclide": "Tc-99m", "window_kev": [126.5, 154.5], "probe_serial": "sn 7"}


@pytest.mark.parametrize(("told", "words"), OTHERS)
def test_no_scan_begins_with_another_probe(told: dict[str, Any], words: str) -> None:
    case = session()
    for event in telling(stream(0.5), told):
        case.handle(event)
    with pytest.raises(GateRefusedError, match=words):
        case.handle(command("start", mode="scan", name="scan-1"))
    assert words in " ".join(Viewer(case).snapshot(case.began_s or 0.0).faults)


def test_empty_words_say_nothing_and_a_restart_forgets_the_probe_before() -> None:
    case = session()
    for event in telling(stream(0.5), {"nuclide": "", "probe_serial": " "}):
        case.handle(event)
    assert case.counts.told == {}
    assert case.foreign is None
    for event in telling(stream(0.5, start_s=1_700_000_020.0), {"nuclide": "In-111"}):
        case.handle(event)
    assert case.foreign is not None
    # Another probe is plugged in: its total begins anew, and it tells nothing.
    for event in stream(0.5, start_s=1_700_000_030.0):
        case.handle(event)
    assert case.counts.restarts == 2
    assert case.foreign is None


def test_what_the_case_states_binds_without_a_calibration_too() -> None:
    case = session(stated={"probe_serial": "SN9"})
    case.calibration = None
    for event in telling(stream(0.5), OURS):
        case.handle(event)
    assert case.foreign == "the case is for probe serial SN9, the counter is sn 7: its counts are not used"


def test_a_probe_changed_during_the_scan_adds_nothing_and_blocks_absence() -> None:
    case = session()
    events = list(telling(stream(4.0), {"nuclide": "In-111"}, from_s=1_700_000_012.05))
    case.handle(events[0])
    case.handle(command("start", mode="scan", name="scan-1"))
    for event in events:
        case.handle(event)
    case.handle(command("stop"))
    scan = case.scan("scan-1")
    # 4 s of stream from 10 s after the epoch: the intervals up to 12.0 s are ours, 20; those after are another's.
    assert len(scan.intervals) == 20
    assert scan.foreign == 19
    (job,) = case.handle(command("analyze", scan="scan-1"))
    assert isinstance(job, AnalyzeJob)
    assert job.samples_total == 39
    case.handle(command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]))
    wanted = {"scan": "scan-1", "before": None, "threshold_kbq": 4.0, "confidence": 0.95, "depth_mm": 9.0}
    (bed,) = case.handle(command("check_bed", **wanted))
    assert isinstance(bed, BedJob)
    assert "In-111" in str(bed.blocked)


def test_a_calibration_handed_in_must_be_the_cases_and_usable() -> None:
    case = session(stated={"probe_serial": "SN7"})
    for change, words in (
        ({"probe_serial": "SN8"}, "is for probe serial SN8, the case is SN7"),
        ({"nuclide": "In-111"}, "is for In-111, the case is Tc-99m"),
        ({"expiry": "2001-01-01"}, "expired"),
    ):
        with pytest.raises(GateRefusedError, match=words):
            case.handle(command("calibration", probe=sealed(CALIBRATION | change)))
    with pytest.raises(GateRefusedError, match="altered"):
        case.handle(command("calibration", probe=CALIBRATION | {"response": {"leak": 1.0}}))
    assert case.calibration == CALIBRATION
    case.handle(command("calibration", probe=sealed(CALIBRATION | {"id": "new"})))
    assert (case.calibration or {})["id"] == "new"


def test_the_watch_is_a_function_of_what_it_is_told() -> None:
    watch, told = ProbeWatch({"nuclide": "Tc-99m"}), {"nuclide": "F-18"}
    assert watch.foreign({}, None) is None
    assert "F-18" in str(watch.foreign(told, None))
    assert watch.foreign({}, None) is None


class TellingDevices(Devices):
    """The two sockets, with a counter that tells another nuclide from the middle on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._events = list(telling(stream(seconds), {"nuclide": "In-111"}, from_s=1_700_000_012.05))


def test_over_real_sockets_the_window_is_told_and_a_replay_refuses_the_same(tmp_path: Path) -> None:
    with TellingDevices(4.0) as devices:
        case = replace(settings(devices.tracker.port, devices.probe.port), calibration=dict(CALIBRATION))
        with LiveCase(case, tmp_path / RECORD_NAME, 0, build) as live:
            engine = live.engine
            listener = Listener(live.publisher.server.port)
            assert engine.wait_connected(DEADLINE_S) is None
            engine.command("start", mode="scan", name="scan-1").result(DEADLINE_S)
            devices.begin()
            devices.finish()
            listener.wait(lambda heard: "the counter is In-111" in texts(heard, "EngineStatus"))
            engine.command("stop").result(DEADLINE_S)
            outcome = engine.command("analyze", scan="scan-1").result(DEADLINE_S)
            refused = engine.command("start", mode="scan", name="scan-2")
            with pytest.raises(GateRefusedError, match="the counter is In-111"):
                refused.result(DEADLINE_S)
            listener.client.stop()
    assert outcome is not None
    assert outcome.result is not None
    assert outcome.result.samples_placed <= 20 < outcome.result.samples_total
    check_metadata(listener.messages)
    check_record(tmp_path / RECORD_NAME)


def check_metadata(heard: list[Message]) -> None:
    """Id and state of the calibration in everything that is published."""
    newest = {m.device: m for m in heard if m.version == 2}
    for device in (
        "Activity_Reference",
        "RelSd_Reference",
        "Coverage_Reference",
        "HotSpots",
        "Spots",
        "Engine",
    ):
        metadata = newest[device].metadata
        assert (metadata["CalibrationId"], metadata["CalibrationState"]) == (CALIBRATION["id"], "draft")
    for device in ("EngineStatus", "Spots"):
        said = json.loads(newest[device].body.text)  # type: ignore[union-attr]
        assert (said["calibration_id"], said["calibration_state"]) == (CALIBRATION["id"], "draft")


def check_record(path: Path) -> None:
    """The record says what it rests on, keeps the other probe's counts, and plays alike."""
    record = Record(path)
    (start,) = [e.content() for e in record.events("phase") if e.content()["action"] == "start"]
    assert (start["calibration_id"], start["calibration_state"]) == (CALIBRATION["id"], "draft")
    assert sum(e.source == "probe" for e in record.events("raw")) >= 39
    replayed = ReplayEngine(Session(settings_of(record)), Imager(build))
    Replay(record.events(), replayed.on_event, float("inf")).run()
    assert replayed.comparison.compared > 0
    assert not replayed.comparison.differing
    assert any("In-111" in words for words in replayed.refused)
    assert export_scan(record, "scan-1").stated["nuclide"] == "In-111"
