"""Pivot calibration: the right tip, and every bad motion refused for the right reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calibration.gates import PivotGates
from calibration.tip.pivot import calibrate_pivot, weakest_rotation_deg
from calibration.tip.posefile import read_poses
from tracking.errors import InputError

TIP_MM = np.array([-14.0, 120.0, 6.0])
PIVOT_MM = np.array([100.0, -200.0, -1500.0])


def poses_about_pivot(rotations: Rotation, rng: np.random.Generator, noise_mm: float) -> np.ndarray:
    """Marker poses whose tip stays in the pivot point up to noise."""
    matrices = np.tile(np.eye(4), (len(rotations), 1, 1))
    matrices[:, :3, :3] = rotations.as_matrix()
    matrices[:, :3, 3] = PIVOT_MM - matrices[:, :3, :3] @ TIP_MM
    matrices[:, :3, 3] += rng.normal(0.0, noise_mm, (len(rotations), 3))
    return matrices


def cone(n: int, half_angle_deg: float, rng: np.random.Generator) -> Rotation:
    """Tilts up to the half angle about random axes across the shaft, from a crooked start."""
    azimuth = rng.uniform(0.0, 2.0 * np.pi, n)
    tilt = np.radians(half_angle_deg) * np.sqrt(rng.uniform(0.0, 1.0, n))
    shaft = TIP_MM / np.linalg.norm(TIP_MM)
    x = np.cross(shaft, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    axis = np.cos(azimuth)[:, None] * x + np.sin(azimuth)[:, None] * np.cross(shaft, x)
    return Rotation.from_euler("xyz", [20, 30, -50], degrees=True) * Rotation.from_rotvec(
        tilt[:, None] * axis
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_good_pivot(rng: np.random.Generator) -> None:
    result = calibrate_pivot(poses_about_pivot(cone(300, 35.0, rng), rng, 0.1))
    assert result.accepted
    assert result.reasons == ()
    assert result.tip_offset_mm is not None
    assert result.tip_sd_mm is not None
    assert np.linalg.norm(result.tip_offset_mm - TIP_MM) < 4.0 * result.tip_sd_mm
    # 0.1 mm in each of three components
    assert result.rms_mm == pytest.approx(0.1 * np.sqrt(3.0), rel=0.1)
    assert result.rms_per_axis_mm == pytest.approx(0.1, rel=0.1)
    assert result.max_angle_deg == pytest.approx(35.0, abs=3.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_stated_error_is_the_true_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    result = calibrate_pivot(poses_about_pivot(cone(100, 30.0, rng), rng, 0.2))
    assert result.tip_offset_mm is not None
    assert result.tip_covariance_mm2 is not None
    error = result.tip_offset_mm - TIP_MM
    # chi-squared with three degrees of freedom exceeds 30 once in a million
    assert error @ np.linalg.solve(result.tip_covariance_mm2, error) < 30.0


def test_a_static_tool_is_refused(rng: np.random.Generator) -> None:
    jitter = Rotation.from_rotvec(rng.normal(0.0, np.radians(0.1), (200, 3)))
    result = calibrate_pivot(poses_about_pivot(jitter, rng, 0.1))
    assert not result.accepted
    assert "did not turn" in result.reasons[0]


def test_a_hinge_is_refused(rng: np.random.Generator) -> None:
    angles = np.radians(np.linspace(-40.0, 40.0, 200))
    hinge = Rotation.from_rotvec(angles[:, None] * np.array([0.0, 0.0, 1.0]))
    noisy = hinge * Rotation.from_rotvec(rng.normal(0.0, np.radians(0.3), (200, 3)))
    result = calibrate_pivot(poses_about_pivot(noisy, rng, 0.1))
    assert not result.accepted
    assert "one axis only" in " ".join(result.reasons)


def test_a_perfect_hinge_has_no_tip(rng: np.random.Generator) -> None:
    hinge = Rotation.from_rotvec(np.linspace(-0.7, 0.7, 50)[:, None] * np.array([0.0, 0.0, 1.0]))
    result = calibrate_pivot(poses_about_pivot(hinge, rng, 0.0))
    assert result.tip_offset_mm is None
    assert result.as_json()["tip_offset_mm"] is None
    assert "rank below 6" in " ".join(result.reasons)


def test_a_narrow_cone_is_refused(rng: np.random.Generator) -> None:
    result = calibrate_pivot(poses_about_pivot(cone(500, 6.0, rng), rng, 0.02))
    assert "tilt" in " ".join(result.reasons)


def test_a_slipping_tip_is_refused(rng: np.random.Generator) -> None:
    matrices = poses_about_pivot(cone(100, 30.0, rng), rng, 0.05)
    matrices[50:, :3, 3] += [3.0, 0.0, 0.0]
    assert "3D RMS" in " ".join(calibrate_pivot(matrices).reasons)
    assert calibrate_pivot(matrices, PivotGates(max_rms_mm=2.0, max_tip_sd_mm=2.0)).accepted


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_few_poses_are_refused(rng: np.random.Generator, n: int) -> None:
    result = calibrate_pivot(poses_about_pivot(cone(n, 30.0, rng), rng, 0.0) if n else np.zeros((0, 4, 4)))
    assert not result.accepted
    assert f"{n} usable poses" in result.reasons[0]
    assert (result.tip_offset_mm is None) == (n < 9)


def test_weakest_rotation_of_a_ring() -> None:
    # Tilts of 10 degrees all round z have a mean square of 10^2 / 2 about x and about y: x and y of the tip
    # each see one of the two, z sees both.
    azimuth = np.linspace(0.0, 2.0 * np.pi, 36, endpoint=False)
    axes = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(36)], axis=1)
    matrices = np.tile(np.eye(4), (36, 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(np.radians(10.0) * axes).as_matrix()
    assert weakest_rotation_deg(matrices) == pytest.approx(10.0 / np.sqrt(2.0), rel=0.01)


def test_the_real_bad_calibration(test_data: Path) -> None:
    poses = read_poses(test_data / "sks_pivot")
    result = calibrate_pivot(poses.matrices)
    # from the data's own SOURCE.md
    np.testing.assert_allclose(result.tip_offset_mm, [-14.473, 394.634, -7.407], atol=0.01)
    np.testing.assert_allclose(result.pivot_point_mm, [-804.742, -85.474, -2112.131], atol=0.01)
    assert result.rms_per_axis_mm == pytest.approx(1.761, abs=0.01)
    assert result.rms_mm == pytest.approx(3.05, abs=0.01)
    assert result.max_angle_deg == pytest.approx(19.4, abs=0.1)
    assert result.poses == 57
    assert not result.accepted


def test_invalid_frames_of_a_sequence_are_never_used(test_data: Path) -> None:
    folder = test_data / "plus_timing"
    wire = read_poses(folder / "NwirePhantomFreehandCropped.igs.mha")
    assert wire.source == "StylusToTracker"
    assert len(wire.matrices) == 0
    assert wire.skipped == {"INVALID": 20}
    interpolation = read_poses(folder / "TransformInterpolationTest.igs.mha")
    assert interpolation.source == "ProbeToTracker"
    # Frame 7 alone; the first two frames are the same to the bit.
    assert interpolation.skipped == {"INVALID": 1, "repeated": 1}
    assert len(interpolation.matrices) == 498
    reference = read_poses(folder / "TransformInterpolationTest.igs.mha", "ReferenceToTracker")
    assert reference.skipped["identity"] == 1  # frame 7 again, and no status says so
    assert not any(np.array_equal(m, np.eye(4)) for m in interpolation.matrices)


def test_a_tracker_that_says_identity_says_nothing(test_data: Path) -> None:
    file = test_data / "plus_timing" / "TimestampFilteringTest.igs.mha"
    poses = read_poses(file)
    assert len(poses.matrices) == 0
    assert poses.skipped == {"identity": 500}


def sequence(tmp_path: Path, statuses: list[str]) -> Path:
    lines = ["ObjectType = Image", "NDims = 3"]
    for frame, status in enumerate(statuses):
        lines.append(f"Seq_Frame{frame:04d}_ToolToTrackerTransform = 1 0 0 {frame} 0 1 0 0 0 0 1 5 0 0 0 1")
        if status:
            lines.append(f"Seq_Frame{frame:04d}_ToolToTrackerTransformStatus = {status}")
    path = tmp_path / "a.mha"
    path.write_text("\n".join([*lines, "ElementDataFile = LOCAL"]) + "\n\0\0")
    return path


def test_unknown_words_are_not_trusted(tmp_path: Path) -> None:
    poses = read_poses(sequence(tmp_path, ["OK", "", "MISSING", "FINE", "OUT_OF_VIEW", "UNKNOWN", "Ok"]))
    assert poses.matrices[:, 0, 3].tolist() == [0.0, 5.0, 6.0]
    assert poses.skipped == {"MISSING": 1, "FINE": 1, "OUT_OF_VIEW": 1, "no status": 1}


def test_where_no_frame_has_a_status_the_matrices_speak(tmp_path: Path) -> None:
    poses = read_poses(sequence(tmp_path, ["", "", ""]))
    assert poses.matrices[:, 0, 3].tolist() == [0.0, 1.0, 2.0]


def test_choosing_a_transform(tmp_path: Path) -> None:
    path = sequence(tmp_path, ["OK"])
    assert read_poses(path, "ToolToTracker").source == "ToolToTracker"
    with pytest.raises(InputError, match="it holds ToolToTracker"):
        read_poses(path, "StylusToTracker")


HEADER = "t_s," + ",".join(f"m{i}{j}" for i in range(4) for j in range(4))
ROW = "1,0,0,{x},0,1,0,0,0,0,1,5,0,0,0,1"


def test_csv_with_and_without_time_and_header(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for text in (
        f"{HEADER}\n0.0,{ROW.format(x=1)}\n0.1,{ROW.format(x=2)}\n",
        f"{HEADER[4:]}\n{ROW.format(x=1)}\n{ROW.format(x=2)}\n",
        f"# comment\n{ROW.format(x=1)}\n\n{ROW.format(x=2)}\n",
    ):
        path.write_text(text)
        assert read_poses(path).matrices[:, 0, 3].tolist() == [1.0, 2.0]


def test_csv_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    identity, lost = "1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1", ",".join(["nan"] * 16)
    scaled = "2,0,0,1,0,2,0,0,0,0,2,5,0,0,0,1"
    mirrored = "-1,0,0,1,0,1,0,0,0,0,1,5,0,0,0,1"
    rows = [ROW.format(x=1), ROW.format(x=1), identity, lost, scaled, mirrored, ROW.format(x=1)]
    path.write_text(HEADER[4:] + "\n" + "\n".join(rows))
    poses = read_poses(path)
    assert poses.skipped == {"repeated": 2, "identity": 1, "not visible": 1, "not rigid": 2}
    assert len(poses.matrices) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a,b,c\n", "row 1: columns m00"),
        (HEADER.replace("m22,", "") + "\n", "m22 is missing"),
        (f"{HEADER}\n0.0,1,2\n", "row 2: 3 cells"),
        (f"{HEADER}\n0.0,{ROW.format(x='one')}\n", "row 2: not a number"),
        (f"{HEADER}\n0.0,{ROW.format(x='nan')}\n", "row 2: some elements are NaN"),
    ],
)
def test_malformed_csv_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_poses(path)


def test_malformed_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_poses(tmp_path / "none")
    with pytest.raises(InputError, match=r"no \.txt file"):
        read_poses(tmp_path)
    (tmp_path / "1.txt").write_text("1 0 0\n")
    with pytest.raises(InputError, match=r"1\.txt: not a 4x4"):
        read_poses(tmp_path)
    (tmp_path / "1.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"1\.txt: not a text file"):
        read_poses(tmp_path)


def bodies_about_pivot(rng: np.random.Generator, n: int, fle_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Poses (n, 4, 4) of a four-sphere body 160 mm off its tip in a 35 degree cone, and that tip (3,).

    Each pose is the Kabsch fit to spheres displaced by `fle_mm` (3D RMS), as a camera's would be.
    """
    spheres = np.array([[-30.0, -30.0, 0.0], [30.0, -30.0, 0.0], [30.0, 30.0, 0.0], [-30.0, 30.0, 0.0]])
    tip = np.array([0.0, 0.0, -160.0])
    azimuth = rng.uniform(0.0, 2.0 * np.pi, n)
    tilt = np.radians(35.0) * np.sqrt(rng.uniform(0.0, 1.0, n))
    turned = Rotation.from_rotvec(
        tilt[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth), 0.0 * tilt], axis=1)
    ).as_matrix()
    matrices = np.tile(np.eye(4), (n, 1, 1))
    for matrix, rotation in zip(matrices, turned, strict=True):
        seen = (
            spheres @ rotation.T - rotation @ tip + PIVOT_MM + rng.normal(0.0, fle_mm / np.sqrt(3.0), (4, 3))
        )
        u, _, vt = np.linalg.svd(spheres.T @ (seen - seen.mean(axis=0)))
        flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        matrix[:3, :3] = vt.T @ flip @ u.T
        matrix[:3, 3] = seen.mean(axis=0)
    return matrices, tip


