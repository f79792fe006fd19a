"""A bed in the simulator's physics and two hands over it: one that goes to and fro, one that goes where it is told.

Speed, gap, tilt, wobble, tracker and counter are the same for both; nothing here knows the reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.mismatch import drawn_mismatch
from benchmarks.redrawprobes import detector_of, physics_of
from benchmarks.redrawscan import _noise
from navigation.simulate import hand
from navigation.simulate.body import Body, Cavity
from navigation.simulate.chance import random_rotation, rigid, stream, wave
from navigation.simulate.rates import Background, RateModel
from tracking.sample import Readings

Array = NDArray[np.float64]
Told = Callable[[float], Array | None]

NUCLIDE = "Tc-99m"
INTERVAL_S, STEP_S = 0.1, 0.02
# Depth and the two radii of each cavity in mm; of the patch half of its side.
CAVITIES = {"bowl": (16.0, 27.0, 27.0), "trough": (11.0, 34.0, 18.0), "crater": (22.0, 32.0, 30.0)}
PATCH_HALF_MM = 20.0
SHAPES = ("patch", *CAVITIES)
TOUCH_MM, TOUCH_SD_MM, REACH_MM, SKIN_POINTS = 5.0, 0.17, 60.0, 400
# A hand begins to follow so long after a pose is shown, and turns no faster than this.
REACTION_S, TURN_DEG_S = 0.3, 45.0
LONGEST_S = 360.0


@dataclass(frozen=True, eq=False)
class Bed:
    """The patient with the bed, what was touched of it and of the skin (k, 3), and where the body lies."""

    shape: str
    body: Body
    background: Background
    model: RateModel
    T_reference_body: Array
    outline_mm: Array  # Reference
    skin_mm: Array  # Reference
    probe: int


def bed_of(shape: str, seed: int, probes: int) -> Bed:
    """One bed: another body, depth, background and probe for each seed; no activity but the background's."""
    rng = stream(seed, shape, "guided bed")
    body = Body(rng.uniform(160, 230), rng.uniform(120, 170), rng.uniform(90, 130))
    skin = rng.uniform(-REACH_MM, REACH_MM, (SKIN_POINTS, 2))
    lifted = np.column_stack([skin, body.skin(skin[:, 0], skin[:, 1])])
    if shape in CAVITIES:
        depth, a, b = np.array(CAVITIES[shape]) * rng.uniform(0.9, 1.1, 3)
        body = Body(body.a_mm, body.b_mm, body.c_mm, Cavity(*rng.uniform(-5, 5, 2), depth, a, b))
    direction = rng.normal(size=3)
    waves = 2 * np.pi / rng.uniform(60.0, 120.0) * direction / np.linalg.norm(direction)
    background = Background(
        rng.uniform(0.3, 1.0),
        rng.uniform(0.0, 0.1),
        (float(waves[0]), float(waves[1]), float(waves[2])),
        rng.uniform(0.0, 6.0),
    )
    T = rigid(random_rotation(rng), rng.uniform(-300.0, 300.0, 3))
    number = seed % probes
    with physics_of(NUCLIDE):
        model = RateModel(detector_of(NUCLIDE, number), drawn_mismatch(rng))
    touched = [_moved(T, p + rng.normal(0.0, TOUCH_SD_MM, p.shape)) for p in (_outline(shape, body), lifted)]
    return Bed(shape, body, background, model, T, *touched, number)


def _outline(shape: str, body: Body) -> Array:
    """(k, 3): the wall of a cavity as far as a surgeon takes it for the bed, or a patch of skin."""
    axis = np.arange(-1.0, 1.001, TOUCH_MM / 60.0)
    disc = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    if body.cavity is None:
        plane = PATCH_HALF_MM * disc
    else:
        plane = body.cavity.place(hand.BED_SHARE * disc[np.linalg.norm(disc, axis=1) <= 1.0])
    points = np.column_stack([plane, body.surface(plane[:, 0], plane[:, 1])])
    kept: list[Array] = []
    for point in points:
        if not kept or np.linalg.norm(np.array(kept) - point, axis=1).min() >= TOUCH_MM:
            kept.append(point)
    return np.array(kept)


