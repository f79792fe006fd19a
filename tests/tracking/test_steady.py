"""A bumped reference is found by a marker that must not move against it, and noise is no bump (H04, T07)."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.simulate.devices import (
    REFERENCE_NOISE_DEG,
    REFERENCE_NOISE_MM,
    SLOW_SHARE,
    SLOW_TAU_S,
    TOOL_NOISE_DEG,
    TOOL_NOISE_MM,
)
from tracking.hub import Hub
from tracking.igtl.codec import encode
from tracking.igtl.poses import pose_message
from tracking.poses import Floats
from tracking.sample import PoseSample, PoseStatus
from tracking.steady import LEARNT_S, SteadyWatch
from tracking.transform import invert_rigid

HZ = 20.0
LEVER_MM = 100.0


def noise(rng: np.random.Generator, n: int, mm: float, deg: float) -> Floats:
    """Errors (n, 4, 4) of a simulated marker: white, and 30 % of the variance correlated over 1.5 s."""
    kept = np.exp(-1.0 / (HZ * SLOW_TAU_S))
    slow, steps = rng.normal(size=(n, 6)), np.sqrt(1 - kept**2) * rng.normal(size=(n, 6))
    for i in range(1, n):
        slow[i] = kept * slow[i - 1] + steps[i]
    error = (np.sqrt(SLOW_SHARE) * slow + np.sqrt(1 - SLOW_SHARE) * rng.normal(size=(n, 6))) / np.sqrt(3)
    return small(np.radians(deg) * error[:, :3], mm * error[:, 3:])


def small(turn_rad: Floats, shift_mm: Floats) -> Floats:
    """Small motions (n, 4, 4)."""
    x, y, z = turn_rad.T
    poses = np.tile(np.eye(4), (len(turn_rad), 1, 1))
    poses[:, 0, 1], poses[:, 0, 2], poses[:, 1, 2] = -z, y, -x
    poses[:, 1, 0], poses[:, 2, 0], poses[:, 2, 1] = z, -y, x
    poses[:, :3, 3] = shift_mm
    return poses


def measured(rng: np.random.Generator, seconds: float) -> Floats:
    """`T_reference_check` (n, 4, 4) as measured, the markers 100 mm apart."""
    n = round(seconds * HZ)
    apart = np.eye(4)
    apart[:3, 3] = LEVER_MM * unit(rng)
    reference = noise(rng, n, REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG)
    return np.asarray(invert_rigid(reference) @ apart @ noise(rng, n, TOOL_NOISE_MM, TOOL_NOISE_DEG))


def unit(rng: np.random.Generator) -> Floats:
    direction = rng.normal(size=3)
    return np.asarray(direction / np.linalg.norm(direction))


@pytest.mark.parametrize(("shift_mm", "turn_deg"), [(1.0, 0.0), (3.0, 0.2), (10.0, 3.0), (0.0, 1.0)])
def test_a_bump_is_found_within_a_second(shift_mm: float, turn_deg: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        poses, at_s = measured(rng, 10.0), float(rng.uniform(LEARNT_S + 1.0, 9.0))
        bump = small(np.radians(turn_deg) * unit(rng)[None], shift_mm * unit(rng)[None])[0]
        watch = SteadyWatch()
        found = None
        for i, pose in enumerate(poses):
            t = i / HZ
            watch.take(t, bump @ pose if t >= at_s else pose)
            if watch.moved is not None and found is None:
                found = t
        assert found is not None
        assert at_s <= found <= at_s + 1.0


def test_noise_is_no_bump() -> None:
    """Ten minutes here; ten hours of it gave no false alarm."""
    watch = SteadyWatch()
    for i, pose in enumerate(measured(np.random.default_rng(2), 600.0)):
        watch.take(i / HZ, pose)
    assert watch.watching
    assert watch.moved is None


@pytest.mark.parametrize("shift_mm", [10.0, 50.0, 500.0])
def test_poses_that_the_tracker_got_wrong_are_no_bump(shift_mm: float) -> None:
    """Two in a row of the dozen in a window would move a plain mean of them by 1.7 mm and more."""
    poses, watch = measured(np.random.default_rng(6), 60.0), SteadyWatch()
    poses[600:602, 0, 3] += shift_mm
    for i, pose in enumerate(poses):
        watch.take(i / HZ, pose)
    assert watch.watching
    assert watch.moved is None


def test_a_bump_while_the_marker_is_hidden_is_found_when_it_is_back() -> None:
    poses, watch = measured(np.random.default_rng(3), 20.0), SteadyWatch()
    bump = small(np.zeros((1, 3)), np.array([[2.0, 0.0, 0.0]]))[0]
    for i, pose in enumerate(poses):
        t = i / HZ
        if not 8.0 <= t < 12.0:
            watch.take(t, bump @ pose if t >= 10.0 else pose)
    assert watch.moved is not None
    assert 12.0 <= watch.moved.since_s < 13.0
    assert watch.moved.by_mm == pytest.approx(2.0, abs=0.5)


def test_the_hub_tells_once_and_learns_anew_when_the_reference_is_accepted() -> None:
    hub, rng = Hub(), np.random.default_rng(4)
    poses = measured(rng, 26.0)
    bump = small(np.zeros((1, 3)), np.array([[0.0, 3.0, 0.0]]))[0]
    sway = small(np.zeros((len(poses), 3)), 50.0 * np.sin(np.arange(len(poses)) / 40.0)[:, None] * np.ones(3))
    for i, pose in enumerate(poses):
        t = i / HZ
        if i == round(16.0 * HZ):
            assert hub.check.moved is not None
            hub.accept_reference()
        for name, matrix in (
            ("ReferenceToTracker", sway[i]),
            ("CheckToTracker", sway[i] @ (bump @ pose if t >= 10.0 else pose)),
        ):
            raw = encode(pose_message(PoseSample(name, t, matrix, PoseStatus.OK), version=2))
            hub.handle("tracker", t + 1e-3, raw)
    assert [a.kind for a in hub.alarms] == ["bump"]
    assert "reference marker has moved, by at least" in hub.alarms[0].text
    assert 10.0 < hub.alarms[0].arrival_s < 11.0
    assert hub.check.watching
    assert hub.check.moved is None


def test_a_second_bump_is_told_before_anybody_has_seen_to_the_first() -> None:
    rng = np.random.default_rng(5)
    poses = measured(rng, 40.0)
    first, second = round(12.0 * HZ), round(30.0 * HZ)
    poses[first:, 0, 3] += 2.0
    poses[second:, 1, 3] += 2.0
    watch, found = SteadyWatch(), []
    for n, pose in enumerate(poses):
        watch.take(n / HZ, pose)
        if watch.moved is not None and watch.moved not in found:
            found.append(watch.moved)
    assert len(found) == 2
    assert found[0].last_s == found[0].since_s == found[1].since_s == pytest.approx(12.0, abs=0.3)
    assert found[1].last_s == pytest.approx(30.0, abs=0.3)
    assert len(watch._recent) < 10 * HZ, "poses are not kept while nobody sees to it"
