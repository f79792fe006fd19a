"""The size of a strong focus: every radius is tried, and what the choice leaves open is told of place and activity."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.pointlayer import Source
from navigation.reconstruction import ScanState, reconstruct
from navigation.spotsize import Sizes, sizes_of
from tests.navigation.scan_model import filled, raster, setup

CENTRE = np.array([4.0, -3.0, -24.0])
Row = tuple[tuple[float, float, float], float]


def ball(radius_mm: float, kbq: float, step_mm: float = 4.0) -> list[Row]:
    axis = np.arange(-radius_mm, radius_mm + 0.1, step_mm)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    offsets = offsets[np.linalg.norm(offsets, axis=1) <= radius_mm]
    return [((float(x), float(y), float(z)), kbq / len(offsets)) for x, y, z in offsets + CENTRE]


@pytest.fixture(scope="module")
def large() -> ScanState:
    return reconstruct(setup(), filled(raster(600), ball(22.0, 3000.0), 0.3, seed=6))


def test_a_large_ball_is_one_focus_at_its_own_depth(large: ScanState) -> None:
    (spot,) = large.result.spots
    # A smaller ball 11 mm deeper makes nearly the same counts; between the two the likelihood is lower.
    assert spot.extent_mm == pytest.approx(44.0)
    assert np.linalg.norm(spot.position_mm - CENTRE) < 3.0
    assert spot.activity_ci95_kbq[0] < 3000.0 < spot.activity_ci95_kbq[1]


def test_what_the_choice_of_the_size_leaves_open_is_part_of_the_answer() -> None:
    # A ball of 22 mm, 30 mm deep: smaller ones down to a point, up to 11 mm deeper, fit nearly as well.
    deep = [((x, y, z - 6.0), kbq) for (x, y, z), kbq in ball(22.0, 3000.0)]
    state = reconstruct(setup(), filled(raster(600), deep, 0.2, seed=2))
    (spot,) = state.result.spots
    sizes = sizes_of(state.problem, state.found.fit, state.found.precision, 0)
    assert len(sizes.fits) > 1
    fitted = float(np.sqrt(state.found.fit.block(0)[2, 2]))
    assert float(np.sqrt(spot.covariance_mm2[2, 2])) > 2.0 * fitted
    offset = spot.position_mm - (CENTRE - [0.0, 0.0, 6.0])
    assert float(offset @ np.linalg.solve(spot.covariance_mm2, offset)) < 7.8
    assert spot.quality == "limited"
    assert spot.budget is not None
    (named,) = [c for c in spot.budget.components if c.name == "size of the focus"]
    assert named.relative_sd == pytest.approx(sizes.log_sd) and named.relative_sd > 0.0


def test_a_node_stays_a_point() -> None:
    state = reconstruct(setup(), filled(raster(400), [((4.0, -3.0, -20.0), 150.0)], 0.4, seed=5))
    sizes = sizes_of(state.problem, state.found.fit, state.found.precision, 0)
    assert state.result.spots[0].extent_mm == 0.0
    assert sizes.weights[0] > 0.9
    assert sizes.weights.sum() == pytest.approx(1.0)


def test_the_mixture_is_about_the_size_in_use(large: ScanState) -> None:
    fit = large.found.fit
    moved = [
        type(fit)(
            **{name: getattr(fit, name) for name in fit.__dataclass_fields__}
            | {"sources": (Source(fit.sources[0].position_mm + [0.0, 0.0, -4.0], 3300.0, 16.0),)}
        )
    ]
    sizes = Sizes(0, (fit, *moved), np.array([0.75, 0.25]))
    assert sizes.covariance_mm2 == pytest.approx(np.diag([0.0, 0.0, 0.25 * 16.0]))
    assert sizes.log_sd == pytest.approx(0.5 * abs(np.log(3300.0 / fit.sources[0].activity_kbq)))


def test_every_ball_that_fits_as_well_is_where_the_activity_may_be() -> None:
    # 200 kBq in a ball of 11 mm, told as a point, which foci of so much activity are: the larger ones fit as well.
    deep = [((x, y, z + 4.0), kbq) for (x, y, z), kbq in ball(11.0, 200.0, 2.0)]
    state = reconstruct(setup(), filled(raster(400), deep, 0.2, seed=1))
    index = int(np.argmax([s.activity_kbq for s in state.found.fit.sources]))
    radii = sizes_of(state.problem, state.found.fit, state.found.precision, index).reaches()[1]
    assert radii[0] == state.found.fit.sources[index].radius_mm
    assert radii.max() >= 8.0
    rim = CENTRE + [0.0, 0.0, 4.0] + 8.0 * np.concatenate([np.eye(3), -np.eye(3)])
    assert state.beside.foci[index].holds(rim).all()


def test_no_ball_lies_in_the_air(large: ScanState) -> None:
    tissue = large.problem.projector.tissue
    assert tissue is not None
    above = Source(np.array([0.0, 0.0, -6.0]), 100.0, 12.0)
    # A ball of 12 mm whose centre is 6 mm deep: the cap above the surface is a sixth of it (5/32).
    assert above.in_tissue(tissue) == pytest.approx(27 / 32, abs=0.06)
    shallow = reconstruct(setup(), filled(raster(400), [((0.0, 0.0, -5.0), 200.0)], 0.3, seed=7))
    for spot, source in zip(shallow.result.spots, shallow.found.fit.sources, strict=True):
        assert source.in_tissue(tissue) >= 0.8
        assert spot.extent_mm <= 10.0
