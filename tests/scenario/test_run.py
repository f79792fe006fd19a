"""A live case from a case file against the simulated devices, driven by words on standard input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from navigation.demo.simulator import Simulator
from navigation.engine.assembly import RECORD_NAME
from tests.scenario.processes import Conversation, members, start
from tracking.recording import Record

DEADLINE_S = 40.0


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with Simulator("bed", 1, 0, tmp_path / "truth.json", tmp_path / "setup") as child:
        yield child


def test_a_case_is_recorded_and_what_makes_no_sense_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    greeting = talk.hear()
    assert greeting.startswith("connected; publishing on port")
    assert greeting.endswith("the probe's tip is not checked in this case: `divot` checks it")
    assert talk.say("scan") == "refused: no detector calibration is loaded"
    assert talk.say("dance").startswith("refused: 'dance' is none of")
    assert talk.say("check much") == "refused: expected `check KBQ [DEPTH_MM]`"
    assert talk.say("divot drill") == "refused: expected `divot [probe|stylus] [X Y Z]`"
    assert talk.say("divot").startswith("put the probe's tip into the divot")
    # The simulated probe moves freely: whatever its poses show, they do not put the tip in order.
    assert talk.say("stop").startswith(("the tip is WRONG: ", "the tip is not proven: "))
    assert talk.say("surface").startswith("outlining the surface")
    simulator.phase("touch", 1.0)
    simulator.wait_stop("touch", 1.0, lambda: None)
    assert talk.say("stop") == "stopped"
    assert "cps; ProbeToReference seen" in talk.until("status", "cps")
    assert talk.process.stdin is not None
    talk.process.stdin.write("quit\n")
    out, err = talk.process.communicate(timeout=DEADLINE_S)
    assert (talk.process.returncode, err) == (0, "")
    assert "record and no analysed scan" in out
    events = list(Record(tmp_path / "case" / RECORD_NAME).events("raw"))
    assert {event.source for event in events} == {"tracker", "probe"}
    assert members(talk.process.pid) == []


def test_devices_that_are_not_there(tmp_path: Path, simulator: Simulator) -> None:
    case = tmp_path / "setup" / "case.toml"
    simulator.close()
    process = start(
        "run", str(case), "--headless", "--wait", "1", "--out", str(tmp_path / "case"), "--port", "0"
    )
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "tracker at 127.0.0.1:" in err
    assert not (tmp_path / "case").exists()


def test_a_case_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text("nuclide = 5\n")
    done = subprocess.run(
        [sys.executable, "-m", "navigation.cli.main", "run", str(tmp_path / "case.toml"), "--headless"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "case.toml, nuclide" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.toml"]
