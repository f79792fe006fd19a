"""The MCAP file opens in its own reader and holds the record's poses, counts and events."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from scipy.spatial.transform import Rotation

from tests.tracking.recording.scene import EPOCH_S, STEP_S, probe_at, record
from tracking.errors import SurroundingsError
from tracking.igtl.codec import encode
from tracking.igtl.poses import pose_message
from tracking.recording import Recorder
from tracking.recording.mcap_export import write_mcap
from tracking.recording.phases import phases_of
from tracking.recording.reader import Record
from tracking.sample import PoseSample, PoseStatus


def content(path: Path) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """By topic (log time in ns, message); every schema is JSON schema and every message fits its required keys."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    with path.open("rb") as stream:
        for schema, channel, message in make_reader(stream, validate_crcs=True).iter_messages():
            assert schema is not None
            assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
            value = json.loads(message.data)
            assert set(json.loads(schema.data)["required"]) <= set(value)
            found.setdefault(channel.topic, []).append((message.log_time, value))
    return found


def test_poses_counts_and_events(tmp_path: Path) -> None:
    source = Record(record(tmp_path / "r.record"))
    count = write_mcap(source, tmp_path / "r.mcap")
    found = content(tmp_path / "r.mcap")
    assert sum(len(messages) for messages in found.values()) == count
    assert len(found["/pose/ReferenceToTracker"]) == 200
    probe = found["/pose/ProbeToTracker"]
    assert len(probe) == 200 - 14  # silent from 1.5 to 1.8 s
    for log_ns, pose in (probe[0], probe[100], probe[-1]):
        assert (pose["parent_frame_id"], pose["child_frame_id"]) == ("Tracker", "Probe")
        assert pose["timestamp"]["sec"] * 10**9 + pose["timestamp"]["nsec"] == log_ns
        expected = probe_at(log_ns * 1e-9 - EPOCH_S)[:3, 3]
        np.testing.assert_allclose([pose["translation"][k] for k in "xyz"], expected, atol=1e-4)
        assert pose["rotation"] == {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
    counts = [message for _, message in found["/counts"]]
    assert [c["seq"] for c in counts] == list(range(1, 40))
    assert [c["counts"] for c in counts] == [10.0 + i % 7 for i in range(1, 40)]
    assert counts[-1]["counts_total"] == sum(10.0 + i % 7 for i in range(1, 40))
    assert counts[0]["rate_cps"] == pytest.approx(110.0)
    marks = [m["message"] for _, m in found["/events"]]
    assert len(marks) == 3
    assert '"scan-1"' in marks[0]


def test_a_rotation_is_the_pose_of_the_child(tmp_path: Path) -> None:
    """And a tool out of view is no transform: its status is told, once."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [20, -40, 100], degrees=True).as_matrix()
    with Recorder(tmp_path / "r.gnav", {"nuclide": "Tc-99m", "simulated": True}) as recorder:
        for i in range(30):
            status = PoseStatus.OUT_OF_VIEW if 10 <= i < 20 else PoseStatus.OK
            matrix[0, 3] = i
            t_s = 5.0 + STEP_S * i
            sample = PoseSample("StylusToReference", t_s, matrix, status)
            recorder.append("t", t_s, "raw", encode(pose_message(sample, version=2)))
    write_mcap(Record(tmp_path / "r.gnav"), tmp_path / "r.mcap")
    found = content(tmp_path / "r.mcap")
    poses = [m for _, m in found["/pose/StylusToReference"]]
    assert [p["translation"]["x"] for p in poses] == [*map(float, range(10)), *map(float, range(20, 30))]
    turned = Rotation.from_quat([poses[0]["rotation"][k] for k in "xyzw"]).as_matrix()
    np.testing.assert_allclose(turned, matrix[:3, :3], atol=1e-6)
    told = [(m["status"], m["valid"]) for _, m in found["/status/StylusToReference"]]
    assert told == [("OK", True), ("OUT_OF_VIEW", False), ("OK", True)]
    with (tmp_path / "r.mcap").open("rb") as stream:
        metadata = next(iter(make_reader(stream).iter_metadata())).metadata
    assert metadata["Simulation"] == "SIMULATION"
    assert metadata["length_unit"] == "mm"


def test_one_scan_of_several(tmp_path: Path) -> None:
    source = Record(record(tmp_path / "r.record"))
    write_mcap(source, tmp_path / "r.mcap", phases_of(source)["scan-1"])
    found = content(tmp_path / "r.mcap")
    assert len(found["/counts"]) == 20
    assert len(found["/events"]) == 2  # its start and its stop


def test_without_the_package_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Record(record(tmp_path / "r.record"))
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    with pytest.raises(SurroundingsError, match=r"needs the package mcap: pip install"):
        write_mcap(source, tmp_path / "r.mcap")
    assert not (tmp_path / "r.mcap").exists()
