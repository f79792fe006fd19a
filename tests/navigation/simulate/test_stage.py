"""The simulated devices as a process with two sockets, as users and the demo drive them."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tracking.igtl.codec import Message, decode
from tracking.igtl.counts import counts_from_message
from tracking.igtl.link import Client
from tracking.igtl.poses import poses_from_message
from tracking.sample import PoseStatus
from tracking.transform import rigidity_fault

READY_S = 10.0  # the contract: listens within 10 s
END_S = 2.0  # and ends within 2 s of a signal
PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[3]


class Simulator:
    """`gammanav simulate` as a child process; its JSON lines arrive in order."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "navigation.cli.main", "simulate", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(json.loads(line))

    def line(self, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        return self._lines.get(timeout=timeout_s)

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


class Listener:
    """Collects what one port sends."""

    def __init__(self, port: int, hello: bool = True) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self._client = Client("127.0.0.1", port, f"port {port}", self._take, hello=hello)
        self._client.start()

    def _take(self, _name: str, _arrival_s: float, raw: bytes) -> None:
        with self._news:
            self.messages.append(decode(raw))
            self._news.notify_all()

    def wait(self, count: int) -> list[Message]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.messages) >= count, PATIENCE_S)
            return list(self.messages)

    def close(self) -> None:
        self._client.stop()


@pytest.fixture
def started() -> Iterator[list[Simulator | Listener]]:
    things: list[Simulator | Listener] = []
    yield things
    for thing in reversed(things):
        thing.close()


def simulate(started: list[Simulator | Listener], *arguments: str) -> tuple[Simulator, list[int]]:
    simulator = Simulator(*arguments, "--port", "0")
    started.append(simulator)
    ready = simulator.line(READY_S)
    assert ready["ready"] is True
    assert ready["simulation"] is True
    return simulator, ready["ports"]


def listen(started: list[Simulator | Listener], port: int, hello: bool = True) -> Listener:
    listener = Listener(port, hello)
    started.append(listener)
    return listener


def test_streams_poses_and_counts(started: list[Simulator | Listener]) -> None:
    began = time.time()
    _, (tracker, probe) = simulate(started, "bed", "--seed", "1")
    poses, counts = listen(started, tracker).wait(120), listen(started, probe).wait(10)
    names = {m.device for m in poses if m.type == "TRANSFORM"}
    assert names == {"ProbeToTracker", "ReferenceToTracker", "StylusToTracker"}
    samples = [s for m in poses for s in poses_from_message(m) if s.name == "ProbeToTracker"]
    assert all(rigidity_fault(s.matrix) is None for s in samples)
    times = [s.t_s for s in samples]
    steps = [b - a for a, b in itertools.pairwise(times)]
    assert steps == pytest.approx([1 / 60] * len(steps), abs=1e-6)
    assert began - 1.0 < times[0] < time.time()
    assert any(m.metadata.get("Simulation") == "1" for m in poses)
    readings = [counts_from_message(m) for m in counts]
    assert all(m.type == "SENSOR" for m in counts)
    assert [r.seq for r in readings] == list(range(readings[0].seq, readings[0].seq + len(readings)))
    for before, after in itertools.pairwise(readings):
        assert after.counts_total - before.counts_total == after.counts


def test_string_counts_name_nuclide_and_simulated_probe(started: list[Simulator | Listener]) -> None:
    _, (_, probe) = simulate(started, "occult", "--counts", "string")
    reading = counts_from_message(listen(started, probe).wait(3)[-1])
    assert reading.nuclide == "Tc-99m"
    assert reading.window_kev == (126.0, 154.0)
    assert reading.probe_serial is not None
    assert "SIMULATION" in reading.probe_serial