def test_the_tip_of_a_four_sphere_body() -> None:
    errors, chi2 = [], []
    for seed in range(80):
        matrices, tip = bodies_about_pivot(np.random.default_rng(seed), 200, 0.25)
        # The gate of 0.5 mm is another question: at 160 mm this body's noise alone comes to 0.56 mm 3D RMS.
        result = calibrate_pivot(matrices, PivotGates(max_rms_mm=1.0))
        error = result.tip_offset_mm - tip
        errors.append(float(np.linalg.norm(error)))
        chi2.append(float(error @ np.linalg.solve(result.tip_covariance_mm2, error)))
        assert result.accepted
    assert np.percentile(errors, 95) <= 0.13
    # The mean of 80 chi-squared values of 3 degrees is 3 with a standard error of sqrt(6 / 80) = 0.27: four of them.
    assert np.mean(chi2) == pytest.approx(3.0, abs=1.1)


def test_a_pose_in_twenty_that_slipped_moves_nothing_and_is_told() -> None:
    shifts, told = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        matrices = poses_about_pivot(cone(200, 30.0, rng), rng, 0.1)
        clean = calibrate_pivot(matrices)
        away = rng.normal(size=(10, 3))
        matrices[:200:20, :3, 3] += 5.0 * away / np.linalg.norm(away, axis=1)[:, None]
        result = calibrate_pivot(matrices)
        assert result.accepted
        told.append(result.as_json()["outliers"])
        shifts.append(float(np.linalg.norm(result.tip_offset_mm - clean.tip_offset_mm)))
    assert np.median(shifts) <= 0.2
    # 5 mm is fifty standard deviations, so each slip is seen; noise beyond five of them is one in 10^5.
    assert told == [10] * 30


