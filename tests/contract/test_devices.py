"""The device contract, for the wire, a record and a scan folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.contract.device_contract import PATIENCE_S, DeviceContract, Listener
from tracking.device import Device, DeviceState, IgtlDevice, OnRaw, OnState, ReplayDevice
from tracking.hub import Hub
from tracking.igtl.codec import encode
from tracking.igtl.messages import transform_message
from tracking.igtl.server import Server
from tracking.recording import Recorder
from tracking.scandevice import ScanFolderDevice, scan_events
from tracking.scanfolder import CountTable, PoseTable, Scan, read_scan, readings_of, write_scan
from tracking.sync import place_counts

N = 100


def pose_bytes(i: int) -> bytes:
    matrix = np.eye(4)
    matrix[0, 3] = float(i)
    return encode(transform_message("ProbeToTracker", matrix, 1000.0 + 0.01 * i))


def small_scan() -> Scan:
    """One second at 30 mm/s, hidden from 0.5 to 0.6 s, counted every 0.1 s."""
    t = 0.05 * np.arange(24)
    matrices = np.tile(np.eye(4), (len(t), 1, 1))
    matrices[:, 0, 3] = 30.0 * t
    matrices[(t > 0.49) & (t < 0.61)] = np.nan
    ends = 0.1 * np.arange(1, 12)
    counts = CountTable(ends, np.arange(1.0, 12.0), np.full(11, 0.1))
    return Scan(
        "Tc-99m",
        "2026-01-01T10:00:00Z",
        "ProbeTipToReference",
        PoseTable(t, matrices),
        counts,
        simulated=True,
    )


class TestIgtlDevice(DeviceContract):
    """A server on a real socket that never stops sending."""

    @pytest.fixture(autouse=True)
    def serving(self) -> Iterator[None]:
        self.server = Server(0)
        self.server.start()
        ended = threading.Event()
        sender = threading.Thread(target=self._send, args=(ended,), daemon=True)
        sender.start()
        yield
        ended.set()
        sender.join()
        self.server.stop()

    def _send(self, ended: threading.Event) -> None:
        i = 0
        while not ended.wait(0.002):
            self.server.publish(pose_bytes(i), None, "ProbeToTracker", newest_wins=False)
            i += 1

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return IgtlDevice("tracker", "127.0.0.1", self.server.port, on_raw, on_state)

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        closed = Server(0)
        closed.start()
        port = closed.port
        closed.stop()
        return IgtlDevice("tracker", "127.0.0.1", port, on_raw, on_state)

    def test_a_source_that_goes_is_told_and_found_again(self, listener: Listener) -> None:
        first = Server(0)
        first.start()
        port = first.port
        with IgtlDevice("tracker", "127.0.0.1", port, listener.on_raw, listener.on_state) as device:
            assert device.wait_for(DeviceState.CONNECTED, timeout_s=PATIENCE_S)
            first.stop()
            assert device.wait_for(DeviceState.LOST, timeout_s=PATIENCE_S)
            second = Server(port)
            second.start()
            assert device.wait_for(DeviceState.CONNECTED, timeout_s=PATIENCE_S)
            second.publish(pose_bytes(1), None, "ProbeToTracker", newest_wins=True)
            listener.wait_for_messages(1)
        second.stop()


class TestReplayDevice(DeviceContract):
    """A record of one source among two."""

    @pytest.fixture(autouse=True)
    def recorded(self, tmp_path: Path) -> None:
        self.path = tmp_path / "r.record"
        with Recorder(self.path, {}) as recorder:
            for i in range(N):
                recorder.append("tracker", 500.0 + 0.01 * i, "raw", pose_bytes(i))
                recorder.append("probe", 500.0 + 0.01 * i, "raw", pose_bytes(i))
                recorder.append("engine", 500.0 + 0.01 * i, "tick", b"{}")

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return ReplayDevice("tracker", self.path, on_raw, on_state, only="tracker")

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return ReplayDevice("tracker", self.path.with_name("none"), on_raw, on_state)

    def test_all_sources_keep_their_names_times_and_bytes(self, listener: Listener) -> None:
        with ReplayDevice("replay", self.path, listener.on_raw, listener.on_state) as device:
            assert device.wait_for(DeviceState.FINISHED, timeout_s=PATIENCE_S)
        expected = [(s, 500.0 + 0.01 * i, pose_bytes(i)) for i in range(N) for s in ("tracker", "probe")]
        assert listener.raw == expected

    def test_stopping_does_not_wait_for_the_recorded_pace(self, listener: Listener) -> None:
        device = ReplayDevice("tracker", self.path, listener.on_raw, speed=1e-3)  # 1,000 s in all
        device.start()
        listener.wait_for_messages(2)
        device.stop()
        assert len(listener.raw) < N
        assert device.state is DeviceState.STOPPED


class TestScanFolderDevice(DeviceContract):
    """A small scan folder."""

    @pytest.fixture(autouse=True)
    def written(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "scan"
        write_scan(small_scan(), self.folder)

    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return ScanFolderDevice("scan", self.folder, on_raw, on_state)

    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        return ScanFolderDevice("scan", self.folder.with_name("none"), on_raw, on_state)

    def test_the_fault_of_a_malformed_folder_is_told(self, listener: Listener) -> None:
        (self.folder / "scan.json").write_text(json.dumps({"nuclide": "Tc-99m"}))
        with ScanFolderDevice("scan", self.folder, listener.on_raw, listener.on_state) as device:
            assert device.wait_for(DeviceState.FAILED, timeout_s=PATIENCE_S)
        assert "scan.json, pose: is missing" in listener.states[-1][2]

    def test_the_wire_places_counts_as_the_folder_does(self) -> None:
        """The same scan from its files and as messages through the hub: the same but for float32."""
        scan = read_scan(self.folder)
        hub = Hub()
        intervals = [
            i for e in scan_events(scan, "scan") for i in hub.handle(e.source, e.arrival_s, e.payload)
        ]
        epoch = 1767261600.0  # 2026-01-01T10:00:00Z
        live = place_counts(
            lambda t: hub.buffer.tool_in_reference("ProbeTip", t),
            [i.t_end_s for i in intervals],
            [i.counts for i in intervals],
            [i.window_s for i in intervals],
            covers=lambda start, end: hub.buffer.covers("ProbeTip", start, end),
        )
        offline = readings_of(scan)
        # Frames at 0.50, 0.55, 0.60 are hidden: windows ending at 0.5 (its end lies beyond 0.45), 0.6, 0.7.
        assert live.unplaced == offline.unplaced == 3
        np.testing.assert_allclose(live.t_s - epoch, offline.t_s, atol=1e-6)
        np.testing.assert_array_equal(live.counts, offline.counts)
        np.testing.assert_allclose(live.poses, offline.poses, atol=1e-4)

    def test_a_scan_without_a_clock_time_has_no_negative_stamps(self) -> None:
        scan = small_scan()
        early = Scan(
            scan.nuclide,
            None,
            scan.pose_name,
            PoseTable(scan.poses.t_s - 2.5, scan.poses.matrices),
            CountTable(scan.counts.t_s - 2.5, scan.counts.counts, scan.counts.window_s),
        )
        arrivals = [e.arrival_s for e in scan_events(early, "scan")]
        assert min(arrivals) == pytest.approx(0.5)  # shifted by whole seconds
        assert arrivals == sorted(arrivals)


def test_a_recording_through_the_wire_is_the_recording(test_data: Path) -> None:
    """A real scan with occlusions and jitter: messages and files place the same counts at the same poses."""
    scan = read_scan(test_data / "recordings" / "occult_real")
    hub = Hub()
    intervals = [i for e in scan_events(scan, "scan") for i in hub.handle(e.source, e.arrival_s, e.payload)]
    epoch = 1767261600.0
    live = place_counts(
        lambda t: hub.buffer.tool_in_reference("ProbeTip", t + epoch),
        np.array([i.t_end_s for i in intervals]) - epoch,
        [i.counts for i in intervals],
        [i.window_s for i in intervals],
        0.13,
        covers=lambda start, end: hub.buffer.covers("ProbeTip", start + epoch, end + epoch),
    )
    offline = readings_of(scan, latency_s=0.13)
    assert live.unplaced == offline.unplaced > 0
    np.testing.assert_array_equal(live.counts, offline.counts)
    np.testing.assert_allclose(live.mid_poses, offline.mid_poses, atol=1e-3)
    assert not hub.alarms
    assert hub.buffer.track("ProbeTipToReference").refused == {"status MISSING": 70}
