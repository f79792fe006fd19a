"""A saturated counter on the screen: a lower bound in words, and a hot place that stays hot under hatching (H10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from navigation.ui.compose import slice_pixels
from navigation.ui.panels import rate_text
from navigation.ui.slices import views
from navigation.volume import NO_LIMIT_KBQ
from tests.navigation.ui.scene import FOCUS_MM, activity_map, model_of, snapshot


def test_the_rate_of_a_saturated_counter_is_told_as_a_lower_bound() -> None:
    counts = replace(snapshot().counts, rate_cps=31000.0, saturated=True)
    model = model_of(snapshot(counts=counts))
    state = model.state(0.1)
    assert rate_text(state) == "≥ 31,000 cps"
    assert any("SATURATED" in b for b in state.banners)
    plain = model_of(snapshot()).state(0.1)
    assert rate_text(plain) == "137 cps"
    assert not any("SATURATED" in b for b in plain.banners)
    # What is not fresh is no bound either.
    assert rate_text(model.state(60.0)) == "-- cps"


def test_a_place_that_saturated_the_counter_is_hot_and_hatched() -> None:
    found = activity_map()
    offset = np.linalg.norm(found.grid.points() - FOCUS_MM, axis=1).reshape(found.grid.shape)
    mda = np.where((offset < 12.0) & found.examined, np.float32(NO_LIMIT_KBQ), found.mda_kbq)
    plain, bound = (
        model_of(snapshot(map=shown)).state(0.1) for shown in (found, replace(found, mda_kbq=mda))
    )
    plane = views(plain, False)[0].plane
    before, after = (slice_pixels(s, plane, (45.0, 45.0), None).astype(float) for s in (plain, bound))
    x, y, _ = plane.project(FOCUS_MM)[0]
    scale = before.shape[0] / 90.0
    row, column = int((y + 45.0) * scale), int((x + 45.0) * scale)
    near = (slice(row - 8, row + 9), slice(column - 8, column + 9))
    # Still the brightest of the picture, with lines over it that the plain place has not.
    assert after[near].max() >= 0.7 * before[near].max()
    dimmed = (before - after)[near].sum(axis=-1)
    assert (dimmed != 0.0).mean() > 0.9
    assert np.ptp(dimmed) > 60.0
    far = (slice(0, 20), slice(0, 20))
    assert (before[far] == after[far]).all()
