"""Many rigid alignments of touched points at once: robust, point to plane, from coarse to fine.

The distance to a surface has the normal as its gradient, so that this Gauss-Newton step is that of the distance itself
(Chen and Medioni 1992, doi:10.1016/0262-8856(92)90066-C); Geman and McClure's loss, narrowed step by step, leaves out
what was not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.registration.surface.shape import Contact, FixedSurface

Array = NDArray[np.float64]

# (width of the loss in mm, iterations): from the reach of a start down to what a refinement begins with.
COARSE: tuple[tuple[float, int], ...] = ((20.0, 5), (10.0, 5), (5.0, 5))
FINE: tuple[tuple[float, int], ...] = ((5.0, 4), (3.0, 6))
# Width over the scale of the residuals: 95 % as efficient as least squares, and blind beyond thrice the width.
WIDTH_PER_SCALE = 2.5
# Touch and tracker never agree with a CT's skin to better than this.
LEAST_SCALE_MM = 0.5
MAD_PER_SD = 1.4826
# One step moves the points by this much at most (RMS): beyond it the planes are others.
LONGEST_STEP_MM = 10.0
# Share of the full metric that holds back directions nobody determines.
COARSE_DAMPING, FINE_DAMPING = 1e-2, 1e-4
FINE_WIDTH_MM = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """Pairs of landmarks (k, 3), and how much each weighs against one touched point."""

    fixed_mm: Array
    moving_mm: Array
    weight: float

    @staticmethod
    def none() -> Ties:
        """No landmarks."""
        return Ties(np.zeros((0, 3)), np.zeros((0, 3)), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Touched points (n, 3), the surface, and landmarks."""

    surface: FixedSurface
    points_mm: Array
    ties: Ties

    def thinned(self, most: int) -> Problem:
        """The same with at most `most` points, far from each other; all if there are no more."""
        if len(self.points_mm) <= most:
            return self
        return Problem(self.surface, self.points_mm[farthest(self.points_mm, most)], self.ties)


def farthest(points_mm: Array, count: int) -> NDArray[np.int64]:
    """Indices (count,) of points (n, 3) spread as widely as can be; each is the farthest from those before."""
    chosen = np.zeros(min(count, len(points_mm)), dtype=np.int64)
    chosen[0] = int(np.argmin(((points_mm - points_mm.mean(axis=0)) ** 2).sum(axis=1)))
    away = np.full(len(points_mm), np.inf)
    for n in range(1, len(chosen)):
        away = np.minimum(away, ((points_mm - points_mm[chosen[n - 1]]) ** 2).sum(axis=1))
        chosen[n] = int(np.argmax(away))
    return chosen


def moved(T: Array, points_mm: Array) -> Array:
    """(..., n, 3): points (n, 3) under transforms (..., 4, 4)."""
    return np.asarray(points_mm @ np.swapaxes(T[..., :3, :3], -1, -2) + T[..., None, :3, 3])


def twisted(T: Array, twist: Array, about_mm: Array) -> Array:
    """(s, 4, 4): transforms (s, 4, 4) followed by small motions (s, 6), turn (rad) and shift, about places (s, 3)."""
    result = T.copy()
    turn = rotations(twist[:, :3])
    result[:, :3, :3] = turn @ T[:, :3, :3]
    result[:, :3, 3] = np.einsum("sij,sj->si", turn, T[:, :3, 3] - about_mm) + about_mm + twist[:, 3:]
    return result


