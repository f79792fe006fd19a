"""The rigid transform under which two volumes agree best: many starts, SimpleITK's optimiser, a last step of our own.

One thread, fixed points and fixed seeds: the same input gives the same result. Transforms here are
`T_moving_fixed`, as resampling needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagemetric import CORRELATION, SEED, Agreement, draw, smoothed
from navigation.registration.imagevolume import ImageVolume
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]
Tick = Callable[[str], None]

# Voxels of the first search, in which whole organs count, and of the optimiser's two levels.
SEARCH_MM, LEVELS_MM = 10.0, (8.0, 4.0)
SEARCH_POINTS = 3000
# Patients are laid down again within this: each start is also tried turned by so much about each axis.
START_TURN_DEG = 12.0
# Step between starts along the patient's axis where the fields differ in length.
START_STEP_MM = 30.0
# Starts nearer to each other than this end alike.
SAME_START_MM = 20.0
MOST_STARTS = 6
# Of the coarse ends that differ by more than this, so many are followed to the finest level.
SAME_END_MM = 6.0
MOST_ENDS = 3
# Sixty halved steps end below LAST_STEP_MM wherever the way is not a long valley.
ITERATIONS = 60
FIRST_STEP_MM, LAST_STEP_MM = 4.0, 0.05
# Voxels that the optimiser looks at in each step: more add time and nothing else.
SAMPLED_VOXELS = 20_000
# Points of the last step, which also tells the uncertainty.
FINE_POINTS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """Where one start ended: `T_moving_fixed` and its score on the fine sampling (higher is better)."""

    T_moving_fixed: Array
    score: float
    start: str


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A transform to begin with, named by what suggested it."""

    T_moving_fixed: Array
    name: str
    score: float = -1.0


def rigid(rotation: Array, translation_mm: Array) -> Array:
    """(4, 4) of both."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation_mm
    return matrix


def mapped(T: Array, points_mm: Array) -> Array:
    """Points (n, 3) under a transform (4, 4)."""
    return np.asarray(points_mm @ T[:3, :3].T + T[:3, 3])


def turn(vector_rad: Array) -> Array:
    """(3, 3) rotation about a vector by its length (Rodrigues)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = vector_rad / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross)


def geometric_starts(fixed: ImageVolume, moving: ImageVolume) -> list[Start]:
    """Same coordinates, same middle of the field, same middle of the body, and the latter along the patient."""
    shifts = [("same coordinates", np.zeros(3))]
    shifts.append(("middle of the fields", moving.field_centre_mm - fixed.field_centre_mm))
    bodies = moving.body_centre_mm - fixed.body_centre_mm
    shifts.append(("middle of the bodies", bodies))
    free = 0.5 * abs(float(fixed.extent_mm[2] - moving.extent_mm[2]))
    for step in np.arange(START_STEP_MM, free + START_STEP_MM, START_STEP_MM):
        for sign in (-1.0, 1.0):
            shifts.append(("along the patient", bodies + [0.0, 0.0, sign * step]))
    return [Start(rigid(np.eye(3), shift), name) for name, shift in shifts]


def turned(start: Start, centre_mm: Array) -> Iterator[Start]:
    """The start as it is, then turned about each of the patient's axes through a point of FIXED."""
    yield start
    for axis, sign in ((a, s) for a in range(3) for s in (-1.0, 1.0)):
        rotation = turn(sign * np.radians(START_TURN_DEG) * np.eye(3)[axis])
        about = rigid(rotation, centre_mm - rotation @ centre_mm)
        yield Start(start.T_moving_fixed @ about, f"{start.name}, turned")


def best_starts(fixed: ImageVolume, moving: ImageVolume, kind: str, given: Array | None) -> list[Start]:
    """The most promising starts that differ; a given `T_moving_fixed` is always among them, first."""
    view = smoothed(fixed, SEARCH_MM)
    agreement = Agreement(draw(fixed, view, SEARCH_POINTS), smoothed(moving, SEARCH_MM), kind)
    rough = [
        Start(t.T_moving_fixed, t.name, agreement.at(t.T_moving_fixed))
        for s in geometric_starts(fixed, moving)
        for t in turned(s, fixed.body_centre_mm)
    ]
    rough.sort(key=lambda s: -s.score)
    kept = [] if given is None else [Start(given, "given", agreement.at(given))]
    for start in rough:
        near = (_apart(fixed, start.T_moving_fixed, k.T_moving_fixed) < SAME_START_MM for k in kept)
        if start.score > -1.0 and not any(near):
            kept.append(start)
        if len(kept) == MOST_STARTS:
            break
    return kept