def test_hidden_tool_falls_silent_for_version_1_and_is_named_for_version_2(
    started: list[Simulator | Listener],
) -> None:
    simulator, (tracker, _) = simulate(started, "occult", "--seed", "1", "--interactive", "--speed", "8")
    old, new = listen(started, tracker, hello=False), listen(started, tracker)
    old.wait(1)
    new.wait(1)
    simulator.say("phase scan-1 30")
    actions = [simulator.line()["action"], simulator.line()["action"]]
    assert actions == ["start", "stop"]
    samples = [s for m in new.wait(1000) for s in poses_from_message(m)]
    hidden = [s for s in samples if s.status is PoseStatus.OUT_OF_VIEW]
    # Four occlusions of 0.3 to 1 s at 60 Hz.
    assert 4 * 0.3 * 60 - 8 < len(hidden) < 4 * 60 + 8
    stamps = {(m.device, round(m.t_s, 4)) for m in old.wait(1000)}
    assert all(m.version == 1 for m in old.messages)
    assert not any((s.name, round(s.t_s, 4)) in stamps for s in hidden)


def test_interactive_phases_are_reported_and_bad_lines_answered(started: list[Simulator | Listener]) -> None:
    simulator, _ = simulate(started, "bed", "--interactive", "--speed", "10")
    simulator.say("phase resect")
    first, second = simulator.line(), simulator.line()
    assert (first["phase"], first["action"], second["action"]) == ("resect", "start", "stop")
    assert first["t_s"] == second["t_s"]
    simulator.say("phase touch-bed 5")
    start, stop = simulator.line(), simulator.line()
    assert stop["t_s"] - start["t_s"] == pytest.approx(5.0, abs=1e-5)
    for wrong in ("phase dance", "phase scan-1 soon", "hello"):
        simulator.say(wrong)
        assert "error" in simulator.line()
    assert simulator.process.stdin is not None
    simulator.process.stdin.close()
    assert simulator.process.wait(PATIENCE_S) == 0


def test_goes_through_the_procedure_by_itself(started: list[Simulator | Listener]) -> None:
    simulator, _ = simulate(started, "bed", "--speed", "60")
    begun = []
    while "scan" not in begun:
        line = simulator.line()
        begun += [line["phase"]] if line["action"] == "start" else []
    assert begun == ["sweep", "landmarks", "touch", "scan-1", "resect", "touch-bed", "scan-2", "scan"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_with_code_0_on_a_signal(started: list[Simulator | Listener], number: signal.Signals) -> None:
    simulator, (tracker, _) = simulate(started, "node")
    listen(started, tracker).wait(10)
    began = time.monotonic()
    simulator.process.send_signal(number)
    assert simulator.process.wait(PATIENCE_S) == 0
    assert time.monotonic() - began < END_S


def neighbours() -> tuple[socket.socket, socket.socket]:
    """Two sockets that listen on ports next to each other."""
    while True:
        low, high = socket.socket(), socket.socket()
        low.bind(("127.0.0.1", 0))
        try:
            high.bind(("127.0.0.1", low.getsockname()[1] + 1))
        except (OSError, OverflowError):
            low.close()
            high.close()
            continue
        low.listen()
        high.listen()
        return low, high


@pytest.mark.parametrize("which", [0, 1])
def test_port_in_use_is_one_line_and_code_2(started: list[Simulator | Listener], which: int) -> None:
    pair = neighbours()
    port = pair[0].getsockname()[1]
    pair[1 - which].close()
    simulator = Simulator("bed", "--port", str(port))
    started.append(simulator)
    assert simulator.process.wait(PATIENCE_S) == 2
    pair[which].close()
    assert simulator.process.stderr is not None
    lines = simulator.process.stderr.read().splitlines()
    assert len(lines) == 1
    assert str(port + which) in lines[0]


def test_files_for_the_hospital_and_the_truth(started: list[Simulator | Listener], tmp_path: Path) -> None:
    truth, setup = tmp_path / "out" / "truth.json", tmp_path / "setup"
    simulate(started, "bed", "--seed", "2", "--truth", str(truth), "--setup", str(setup))
    written = json.loads(truth.read_text())
    assert written["simulated"] is True
    assert written["scan-1"]["lesions"][0]["name"] == "lesion"
    assert "lesion" not in [x["name"] for x in written["scan-2"]["lesions"]]
    names = {p.name for p in setup.iterdir()}
    assert {"probe_grid.csv", "probe_air_water.json", "tip.json", "stylus.json", "check_source.json"} <= names
    assert {"case.toml", "landmarks.json", "landmarks.csv", "dicom"} <= names
    assert "SIMULATION" in (setup / "case.toml").read_text()
