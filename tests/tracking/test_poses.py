"""Quaternions, slerp and rigidity against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.poses import interpolate, quaternions_of, rigid_mask, rotation_angles, rotations_of
from tracking.transform import rigidity_fault


def about_z(angle_rad: float, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    m = np.eye(4)
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    m[:2, :2] = [[c, -s], [s, c]]
    m[:3, 3] = shift_mm
    return m


components = st.floats(-1.0, 1.0).filter(lambda x: abs(x) > 1e-3)


@settings(deadline=None)
@given(st.tuples(components, components, components, components))
def test_quaternion_round_trip(q: tuple[float, ...]) -> None:
    unit = np.array([q]) / np.linalg.norm(q)
    rotation = rotations_of(unit)
    back = quaternions_of(rotation)
    assert abs(float((back * unit).sum())) == pytest.approx(1.0, abs=1e-12)  # q and -q are one rotation


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_have_quaternions(axis: int) -> None:
    rotation = -np.eye(3)
    rotation[axis, axis] = 1.0  # half a turn about that axis: trace -1, w = 0
    expected = np.zeros(4)
    expected[axis + 1] = 1.0
    np.testing.assert_allclose(np.abs(quaternions_of(rotation[None])[0]), expected, atol=1e-12)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
def test_slerp_turns_at_constant_rate(fraction: float) -> None:
    # From 170 to 190 degrees about z the short way: a quarter is 175 degrees, although angles wrap at 180.
    first, second = about_z(np.deg2rad(170)), about_z(np.deg2rad(190), (4.0, 0.0, -8.0))
    got = interpolate(first[None], second[None], np.array([fraction]))[0]
    expected = about_z(np.deg2rad(170 + 20 * fraction), (4 * fraction, 0.0, -8 * fraction))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_tiny_turns_do_not_lose_digits() -> None:
    # 1e-6 rad lies below the switch to linear weights: half of it must come out to 1e-12.
    got = interpolate(about_z(0.0)[None], about_z(1e-6)[None], np.array([0.5]))[0]
    assert got[1, 0] == pytest.approx(5e-7, abs=1e-12)


@settings(deadline=None)
@given(st.floats(1e-6, 3.1))
def test_angle_between_rotations(angle_rad: float) -> None:
    got = rotation_angles(np.eye(3), about_z(angle_rad)[:3, :3])
    assert float(got) == pytest.approx(angle_rad, rel=1e-6)


def test_stacked_rigidity_agrees_with_the_single_check() -> None:
    scaled, mirrored, hidden, far, projective = (np.eye(4) for _ in range(5))
    scaled[:3, :3] *= 1.01
    mirrored[0, 0] = -1.0
    hidden[:] = np.nan
    far[0, 3] = 1e5
    projective[3, 0] = 0.5
    stack = np.stack([np.eye(4), about_z(1.0), scaled, mirrored, hidden, far, projective])
    assert rigid_mask(stack).tolist() == [rigidity_fault(m) is None for m in stack]
    assert rigid_mask(stack).tolist() == [True, True, False, False, False, False, False]
    assert rigid_mask(np.zeros((0, 4, 4))).shape == (0,)
