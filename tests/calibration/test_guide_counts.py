"""Guided places, sweeps and background counts; the plan of the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.guided.guidecheck import CheckGuide
from calibration.guided.guidecount import CountGuide
from calibration.guided.guidepoints import STAND_NEAR_MM, PointsGuide
from calibration.guided.guidesweep import SweepGuide
from calibration.probe.gridplan import (
    CANDIDATE_R_MM,
    CANDIDATE_Z_MM,
    EXPOSURE_KBQ_S,
    common_probe,
    information,
    noise_variance,
    plan_grid,
    prior_covariance,
    steepness,
)

SOURCE_MM = np.array([40.0, -25.0, 12.0])
T_PROBE_TIP = np.eye(4)
T_PROBE_TIP[:3, 3] = [6.0, -9.0, 130.0]
LATENCY_S = 0.12


def marker_with_source_at(place_mm: np.ndarray) -> np.ndarray:
    """The marker in Reference of a probe that looks down, with the source at (3,) in its tip frame."""
    tip = np.diag([1.0, -1.0, -1.0, 1.0])
    tip[:3, 3] = SOURCE_MM - tip[:3, :3] @ place_mm
    return np.asarray(tip @ np.linalg.inv(T_PROBE_TIP))


class Bench:
    """Poses at 20 Hz and counting windows of 0.1 s that are stamped LATENCY_S late, of a common probe."""

    def __init__(
        self, guide: PointsGuide | SweepGuide | CheckGuide, seed: int = 0, activity_kbq: float = 500.0
    ) -> None:
        self.guide, self.activity_kbq = guide, activity_kbq
        self.rng = np.random.default_rng(seed)
        self.tick = 0
        self.place = np.array([0.0, 0.0, 60.0])
        self.counted: list[float] = []

    def step(self, place_mm: np.ndarray) -> None:
        """Fifty milliseconds on, with the source at a new place in the tip frame."""
        self.tick += 1
        t = self.tick * 0.05
        before, self.place = self.place, np.asarray(place_mm, dtype=float)
        noisy = marker_with_source_at(self.place)
        noisy[:3, 3] += self.rng.normal(0.0, 0.15, 3)
        self.guide.take_pose(t, noisy)
        if self.tick % 2 == 0:
            middle = 0.5 * (before + self.place)
            rate = self.activity_kbq * common_probe(
                np.array([np.hypot(middle[0], middle[1])]), np.array([middle[2]])
            )
            counts = float(self.rng.poisson(0.1 * rate[0]))
            self.counted.append(counts)
            self.guide.take_counts(t + LATENCY_S, counts, 0.1)

    def rest(self, seconds: float) -> None:
        """Held still."""
        for _ in range(round(20 * seconds)):
            self.step(self.place)

    def go(self, goal_mm: np.ndarray, mm_s: float = 60.0) -> None:
        """Straight to a place."""
        way = np.asarray(goal_mm) - self.place
        start = self.place.copy()
        steps = max(int(np.ceil(np.linalg.norm(way) / mm_s * 20)), 1)
        for k in range(1, steps + 1):
            self.step(start + way * k / steps)


def test_the_plan_tells_more_than_other_grids_of_as_many_places() -> None:
    r, z = (g.ravel() for g in np.meshgrid(CANDIDATE_R_MM, CANDIDATE_Z_MM))
    places = plan_grid(40)
    assert len(set(places)) == 40
    index = [int(np.flatnonzero((r == a) & (z == b))[0]) for a, b in places]
    covariance = prior_covariance(r, z)
    noise = noise_variance(np.maximum(common_probe(r, z), 1e-9) * EXPOSURE_KBQ_S)
    told = information(index, covariance, noise)
    rng = np.random.default_rng(0)
    others = [information(list(rng.choice(len(r), 40, replace=False)), covariance, noise) for _ in range(200)]
    assert told > 1.1 * max(others)
    # It reaches from near the face to far away, and from the axis to the edge of the view.
    assert min(z for _, z in places) <= 5.0
    assert max(z for _, z in places) >= 80.0
    assert min(r for r, _ in places) == 0.0
    assert max(r for r, _ in places) >= 30.0


def test_places_that_a_tracker_does_not_know_well_enough_are_left_out() -> None:
    def steepest(places: list[tuple[float, float]]) -> float:
        r, z = np.array(places).T
        return float(steepness(r, z).max())

    # 0.3 mm at the edge of the view close to the face is 30 percent; a twentieth is allowed.
    assert steepest(plan_grid(40)) > 0.9
    assert steepest(plan_grid(40, place_sd_mm=0.3)) <= 0.05 / 0.3
    assert len(set(plan_grid(40, place_sd_mm=0.3))) == 40


def test_one_more_place_never_tells_less() -> None:
    r, z = (g.ravel() for g in np.meshgrid(CANDIDATE_R_MM, CANDIDATE_Z_MM))
    covariance, noise = prior_covariance(r, z), noise_variance(common_probe(r, z) * EXPOSURE_KBQ_S)
    told = [information(list(range(n)), covariance, noise) for n in range(1, 12)]
    assert (np.diff(told) >= -1e-9).all()


def test_places_are_led_to_and_counted_where_the_source_really_was() -> None:
    wanted = [(0.0, 10.0), (8.0, 30.0)]
    guide = PointsGuide(wanted, SOURCE_MM, T_PROBE_TIP, longest_s=1.5)
    bench = Bench(guide)
    for _ in range(10):
        bench.step(np.array([1.0, 0.0, 60.0]))
    assert guide.guidance().hint == "move closer to 10 mm: now 60 mm"
    bench.go(np.array([0.5, 0.0, 10.8]))
    for _ in range(60):
        bench.step(np.array([0.5, 0.0, 10.8]))
    assert len(guide.done_places) == 1
    assert guide.guidance().hint.startswith("move away to 30 mm")
    bench.go(np.array([0.5, 0.0, 30.0]))
    bench.rest(0.4)
    assert "aside until the source is 8 mm off the axis" in guide.guidance().hint
    bench.go(np.array([7.6, 0.0, 30.0]))
    for _ in range(60):
        bench.step(np.array([7.6, 0.0, 30.0]))
    told = guide.guidance()
    assert told.done
    assert told.progress == 1.0
    first, second = guide.done_places
    assert first.z_mm == pytest.approx(10.8, abs=0.2)
    assert (second.r_mm, second.z_mm) == pytest.approx((7.6, 30.0), abs=0.2)
    # 1.5 s of Poisson counts at the true place: five of their standard deviations.
    mean = 1.5 * 500.0 * float(common_probe(np.array([0.5]), np.array([10.8]))[0])
    assert first.live_s == pytest.approx(1.5)
    assert abs(first.counts - mean) < 5.0 * np.sqrt(mean)


def test_counts_of_the_way_there_are_not_those_of_the_place() -> None:
    guide = PointsGuide([(0.0, 10.0)], SOURCE_MM, T_PROBE_TIP, longest_s=1.0)
    bench = Bench(guide)
    for k in range(100):
        bench.step(np.array([0.0, 0.0, 10.0 if k % 10 else 25.0]))
    assert guide.done_places == []


def test_on_a_stand_the_next_place_begins_where_it_is_and_not_where_the_last_was() -> None:
    guide = PointsGuide(
        [(0.0, 5.0), (2.0, 5.0)], SOURCE_MM, T_PROBE_TIP, longest_s=1.0, near_mm=STAND_NEAR_MM
    )
    bench = Bench(guide)
    bench.go(np.array([0.0, 0.0, 5.0]))
    bench.rest(6.0)
    assert len(guide.done_places) == 1
    assert "aside until the source is 2 mm off" in guide.guidance().hint
    bench.go(np.array([2.0, 0.0, 5.0]))
    bench.rest(3.0)
    assert guide.done_places[1].r_mm == pytest.approx(2.0, abs=0.2)


def test_a_source_behind_the_face_is_said() -> None:
    guide = PointsGuide([(0.0, 10.0)], SOURCE_MM, T_PROBE_TIP)
    Bench(guide).step(np.array([0.0, 0.0, -20.0]))
    assert "behind its face" in guide.guidance().hint


def round_the_source(bench: Bench, seconds: float, quick: float = 1.0) -> None:
    """Over the source in every direction, 20 to 45 mm in front of it, until the guide is done."""
    for k in range(int(seconds * 20)):
        if bench.guide.guidance().done:
            return
        s = 0.05 * k * quick
        x, y = 24 * np.sin(1.9 * s) * np.cos(0.37 * s), 24 * np.sin(1.9 * s) * np.sin(0.37 * s)
        bench.step(np.array([x, y, 30.0 + 12.0 * np.sin(0.5 * s)]))


def test_a_sweep_ends_by_itself_when_enough_is_foretold() -> None:
    guide = SweepGuide(SOURCE_MM, T_PROBE_TIP, 500.0, common_probe)
    bench = Bench(guide)
    bench.go(np.array([0.0, 0.0, 30.0]))
    bench.rest(0.6)
    assert guide.guidance().phase == "left"
    bench.go(np.array([45.0, 0.0, 30.0]))
    assert guide.guidance().phase == "sweep"
    round_the_source(bench, 120.0)
    told = guide.guidance()
    assert told.done
    assert told.refusals == ()
    assert guide.predicted["latency_ms"] <= 4.0
    assert guide.predicted["axis_deg"] <= 1.0
    assert guide.predicted["centre_mm"] <= 0.5


def test_the_probe_is_where_the_users_map_shows_it() -> None:
    guide = SweepGuide(SOURCE_MM, T_PROBE_TIP, 500.0, common_probe)
    bench = Bench(guide)
    bench.go(np.array([0.0, 0.0, 30.0]))
    bench.rest(0.6)
    # The probe goes to -x of Reference and calls that its left: the source moves to +x of the tip.
    bench.go(np.array([50.0, 0.0, 30.0]))
    bench.go(np.array([20.0, 0.0, 30.0]))
    told = guide.guidance()
    assert told.pointer is not None
    offset, azimuth = told.pointer
    assert offset == pytest.approx(20.0, abs=1.0)
    assert azimuth == pytest.approx(np.pi, abs=0.1)


def test_slow_passes_for_a_latency_are_told_to_be_faster() -> None:
    guide = SweepGuide(SOURCE_MM, T_PROBE_TIP, 500.0, latency_only=True)
    bench = Bench(guide)
    bench.go(np.array([0.0, 0.0, 30.0]))
    bench.rest(0.6)
    bench.go(np.array([45.0, 0.0, 30.0]))
    bench.go(np.array([0.0, 0.0, 30.0]), mm_s=20.0)
    assert guide.guidance().hint.startswith("faster")
    bench.go(np.array([30.0, 0.0, 30.0]), mm_s=100.0)
    assert guide.guidance().hint == "to and fro over the source"
    for k in range(60):
        bench.go(np.array([-30.0 if k % 2 else 30.0, 0.0, 25.0]), mm_s=100.0)
    assert guide.guidance().done


def test_foretold_errors_shrink_as_the_root_of_the_time() -> None:
    def after(seconds: float) -> float:
        guide = SweepGuide(SOURCE_MM, T_PROBE_TIP, 500.0, common_probe, latency_only=True)
        guide.targets = {"latency_ms": 0.0}
        bench = Bench(guide, activity_kbq=500.0)
        bench.go(np.array([0.0, 0.0, 30.0]))
        bench.rest(0.6)
        bench.go(np.array([45.0, 0.0, 30.0]))
        round_the_source(bench, seconds)
        return guide.predicted["latency_ms"]

    # Four times the time, half the error: the path repeats itself only roughly.
    assert after(80.0) == pytest.approx(0.5 * after(20.0), rel=0.25)


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.2, 200.0), seed=st.integers(0, 1000))
def test_a_background_count_ends_and_its_error_is_told(rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    guide = CountGuide()
    progress = 0.0
    for k in range(700):
        guide.take_counts(0.1 * k, float(rng.poisson(0.1 * rate)), 0.1)
        told = guide.guidance()
        assert progress <= told.progress <= 1.0
        progress = told.progress
        if told.done:
            break
    assert told.done
    assert 10.0 - 1e-6 <= guide.live_s <= 60.0 + 0.2
    assert guide.total >= 100.0 or guide.live_s >= 60.0 - 1e-6


def test_a_source_that_comes_into_view_spoils_the_background() -> None:
    guide = CountGuide()
    for k in range(200):
        guide.take_counts(0.1 * k, 1.0 if k < 60 else 6.0, 0.1)
    told = guide.guidance()
    assert told.done
    assert told.refusals == ("the rate changed while it was counted",)


def test_a_daily_check_rests_at_its_places_and_then_goes_round() -> None:
    guide = CheckGuide(SOURCE_MM, T_PROBE_TIP, 500.0, common_probe)
    guide.rests.longest_s = 1.5
    bench = Bench(guide)
    for z in (10.0, 30.0, 50.0):
        bench.go(np.array([0.0, 0.0, z]))
        bench.rest(2.6)
    told = guide.guidance()
    assert told.progress == pytest.approx(0.5, abs=0.01)
    assert not told.done
    bench.go(np.array([0.0, 0.0, 30.0]))
    bench.rest(0.6)
    bench.go(np.array([45.0, 0.0, 30.0]))
    round_the_source(bench, 120.0)
    assert guide.guidance().done
    assert guide.guidance().step == "check"
