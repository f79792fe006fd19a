"""The device contract, for the instruments: NDI trackers, a probe behind its bridge, the simulator."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from navigation.simulate import build_scene
from navigation.simulate.stage import Stage
from tests.contract.device_contract import DeviceContract, Listener
from tests.tracking.bridge.serial_peer import PtyProbe
from tests.tracking.ndi.fake_polaris import TcpPolaris
from tracking.bridge import Bridge, LineFormat, shipped_format
from tracking.device import Device, IgtlDevice, OnRaw, OnState
from tracking.hub import Hub
from tracking.igtl.codec import decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.ndi import NdiDevice, NdiSettings, NdiTool

PART = "8700339"


def moving(frame: int) -> tuple[float, ...]:
    return (1.0, 0.0, 0.0, 0.0, float(frame % 100), 0.0, -1500.0, 0.1)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class TestNdiDevice(DeviceContract):
    """The real driver in its process, and a fake Polaris on TCP."""

    @pytest.fixture(autouse=True)
    def serving(self, test_data: Path) -> Iterator[None]:
        self.tools = (NdiTool("Probe", test_data / "plus_ndi_rom" / f"{PART}.rom"),)
        self.fake = TcpPolaris({PART: moving})
        self.fake.start()
        yield
        self.fake.stop()

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        settings = NdiSettings(self.tools, "127.0.0.1", self.fake.port)
        return NdiDevice("tracker", settings, on_raw, on_state)

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return NdiDevice("tracker", NdiSettings(self.tools, "127.0.0.1", closed_port()), on_raw, on_state)


class TestProbeBehindItsBridge(DeviceContract):
    """A pseudo-terminal that never stops talking, the bridge, and a client of it."""

    @pytest.fixture(autouse=True)
    def serving(self, tmp_path: Path) -> Iterator[None]:
        self.probe = PtyProbe(tmp_path)
        pattern = shipped_format("interval").pattern
        form = LineFormat("test", "interval", pattern, interval_s=0.005, delay_s=0.02)
        self.bridge = Bridge(str(self.probe.device), form, 0)
        self.bridge.start()
        ended = threading.Event()
        work = [
            threading.Thread(target=self.bridge.run, daemon=True),
            threading.Thread(target=self._talk, args=(ended,), daemon=True),
        ]
        for thread in work:
            thread.start()
        yield
        ended.set()
        self.bridge.stop.set()
        for thread in work:
            thread.join()
        self.probe.close()

    def _talk(self, ended: threading.Event) -> None:
        for i in itertools.count():
            if ended.wait(0.005):
                return
            self.probe.write(f"C={i % 10}\r\n")

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return IgtlDevice("probe", "127.0.0.1", self.bridge.port, on_raw, on_state)

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return IgtlDevice("probe", "127.0.0.1", closed_port(), on_raw, on_state)

    def test_every_count_arrives_and_adds_up(self, listener: Listener) -> None:
        with self.make(listener.on_raw, listener.on_state):
            listener.wait_for_messages(200)
        hub = Hub()
        intervals = [i for event in listener.raw for i in hub.handle(*event)]
        samples = [counts_from_message(m) for m in (decode(r) for _, _, r in listener.raw) if is_counts(m)]
        assert [s.seq for s in samples] == list(range(samples[0].seq, samples[0].seq + len(samples)))
        # Digits 0 to 9 in turn: whatever the first was, the totals must follow them.
        digits = [(int(samples[0].counts) + i) % 10 for i in range(len(samples))]
        assert [s.counts for s in samples] == digits
        assert sum(i.counts for i in intervals) == sum(digits)
        assert (hub.counts.gaps, hub.counts.duplicates, hub.counts.refused) == (0, 0, {})


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A simulated room whose two instruments run for all the tests that follow."""
    made = Stage(build_scene("node", 0), 0)
    made.start()
    player = threading.Thread(target=made.play, daemon=True)
    player.start()
    yield made
    made.stop.set()
    player.join()
    made.close()


class SimulatedContract(DeviceContract):
    """What both simulated instruments share: they are ordinary OpenIGTLink senders."""

    @pytest.fixture(autouse=True)
    def running(self, stage: Stage) -> None:
        self.stage = stage

    def port(self) -> int:
        raise NotImplementedError

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return IgtlDevice("simulator", "127.0.0.1", self.port(), on_raw, on_state)

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return IgtlDevice("simulator", "127.0.0.1", closed_port(), on_raw, on_state)

    def test_everything_is_stamped_as_simulation(self, listener: Listener) -> None:
        with self.make(listener.on_raw, listener.on_state):
            listener.wait_for_messages(self.ENOUGH)
        told = [decode(raw) for _, _, raw in listener.raw]
        after_hello = [m for m in told if m.version > 1]
        assert after_hello
        assert {m.metadata.get("Simulation") for m in after_hello} == {"1"}


class TestSimulatedTracker(SimulatedContract):
    """Three tools at 60 Hz."""

    def port(self) -> int:
        return self.stage.tracker_server.port


class TestSimulatedProbe(SimulatedContract):
    """Ten counts messages a second."""

    ENOUGH = 5

    def port(self) -> int:
        return self.stage.probe_server.port
