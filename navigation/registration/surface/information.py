"""How well touched points hold a surface in each direction, and what error follows at a target.

The sandwich of the point-to-plane information with residuals that are correlated over the skin (Gelfand et al. 2003,
doi:10.1109/IM.2003.1240258, for the directions; Conley 1999, doi:10.1016/S0304-4076(98)00084-0, for the correlation).
Twists (6,) are a turn in rad and a shift in mm about the middle of the points, in the frame of the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.registration.surface.align import (
    WIDTH_PER_SCALE,
    Problem,
    aligned,
    contact_of,
    motion_metric,
    moved,
    tie_rows,
    twisted,
)
from navigation.registration.surface.shape import Contact

Array = NDArray[np.float64]

# Skin gives way under a hand and differs from its CT over some centimetres, so that touched points err together:
# this share of the residuals' variance, over this length. Checked against simulated skins in benchmarks.
CORRELATED_SHARE, CORRELATION_MM = 0.6, 22.0
# A stylus presses all of the skin in, and half-way between air and tissue is a convention.
PRESSED_MM = 0.5
# Touched landmarks on skin err by this much (RMS of each axis).
TIE_SD_MM = 2.0
# Turns are weighed by what they move this far from the touched points' middle, as a target does.
DEPTH_MM = 50.0
# The loosest directions are tried: the points are moved along them and may settle in all others.
# Far enough that the loss rises above the roughness of the surface's own triangles.
TRIED, TRIED_SD, TRIED_LEAST_MM, TRIED_MOST_MM = 3, 3.0, 6.0, 15.0
TRIED_STEPS = 8
# Nothing is known worse than by this: a figure that no gate passes.
LARGEST_SD_MM = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Certainty:
    """Covariance (6, 6) of the twist about `about_mm` (3,), and its principal motions from loose to firm.

    `sd_mm` (6,) is the motion of the region (RMS) within one standard deviation, `twists` (6, 6) the motions of 1 mm
    as rows; `n_effective` is how many independent points the touched ones are worth.
    """

    covariance: Array
    about_mm: Array
    sd_mm: Array
    twists: Array
    n_effective: float

    def target_covariance(self, targets_mm: Array) -> Array:
        """(k, 3, 3) in mm2 at targets (k, 3) in the frame of the surface."""
        rows = tie_rows((targets_mm - self.about_mm)[None])[0]
        return np.asarray(rows @ self.covariance @ np.swapaxes(rows, 1, 2))


def effective_points(points_mm: Array) -> float:
    """How many independent points n points (n, 3) are worth for their mean under the correlation assumed."""
    return float(len(points_mm) ** 2 / _correlation(points_mm).sum())


def likelihood_gain(loss: Array, width_mm: float, scale_mm: float, n_effective: float) -> Array:
    """What a rise of the mean loss is as a difference of log likelihoods: near zero the loss is (r / width)^2."""
    return np.asarray(loss * n_effective * (width_mm / scale_mm) ** 2 / 2.0)


def certainty_of(problem: Problem, T: Array, scale_mm: float) -> Certainty:
    """Of the alignment T (4, 4) whose residuals have the given robust SD."""
    points = moved(T[None], problem.points_mm)[0]
    about = points.mean(axis=0)
    arm = points - about
    metric = _metric(arm)
    width = WIDTH_PER_SCALE * scale_mm
    contact = contact_of(problem, T[None], exact=True)
    matrix, meat = _information(problem, T, points, contact, scale_mm, width)
    ridge = 1e-12 * np.trace(matrix) / np.trace(metric) * metric
    bread = np.linalg.inv(matrix + ridge)
    # Where the points say nothing the ridge alone speaks: everything is possible there.
    covariance = bread @ (meat + scale_mm**2 * ridge) @ bread
    values, twists = _principal(covariance, metric)
    looser = _looser(problem, T, matrix + ridge, twists, np.sqrt(values), width)
    more = (np.minimum(looser, LARGEST_SD_MM) ** 2 - 1.0) * values
    covariance = covariance + np.einsum("k,ki,kj->ij", more, twists, twists)
    values, twists = _principal(covariance, metric)
    return Certainty(
        covariance, about, np.minimum(np.sqrt(values), LARGEST_SD_MM), twists, effective_points(points)
    )


def _correlation(points_mm: Array) -> Array:
    """(n, n) correlation of the residuals at points (n, 3)."""
    squares = ((points_mm[:, None] - points_mm[None]) ** 2).sum(axis=2)
    near = np.exp(-squares / (2.0 * CORRELATION_MM**2))
    return np.asarray(CORRELATED_SHARE * near + (1.0 - CORRELATED_SHARE) * np.eye(len(points_mm)))


def _information(
    problem: Problem, T: Array, points: Array, contact: Contact, scale_mm: float, width_mm: float
) -> tuple[Array, Array]:
    """Normal matrix (6, 6) and the covariance (6, 6) of its right-hand side."""
    arm = points - points.mean(axis=0)
    normals = problem.surface.blended_normals(points)
    weight = 1.0 / (1.0 + (contact.away_mm[0] / width_mm) ** 2) ** 2
    rows = np.concatenate([np.cross(arm, normals), normals], axis=1)
    pulls = rows * np.where(contact.beyond[0], 0.0, weight)[:, None]
    pressed = pulls.sum(axis=0)
    matrix = pulls.T @ rows
    meat = scale_mm**2 * pulls.T @ _correlation(points) @ pulls + PRESSED_MM**2 * np.outer(pressed, pressed)
    if len(problem.ties.fixed_mm):
        ties = problem.ties
        lever = tie_rows((moved(T[None], ties.moving_mm)[0] - points.mean(axis=0))[None])[0]
        own = np.einsum("nij,nik->jk", lever, lever)
        matrix = matrix + ties.weight * own
        meat = meat + ties.weight**2 * TIE_SD_MM**2 * own
    return matrix, meat


def _metric(arm_mm: Array) -> Array:
    """(6, 6): mean squared motion of the touched points, and of a place DEPTH_MM away in any direction."""
    metric: Array = motion_metric(arm_mm[None])[0]
    metric[:3, :3] += np.eye(3) * DEPTH_MM**2 * 2.0 / 3.0
    return metric


def _principal(covariance: Array, metric: Array) -> tuple[Array, Array]:
    """Variances (6,) in mm2 from large to small, and the twists (6, 6) that move the region by 1 mm."""
    values, vectors = np.linalg.eigh(metric)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    variances, motions = np.linalg.eigh(root @ covariance @ root)
    return np.maximum(variances[::-1], 0.0), (inverse @ motions[:, ::-1]).T


def _looser(problem: Problem, T: Array, matrix: Array, twists: Array, sd_mm: Array, width_mm: float) -> Array:
    """(6,): how many times looser than on paper the loosest motions are, at least 1; 1 for those not tried.

    Roughness of normals holds points only on paper: moved away and settled anew they fit as well as before.
    """
    about = middle_of(problem, T)
    metric = _metric(moved(T[None], problem.points_mm)[0] - about)
    step = np.clip(TRIED_SD * sd_mm[:TRIED], TRIED_LEAST_MM, TRIED_MOST_MM)
    covector = twists[:TRIED] @ metric
    held = np.eye(6) - np.einsum("ki,kj->kij", twists[:TRIED], covector)
    start = twisted(
        np.tile(T, (2 * TRIED, 1, 1)),
        np.concatenate([step[:, None] * twists[:TRIED], -step[:, None] * twists[:TRIED]]),
        np.tile(about, (2 * TRIED, 1)),
    )
    settled = aligned(problem, start, ((width_mm, TRIED_STEPS),), held=np.tile(held, (2, 1, 1)))
    there, here = (contact_of(problem, each, exact=True) for each in (settled, T[None]))
    # Both ways together: that the best place is not quite the middle between them is no looseness.
    rise = _rise(there, here, width_mm) + _tie_rise(problem, settled, T, width_mm)
    rise = rise.reshape(2, TRIED).mean(axis=0)
    give = np.einsum("ki,ij,kj->k", covector, np.linalg.inv(matrix), covector)
    expected = step**2 / give / width_mm**2 / len(problem.points_mm)
    result = np.ones(6)
    result[:TRIED] = np.sqrt(np.maximum(expected / np.maximum(rise, 1e-9), 1.0))
    return result


def _tie_rise(problem: Problem, there: Array, here: Array, width_mm: float) -> Array:
    """(s,): what the landmarks add to the rise of the mean loss."""
    ties = problem.ties
    squares = [
        ((moved(T, ties.moving_mm) - ties.fixed_mm) ** 2).sum(axis=(1, 2)) for T in (there, here[None])
    ]
    return np.asarray(ties.weight * (squares[0] - squares[1]) / width_mm**2 / len(problem.points_mm))


def middle_of(problem: Problem, T: Array) -> Array:
    """(3,): the middle of the points under T."""
    return np.asarray(moved(T[None], problem.points_mm)[0].mean(axis=0))


def _rise(there: Contact, here: Contact, width_mm: float) -> Array:
    """(s,): rise of the mean loss; a point that comes to hang over the edge says nothing against it."""
    loss = [(c.away_mm / width_mm) ** 2 for c in (there, here)]
    difference = loss[0] / (1.0 + loss[0]) - loss[1] / (1.0 + loss[1])
    return np.asarray(np.where(there.beyond | here.beyond, 0.0, difference).mean(axis=-1))