def _apart(fixed: ImageVolume, one: Array, other: Array) -> float:
    return apart_mm(one, other, fixed.spread_mm)


def apart_mm(one: Array, other: Array, points_mm: Array) -> float:
    """Root mean square distance between what two transforms make of points (n, 3)."""
    difference = one - other
    moved = points_mm @ difference[:3, :3].T + difference[:3, 3]
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def search(
    fixed: ImageVolume, moving: ImageVolume, kind: str, given: Array | None, tick: Tick
) -> tuple[list[End], int]:
    """The ends of the best starts, best first and all different, and how many starts were followed."""
    starts = best_starts(fixed, moving, kind, given)
    tick("searching")
    follow = Follower(fixed, moving, kind)
    coarse = []
    for start in starts:
        coarse.append(follow(start.T_moving_fixed, start.name, 0))
        tick(f"start: {start.name}")
    ends = []
    for end in distinct(fixed, coarse)[:MOST_ENDS]:
        ends.append(follow(end.T_moving_fixed, end.start, 1))
        tick("refining")
    return distinct(fixed, ends), len(starts)


def distinct(fixed: ImageVolume, ends: list[End]) -> list[End]:
    """Best first, without those that lie beside a better one."""
    kept: list[End] = []
    for end in sorted(ends, key=lambda e: -e.score):
        if all(_apart(fixed, end.T_moving_fixed, k.T_moving_fixed) > SAME_END_MM for k in kept):
            kept.append(end)
    return kept


class Follower:
    """SimpleITK's optimiser on a pair of volumes, level by level."""

    def __init__(self, fixed: ImageVolume, moving: ImageVolume, kind: str) -> None:
        self._kind = kind
        self._centre = fixed.body_centre_mm
        self._radius = float(np.linalg.norm(fixed.spread_mm - self._centre, axis=1).mean())
        self._pairs = [(image_of(*fixed.coarse(s)), image_of(*moving.coarse(s))) for s in LEVELS_MM]
        self._mask = image_of(fixed.rimmed.astype(np.uint8), fixed.body[1])
        view = smoothed(fixed, LEVELS_MM[0])
        sampling = draw(fixed, view, SEARCH_POINTS * 2)
        self._judge = Agreement(sampling, smoothed(moving, LEVELS_MM[0]), kind)

    def __call__(self, T_moving_fixed: Array, start: str, level: int) -> End:
        """Optimise at one level; a start from which nothing can be sampled ends where it began, score -1."""
        import SimpleITK

        transform = SimpleITK.Euler3DTransform()
        transform.SetCenter(self._centre.tolist())
        R = T_moving_fixed[:3, :3]
        transform.SetMatrix(R.ravel().tolist(), 1e-6)
        moved = R @ self._centre + T_moving_fixed[:3, 3] - self._centre
        transform.SetTranslation(moved.tolist())
        with one_thread():
            method = self._method(level)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            with one_thread():
                method.Execute(*self._pairs[level])
        except RuntimeError:
            return End(T_moving_fixed, -1.0, start)
        end = self._matrix(transform)
        return End(end, self._judge.at(end), start)

    def _matrix(self, transform: Any) -> Array:
        rotation = np.array(transform.GetMatrix()).reshape(3, 3)
        shift = np.array(transform.GetTranslation())
        return rigid(rotation, self._centre + shift - rotation @ self._centre)

    def _method(self, level: int) -> Any:
        import SimpleITK

        method = SimpleITK.ImageRegistrationMethod()
        if self._kind == CORRELATION:
            method.SetMetricAsCorrelation()
        else:
            method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(self._mask)
        method.SetMetricSamplingStrategy(method.RANDOM)
        voxels = int(np.prod(self._pairs[level][0].GetSize()))
        method.SetMetricSamplingPercentage(min(1.0, SAMPLED_VOXELS / voxels), SEED)
        method.SetInterpolator(SimpleITK.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            FIRST_STEP_MM / 2**level, LAST_STEP_MM, ITERATIONS, relaxationFactor=0.6
        )
        # A turn counts by how far it moves the body's border: steps are millimetres then.
        method.SetOptimizerScales([self._radius**2] * 3 + [1.0] * 3)
        return method


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK on one thread: sums of several come in the order in which these end, and differ in the last digit.

    The metric takes its number of threads from the process, not from the method.
    """
    from SimpleITK import ProcessObject

    before = ProcessObject.GetGlobalDefaultNumberOfThreads()
    ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def image_of(array: NDArray[Any], grid: VoxelGrid) -> Any:
    """SimpleITK's image of an array (nz, ny, nx) on its grid."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    image.SetOrigin(grid.origin_mm.tolist())
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image
