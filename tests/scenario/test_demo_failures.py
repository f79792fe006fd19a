"""What can go wrong with the demonstration: one line, exit code 2, no process and no half result left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.scenario.processes import left_behind, start, wait_for_child

DEADLINE_S = 40.0
# The simulator ends within 2 s of the end of its input, also when its parent died first.
ORPHAN_S = 5.0


def ended(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    # A signal between the birth of the simulator and its registration leaves it to the end of its input.
    assert left_behind(process.pid, ORPHAN_S) == []
    assert [p.name for p in folder.iterdir() if "partial" in p.name] == []
    return process.returncode, out, err


def demo(folder: Path, port: str = "0", sim_port: str = "0") -> subprocess.Popen[str]:
    out = str(folder / "out")
    return start("demo", "--headless", "--out", out, "--port", port, "--sim-port", sim_port)


@pytest.mark.parametrize("which", ["port", "sim_port"])
def test_a_port_in_use(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = ended(demo(tmp_path, **{which: port}), tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert port in err
    assert not (tmp_path / "out").exists()


def test_an_existing_result_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "record.gnav").write_text("mine")
    code, _, err = ended(demo(tmp_path), tmp_path)
    assert code == 2
    assert "record.gnav" in err
    assert (tmp_path / "out" / "record.gnav").read_text() == "mine"


def test_simulated_devices_that_die(tmp_path: Path) -> None:
    process = demo(tmp_path)
    os.kill(wait_for_child(process.pid), signal.SIGKILL)
    code, out, err = ended(process, tmp_path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "simulated devices stopped" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_children(tmp_path: Path, number: signal.Signals) -> None:
    process = demo(tmp_path)
    wait_for_child(process.pid)
    process.send_signal(number)
    code, _, err = ended(process, tmp_path)
    assert code == 130
    assert err == "gammanav: interrupted\n"


def test_an_unknown_scene_is_a_usage_error(tmp_path: Path) -> None:
    code, _, err = ended(start("demo", "--scene", "moon", "--out", str(tmp_path / "out")), tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "moon" in err
