"""The live engine over real sockets: recorded first, published as the table says, replayed alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from navigation.bed import Bed
from navigation.engine.assembly import RECORD_NAME, LiveCase, settings_of
from navigation.engine.events import COMMAND, RAW, RESULT, TICK
from navigation.engine.folders import scan_of
from navigation.engine.imaging import Imager
from navigation.engine.jobs import BedJob, TickJob
from navigation.engine.replay import ReplayEngine
from navigation.engine.session import Session
from tests.navigation.engine import fakes
from tests.navigation.engine.fakes import Devices, build, settings
from tracking.errors import InputError, SurroundingsError
from tracking.igtl.codec import Message, decode
from tracking.igtl.link import Client
from tracking.ndi.settings import NdiSettings, NdiTool
from tracking.recording import Record, Replay
from tracking.recording.export import export_scan

DEADLINE_S = 60.0
PUBLISHED = {
    ("TRANSFORM", "ProbeToReference"),
    ("TRANSFORM", "ProbeTipToReference"),
    ("TRANSFORM", "StylusTipToReference"),
    ("TRANSFORM", "TrackerToReference"),
    ("TRANSFORM", "ReferenceToRas"),
    ("IMAGE", "Activity_Reference"),
    ("IMAGE", "RelSd_Reference"),
    ("IMAGE", "Coverage_Reference"),
    ("POINT", "HotSpots"),
    ("STRING", "Spots"),
    ("STRING", "BedCheck"),
    ("STRING", "CountRate"),
    ("STRING", "EngineStatus"),
    ("STATUS", "Engine"),
}


class Listener:
    """A client that keeps what it hears."""

    def __init__(self, port: int, hello: bool = True) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self.client = Client("127.0.0.1", port, "listener", self._on_raw, hello=hello)
        self.client.start()

    def _on_raw(self, source: str, arrival_s: float, raw: bytes) -> None:
        with self._news:
            self.messages.append(decode(raw))
            self._news.notify_all()

    def wait(self, until: Callable[[list[Message]], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: until(self.messages), DEADLINE_S)

    def heard(self) -> set[tuple[str, str]]:
        return {(m.type, m.device) for m in self.messages}


def texts(heard: list[Message], device: str) -> str:
    return " ".join(m.body.text for m in heard if m.device == device)  # type: ignore[union-attr]


def live_case(devices: Devices, folder: Path) -> LiveCase:
    return LiveCase(settings(devices.tracker.port, devices.probe.port), folder / RECORD_NAME, 0, build)


def perform(case: LiveCase, devices: Devices) -> None:
    """A short case: scan while the devices play, analyse, check a bed."""
    engine = case.engine
    assert engine.wait_connected(DEADLINE_S) is None
    engine.command("start", mode="scan", name="scan-1").result(DEADLINE_S)
    devices.begin()
    devices.finish()
    engine.command("stop").result(DEADLINE_S)
    engine.command("analyze", scan="scan-1").result(DEADLINE_S)
    engine.command("points", what="bed", points_mm=[[0, 0, 0], [9, 0, 0], [0, 9, 0]]).result(DEADLINE_S)
    engine.command(
        "check_bed", scan="scan-1", before=None, threshold_kbq=4.0, confidence=0.95, depth_mm=10.0
    ).result(DEADLINE_S)


def test_a_client_that_joins_gets_everything_in_the_table_from_one_engine(tmp_path: Path) -> None:
    with Devices(4.0) as devices, live_case(devices, tmp_path) as case:
        perform(case, devices)
        listener = Listener(case.publisher.server.port)
        listener.wait(lambda heard: {(m.type, m.device) for m in heard} >= PUBLISHED)
        listener.wait(lambda heard: "partly-assessed" in texts(heard, "BedCheck"))
        listener.client.stop()
    assert listener.heard() == PUBLISHED
    newest = {m.device: m for m in listener.messages if m.version == 2}
    assert newest["Activity_Reference"].metadata["Unit"] == "kBq/mL"
    assert newest["Activity_Reference"].metadata["Simulation"] == "SIMULATION"
    assert newest["ProbeTipToReference"].metadata["TransformValid"] in ("0", "1")
    assert newest["HotSpots"].body.points[0].position_mm == (10.0, 20.0, 30.0)  # type: ignore[union-attr]


def test_maps_come_while_the_scan_goes_on(tmp_path: Path) -> None:
    with Devices(9.0) as devices, live_case(devices, tmp_path) as case:
        listener = Listener(case.publisher.server.port)
        perform(case, devices)
        versions = [
            int(m.metadata["MapVersion"])
            for m in listener.messages
            if m.device == "Activity_Reference" and m.version == 2
        ]
        listener.client.stop()
        seen = case.statistics.content()["scan-1"]
    # 9 s of data in 3 s of real time, at the least two maps in each of these seconds.
    assert len(versions) >= 6
    assert versions == sorted(versions)
    assert seen["maps_per_s"] >= 2.0
    assert seen["greatest_age_s"] < 1.0


def test_an_expired_tool_is_published_as_invalid_and_silent_on_version_1(tmp_path: Path) -> None:
    with Devices(1.0) as devices, live_case(devices, tmp_path) as case:
        devices.begin()
        devices.finish()
        new, old = (Listener(case.publisher.server.port, hello=hello) for hello in (True, False))

        def expired(heard: list[Message]) -> bool:
            tips = [m for m in heard if m.device == "ProbeTipToReference" and m.version == 2]
            return bool(tips) and tips[-1].metadata["TransformValid"] == "0"

        new.wait(expired)
        before = len(old.messages)
        old.wait(lambda heard: len([m for m in heard[before:] if m.device == "EngineStatus"]) >= 3)
        late = {m.device for m in old.messages[before:]}
        new.client.stop()
        old.client.stop()
    assert "ProbeTipToReference" not in late
    assert all(m.version == 1 for m in old.messages)


def test_the_record_holds_the_raw_bytes_and_what_every_tick_used(tmp_path: Path) -> None:
    with Devices(2.0) as devices, live_case(devices, tmp_path) as case:
        perform(case, devices)
    record = Record(tmp_path / RECORD_NAME)
    kinds = [event.kind for event in record.events()]
    sent = [e.payload for e in fakes.stream(2.0)]
    recorded = [e.payload for e in record.events(RAW)]
    assert sorted(recorded) == sorted(sent)
    assert kinds.index(COMMAND) < kinds.index(TICK) < kinds.index(RESULT)
    assert any(e.content().get("readings", 0) > 0 for e in record.events(RESULT))


def test_the_scan_can_be_cut_out_of_the_record_and_is_the_engines_own(tmp_path: Path) -> None:
    with Devices(3.0) as devices, live_case(devices, tmp_path) as case:
        perform(case, devices)
        ours = scan_of(case.session, "scan-1")
    cut = export_scan(tmp_path / RECORD_NAME, "scan-1")
    assert np.array_equal(cut.counts.counts, ours.counts.counts)
    assert np.allclose(cut.counts.t_s, ours.counts.t_s, atol=1e-6)
    assert cut.pose_name == ours.pose_name == "ProbeTipToReference"
    assert np.allclose(cut.poses.matrices, ours.poses.matrices, equal_nan=True)
    assert cut.simulated


def test_a_replay_computes_the_same_bits_on_the_same_schedule(tmp_path: Path) -> None:
    with Devices(6.0) as devices, live_case(devices, tmp_path) as case:
        perform(case, devices)
        live = case.engine.outcomes
    record = Record(tmp_path / RECORD_NAME)
    engine = ReplayEngine(Session(settings_of(record)), Imager(build))
    Replay(record.events(), engine.on_event).run()
    ticks = [o for o in engine.outcomes if isinstance(o.job, TickJob)]
    assert len(ticks) >= 4
    assert engine.comparison.compared == len(engine.outcomes)
    assert engine.comparison.differing == []
    checks = [outcomes[-1].bed_check for outcomes in (live, engine.outcomes)]
    assert checks[0] is not None
    assert checks[1] is not None
    assert asdict(checks[0]) == asdict(checks[1])


def test_a_record_that_was_tampered_with_does_not_compare(tmp_path: Path) -> None:
    with Devices(3.0) as devices, live_case(devices, tmp_path) as case:
        perform(case, devices)
    record = Record(tmp_path / RECORD_NAME)
    engine = ReplayEngine(Session(settings_of(record)), Imager(build))
    kept = [e for i, e in enumerate(record.events()) if not (e.source == "probe" and i > 300)]
    Replay(kept, engine.on_event).run()
    assert engine.comparison.differing


def test_a_port_in_use_is_said_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with Devices(1.0) as devices:
        case = LiveCase(settings(), tmp_path / RECORD_NAME, devices.tracker.port, build)
        with pytest.raises(SurroundingsError, match=str(devices.tracker.port)), case:
            pytest.fail("entered")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_reconstruction_reaches_who_asked_and_the_engine_goes_on(tmp_path: Path) -> None:
    with Devices(1.0) as devices, live_case(devices, tmp_path) as case:
        engine = case.engine
        with pytest.raises(InputError, match="too few"):
            engine.command("start", mode="scan", name="scan-1").result(DEADLINE_S)
            engine.command("stop").result(DEADLINE_S)
            engine.command("analyze", scan="scan-1").result(DEADLINE_S)
        engine.command("start", mode="scan", name="scan-2").result(DEADLINE_S)
        assert case.session.mode == "scan"


def test_a_tick_that_cannot_be_planned_is_told_and_ends_nothing(tmp_path: Path) -> None:
    with Devices(4.0) as devices, live_case(devices, tmp_path) as case:
        engine = case.engine
        assert engine.wait_connected(DEADLINE_S) is None
        planned, failed = engine._planned, threading.Event()

        def failing(scan: str, now_s: float) -> dict[str, Any]:
            if failed.is_set():
                return planned(scan, now_s)
            failed.set()
            raise RuntimeError("no plan")

        engine._planned = failing  # type: ignore[method-assign]
        perform(case, devices)
        listener = Listener(case.publisher.server.port)
        listener.wait(lambda heard: ("STRING", "Spots") in {(m.type, m.device) for m in heard})
        listener.client.stop()
        assert failed.is_set()
        maps = case.statistics.content()["scan-1"]["maps"]
    assert maps > 0


def test_a_bed_job_sees_the_scan_before_it() -> None:
    imager = Imager(build)
    session = Session(settings())
    session.handle(fakes_command("start", mode="scan", name="scan-1"))
    jobs = [job for event in fakes.stream(2.0) for job in session.handle(event)]
    jobs += session.handle(fakes_command("stop"))
    jobs += session.handle(fakes_command("analyze", scan="scan-1"))
    outcomes = [imager.run(job) for job in jobs]
    assert outcomes[-1].result is not None
    bed = Bed(np.zeros((3, 3)), 10.0)
    basis = jobs[-1].basis
    check = imager.run(BedJob(basis, bed, 4.0, 0.95, "scan-1")).bed_check
    assert check is not None
    assert check.removed_kbq == 1.0


def fakes_command(do: str, **content: object):  # type: ignore[no-untyped-def]
    from navigation.engine.events import json_event

    return json_event("user", 0.0, COMMAND, {"do": do, **content})


def test_a_source_that_cannot_be_made_leaves_no_record_and_no_port(tmp_path: Path) -> None:
    good = settings()
    rom = tmp_path / "probe.rom"
    rom.write_bytes(b"no tool definition")
    ndi = NdiSettings((NdiTool("Probe", rom),), "127.0.0.1")
    tracker = replace(good.sources["tracker"], ndi=ndi)
    case = LiveCase(
        replace(good, sources={**good.sources, "tracker": tracker}), tmp_path / RECORD_NAME, 0, build
    )
    rom.unlink()
    with pytest.raises(InputError), case:
        pass
    assert not any(tmp_path.iterdir())
    assert not case.publisher.server.clients
