"""The surgeon's hand: paths of probe and stylus over the body, with the irregularity of a human.

A path is a table of tip poses in the body frame at 100 Hz; between the rows it is interpolated, after its
end the hand holds still. The tip's +Z points out of the face, into the patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.body import Body
from navigation.simulate.chance import wave

Array = NDArray[np.float64]

STEP_S = 0.01
SCAN_SPEED_MM_S = 21.5  # along the raster; the hand's irregularity adds some 4 mm/s
SCAN_HALF_MM = 33.0
CLOSEST_LINES_MM = 5.0  # a surgeon starts anew rather than scan closer lines
LARGEST_TILT_DEG = 10.0  # in each of two directions: 14 degrees together
PROBE_RADIUS_MM = 8.0
TOUCH_HALF_MM = 56.0
LIFT_MM = 20.0
# A tool needs a second to come from where it was; in a short phase a quarter of it.
LEAD_S, LEAD_SHARE = 1.0, 0.25
# What a surgeon takes for the bed: the wall up to this share of the cavity's radius. The rim beyond is
# intact skin.
BED_SHARE = 0.85


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Tip positions (n, 3) and axes (n, 3) each STEP_S from the start; `side` is the tip's x axis,
    roughly.
    """

    position: Array
    axis: Array
    side: Array

    @property
    def duration_s(self) -> float:
        """Seconds until the hand holds still."""
        return (len(self.position) - 1) * STEP_S

    def at(self, t_s: Array) -> Array:
        """Poses (n, 4, 4) of the tip in the body frame at times since the start of the path."""
        x = np.clip(t_s / STEP_S, 0.0, len(self.position) - 1.0)
        i = np.minimum(x.astype(np.int64), max(len(self.position) - 2, 0))
        j = np.minimum(i + 1, len(self.position) - 1)
        f = (x - i)[:, None]
        position, axis, side = ((1 - f) * v[i] + f * v[j] for v in (self.position, self.axis, self.side))
        return poses_of(position, axis, side)


def poses_of(position: Array, axis: Array, side: Array) -> Array:
    """(n, 4, 4) from positions, z axes and approximate x axes, (n, 3) each."""
    z = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    x = side - (side * z).sum(axis=1, keepdims=True) * z
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    matrix = np.zeros((len(z), 4, 4))
    matrix[:, :3, 0], matrix[:, :3, 1], matrix[:, :3, 2] = x, np.cross(z, x), z
    matrix[:, :3, 3], matrix[:, 3, 3] = position, 1.0
    return matrix


def resting(position: Array) -> Path:
    """A tool that is put away at `position` (3,), pointing down."""
    return Path(position[None], np.array([[0.0, 0.0, -1.0]]), np.array([[1.0, 0.0, 0.0]]))


def approached(last: Array, path: Path, lead_s: float) -> Path:
    """`path`, `lead_s` later: until then the tool comes from the pose `last` (4, 4) in a lifted arc."""
    steps = max(round(lead_s / STEP_S), 1)
    s = np.arange(steps) / steps
    ease = (s * s * (3 - 2 * s))[:, None]
    first = path.at(np.zeros(1))[0]
    position, axis, side = ((1 - ease) * last[:3, k] + ease * first[:3, k] for k in (3, 2, 0))
    distance = float(np.linalg.norm(first[:3, 3] - last[:3, 3]))
    position[:, 2] += min(LIFT_MM, 0.3 * distance) * np.sin(np.pi * s)
    return Path(
        np.concatenate([position, path.position]),
        np.concatenate([axis, path.axis]),
        np.concatenate([side, path.side]),
    )


def _times(duration_s: float) -> Array:
    return np.linspace(0.0, 1.0, max(round(duration_s / STEP_S), 1) + 1) * duration_s


def _resampled(curve: Array, arc: Array, rng: np.random.Generator, t_s: Array, roughness: float) -> Array:
    """Points (n, 3) at times t along `curve` (m, 3) with arc length `arc` (m,), run through once unevenly."""
    pace = np.exp(roughness * wave(rng, t_s, 0.7, 5.0))
    run = np.concatenate([[0.0], np.cumsum(0.5 * (pace[1:] + pace[:-1]))])
    at = arc[-1] * run / max(run[-1], 1e-9)
    return np.stack([np.interp(at, arc, curve[:, k]) for k in range(curve.shape[1])], axis=1)


def _arc(curve: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])


