"""Which look comes next: the nearest of a short plan that brings the whole bed to its aim.

The plan is the time to spend at each pose so that every place gets the information that it lacks: a covering programme,
solved by multiplicative weights (Plotkin, Shmoys and Tardos 1995, DOI 10.1287/moor.20.2.257), which spread the time
over neighbours where the optimum of a linear programme jumps between corners. A hand that went for the worst place each
time would mostly travel; one that does what is planned nearby before it goes on mostly looks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A prediction is of a look of so long: as often as the guidance is renewed.
LOOK_S = 1.0
# What a hand does between two looks without effort.
HAND_MM_S, TURN_DEG_S = 25.0, 45.0
# From the readings that a look is chosen from to the hand that follows it: a search, its display, a reaction.
LEAD_S = 1.0
# Places that enter the plan: a bed of some thousand is smooth enough to stand for it by these.
MOST_PLANNED = 400
# Grain of the plan, and its length at most: what would take longer is planned again long before.
GRAIN_S, LONGEST_S = 0.1, 90.0
# How much more a place counts that has nothing yet than one that has all it needs: e^SHARPNESS.
SHARPNESS = 8.0
# Less than this planned at a pose is none: a hand passes there anyway.
SHORTEST_S = 0.2
# A bed is covered when 99 % of it is: so many of its places, those that would take longest, are left to chance.
SPARED_SHARE = 0.005
# No single place may ask for more than this: beyond it the aim is out of reach there, and the rest comes first.
LONGEST_AT_ONE_S = 60.0


def seconds_to(poses: Array, now: Array | None) -> Array:
    """(p,) s that a hand takes to poses (p, 4, 4) from the pose `now` (4, 4); nothing where that is unknown."""
    if now is None:
        return np.zeros(len(poses))
    way = np.linalg.norm(poses[:, :3, 3] - now[:3, 3], axis=1) / HAND_MM_S
    turn = np.rad2deg(np.arccos(np.clip(poses[:, :3, 2] @ now[:3, 2], -1.0, 1.0))) / TURN_DEG_S
    result: Array = np.maximum(way, turn)
    return result


def plan(have: Array, need: Array, gained: Array) -> Array:
    """(p,) s at each pose of the shortest plan; zeros where all places have what they need or none can be helped.

    Information (m,) that places have and need, and (p, m) that a second at each pose adds, all in 1/kBq2.
    """
    out = np.zeros(len(gained))
    lacking = np.flatnonzero(have < need)
    if len(gained) == 0 or len(lacking) == 0:
        return out
    share = gained[:, lacking] / (need - have)[lacking]  # of what is lacking, in a second
    best = share.max(axis=0)
    dear = np.argsort(best)[
        : int(SPARED_SHARE * len(have))
    ]  # none of these decides whether the bed is covered
    helped = best >= 1.0 / LONGEST_AT_ONE_S
    spared = helped.copy()
    spared[dear] = False
    # What is spared may be one patch too wide to be left: once nothing else lacks anything, it is its turn.
    share = share[:, spared if spared.any() else helped]
    if share.shape[1] == 0:
        return out
    chosen = np.linspace(0, share.shape[1] - 1, min(MOST_PLANNED, share.shape[1])).round().astype(np.int64)
    some = np.ascontiguousarray(share[:, chosen])
    done = np.zeros(some.shape[1])
    for _ in range(round(LONGEST_S / GRAIN_S)):
        left = done < 1.0
        if not left.any():
            break
        best = int(np.argmax(some @ np.where(left, np.exp(-SHARPNESS * done), 0.0)))
        out[best] += GRAIN_S
        done += GRAIN_S * some[best]
    return out


def first_of(planned_s: Array, way_s: Array, last: int | None = None) -> int | None:
    """Index of the look to begin with, `last` as long as anything is planned there; None where nothing is planned."""
    if last is not None and planned_s[last] >= SHORTEST_S:
        return last
    wanted = np.flatnonzero(planned_s >= SHORTEST_S)
    if len(wanted) == 0:
        wanted = np.flatnonzero(planned_s > 0.0)
    return int(wanted[np.argmin(way_s[wanted])]) if len(wanted) else None