def test_slips_all_in_one_direction_are_found_too(rng: np.random.Generator) -> None:
    matrices = poses_about_pivot(cone(200, 30.0, rng), rng, 0.1)
    matrices[:10, :3, 3] += [5.0, 0.0, 0.0]
    assert calibrate_pivot(matrices).outliers == 10
    # Equal weights are dragged along: the residual alone is then 5 mm sqrt(0.05) = 1.1 mm.
    assert "3D RMS" in " ".join(calibrate_pivot(matrices, method="aos").reasons)


def test_slips_do_not_move_a_tip_that_another_gate_refuses() -> None:
    matrices, tip = bodies_about_pivot(np.random.default_rng(3), 200, 0.25)
    matrices[:10, :3, 3] += [5.0, 0.0, 0.0]
    result = calibrate_pivot(matrices)
    # At 160 mm this body's noise exceeds 0.5 mm; the tip told beside the reason is still the true one.
    assert not result.accepted
    assert result.outliers >= 10
    assert np.linalg.norm(result.tip_offset_mm - tip) < 0.2


def test_more_than_few_slips_are_no_outliers(rng: np.random.Generator) -> None:
    matrices = poses_about_pivot(cone(200, 30.0, rng), rng, 0.1)
    matrices[:30, :3, 3] += [5.0, 0.0, 0.0]
    result = calibrate_pivot(matrices)
    assert result.outliers == 0
    assert not result.accepted


