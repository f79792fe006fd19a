"""Limits of speed, distance and tilt that follow from the wanted MDA, and what is said where they are exceeded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.guidance.handling import (
    CONTACT_MM,
    FASTEST_MM_S,
    LINES_MM,
    SHARE_OF_BEST,
    Handling,
    Limits,
    limits_for,
    seen,
    speed_of,
)
from navigation.reconstruction import reconstruct
from navigation.spots import background_alone
from navigation.uncertainty import score_map
from tests.navigation.scan_model import filled, raster, response, setup

LIMITS = Limits(20.0, 12.0, 40.0)


def test_a_scan_in_lines_at_the_limit_shows_just_what_is_wanted() -> None:
    wanted, depth, rate = 8.0, 8.0, 60.0
    limit = limits_for(response(), wanted, depth, rate)
    assert 3.0 < limit.fastest_mm_s < FASTEST_MM_S
    # Lines LINES_MM apart at that speed, summed over readings of 0.1 s: the information on a source in the middle.
    step = limit.fastest_mm_s * 0.1
    x, y = np.meshgrid(np.arange(-45.0, 45.0, step), np.arange(-40.0, 40.1, LINES_MM))
    s = seen(response(), np.hypot(x, y).ravel(), CONTACT_MM, depth)
    sd = 1.0 / np.sqrt((s**2 * 0.1 / rate).sum())
    assert 2 * 1.6449 * sd * 1.15 == pytest.approx(wanted, rel=0.05)


def test_more_counts_a_smaller_focus_and_a_deeper_one_ask_for_a_slower_hand() -> None:
    usual = limits_for(response(), 4.0, 8.0, 60.0).fastest_mm_s
    assert limits_for(response(), 4.0, 8.0, 120.0).fastest_mm_s == pytest.approx(usual / 2, rel=1e-6)
    assert limits_for(response(), 2.0, 8.0, 60.0).fastest_mm_s < usual / 3
    assert limits_for(response(), 4.0, 16.0, 60.0).fastest_mm_s < usual / 2


def test_too_far_is_where_a_second_tells_half_as_much() -> None:
    limit = limits_for(response(), 4.0, 8.0, 60.0)
    near, far = (
        float(seen(response(), np.zeros(1), s, 8.0)[0]) ** 2 for s in (CONTACT_MM, limit.farthest_mm)
    )
    assert SHARE_OF_BEST <= far / near < SHARE_OF_BEST + 0.1
    # A deep place minds the distance less.
    assert limits_for(response(), 4.0, 25.0, 60.0).farthest_mm > limit.farthest_mm


def test_words_name_what_is_wrong_and_its_limit() -> None:
    held = Handling(15.0, 3.0, 10.0, LIMITS, 4.0)
    assert held.words == ()
    fast = replace(held, speed_mm_s=31.0)
    assert fast.words == ("too fast here for 4 kBq: 31 mm/s, 20 at most",)
    assert replace(held, distance_mm=20.0).words == ("too far for 4 kBq: 20 mm off, 12 at most",)
    assert replace(held, angle_deg=50.0).words == ("tilted for 4 kBq: 50 degrees, 40 at most",)
    assert len(replace(fast, distance_mm=20.0, angle_deg=50.0).words) == 3
    assert Handling(None, None, None, LIMITS, 4.0).words == ()


def test_speed_is_that_of_the_last_half_second() -> None:
    stamps = np.linspace(0.0, 0.5, 6)
    places = np.column_stack([30.0 * stamps, np.zeros(6), np.zeros(6)])
    assert speed_of(stamps, places) == pytest.approx(30.0)
    places[0] = np.nan
    assert speed_of(stamps, places) == pytest.approx(30.0)
    places[:4] = np.nan
    assert speed_of(stamps, places) is None


def test_the_mda_of_a_scan_at_the_limit_is_about_the_wanted_one() -> None:
    readings = filled(raster(400), [], 0.2, seed=3)
    state = reconstruct(setup(), readings)
    rate = float(readings.counts.sum() / readings.live_s.sum())
    place = np.array([[0.0, 0.0, -6.0]])
    scores = score_map(
        state.problem.rows(place).astype(np.float32), background_alone(state.problem, state.found)
    )
    mda = float(scores.mda_kbq[0]) * 1.15
    # The raster's 17 lines lie 3.3 mm apart: so much faster could it have gone with lines LINES_MM apart.
    limit = limits_for(response(), mda, 6.0, rate).fastest_mm_s
    assert limit == pytest.approx(25.0 * (56.0 / 17) / LINES_MM, rel=0.5)
