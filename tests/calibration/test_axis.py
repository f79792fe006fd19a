"""Spin calibration: the right axis out of the right end, and what is no spin refused for its reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.tip.axis import calibrate_axis, spin_arc_deg
from navigation.cli.main import run
from tracking.tip import read_tip, tip_matrix

# Out of the face, in the marker frame; the tip lies 150 mm along it and 8 mm beside.
AXIS = np.array([0.3, -0.2, -0.9])
AXIS = AXIS / np.linalg.norm(AXIS)
TIP_MM = 150.0 * AXIS + 8.0 * np.cross(AXIS, [1.0, 0.0, 0.0])
PIVOT_MM = np.array([100.0, -200.0, -1500.0])


def spun(
    rng: np.random.Generator,
    arc_deg: float = 360.0,
    sway_deg: float = 2.0,
    noise_deg: float = 0.2,
    n: int = 200,
) -> np.ndarray:
    """Poses (n, 4, 4) of a probe spun in a divot, its shaft swaying slowly by `sway_deg` RMS in all."""
    phase = np.linspace(0.0, 1.0, n)
    # Each of the two components wanders with a memory of a tenth of the spin (first-order autoregression).
    memory = np.exp(-10.0 / n)
    sway = np.zeros((n, 3))
    sway[0, :2] = rng.normal(size=2)
    for i in range(1, n):
        sway[i, :2] = memory * sway[i - 1, :2] + np.sqrt(1.0 - memory**2) * rng.normal(size=2)
    upright, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [AXIS])
    spin = Rotation.from_rotvec(np.radians(arc_deg) * phase[:, None] * AXIS)
    # Two components of unit variance sway by sqrt(2) together.
    swing = Rotation.from_rotvec(np.radians(sway_deg) / np.sqrt(2.0) * sway)
    turned = swing * upright * spin * Rotation.from_rotvec(rng.normal(0.0, np.radians(noise_deg), (n, 3)))
    matrices = np.tile(np.eye(4), (n, 1, 1))
    matrices[:, :3, :3] = turned.as_matrix()
    matrices[:, :3, 3] = PIVOT_MM - (swing * upright * spin).apply(TIP_MM) + rng.normal(0.0, 0.1, (n, 3))
    return matrices


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def off_deg(axis: np.ndarray | None) -> float:
    assert axis is not None
    return float(np.degrees(np.arccos(np.clip(axis @ AXIS, -1.0, 1.0))))


def test_a_good_spin(rng: np.random.Generator) -> None:
    result = calibrate_axis(spun(rng), TIP_MM)
    assert result.reasons == ()
    assert result.sign_from == "tip"
    assert np.linalg.norm(result.axis) == pytest.approx(1.0)
    assert off_deg(result.axis) < 0.8
    # Some ten independent values in each of two components: known to 1 / sqrt(2 * 20), 16 %; three times that.
    assert result.wobble_deg == pytest.approx(2.0, rel=0.5)
    assert result.spin_deg > 350.0


def test_the_stated_error_is_the_true_one() -> None:
    results = [calibrate_axis(spun(np.random.default_rng(seed)), TIP_MM) for seed in range(150)]
    errors = np.array([off_deg(result.axis) for result in results])
    stated = np.array([result.axis_sd_deg for result in results])
    # Two components, each at most the worst direction's: the mean square error is at most twice the stated one.
    # 150 errors of two components give their mean square to 8 %: twice that above. Below a half the stated
    # deviation would be twice the true one.
    ratio = np.mean(errors**2) / np.mean(stated**2)
    assert 0.5 < ratio < 2.0 * 1.16
    # Rayleigh's 95 % bound is 2.45; the stated figure comes from six stretches and scatters itself.
    assert np.mean(errors < 2.45 * stated) > 0.9


def test_without_sway_the_error_is_that_of_the_noise() -> None:
    errors = []
    for seed in range(40):
        result = calibrate_axis(spun(np.random.default_rng(seed), sway_deg=0.0), TIP_MM)
        errors.append(off_deg(result.axis))
    # 0.2 degrees in each of two components over 200 poses of a full turn, in which each pose counts whole:
    # 0.2 / sqrt(200) = 0.014 each, 0.020 together.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(0.020, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_the_face_is_found_from_a_spin_that_sways(seed: int) -> None:
    result = calibrate_axis(spun(np.random.default_rng(seed)))
    assert result.accepted
    assert result.sign_from == "poses"
    assert off_deg(result.axis) < 1.5


def test_the_tip_decides_the_sign(rng: np.random.Generator) -> None:
    poses = spun(rng)
    np.testing.assert_allclose(calibrate_axis(poses, -TIP_MM).axis, -calibrate_axis(poses, TIP_MM).axis)
    beside = np.cross(AXIS, [0.0, 1.0, 0.0])
    result = calibrate_axis(poses, 100.0 * beside)
    assert not result.accepted
    assert "beside the marker" in result.reasons[0]


def test_a_spin_alone_does_not_tell_the_face(rng: np.random.Generator) -> None:
    result = calibrate_axis(spun(rng, sway_deg=0.0))
    assert result.sign_from == "undetermined"
    assert ["give the tip" in reason for reason in result.reasons] == [True]
    assert min(off_deg(result.axis), off_deg(-result.axis)) < 0.1


def test_a_spin_in_the_air_does_not_tell_the_face(rng: np.random.Generator) -> None:
    poses = spun(rng)
    poses[:, :3, 3] += rng.normal(0.0, 5.0, (len(poses), 3))
    assert calibrate_axis(poses).sign_from == "undetermined"


def test_a_small_spin_is_refused(rng: np.random.Generator) -> None:
    result = calibrate_axis(spun(rng, arc_deg=40.0, sway_deg=0.0), TIP_MM)
    assert "spun through" in result.reasons[0]
    assert result.spin_deg == pytest.approx(40.0, abs=2.0)


def test_a_cone_is_refused(rng: np.random.Generator) -> None:
    azimuth = rng.uniform(0.0, 2.0 * np.pi, 300)
    across = np.cross(AXIS, [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    axes = np.cos(azimuth)[:, None] * across + np.sin(azimuth)[:, None] * np.cross(AXIS, across)
    matrices = np.tile(np.eye(4), (300, 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(np.radians(30.0) * axes).as_matrix()
    result = calibrate_axis(matrices, TIP_MM)
    assert not result.accepted
    assert "a cone, not a spin" in result.reasons[0]


def test_a_static_tool_is_refused(rng: np.random.Generator) -> None:
    result = calibrate_axis(spun(rng, arc_deg=0.0, sway_deg=0.0, noise_deg=0.1), TIP_MM)
    assert result.axis is None
    assert result.reasons == ("the tool did not turn",)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 19])
def test_too_few_poses_are_refused(rng: np.random.Generator, n: int) -> None:
    poses = spun(rng, n=n) if n else np.zeros((0, 4, 4))
    result = calibrate_axis(poses, TIP_MM, skipped={"identity": 4})
    assert not result.accepted
    assert f"{n} usable poses, at least 20 needed (left out: 4 identity)" in result.reasons[0]
    json.dumps(result.as_json(), allow_nan=False)


def test_arc_of_a_spin_that_goes_round_and_back() -> None:
    angles = np.concatenate([np.arange(0.0, 171.0, 5.0), np.arange(0.0, -111.0, -5.0)])
    matrices = np.tile(np.eye(4), (len(angles), 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(np.radians(angles)[:, None] * AXIS).as_matrix()
    assert spin_arc_deg(matrices, AXIS) == pytest.approx(280.0)


def written(folder: Path, poses: np.ndarray) -> Path:
    path = folder / "spin.csv"
    np.savetxt(path, poses.reshape(-1, 16), delimiter=",")
    return path


def test_tip_and_axis_files_make_one_frame(tmp_path: Path, rng: np.random.Generator) -> None:
    tip, out = tmp_path / "tip.json", tmp_path / "axis.json"
    tip.write_text(json.dumps({"tip_offset_mm": TIP_MM.tolist(), "accepted": True}))
    poses = str(written(tmp_path, spun(rng)))
    assert run(["calibrate", "axis", poses, "--tip", str(tip), "--out", str(out)]) == 0
    frame = tip_matrix(read_tip([tip, out]))
    np.testing.assert_allclose(frame[:3, 3], TIP_MM)
    assert off_deg(frame[:3, 2]) < 0.8
    # The marker lies on the tip frame's -Z side.
    assert (np.linalg.inv(frame) @ [0.0, 0.0, 0.0, 1.0])[2] < -140.0
    assert run(["calibrate", "axis", poses, "--tip", str(tip), "--out", str(out)]) == 2


def test_a_refused_axis_is_written_and_serves_nobody(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    poses, out = written(tmp_path, spun(rng, sway_deg=0.0)), tmp_path / "axis.json"
    assert run(["calibrate", "axis", str(poses), "--out", str(out)]) == 3
    content = json.loads(out.read_text())
    assert content["accepted"] is False
    assert content["reasons"]
    assert "give the tip" in capsys.readouterr().err
    tip = tmp_path / "tip.json"
    tip.write_text(json.dumps({"tip_offset_mm": TIP_MM.tolist()}))
    assert run(["calibrate", "axis", str(poses), "--tip", str(out), "--out", str(tmp_path / "b.json")]) == 3


def test_a_tip_file_without_a_tip_is_named(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    tip = tmp_path / "tip.json"
    tip.write_text(json.dumps({"axis": [0.0, 0.0, 1.0]}))
    poses = written(tmp_path, spun(rng))
    assert run(["calibrate", "axis", str(poses), "--tip", str(tip), "--out", str(tmp_path / "a.json")]) == 2
    assert "has neither tip_offset_mm" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


def test_the_real_bad_pivot_is_no_spin(test_data: Path, tmp_path: Path) -> None:
    # A cone of 19 degrees about a tip, by the data's own description.
    out = tmp_path / "axis.json"
    assert run(["calibrate", "axis", str(test_data / "sks_pivot"), "--out", str(out)]) == 3
    assert json.loads(out.read_text())["accepted"] is False


def test_the_figures_of_slicerigts_own_spin_test() -> None:
    # vtkPivotCalibrationTest: 100 steps of 3.6 degrees about (1, 2.5, 4.1), found within 1e-6 rad.
    expected = np.array([1.0, 2.5, 4.1]) / np.linalg.norm([1.0, 2.5, 4.1])
    tip = np.array([5.0, 12.6, 3.3])
    turned = Rotation.from_rotvec(np.radians(3.6) * np.arange(1, 101)[:, None] * expected)
    matrices = np.tile(np.eye(4), (100, 1, 1))
    matrices[:, :3, :3] = turned.as_matrix()
    matrices[:, :3, 3] = -turned.apply(tip)
    result = calibrate_axis(matrices, tip)
    # The sine of the angle between: the cosine has no digits left for a millionth.
    assert np.linalg.norm(np.cross(result.axis, expected)) < 1e-6
    assert result.spin_deg == pytest.approx(356.4)
    assert result.accepted