class Counter:
    """Readings of a path as tracker and counter give them, in Reference."""

    def __init__(self, bed: Bed, rng: np.random.Generator) -> None:
        self._bed, self._rng = bed, rng

    def read(self, begin_s: float, poses: Array) -> Readings:
        """Poses (n k, 4, 4) of the tip in the body's frame, k = INTERVAL_S / STEP_S for each of n intervals."""
        k = round(INTERVAL_S / STEP_S)
        n = len(poses) // k
        begin = begin_s + INTERVAL_S * np.arange(n)
        bed = self._bed
        gain = bed.model.mismatch.gain(begin)
        with physics_of(NUCLIDE):
            rate = gain * bed.model.of_background(bed.background, bed.body, poses[k // 2 :: k])
        counts = self._rng.poisson(rate * INTERVAL_S).astype(float)
        seen = poses[: n * k : 2]  # a tracker at 25 Hz
        stamps = begin_s + 2 * STEP_S * np.arange(len(seen))
        tracked = bed.T_reference_body @ seen @ _noise(self._rng, stamps)
        which = np.minimum((2 * np.arange(len(seen))) // k, n - 1)
        first = np.append(0, np.cumsum(np.bincount(which, minlength=n))).astype(np.int64)
        weights = 1.0 / np.diff(first)[which]
        return Readings(begin + INTERVAL_S / 2, counts, np.full(n, INTERVAL_S), tracked, weights, first)


def raster(bed: Bed, duration_s: float, wider: float, rng: np.random.Generator) -> Array:
    """Poses (n, 4, 4) in the body's frame each STEP_S of a hand that goes over the bed in lines.

    They are the simulator's own lines: a spiral and back over a cavity, to and fro in two directions over a patch.
    `wider` times the outline is gone over.
    """
    if bed.body.cavity is None:
        path = hand.scan(bed.body, (0.0, 0.0), wider * PATCH_HALF_MM, duration_s, rng)
    else:
        path = _spiral_over(bed.body, bed.body.cavity, wider * hand.BED_SHARE, duration_s, rng)
    return path.at(STEP_S * np.arange(round(duration_s / STEP_S)) + STEP_S / 2)


def _spiral_over(
    body: Body, cavity: Cavity, share: float, duration_s: float, rng: np.random.Generator
) -> hand.Path:
    """As the simulator's `scan_bed`, over another share of the cavity's radius."""
    length = hand.SCAN_SPEED_MM_S * rng.uniform(0.92, 1.08) * duration_s
    turn = hand._lifted(body, cavity.place(share * hand._spiral(1.0, 0.0)))
    turns = float(np.clip(0.5 * length / hand._arc(turn)[-1], 1.0, 8.0))
    start = rng.uniform(0.0, 2 * np.pi)
    both = [hand._spiral(turns, start), hand._spiral(turns, start + np.pi)[::-1]]
    plane = np.tile(np.concatenate(both), (max(round(0.5 * length / hand._arc(turn)[-1] / 8.0), 1), 1))
    return hand._freehand(body, hand._lifted(body, cavity.place(share * plane)), duration_s, rng)


class Follower:
    """A hand that goes to the pose shown, at most as fast as the other goes its lines."""

    def __init__(self, bed: Bed, start: Array, rng: np.random.Generator) -> None:
        self._bed = bed
        t = STEP_S * np.arange(round(LONGEST_S / STEP_S))
        self._wobble = 1.5 * np.stack([wave(rng, t, 1.8, 8.0), wave(rng, t, 1.8, 8.0)], axis=1)
        self._gap = np.clip(1.0 + 1.3 * wave(rng, t, 0.8, 6.0), 0.0, 4.0)
        self._tilt = hand._tilts(rng, t, hand.LARGEST_TILT_DEG)
        self._at, self._outwards = start[:3, 3].copy(), -start[:3, 2].copy()
        self._step = 0
        self._shown: list[tuple[float, Array]] = []

    def show(self, t_s: float, pose_reference: Array) -> None:
        """A pose (4, 4) of the tip in Reference appears at `t_s`."""
        pose = np.linalg.inv(self._bed.T_reference_body) @ pose_reference
        self._shown.append((t_s + REACTION_S, pose))

    def go(self, steps: int) -> Array:
        """(steps, 4, 4) in the body's frame."""
        points, outwards = np.empty((2, steps, 3))
        for i in range(steps):
            self._move(STEP_S * (self._step + i))
            points[i], outwards[i] = self._at, self._outwards
        part = slice(self._step, self._step + steps)
        self._step += steps
        plane = points[:, :2] + self._wobble[part]
        return _held(self._bed.body, plane, outwards, self._tilt[part], self._gap[part])

    def _move(self, t_s: float) -> None:
        known = [pose for shown_s, pose in self._shown if shown_s <= t_s]
        if not known:
            return
        goal, way_out = _on_surface(self._bed.body, known[-1]), -known[-1][:3, 2]
        way = goal - self._at
        length = float(np.linalg.norm(way))
        self._at = self._at + way * min(1.0, hand.SCAN_SPEED_MM_S * STEP_S / max(length, 1e-9))
        turn = float(np.arccos(np.clip(way_out @ self._outwards, -1.0, 1.0)))
        share = min(1.0, np.deg2rad(TURN_DEG_S) * STEP_S / max(turn, 1e-9))
        self._outwards = (1.0 - share) * self._outwards + share * way_out
        self._outwards /= np.linalg.norm(self._outwards)


def _on_surface(body: Body, pose: Array) -> Array:
    """(3,): where the axis of a pose meets the surface, or the place below its face."""
    along = pose[:3, 3] + np.arange(0.0, 30.0, 0.5)[:, None] * pose[:3, 2]
    below = np.flatnonzero(body.surface(along[:, 0], along[:, 1]) >= along[:, 2])
    place = along[below[0]] if len(below) else pose[:3, 3]
    return np.array([place[0], place[1], float(body.surface(place[0], place[1]))])


def _held(body: Body, plane: Array, outwards: Array, tilt: Array, gap_mm: Array) -> Array:
    """Poses (n, 4, 4) over surface points (n, 2), the shaft along `outwards` (n, 3) and tilted (n, 2) off it."""
    x, y = plane.T
    out = outwards.copy()
    out[:, :2] += tilt
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    start = np.stack([x, y, body.surface(x, y)], axis=1)
    poses = hand.poses_of(start, -out, np.tile([1.0, 0.0, 0.0], (len(x), 1)))
    clear = hand._clearance(body, poses, hand.PROBE_RADIUS_MM) / np.maximum(out[:, 2], 0.5)
    poses[:, :3, 3] = start + (clear + gap_mm)[:, None] * out
    return poses


def _moved(T: Array, points: Array) -> Array:
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])
