"""Is the predicted error at a target true, and is no wrong match of points ever accepted: landmarks at random.

Each draw has its own landmarks, pose, noise and target, 30 to 120 mm from the landmarks' centre. Coverage is how often
the target's error lies within the stated bound; a match is wrong where any pair of it is.

Run: python -m benchmarks.registration [--draws N] [--matches N] [--seed S]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.machine import machine
from navigation.io.points import PointList
from navigation.registration.landmarks import LandmarkRegistration, register_landmarks
from navigation.registration.pairs import PointPairs, match_points
from navigation.registration.residuals import MIN_SPREAD_RATIO
from navigation.registration.rigid import PointErrors, fit_with_errors, spread_ratios
from navigation.registration.targeterror import FleBelief, fit_error, target_error

Array = NDArray[np.float64]
Rng = np.random.Generator

# Half axes of a trunk, on whose skin landmarks are touched.
TRUNK_MM = np.array([160.0, 110.0, 180.0])
# A camera sees depth three times as badly as the rest.
DEPTH = np.array([1.0, 1.0, 3.0]) / math.sqrt(11.0)


def abdominal(rng: Rng, n: int) -> Array:
    """(n, 3): points on the front of a trunk, none of them all on a line."""
    while True:
        directions = rng.normal(size=(n, 3))
        directions[:, 1] = -np.abs(directions[:, 1])
        points = TRUNK_MM * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        if spread_ratios(points)[0] > 2.0 * MIN_SPREAD_RATIO:
            return np.asarray(points)


def pose(rng: Rng) -> tuple[Array, Array]:
    """Any rotation, any shift within half a metre."""
    return Rotation.random(rng=rng).as_matrix(), rng.uniform(-500.0, 500.0, 3)


def target_near(rng: Rng, points: Array) -> Array:
    """(3,): 30 to 120 mm from the points' centre."""
    direction = rng.normal(size=3)
    return np.asarray(points.mean(axis=0) + rng.uniform(30.0, 120.0) * direction / np.linalg.norm(direction))


@dataclass(frozen=True)
class Trial:
    """n landmarks of a localisation error (3D RMS, mm), and what the fit is told of it."""

    name: str
    n: int
    fle_mm: float = 3.0
    belief: FleBelief | None = None
    # the belief itself was estimated from so many readings, anew in each draw
    estimated_dof: float | None = None
    depth: bool = False
    both: bool = False


TRIALS = (
    *(Trial(f"{n} landmarks, error told by residuals", n) for n in (3, 4, 5, 6, 8, 12)),
    *(Trial(f"{n} landmarks, error known", n, belief=FleBelief(3.0)) for n in (3, 4, 6, 12)),
    *(Trial(f"{n} landmarks, error from 12 readings", n, estimated_dof=12.0) for n in (3, 6)),
    Trial("6 landmarks, error 1 mm", 6, fle_mm=1.0),
    Trial("6 landmarks, error in both lists", 6, both=True),
    Trial("6 landmarks, error thrice in depth", 6, depth=True),
    Trial("4 landmarks, error thrice in depth", 4, depth=True),
)


def drawn_error(trial: Trial, rng: Rng) -> tuple[float, float, float]:
    """Error at the target (mm), stated RMS and stated bound of one registration."""
    fixed = abdominal(rng, trial.n)
    rotation, shift = pose(rng)
    aim = target_near(rng, fixed)
    moving = (fixed - shift) @ rotation
    sd = trial.fle_mm * (DEPTH if trial.depth else np.full(3, math.sqrt(1.0 / 3.0)))
    share = math.sqrt(0.5) if trial.both else 1.0
    seen = moving + share * sd * rng.normal(size=moving.shape)
    marked = fixed + (share * sd * rng.normal(size=fixed.shape) if trial.both else 0.0)
    belief = trial.belief
    if trial.estimated_dof is not None:
        drawn = rng.chisquare(trial.estimated_dof) / trial.estimated_dof
        belief = FleBelief(trial.fle_mm * math.sqrt(drawn), trial.estimated_dof)
    covariances = np.tile(np.diag(sd**2), (trial.n, 1, 1))
    errors = PointErrors(np.zeros_like(covariances), covariances) if trial.depth else None
    fit = fit_with_errors(marked, seen, errors)
    there = (aim - shift) @ rotation
    stated = target_error(fit_error(fit, marked, seen, errors, belief), there)
    return float(np.linalg.norm(fit.apply(there) - aim)), stated.rms_mm, stated.bound95_mm


