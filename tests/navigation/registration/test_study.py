"""The study's registration: touching, frames, and a file that is only used when it was accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from navigation.registration.study import (
    load_registration,
    register_study,
    study_registration,
    touched_point,
)
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import write_json

# Asymmetric landmarks in the patient's LPS: left, right, front, back, head.
LPS_MM = np.array(
    [[90.0, 0.0, 0.0], [-70.0, 5.0, 20.0], [0.0, -60.0, 10.0], [10.0, 55.0, 30.0], [0.0, 0.0, 120.0]]
)


@pytest.fixture
def T_reference_study() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [30.0, -70.0, 200.0], degrees=True).as_matrix()
    matrix[:3, 3] = [15.0, -40.0, 260.0]
    return matrix


def test_slicer_sees_the_patient_in_ras(T_reference_study: np.ndarray) -> None:
    touched = LPS_MM @ T_reference_study[:3, :3].T + T_reference_study[:3, 3]
    registration = study_registration(register_study(LPS_MM, touched))
    transform = registration.T_study_reference
    assert transform.wire_name == "ReferenceToStudy"
    np.testing.assert_allclose(transform.apply(touched), LPS_MM, atol=1e-9)
    # L = 90 is R = -90, A = -P, S is S: signs of the first landmark and of the one in front
    in_ras = touched @ registration.T_ras_reference[:3, :3].T + registration.T_ras_reference[:3, 3]
    np.testing.assert_allclose(in_ras[0], [-90.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(in_ras[2], [0.0, 60.0, 10.0], atol=1e-9)
    np.testing.assert_allclose(in_ras[4], [0.0, 0.0, 120.0], atol=1e-9)


def test_file_round_trip(tmp_path: Path, T_reference_study: np.ndarray) -> None:
    touched = LPS_MM @ T_reference_study[:3, :3].T + T_reference_study[:3, 3]
    result = register_study(LPS_MM, touched)
    write_json(tmp_path / "reg.json", result.as_json())
    loaded = load_registration(tmp_path / "reg.json")
    assert loaded.id == study_registration(result).id
    np.testing.assert_allclose(loaded.T_study_reference.apply(touched), LPS_MM, atol=1e-9)


def test_a_refused_registration_is_not_used(tmp_path: Path) -> None:
    result = register_study(LPS_MM, LPS_MM * [-1.0, 1.0, 1.0])
    with pytest.raises(GateRefusedError, match="mirrored"):
        study_registration(result)
    write_json(tmp_path / "reg.json", result.as_json())
    with pytest.raises(GateRefusedError, match="not accepted"):
        load_registration(tmp_path / "reg.json")


@pytest.mark.parametrize("matrix", [None, [[1, 2], [3]], "x", (2 * np.eye(4)).tolist()])
def test_a_malformed_transform_is_named(tmp_path: Path, matrix: object) -> None:
    write_json(tmp_path / "reg.json", {"accepted": True, "T_target_source": matrix})
    with pytest.raises(InputError, match=r"reg\.json, T_target_source"):
        load_registration(tmp_path / "reg.json")


def poses_at(points: np.ndarray) -> np.ndarray:
    matrices = np.tile(np.eye(4), (len(points), 1, 1))
    matrices[:, :3, 3] = points
    return matrices


def test_a_touch_is_the_resting_point() -> None:
    rng = np.random.default_rng(5)
    points = np.array([10.0, 20.0, 30.0]) + rng.normal(0.0, 0.2, (60, 3))
    points[7] = np.nan
    # 60 readings of 0.2 mm know a median to 0.03 mm
    np.testing.assert_allclose(touched_point(poses_at(points)), [10.0, 20.0, 30.0], atol=0.15)


def test_a_moving_or_hidden_stylus_is_refused() -> None:
    with pytest.raises(GateRefusedError, match="moved"):
        touched_point(poses_at(np.linspace([0.0, 0.0, 0.0], [10.0, 0.0, 0.0], 40)))
    with pytest.raises(GateRefusedError, match="9 poses"):
        touched_point(poses_at(np.zeros((9, 3))))
