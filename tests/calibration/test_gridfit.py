"""Grids of probes traced ray by ray, which the fit's own formula did not make: view, tail, and what is beyond."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.probe.gridfit import Grid, _folds, fit_grid
from navigation.simulate.collimator import ProbeHead, point_response
from tests.navigation.scan_model import PROBE, grid_of

# A wide crystal behind a thin wall, and a narrow one that sits near the face.
OPEN = ProbeHead(7.0, 5.0, 4.0, 6.5, 9.0, 45.0, 0.5, 2e-4)
NARROW = ProbeHead(4.0, 9.0, 15.0, 4.5, 8.5, 45.0, 0.5, 2e-5)
# Tungsten at 245 keV, the upper line of In-111, instead of 3.29 at 140 keV: a tenth-value layer of 2.4 mm.
TUNGSTEN_245_KEV_PER_MM = 0.96


@pytest.fixture(autouse=True)
def finely_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's own steps over the crystal are fine for its scenes; a fit of 0.5 % sees them."""
    for name, nodes in (("RADIAL_NODES", 18), ("AZIMUTH_NODES", 48), ("DEPTH_NODES", 14), ("CHUNK", 16)):
        monkeypatch.setattr(f"navigation.simulate.collimator.{name}", nodes)


def grid_before(head: ProbeHead, seed: int, every: int = 1) -> Grid:
    """The common 168 points or some of them, 500 kBq for 10 s each."""
    places = grid_of(PROBE)
    kept = np.arange(len(places)) % every == every - 1
    r, z = places.r_mm[kept], places.z_mm[kept]
    counts = np.random.default_rng(seed).poisson(point_response(head, r, z) * 5000.0).astype(float)
    return Grid(r, z, counts, np.full(len(r), 10.0), np.full(len(r), 500.0))


@pytest.mark.parametrize("head", [OPEN, NARROW])
@pytest.mark.parametrize("penetrating", [False, True])
def test_probes_of_other_shapes_are_described_into_their_tail(
    head: ProbeHead, penetrating: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if penetrating:
        monkeypatch.setattr("navigation.simulate.collimator.MU_SHIELD_PER_MM", TUNGSTEN_245_KEV_PER_MM)
    grid = grid_before(head, seed=4)
    fitted = fit_grid(grid)
    assert fitted.held_out_chi2_per_dof <= 1.5
    true = point_response(head, grid.r_mm, grid.z_mm)
    error = fitted.in_air(grid.r_mm, grid.z_mm) / true - 1.0
    # Where at least a thousand counts were seen (3 % each), the fit over all points is better than one of them.
    assert np.sqrt(np.mean(error[true * grid.exposure > 1000.0] ** 2)) < 0.02


def test_what_is_continued_to_the_side_is_as_sure_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("navigation.simulate.collimator.MU_SHIELD_PER_MM", TUNGSTEN_245_KEV_PER_MM)
    fitted = fit_grid(grid_before(OPEN, seed=7))
    # Measured to 60 mm; a hot organ lies at 80 to 150.
    r, z = np.array([80.0, 100.0, 150.0]), np.array([20.0, 40.0, 60.0])
    error = fitted.in_air(r, z) / point_response(OPEN, r, z) - 1.0
    assert np.abs(error).max() < 3.0 * np.hypot(fitted.tail_relative_sd, 0.02)
    assert fitted.tail_relative_sd < 0.1


def test_fewer_counts_leave_the_tail_less_sure() -> None:
    grid = grid_before(NARROW, seed=5)
    rng = np.random.default_rng(6)
    tenth = Grid(
        grid.r_mm,
        grid.z_mm,
        rng.binomial(grid.counts.astype(int), 0.1) * 1.0,
        grid.live_s / 10,
        grid.activity_kbq,
    )
    assert fit_grid(tenth).tail_relative_sd > 1.5 * fit_grid(grid).tail_relative_sd


def test_what_the_physics_lacks_is_made_good_from_the_points() -> None:
    # A bump of 15 % round 20 degrees off the axis, as a scratched crystal or a tapered bore leaves.
    places = grid_of(PROBE)
    angle = np.arctan2(places.r_mm, places.z_mm + PROBE.recess_mm)
    true = PROBE.response(places.r_mm, places.z_mm) * (1.0 + 0.15 * np.exp(-(((angle - 0.35) / 0.15) ** 2)))
    counts = np.random.default_rng(8).poisson(true * places.exposure).astype(float)
    grid = Grid(places.r_mm, places.z_mm, counts, places.live_s, places.activity_kbq)
    fitted = fit_grid(grid)
    assert fitted.correction is not None
    seen = true * grid.exposure > 2000.0
    physics = fitted.collimator.response(grid.r_mm, grid.z_mm)[seen] / true[seen] - 1.0
    error = fitted.in_air(grid.r_mm, grid.z_mm)[seen] / true[seen] - 1.0
    assert np.sqrt(np.mean(error**2)) < 0.5 * np.sqrt(np.mean(physics**2))
    assert np.sqrt(np.mean(error**2)) < 0.015


def test_a_fourth_of_the_points_tells_the_view_as_well() -> None:
    many, few = fit_grid(grid_before(NARROW, seed=1)), fit_grid(grid_before(NARROW, seed=2, every=4))
    r, z = np.meshgrid([0.0, 5.0, 10.0, 15.0], [10.0, 20.0, 30.0, 50.0])
    r, z = r.ravel(), z.ravel()
    inside = r < 0.4 * (z + 15.0)
    true = point_response(NARROW, r[inside], z[inside])
    for fitted in (many, few):
        assert fitted.in_air(r[inside], z[inside]) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("columns", [10, 14])
def test_the_folds_follow_neither_the_rows_nor_the_columns_of_a_grid(columns: int) -> None:
    # With ten columns a fold dealt by the row's number would leave out one column whole.
    r, z = (v.ravel() for v in np.meshgrid(np.linspace(0.0, 60.0, columns), np.linspace(2.0, 100.0, 12)))
    grid = Grid(r, z, r, r, r)
    folds = _folds(grid)
    for value in np.unique(r[r > 0.0]):
        assert len(np.unique(folds[r == value])) >= 5
    order = np.random.default_rng(2).permutation(len(grid))
    assert (_folds(grid.take(order)) == folds[order]).all()