@pytest.mark.parametrize("method", ["aos", "robust"])
def test_without_noise_no_pose_is_far_off(rng: np.random.Generator, method: str) -> None:
    result = calibrate_pivot(poses_about_pivot(cone(60, 30.0, rng), rng, 0.0), method=method)
    assert result.outliers == 0
    assert result.accepted
    np.testing.assert_allclose(result.tip_offset_mm, TIP_MM, atol=1e-6)


def test_the_reason_of_a_noisy_tracker_says_what_is_known_and_what_to_do() -> None:
    matrices, _ = bodies_about_pivot(np.random.default_rng(5), 200, 0.25)
    result = calibrate_pivot(matrices)
    # Nothing but the size of the residuals speaks against it, and their size is the noise's (0.56 mm).
    assert len(result.reasons) == 1
    assert "the tip itself is known to 0.0" in result.reasons[0]
    assert "max_rms_mm in the table [gates.pivot]" in result.reasons[0]
    assert calibrate_pivot(matrices, PivotGates(max_rms_mm=0.65)).accepted
    matrices[100:, :3, 3] += [3.0, 0.0, 0.0]
    slipped = " ".join(calibrate_pivot(matrices).reasons)
    assert "3D RMS" in slipped
    assert "case file" not in slipped


def test_a_tip_that_creeps_does_not_make_its_error_look_small() -> None:
    phase = np.linspace(0.0, 1.0, 400)
    turn = 2.0 * np.pi * 8.0 * phase
    axes = np.stack([np.cos(turn), 0.0 * turn, np.sin(turn)], axis=1)
    spiral = Rotation.from_rotvec(np.radians(30.0) * np.sqrt(phase)[:, None] * axes)
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        matrices = poses_about_pivot(spiral, rng, 0.05)
        creep = rng.normal(0.0, 0.1, (400, 3))
        for i in range(1, 400):
            # First-order autoregression with a memory of 10 poses: exp(-1 / 10) = 0.905, sqrt(1 - 0.905^2) = 0.426.
            creep[i] = 0.905 * creep[i - 1] + 0.426 * creep[i]
        matrices[:, :3, 3] += creep
        result = calibrate_pivot(matrices)
        error = result.tip_offset_mm - TIP_MM
        inside.append(float(error @ np.linalg.solve(result.tip_covariance_mm2, error)) <= 7.815)
        # Four fifths of the variance remember for 10 poses: 1 + 2 * 0.8 * 0.905 / 0.095 = 16 poses are worth one.
        assert 12.0 < result.independent_poses < 60.0
    # 95 % belong inside; of 40, fewer than 33 come out once in ten thousand.
    assert sum(inside) >= 33


def slicer_poses(turned: Rotation) -> np.ndarray:
    """Poses about SlicerIGT's tip at (5, 12.6, 3.3), which stays in the tracker's origin."""
    matrices = np.tile(np.eye(4), (len(turned), 1, 1))
    matrices[:, :3, :3] = turned.as_matrix()
    matrices[:, :3, 3] = -turned.apply([5.0, 12.6, 3.3])
    return matrices


@pytest.mark.parametrize("method", ["aos", "robust"])
def test_the_figures_of_slicerigts_own_pivot_test(method: str) -> None:
    # vtkPivotCalibrationTest: 100 poses, turned about x, then y, then z by i / 100 * 90 degrees each; tip within
    # 1e-6 mm and RMS below 1e-6 mm.
    angles = np.arange(100) / 100.0 * 90.0
    turned = Rotation.from_euler("XYZ", np.stack([angles] * 3, axis=1), degrees=True)
    result = calibrate_pivot(slicer_poses(turned), method=method)
    np.testing.assert_allclose(result.tip_offset_mm, [5.0, 12.6, 3.3], atol=1e-6)
    assert result.rms_mm < 1e-6
    assert result.accepted
