"""Bone out of the CT: where it is, and not what merely looks as dense."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.anatomy.bones import bone_surface, bones_of
from navigation.io.study import Study
from navigation.simulate.phantom import (
    CT_SIZE,
    CT_SPACING_MM,
    SPINE_ABOVE_BACK_MM,
    SPINE_RADIUS_MM,
    ct_numbers,
    study_grid,
)
from navigation.simulate.scenes import build_scene
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.transform import invert_rigid


def trunk() -> tuple[NDArray[np.float64], VoxelGrid]:
    """An even body of 40 HU with noise, 120 mm across, in air."""
    grid = VoxelGrid(np.array([-75.0, -75.0, -40.0]), np.array([1.5, 1.5, 2.0]), (100, 100, 40), np.eye(3))
    points = grid.points()
    hu = np.where(np.linalg.norm(points[:, :2], axis=1) < 60.0, 40.0, -1000.0)
    hu += np.random.default_rng(2).normal(0.0, 12.0, len(hu))
    return hu.reshape(grid.shape), grid


def within(grid: VoxelGrid, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    p = grid.points()
    return np.asarray(np.hypot(p[:, 0] - x, p[:, 1] - y) < radius).reshape(grid.shape)


def test_bone_contrast_medium_and_metal_are_three_things() -> None:
    hu, grid = trunk()
    cortex, marrow = within(grid, 30.0, 0.0, 14.0), within(grid, 30.0, 0.0, 10.0)
    hu[cortex] += 900.0
    hu[marrow] -= 650.0  # spongy bone of some 290 HU within its cortex
    vessel, stem = within(grid, -20.0, 0.0, 11.0), within(grid, 0.0, 35.0, 4.0)
    hu[vessel] += 400.0
    hu[stem] = 9000.0
    found = bones_of(hu, grid)

    def share(mask: NDArray[np.bool_], x: float, y: float, radius: float) -> float:
        return float(mask[within(found.grid, x, y, radius)].mean())

    assert share(found.bone, 30.0, 0.0, 12.0) > 0.9
    assert share(found.contrast, -20.0, 0.0, 9.0) > 0.9
    assert share(found.bone, -20.0, 0.0, 14.0) == 0.0
    assert share(found.metal, 0.0, 35.0, 3.0) == 1.0
    assert share(found.bone, 0.0, 35.0, 8.0) == 0.0
    # 80 mm of a cylinder of 14 mm radius hold 49 mL.
    assert np.count_nonzero(found.bone) * found.grid.voxel_ml == pytest.approx(49.0, rel=0.15)


def test_the_simulated_spine_and_its_surface() -> None:
    scene = build_scene("occult", 3)
    grid = study_grid(scene.patient, CT_SPACING_MM, (CT_SIZE[0], CT_SIZE[1], 40))
    found = bones_of(ct_numbers(scene, grid), grid)
    mesh = bone_surface(found)
    T, patient = invert_rigid(scene.patient.T_study_body), scene.patient
    points = mesh.points_mm @ T[:3, :3].T + T[:3, 3]
    axis = np.array([patient.scan_centre[0], -2.0 * patient.body.c_mm + SPINE_ABOVE_BACK_MM])
    off = np.linalg.norm(points[:, [0, 2]] - axis, axis=1) - SPINE_RADIUS_MM
    # 160 HU lies a fifth of the way from 40 to 650 HU: 0.3 of a 3 mm voxel outside the middle of the border.
    middle = np.abs(points[:, 1]) < 60.0  # further out the ellipsoid's back cuts the spine
    assert np.median(off[middle]) == pytest.approx(0.9, abs=0.4)
    assert np.quantile(np.abs(off[middle]), 0.95) < 0.9 + 1.5  # half a voxel more
    outward = np.einsum("nd,nd->n", mesh.normals @ T[:3, :3].T[:, [0, 2]], points[:, [0, 2]] - axis)
    assert (outward[middle] > 0.0).mean() > 0.99
    assert not found.metal[found.bone].any()


def test_a_thigh_holds_its_bone(thigh: Study) -> None:
    assert thigh.ct is not None
    found = bones_of(thigh.ct.volume(), thigh.ct.grid)
    # 190 mm of the upper femur and part of the pelvis: a tenth to a third of a litre.
    assert 80.0 < np.count_nonzero(found.bone) * found.grid.voxel_ml < 400.0
    assert not found.metal.any()
    assert np.median(found.hu[found.bone]) > 250.0


def test_no_bone_is_said() -> None:
    hu, grid = trunk()
    with pytest.raises(InputError, match="no bone"):
        bone_surface(bones_of(hu, grid))