def rotations(vectors: Array) -> Array:
    """(s, 3, 3) of rotation vectors (s, 3) in rad (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)
    x, y, z = (vectors / np.maximum(angle, 1e-300)[:, None]).T
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sine, versine = np.sin(angle)[:, None, None], (1.0 - np.cos(angle))[:, None, None]
    return np.asarray(np.eye(3) + sine * k + versine * (k @ k))


def contact_of(problem: Problem, T: Array, exact: bool = False) -> Contact:
    """Contact of all points under transforms (s, 4, 4), its arrays as (s, n) and (s, n, 3)."""
    points = moved(T, problem.points_mm)
    flat = points.reshape(-1, 3)
    found = problem.surface.exact(flat) if exact else problem.surface.nearest(flat)
    shape = points.shape[:2]
    return Contact(
        found.signed_mm.reshape(shape),
        found.normals.reshape(points.shape),
        found.beyond.reshape(shape),
        found.away_mm.reshape(shape),
    )


def loss_of(contact: Contact, width_mm: float) -> Array:
    """Mean loss (s,) between 0 and 1; a point beyond the edge counts as one that was not touched."""
    ratio = (contact.away_mm / width_mm) ** 2
    return np.asarray(np.where(contact.beyond, 1.0, ratio / (1.0 + ratio)).mean(axis=-1))


def scale_of(contact: Contact) -> Array:
    """(s,): robust standard deviation of the distances, at least LEAST_SCALE_MM."""
    away = np.where(contact.beyond, np.nan, contact.away_mm)
    known = np.isfinite(away).any(axis=-1)
    middle = np.full(away.shape[0], np.inf)
    middle[known] = np.nanmedian(away[known], axis=-1)
    return np.maximum(MAD_PER_SD * middle, LEAST_SCALE_MM)


def aligned(
    problem: Problem, T: Array, schedule: Sequence[tuple[float, int]], held: Array | None = None
) -> Array:
    """Transforms (s, 4, 4) after the schedule; `held` (s, 6, 6) projects the motions each may make."""
    for width, iterations in schedule:
        for _ in range(iterations):
            T = _step(problem, T, width, held)
    return T


def polished(problem: Problem, T: Array, width_mm: float, iterations: int = 4) -> Array:
    """Transforms (s, 4, 4) after some steps against the triangles themselves."""
    for _ in range(iterations):
        T = _step(problem, T, width_mm, None, exact=True)
    return T


def _step(problem: Problem, T: Array, width_mm: float, held: Array | None, exact: bool = False) -> Array:
    """One damped Gauss-Newton step of all transforms (s, 4, 4)."""
    points = moved(T, problem.points_mm)
    contact = contact_of(problem, T, exact)
    weight = 1.0 / (1.0 + (contact.away_mm / width_mm) ** 2) ** 2
    # As long as the place is only sought, the edge pulls back what hangs over it.
    weight = np.where(contact.beyond, 0.0 if width_mm <= FINE_WIDTH_MM else 0.3 * weight, weight)
    about = points.mean(axis=1)
    arm = points - about[:, None]
    rows = np.concatenate([np.cross(arm, contact.normals), contact.normals], axis=2)
    weighted = rows * weight[..., None]
    matrix = np.swapaxes(weighted, 1, 2) @ rows
    right = -np.einsum("snk,sn->sk", weighted, contact.signed_mm)
    if len(problem.ties.fixed_mm):
        more, pull = _tie_terms(problem.ties, T, about)
        matrix, right = matrix + more, right + pull
    metric = motion_metric(arm) * len(problem.points_mm)
    damping = FINE_DAMPING if width_mm <= FINE_WIDTH_MM else COARSE_DAMPING
    matrix = matrix + damping * metric
    if held is not None:
        # In the directions that are held the step is nothing.
        loose = np.eye(6) - held
        matrix = (
            np.swapaxes(held, 1, 2) @ matrix @ held
            + loose * np.trace(matrix, axis1=1, axis2=2)[:, None, None]
        )
        right = np.einsum("sji,sj->si", held, right)
    twist = np.linalg.solve(matrix, right[..., None])[..., 0]
    if held is not None:
        twist = np.einsum("sij,sj->si", held, twist)
    length = np.sqrt(np.einsum("si,sij,sj->s", twist, metric / len(problem.points_mm), twist))
    twist *= np.minimum(1.0, LONGEST_STEP_MM / np.maximum(length, 1e-12))[:, None]
    return twisted(T, twist, about)


def motion_metric(arm_mm: Array) -> Array:
    """(s, 6, 6): mean squared motion, in mm2, of points at arms (s, n, 3) under a twist about their middle."""
    rows = tie_rows(arm_mm)
    return np.asarray(np.einsum("snij,snik->sjk", rows, rows) / arm_mm.shape[1])


def tie_rows(arm_mm: Array) -> Array:
    """(s, n, 3, 6): motion of points at arms (s, n, 3) per unit of a twist."""
    rows = np.zeros((*arm_mm.shape, 6))
    x, y, z = np.moveaxis(arm_mm, -1, 0)
    rows[..., 0, 1], rows[..., 0, 2] = z, -y
    rows[..., 1, 0], rows[..., 1, 2] = -z, x
    rows[..., 2, 0], rows[..., 2, 1] = y, -x
    rows[..., :, 3:] = np.eye(3)
    return rows


def _tie_terms(ties: Ties, T: Array, about_mm: Array) -> tuple[Array, Array]:
    places = moved(T, ties.moving_mm)
    rows = tie_rows(places - about_mm[:, None])
    miss = places - ties.fixed_mm
    matrix = ties.weight * np.einsum("snij,snik->sjk", rows, rows)
    return matrix, -ties.weight * np.einsum("snij,sni->sj", rows, miss)
