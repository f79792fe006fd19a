"""Touched surfaces: which side is out, cavities with walls, files, and what is left after a resection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from navigation.surface import Surface, read_surface, surface_after_resection
from tests.navigation.scan_model import flat_surface, raster
from tracking.errors import InputError


def turned(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    return points @ rotation.T


def a_rotation() -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("rotation", [np.eye(3), np.diag([1.0, -1.0, -1.0]), a_rotation()])
def test_outside_is_where_the_probe_was_however_the_patient_lies(rotation: np.ndarray) -> None:
    poses = raster(10).poses.copy()
    poses[:, :3, :3] = rotation @ poses[:, :3, :3]
    poses[:, :3, 3] = turned(poses[:, :3, 3], rotation)
    surface = Surface.from_points(turned(flat_surface(), rotation), poses)
    probes = turned(np.array([[0.0, 0.0, 10.0], [30.0, -20.0, -10.0], [-45.0, 45.0, -40.0]]), rotation)
    distance = surface.signed_distance(probes)
    assert distance == pytest.approx([10.0, -10.0, -40.0], abs=0.1)


def cavity(radius: float = 22.0, depth: float = 18.0) -> np.ndarray:
    """A paraboloid pit in a plane: steep at its rim."""
    points = flat_surface()
    r = np.hypot(points[:, 0], points[:, 1])
    inside = r < radius
    grid = np.stack(np.meshgrid(np.arange(-20.0, 21, 5), np.arange(-20.0, 21, 5)), axis=-1).reshape(-1, 2)
    grid = grid[np.hypot(*grid.T) < radius]
    wall = -depth * (1.0 - (np.hypot(*grid.T) / radius) ** 2)
    return np.concatenate([points[~inside], np.column_stack([grid, wall])])


def test_a_cavity_is_air_and_its_walls_are_tissue() -> None:
    surface = Surface.from_points(cavity(), raster(40, half_mm=12.0, height_mm=-2.0).poses)
    places = np.array(
        [[0.0, 0.0, -8.0], [0.0, 0.0, -25.0], [30.0, 0.0, -8.0], [0.0, -35.0, -5.0], [50.0, 50.0, 6.0]]
    )
    assert (np.sign(surface.signed_distance(places)) == [1, -1, -1, -1, 1]).all()


def test_tissue_map_is_half_at_the_surface_and_continues_beyond_it() -> None:
    surface = Surface.from_points(flat_surface(), raster(5).poses)
    tissue = surface.tissue(np.full(3, -40.0), np.full(3, 40.0))
    values = tissue.at(np.array([[0.0, 0.0, 0.0], [3.0, 1.0, 8.0], [3.0, 1.0, -8.0], [5.0, 5.0, -400.0]]))
    assert values == pytest.approx([0.5, 0.0, 1.0, 1.0], abs=0.03)


def test_skin_over_the_mouth_of_the_cavity_is_gone() -> None:
    skin, bed = flat_surface(), cavity()[-60:]
    left = surface_after_resection(skin, bed, np.array([0.0, 0.0, -1.0]))
    kept = left[: len(left) - len(bed)]
    assert len(kept) < len(skin)
    assert (np.hypot(kept[:, 0], kept[:, 1]) > 14.0).all()


def test_a_line_is_no_bed() -> None:
    line = np.column_stack([np.arange(20.0), np.zeros(20), np.zeros(20)])
    with pytest.raises(InputError, match="line"):
        surface_after_resection(flat_surface(), line, np.array([0.0, 0.0, -1.0]))


def test_surface_from_a_mesh_file(tmp_path: Path) -> None:
    path = tmp_path / "skin.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
        "-50 -50 7\n50 -50 7\n50 50 7\n-50 50 7\n3 0 1 2\n3 0 2 3\n"
    )
    points = read_surface(path)
    # 100 x 100 mm2 at one point per 16 mm2.
    assert len(points) == 625
    assert points[:, 2] == pytest.approx(7.0)


@pytest.mark.parametrize("name", ["missing.ply", "skin.obj"])
def test_bad_surface_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        read_surface(tmp_path / name)


def test_too_few_points_are_no_surface() -> None:
    with pytest.raises(InputError, match="at least"):
        Surface.from_points(flat_surface()[:5], raster(5).poses)
