"""Scan folders: every malformed thing named in one line, real recordings read fast and placed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tracking.errors import GateRefusedError, InputError
from tracking.scanfolder import read_scan, readings_of, tip_poses, write_scan
from tracking.tip import frame_along, read_tip, tip_matrix

POSE_HEADER = "t_s," + ",".join(f"m{i}{j}" for i in range(4) for j in range(4))
HEAD = {"nuclide": "Tc-99m", "pose": "ProbeTipToReference", "reference_time": "2026-01-01T10:00:00Z"}
N_POSES, N_COUNTS = 60, 25


def pose_row(i: int) -> str:
    return f"{0.05 * i:.3f},1,0,0,{1.5 * i:.3f},0,1,0,0,0,0,1,5,0,0,0,1"


def count_row(i: int) -> str:
    return f"{0.2 + 0.1 * i:.3f},{i},0.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A probe that moves at 30 mm/s along x for 3 s, counted every 0.1 s from 0.1 s on."""
    place = tmp_path / "scan"
    place.mkdir()
    (place / "scan.json").write_text(json.dumps(HEAD))
    (place / "poses.csv").write_text("\n".join([POSE_HEADER, *map(pose_row, range(N_POSES))]) + "\n")
    (place / "counts.csv").write_text(
        "\n".join(["t_s,counts,window_s", *map(count_row, range(N_COUNTS))]) + "\n"
    )
    return place


def rewrite(path: Path, row: int, change: Callable[[str], str]) -> None:
    """Change one line of a file; row 1 is the header."""
    lines = path.read_text().splitlines()
    lines[row - 1] = change(lines[row - 1])
    path.write_text("\n".join(lines) + "\n")


def put(path: Path, row: int, column: int, value: str) -> None:
    def change(line: str) -> str:
        fields = line.split(",")
        fields[column] = value
        return ",".join(fields)

    rewrite(path, row, change)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_scan(folder)
    assert "\n" not in str(caught.value)


def test_a_good_folder(folder: Path) -> None:
    scan = read_scan(folder)
    assert (scan.nuclide, scan.pose_name) == ("Tc-99m", "ProbeTipToReference")
    assert scan.reference_time == "2026-01-01T10:00:00Z"
    assert (scan.dead_time_s, scan.count_latency_s, scan.surface_mm, scan.tip) == (None, None, None, None)
    assert not scan.simulated
    readings = readings_of(scan)
    assert (len(readings), readings.unplaced) == (N_COUNTS, 0)
    np.testing.assert_allclose(readings.poses[:, 0, 3], 30.0 * readings.t_s, atol=1e-9)