def serpentine(half_mm: float, lines: int, across: bool) -> Array:
    """(m, 2): `lines` lines over a square of +-half_mm, joined by arcs; along y if `across`."""
    u = np.linspace(0.0, lines, lines * 60 + 1)
    saw = 2.0 * np.abs(2.0 * (u / 2.0 - np.floor(u / 2.0 + 0.5))) - 1.0
    # The sine term rounds the turns and slows the hand before them.
    x = half_mm * np.sin(0.5 * np.pi * saw) * 0.35 + half_mm * saw * 0.65
    y = half_mm * (2.0 * u / lines - 1.0)
    return np.stack([y, x] if across else [x, y], axis=1)


def _crosshatch(half_mm: float, length_mm: float) -> Array:
    """(m, 2): one pass along x and one along y, of about `length_mm` together, repeated where lines would
    be too close.
    """
    most = int(2 * half_mm / CLOSEST_LINES_MM)
    lines = max(2, round(length_mm / (4.0 * half_mm)))
    passes = -(-lines // most)
    each = max(2, round(lines / passes))
    both = np.concatenate([serpentine(half_mm, each, False), serpentine(half_mm, each, True)])
    return np.concatenate([both] * passes)


def _lifted(body: Body, plane: Array) -> Array:
    """(m, 3): a curve (m, 2) laid on the surface."""
    return np.column_stack([plane, body.surface(plane[:, 0], plane[:, 1])])


def scan(
    body: Body, centre: tuple[float, float], half_mm: float, duration_s: float, rng: np.random.Generator
) -> Path:
    """Freehand scan at 20 to 30 mm/s: raster in two directions, 0 to 4 mm off the surface, tilted by up
    to 15 degrees.
    """
    length = SCAN_SPEED_MM_S * rng.uniform(0.92, 1.08) * duration_s
    lifted = _lifted(body, _crosshatch(half_mm, length) + np.array(centre))
    # Lines are whole: the region gives way a little, so that the speed is a hand's.
    fit = float(np.clip(length / _arc(lifted)[-1], 0.85, 1.1))
    plane = fit * _crosshatch(half_mm, length) + np.array(centre)
    return _freehand(body, _lifted(body, plane), duration_s, rng)


def scan_bed(body: Body, duration_s: float, rng: np.random.Generator) -> Path:
    """The same over a cavity's wall: a spiral outwards, and another back between its turns."""
    cavity = body.cavity
    if cavity is None:
        raise ValueError("there is no cavity to scan")
    length = SCAN_SPEED_MM_S * rng.uniform(0.92, 1.08) * duration_s
    one_turn = float(_arc(_lifted(body, cavity.place(BED_SHARE * _spiral(1.0, 0.0))))[-1])
    turns = float(np.clip(0.5 * length / one_turn, 1.0, 8.0))
    start = rng.uniform(0.0, 2 * np.pi)
    there, back = _spiral(turns, start), _spiral(turns, start + np.pi)[::-1]
    return _freehand(
        body, _lifted(body, cavity.place(BED_SHARE * np.concatenate([there, back]))), duration_s, rng
    )


def _spiral(turns: float, start_rad: float) -> Array:
    """(m, 2): from the centre to the unit circle."""
    s = np.linspace(0.0, 1.0, 800)
    angle = start_rad + 2 * np.pi * turns * s
    return np.stack([s * np.cos(angle), s * np.sin(angle)], axis=1)


def _freehand(body: Body, lifted: Array, duration_s: float, rng: np.random.Generator) -> Path:
    """The probe along a curve (m, 3) on the surface, as a hand follows it."""
    t = _times(duration_s)
    dense = _resampled(lifted, _arc(lifted), rng, t, 0.1)[:, :2]
    dense += 1.5 * np.stack([wave(rng, t, 1.8, 8.0), wave(rng, t, 1.8, 8.0)], axis=1)
    gap = np.clip(1.0 + 1.3 * wave(rng, t, 0.8, 6.0), 0.0, 4.0)
    return over_surface(body, dense, gap, _tilts(rng, t, LARGEST_TILT_DEG), PROBE_RADIUS_MM)


def _tilts(rng: np.random.Generator, t_s: Array, largest_deg: float) -> Array:
    two = np.stack([wave(rng, t_s, 1.0, 7.0), wave(rng, t_s, 1.0, 7.0)], axis=1)
    return np.asarray(np.tan(np.radians(largest_deg * np.tanh(0.7 * two))))


def over_surface(body: Body, plane: Array, gap_mm: Array, tilt: Array, radius_mm: float) -> Path:
    """Tip path over surface points (n, 2), tilted (n, 2) off the normal, `gap_mm` (n,) from touching with
    its rim.
    """
    x, y = plane[:, 0], plane[:, 1]
    normal = body.normal(x, y)
    if body.cavity is not None:
        # The shaft needs room at the rim: the hand follows a wall's slope only in part.
        normal = normal + np.array([0.0, 0.0, 0.35])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    outwards = normal.copy()
    outwards[:, :2] += tilt * np.linalg.norm(normal, axis=1, keepdims=True)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    start = np.stack([x, y, body.surface(x, y)], axis=1)
    poses = poses_of(start, -outwards, np.tile([1.0, 0.0, 0.0], (len(x), 1)))
    clear = _clearance(body, poses, radius_mm) / np.maximum(outwards[:, 2], 0.5)
    return Path(start + (clear + gap_mm)[:, None] * outwards, -outwards, poses[:, :3, 0])


def _clearance(body: Body, poses: Array, radius_mm: float) -> Array:
    """How far (n,) the face must rise along z so that no point of its rim or centre lies below the
    surface.
    """
    turn = np.arange(12) * np.pi / 6
    face = np.concatenate([np.zeros((1, 2)), radius_mm * np.stack([np.cos(turn), np.sin(turn)], axis=1)])
    points = poses[:, None, :3, 3] + np.einsum("nij,kj->nki", poses[:, :3, :2], face)
    below = body.surface(points[..., 0], points[..., 1]) - points[..., 2]
    return np.asarray(np.maximum(below.max(axis=1), 0.0))


def sweep(source: Array, duration_s: float, rng: np.random.Generator) -> Path:
    """Quick passes over a point source at `source` (3,): up to 120 mm/s, 14 to 26 mm above it."""
    t = _times(duration_s)
    fast, slow = rng.uniform(2.7, 3.1), rng.uniform(1.3, 1.7)
    x = 36.0 * np.sin(fast * t + rng.uniform(0, 6)) + 2.0 * wave(rng, t, 1.0, 4.0)
    y = 9.0 * np.sin(slow * t + rng.uniform(0, 6)) + 2.0 * wave(rng, t, 1.0, 4.0)
    z = 20.0 + 3.0 * wave(rng, t, 1.5, 5.0)
    tilt = _tilts(rng, t, LARGEST_TILT_DEG)
    axis = -np.column_stack([tilt, np.ones(len(t))])
    return Path(source + np.stack([x, y, z], axis=1), axis, np.tile([1.0, 0.0, 0.0], (len(t), 1)))


def touch(body: Body, centre: tuple[float, float], duration_s: float, rng: np.random.Generator) -> Path:
    """The stylus slides over the skin round the region."""
    plane = serpentine(TOUCH_HALF_MM, 7, False) + np.array(centre)
    return _slide(body, plane, duration_s, rng)


def touch_bed(body: Body, duration_s: float, rng: np.random.Generator) -> Path:
    """The stylus slides over the cavity's wall in a spiral, from the bottom outwards."""
    cavity = body.cavity
    if cavity is None:
        raise ValueError("there is no cavity to touch")
    spiral = BED_SHARE * _spiral(5.0, 0.0)
    return _slide(body, cavity.place(spiral), duration_s, rng)


def _slide(body: Body, plane: Array, duration_s: float, rng: np.random.Generator) -> Path:
    t = _times(duration_s)
    curve = _lifted(body, plane)
    dense = _resampled(curve, _arc(curve), rng, t, 0.2)[:, :2]
    dense += 1.0 * np.stack([wave(rng, t, 0.8, 4.0), wave(rng, t, 0.8, 4.0)], axis=1)
    pressed = -0.15 + 0.1 * wave(rng, t, 0.3, 2.0)
    return over_surface(body, dense, pressed, _tilts(rng, t, 25.0), 0.0)


def dwell(points: Array, duration_s: float, pause: Callable[[int, float, float], None] | None = None) -> Path:
    """The stylus rests on each of the points (k, 3) for 60 % of its share of the time.

    `pause(index, start_s, stop_s)` is told of each rest, in seconds since the start of the path.
    """
    t = _times(duration_s)
    share = t[-1] / len(points)
    index = np.minimum((t / share).astype(np.int64), len(points) - 1)
    within = t / share - index
    way = np.clip(within / 0.4, 0.0, 1.0)
    ease = way * way * (3 - 2 * way)
    before = points[np.maximum(index - 1, 0)]
    position = before + ease[:, None] * (points[index] - before)
    position[:, 2] += np.where(index > 0, LIFT_MM * np.sin(np.pi * way), 0.0)
    for i in range(len(points) if pause is not None else 0):
        assert pause is not None
        pause(i, (i + 0.45) * share, (i + 0.98) * share)
    down = np.tile([0.15, 0.1, -1.0], (len(t), 1))
    return Path(position, down, np.tile([1.0, 0.0, 0.0], (len(t), 1)))