def coverage(trial: Trial, draws: int, seed: int) -> dict[str, float]:
    """How often the bound holds, and how large errors and bounds are."""
    rng = np.random.default_rng(seed)
    told = np.array([drawn_error(trial, rng) for _ in range(draws)])
    return {
        "inside": float((told[:, 0] <= told[:, 2]).mean()),
        "rms_mm": float(np.sqrt((told[:, 0] ** 2).mean())),
        "predicted_mm": float(np.sqrt((told[:, 1] ** 2).mean())),
        "p95_mm": float(np.quantile(told[:, 0], 0.95)),
        "bound_mm": float(np.median(told[:, 2])),
    }


@dataclass(frozen=True)
class Lists:
    """Two lists without common order; `partner` (m,) is the place in moving of each fixed point, -1 for none."""

    fixed: Array
    moving: Array
    partner: NDArray[np.int64]


Shape = Callable[[Rng], Array]


def in_a_box(*sides_mm: float) -> Shape:
    """4 to 12 points anywhere in a box."""
    return lambda rng: rng.uniform(-0.5, 0.5, (int(rng.integers(4, 13)), 3)) * sides_mm


def on_a_trunk(rng: Rng) -> Array:
    """4 to 12 points of a trunk."""
    return abdominal(rng, int(rng.integers(4, 13)))


def nearly_regular(rng: Rng) -> Array:
    """A polygon of 4 to 8 corners, each off by up to 12 mm; half of the time with a point off its plane."""
    n = int(rng.integers(4, 9))
    turn = 2.0 * np.pi * np.arange(n) / n
    ring = 90.0 * np.column_stack([np.cos(turn), np.sin(turn), np.zeros(n)])
    ring += rng.uniform(0.0, 12.0) * rng.uniform(-1.0, 1.0, ring.shape)
    return np.vstack([ring, rng.uniform(-60.0, 60.0, 3)]) if rng.random() < 0.5 else ring


def nearly_mirrored(rng: Rng) -> Array:
    """Pairs at either side of a body, as nipples and iliac spines are, each off by up to 8 mm."""
    half = rng.uniform([30.0, -100.0, -150.0], [140.0, 0.0, 150.0], (int(rng.integers(2, 5)), 3))
    points = np.vstack([half, half * [-1.0, 1.0, 1.0]])
    return np.asarray(points + rng.uniform(0.0, 8.0) * rng.uniform(-1.0, 1.0, points.shape))


def regular(rng: Rng) -> Array:
    """Corners of a polygon, a rectangle, a tetrahedron or a box: no distance tells them apart."""
    size = rng.uniform(30.0, 120.0)
    which = int(rng.integers(4))
    if which == 0:
        turn = 2.0 * np.pi * np.arange(n := int(rng.integers(4, 13))) / n
        return np.asarray(size * np.column_stack([np.cos(turn), np.sin(turn), np.zeros(n)]))
    if which == 1:
        sides = [size, size * rng.uniform(1.0, 2.0)]
        return np.array([[0.0, 0.0, 0.0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * [*sides, 0.0]
    if which == 2:
        return np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]) * size
    corners = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]), axis=-1).reshape(-1, 3)
    return np.asarray(corners * size * rng.uniform(1.0, 2.0, 3))


