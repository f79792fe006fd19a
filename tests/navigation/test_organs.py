"""Organs of a study as compartments: found in the simulated camera image, where the truth puts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.organs import Organ, hot_regions
from navigation.reconstruction import reconstruct
from navigation.simulate.phantom import NM_SIZE, NM_SPACING_MM, activity, study_grid
from navigation.simulate.scenes import Scene, build_scene
from navigation.volume import VoxelGrid
from tests.navigation.scan_model import filled, raster, setup

Row = tuple[tuple[float, float, float], float]


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


def organ_of(places: list[tuple[float, float, float]]) -> Organ:
    """What a camera of 20 mm resolution makes of small foci: one region of 40 % of the hottest."""
    grid = VoxelGrid.aligned(np.array([-60.0, -60.0, -60.0]), 4.0, (31, 31, 16))
    points = grid.points()
    sd = 20.0 / 2.355
    image = sum(np.exp(-0.5 * ((points - np.array(p)) ** 2).sum(axis=1) / sd**2) for p in places)
    (region,) = hot_regions(np.asarray(image).reshape(grid.shape).astype(np.float32), grid)
    return Organ("organ 1", region.points_mm, region.weights, region.volume_ml)


PAIR = [(-11.0, 0.0, -20.0), (11.0, 0.0, -20.0)]


def test_two_nodes_that_the_camera_saw_as_one_are_told_as_two() -> None:
    organ = organ_of(PAIR)
    assert organ.volume_ml > 8.0
    prepared = replace(setup(), organs=(organ.known(),))
    found = reconstruct(prepared, filled(raster(600), [(p, 150.0) for p in PAIR], 0.4, seed=3)).result
    assert len(found.spots) == 2
    for place in PAIR:
        nearest = min(found.spots, key=lambda s: float(np.linalg.norm(s.position_mm - np.array(place))))
        assert np.linalg.norm(nearest.position_mm - np.array(place)) < 3.0
        assert nearest.extent_mm == 0.0 and not any("physiological" in r for r in nearest.reasons)


def ball(radius_mm: float, centre: tuple[float, float, float], kbq: float) -> list[Row]:
    axis = np.arange(-radius_mm, radius_mm + 0.1, 3.0)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) <= radius_mm]
    return [((float(x), float(y), float(z)), kbq / len(offsets)) for x, y, z in offsets + np.array(centre)]


def test_an_organ_stays_one_and_says_when_the_counts_put_it_elsewhere() -> None:
    centre = (0.0, 0.0, -24.0)
    readings = filled(raster(600), ball(14.0, centre, 2000.0), 0.4, seed=4)
    points = np.array([place for place, _ in ball(14.0, centre, 1.0)])
    shares = np.full(len(points), 1.0 / len(points))
    true = Organ("organ 1", points, shares, 11.5)
    (spot,) = reconstruct(replace(setup(), organs=(true.known(),)), readings).result.spots
    assert any("physiological" in reason for reason in spot.reasons)
    assert not any("registration" in reason for reason in spot.reasons)
    wrong = Organ("organ 1", points + [22.0, 0.0, 0.0], shares, 11.5)
    result = reconstruct(replace(setup(), organs=(wrong.known(),)), readings).result
    assert any("is the registration right" in reason for reason in result.reasons)
    assert all(spot.quality != "ok" for spot in result.spots)


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
