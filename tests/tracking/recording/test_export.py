"""A phase of a record becomes a scan folder with the poses and counts that the live engine saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tracking.recording.scene import (
    EPOCH_S,
    HIDDEN,
    STEP_S,
    messages,
    probe_at,
    record,
    reference_at,
    shifted,
)
from tracking.errors import InputError
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message
from tracking.igtl.poses import pose_message
from tracking.recording import Recorder
from tracking.recording.export import Phase, export_scan, export_scans, open_scan, phases_of
from tracking.recording.reader import Record
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.scanfolder import read_scan, readings_of, write_scan


def test_phases(tmp_path: Path) -> None:
    found = phases_of(Record(record(tmp_path / "r.record")))
    assert found == {
        "scan-1": Phase("scan-1", EPOCH_S + 0.5, EPOCH_S + 2.5),
        "scan-2": Phase("scan-2", EPOCH_S + 3.0, np.inf),
    }


def test_a_phase_as_a_scan(tmp_path: Path) -> None:
    scan = export_scan(record(tmp_path / "r.record"), "scan-1")
    assert (scan.nuclide, scan.pose_name, scan.simulated) == ("Tc-99m", "ProbeToReference", True)
    assert scan.reference_time == "2023-11-14T22:13:20+00:00"  # Unix 1.7e9
    # Windows that lie wholly between 0.5 and 2.5 s end at 0.6 ... 2.5; interval i holds 10 + i % 7 counts.
    np.testing.assert_allclose(scan.counts.t_s, 0.1 * np.arange(6, 26), atol=1e-6)
    assert scan.counts.counts.tolist() == [10.0 + i % 7 for i in range(6, 26)]
    seen = scan.poses.visible
    np.testing.assert_allclose(scan.poses.t_s[[0, -1]], [0.0, 3.0 - STEP_S], atol=STEP_S + 1e-6)
    expected = np.stack([probe_at(t)[:3, 3] - reference_at(t)[:3, 3] for t in scan.poses.t_s[seen]])
    np.testing.assert_allclose(scan.poses.matrices[seen, :3, 3], expected, atol=1e-4)  # float32 on the wire


def test_an_export_reads_back_and_keeps_its_gap(tmp_path: Path) -> None:
    scan = export_scan(record(tmp_path / "r.record"), "scan-1", T_probe_probetip=shifted(0.0, 0.0, 100.0))
    write_scan(scan, tmp_path / "scan-1")
    again = read_scan(tmp_path / "scan-1")
    assert again.pose_name == "ProbeTipToReference"
    readings = readings_of(again)
    # Silent from 1.5 to 1.8 s: the windows ending at 1.6, 1.7 and 1.8 reach into it, and only they.
    hidden = (again.counts.t_s > HIDDEN[0] + 1e-3) & (again.counts.t_s - 0.1 < HIDDEN[1] - 1e-3)
    assert hidden.sum() == 3
    assert readings.unplaced == 3
    z = -3.0 - 1.0 + 100.0
    np.testing.assert_allclose(readings.poses[:, 2, 3], z, atol=1e-4)


def test_the_head_may_hold_the_tip(tmp_path: Path) -> None:
    path = record(
        tmp_path / "r.record", {"T_probe_probetip": shifted(0, 0, 50).tolist(), "dead_time_s": 1e-5}
    )
    scan = export_scan(path, "scan-2")
    assert (scan.pose_name, scan.dead_time_s) == ("ProbeTipToReference", 1e-5)
    np.testing.assert_allclose(scan.poses.matrices[0, 2, 3], -4.0 + 50.0, atol=1e-4)


def test_a_start_may_tell_latency_and_surface(tmp_path: Path) -> None:
    """They are this scan's own: the head's latency serves the scans that tell none."""
    surface = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5]]
    path = tmp_path / "r.record"
    marks = [("scan-1", {"count_latency_s": 0.09, "surface_mm": surface}), ("scan-2", {})]
    with Recorder(path, {"nuclide": "Tc-99m", "count_latency_s": 0.05}) as recorder:
        for i, (name, extra) in enumerate(marks):
            for action, t_s in (("start", EPOCH_S + 0.5 + i), ("stop", EPOCH_S + 1.5 + i)):
                mark = {"phase": name, "action": action, "t_s": t_s, **(extra if action == "start" else {})}
                recorder.append("engine", t_s, "phase", json.dumps(mark).encode())
        for source, arrival_s, raw in messages():
            recorder.append(source, arrival_s, "raw", raw)
    one, two = export_scans(Record(path), phases_of(Record(path)).values())
    assert one.surface_mm is not None
    assert one.surface_mm.tolist() == surface
    assert two.surface_mm is None
    assert (one.count_latency_s, two.count_latency_s) == (0.09, 0.05)
    own = export_scan(path, "scan-1", surface_mm=np.zeros((3, 3)))
    assert not np.any(own.surface_mm)


def test_one_lost_frame_stays_lost(tmp_path: Path) -> None:
    """Of a gap of two intervals only the middle is near both sides: no count over it is placed, live or later."""
    with Recorder(tmp_path / "r.record", {"nuclide": "Tc-99m"}) as recorder:
        recorder.append(
            "engine", 5.0, "phase", json.dumps({"phase": "a", "action": "start", "t_s": 5.0}).encode()
        )
        for i in range(100):
            status = PoseStatus.OUT_OF_VIEW if i == 40 else PoseStatus.OK
            sample = PoseSample("ProbeToReference", 5.0 + 0.02 * i, shifted(float(i), 0.0, 5.0), status)
            recorder.append("t", sample.t_s, "raw", encode(pose_message(sample, version=2)))
        for i in range(1, 20):
            counts = CountSample(5.0 + 0.1 * i, i, 3.0, 0.1, 3.0 * i, 0.1 * i)
            recorder.append("p", counts.t_s, "raw", encode(counts_sensor_message(counts)))
    scan = export_scan(tmp_path / "r.record", "a")
    assert np.flatnonzero(~scan.poses.visible).tolist() == [40]
    # It lies at 0.8 s: the windows that end there and begin there.
    assert readings_of(scan, T_probe_probetip=np.eye(4)).unplaced == 2


def test_a_head_that_describes_no_sources_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "r.record", {"settings": {"sources": {"tracker": {"poses": True}}}})
    with pytest.raises(InputError, match=r"r\.record: its head does not describe its sources"):
        export_scan(path, "scan-1")


def test_a_source_sends_what_the_case_allowed(tmp_path: Path) -> None:
    roles = {"tracker": {"poses": True, "counts": False}, "probe": {"poses": False, "counts": False}}
    path = record(tmp_path / "r.record", {"settings": {"sources": roles}})
    with pytest.raises(InputError, match="no counts in scan-1"):
        export_scan(path, "scan-1")


def test_any_stretch_can_be_cut_out(tmp_path: Path) -> None:
    scan = export_scan(record(tmp_path / "r.record"), Phase("mine", EPOCH_S + 1.0, EPOCH_S + 1.35))
    np.testing.assert_allclose(scan.counts.t_s, [1.1, 1.2, 1.3], atol=1e-6)


def test_a_scan_is_a_folder_or_a_record(tmp_path: Path) -> None:
    path = record(tmp_path / "r.record")
    named = open_scan(tmp_path / "r.record#scan-2")
    np.testing.assert_allclose(named.counts.t_s, 0.1 * np.arange(31, 40), atol=1e-6)
    write_scan(named, tmp_path / "folder")
    np.testing.assert_array_equal(open_scan(tmp_path / "folder").counts.counts, named.counts.counts)
    with pytest.raises(InputError, match=r"holds scan-1, scan-2; name one as r\.record#NAME"):
        open_scan(path)
    with pytest.raises(InputError, match="no such scan folder or record"):
        open_scan(tmp_path / "none")


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "r.record")
    with pytest.raises(InputError, match=r"r\.record: has no phase 'scan-9'"):
        export_scan(path, "scan-9")
    with pytest.raises(InputError, match="no counts in late"):
        export_scan(path, Phase("late", EPOCH_S + 99.0, EPOCH_S + 100.0))
    bad = record(tmp_path / "bad.record", {"T_probe_probetip": np.zeros((4, 4)).tolist()})
    with pytest.raises(InputError, match="T_probe_probetip: last row"):
        export_scan(bad, "scan-1")
    nameless = record(tmp_path / "nameless.record", {"nuclide": None})
    with pytest.raises(InputError, match="names no nuclide"):
        export_scan(nameless, "scan-1")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"{", r"event 1 \(phase\): not JSON"),
        (b"[]", r"event 1 \(phase\): not a JSON object"),
        (json.dumps({"phase": "a", "action": "stop"}).encode(), "not a start or stop of a phase"),
        (json.dumps({"phase": "a", "action": "start", "t_s": "now"}).encode(), "t_s is 'now', not a number"),
    ],
)
def test_bad_phase_events_are_named(tmp_path: Path, payload: bytes, message: str) -> None:
    path = tmp_path / "r.record"
    with Recorder(path, {}) as recorder:
        recorder.append("engine", 1.0, "phase", payload)
    with pytest.raises(InputError, match=message):
        phases_of(Record(path))
