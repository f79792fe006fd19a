"""A scan of a target that breathes, brought to rest: its place is the mean, and what it moves by is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.breathing import CHI2_95, one_scan
from navigation.breathing import breathing_of
from navigation.reconstruction.stilled import settled, stilled
from tests.navigation.scan_model import raster


def test_poses_are_brought_into_the_frame_of_the_target() -> None:
    swing = np.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    breathing = breathing_of(0.25, swing, np.zeros((3, 3)))
    readings = raster(81)
    still = stilled(readings, breathing)
    away = readings.poses[:, :3, 3] - still.poses[:, :3, 3]
    # A quarter of a hertz: after 4 s the phase is 0 again, after 1 s and 5 s a quarter turn.
    assert away[0] == pytest.approx([3.0, 0.0, 0.0]) and away[40] == pytest.approx([3.0, 0.0, 0.0], abs=1e-9)
    assert away[10] == pytest.approx([0.0, 4.0, 0.0], abs=1e-9)
    np.testing.assert_array_equal(still.poses[:, :3, :3], readings.poses[:, :3, :3])
    # The swing is a turn of 3 and 4 mm: 8 mm from end to end along its longer axis.
    assert breathing.range_mm == pytest.approx(8.0)


@pytest.mark.parametrize(("more_mm", "known"), [(0.3, True), (3.0, False), (30.0, True)])
def test_the_swing_is_sought_until_it_stays_or_is_no_breathing(more_mm: float, known: bool) -> None:
    swing = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    before = breathing_of(0.25, swing, np.zeros((3, 3)))
    after = breathing_of(0.25, swing + [[more_mm, 0.0, 0.0], [0.0, 0.0, 0.0]], np.zeros((3, 3)))
    assert settled(before, after) is known


def test_a_focus_under_breathing_is_found_at_its_mean_place(tmp_path: Path) -> None:
    # In the simulator's physics: 60 kBq, 10 mm from end to end; not followed, this scan's place was 4.6 mm off.
    told = one_scan(60.0, 10.0, 5004, tmp_path)
    assert told["flagged"] and told["breathing"] == pytest.approx(10.0, abs=3.5)
    assert told["error"] < 3.5 and told["chi2"] <= CHI2_95
