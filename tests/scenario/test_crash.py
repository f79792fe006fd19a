"""What must survive: the engine killed in mid-scan, and the instruments frozen in mid-scan."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from navigation.case import read_case
from navigation.demo.simulator import Simulator
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.events import RAW, RESUME, TICK
from tests.navigation.engine.fakes import build
from tests.scenario.processes import COMMAND, Conversation
from tracking.recording import Record, verify

DEADLINE_S = 60.0
# Poses expire after 250 ms; with snapshots 50 ms apart a lost tool is seen as such by now.
EXPIRY_S, SHOWN_LOST_S = 0.25, 0.35


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector response of the simulated probe."""
    folder = tmp_path_factory.mktemp("calibration")
    with Simulator("bed", 1, 0, folder / "truth.json", folder / "setup"):
        pass
    grid = [str(folder / "setup" / "probe_grid.csv"), "--nuclide", "Tc-99m"]
    subprocess.run(
        [*COMMAND, "calibrate", "detector", *grid, "--out", str(folder / "probe.json")],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return folder / "probe.json"


@pytest.fixture
def simulator(tmp_path: Path, calibration: Path) -> Iterator[Simulator]:
    with Simulator("bed", 1, 0, tmp_path / "truth.json", tmp_path / "setup") as child:
        shutil.copy(calibration, tmp_path / "setup" / "probe.json")
        case = tmp_path / "setup" / "case.toml"
        text = case.read_text(encoding="utf-8")
        case.write_text(text.replace("\n\n[tracker]", '\ncalibration = "probe.json"\n\n[tracker]', 1))
        yield child


def ticks(record: Path) -> int:
    return sum(1 for _ in Record(record).picked(TICK))


def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_case_killed_in_mid_scan_goes_on_and_replays_as_one(simulator: Simulator, tmp_path: Path) -> None:
    record = tmp_path / "case" / RECORD_NAME
    first = Conversation(tmp_path)
    assert first.hear().startswith("connected")
    simulator.phase("touch", 3.0)
    assert first.say("surface").startswith("outlining")
    simulator.wait_stop("touch", 3.0, lambda: None)
    assert first.say("stop") == "stopped"
    simulator.phase("scan-1", 14.0)
    assert first.say("scan").startswith("scanning scan-1")
    until(lambda: ticks(record) >= 40, "no ticks in the record")
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate(timeout=DEADLINE_S)
    acknowledged = sum(1 for _ in Record(record).events())

    refused = subprocess.run(
        [
            *COMMAND,
            "run",
            str(tmp_path / "setup" / "case.toml"),
            "--headless",
            "--out",
            str(tmp_path / "case"),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert refused.returncode == 2
    assert "--resume goes on with it" in refused.stderr

    second = Conversation(tmp_path, "--resume")
    told = second.hear()
    assert re.fullmatch(r"goes on after \d+ events: scan scan-1; its scan is as recorded", told), told
    assert second.hear().startswith("connected")
    simulator.wait_stop("scan-1", 14.0, lambda: None)
    assert second.say("stop").startswith("scan-1: ")
    out, err = second.end()
    assert (second.process.returncode, err) == (0, "")
    assert "record and scan-1" in out

    assert verify(record).seal is not None
    rows = list(Record(record).events())
    assert len(rows) > acknowledged
    assert [e.kind for e in rows].count(RESUME) == 1
    assert sum(e.kind == TICK for e in rows[acknowledged:]) > 0
    replay = subprocess.run(
        [*COMMAND, "replay", str(record)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert re.fullmatch(r"All \d+ results are those of the record, bit for bit\.\n", replay.stdout), replay


def test_frozen_instruments_are_shown_as_lost_and_place_no_count(
    simulator: Simulator, tmp_path: Path
) -> None:
    settings = read_case(tmp_path / "setup" / "case.toml")
    frozen_s = 1.5
    with LiveCase(settings, tmp_path / "case" / RECORD_NAME, 0, build) as case:
        engine, session = case.engine, case.session
        assert engine.wait_connected(DEADLINE_S) is None
        engine.command("start", mode="scan", name="scan-1").result(DEADLINE_S)
        simulator.phase("scan-1", 8.0)

        def probe_seen() -> bool:
            return engine.viewer.snapshot(engine.clock()).tools["ProbeTipToReference"].valid

        until(probe_seen, "the probe is never seen")
        os.kill(simulator.pid, signal.SIGSTOP)
        try:
            until(lambda: not probe_seen(), "a frozen tracker is shown as live")
            heard_s = max(session.heard_s.values())
            until(lambda: engine.clock() - heard_s > frozen_s, "time stands still")
            assert max(session.heard_s.values()) == heard_s
            # Shown as lost 350 ms after the last message, whenever that moment was looked at.
            soon = engine.viewer.snapshot(heard_s + SHOWN_LOST_S)
            assert not any(tool.valid for tool in soon.tools.values())
            late = engine.viewer.snapshot(engine.clock())
        finally:
            os.kill(simulator.pid, signal.SIGCONT)
        assert late.counts.rate_cps is None
        assert not any(tool.valid for tool in late.tools.values())
        until(probe_seen, "the probe is not seen again")
        simulator.wait_stop("scan-1", 8.0, lambda: None)
        engine.command("stop").result(DEADLINE_S)
        scan = session.scans["scan-1"]
        stamps, path = scan.walked(session.tools)
    # No frame was sent while the instruments stood still, so no reading may have been placed across the hole.
    raw = [e for e in Record(tmp_path / "case" / RECORD_NAME).events(RAW) if e.source == "tracker"]
    assert max(b.arrival_s - a.arrival_s for a, b in pairwise(raw)) > frozen_s - EXPIRY_S
    assert scan.placed + scan.unplaced == len(scan.intervals)
    assert scan.placed > 20
    assert len(stamps) == len(path)
