"""What a focus says of itself: depth below the surface, ratio to what is round it, quality with its reasons."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from navigation.findings import spot_from_json
from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Problem, Source, fit_sources
from navigation.reconstruction import reconstruct
from navigation.results import spot_content
from navigation.spotdepth import SURFACE_SD_MM, depth_of
from navigation.spotquality import Looks, quality_of
from navigation.surface import Surface, TissueMap
from tests.navigation.scan_model import filled, flat_surface, problem_of, raster, setup
from tracking.jsonfile import to_json

SOURCE = (6.0, -4.0, -18.0)
Fitted = tuple[Problem, JointFit]


@pytest.fixture(scope="module")
def tissue() -> TissueMap:
    """Below a plane that leans by 30 degrees, through the origin."""
    turn = np.deg2rad(30.0)
    lean = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    surface = Surface(flat_surface() @ lean.T, np.tile(lean[:, 2], (len(flat_surface()), 1)))
    return surface.tissue(np.full(3, -60.0), np.full(3, 60.0))


def test_depth_is_the_shortest_way_out(tissue: TissueMap) -> None:
    # 20 mm below the leaning plane along its normal (sin 30, 0, cos 30); the place is open by 2 mm along x alone, and
    # a step of 1 along the normal is 0.5 along x: 1 mm of the depth.
    normal = np.array([0.5, 0.0, np.sqrt(0.75)])
    found = depth_of(tissue, -20.0 * normal, np.diag([4.0, 0.0, 0.0]))
    assert found is not None
    assert found[0] == pytest.approx(20.0, abs=0.5)
    assert found[1] == pytest.approx(np.hypot(1.0, SURFACE_SD_MM), rel=0.15)


def test_depth_of_a_place_in_the_air_is_none_below_anything(tissue: TissueMap) -> None:
    found = depth_of(tissue, np.array([10.0, 0.0, 20.0]), np.eye(3))
    assert found is not None
    assert found[0] == 0.0
    assert depth_of(None, np.zeros(3), np.eye(3)) is None


@pytest.fixture(scope="module")
def empty() -> Problem:
    """The scan without counts: its geometry is made once."""
    return problem_of(raster())


def fitted(empty: Problem, seed: int, *placed: tuple[tuple[float, float, float], float]) -> Fitted:
    """Poisson counts of sources (position, kBq) in 0.4 kBq/mL, and the joint fit from the truth."""
    sources = [Source(np.array(place), kbq) for place, kbq in placed]
    rate = 0.4 * empty.background_rows[:, 0]
    for source in sources:
        rate = rate + source.activity_kbq * empty.rows(source.position_mm[None])[:, 0]
    return refitted(empty, np.random.default_rng(seed).poisson(rate * empty.data.live_s), sources)


def refitted(empty: Problem, counts: np.ndarray, sources: list[Source]) -> Fitted:
    problem = replace(empty, data=Counts(counts.astype(float), empty.data.live_s))
    start = np.zeros(problem.background_rows.shape[1])
    start[0] = 0.4
    return problem, fit_sources(problem, sources, start, problem.background.precision(0.4))


def test_ratio_counts_a_neighbour_as_what_is_round_it(empty: Problem) -> None:
    # A weak focus 20 mm beside a strong one: its local ratio is below that over the tissue alone.
    problem, fit = fitted(empty, 2, (SOURCE, 60.0), ((26.0, -4.0, -18.0), 3000.0))
    looks = Looks.of(problem, fit, 0)
    best = int(np.argmax(looks.own_cps))
    tissue = float((problem.background_rows @ fit.background)[best])
    assert looks.tbr is not None
    assert 1.0 < looks.tbr < 1.0 + float(looks.own_cps[best]) / tissue
    assert looks.beside_cps[best] > 2.0 * tissue


def quality(problem: Problem, fit: JointFit, covariance: np.ndarray, depth: float) -> tuple[str, list[str]]:
    return quality_of(problem, fit, 0, Looks.of(problem, fit, 0), covariance, 0.1, depth)


def test_a_region_beyond_8_mm_is_limited_and_says_why(empty: Problem) -> None:
    problem, fit = fitted(empty, 1, (SOURCE, 80.0))
    # chi2(3) at 95 % is 7.815: the region reaches 2.796 standard deviations, 8 mm at 2.86.
    assert quality(problem, fit, 2.8**2 * np.eye(3), 18.0) == ("ok", [])
    state, (words,) = quality(problem, fit, np.diag([1.0, 1.0, 2.9**2]), 18.0)
    assert state == "limited"
    assert words.startswith("too few counts")
    assert quality(problem, fit, np.diag([1.0, 1.0, 2.9**2]), 34.0)[1][0].startswith("too deep: 34 mm")
    assert quality(problem, fit, 16.0**2 * np.eye(3), 18.0)[0] == "unusable"


def test_a_focus_at_the_edge_of_coverage_says_so(empty: Problem) -> None:
    # The scan covers +-28 mm; this one lies 34 mm to the side.
    problem, fit = fitted(empty, 3, ((34.0, 0.0, -12.0), 400.0))
    state, reasons = quality(problem, fit, np.eye(3), 12.0)
    assert state == "limited"
    assert [r for r in reasons if r.startswith("at the edge of coverage")]


def test_counts_that_the_model_does_not_explain_are_a_misfit(empty: Problem) -> None:
    sound, good = fitted(empty, 4, (SOURCE, 300.0))
    assert quality(sound, good, np.eye(3), 18.0) == ("ok", [])
    # A probe whose gain jumps by 80 % from reading to reading.
    shaken = sound.data.counts * np.random.default_rng(5).uniform(0.2, 1.8, len(sound.data.counts))
    problem, fit = refitted(empty, np.round(shaken), [Source(np.array(SOURCE), 300.0)])
    assert [r for r in quality(problem, fit, np.eye(3), 18.0)[1] if r.startswith("model misfit")]


def test_a_spot_of_a_scan_carries_depth_through_its_file() -> None:
    (spot,) = reconstruct(setup(), filled(raster(), [(SOURCE, 200.0)], 0.4, seed=1)).result.spots
    assert spot.depth_below_surface_mm is not None and spot.depth_sd_mm is not None
    assert abs(spot.depth_below_surface_mm - 18.0) < 3.0 * spot.depth_sd_mm
    again = spot_from_json(json.loads(to_json(spot_content(spot))), "spots.json")
    assert (again.depth_below_surface_mm, again.depth_sd_mm) == (
        spot.depth_below_surface_mm,
        spot.depth_sd_mm,
    )
