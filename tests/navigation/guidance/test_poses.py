"""Poses from which a bed can be looked at: over it, outside of tissue, along the wall where there is room."""

from __future__ import annotations

import numpy as np

from navigation.guidance.poses import HEAD_RADIUS_MM, RIM_MM, SHAFT_MM, SPACING_MM, STANDOFF_MM, poses_over
from navigation.surface import Surface
from tests.navigation.scan_model import flat_surface

DOWN = np.diag([1.0, -1.0, -1.0, 1.0])


def from_above(points: np.ndarray) -> np.ndarray:
    poses = np.tile(DOWN, (len(points), 1, 1))
    poses[:, :3, 3] = points + [0.0, 0.0, 40.0]
    return poses


def bowl(depth_mm: float, radius_mm: float) -> np.ndarray:
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-50.0, 51, 4), np.arange(-50.0, 51, 4)))
    rho = np.minimum(np.hypot(x, y) / radius_mm, 1.0)
    return np.column_stack([x, y, -depth_mm * np.cos(0.5 * np.pi * rho) ** 2])


def test_over_a_flat_surface_the_probe_looks_straight_down() -> None:
    outline = np.array([[x, y, 0.0] for x in (-10.0, 0.0, 10.0) for y in (-10.0, 0.0, 10.0)])
    surface = Surface.from_points(flat_surface(), from_above(flat_surface()))
    poses = poses_over(outline, surface)
    assert len(poses) > 8
    np.testing.assert_allclose(poses[:, :3, 2], np.tile([0.0, 0.0, -1.0], (len(poses), 1)), atol=1e-9)
    np.testing.assert_allclose(poses[:, 2, 3], STANDOFF_MM[0])
    assert np.abs(poses[:, :2, 3]).max() <= 10.0 + RIM_MM
    apart = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=2)
    assert (apart[~np.eye(len(poses), dtype=bool)] >= SPACING_MM).all()


def test_in_a_cavity_head_and_shaft_stay_in_the_air() -> None:
    points = bowl(18.0, 24.0)
    surface = Surface.from_points(points, from_above(points))
    inside = points[np.hypot(points[:, 0], points[:, 1]) < 18.0]
    poses = poses_over(inside, surface)
    assert len(poses) > 15
    around = HEAD_RADIUS_MM * np.array([[np.cos(a), np.sin(a), 0.0] for a in np.arange(8) * np.pi / 4])
    body = np.concatenate([around - [0.0, 0.0, s] for s in (0.0, *SHAFT_MM)])
    for pose in poses:
        assert surface.signed_distance(pose[:3, 3] + body @ pose[:3, :3].T).min() > -1.0
    # Not all look straight in: the walls are looked at along their normals where there is room.
    assert (poses[:, 2, 2] > -0.97).any()


def test_a_hole_that_is_too_narrow_is_looked_into_from_above() -> None:
    points = bowl(30.0, 8.0)
    surface = Surface.from_points(points, from_above(points))
    poses = poses_over(points[np.hypot(points[:, 0], points[:, 1]) < 6.0], surface)
    assert (poses[:, 2, 3] > -HEAD_RADIUS_MM).all()