def test_optional_keys_and_files(folder: Path) -> None:
    extra = {**HEAD, "dead_time_s": 1e-5, "count_latency_s": 0.13, "simulated": True, "operator": "x"}
    (folder / "scan.json").write_text(json.dumps(extra))
    (folder / "surface.csv").write_text("x_mm,y_mm,z_mm\n1,2,3\n4,5,6\n")
    scan = read_scan(folder)
    assert (scan.dead_time_s, scan.count_latency_s, scan.simulated) == (1e-5, 0.13, True)
    assert scan.surface_mm is not None
    assert scan.surface_mm.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_column_order_windows_line_ends_and_further_columns_are_fine(folder: Path) -> None:
    text = "window_s,comment,counts,t_s\r\n" + "".join(
        f"0.1,ok,{i},{0.2 + 0.1 * i:.3f}\r\n" for i in range(20)
    )
    (folder / "counts.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_scan(folder).counts.counts.tolist() == list(range(20))


@pytest.mark.parametrize("name", ["scan.json", "poses.csv", "counts.csv"])
def test_missing_and_empty_files(folder: Path, name: str) -> None:
    (folder / name).write_text("")
    refused(folder, rf"{name}(, row 1: not JSON|: is empty)")
    (folder / name).unlink()
    refused(folder, rf"{name}: no such file")


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none: no such folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nuclide": None}, "nuclide: is missing"),
        ({"nuclide": 99}, "nuclide: is missing or not a text"),
        ({"pose": "StylusToReference"}, "pose: 'StylusToReference' is neither ProbeTipToReference"),
        ({"pose": None}, "pose: is missing"),
        ({"reference_time": "yesterday"}, "reference_time: 'yesterday' is not an ISO 8601 time"),
        ({"dead_time_s": -1e-6}, "dead_time_s: -1e-06 is below 0"),
        ({"count_latency_s": "0.1"}, "count_latency_s: '0.1' is not a number"),
        ({"simulated": "no"}, "simulated: 'no' is neither true nor false"),
    ],
)
def test_bad_head(folder: Path, change: dict[str, object], message: str) -> None:
    (folder / "scan.json").write_text(json.dumps({**HEAD, **change}))
    refused(folder, rf"scan\.json, {message}")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (12, 4, "abc", r"row 12: m03 is 'abc', not a number"),
        (12, 4, "", r"row 12: m03 is '', not a number"),
        (12, 4, "NaN", r"row 12: only part of the pose is NaN"),
        (12, 4, "inf", r"row 12: not a rigid pose: not finite"),
        (12, 1, "1.2", r"row 12: not a rigid pose: rotation part is not orthonormal"),
        (12, 1, "-1", r"row 12: not a rigid pose: rotation part is mirrored"),
        (12, 13, "0.5", r"row 12: not a rigid pose: last row"),
        (12, 0, "nan", r"row 12: t_s is not finite"),
        (12, 0, "0.1", r"row 12: t_s does not increase"),
        (12, 0, "0.45", r"row 12: t_s does not increase"),  # the time of row 11 once more
        (61, 16, "1,7", r"row 61: 18 columns, the header has 17"),
        (1, 4, "m30", r"row 1: column m03 is missing"),
        (1, 4, "m02", r"row 1: column m02 appears twice"),
    ],
)
def test_bad_poses(folder: Path, row: int, column: int, value: str, message: str) -> None:
    put(folder / "poses.csv", row, column, value)
    refused(folder, rf"poses\.csv, {message}")


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (7, 1, "-1", r"row 7: counts is negative"),
        (7, 1, "NaN", r"row 7: counts is not finite"),
        (7, 1, "many", r"row 7: counts is 'many', not a number"),
        (7, 2, "0", r"row 7: window_s is not positive"),
        (7, 2, "-0.1", r"row 7: window_s is not positive"),
        (7, 2, "inf", r"row 7: window_s is not finite"),
        (7, 0, "0.6", r"row 7: t_s does not increase"),  # row 6 once more: its counts would count twice
        (7, 0, "0.5", r"row 7: t_s does not increase"),
        (1, 1, "count", r"row 1: column counts is missing"),
    ],
)
def test_bad_counts(folder: Path, row: int, column: int, value: str, message: str) -> None:
    put(folder / "counts.csv", row, column, value)
    refused(folder, rf"counts\.csv, {message}")


def test_a_header_alone_is_no_table(folder: Path) -> None:
    (folder / "poses.csv").write_text(POSE_HEADER + "\n\n")
    refused(folder, r"poses\.csv: has a header but no rows")


def test_binary_rubbish_is_no_table(folder: Path) -> None:
    (folder / "counts.csv").write_bytes(bytes(range(128, 256)))
    refused(folder, r"counts\.csv: not UTF-8 text")


def test_a_tool_that_is_never_visible(folder: Path) -> None:
    rows = [f"{0.05 * i:.3f}" + ",NaN" * 16 for i in range(N_POSES)]
    (folder / "poses.csv").write_text("\n".join([POSE_HEADER, *rows]) + "\n")
    refused(folder, r"poses\.csv: the tool is never visible")


def test_windows_that_tell_counts_twice(folder: Path) -> None:
    rows = [f"{0.2 + 0.1 * i:.3f},{i},1.0" for i in range(N_COUNTS)]
    (folder / "counts.csv").write_text("\n".join(["t_s,counts,window_s", *rows]) + "\n")
    refused(folder, r"counts\.csv: windows of 1 s every 0\.1 s overlap")


def test_jitter_of_stamps_is_no_fault(folder: Path) -> None:
    rng = np.random.default_rng(5)
    ends = 0.2 + 0.01 * np.arange(250) + rng.exponential(0.004, 250)  # so short that stamps change order
    assert (np.diff(ends) < 0).any()
    rows = [f"{t:.6f},1,0.01" for t in ends]
    (folder / "counts.csv").write_text("\n".join(["t_s,counts,window_s", *rows]) + "\n")
    scan = read_scan(folder)
    assert (np.diff(scan.counts.t_s) > 0).all()


