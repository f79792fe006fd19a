"""Organs of a study as compartments: found in the simulated camera image, where the truth puts them."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.organs import hot_regions
from navigation.simulate.phantom import NM_SIZE, NM_SPACING_MM, activity, study_grid
from navigation.simulate.scenes import Scene, build_scene
from navigation.volume import VoxelGrid


def image(scene: Scene) -> tuple[np.ndarray, VoxelGrid]:
    grid = study_grid(scene.patient, NM_SPACING_MM, NM_SIZE)
    return activity(scene, grid).astype(np.float32), grid


@pytest.mark.parametrize("seed", [2, 7])
def test_a_hot_organ_is_one_compartment_where_it_is(seed: int) -> None:
    scene = build_scene("node", seed)
    (truth,) = scene.patient.others
    (found,) = hot_regions(*image(scene))
    T = scene.patient.T_study_body
    # A fifth of a voxel of 4.6 mm; the node of some 200 kBq beside 20 MBq is no compartment.
    np.testing.assert_allclose(found.weights @ found.points_mm, T[:3, :3] @ truth.centre + T[:3, 3], atol=1.0)
    assert found.weights.sum() == pytest.approx(1.0)
    # The outline at 40 % of a blurred ellipsoid holds its volume within a quarter (12.2 and 14.6 mL).
    spread = np.ptp(truth.points, axis=0)
    assert found.volume_ml == pytest.approx(np.pi / 6 * np.prod(spread) / 1000.0, rel=0.25)


@pytest.mark.parametrize(("name", "seed"), [("occult", 1), ("node", 1)])
def test_foci_and_injection_sites_are_never_taken_from_the_study(name: str, seed: int) -> None:
    assert hot_regions(*image(build_scene(name, seed))) == ()


def test_two_organs_share_no_voxel_and_a_flat_image_has_none() -> None:
    grid = VoxelGrid.aligned(np.zeros(3), 5.0, (40, 30, 20))
    flat = np.ones(grid.shape, dtype=np.float32)
    assert hot_regions(flat, grid) == ()
    assert hot_regions(np.full(grid.shape, np.nan, dtype=np.float32), grid) == ()
    two = flat.copy()
    two[5:10, 5:10, 5:10] = 100.0
    two[5:10, 5:10, 20:25] = 60.0
    first, second = hot_regions(two, grid)
    assert first.mean == pytest.approx(100.0) and second.mean == pytest.approx(60.0)
    # 5 x 5 x 5 voxels of 125 mm3; centres at index 7 and 22 along x.
    assert first.volume_ml == pytest.approx(15.625)
    assert first.weights @ first.points_mm == pytest.approx([35.0, 35.0, 35.0])
    assert second.weights @ second.points_mm == pytest.approx([110.0, 35.0, 35.0])
    assert not set(map(tuple, first.points_mm)) & set(map(tuple, second.points_mm))
