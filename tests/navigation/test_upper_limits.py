"""The upper-limit map: it holds what is there, says so in its file, and is nowhere told where nobody looked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.besidefoci import NEAR_MM, Beside
from navigation.io.nrrd import read_nrrd
from navigation.pointlayer import JointFit, Known, Source
from navigation.reconstruction import ScanState, reconstruct
from navigation.reconstruction.maps import coarse_uncertainty
from navigation.results import write_scan_result
from navigation.spots import background_alone
from navigation.upperlimits import FocusBound, activity_upper, bound_of, extent_of, total_limit
from navigation.volume import NO_LIMIT_KBQ, NOT_EXAMINED, ActivityMap
from tests.navigation.scan_model import filled, raster, setup

PLACE = np.array([6.0, -4.0, -18.0])
Row = tuple[tuple[float, float, float], float]


@pytest.fixture(scope="module")
def state() -> ScanState:
    return reconstruct(setup(), filled(raster(240), [((6.0, -4.0, -18.0), 60.0)], 0.4, seed=2))


def one_source(fit: JointFit, radius_mm: float = 0.0, known: Known | None = None) -> JointFit:
    """The fit with one source of 10 kBq +- 20 % at PLACE over a background of one coefficient."""
    covariance = np.diag([1.0, 4.0, 4.0, 4.0, 0.2**2])
    source = Source(PLACE, 10.0, radius_mm, known)
    return replace(fit, sources=(source,), background=np.ones(1), covariance=covariance)


def bound(fit: JointFit, sd_mm: float, voxel_mm: float = 0.0) -> FocusBound:
    return bound_of(extent_of(fit.sources[0]), sd_mm**2 * np.eye(3), activity_upper(fit, 0), voxel_mm)


def test_a_focus_adds_its_own_bound_where_it_may_lie(state: ScanState) -> None:
    only = bound(one_source(state.found.fit), 2.0)
    # 10 kBq times exp(1.645 x 0.2).
    assert only.upper_kbq == pytest.approx(13.9, rel=0.002)
    # sqrt(7.815) times a standard deviation of sqrt(2^2 + 0.7^2) mm is 5.92 mm.
    points = PLACE + np.array([[5.8, 0.0, 0.0], [0.0, 0.0, -6.1], [0.0, 3.0, 3.0]])
    limit = total_limit(points, np.full(3, 2.0), (only,), 0.0)
    assert limit == pytest.approx([15.9, 2.0, 15.9], rel=0.002)
    # An extended one reaches farther by its radius.
    wide = bound(one_source(state.found.fit, radius_mm=4.0), 2.0)
    assert wide.holds(PLACE + np.array([[9.8, 0.0, 0.0], [10.1, 0.0, 0.0]])).tolist() == [True, False]


@pytest.mark.parametrize("voxel_mm", [1.5, 2.0, 3.0, 4.0])
def test_a_focus_between_the_centres_of_voxels_is_in_all_that_touch_it(
    state: ScanState, voxel_mm: float
) -> None:
    only = bound(one_source(state.found.fit), 0.05, voxel_mm=voxel_mm)
    corners = voxel_mm / 2 * np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    assert only.holds(PLACE + corners).all()


def test_an_organ_is_held_by_its_own_shape(state: ScanState) -> None:
    along = np.array([[x, 0.0, 0.0] for x in np.arange(-40.0, 41.0, 8.0)])
    organ = Known("kidney", along, np.full(11, 1 / 11), PLACE, 4.0)
    only = bound(one_source(state.found.fit, 20.0, organ), 1.0)
    # 0.87 times the 8 mm between its points, and 2.8 standard deviations of hypot(1, 0.7) mm: 10.4 mm beside its line.
    points = PLACE + np.array([[36.0, 0, 0], [0, 9.0, 0], [0, 12.0, 0], [0, 0, -15.0]])
    assert only.holds(points).tolist() == [True, True, False, False]


def test_the_calibration_s_error_widens_every_limit() -> None:
    # hypot(1, 1.6449 x 0.5) = 1.295.
    assert total_limit(PLACE[None], np.array([2.0]), (), 0.5) == pytest.approx([2.59], rel=1e-3)


def test_the_map_holds_the_focus_and_what_could_hide_beside_it(state: ScanState) -> None:
    found = state.result.map
    points = found.grid.points().reshape(*found.grid.shape, 3)
    distance = np.linalg.norm(points - PLACE, axis=-1)
    limit = found.upper_limit_kbq
    assert limit[distance < 3.0].min() > 60.0
    far = found.examined & (distance > 30.0) & (found.mda_kbq < 20.0)
    # Without excess the limit is half the MDA, 1.645 of its 3.29 standard deviations; chance adds two more at most.
    assert far.any()
    assert float(np.median(limit[far] / found.mda_kbq[far])) == pytest.approx(0.6, abs=0.2)
    assert float((limit[far] / found.mda_kbq[far]).max()) < 2.0
    assert (limit[~found.examined] == NOT_EXAMINED).all()
    assert (limit[found.examined] > 0.0).all()
    # Close beside it hardly anything is excluded, and every voxel there was looked at all the same.
    ring = (distance > 7.0) & (distance < 10.0)
    assert found.examined[ring].all()
    assert float(np.median(limit[ring])) > 3.0 * float(np.median(limit[far]))


@pytest.mark.parametrize(
    ("strong_kbq", "weak_kbq", "away"),
    [
        (250.0, 25.0, (10.0, 0.0, 0.0)),
        (250.0, 25.0, (0.0, 0.0, -10.0)),
        (250.0, 20.0, (0.0, 15.0, 0.0)),
        (60.0, 20.0, (0.0, 0.0, -10.0)),
        (60.0, 20.0, (0.0, -10.0, 0.0)),
    ],
)
def test_what_hides_beside_a_focus_is_below_its_limit(
    strong_kbq: float, weak_kbq: float, away: tuple[float, float, float]
) -> None:
    hidden = PLACE + np.array(away)
    sources: list[Row] = [((6.0, -4.0, -18.0), strong_kbq), (tuple(hidden.tolist()), weak_kbq)]
    held = []
    for seed in range(3):
        found = reconstruct(setup(), filled(raster(400), sources, 0.4, seed=seed)).result.map
        i, j, k = np.round(found.grid.index_of(hidden[None])[0]).astype(int)
        held.append(float(found.upper_limit_kbq[k, j, i]))
    assert min(held) >= weak_kbq


def joint_share(state: ScanState, beside: Beside, point: np.ndarray) -> float:
    """Information on an activity at a point beside background, source and errors over that beside the background."""
    row = state.problem.rows(point[None])

    def left(design: np.ndarray, prior: np.ndarray, root: np.ndarray) -> float:
        joint = np.column_stack([row * root[:, None], design])
        matrix = joint.T @ joint + np.diag(np.concatenate([[0.0], prior]))
        return 1.0 / float(np.linalg.inv(matrix)[0, 0])

    q = len(state.found.precision)
    columns = beside.columns.astype(np.float64)
    counted = columns[:, :q] / beside.trust[:, None]
    return left(columns, beside.prior, beside.root) / left(
        counted, beside.prior[:q], beside.root / beside.trust
    )


def test_the_share_of_information_is_that_of_the_joint_fit(state: ScanState) -> None:
    beside = state.beside
    focus = state.found.fit.sources[0].position_mm
    points = focus + np.array([[0.0, 0.0, 0.0], [9.0, 3.0, 0.0], [0.0, 0.0, -12.0], [-25.0, 12.0, 3.0]])
    share = beside.share_at(points)
    # At the focus itself it is not in its own way.
    assert share[0] == 1.0
    told = [joint_share(state, beside, point) for point in points[1:]]
    assert share[1:] == pytest.approx(told, rel=2e-3)
    assert share[1] < 0.3 < share[3]


def test_voxels_near_a_focus_are_asked_each_and_others_on_the_search_points(state: ScanState) -> None:
    geometry, field = state.geometry, state.geometry.field
    near = state.beside.near(field.points_mm)
    distance = np.linalg.norm(field.points_mm - state.found.fit.sources[0].position_mm, axis=1)
    assert near[distance <= NEAR_MM].all()
    assert not near[distance > 2.0 * NEAR_MM].any()
    mda = state.result.map.mda_kbq.reshape(-1)[field.active]
    by_search = {int(s): set(mda[(geometry.nearest == s) & near]) for s in set(geometry.nearest[near])}
    assert max(len(values) for values in by_search.values()) > 1


def test_at_the_edge_of_a_region_the_live_limit_is_not_that_of_the_region(state: ScanState) -> None:
    geometry, beside = state.geometry, state.beside
    points, rows = (
        geometry.field.points_mm,
        state.problem.rows(geometry.field.points_mm[geometry.field.search]),
    )
    alone = background_alone(state.problem, state.found)
    nothing = np.zeros(len(points))
    live = coarse_uncertainty(geometry, rows.astype(np.float32), alone, beside, nothing, nothing > 0.0)
    away = np.linalg.norm(points - state.found.fit.sources[0].position_mm, axis=1)
    final = state.result.map.upper_limit_kbq.reshape(-1)[geometry.field.active]
    beyond = (away < 20.0) & ~beside.foci[0].holds(points)
    # Coarse, and next to nowhere below what each voxel's own rows tell.
    share = live.limit_kbq[beyond] / final[beyond]
    assert float(share.min()) > 0.45
    assert float((share > 0.9).mean()) > 0.985


def test_beside_a_hot_source_limits_are_of_the_size_of_its_own_error(state: ScanState) -> None:
    def ring(found: ActivityMap, low_mm: float, high_mm: float) -> np.ndarray:
        points = found.grid.points().reshape(*found.grid.shape, 3)
        distance = np.linalg.norm(points - PLACE, axis=-1)
        limits: np.ndarray = found.upper_limit_kbq[
            found.examined & (distance > low_mm) & (distance < high_mm)
        ]
        return limits

    strong: list[Row] = [((6.0, -4.0, -18.0), 20_000.0)]
    hot = reconstruct(setup(), filled(raster(240), strong, 0.4, seed=3)).result.map
    # Closest to it a limit would rest on the response alone, and none is told.
    assert (ring(hot, 0.0, 12.0) == NO_LIMIT_KBQ).any()
    assert (ring(state.result.map, 0.0, 12.0) < 1000.0).all()
    assert np.median(ring(hot, 18.0, 24.0)) > 3.0 * np.median(ring(state.result.map, 18.0, 24.0))


def test_the_file_tells_its_confidence(state: ScanState, tmp_path: Path) -> None:
    write_scan_result(state.result, tmp_path)
    volume = read_nrrd(tmp_path / "upper_limit.nrrd")
    assert volume.keys["confidence"] == "0.95"
    assert volume.keys["unit"] == "kBq"
    assert float(volume.keys["not_examined"]) == NOT_EXAMINED
    assert volume.grid.size == state.result.map.grid.size
    assert (volume.array == state.result.map.upper_limit_kbq).all()