def test_jittered_poses_are_put_in_order(folder: Path) -> None:
    put(folder / "poses.csv", 12, 0, "0.495")  # row 11 says 0.45, row 14 says 0.6
    put(folder / "poses.csv", 13, 0, "0.49")  # 5 ms before the one above it
    scan = read_scan(folder)
    assert scan.poses.t_s[9:13].tolist() == [0.45, 0.49, 0.495, 0.6]
    assert scan.poses.matrices[9:13, 0, 3].tolist() == [13.5, 16.5, 15.0, 18.0]
    put(folder / "poses.csv", 14, 0, "0.49")  # the stamp of row 13, not next to it in time
    refused(folder, r"poses\.csv, row 14: t_s does not increase")


def test_hidden_poses_leave_their_counts_unplaced(folder: Path) -> None:
    for row in range(22, 32):  # 1.00 to 1.45 s
        rewrite(folder / "poses.csv", row, lambda line: line.split(",")[0] + ",NaN" * 16)
    readings = readings_of(read_scan(folder))
    # The last pose before lies at 0.95, the first after at 1.50: windows ending at 1.0 ... 1.5 reach between.
    assert readings.unplaced == 6
    assert len(readings) == N_COUNTS - 6


def test_no_overlap_in_time(folder: Path) -> None:
    scan = read_scan(folder)
    later = replace(scan, counts=replace(scan.counts, t_s=scan.counts.t_s + 100.0))
    with pytest.raises(InputError, match=r"poses\.csv \(0\.000 to 2\.950 s\) and counts\.csv \(100\.100"):
        readings_of(later)
    assert len(readings_of(later, latency_s=100.0)) == N_COUNTS


def test_written_folders_read_back(folder: Path, tmp_path: Path) -> None:
    rewrite(folder / "poses.csv", 20, lambda line: line.split(",")[0] + ",NaN" * 16)
    scan = replace(
        read_scan(folder), simulated=True, dead_time_s=1e-5, surface_mm=np.array([[1.0, 2.0, 3.5]])
    )
    copy = tmp_path / "copy"
    write_scan(scan, copy)
    again = read_scan(copy)
    np.testing.assert_allclose(again.poses.matrices, scan.poses.matrices, atol=1e-9)
    np.testing.assert_array_equal(again.counts.counts, scan.counts.counts)
    np.testing.assert_array_equal(again.surface_mm, scan.surface_mm)
    assert (again.simulated, again.dead_time_s, again.nuclide) == (True, 1e-5, "Tc-99m")
    with pytest.raises(InputError, match="already exists"):
        write_scan(scan, copy)
    write_scan(scan, copy, force=True)


TIP = frame_along([10.0, -5.0, 120.0], [0.0, 0.6, 0.8])


def marker_poses(folder: Path) -> None:
    (folder / "scan.json").write_text(json.dumps({**HEAD, "pose": "ProbeToReference"}))


def write(path: Path, content: dict[str, object]) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_marker_poses_take_the_folders_tip(folder: Path) -> None:
    marker_poses(folder)
    write(folder / "tip.json", {"T_probe_probetip": TIP.tolist(), "note": "nominal"})
    poses, valid = tip_poses(read_scan(folder)).sample([1.0])
    assert valid.all()
    np.testing.assert_allclose(poses[0, :3, 3], (30.0 + 10.0, -5.0, 5.0 + 120.0), atol=1e-9)
    np.testing.assert_allclose(poses[0, :3, 2], (0.0, 0.6, 0.8), atol=1e-9)


def test_marker_poses_without_a_tip(folder: Path) -> None:
    marker_poses(folder)
    with pytest.raises(InputError, match=r"tip\.json: no such file"):
        readings_of(read_scan(folder))


def test_a_given_matrix_beats_the_folders_tip(folder: Path) -> None:
    marker_poses(folder)
    write(folder / "tip.json", {"T_probe_probetip": TIP.tolist()})
    poses, _ = tip_poses(read_scan(folder), T_probe_probetip=np.eye(4)).sample([1.0])
    np.testing.assert_allclose(poses[0, :3, 3], (30.0, 0.0, 5.0), atol=1e-9)


def test_tip_and_axis_from_two_files(folder: Path, tmp_path: Path) -> None:
    marker_poses(folder)
    offset = write(tmp_path / "tip.json", {"tip_offset_mm": [10, -5, 120], "accepted": True})
    axis = write(tmp_path / "axis.json", {"axis": [0, 0.6, 0.8], "accepted": True, "reasons": []})
    scan = read_scan(folder)
    poses, _ = tip_poses(scan, [offset, axis]).sample([1.0])
    np.testing.assert_allclose(poses[0, :3, 3], (40.0, -5.0, 125.0), atol=1e-9)
    np.testing.assert_allclose(poses[0, :3, 2], (0.0, 0.6, 0.8), atol=1e-9)
    with pytest.raises(InputError, match=r"tip\.json: axis is missing"):
        tip_poses(scan, [offset])


