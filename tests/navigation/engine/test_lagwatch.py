"""A latency that the counts contradict during a live scan: alarmed once, shown, and in the record."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from navigation.bed import Bed
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.events import ALARM, COMMAND, json_event
from navigation.engine.imaging import Imager
from navigation.engine.jobs import BedJob, Outcome, ScanBasis, TickJob
from navigation.engine.session import Session
from navigation.engine.view import Viewer
from navigation.lagscore import LagScore
from tests.navigation.engine.fakes import EPOCH_S, Devices, SumImaging, settings, stream
from tracking.recording import Record

DEADLINE_S = 60.0


class Drifted(SumImaging):
    """A scan whose counter is 80 ms later than calibrated once it has twenty readings."""

    def lag(self) -> LagScore | None:  # type: ignore[override]
        return LagScore(0.08, 0.01, 0.009) if self.n >= 20 else None


def drifted(basis: ScanBasis) -> Drifted:
    return Drifted(basis)


def test_a_drift_is_alarmed_once_shown_and_recorded(tmp_path: Path) -> None:
    shown: list[tuple[str, ...]] = []
    with Devices(6.0) as devices:
        case_settings = settings(devices.tracker.port, devices.probe.port)
        with LiveCase(case_settings, tmp_path / RECORD_NAME, 0, drifted) as case:
            engine = case.engine
            assert engine.wait_connected(DEADLINE_S) is None
            engine.command("start", mode="scan", name="scan-1").result(DEADLINE_S)
            devices.begin()
            devices.finish()
            engine.command("stop").result(DEADLINE_S)
            engine.command("analyze", scan="scan-1").result(DEADLINE_S)
            shown.append(engine.viewer.snapshot(engine.clock()).faults)
    assert any("80 ms later" in fault and "absent" in fault for fault in shown[0])
    alarms = [event.content() for event in Record(tmp_path / RECORD_NAME).picked(ALARM)]
    of_latency = [content for content in alarms if content["alarm"] == "latency"]
    assert len(of_latency) == 1
    assert of_latency[0]["text"].startswith("scan-1: the counts contradict the count latency")


def test_a_bed_check_that_is_shown_is_withdrawn_when_its_scans_latency_is_contradicted() -> None:
    session = Session(settings())
    viewer = Viewer(session)
    session.handle(json_event("user", EPOCH_S, COMMAND, {"do": "start", "mode": "scan", "name": "scan-1"}))
    for event in stream(3.0):
        session.handle(event)
    (tick,) = session.handle(json_event("user", EPOCH_S, COMMAND, {"do": "stop"}))
    assert isinstance(tick, TickJob)
    bed = Bed(np.eye(3), 9.0)
    check = Drifted(tick.basis).check_bed(bed, 4.0, 0.95, None)
    viewer.show(Outcome(BedJob(tick.basis, bed, 4.0, 0.95, None), bed_check=check))
    shown = viewer.snapshot(EPOCH_S).bed_check
    assert shown is not None
    assert shown.finding == "partly-assessed"
    contradicted = Imager(drifted).run(tick)
    assert viewer.lag_watch.take(contradicted, EPOCH_S) is not None
    withdrawn = viewer.snapshot(EPOCH_S).bed_check
    assert withdrawn is not None
    assert withdrawn.finding == "not-assessed"
    assert "80 ms later" in withdrawn.statement
