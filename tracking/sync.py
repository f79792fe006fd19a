"""Counting intervals placed on the probe's path, or tallied as unplaced; nothing in between.

An interval is placed only when the probe's pose is valid at every time of it (H01), and it is cut into
sub-poses so fine that the probe stays within 2 mm and 2 degrees of the sub-pose that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.poses import Bools, Floats, rotation_angles
from tracking.sample import Readings

TrackSampler = Callable[[Floats], tuple[Floats, Bools]]
WindowCheck = Callable[[Floats, Floats], Bools]

# Half the way of 0.1 s at 40 mm/s: there the mid-interval pose errs by less than 1 %.
SUB_POSE_REACH_MM = 2.0
SUB_POSE_REACH_RAD = float(np.deg2rad(2.0))
# A one-second counter at 60 mm/s needs 16; beyond 32 the path is too coarse only for absurd motion.
MOST_SUB_POSES = 32
# Every sub-interval is looked at in its ends, middle and quarters.
LOOKS_PER_SUB_POSE = 4


def place_counts(
    track_sample: TrackSampler,
    t_end_s: ArrayLike,
    counts: ArrayLike,
    window_s: ArrayLike,
    latency_s: float = 0.0,
    live_s: ArrayLike | None = None,
    covers: WindowCheck | None = None,
) -> Readings:
    """Place n counting intervals on a path.

    `track_sample` maps times (n,) to `T_reference_probetip` (n, 4, 4) in mm and valid (n,). The true interval
    is [t_end - latency - window, t_end - latency], all in s; `live_s` (n,) defaults to `window_s` (n,).
    `covers` (start (n,), end (n,)) -> (n,) says exactly whether a whole window is valid, as
    `PoseTrack.covers` does; without it validity is looked at on the sub-poses, ends and quarters.
    """
    end = np.atleast_1d(np.asarray(t_end_s, dtype=np.float64)) - latency_s
    window = np.broadcast_to(np.asarray(window_s, dtype=np.float64), end.shape)
    live = window if live_s is None else np.broadcast_to(np.asarray(live_s, dtype=np.float64), end.shape)
    tally = np.broadcast_to(np.asarray(counts, dtype=np.float64), end.shape)
    start = end - window
    whole = np.ones(len(end), dtype=bool) if covers is None else covers(start, end)
    pieces, placed = _sub_poses(track_sample, start, window, whole)
    return _joined(pieces, placed, end, window, tally, live)


Pieces = list[tuple[NDArray[np.int64], Floats]]


def _sub_poses(
    track_sample: TrackSampler, start_s: Floats, window_s: Floats, whole: Bools
) -> tuple[Pieces, Bools]:
    """(intervals (a,), their sub-poses (a, k, 4, 4)) for k = 1, 2, 4 ... and which intervals are placed."""
    pieces: Pieces = []
    placed = whole.copy()
    waiting = np.flatnonzero(whole)
    k = 1
    while len(waiting):
        looks = np.linspace(0.0, 1.0, LOOKS_PER_SUB_POSE * k + 1)
        times = start_s[waiting, None] + looks * window_s[waiting, None]
        flat, ok = track_sample(times.ravel())
        valid = ok.reshape(times.shape).all(axis=1)
        placed[waiting[~valid]] = False
        poses, waiting = flat.reshape(*times.shape, 4, 4)[valid], waiting[valid]
        fine = _stays_near(poses, k) if k < MOST_SUB_POSES else np.ones(len(waiting), dtype=bool)
        middle = LOOKS_PER_SUB_POSE // 2
        pieces.append((waiting[fine], poses[fine, middle::LOOKS_PER_SUB_POSE]))
        waiting = waiting[~fine]
        k *= 2
    return pieces, placed


def _stays_near(poses: Floats, k: int) -> Bools:
    """Whether the looks (a, 4 k + 1, 4, 4) of each interval stay near the middle of their sub-interval."""
    near = np.ones(len(poses), dtype=bool)
    middle = poses[:, LOOKS_PER_SUB_POSE // 2 :: LOOKS_PER_SUB_POSE]
    for offset in range(LOOKS_PER_SUB_POSE + 1):
        look = poses[:, offset::LOOKS_PER_SUB_POSE][:, :k]
        moved = np.linalg.norm(look[..., :3, 3] - middle[..., :3, 3], axis=-1)
        turned = rotation_angles(look[..., :3, :3], middle[..., :3, :3])
        near &= (moved <= SUB_POSE_REACH_MM).all(axis=1) & (turned <= SUB_POSE_REACH_RAD).all(axis=1)
    return near


def _joined(
    pieces: Pieces, placed: Bools, end_s: Floats, window_s: Floats, counts: Floats, live_s: Floats
) -> Readings:
    """The readings in order of their intervals."""
    number = np.zeros(len(end_s), dtype=np.int64)
    for which, poses in pieces:
        number[which] = poses.shape[1]
    first = np.concatenate([[0], np.cumsum(number[placed])]).astype(np.int64)
    slot = np.zeros(len(end_s), dtype=np.int64)
    slot[placed] = first[:-1]
    path = np.zeros((int(first[-1]), 4, 4))
    for which, poses in pieces:
        path[slot[which, None] + np.arange(poses.shape[1])] = poses
    return Readings(
        t_s=(end_s - 0.5 * window_s)[placed],
        counts=counts[placed].copy(),
        live_s=live_s[placed].copy(),
        poses=path,
        weights=np.repeat(1.0 / np.maximum(number[placed], 1), number[placed]),
        first=first,
        unplaced=int(len(end_s) - placed.sum()),
    )