def test_the_folders_offset_and_a_given_axis_complete_each_other(folder: Path, tmp_path: Path) -> None:
    marker_poses(folder)
    write(folder / "tip.json", {"tip_offset_mm": [10, -5, 120]})
    axis = write(tmp_path / "axis.json", {"axis": [0, 0.6, 0.8]})
    np.testing.assert_allclose(
        tip_poses(read_scan(folder), [axis]).sample([1.0])[0][0, :3, 3], (40.0, -5.0, 125.0), atol=1e-9
    )


def test_a_refused_tip_is_not_used(folder: Path) -> None:
    marker_poses(folder)
    write(folder / "tip.json", {"tip_offset_mm": [1, 2, 3], "accepted": False, "reasons": ["RMS 3.05 mm"]})
    with pytest.raises(GateRefusedError, match=r"tip\.json: .* not accepted \(RMS 3\.05 mm\)"):
        read_scan(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rms_mm": 0.1}, "has none of T_probe_probetip"),
        ({"T_probe_probetip": np.zeros((4, 4)).tolist()}, "T_probe_probetip: last row"),
        ({"T_probe_probetip": [[1, 2], [3]]}, "T_probe_probetip: not an array of numbers"),
        ({"tip_offset_mm": [1, 2]}, "tip_offset_mm: not three finite numbers"),
        ({"axis": [0, 0, 2]}, "axis: length 2, not a unit vector"),
        ({"axis": "up"}, "axis: not an array of numbers"),
    ],
)
def test_bad_tips(tmp_path: Path, content: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=rf"tip\.json[:,] {message}"):
        read_tip([write(tmp_path / "tip.json", content)])


@pytest.mark.parametrize(
    "axis", [(0, 0, 1), (1, 0, 0), (0, -1, 0), (0.6, 0.48, 0.64), (-0.577, 0.577, 0.577)]
)
def test_frames_along_any_axis_are_proper(axis: tuple[float, float, float]) -> None:
    frame = tip_matrix({"tip_offset_mm": [1, 2, 3], "axis": axis})
    np.testing.assert_allclose(frame[:3, :3].T @ frame[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(frame[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(frame[:3, 2], np.array(axis) / np.linalg.norm(axis), atol=1e-12)
    assert frame[:3, 3].tolist() == [1, 2, 3]


# What the recordings' own description says: occlusions only in occult_real, everything else is visible.
RECORDINGS = {
    "bed_after_clean": 1,
    "bed_after_remnant": 1,
    "bed_before": 1,
    "occult_ideal": 1,
    "occult_real": None,
    "source_sweep": None,
    "two_nodes": 1,
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings(test_data: Path, name: str) -> None:
    folder = test_data / "recordings" / name
    began = time.perf_counter()
    scan = read_scan(folder)
    readings = readings_of(scan, latency_s=scan.count_latency_s or 0.0)
    elapsed_s = time.perf_counter() - began
    assert len(readings) + readings.unplaced == len(scan.counts.t_s)
    expected = RECORDINGS[name]
    if expected is not None:
        assert readings.unplaced == expected  # only the last window outlasts the poses
    assert len(readings) > 0.9 * len(scan.counts.t_s)
    assert elapsed_s < 2.0  # some 15 ms on a quiet machine: catches a loop over rows, not a busy neighbour


def test_occlusions_of_a_recording_are_unplaced(test_data: Path) -> None:
    scan = read_scan(test_data / "recordings" / "occult_real")
    truth = json.loads((test_data / "recordings" / "truth" / "occult_real.json").read_text())
    latency_s = truth["recording"]["count_latency_ms"] / 1000.0
    readings = readings_of(scan, latency_s=latency_s)
    hidden = ~scan.poses.visible
    assert hidden.sum() == 70
    for t in scan.poses.t_s[hidden]:
        assert (np.abs(readings.t_s - t) > 0.05).all()  # no window of 0.1 s contains a hidden frame
    # 70 hidden frames at 20 Hz are 3.5 s or 35 windows, and up to two more at each border of four gaps.
    assert 35 <= readings.unplaced <= 35 + 8 + 2
