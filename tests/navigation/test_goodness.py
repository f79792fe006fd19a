"""A model that does not fit its counts is flagged, and a sound one is not.

The arithmetic is tested on scans of the reconstruction's own model; that a good calibration of independent physics
is not flagged, and another probe's is, on scans of the simulator.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.brokenscan import Break, Broken, scan_of
from navigation.goodness import assess, judged
from navigation.likelihood import Counts
from navigation.modelfit import NEVER_SEEN, Goodness
from navigation.pointlayer import JointFit, Problem, Source, fit_sources
from navigation.reconstruction import reconstruct
from navigation.reconstruction.geometry import build_geometry
from navigation.reconstruction.setup import ImagingSetup
from tests.navigation.scan_model import filled, flat_surface, problem_of, raster, setup
from tracking.sample import Readings

NODE = ((3.0, -4.0, -18.0), 150.0)
LEVEL = 0.4


def fitted(readings: Readings) -> tuple[Problem, JointFit, np.ndarray]:
    problem = problem_of(readings)
    precision = problem.background.precision(LEVEL)
    start = np.zeros(len(precision))
    start[0] = LEVEL
    return problem, fit_sources(problem, [Source(np.array(NODE[0]), NODE[1])], start, precision), precision


def of(readings: Readings) -> Goodness:
    return assess(*fitted(readings), flat_surface())


@pytest.fixture(scope="module")
def sound() -> Readings:
    return filled(raster(), [NODE], LEVEL, seed=5)


def later(readings: Readings, steps: int) -> Readings:
    """The same counts, placed where the probe was some intervals later."""
    poses = readings.poses[np.minimum(np.arange(len(readings)) + steps, len(readings) - 1)]
    return replace(readings, poses=poses)


def moved(readings: Readings, mm: float) -> Readings:
    """The Reference slips half-way: the same counts, seen from elsewhere."""
    poses = readings.poses.copy()
    poses[len(poses) // 2 :, 0, 3] += mm
    return replace(readings, poses=poses)


def test_a_sound_scan_is_not_flagged(sound: Readings) -> None:
    goodness = of(sound)
    assert not goodness.flagged and goodness.reasons == ()
    assert goodness.p is not None and goodness.p > 0.01
    assert NEVER_SEEN in goodness.unseen


def test_the_level_is_kept_over_sound_scans() -> None:
    # 25 scans at a level of 1 %: three or more happen in 0.2 % of such studies.
    problem, fit, precision = fitted(filled(raster(300), [NODE], LEVEL, seed=0))
    expected, flagged = problem.data.expected(fit.rate_cps), 0
    for seed in range(25):
        counts = np.random.default_rng(seed).poisson(expected).astype(float)
        drawn = replace(problem, data=Counts(counts, problem.data.live_s))
        again = fit_sources(drawn, list(fit.sources), fit.background, precision)
        flagged += assess(drawn, again, precision).flagged
    assert flagged <= 2


def test_counts_placed_300_ms_too_late_are_flagged_with_the_figure(sound: Readings) -> None:
    goodness = of(later(sound, 3))
    assert goodness.flagged and goodness.p is not None and goodness.p <= 0.005
    (told,) = goodness.reasons
    figure = float(told.split("latency ")[1].split(" ms")[0])
    assert "longer" in told and 200.0 < figure < 400.0, told


def test_a_patient_who_moves_half_way_is_flagged_with_the_time(sound: Readings) -> None:
    goodness = of(moved(sound, 15.0))
    assert goodness.flagged
    assert "moved at about" in goodness.reasons[0]
    # The scan takes 40 s.
    assert 14.0 <= float(goodness.reasons[0].split("about ")[1].split(" s")[0]) <= 26.0


def test_what_a_quiet_scan_cannot_show_is_said() -> None:
    readings = filled(raster(), [], LEVEL, seed=1)
    problem = problem_of(readings)
    precision = problem.background.precision(LEVEL)
    start = np.zeros(len(precision))
    start[0] = LEVEL
    goodness = assess(problem, fit_sources(problem, [], start, precision), precision, flat_surface())
    assert not goodness.flagged
    assert "without a focus" in goodness.unseen[0]


def test_a_weak_focus_says_that_a_wrong_latency_would_not_show() -> None:
    # 3 kBq at 18 mm: some 30 counts above the background in the whole scan.
    weak = (NODE[0], 3.0)
    readings = filled(raster(), [weak], LEVEL, seed=2)
    problem = problem_of(readings)
    precision = problem.background.precision(LEVEL)
    start = np.zeros(len(precision))
    start[0] = LEVEL
    fit = fit_sources(problem, [Source(np.array(weak[0]), weak[1])], start, precision, fixed=True)
    assert any("latency" in words for words in assess(problem, fit, precision).unseen)


def test_a_strong_source_seen_by_a_perfect_tracker_is_not_too_even() -> None:
    # At 130,000 counts the tracker's assumed noise is most of the assumed scatter; this one has none.
    hot = [((3.0, -4.0, -22.0), 5000.0)]
    goodness = reconstruct(setup(), filled(raster(600), hot, 0.2, seed=1)).result.goodness
    assert goodness is not None and not goodness.flagged


def slow_scan(n: int, sources: list[tuple[tuple[float, float, float], float]], seed: int) -> Readings:
    """A reading a second, over the path of ten."""
    fast = filled(raster(10 * n), sources, LEVEL, seed)
    return Readings(
        fast.t_s[5::10],
        fast.counts.reshape(n, 10).sum(axis=1),
        np.full(n, 1.0),
        fast.poses,
        np.ones(10 * n),
        np.arange(0, 10 * n + 1, 10),
    )


def test_a_minute_of_a_slow_counter_is_tested_and_says_what_it_cannot_show() -> None:
    goodness = assess(*fitted(slow_scan(38, [NODE], 4)))
    assert goodness.p is not None and not goodness.flagged
    assert any("slow" in words for words in goodness.unseen)
    # A patient who moves by 14 mm half way is told from as few.
    moved = slow_scan(38, [NODE], 4)
    first = slow_scan(38, [((NODE[0][0] + 14.0, NODE[0][1], NODE[0][2]), NODE[1])], 4)
    counts = np.where(np.arange(38) < 19, first.counts, moved.counts)
    assert assess(*fitted(replace(moved, counts=counts))).flagged


def test_in_a_flagged_scan_what_its_misfit_could_make_is_no_finding(sound: Readings) -> None:
    good = reconstruct(setup(), sound).result
    spot = good.spots[0]
    bad = Goodness(0.001, 9.0, True, ("the model does not fit these counts",))
    (kept,) = judged(good, bad, 0.9 * spot.significance).spots[:1]
    (lost,) = judged(good, bad, 1.1 * spot.significance).spots[:1]
    assert (kept.quality, lost.quality) == ("limited", "unusable")
    assert "hint" in lost.reasons[-1] and not any("hint" in reason for reason in kept.reasons)
    # In a scan whose model holds nothing changes.
    assert judged(good, replace(bad, flagged=False), 1e9).spots == good.spots


def test_too_few_counts_tell_nothing() -> None:
    goodness = of(replace(filled(raster(), [], 0.001, seed=0)))
    assert goodness.p is None and not goodness.flagged
    assert "too few counts" in goodness.unseen[0]


def test_a_surface_that_the_probe_went_through_is_flagged(sound: Readings) -> None:
    problem, fit, precision = fitted(sound)
    goodness = assess(problem, fit, precision, flat_surface() + [0.0, 0.0, 20.0])
    # The face is 2 mm above the true surface: 18 mm inside the wrong one.
    assert goodness.flagged and "18 mm inside the touched surface" in goodness.reasons[-1]
    far = assess(problem, fit, precision, flat_surface() - [0.0, 0.0, 20.0])
    assert far.flagged and "seldom nearer than 22 mm" in far.reasons[-1]


def test_saturated_readings_are_no_misfit(sound: Readings) -> None:
    # A censored reading says only that the rate was no lower: however high the model is there, it is no residual.
    problem, fit, precision = fitted(sound)
    hottest = fit.rate_cps > np.quantile(fit.rate_cps, 0.9)
    lower = Counts(
        np.where(hottest, 0.0, problem.data.counts), problem.data.live_s, problem.data.dead_time, hottest
    )
    assert not assess(replace(problem, data=lower), fit, precision).flagged


def test_the_answer_depends_on_the_readings_alone(sound: Readings) -> None:
    assert of(sound) == of(sound)


def simulated(broken: Break) -> tuple[Problem, JointFit, np.ndarray, Broken]:
    scan = scan_of("pair", 3, broken)
    geometry, readings = build_geometry(scan.setup, scan.readings), scan.readings
    rows = geometry.background.rows(geometry.projector, readings)
    problem = Problem(
        Counts(readings.counts, readings.live_s),
        readings,
        geometry.projector,
        geometry.background,
        rows,
        np.ones(len(readings)),
    )
    precision = geometry.background.precision(0.3)
    start = np.zeros(len(precision))
    start[0] = 0.3
    sources = [Source(p, float(a)) for p, a in zip(scan.lesions_mm, scan.lesions_kbq, strict=True)]
    return problem, fit_sources(problem, sources, start, precision), precision, scan


def test_a_good_calibration_of_independent_physics_is_not_flagged() -> None:
    problem, fit, precision, scan = simulated(Break())
    assert not assess(problem, fit, precision, scan.setup.surface_mm).flagged


def test_the_calibration_of_another_make_of_probe_is_flagged_beside_a_strong_source() -> None:
    # Few counts of weak foci do not tell one probe's response from another's; those of an injection site do.
    for broken, flagged in ((Break(), False), (Break(other_probe=True), True)):
        scan = scan_of("site", 100, broken)
        goodness = reconstruct(scan.setup, scan.readings).result.goodness
        assert goodness is not None and goodness.flagged == flagged
    assert "response does not fit" in goodness.reasons[0]


def test_a_flagged_scan_has_no_good_spot(sound: Readings) -> None:

    setup = ImagingSetup.create(problem_of(sound).projector.response, flat_surface(), "Tc-99m")
    good = reconstruct(setup, sound).result
    assert good.goodness is not None and not good.goodness.flagged and good.spots[0].quality == "ok"
    bad = judged(good, Goodness(0.001, 9.0, True, ("the model does not fit these counts",)))
    assert [s.quality for s in bad.spots] == ["limited"] * len(bad.spots)
    assert "the model does not fit these counts" in bad.spots[0].reasons
    assert "the model does not fit these counts" in bad.reasons
