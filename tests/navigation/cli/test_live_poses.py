"""Poses recorded from a tracker on a real socket: a calibration out of them, and every way to fail."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.tip.posefile import read_poses
from calibration.tip.posestream import PoseStream
from navigation.cli.main import run
from navigation.livepose import Waiting, parse_live, record_poses
from tests.tracking.ndi.fake_polaris import TcpPolaris
from tracking.errors import InputError, SurroundingsError
from tracking.igtl.codec import encode
from tracking.igtl.poses import pose_message
from tracking.igtl.server import Server
from tracking.sample import PoseSample, PoseStatus

TIP_MM = np.array([4.0, -3.0, -150.0])
PIVOT_MM = np.array([50.0, 20.0, -1500.0])
# Enough for a thread that shares a core with others.
DEADLINE_S = 60.0
INTERVAL_S = 0.005
SHORT = Waiting(connect_s=0.3, first_pose_s=0.4, lost_s=0.4)


def turned(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Poses of a tool that is turned about its tip on a spiral of up to 30 degrees, with 0.05 mm of noise."""
    for i in itertools.count():
        tilt = np.radians(30.0) * abs(np.sin(0.011 * i))
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(
            tilt * np.array([np.cos(0.09 * i), np.sin(0.09 * i), 0.0])
        ).as_matrix()
        pose[:3, 3] = PIVOT_MM - pose[:3, :3] @ TIP_MM + rng.normal(0.0, 0.05, 3)
        yield pose


class Tracker:
    """A tracker on a real socket that sends the stylus and a probe; `fault` makes some of its messages bad."""

    def __init__(self, fault: str = "", stops_after: int | None = None) -> None:
        self.server = Server(0)
        self._fault, self._stops_after = fault, stops_after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Tracker:
        self.server.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.server.stop()

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def _play(self) -> None:
        poses = turned(np.random.default_rng(1))
        last = next(poses)
        for i in itertools.count():
            if self._stop.wait(INTERVAL_S) or (self._stops_after is not None and i >= self._stops_after):
                return
            status = PoseStatus.OK
            if self._fault == "hidden" or (self._fault == "some" and i % 10 == 3):
                status = PoseStatus.OUT_OF_VIEW
            if not (self._fault == "some" and i % 10 == 7):
                last = next(poses)
            self._send("StylusToTracker", i, last, status)
            self._send("ProbeToTracker", i, np.eye(4), PoseStatus.OK)

    def _send(self, name: str, number: int, matrix: np.ndarray, status: PoseStatus) -> None:
        sample = PoseSample(name, time.time(), matrix, status)
        # A number that advances, as PLUS sends it: a repeated pose is then found by its bits alone.
        self.server.publish(
            encode(pose_message(sample, {"FrameNumber": str(number), "Simulation": "1"}, version=2))
        )


def words(tracker: Tracker, out: Path, *more: str) -> list[str]:
    return ["calibrate", "pivot", "--live", tracker.where, "--seconds", "1.5", "--out", str(out), *more]


def test_a_tip_from_a_running_tracker_and_again_from_what_was_kept(tmp_path: Path) -> None:
    out = tmp_path / "stylus.json"
    with Tracker("some") as tracker:
        assert run(words(tracker, out, "--device", "Stylus", "--no-plots")) == 0
    live = json.loads(out.read_text())
    assert np.linalg.norm(np.array(live["tip_offset_mm"]) - TIP_MM) < 0.3
    assert live["transform"] == "StylusToTracker"
    assert live["simulated"] is True
    # One message in ten is of a hidden tool, one repeats the one before.
    assert live["skipped"]["OUT_OF_VIEW"] >= 1
    assert live["skipped"]["repeated"] >= 1
    kept = tmp_path / live["poses_file"]
    again = tmp_path / "again.json"
    assert run(["calibrate", "pivot", str(kept), "--out", str(again), "--no-plots"]) == 0
    recomputed = json.loads(again.read_text())
    assert recomputed["tip_offset_mm"] == live["tip_offset_mm"]
    assert recomputed["tip_covariance_mm2"] == live["tip_covariance_mm2"]
    assert (recomputed["transform"], recomputed["simulated"]) == ("StylusToTracker", True)
    assert recomputed["skipped"]["not visible"] == live["skipped"]["OUT_OF_VIEW"]


def test_a_case_names_the_tracker_and_the_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, out = tmp_path / "case.toml", tmp_path / "tip.json"
    with Tracker() as tracker:
        case.write_text(f"[tracker]\nport = {tracker.server.port}\n[gates.pivot]\nmax_rms_mm = 0.02\n")
        arguments = ["calibrate", "pivot", "--live", str(case), "--seconds", "1", "--out", str(out)]
        assert run([*arguments, "--no-plots"]) == 3
    # 0.05 mm in each of three components is 0.087 mm 3D RMS.
    assert "at most 0.02 allowed" in capsys.readouterr().err
    assert json.loads(out.read_text())["gates_overridden"] == ["max_rms_mm 0.02 instead of 0.5"]


