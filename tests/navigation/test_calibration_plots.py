"""Pictures of calibrations: drawn for good and refused ones, from the right points, and never at the result's cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.physics.nuclide import nuclide
from calibration.probe.collimator import Collimator
from calibration.probe.detector import calibrate
from calibration.tip.axis import calibrate_axis
from calibration.tip.pivot import calibrate_pivot
from navigation.cli.main import run
from navigation.plots.axis import axis_plots, spin_angles_rad
from navigation.plots.detector import detector_plots, known_response, profile_distances, standardised
from navigation.plots.latency import latency_plots
from navigation.plots.pivot import pivot_plots, residuals_of, used_poses
from navigation.plots.sweep import latency_profile, model_counts, seen_sweep, sweep_plots
from tests.navigation.scan_model import grid_of
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan

PROBE = Collimator(0.8, 5.0, 5.0, 10.0, 3.2, 7.0, 0.3, 0.05)
TIP_MM = np.array([10.0, -12.0, 130.0])
SOURCE_MM = np.array([5.0, 6.0, 7.0])
LATENCY_S, ACTIVITY_KBQ = 0.11, 3000.0


def png_size(path: Path) -> tuple[int, int]:
    """Width and height from a PNG's own header."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def red_pixels(path: Path) -> int:
    """How many pixels have the colour of the word REFUSED's box."""
    import matplotlib.image

    picture = np.rint(255 * matplotlib.image.imread(path)[..., :3])
    return int((np.abs(picture - [0x8B, 0x1A, 0x1A]) <= 2).all(axis=-1).sum())


def pivoting(n: int = 60, half_angle_deg: float = 35.0, slips: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(3)
    turn = rng.uniform(0.0, 2 * np.pi, n)
    tilt = np.radians(half_angle_deg) * np.sqrt(rng.uniform(0.0, 1.0, n))
    vectors = tilt[:, None] * np.stack([np.cos(turn), np.sin(turn), np.zeros(n)], axis=1)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(vectors).as_matrix()
    poses[:, :3, 3] = -poses[:, :3, :3] @ TIP_MM + rng.normal(0.0, 0.1, (n, 3))
    for k in slips:
        poses[k, :3, 3] += 6.0
    return poses


def spinning(n: int = 80) -> np.ndarray:
    poses = np.tile(np.eye(4), (n, 1, 1))
    angles = np.radians(np.linspace(0.0, 150.0, n))
    sway = np.radians(0.5) * np.sin(np.linspace(0.0, 20.0, n))
    vectors = Rotation.from_rotvec(sway[:, None] * [1.0, 0.0, 0.0]) * Rotation.from_rotvec(
        angles[:, None] * [0.0, 0.0, 1.0]
    )
    poses[:, :3, :3] = vectors.as_matrix()
    return poses


def test_pivot_pictures_mark_the_poses_that_slipped(tmp_path: Path) -> None:
    poses = pivoting(slips=(11, 40))
    result = calibrate_pivot(poses)
    assert result.outliers == 2
    assert result.tip_offset_mm is not None
    assert result.pivot_point_mm is not None
    left = residuals_of(poses, result.tip_offset_mm, result.pivot_point_mm)
    assert list(np.flatnonzero(~used_poses(left, result.outliers))) == [11, 40]
    for path in pivot_plots(tmp_path / "tip.json", poses, result.as_json()):
        assert png_size(path) == (1755, 1248)
        assert red_pixels(path) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tip-coverage.png", "tip-residuals.png"]


def test_a_refused_pivot_is_drawn_and_says_so(tmp_path: Path) -> None:
    content = calibrate_pivot(pivoting(half_angle_deg=6.0)).as_json()
    assert content["accepted"] is False
    paths = pivot_plots(tmp_path / "tip.json", pivoting(half_angle_deg=6.0), content)
    # The box is some 130 by 30 pixels at least, part of them white letters.
    assert all(red_pixels(path) > 2000 for path in paths)


def test_no_pose_at_all_still_leaves_a_page(tmp_path: Path) -> None:
    none = np.zeros((0, 4, 4))
    paths = pivot_plots(tmp_path / "tip.json", none, calibrate_pivot(none).as_json())
    assert all(red_pixels(path) > 2000 for path in paths)


def test_spin_angle_is_the_turn_about_the_axis(tmp_path: Path) -> None:
    poses = spinning()
    content = calibrate_axis(poses, np.array([0.0, 0.0, 120.0])).as_json()
    angles = np.degrees(spin_angles_rad(poses, np.array(content["axis"])))
    # Swayed by half a degree, a spin of 150 degrees stays one of 150 degrees.
    assert angles[-1] == pytest.approx(150.0, abs=1.0)
    (path,) = axis_plots(tmp_path / "axis.json", poses, content)
    assert png_size(path) == (1755, 1248)


@pytest.fixture(scope="module")
def probe() -> dict[str, object]:
    return calibrate(grid_of(PROBE), nuclide("Tc-99m"), simulated=True)


def test_detector_pictures_show_the_residuals_of_the_written_result(
    probe: dict[str, object], tmp_path: Path
) -> None:
    grid = grid_of(PROBE)
    response = known_response(probe, tmp_path / "probe.json")
    assert response is not None
    # Counting noise alone: the mean square of 168 standardised residuals is 1 to within 5 of its own errors.
    mean_square = float((standardised(grid, response) ** 2).mean())
    assert mean_square == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / 168))
    assert profile_distances(grid) == [2.0, 20.0, 40.0, 100.0]
    paths = detector_plots(tmp_path / "probe.json", grid, probe)
    names = [p.name for p in paths]
    assert names == ["probe-response.png", "probe-residuals.png", "probe-attenuation.png"]
    assert all(png_size(p) == (1755, 1248) for p in paths)


