"""The simulated devices as a child: phases are obeyed, its death and its refusals are said in one line."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from navigation.demo.simulator import Simulator
from tracking.errors import SurroundingsError


def child(folder: Path, port: int = 0) -> Simulator:
    return Simulator("bed", 1, port, folder / "truth.json", folder / "setup")


def nothing() -> None:
    return None


def test_a_phase_starts_and_stops_and_the_child_is_reaped(tmp_path: Path) -> None:
    with child(tmp_path) as simulator:
        pid = simulator._process.pid
        assert all(port > 0 for port in simulator.ports)
        simulator.phase("sweep", 0.6)
        simulator.wait_stop("sweep", 0.6, nothing)
    assert (tmp_path / "setup" / "case.toml").is_file()
    assert simulator._process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SurroundingsError, match=str(port)) as refusal, child(tmp_path, port):
            pytest.fail("it started")
    assert "\n" not in str(refusal.value)


def test_a_killed_child_is_noticed_while_waiting(tmp_path: Path) -> None:
    with child(tmp_path) as simulator:
        simulator.phase("scan-1", 30.0)
        os.kill(simulator._process.pid, signal.SIGKILL)
        with pytest.raises(SurroundingsError, match="stopped"):
            simulator.wait_stop("scan-1", 30.0, nothing)
        with pytest.raises(SurroundingsError, match="stopped"):
            simulator.phase("touch", 5.0)


def test_a_phase_that_cannot_be_is_refused_in_the_childs_words(tmp_path: Path) -> None:
    with child(tmp_path) as simulator, pytest.raises(SurroundingsError, match="resected"):
        simulator.phase("touch-bed", 5.0)