def test_an_axis_is_recorded_too_and_a_still_probe_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "axis.json"
    with Tracker() as tracker:
        arguments = ["calibrate", "axis", "--live", tracker.where, "--seconds", "1", "--out", str(out)]
        assert run([*arguments, "--device", "StylusToTracker", "--no-plots"]) == 3
    assert "a cone, not a spin" in capsys.readouterr().err
    assert (tmp_path / "axis-poses.csv").exists()


def test_a_tracker_that_goes_away_ends_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    stream = PoseStream("StylusToTracker")
    with Tracker(stops_after=60) as tracker, pytest.raises(SurroundingsError) as lost:
        record_poses(parse_live(tracker.where), stream, 60.0, waiting=Waiting(lost_s=0.4))
    assert f"tracker at {tracker.where}: nothing of StylusToTracker for 0.4 s" in str(lost.value)
    assert 1 <= len(stream) <= 60
    stream.write_csv(tmp_path / "kept.csv")
    np.testing.assert_array_equal(read_poses(tmp_path / "kept.csv").matrices, stream.pose_set().matrices)


@pytest.mark.parametrize(
    ("device", "fault", "says"),
    [
        ("DrillToTracker", "", "sends no DrillToTracker within 0.4 s, but ProbeToTracker, StylusToTracker"),
        ("StylusToTracker", "hidden", r"StylusToTracker was not seen within 0.4 s \(\d+ OUT_OF_VIEW\)"),
        ("ProbeToTracker", "", r"ProbeToTracker was not seen within 0.4 s \(\d+ identity"),
    ],
)
def test_a_tool_that_does_not_come_is_named_with_what_comes(device: str, fault: str, says: str) -> None:
    waiting = Waiting(connect_s=DEADLINE_S, first_pose_s=0.4)
    with Tracker(fault) as tracker, pytest.raises(SurroundingsError, match=says):
        record_poses(parse_live(tracker.where), PoseStream(device), 1.0, waiting=waiting)


def test_nobody_at_the_port() -> None:
    server = Server(0)
    server.start()
    port = server.port
    server.stop()
    with pytest.raises(
        SurroundingsError, match=rf"tracker at 127\.0\.0\.1:{port}: no connection within 0\.3 s"
    ):
        record_poses(parse_live(f"127.0.0.1:{port}"), PoseStream("StylusToTracker"), 1.0, waiting=SHORT)


def test_rubbish_between_the_poses_is_counted() -> None:
    stream = PoseStream("StylusToTracker")
    pose = next(turned(np.random.default_rng(2)))
    stream.take("tracker", 0.0, b"rubbish")
    stream.take("tracker", 0.1, encode(pose_message(PoseSample("StylusToTracker", 1.0, pose), version=2)))
    mirrored = pose @ np.diag([1.0, 1.0, -1.0, 1.0])
    stream.take("tracker", 0.2, encode(pose_message(PoseSample("StylusToTracker", 1.1, mirrored), version=2)))
    found = stream.pose_set()
    assert len(found.matrices) == 1
    assert found.skipped == {"damaged message": 1, "not rigid": 1}
    assert found.simulated is False


@pytest.mark.parametrize("text", ["here", "host:", ":18954", "host:0", "host:65536", "host:port"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="must be HOST:PORT or a case file"):
        parse_live(text)


def test_what_was_kept_is_not_overwritten_and_poses_come_from_one_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tip.json"
    assert run(["calibrate", "pivot", "--out", str(out)]) == 2
    assert "give either POSES or --live HOST:PORT" in capsys.readouterr().err
    (tmp_path / "tip-poses.csv").write_text("mine\n")
    assert run(["calibrate", "pivot", "--live", "127.0.0.1:9", "--out", str(out)]) == 2
    assert "tip-poses.csv: exists already" in capsys.readouterr().err
    assert (tmp_path / "tip-poses.csv").read_text() == "mine\n"


def test_a_case_with_an_ndi_tracker_needs_no_server_between(tmp_path: Path, test_data: Path) -> None:
    roms = test_data / "plus_ndi_rom"

    def pivoting(frame: int) -> tuple[float, ...]:
        """Quaternion, place and error as the tracker says them, of a tool turned about its tip."""
        tilt = np.radians(30.0) * abs(np.sin(0.013 * frame))
        axis = np.array([np.cos(0.11 * frame), np.sin(0.11 * frame), 0.0])
        turned = Rotation.from_rotvec(tilt * axis)
        x, y, z, w = turned.as_quat()
        return (w, x, y, z, *(PIVOT_MM - turned.apply(TIP_MM)), 0.1)

    polaris = TcpPolaris({"8700339": pivoting}).start()
    try:
        case, out = tmp_path / "case.toml", tmp_path / "tip.json"
        case.write_text(
            f'[tracker]\nkind = "ndi"\nhost = "127.0.0.1"\nport = {polaris.port}\n'
            f'[tracker.roms]\nProbe = "{roms / "8700339.rom"}"\n'
        )
        arguments = ["calibrate", "pivot", "--live", str(case), "--device", "Probe", "--seconds", "2"]
        assert run([*arguments, "--out", str(out), "--no-plots"]) == 0
    finally:
        polaris.stop()
    told = json.loads(out.read_text())
    assert told["transform"] == "ProbeToTracker"
    # Only the rounding of float32 is left.
    np.testing.assert_allclose(told["tip_offset_mm"], TIP_MM, atol=0.02)
