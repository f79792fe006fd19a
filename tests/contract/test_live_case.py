"""A live case without PlusServer: an NDI tracker by its driver, a probe on a serial line behind the bridge."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from navigation.engine.assembly import RECORD_NAME
from tests.scenario.processes import COMMAND
from tests.tracking.bridge.serial_peer import PtyProbe
from tests.tracking.ndi.fake_polaris import TcpPolaris
from tracking.hub import Hub
from tracking.recording import Record

PATIENCE_S = 30.0
PARTS = {"Probe": "8700339", "Stylus": "8700340", "Reference": "8700449"}


@pytest.fixture
def polaris() -> Iterator[TcpPolaris]:
    """Tools that drift slowly, as noise makes real ones do."""
    places = dict(zip(PARTS.values(), itertools.count(-1600, 100), strict=False))
    tools = {p: (lambda frame, z=z: (1, 0, 0, 0, 1e-3 * frame, 0, z, 0.1)) for p, z in places.items()}
    fake = TcpPolaris(tools)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def bridge_port(tmp_path: Path) -> Iterator[int]:
    """`gammanav probe-bridge` on a probe that counts 5 in every 100 ms."""
    probe = PtyProbe(tmp_path)
    words = ["--port-device", str(probe.device), "--format", "interval", "--port", "0"]
    process = subprocess.Popen([*COMMAND, "probe-bridge", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(json.loads(process.stdout.readline())["port"])
    ended = threading.Event()

    def talk() -> None:
        while not ended.wait(0.1):
            probe.write("CNT 5\r\n")

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    yield port
    ended.set()
    talker.join()
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    probe.close()


def case_file(folder: Path, tracker_port: int, probe_port: int, roms: Path) -> Path:
    tools = "\n".join(f'{name} = "{roms / part}.rom"' for name, part in PARTS.items())
    (folder / "tip.json").write_text(json.dumps({"tip_offset_mm": [0, 0, 100], "axis": [0, 0, 1]}))
    path = folder / "case.toml"
    path.write_text(
        f'nuclide = "Tc-99m"\n[probe]\nport = {probe_port}\n'
        f'[tracker]\nkind = "ndi"\nhost = "127.0.0.1"\nport = {tracker_port}\n[tracker.roms]\n{tools}\n'
    )
    return path


def test_poses_and_counts_reach_the_record(
    polaris: TcpPolaris, bridge_port: int, test_data: Path, tmp_path: Path
) -> None:
    case = case_file(tmp_path, polaris.port, bridge_port, test_data / "plus_ndi_rom")
    talk = subprocess.Popen(
        [*COMMAND, "run", str(case), "--headless", "--out", str(tmp_path / "out"), "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert talk.stdin is not None and talk.stdout is not None
    rescue = threading.Timer(2 * PATIENCE_S, talk.kill)  # a command that no longer answers fails the test
    rescue.start()
    assert talk.stdout.readline().startswith("connected")
    status, deadline = "", time.monotonic() + PATIENCE_S
    # Asked as fast as it answers, while the devices are only just appearing.
    while not ("ProbeToReference seen" in status and "cps" in status) and time.monotonic() < deadline:
        talk.stdin.write("status\n")
        status = talk.stdout.readline()
    out, err = talk.communicate("quit\n", timeout=PATIENCE_S)
    rescue.cancel()
    assert (talk.returncode, err) == (0, ""), out
    assert "ProbeToReference seen" in status
    hub = Hub()
    for event in Record(tmp_path / "out" / RECORD_NAME).events("raw"):
        hub.handle(event.source, event.arrival_s, event.payload)
    assert hub.counts.last is not None
    assert hub.counts.last.counts == 5.0
    assert not hub.refused
    assert all(not hub.buffer.track(f"{tool}ToTracker").refused for tool in PARTS)
    assert not polaris.tracking  # it was left in order


def test_a_tracker_that_is_not_there_is_named(test_data: Path, tmp_path: Path) -> None:
    case = case_file(tmp_path, 1, 2, test_data / "plus_ndi_rom")
    case.write_text(case.read_text().replace('host = "127.0.0.1"\nport = 1', 'serial = "/dev/ttyNone"'))
    words = ["run", str(case), "--headless", "--wait", "1", "--out", str(tmp_path / "out"), "--port", "0"]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "tracker at /dev/ttyNone: no connection within 1 s" in done.stderr
