"""A latency that the counts contradict during a live scan: alarmed once, shown, and in the record."""

from __future__ import annotations

from pathlib import Path

from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.events import ALARM
from navigation.engine.jobs import ScanBasis
from navigation.lagscore import LagScore
from tests.navigation.engine.fakes import Devices, SumImaging, settings
from tracking.recording import Record

DEADLINE_S = 20.0


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
