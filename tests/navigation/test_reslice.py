from __future__ import annotations

import numpy as np
import pytest

from navigation.reslice import Plane, across, linear, nearest
from navigation.volume import VoxelGrid


def tilted_grid() -> VoxelGrid:
    """Voxels of 2 x 3 x 1.5 mm with axes turned by 30 degrees about z."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    direction = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return VoxelGrid(np.array([5.0, -7.0, 11.0]), np.array([2.0, 3.0, 1.5]), (9, 7, 5), direction)


def test_linear_is_exact_on_a_linear_field() -> None:
    # Trilinear interpolation reproduces f = 1 + 2x - y + 0.5z at any place inside.
    grid = tilted_grid()
    field = 1.0 + grid.points() @ [2.0, -1.0, 0.5]
    index = np.random.default_rng(3).uniform(0.0, 1.0, (50, 3)) * (np.array(grid.size) - 1)
    points = index @ grid.matrix[:3, :3].T + grid.origin_mm
    found = linear(field.reshape(grid.shape).astype(np.float32), grid, points, -1.0)
    assert found == pytest.approx(1.0 + points @ [2.0, -1.0, 0.5], abs=1e-4)


def test_the_last_voxel_is_inside_and_beyond_it_is_not() -> None:
    grid = tilted_grid()
    values = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    corner = grid.points()[-1]
    beyond = corner + grid.direction @ [0.01, 0.0, 0.0]
    assert linear(values, grid, np.stack([corner, beyond]), -5.0).tolist() == [values[-1, -1, -1], -5.0]


def test_nearest_never_mixes_a_sentinel() -> None:
    grid = tilted_grid()
    values = np.full(grid.shape, -1.0, dtype=np.float32)
    values[2, 3, 4] = 8.0
    points = grid.points() + grid.direction @ [0.6, 0.0, 0.0]
    assert set(np.unique(nearest(values, grid, points, -1.0))) == {-1.0, 8.0}


def test_plane_projects_its_own_pixels() -> None:
    plane = Plane(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    points = plane.points((10.0, 5.0), (2, 4))
    assert points.shape == (2, 4, 3)
    # Four columns over 20 mm: centres at -7.5, -2.5, 2.5, 7.5; two rows over 10 mm: -2.5, 2.5.
    found = plane.project(points.reshape(-1, 3))
    assert found[:4, 0].tolist() == [-7.5, -2.5, 2.5, 7.5]
    assert found[[0, 4], 1].tolist() == [-2.5, 2.5]
    assert np.abs(found[:, 2]).max() == 0.0


@pytest.mark.parametrize("hint", [None, [0.0, 0.0, 5.0], [1.0, 1.0, 0.0]])
def test_across_is_a_unit_vector_at_right_angles(hint: list[float] | None) -> None:
    # The second hint is parallel to the axis and must be ignored.
    axis = np.array([0.0, 0.0, 2.0])
    found = across(axis, hint)
    assert abs(float(found @ axis)) < 1e-12
    assert np.linalg.norm(found) == pytest.approx(1.0)
