"""Count latency from a sweep over a point source: sign, size and interval."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.timing.latency import estimate_latency_point_source
from tests.navigation.scan_model import response
from tracking.errors import InputError
from tracking.sample import Readings

SOURCE = np.array([3.0, -2.0, 0.0])


def pose_at(t: np.ndarray) -> np.ndarray:
    """Looking down from 25 mm, swinging +-30 mm along x at up to 120 mm/s and slowly along y."""
    poses = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (len(t), 1, 1))
    poses[:, 0, 3], poses[:, 1, 3], poses[:, 2, 3] = 30 * np.sin(4.0 * t), 10 * np.sin(0.9 * t), 25.0
    return poses


def placed(stamps: np.ndarray, counts: np.ndarray, latency_s: float) -> Readings:
    """The synchroniser's job on a path known at all times."""
    middle = stamps - latency_s - 0.05
    sub = (middle[:, None] + np.linspace(-0.04, 0.04, 5)).ravel()
    n = len(stamps)
    return Readings(
        middle, counts, np.full(n, 0.1), pose_at(sub), np.full(5 * n, 0.2), np.arange(0, 5 * n + 1, 5)
    )


def sweep(latency_s: float, activity_kbq: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    stamps = 1.0 + 0.1 * np.arange(70)
    readings = placed(stamps, np.zeros(70), latency_s)
    offset = SOURCE - readings.poses[:, :3, 3]
    rate = response().in_air(np.hypot(offset[:, 0], offset[:, 1]), -offset[:, 2]).reshape(70, 5).mean(axis=1)
    return stamps, np.random.default_rng(seed).poisson(0.1 * (activity_kbq * rate + 2.0)).astype(float)


@pytest.mark.parametrize("latency_s", [0.0, 0.085, 0.17])
def test_a_strong_source_tells_the_latency(latency_s: float) -> None:
    stamps, counts = sweep(latency_s, 300.0, seed=1)
    found = estimate_latency_point_source(lambda lag: placed(stamps, counts, lag), SOURCE, response())
    assert found.determined
    assert found.latency_s == pytest.approx(latency_s, abs=0.006)
    assert found.ci95_s is not None
    assert found.ci95_s[1] - found.ci95_s[0] < 0.03


@pytest.mark.parametrize("latency_s", [-0.1, -0.04])
def test_a_tracker_that_is_later_is_told_and_never_cut_to_none(latency_s: float) -> None:
    stamps, counts = sweep(latency_s, 300.0, seed=5)
    found = estimate_latency_point_source(lambda lag: placed(stamps, counts, lag), SOURCE, response())
    # Seven seconds of a sweep leave 3 ms (one standard error).
    assert found.latency_s == pytest.approx(latency_s, abs=0.010)
    assert not found.determined
    assert "later than the counts" in found.reasons[0]


def test_a_source_somewhat_beside_its_place_does_not_pass_for_latency() -> None:
    stamps, counts = sweep(0.1, 300.0, seed=2)
    found = estimate_latency_point_source(
        lambda lag: placed(stamps, counts, lag), SOURCE + [1.5, -1.0, 1.0], response()
    )
    assert found.latency_s == pytest.approx(0.1, abs=0.008)


def test_a_faint_source_leaves_it_undetermined() -> None:
    stamps, counts = sweep(0.1, 0.5, seed=3)
    found = estimate_latency_point_source(lambda lag: placed(stamps, counts, lag), SOURCE, response())
    assert not found.determined
    assert found.reasons


def test_too_few_readings_are_refused() -> None:
    stamps, counts = sweep(0.1, 300.0, seed=4)
    with pytest.raises(InputError, match="have a place"):
        estimate_latency_point_source(lambda lag: placed(stamps[:5], counts[:5], lag), SOURCE, response())
