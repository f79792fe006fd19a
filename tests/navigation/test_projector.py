"""Response rows and background against their numpy twin and against integrals done another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.projector import RAY_REACH_MM, Lattice, Projector
from navigation.surface import Surface
from tests.navigation.scan_model import flat_surface, raster, response
from tracking.sample import Readings


def flat_tissue() -> Projector:
    readings = raster(20)
    surface = Surface.from_points(flat_surface(), readings.mid_poses)
    return Projector(response(), surface.tissue(np.array([-90.0, -90, -90]), np.array([90.0, 90, 40])))


def tip_coordinates(points: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    return np.hypot(local[:, 0], local[:, 1]), local[:, 2]


def test_rows_in_full_tissue_equal_the_numpy_twin() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform([-50, -50, -60], [50, 50, 20], (500, 3))
    readings = raster(12)
    rows = Projector(response(), None).rows(points, readings)
    for i in range(12):
        r, z = tip_coordinates(points, readings.poses[i])
        height = z + response().recess_mm
        path = np.where(z > 0, np.hypot(r, height) * z / np.where(z > 0, height, 1.0), 0.0)
        assert rows[i] == pytest.approx(response().in_tissue(r, z, path), rel=3e-4)


def test_tissue_path_above_a_flat_surface_is_the_part_below_it() -> None:
    # The face is 2 mm above the plane: of the ray's length in front of the face, the share beyond z = 2 is tissue.
    points = np.array([[0.0, 0.0, -20.0], [8.0, 5.0, -25.0], [-20.0, 3.0, -12.0]])
    readings = raster(1)
    pose = readings.poses[0].copy()
    pose[:3, 3] = (0.0, 0.0, 2.0)
    readings = Readings(
        readings.t_s, readings.counts, readings.live_s, pose[None], readings.weights, readings.first
    )
    rows = flat_tissue().rows(points, readings)[0]
    r, z = tip_coordinates(points, pose)
    height = z + response().recess_mm
    through = np.hypot(r, height) * z / height
    assert rows == pytest.approx(response().in_tissue(r, z, through * (z - 2.0) / z), rel=0.03)


def test_many_points_take_the_fan_and_agree_with_the_rays() -> None:
    rng = np.random.default_rng(2)
    points = rng.uniform([-30, -30, -50], [30, 30, -3], (2000, 3))
    readings = raster(4)
    projector = flat_tissue()
    many = projector.rows(points, readings)
    few = np.concatenate([projector.rows(p, readings) for p in np.array_split(points, 4)], axis=1)
    bright = few > 1e-3 * few.max()
    assert np.median(np.abs(many[bright] / few[bright] - 1.0)) < 0.01
    assert np.quantile(np.abs(many[bright] / few[bright] - 1.0), 0.99) < 0.1


def test_a_path_is_the_mean_of_its_poses() -> None:
    whole = raster(4)
    joined = Readings(
        whole.t_s[:1], whole.counts[:1], np.array([0.4]), whole.poses, np.full(4, 0.25), np.array([0, 4])
    )
    points = np.array([[-20.0, -20.0, -15.0]])
    projector = flat_tissue()
    assert projector.rows(points, joined)[0, 0] == pytest.approx(
        projector.rows(points, whole).mean(), rel=1e-5
    )


def test_background_equals_the_sum_over_a_grid_of_points() -> None:
    readings = raster(1)
    pose = readings.poses.copy()
    pose[0, :3, 3] = (0.0, 0.0, 2.0)
    readings = replace(readings, poses=pose)
    surface = Surface.from_points(flat_surface(), readings.mid_poses)
    projector = Projector(response(), surface.tissue(np.full(3, -150.0), np.array([150.0, 150.0, 20.0])))
    total = float(
        projector.background(Lattice.over(np.full(3, -150.0), np.full(3, 150.0), 50.0), readings).sum()
    )
    direct = 0.0
    # Finer where the response bends: 2 mm in the first 20 mm of tissue, 5 mm below.
    for low, high, half, step in ((-20.0, 0.0, 60.0, 2.0), (-150.0, -20.0, 150.0, 5.0)):
        axis = np.arange(-half + step / 2, half, step)
        x, y, z = np.meshgrid(axis, axis, np.arange(low + step / 2, high, step), indexing="ij")
        points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
        # The rays of the background end RAY_REACH_MM in front of the face.
        crystal = np.array([0.0, 0.0, 2.0 + response().recess_mm])
        distance = np.linalg.norm(points - crystal, axis=1)
        points = points[distance * (2.0 - points[:, 2]) / (crystal[2] - points[:, 2]) <= RAY_REACH_MM]
        direct += float(projector.rows(points, readings).sum(dtype=np.float64)) * step**3 / 1000.0
    # Rays beyond 86 degrees and the soft border of the tissue are left out of one or the other.
    assert total == pytest.approx(direct, rel=0.04)


def test_lattice_reproduces_linear_functions() -> None:
    lattice = Lattice.over(np.zeros(3), np.array([60.0, 90.0, 30.0]), 30.0)
    nodes = lattice.points()
    points = np.random.default_rng(3).uniform([0, 0, 0], [60, 90, 30], (50, 3))
    values = lattice.interpolate((2.0 + nodes @ [0.1, -0.2, 0.3])[:, None], points)[:, 0]
    assert values == pytest.approx(2.0 + points @ [0.1, -0.2, 0.3], abs=1e-9)
