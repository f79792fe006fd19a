"""The NDI device against a fake Polaris that the real driver accepts, on TCP and on a pty."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.contract.device_contract import PATIENCE_S, Listener
from tests.tracking.igtl.peers import poll
from tests.tracking.ndi.fake_polaris import MISSING, OUT_OF_VOLUME, FakePolaris, PtyPolaris, TcpPolaris
from tracking.device import DeviceState
from tracking.errors import InputError, SurroundingsError
from tracking.hub import Hub
from tracking.igtl.codec import Message, decode
from tracking.igtl.names import pose_status
from tracking.ndi import NdiDevice, NdiSettings, NdiTool, read_rom, settings
from tracking.ndi.child import DEAD_S, FROZEN_S
from tracking.sample import PoseStatus

PROBE_PART, REFERENCE_PART = "8700339", "8700449"
HALF_ROOT = float(np.sqrt(0.5))


def moving(frame: int) -> tuple[float, ...]:
    """x = the frame number, a quarter turn about z."""
    return (HALF_ROOT, 0.0, 0.0, HALF_ROOT, float(frame), 20.0, -1500.0, 0.1)


def still(_: int) -> tuple[float, ...]:
    return (1.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0, 0.1)


@pytest.fixture
def roms(test_data: Path) -> Path:
    return test_data / "plus_ndi_rom"


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def polaris() -> Iterator[TcpPolaris]:
    fake = TcpPolaris({PROBE_PART: moving, REFERENCE_PART: still})
    fake.start()
    yield fake
    fake.stop()


def settings_for(fake: FakePolaris, roms: Path) -> NdiSettings:
    tools = (
        NdiTool("Probe", roms / f"{PROBE_PART}.rom"),
        NdiTool("Reference", roms / f"{REFERENCE_PART}.rom"),
    )
    if isinstance(fake, PtyPolaris):
        return NdiSettings(tools, serial=fake.device)
    assert isinstance(fake, TcpPolaris)
    return NdiSettings(tools, "127.0.0.1", fake.port)


def device_for(fake: FakePolaris, roms: Path, listener: Listener) -> NdiDevice:
    return NdiDevice("tracker", settings_for(fake, roms), listener.on_raw, listener.on_state)


def messages(listener: Listener, name: str = "ProbeToTracker") -> list[Message]:
    with listener.changed:
        raw = [r for _, _, r in listener.raw]
    return [m for m in map(decode, raw) if m.device == name]


def wait_for(listener: Listener, found: Callable[[], bool]) -> None:
    with listener.changed:
        assert listener.changed.wait_for(found, PATIENCE_S)


def has_status(listener: Listener, status: PoseStatus) -> Callable[[], bool]:
    """Whether one of the newest messages says so."""
    return lambda: any(pose_status(decode(raw).metadata) is status for _, _, raw in listener.raw[-20:])


@pytest.mark.parametrize("kind", [TcpPolaris, PtyPolaris])
def test_poses_come_with_status_and_frame_number(kind: type, roms: Path, listener: Listener) -> None:
    fake = kind({PROBE_PART: moving, REFERENCE_PART: still})
    fake.start()
    with device_for(fake, roms, listener):
        listener.wait_for_messages(40)
    fake.stop()
    for message in messages(listener):
        frame = int(message.metadata["FrameNumber"])
        assert pose_status(message.metadata) is PoseStatus.OK
        assert message.version == 2
        # A quarter turn about z: x axis to y, y axis to -x.
        expected = [[0, -1, 0, frame], [1, 0, 0, 20], [0, 0, 1, -1500], [0, 0, 0, 1]]
        np.testing.assert_allclose(message.body.matrix, expected, atol=1e-6)  # type: ignore[union-attr]
    frames = [int(m.metadata["FrameNumber"]) for m in messages(listener)]
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert len(messages(listener, "ReferenceToTracker")) >= 20
    assert fake.commands["TSTOP"] == 1  # it leaves the tracker in order
    assert fake.commands["COMM"] == (kind is PtyPolaris)
    told = next(detail for _, state, detail in listener.states if state is DeviceState.CONNECTED)
    assert told.endswith(": Fake Polaris S/N: 0001 made for tests")  # which instrument it was, for the record


@pytest.mark.parametrize("tools", [1, 3, 4, 5])
def test_any_number_of_tools(tools: int, roms: Path, listener: Listener) -> None:
    """From three tools on a reply is longer than 127 bytes, which the driver cannot show as text."""
    parts = sorted(path.stem for path in roms.glob("*.rom"))[:tools]
    fake = TcpPolaris(dict.fromkeys(parts, moving))
    fake.start()
    made = NdiSettings(
        tuple(NdiTool(f"Tool{part}", roms / f"{part}.rom") for part in parts), "127.0.0.1", fake.port
    )
    with NdiDevice("tracker", made, listener.on_raw, listener.on_state):
        listener.wait_for_messages(30 * tools)
    fake.stop()
    for part in parts:
        told = messages(listener, f"Tool{part}ToTracker")
        frames = [int(m.metadata["FrameNumber"]) for m in told]
        assert len(frames) >= 29
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        assert [m.body.matrix[0, 3] for m in told] == frames  # type: ignore[union-attr]


def test_a_damaged_reply_with_many_tools_is_never_a_pose(roms: Path, listener: Listener) -> None:
    """There the driver itself breaks: its process ends, and a new one takes over."""
    parts = sorted(path.stem for path in roms.glob("*.rom"))[:3]
    fake = TcpPolaris(dict.fromkeys(parts, moving))
    fake.start()
    tools = tuple(NdiTool(f"Tool{part}", roms / f"{part}.rom") for part in parts)
    made = NdiSettings(tools, "127.0.0.1", fake.port)
    with NdiDevice("tracker", made, listener.on_raw, listener.on_state) as device:
        listener.wait_for_messages(30)
        fake.damaged = 1
        assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)
        assert device.wait_for(DeviceState.CONNECTED, timeout_s=PATIENCE_S)
        listener.wait_for_messages(len(listener.raw) + 30)
    fake.stop()
    for message in messages(listener, f"Tool{parts[0]}ToTracker"):
        assert message.body.matrix[0, 3] == int(message.metadata["FrameNumber"])  # type: ignore[union-attr]


def test_each_tool_gets_its_own_definition(polaris: TcpPolaris, roms: Path, listener: Listener) -> None:
    with device_for(polaris, roms, listener):
        listener.wait_for_messages(1)
    loaded = [bytes(rom).rstrip(b"\0") for rom in polaris.roms.values()]
    assert loaded == [(roms / f"{part}.rom").read_bytes().rstrip(b"\0") for part in polaris.tools]


@pytest.mark.parametrize(
    ("state", "status"), [(MISSING, PoseStatus.MISSING), (OUT_OF_VOLUME, PoseStatus.OUT_OF_VOLUME)]
)
def test_a_lost_tool_never_keeps_its_old_pose(
    state: str, status: PoseStatus, polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    polaris.tools[PROBE_PART] = lambda frame: moving(frame) if frame % 4 else state
    with device_for(polaris, roms, listener):
        listener.wait_for_messages(80)
    lost = [m for m in messages(listener) if int(m.metadata["FrameNumber"]) % 4 == 0]
    seen = [m for m in messages(listener) if int(m.metadata["FrameNumber"]) % 4]
    assert {pose_status(m.metadata) for m in lost} == {status}
    assert all(np.isnan(m.body.matrix[:3]).all() for m in lost)  # type: ignore[union-attr]
    assert {pose_status(m.metadata) for m in seen} == {PoseStatus.OK}
    hub = Hub()
    for source, arrival_s, raw in listener.raw:
        hub.handle(source, arrival_s, raw)
    assert hub.buffer.track("ProbeToTracker").refused == {f"status {status.value}": len(lost)}


def test_a_tool_that_the_tracker_disabled_is_invalid(
    polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    with device_for(polaris, roms, listener):
        listener.wait_for_messages(10)
        polaris.forget = True
        wait_for(listener, has_status(listener, PoseStatus.INVALID))
    told = {pose_status(m.metadata) for m in messages(listener)}
    assert told == {PoseStatus.OK, PoseStatus.INVALID}


def test_a_frame_number_that_stands_still_is_never_passed_on_as_valid(
    polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    with device_for(polaris, roms, listener) as device:
        listener.wait_for_messages(10)
        polaris.frozen = True
        wait_for(listener, has_status(listener, PoseStatus.INVALID))
        assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)  # and then it is set up anew
    valid = [m for m in messages(listener) if pose_status(m.metadata) is PoseStatus.OK]
    frames = [int(m.metadata["FrameNumber"]) for m in valid]
    # After the set-up the one frame it repeats comes once more; within a session no frame comes twice.
    sessions = 1 + [s for _, s, _ in listener.states].count(DeviceState.LOST)
    assert len(frames) - len(set(frames)) <= sessions - 1
    assert FROZEN_S < 0.25 <= DEAD_S  # told before a pose would have expired by itself
    assert "stands still" in next(d for _, s, d in listener.states if s is DeviceState.LOST)
    hub = Hub()
    for event in listener.raw:
        hub.handle(*event)
    before_s = valid[frames.index(max(frames))].t_s
    # A counting interval of 0.1 s while the number stood still has no pose.
    assert not hub.buffer.track("ProbeToTracker").covers([before_s + 0.1], [before_s + 0.2])[0]


def test_a_damaged_reply_costs_one_frame_and_is_no_pose(
    polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    with device_for(polaris, roms, listener):
        listener.wait_for_messages(10)
        polaris.damaged = 2
        wait_for(listener, lambda: polaris.damaged == 0)
        listener.wait_for_messages(len(listener.raw) + 20)
    frames = [int(m.metadata["FrameNumber"]) for m in messages(listener)]
    assert sorted(set(range(frames[0], frames[-1])) - set(frames)) != []  # the damaged ones
    assert frames == sorted(set(frames))
    assert [s for _, s, _ in listener.states].count(DeviceState.CONNECTED) == 1


def test_a_run_of_damaged_replies_is_a_new_start(polaris: TcpPolaris, roms: Path, listener: Listener) -> None:
    with device_for(polaris, roms, listener) as device:
        listener.wait_for_messages(10)
        polaris.damaged = 3
        assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)
        assert device.wait_for(DeviceState.CONNECTED, timeout_s=PATIENCE_S)
        listener.wait_for_messages(len(listener.raw) + 10)


def test_a_broken_link_is_told_and_made_anew(polaris: TcpPolaris, roms: Path, listener: Listener) -> None:
    with device_for(polaris, roms, listener) as device:
        listener.wait_for_messages(10)
        polaris.cut()
        assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)
        assert device.wait_for(DeviceState.CONNECTED, timeout_s=PATIENCE_S)
        listener.wait_for_messages(len(listener.raw) + 10)
    assert polaris.commands["INIT"] == 2


def test_a_tracker_that_falls_silent_is_lost_within_three_seconds_and_does_not_hang_stop(
    polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    with device_for(polaris, roms, listener) as device:
        listener.wait_for_messages(10)
        polaris.deaf = True
        began_s = time.monotonic()
        assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)
        assert time.monotonic() - began_s < 3.0  # the bound for a half-open peer
        began_s = time.monotonic()
        device.stop()
        assert time.monotonic() - began_s < 2.0
    assert "no answer" in next(d for _, s, d in listener.states if s is DeviceState.LOST)


def test_a_tracker_that_refuses_is_told_in_its_own_words(
    polaris: TcpPolaris, roms: Path, listener: Listener
) -> None:
    polaris.refusing = True
    with device_for(polaris, roms, listener):
        wait_for(listener, lambda: any("INIT" in d for _, _, d in listener.states))
    assert DeviceState.CONNECTED not in [s for _, s, _ in listener.states]
    assert listener.raw == []


def test_nobody_at_the_port_is_told_although_the_driver_calls_it_a_connection(
    roms: Path, listener: Listener
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    tools = (NdiTool("Probe", roms / f"{PROBE_PART}.rom"),)
    device = NdiDevice("tracker", NdiSettings(tools, "127.0.0.1", port), listener.on_raw, listener.on_state)
    with device:
        wait_for(listener, lambda: any("nobody answers" in d for _, _, d in listener.states))
    assert listener.raw == []


def test_a_line_that_is_none_is_told(roms: Path, tmp_path: Path, listener: Listener) -> None:
    tools = (NdiTool("Probe", roms / f"{PROBE_PART}.rom"),)
    made = NdiSettings(tools, serial=str(tmp_path / "ttyNone"))
    with NdiDevice("tracker", made, listener.on_raw, listener.on_state):
        wait_for(listener, lambda: any("cannot be opened" in d for _, _, d in listener.states))


def test_the_drivers_process_does_not_outlive_its_parent(polaris: TcpPolaris, roms: Path) -> None:
    script = (
        "import json, sys, time\n"
        "from tracking.ndi import NdiDevice, NdiSettings\n"
        "made = NdiSettings.from_json(json.loads(sys.argv[1]))\n"
        "NdiDevice('t', made, lambda *a: print('m', flush=True)).start()\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(settings_for(polaris, roms).to_json())],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"m\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert poll(lambda: not polaris.tracking)  # its last word was TSTOP: the process has ended in order


def test_without_the_driver_there_is_one_clear_line(
    polaris: TcpPolaris, roms: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SurroundingsError, match=r"pip install gammanav\[ndi\]"):
        device_for(polaris, roms, listener)


def test_tool_definitions_say_what_they_are(roms: Path) -> None:
    rom = read_rom(roms / "8700339.rom")
    assert (rom.manufacturer, rom.part_number) == ("NDI", "8700339")
    # NDI's four-sphere rigid body 8700339: spheres at (y, z) in mm as in its data sheet.
    expected = [[0, 0, 0], [0, 28.59, 41.02], [0, 0, 88.0], [0, -44.32, 40.45]]
    np.testing.assert_allclose(rom.markers_mm, expected, atol=1e-4)
    assert {read_rom(path).part_number for path in roms.glob("*.rom")} == {
        path.stem for path in roms.glob("*.rom")
    }


@pytest.mark.parametrize("at", [0, 40, 76, 600, 751])
def test_a_damaged_tool_definition_is_refused(at: int, roms: Path, tmp_path: Path) -> None:
    data = bytearray((roms / "8700339.rom").read_bytes())
    data[at] ^= 0x10
    bad = tmp_path / "bad.rom"
    bad.write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.rom: "):
        read_rom(bad)


@pytest.mark.parametrize("content", [b"", b"NDI\0", b"[geometry]\ncount=4\n" * 60, b"NDI\0" + bytes(4000)])
def test_a_file_that_is_no_tool_definition_is_refused(content: bytes, tmp_path: Path) -> None:
    bad = tmp_path / "tool.rom"
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"tool\.rom: is no NDI tool definition"):
        read_rom(bad)


def test_settings_are_checked_before_any_hardware_is_asked(roms: Path) -> None:
    probe = NdiTool("Probe", roms / "8700339.rom")
    with pytest.raises(InputError, match="either a host or a serial line"):
        NdiSettings((probe,))
    with pytest.raises(InputError, match="named twice"):
        NdiSettings((probe, probe), "127.0.0.1")
    with pytest.raises(InputError, match="baud 1200"):
        NdiSettings((probe,), serial="/dev/ttyUSB0", baud=1200)
    with pytest.raises(InputError, match=r"none\.rom"):
        NdiSettings((NdiTool("Probe", roms / "none.rom"),), "127.0.0.1").check_files()
    twice = NdiSettings((probe, NdiTool("Reference", probe.rom)), "127.0.0.1")
    with pytest.raises(InputError, match="Reference and Probe have the same tool definition"):
        twice.check_files()
    made = NdiSettings((probe,), "127.0.0.1", 9999)
    assert NdiSettings.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.where == "127.0.0.1:9999"
