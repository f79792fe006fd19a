"""Pose histories: interpolated inside, nothing outside, no trust in frozen or broken poses (H01-H05, H08)."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.buffer import DUPLICATE, RECENT_FRAMES, STALE, TOO_OLD, PoseTrack, TransformBuffer
from tracking.errors import GoneError, NotYetError
from tracking.sample import PoseSample, PoseStatus

STEP_S = 0.05  # a 20 Hz tracker
SPEED_MM_S = 30.0


def pose(t_s: float, name: str = "ProbeToTracker", status: PoseStatus = PoseStatus.OK) -> PoseSample:
    """A tool that moves along x at 30 mm/s and turns about z at 0.5 rad/s."""
    matrix = np.eye(4)
    c, s = np.cos(0.5 * t_s), np.sin(0.5 * t_s)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[0, 3] = SPEED_MM_S * t_s
    return PoseSample(name, t_s, matrix, status)


def frozen(t_s: float, at_s: float) -> PoseSample:
    return PoseSample("ProbeToTracker", t_s, pose(at_s).matrix)


def track_of(times: list[float]) -> PoseTrack:
    track = PoseTrack("ProbeToTracker")
    for t in times:
        assert track.append(pose(t))
    return track


def grid(n: int, start: int = 0) -> list[float]:
    return [round(STEP_S * i, 6) for i in range(start, start + n)]


def test_interpolates_motion_and_turn() -> None:
    t = np.linspace(0.0, 0.95, 77)
    poses, valid = track_of(grid(20)).sample(t)
    assert valid.all()
    expected = np.stack([pose(x).matrix for x in t])
    np.testing.assert_allclose(poses, expected, atol=1e-9)  # constant rates: slerp and lerp are exact


def test_never_extrapolates() -> None:
    poses, valid = track_of(grid(20)).sample([-1e-3, 0.95 + 1e-3, np.nan])
    assert not valid.any()
    assert np.isnan(poses).all()


def test_empty_and_single_pose_say_nothing() -> None:
    track = PoseTrack()
    assert track.sample([0.0])[1].tolist() == [False]
    assert track.covers([0.0], [1.0]).tolist() == [False]
    assert (track.newest_t_s, track.interval_s, track.settled_t_s) == (None, None, None)
    track.append(pose(0.0))
    assert track.sample([0.0])[1].tolist() == [False]  # no second frame: the interval is not known


@pytest.mark.parametrize(
    ("missing", "valid_parts"),
    [
        # Gap of 2 intervals between frames at 0.45 and 0.55: within 0.075 s of both only from 0.475 to 0.525.
        (1, (False, True, False)),
        # Gap of 3 intervals (0.45 to 0.60): both 0.075 s away only in the very middle, at 0.525.
        (2, (False, True, False)),
        # Gap of 4 intervals: more than 3, nothing inside is ever valid.
        (3, (False, False, False)),
    ],
)
def test_gap_is_bridged_only_near_both_sides(missing: int, valid_parts: tuple[bool, ...]) -> None:
    track = track_of(grid(10) + grid(10, 10 + missing))
    start, end = 0.45, 0.50 + STEP_S * missing
    inside = [start + 0.01, (start + end) / 2, end - 0.01]
    assert track.valid_at(inside).tolist() == list(valid_parts)
    assert track.valid_at([start, end]).all()  # the frames themselves are known
    assert track.covers([0.40], [end]).tolist() == [False]
    assert track.covers([0.0, end], [start, end + 0.3]).tolist() == [True, True]


def test_rounded_window_ends_are_on_their_frames() -> None:
    """Window ends computed as t_end - window miss a frame by an ulp; that alone is no gap."""
    track = track_of(grid(10) + grid(10, 20))
    assert track.valid_at([1.0 - 1e-7, 0.45 + 1e-7]).all()
    assert track.covers([1.0 - 1e-7, 0.3], [1.2, 0.45 + 1e-7]).all()
    assert not track.covers([1.0 - 1e-5, 0.3], [1.2, 0.45 + 1e-5]).any()


def test_jittered_stamps_are_no_gap() -> None:
    # 40 % late: neighbours 0.07 and 0.03 s apart, below 1.5 intervals of 0.05 s.
    times = [t + (0.02 if i % 2 else 0.0) for i, t in enumerate(grid(20))]
    track = track_of(times)
    assert track.covers([times[0]], [times[-1]]).tolist() == [True]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=40, unique=True), st.integers(0, 2**31))
def test_covers_agrees_with_looking_everywhere(frames: list[int], seed: int) -> None:
    track = PoseTrack.from_arrays(
        [STEP_S * i for i in sorted(frames)],
        np.stack([pose(STEP_S * i).matrix for i in sorted(frames)]),
    )
    rng = np.random.default_rng(seed)
    start = rng.uniform(-0.1, 3.0, 30)
    end = start + rng.uniform(0.0, 0.4, 30)
    dense = np.linspace(start, end, 801)  # 0.5 ms steps: finer than any stretch the rule can open
    everywhere = track.valid_at(dense.ravel()).reshape(dense.shape).all(axis=0)
    covered = track.covers(start, end)
    assert not (covered & ~everywhere).any()  # what is called covered is valid wherever one looks
    assert (everywhere & ~covered).sum() <= 1  # a stretch shorter than the grid may be missed by looking


def test_frozen_driver_is_stale_back_to_the_first_repeat() -> None:
    track = track_of(grid(10))  # last true pose at 0.45
    answers = [track.append(frozen(t, at_s=0.45)) for t in grid(6, 10)]
    # Repeats at 0.50, 0.55, 0.60 span 3 intervals, the one at 0.65 is beyond: from there on they are refused.
    assert answers == [True, True, True, False, False, False]
    assert track.refused[STALE] == 3
    assert track.stale == 6
    assert track.last_word == STALE
    assert track.newest_t_s == pytest.approx(0.45)
    for t in grid(10, 16):
        track.append(pose(t))
    assert track.valid_at([0.45, 0.80]).all()
    assert not track.valid_at(np.linspace(0.46, 0.79, 20)).any()


def test_repeats_are_withheld_while_undecided() -> None:
    track = track_of(grid(10))
    track.append(frozen(0.50, at_s=0.45))
    assert track.valid_at([0.47]).tolist() == [False]  # not yet: it may be a frozen driver
    with pytest.raises(NotYetError):
        track.at(0.47)
    track.append(pose(0.55))
    assert track.valid_at([0.47, 0.52]).all()  # one repeat is a slow tracker polled fast


def test_withheld_answers_never_change_once_settled() -> None:
    """What is valid at or before `settled_t_s` stays so: counts placed live need no second look."""
    stream = [*grid(10), 0.5, 0.55, 0.6, 0.65, 0.7, *grid(10, 18)]
    track, query = PoseTrack(), np.linspace(0.0, 1.4, 281)
    settled: dict[float, bool] = {}
    for t in stream:
        track.append(frozen(t, at_s=0.45) if 0.46 < t < 0.72 else pose(t))
        horizon = track.settled_t_s
        if horizon is None or len(track) < 4:
            continue
        for x, ok in zip(query, track.valid_at(query), strict=True):
            if x <= horizon:
                assert settled.setdefault(x, bool(ok)) == ok
    assert len(settled) > 200


@settings(deadline=None)
@given(
    st.sampled_from(["nan", "inf", "scale", "shear", "mirror", "zero", "huge", "row"]),
    st.floats(0.02, 1e6),
)
def test_bad_poses_never_get_in(kind: str, size: float) -> None:
    matrix = pose(0.52).matrix.copy()
    match kind:
        case "nan":
            matrix[1, 2] = np.nan
        case "inf":
            matrix[0, 3] = np.inf
        case "scale":
            matrix[:3, :3] *= 1.0 + size
        case "shear":
            matrix[0, 1] += size
        case "mirror":
            matrix[:3, 2] *= -1.0
        case "zero":
            matrix[:] = 0.0
        case "huge":
            matrix[2, 3] = 1e4 * (1.0 + size)
        case "row":
            matrix[3, 0] = size
    track, clean = track_of(grid(20)), track_of(grid(20))
    assert not track.append(PoseSample("ProbeToTracker", 0.52, matrix))
    assert sum(track.refused.values()) == 1
    t = np.linspace(0.0, 0.95, 50)
    for got, expected in zip(track.sample(t), clean.sample(t), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("status", [s for s in PoseStatus if not s.usable])
def test_poses_the_sender_disowns_are_refused(status: PoseStatus) -> None:
    track = track_of(grid(10))
    assert not track.append(pose(0.5, status=status))
    assert track.refused == {f"status {status.value}": 1}
    assert track.newest_t_s == pytest.approx(0.45)
    assert track.newest_frame_t_s == pytest.approx(0.50)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_decided_never_changes_by_frames_up_to_200_ms_late(data: st.DataObject) -> None:
    """T09: counts placed while frames are still on their way lie where they would have lain in order."""
    n = 60
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    times = np.array(grid(n)) + rng.uniform(0.0, 0.05 * STEP_S, n)
    late = np.where(rng.random(n) < data.draw(st.floats(0.0, 1.0)), rng.uniform(0.0, 0.2, n), 0.0)
    kept = rng.random(n) > data.draw(st.sampled_from([0.0, 0.1]))
    still = data.draw(st.sampled_from([0, 2, 6]))  # frames that repeat the 40th
    frames = [frozen(float(t), 2.0) if 40 <= i < 40 + still else pose(float(t)) for i, t in enumerate(times)]
    start = np.linspace(1.5, 2.9, 57)
    end = start + 0.1
    track, seen = PoseTrack(), np.zeros(len(start), dtype=bool)
    found = np.full((len(start), 5, 4, 4), np.nan)
    looks = np.linspace(start, end, 5).T
    for i in np.argsort(times + late, kind="stable"):
        if kept[i]:
            track.append(frames[i])
        fresh = track.decided(start, end) & ~seen
        if fresh.any():
            found[fresh] = track.sample(looks[fresh].ravel())[0].reshape(-1, 5, 4, 4)
            seen |= fresh
    orderly = PoseTrack()
    for i in np.flatnonzero(kept):
        orderly.append(frames[i])
    np.testing.assert_array_equal(found[seen], orderly.sample(looks[seen].ravel())[0].reshape(-1, 5, 4, 4))
    assert seen[end < times[kept][-1] - 0.25 - 4 * STEP_S * 1.2].all()


def test_in_order_a_window_is_decided_by_the_frame_after_it() -> None:
    track = track_of(grid(40))
    assert track.decided([1.81, 1.86], [1.93, 1.96]).tolist() == [True, False]  # newest frame 1.95
    assert track_of(grid(20)).decided([0.81], [0.93]).tolist() == [False]  # too few to know the interval
    assert PoseTrack().decided([0.0], [0.1]).tolist() == [False]
    gap = track_of(grid(40) + [2.05])
    assert gap.decided([1.9], [2.0]).tolist() == [False]  # the frame at 2.0 may be late
    for t in (2.10, 2.15, 2.20, 2.25, 2.30, 2.35, 2.45):
        gap.append(pose(t))
    assert gap.decided([1.9], [2.0]).tolist() == [True]  # or it never comes: 2.45 - 0.25 - 3 x 0.05 > 2.0


def test_frame_numbers_convict_at_once_and_acquit_nobody() -> None:
    numbered = PoseTrack()
    for i, t in enumerate(grid(10)):
        assert numbered.append(replace(pose(t), frame=100 + i))
    assert not numbered.append(replace(pose(0.5), frame=109))  # another matrix under the same number
    assert numbered.append(replace(pose(0.55), frame=110))
    assert numbered.refused == {STALE: 1}
    assert numbered.stale == 1
    for t in grid(6, 12):  # the numbers go on, the pose does not: a message counter is no frame number
        numbered.append(replace(frozen(t, 0.55), frame=111))
    assert numbered.newest_t_s == pytest.approx(0.55)


def test_a_slow_tracker_polled_fast_keeps_its_own_interval() -> None:
    """20 Hz frames, each sent three times with new stamps: without the repeats it is a 20 Hz tracker."""
    track = PoseTrack()
    for i in range(90):
        track.append(replace(pose(STEP_S * (i // 3)), t_s=STEP_S * i / 3, frame=i // 3))
    assert track.interval_s == pytest.approx(STEP_S)
    assert track.covers([0.2], [1.0]).tolist() == [True]


@settings(deadline=None)
@given(st.permutations(grid(16)), st.lists(st.sampled_from(grid(16)), max_size=6))
def test_order_and_duplicates_do_not_matter(order: list[float], again: list[float]) -> None:
    track = PoseTrack()
    for t in order:
        track.append(pose(t))
    for t in again:
        assert not track.append(pose(t))
    assert track.refused[DUPLICATE] == len(again)
    t = np.linspace(0.0, 0.75, 40)
    got, expected = track.sample(t), track_of(grid(16)).sample(t)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


def test_late_arrival_breaks_up_a_run_of_repeats() -> None:
    track = track_of(grid(10))
    track.append(frozen(0.50, at_s=0.45))
    track.append(frozen(0.60, at_s=0.45))
    track.append(pose(0.55))  # overtaken on the way: now 0.60 repeats nothing
    track.append(pose(0.65))
    assert track.valid_at([0.52, 0.62]).all()


def test_history_is_bounded() -> None:
    track = PoseTrack(capacity=64)
    for t in grid(1000):
        track.append(pose(t))
    assert 48 <= len(track) <= 64
    assert track.valid_at([STEP_S * 990]).all()
    assert not track.append(pose(0.001))
    assert track.refused[TOO_OLD] == 1


def test_recent_questions_get_the_same_answers_from_a_long_history() -> None:
    n = 3 * RECENT_FRAMES
    times = STEP_S * np.arange(n)
    matrices = np.tile(np.eye(4), (n, 1, 1))
    matrices[:, 0, 3] = SPEED_MM_S * times
    matrices[3000:3200] = np.nan
    matrices[2 * RECENT_FRAMES - 50 : 2 * RECENT_FRAMES + 80, 0, 3] = 1.0  # frozen where "recent" begins
    track = PoseTrack.from_arrays(times, matrices)
    recent = np.linspace(times[2 * RECENT_FRAMES + 70], times[-1], 4001)
    poses, valid = track.sample(recent)
    all_poses, all_valid = track.sample(np.append(0.0, recent))  # the first time needs the whole history
    np.testing.assert_array_equal(poses, all_poses[1:])
    np.testing.assert_array_equal(valid, all_valid[1:])
    assert valid.sum() > 3900
    assert not valid[recent < times[2 * RECENT_FRAMES + 79]].any()
    assert track.stale == 129  # the first of the 130 is genuine


def test_time_that_is_no_number_is_refused() -> None:
    track = track_of(grid(4))
    assert not track.append(PoseSample("ProbeToTracker", float("nan"), np.eye(4)))
    assert track.refused == {"time not finite": 1}


def test_arrays_give_the_same_history_as_appending() -> None:
    times = grid(10) + grid(10, 14)
    matrices = np.stack([pose(t).matrix for t in times])
    matrices[5] = np.nan
    matrices[12] = matrices[11]
    bulk, single = PoseTrack.from_arrays(times, matrices), PoseTrack()
    for t, m in zip(times, matrices, strict=True):
        single.append(PoseSample("", t, m))
    query = np.linspace(-0.1, 1.2, 300)
    np.testing.assert_array_equal(bulk.sample(query)[0], single.sample(query)[0])
    assert bulk.refused == single.refused


def test_arrays_out_of_order_are_our_own_fault() -> None:
    with pytest.raises(ValueError, match="increasing"):
        PoseTrack.from_arrays([0.0, 0.0], np.stack([np.eye(4)] * 2))


def test_not_yet_and_gone_are_different() -> None:
    track = track_of(grid(10) + grid(10, 20))
    np.testing.assert_allclose(track.at(0.2), pose(0.2).matrix, atol=1e-12)
    with pytest.raises(NotYetError, match=r"1\.500 s: known only up to 1\.450"):
        track.at(1.5)
    with pytest.raises(GoneError, match=r"0\.700 s: not visible then; known up to 1\.450"):
        track.at(0.7)
    with pytest.raises(NotYetError, match="no pose received"):
        PoseTrack("ProbeToTracker").at(0.0)


def test_a_disowned_tool_settles_its_gap() -> None:
    """A tracker that says MISSING makes "gone" certain; one that falls silent cannot."""
    track = track_of(grid(10))
    for t in grid(10, 10):
        track.append(pose(t, status=PoseStatus.MISSING))
    # Newest frame 0.95, three intervals back: up to 0.80 no later frame can bridge the gap.
    assert track.settled_t_s == pytest.approx(0.80)
    with pytest.raises(GoneError):
        track.at(0.7)


def test_frame_times_include_what_was_refused() -> None:
    track = track_of(grid(4))
    track.append(pose(0.2, status=PoseStatus.MISSING))
    np.testing.assert_allclose(track.frame_times(), [0.0, 0.05, 0.1, 0.15, 0.2])
    np.testing.assert_allclose(track.frame_times(0.05, 0.15), [0.05, 0.1, 0.15])


def test_clear_forgets_poses_but_not_refusals() -> None:
    track = track_of(grid(4))
    track.append(pose(0.0))
    track.clear()
    assert len(track) == 0
    assert track.refused[DUPLICATE] == 1
    assert track.append(pose(0.0))


def buffer_with(reference_times: list[float]) -> TransformBuffer:
    buffer = TransformBuffer()
    for t in grid(20):
        buffer.add(pose(t))
    for t in reference_times:
        shift = np.eye(4)
        shift[:3, 3] = (5.0 + t, -7.0, 11.0)
        buffer.add(PoseSample("ReferenceToTracker", t, shift))
    return buffer


def test_chain_from_tip_to_reference() -> None:
    tip = np.eye(4)
    tip[2, 3] = 100.0
    poses, valid = buffer_with(grid(20)).tool_in_reference("Probe", [0.5], tip)
    assert valid.all()
    # T_reference_tracker takes the reference's place (5.5, -7, 11) away; the tip lies 100 mm along z.
    np.testing.assert_allclose(poses[0, :3, 3], (30 * 0.5 - 5.5, 7.0, 100.0 - 11.0), atol=1e-9)


def test_both_tool_and_reference_must_be_seen() -> None:
    buffer = buffer_with(grid(8) + grid(4, 16))
    poses, valid = buffer.tool_in_reference("Probe", [0.2, 0.5, 0.9])
    assert valid.tolist() == [True, False, True]
    assert np.isnan(poses[1]).all()
    assert buffer.covers("Probe", [0.1, 0.3], [0.3, 0.5]).tolist() == [True, False]


def test_chain_settles_with_its_slower_half() -> None:
    buffer = buffer_with(grid(8))
    assert buffer.settled_t_s("Probe") == pytest.approx(0.35)
    assert buffer.settled_t_s("Stylus") is None


def test_a_direct_transform_needs_no_tracker() -> None:
    buffer = TransformBuffer()
    for t in grid(10):
        buffer.add(pose(t, "ProbeToReference"))
    poses, valid = buffer.tool_in_reference("Probe", [0.2])
    assert valid.all()
    np.testing.assert_allclose(poses[0], pose(0.2).matrix, atol=1e-12)


def test_one_thread_appends_while_another_asks() -> None:
    track, times = PoseTrack(capacity=256), grid(2000)
    failures: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            newest = track.newest_t_s
            if newest is not None:
                poses, valid = track.sample([newest - STEP_S / 2])
                if valid[0] and abs(poses[0, 0, 3] - SPEED_MM_S * (newest - STEP_S / 2)) > 1e-6:
                    failures.append(newest)

    thread = threading.Thread(target=ask)
    thread.start()
    for t in times:
        track.append(pose(t))
    done.set()
    thread.join()
    assert failures == []
    assert track.newest_t_s == pytest.approx(times[-1])


def test_the_interval_is_that_of_a_round_rate() -> None:
    """Frames of 59.97 Hz with jitter: the same answer whenever it is asked."""
    rng = np.random.default_rng(2)
    track, seen = PoseTrack(), set()
    for i in range(300):
        track.append(pose(i / 59.97 + float(rng.uniform(0.0, 1e-3))))
        seen.add(track.interval_s if i > 40 else 1 / 60)
    assert seen == {1 / 60}
    slow = PoseTrack.from_arrays(np.arange(5) / 2.52, np.stack([pose(0.4 * i).matrix for i in range(5)]))
    assert slow.interval_s == pytest.approx(1 / 2.5)