def test_a_grid_that_is_no_calibration_is_drawn_as_measured(tmp_path: Path) -> None:
    grid = grid_of(PROBE).take(np.arange(5))
    content = calibrate(grid, nuclide("Tc-99m"))
    assert content["accepted"] is False
    (path,) = detector_plots(tmp_path / "probe.json", grid, content)
    assert red_pixels(path) > 2000


def sweep(seed: int = 0) -> Scan:
    """The tip's frame itself passes the source by some 25 mm; 200 windows that a counter stamps 110 ms late."""
    t = np.arange(0.0, 24.0, 0.02)
    poses = np.tile(np.eye(4), (len(t), 1, 1))
    poses[:, :3, 3] = SOURCE_MM - path_of(t)
    end = np.arange(1.0, 22.0, 0.1)
    inner = path_of((end[:, None] - 0.1 + 0.01 * (np.arange(10) + 0.5)).ravel())
    rate = ACTIVITY_KBQ * PROBE.response(np.hypot(inner[:, 0], inner[:, 1]), inner[:, 2]).reshape(
        -1, 10
    ).mean(axis=1)
    counts = np.random.default_rng(seed).poisson(0.1 * (rate + 2.0)).astype(float)
    table = CountTable(end + LATENCY_S, counts, np.full(len(end), 0.1))
    return Scan("Tc-99m", None, TIP_POSES, PoseTable(t, poses), table, simulated=True)


def path_of(t: np.ndarray) -> np.ndarray:
    """(n, 3): the source in the tip frame."""
    return np.stack([22 * np.sin(1.9 * t), 18 * np.sin(1.3 * t + 1), 28 + 10 * np.sin(0.4 * t)], axis=1)


def swept(probe: dict[str, object]) -> dict[str, object]:
    """A result as `detector-scan` writes it, with the truth in it."""
    return probe | {
        "T_nominaltip_probetip": np.eye(4).tolist(),
        "count_latency_s": LATENCY_S,
        "count_latency_ci95_s": [LATENCY_S - 0.003, LATENCY_S + 0.003],
        "standard_errors": {
            "count_latency_s": 0.0015,
            "axis_deg": [0.4, 0.5],
            "centre_across_mm": [0.2, 0.2],
            "centre_along_mm": None,
            "scale_relative": 0.01,
        },
        "correction": {"tilt_deg": 0.3, "shift_mm": [0.2, -0.1, 0.0]},
        "sweep": {"activity_kbq": ACTIVITY_KBQ, "background_cps": 2.0, "chi2_per_dof": 1.0},
    }


def test_sweep_pictures_hold_the_model_of_the_result(probe: dict[str, object], tmp_path: Path) -> None:
    content, scan = swept(probe), sweep()
    response = known_response(content, tmp_path / "probe-2.json")
    seen = seen_sweep(scan, SOURCE_MM, content)
    assert response is not None
    assert seen is not None
    expected = model_counts(seen, response, content, LATENCY_S)
    chi2 = float(((seen.counts - expected) ** 2 / expected).sum()) / len(expected)
    # 200 windows: chi2/dof is 1 +- 0.1; the fitted response adds its percent.
    assert chi2 == pytest.approx(1.0, abs=0.5)
    latencies, drop = latency_profile(seen, response, content)
    # 30 such sweeps scatter by 1.5 ms; the profile reaches 6 ms to either side.
    assert latencies[int(np.argmin(drop))] == pytest.approx(LATENCY_S, abs=0.0055)
    assert drop.min() == 0.0
    paths = sweep_plots(tmp_path / "probe-2.json", scan, SOURCE_MM, content)
    assert [p.name for p in paths] == ["probe-2-sweep.png", "probe-2-latency.png"]


def test_an_undetermined_latency_has_its_picture(tmp_path: Path) -> None:
    content = {"count_latency_s": None, "ci95_s": None, "determined": False, "reasons": ["no peak"]}
    (path,) = latency_plots(tmp_path / "latency.json", content)
    assert png_size(path)[0] == 1755


def pose_file(folder: Path) -> Path:
    rows = ["t_s," + ",".join(f"m{i}{j}" for i in range(4) for j in range(4))]
    rows += [f"{k}," + ",".join(f"{v:.9f}" for v in pose.ravel()) for k, pose in enumerate(pivoting())]
    file = folder / "poses.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_a_fault_of_the_drawing_costs_neither_result_nor_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> list[Path]:
        raise ZeroDivisionError("no ink")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("navigation.plots.pivot.pivot_plots", broken)
    out = tmp_path / "tip.json"
    assert run(["calibrate", "pivot", str(pose_file(tmp_path)), "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["accepted"] is True
    assert "no ink" in capsys.readouterr().err


def test_pictures_lie_beside_the_result_unless_not_wanted(tmp_path: Path) -> None:
    poses = pose_file(tmp_path)
    assert run(["calibrate", "pivot", str(poses), "--out", str(tmp_path / "a" / "tip.json")]) == 0
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["tip-coverage.png", "tip-residuals.png", "tip.json"]
    assert (
        run(["calibrate", "pivot", str(poses), "--no-plots", "--out", str(tmp_path / "b" / "tip.json")]) == 0
    )
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["tip.json"]
