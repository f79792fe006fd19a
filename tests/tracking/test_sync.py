"""Counts on a path: fine enough, whole intervals only, and everything else counted as unplaced."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.buffer import PoseTrack
from tracking.sync import MOST_SUB_POSES, SUB_POSE_REACH_MM, place_counts

STEP_S = 1.0 / 60.0


def moving(speed_mm_s: float, seconds: float = 6.0, turn_rad_s: float = 0.0) -> PoseTrack:
    t = np.arange(0.0, seconds, STEP_S)
    matrices = np.tile(np.eye(4), (len(t), 1, 1))
    c, s = np.cos(turn_rad_s * t), np.sin(turn_rad_s * t)
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = c, -s, s, c
    matrices[:, 0, 3] = speed_mm_s * t
    return PoseTrack.from_arrays(t, matrices)


def test_hand_speed_needs_one_pose_in_the_middle() -> None:
    track = moving(30.0)
    readings = place_counts(track.sample, [2.0, 2.1], [7.0, 9.0], 0.1, covers=track.covers)
    assert len(readings.poses) == 2  # 30 mm/s x 0.1 s: 1.5 mm to either side of the middle
    np.testing.assert_allclose(readings.t_s, [1.95, 2.05])
    np.testing.assert_allclose(readings.poses[:, 0, 3], [58.5, 61.5])
    np.testing.assert_allclose(readings.counts, [7.0, 9.0])
    np.testing.assert_allclose(readings.live_s, [0.1, 0.1])


def test_a_one_second_counter_is_smeared_along_its_path() -> None:
    track = moving(30.0)
    readings = place_counts(track.sample, [3.0], [100.0], [1.0], covers=track.covers)
    # 30 mm in reach of 2 mm to either side: 8 pieces of 3.75 mm, their middles at 60 + 3.75 (i + 1/2).
    np.testing.assert_allclose(readings.poses[:, 0, 3], 60.0 + 3.75 * (np.arange(8) + 0.5), atol=1e-9)
    np.testing.assert_allclose(readings.weights, 1 / 8)
    assert readings.first.tolist() == [0, 8]
    assert SUB_POSE_REACH_MM >= 3.75 / 2


def test_turning_on_the_spot_is_motion_too() -> None:
    track = moving(0.001, turn_rad_s=np.deg2rad(60.0))
    readings = place_counts(track.sample, [2.0], [1.0], 0.1, covers=track.covers)
    assert len(readings.poses) == 2  # 6 degrees: 1 piece reaches 3 degrees, 2 pieces 1.5


def test_the_path_is_cut_into_32_at_most() -> None:
    track = moving(500.0)
    readings = place_counts(track.sample, [3.0], [1.0], [2.0], covers=track.covers)
    assert len(readings.poses) == MOST_SUB_POSES
    assert readings.weights.sum() == pytest.approx(1.0)


def test_short_and_long_windows_keep_their_order() -> None:
    track = moving(30.0)
    readings = place_counts(
        track.sample, [1.0, 2.0, 2.1, 4.0], [1, 2, 3, 4], [0.1, 1.0, 0.1, 1.5], covers=track.covers
    )
    assert np.diff(readings.first).tolist() == [1, 8, 1, 16]
    assert readings.counts.tolist() == [1, 2, 3, 4]
    for i in range(4):
        own = slice(readings.first[i], readings.first[i + 1])
        assert readings.weights[own].sum() == pytest.approx(1.0)
        assert readings.poses[own, 0, 3].mean() == pytest.approx(30.0 * readings.t_s[i])


def test_latency_moves_the_interval_back() -> None:
    track = moving(30.0)
    readings = place_counts(track.sample, [2.13], [1.0], 0.1, latency_s=0.13, covers=track.covers)
    assert readings.t_s[0] == pytest.approx(1.95)  # stamped 2.13, ended 2.00, middle 1.95
    assert readings.poses[0, 0, 3] == pytest.approx(58.5)


def test_live_time_is_kept_apart_from_the_window() -> None:
    track = moving(30.0)
    readings = place_counts(track.sample, [2.0], [1.0], 0.1, live_s=[0.08], covers=track.covers)
    assert readings.live_s.tolist() == [0.08]


@pytest.mark.parametrize("with_covers", [True, False])
def test_intervals_that_touch_an_occlusion_are_unplaced(with_covers: bool) -> None:
    t = np.arange(0.0, 4.0, STEP_S)
    matrices = np.tile(np.eye(4), (len(t), 1, 1))
    matrices[:, 0, 3] = 20.0 * t
    matrices[(t > 1.52) & (t < 2.03)] = np.nan
    track = PoseTrack.from_arrays(t, matrices)
    ends = 0.1 * np.arange(1, 39)
    readings = place_counts(
        track.sample, ends, np.ones(38), 0.1, covers=track.covers if with_covers else None
    )
    # Hidden from 1.52 to 2.03: the windows ending at 1.6 ... 2.1 reach into it, all others do not.
    hidden = (ends > 1.52) & (ends - 0.1 < 2.03)
    assert hidden.sum() == 6
    assert readings.unplaced == 6
    np.testing.assert_allclose(readings.t_s, ends[~hidden] - 0.05)


def test_no_interval_before_the_first_or_after_the_last_pose() -> None:
    track = moving(30.0, seconds=1.0)
    readings = place_counts(track.sample, [0.05, 0.5, 1.05, 9.0], np.ones(4), 0.1, covers=track.covers)
    assert readings.t_s.tolist() == [0.45]
    assert readings.unplaced == 3


def test_nothing_to_place() -> None:
    track = moving(30.0)
    readings = place_counts(track.sample, [], [], 0.1, covers=track.covers)
    assert (len(readings), readings.unplaced, len(readings.poses)) == (0, 0, 0)