def shuffled(rng: Rng, points: Array, incomplete: bool, mirrored: bool = False) -> Lists:
    """The points in both lists, in another order, with 1 to 3 mm along each axis; some in one of them only."""
    rotation, shift = pose(rng)
    sd = rng.uniform(1.0, 3.0) / math.sqrt(3.0) * (math.sqrt(3.0) if rng.random() < 0.5 else 1.0)
    order = rng.permutation(len(points))
    moving = (points - shift) @ rotation + sd * rng.normal(size=points.shape)
    if mirrored:
        moving = moving * [1.0, 1.0, -1.0]
    keep_fixed = np.ones(len(points), dtype=bool)
    keep_moving = np.ones(len(points), dtype=bool)
    if incomplete:
        gone = rng.permutation(len(points))[: max(1, len(points) // 4)]
        (keep_fixed if rng.random() < 0.5 else keep_moving)[gone] = False
    place = {int(p): i for i, p in enumerate(o for o in order if keep_moving[o])}
    partner = np.array([place.get(int(i), -1) for i in np.nonzero(keep_fixed)[0]])
    return Lists(points[keep_fixed], moving[[o for o in order if keep_moving[o]]], partner)


@dataclass(frozen=True)
class Lot:
    """Lists of one kind; `good` ones should be matched, the others refused."""

    name: str
    shape: Shape
    good: bool = True
    incomplete: bool = False
    mirrored: bool = False


LOTS = (
    Lot("anywhere in 200 mm", in_a_box(200.0, 200.0, 200.0)),
    Lot("on a trunk", on_a_trunk),
    Lot("on a trunk, some in one list only", on_a_trunk, incomplete=True),
    Lot("in a slab of 40 mm", in_a_box(200.0, 200.0, 40.0)),
    Lot("in a plane", in_a_box(200.0, 150.0, 0.0)),
    Lot("nearly a regular polygon", nearly_regular, good=False),
    Lot("nearly the same on both sides", nearly_mirrored, good=False),
    Lot("the same, some in one list only", nearly_mirrored, good=False, incomplete=True),
    Lot("regular", regular, good=False),
    Lot("anywhere in 200 mm, mirrored", in_a_box(200.0, 200.0, 200.0), good=False, mirrored=True),
    Lot("on a trunk, mirrored", on_a_trunk, good=False, mirrored=True),
)


def matched(lists: Lists) -> tuple[PointPairs, LandmarkRegistration | None]:
    """What comes of two lists without labels."""
    pairs = match_points(PointList(lists.fixed, None), PointList(lists.moving, None), "any")
    if pairs.reasons:
        return pairs, None
    return pairs, register_landmarks(pairs.fixed_mm, pairs.moving_mm, pairs.labels, certain=pairs.certain)


def outcome(lists: Lists, mirrored: bool = False) -> str:
    """ "right", "wrong", "refused"; "warned" for a mirrored list that passes as lying in a plane, and is said to."""
    pairs, result = matched(lists)
    if result is None or not result.accepted:
        return "refused"
    if mirrored:
        return "warned" if any("mirrored" in w for w in result.warnings) else "wrong"
    right = all(lists.partner[i] == j for i, j in pairs.rows.tolist())
    return "right" if right else "wrong"


def outcomes(lot: Lot, count: int, seed: int) -> Iterator[str]:
    """Of so many draws; a mirrored list has no right match."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        lists = shuffled(rng, lot.shape(rng), lot.incomplete, lot.mirrored)
        yield outcome(lists, lot.mirrored)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--matches", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    print(machine())
    print(
        f"error at a target, {wanted.draws} draws: within the 95 % bound; RMS, predicted RMS, p95, median bound (mm)"
    )
    for trial in TRIALS:
        f = coverage(trial, wanted.draws, wanted.seed)
        print(
            f"{trial.name:42s} {f['inside']:6.1%}  {f['rms_mm']:6.2f} {f['predicted_mm']:6.2f} "
            f"{f['p95_mm']:6.2f} {f['bound_mm']:6.2f}",
            flush=True,
        )
    print(f"matches without labels, {wanted.matches} draws of 1 to 3 mm along each axis or in 3D")
    for lot in LOTS:
        start = time.process_time()
        told = list(outcomes(lot, wanted.matches, wanted.seed))
        shares = " ".join(f"{told.count(w)} {w}," for w in ("right", "refused", "warned", "wrong"))
        print(
            f"{lot.name:36s} {shares} CPU {1e3 * (time.process_time() - start) / len(told):.1f} ms each",
            flush=True,
        )


if __name__ == "__main__":
    main()
