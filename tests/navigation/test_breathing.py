"""A target that breathes is noticed in the simulator's counts, told in words, and widens what is said of its place."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.brokenscan import Break, scan_of
from navigation.breathing import frequencies
from navigation.goodness import assess, judged
from navigation.likelihood import Counts
from navigation.modelfit import Breathing, Goodness
from navigation.pointlayer import Problem, Source, fit_sources
from navigation.reconstruction import reconstruct
from navigation.reconstruction.geometry import build_geometry
from navigation.simulate.motion import Motion
from tests.navigation.scan_model import filled, raster, setup

# 15 breaths a minute, sideways in the body.
BREATHS = Motion(breathing_mm=10.0, period_s=4.0, axis=(0.6, 0.8, 0.0), phase_rad=0.7)


def goodness_of(motion: Motion) -> Goodness:
    """Of a scan of one node with 100 to 300 kBq, its model fitted from where the node is."""
    scan = scan_of("lone", 7, Break(motion=motion))
    geometry, readings = build_geometry(scan.setup, scan.readings), scan.readings
    rows = geometry.background.rows(geometry.projector, readings)
    counts = Counts(readings.counts, readings.live_s)
    decay = np.ones(len(readings))
    problem = Problem(counts, readings, geometry.projector, geometry.background, rows, decay)
    precision = geometry.background.precision(0.4)
    start = np.zeros(len(precision))
    start[0] = 0.4
    fit = fit_sources(problem, [Source(scan.lesions_mm[0], float(scan.lesions_kbq[0]))], start, precision)
    return assess(problem, fit, precision, scan.setup.surface_mm)


@pytest.fixture(scope="module")
def breathing() -> Goodness:
    return goodness_of(BREATHS)


def test_a_patient_who_breathes_10_mm_is_noticed_with_range_and_rate(breathing: Goodness) -> None:
    assert breathing.flagged and breathing.breathing is not None
    assert breathing.reasons[0].startswith("breathing: the counts fit a target that moves by about")
    # A focus of this strength tells the range to a few millimetres, the rate to half a breath in a minute.
    assert 7.0 < breathing.breathing.range_mm < 13.0
    assert abs(breathing.breathing.per_minute - 15.0) < 1.0


def test_what_it_adds_to_the_place_is_what_it_moves_by(breathing: Goodness) -> None:
    assert breathing.breathing is not None
    # 5 mm of amplitude have a mean square of 12.5 mm2, along one axis.
    added = np.linalg.eigvalsh(breathing.breathing.covariance_mm2)
    assert 6.0 < added[-1] < 22.0 and added[-1] > 0.7 * added.sum()


def test_a_patient_who_holds_still_does_not_breathe() -> None:
    still = goodness_of(Motion())
    assert not still.flagged and still.breathing is None


def test_a_short_scan_tells_no_breath() -> None:
    # Two breaths of the slowest patient take 20 s.
    assert len(frequencies(15.0)) == 0
    assert frequencies(60.0)[0] == 0.1 and frequencies(60.0)[-1] < 0.5


def test_a_focus_that_breathes_is_limited_and_as_uncertain_as_it_moves() -> None:
    found = reconstruct(setup(), filled(raster(200), [((0.0, 0.0, -15.0), 150.0)], 0.4, seed=1)).result
    moving = Breathing(15.0, 10.0, np.array([1.0, 0.0, 0.0]), np.diag([12.5, 0.0, 0.0]))
    told = judged(found, Goodness(0.001, 9.0, True, (moving.words,), breathing=moving))
    assert found.spots[0].quality == "ok" and told.spots[0].quality == "limited"
    added = told.spots[0].covariance_mm2 - found.spots[0].covariance_mm2
    assert np.allclose(added, moving.covariance_mm2)
    assert any(reason.startswith("breathing") for reason in told.spots[0].reasons)
    assert told.goodness is not None and told.goodness.to_json()["breathing"]["range_mm"] == 10.0
