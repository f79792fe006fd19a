"""Foci in images of activity: found where they are, measured right, none invented out of noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.basins import own_part, summits
from navigation.hotfit import FWHM_PER_SIGMA, fit_focus
from navigation.hotspots import EXTENDED_FWHM_MM, SPECT_CT_SD_MM, find_hot_spots
from navigation.io.study import Study
from navigation.organs import hot_regions
from navigation.simulate.phantom import NM_SIZE, NM_SPACING_MM, activity, study_grid
from navigation.simulate.scenes import build_scene
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]
# A turned grid with unequal voxels: nothing may lean on the axes.
TURNED = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def grid_of(spacing: tuple[float, float, float] = (4.0, 4.5, 5.0)) -> VoxelGrid:
    return VoxelGrid(np.array([-80.0, 30.0, 12.0]), np.array(spacing), (40, 36, 32), TURNED)


def blob(grid: VoxelGrid, place: Array, activity_kbq: float, fwhm_mm: float) -> Array:
    """kBq/mL (nz, ny, nx) of a point source as a camera shows it: a Gaussian of that integral."""
    sigma = fwhm_mm / FWHM_PER_SIGMA
    away = ((grid.points() - place) ** 2).sum(axis=1)
    peak = activity_kbq * 1000.0 / ((2 * np.pi) ** 1.5 * sigma**3)  # 1000 mm3 in a mL
    return np.asarray(peak * np.exp(-0.5 * away / sigma**2)).reshape(grid.shape)


def noisy(image: Array, grid: VoxelGrid, seed: int, counts_per_kbq: float = 400.0) -> Array:
    counts = np.random.default_rng(seed).poisson(image * grid.voxel_ml * counts_per_kbq)
    return np.asarray(counts / counts_per_kbq / grid.voxel_ml)


def at(grid: VoxelGrid, index: tuple[float, float, float]) -> Array:
    return np.asarray(grid.matrix[:3, :3] @ np.array(index) + grid.origin_mm)


@pytest.mark.parametrize("fwhm_mm", [8.0, 12.0])
def test_place_and_activity_do_not_depend_on_the_resolution(fwhm_mm: float) -> None:
    grid = grid_of()
    place = at(grid, (19.3, 17.6, 15.2))
    image = 0.6 + blob(grid, place, 50.0, fwhm_mm)
    found = find_hot_spots(image, grid, "NM").foci
    assert len(found) == 1
    focus = found[0].focus
    assert np.linalg.norm(focus.position_mm - place) < 0.05
    assert focus.integral == pytest.approx(50.0, rel=0.01)
    assert focus.fwhm_mm == pytest.approx(fwhm_mm, rel=0.01)
    assert focus.background == pytest.approx(0.6, abs=0.02)
    assert not found[0].at_edge


def test_the_covariance_of_the_fit_is_that_of_its_errors() -> None:
    grid = grid_of()
    place = at(grid, (19.4, 17.5, 15.3))
    clean = 1.0 + blob(grid, place, 12.0, 10.0)
    free = np.ones(grid.shape, dtype=np.bool_)
    off, said, ratio = [], [], []
    for seed in range(20):
        focus = fit_focus(
            noisy(clean, grid, seed), free, grid, at(grid, (19, 18, 15)), (5.0, 10.0, EXTENDED_FWHM_MM)
        )
        assert focus is not None
        off.append(focus.position_mm - place)
        said.append(np.diag(focus.covariance_mm2))
        ratio.append((focus.integral - 12.0) / focus.integral_sd)
    # 60 deviations: the ratio of variances is known to sqrt(2 / 60) = 18 %, the model's own simplicity on top.
    assert 0.5 < float(np.mean(np.square(off)) / np.mean(said)) < 1.6
    assert 0.5 < float(np.std(ratio)) < 1.6


def test_noise_alone_shows_nothing() -> None:
    grid = grid_of()
    slope = 1.0 + 0.5 * np.linspace(0, 1, grid.size[0])
    quiet = np.broadcast_to(slope, grid.shape)
    # 0.05 false foci are asked of a whole study, which is larger than these three.
    assert sum(len(find_hot_spots(noisy(quiet, grid, seed), grid, "NM").foci) for seed in range(3)) == 0


def test_two_foci_that_the_image_resolves_are_two() -> None:
    grid = grid_of()
    places = [at(grid, (15.0, 17.0, 15.0)), at(grid, (20.2, 17.0, 15.0))]  # 20.8 mm apart
    image = 0.5 + blob(grid, places[0], 80.0, 10.0) + blob(grid, places[1], 30.0, 10.0)
    found = find_hot_spots(noisy(image, grid, 3), grid, "NM").foci
    assert len(found) == 2
    for spot, place, kbq in zip(found, places, (80.0, 30.0), strict=True):
        assert np.linalg.norm(spot.focus.position_mm - place) < 0.7
        assert spot.focus.integral == pytest.approx(kbq, rel=0.1)
        sd = np.sqrt(np.diag(spot.covariance_mm2))
        assert (sd > SPECT_CT_SD_MM).all()
        assert (sd < SPECT_CT_SD_MM + 1.0).all()


def test_an_organ_is_extended_uptake_and_a_node_beside_it_a_focus() -> None:
    grid = grid_of((4.0, 4.0, 4.0))
    organ, node = at(grid, (14.0, 18.0, 16.0)), at(grid, (24.0, 18.0, 16.0))  # 40 mm apart
    away = np.linalg.norm(grid.points() - organ, axis=1).reshape(grid.shape)
    image = 0.4 + 400.0 / (1.0 + np.exp((away - 18.0) / 2.5)) + blob(grid, node, 60.0, 10.0)
    found = find_hot_spots(noisy(image, grid, 5), grid, "NM")
    assert len(found.extended) == 1
    assert np.linalg.norm(found.extended[0].centre_mm - organ) < 2.0
    assert len(found.foci) == 1
    assert np.linalg.norm(found.foci[0].focus.position_mm - node) < 1.0
    assert found.foci[0].focus.integral == pytest.approx(60.0, rel=0.15)


def test_a_maximum_at_the_edge_of_the_field_says_so() -> None:
    grid = grid_of()
    found = find_hot_spots(0.5 + blob(grid, at(grid, (19.0, 17.0, 0.6)), 90.0, 10.0), grid, "NM").foci
    assert [s.at_edge for s in found] == [True]


def test_the_flank_of_a_hotter_source_is_not_an_organ() -> None:
    # A strong compact source and a weak one: without basins, weak core and hot flank made one region of 8 mL.
    grid = grid_of((4.0, 4.0, 4.0))
    image = 0.4 + blob(grid, at(grid, (15.0, 17.0, 15.0)), 10_000.0, 15.0)
    image += blob(grid, at(grid, (22.0, 17.0, 15.0)), 240.0, 14.0)
    assert hot_regions(image.astype(np.float32), grid) == ()
    assert len(find_hot_spots(image, grid, "NM").foci) == 2


def test_basins_end_at_the_saddle() -> None:
    line = np.array([1.0, 3.0, 9.0, 4.0, 2.0, 5.0, 3.0])[None, None]
    assert summits(line).ravel().tolist() == [9.0, 9.0, 9.0, 9.0, 5.0, 5.0, 5.0]
    assert own_part(line, line >= 2.0, 5.0).ravel().tolist() == [False] * 4 + [True] * 3


@pytest.mark.parametrize(("name", "seed"), [("occult", 2), ("node", 2), ("node", 19)])
def test_simulated_studies_show_their_sources_and_nothing_else(name: str, seed: int) -> None:
    scene = build_scene(name, seed)
    grid = study_grid(scene.patient, NM_SPACING_MM, NM_SIZE)
    found = find_hot_spots(activity(scene, grid), grid, "NM")
    T = scene.patient.T_study_body
    lesion = scene.patient.lesions[0]
    others = [T[:3, :3] @ s.centre + T[:3, 3] for s in scene.patient.others]
    place = T[:3, :3] @ lesion.centre + T[:3, 3]
    near = [s for s in found.foci if np.linalg.norm(s.focus.position_mm - place) < 3.0]
    assert len(near) == 1
    assert near[0].focus.integral == pytest.approx(lesion.activity_kbq, rel=0.1)
    for spot in found.foci:
        assert any(np.linalg.norm(spot.focus.position_mm - p) < 3.0 for p in [place, *others])


def test_a_tumour_of_a_pet_is_extended_uptake(thigh: Study) -> None:
    series = thigh.functional
    assert series is not None
    found = find_hot_spots(series.volume(), series.grid, series.modality)
    lesion = np.array([70.9, 11.5, -789.2])
    # The outlined tumour is centimetres wide; the hottest voxel of the crop lies elsewhere, at its upper end.
    assert any(np.linalg.norm(e.centre_mm - lesion) < 30.0 and not e.at_edge for e in found.extended)
    hottest = np.array([7.03, 21.09, -691.64])
    assert [bool(np.linalg.norm(c.position_mm - hottest) < 3.0) for c in found.cut] == [True]
    assert found.foci == ()
