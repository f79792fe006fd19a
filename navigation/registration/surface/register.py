"""The registration of touched points to a surface: many starts, the few places they end in, and what tells them apart.

Starts are aligned together with few points from coarse to fine; the places that differ are refined with all points and
compared by their likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.residuals import MIN_PAIRS, MIN_SPREAD_RATIO
from navigation.registration.rigid import fit_rigid, spread_ratios
from navigation.registration.surface.align import (
    COARSE,
    FINE,
    WIDTH_PER_SCALE,
    Problem,
    Ties,
    aligned,
    contact_of,
    farthest,
    loss_of,
    moved,
    polished,
    scale_of,
)
from navigation.registration.surface.gates import UNDER_MM, reasons_of, warnings_of
from navigation.registration.surface.guidance import loose_directions
from navigation.registration.surface.information import (
    TIE_SD_MM,
    Certainty,
    certainty_of,
    effective_points,
    likelihood_gain,
)
from navigation.registration.surface.result import (
    INITIAL_FILE,
    INITIAL_LANDMARKS,
    INITIAL_NONE,
    Rival,
    Starts,
    SurfaceRegistration,
)
from navigation.registration.surface.shape import FixedSurface, check_extent
from navigation.registration.surface.starts import everywhere, round_a_start
from navigation.registration.targeterror import error_bound
from tracking.errors import InputError

Array = NDArray[np.float64]

# Fewer touched points cannot hold six directions and show an outlier.
FEWEST_POINTS = 12
# More add nothing: they are closer to each other than skin errs independently.
MOST_POINTS = 600
# Points that a start is followed with, and with which a whole surface is searched.
COARSE_POINTS, GLOBAL_POINTS = 100, 32
# Of the surface's samples every so many suffice as long as the loss is wide.
ROUGH_STEP = 6
GLOBAL: tuple[tuple[float, int], ...] = ((20.0, 4), (10.0, 4))
GLOBAL_KEPT = 48
# Starts of each mirror image.
MIRROR_STARTS = 6
# Places whose points differ by less than this (RMS) are one.
DISTINCT_MM = 3.0
# Places that are refined, and the steps that end a refinement.
REFINED, LAST_STEPS = 10, 10
# A place within so many standard deviations of the best is part of its stated uncertainty.
COVERED_SD = 2.5
# Beyond so many robust standard deviations a point does not fit.
OUTLIER_SD = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceTask:
    """Touched points (n, 3), with outward normals (n, 3) where a probe's poses told them; what is known of the place.

    `pairs` are landmarks (k, 3), fixed and moving; `targets_mm` (m, 3) are given in MOVING, or in
    the surface's frame. `initial` maps MOVING into the surface's frame.
    """

    surface: FixedSurface
    points_mm: Array
    normals: Array | None = None
    initial: Array | None = None
    pairs: tuple[Array, Array] | None = None
    targets_mm: Array | None = None
    targets_in_fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Distinct places (p, 4, 4), likeliest first: log likelihood less than the best's, robust SD, starts they drew."""

    T: Array
    less: Array
    scale_mm: Array
    reached: NDArray[np.int64]


def register_surface(task: SurfaceTask) -> SurfaceRegistration:
    """The place where the touched points fit the surface best, and whether it may be used.

    Raises InputError for points that are too few, not finite or not in millimetres.
    """
    problem = _problem(task)
    initial, source = _initial(task)
    starts = (
        everywhere(problem, _thin_normals(task, problem))
        if initial is None
        else round_a_start(initial, problem.points_mm)
    )
    places = _searched(problem, starts, initial is None)
    T, scale = places.T[0], float(places.scale_mm[0])
    certainty = certainty_of(problem, T, scale)
    found = Starts(
        len(starts),
        int(places.reached[0]),
        source,
        None if initial is None else _away(T, initial, problem.points_mm.mean(axis=0, keepdims=True)),
        None if initial is None else _turn_deg(T, initial),
        _rivals(problem, places, certainty),
    )
    return _judged(task, problem, T, scale, certainty, found, _mirror(problem, T, scale))


def _problem(task: SurfaceTask) -> Problem:
    points = np.asarray(task.points_mm, dtype=np.float64)
    if len(np.unique(points, axis=0)) < FEWEST_POINTS:
        raise InputError(f"{len(points)} touched points; at least {FEWEST_POINTS} different ones are needed")
    check_extent(points)
    chosen = points[farthest(points, MOST_POINTS)]
    if task.pairs is None or len(task.pairs[0]) == 0:
        return Problem(task.surface, chosen, Ties.none())
    # Touched points count as what they are worth, at a residual of 1 mm.
    weight = len(chosen) / effective_points(chosen) / TIE_SD_MM**2
    return Problem(task.surface, chosen, Ties(*task.pairs, weight))


def _thin_normals(task: SurfaceTask, problem: Problem) -> Array | None:
    if task.normals is None:
        return None
    return task.normals[farthest(np.asarray(task.points_mm, dtype=np.float64), len(problem.points_mm))]


def _initial(task: SurfaceTask) -> tuple[Array | None, str]:
    """The start (4, 4) and where it comes from: the one given, else landmarks if they tell one."""
    if task.initial is not None:
        return task.initial, INITIAL_FILE
    if task.pairs is not None and len(task.pairs[0]) >= MIN_PAIRS:
        fixed, moving = task.pairs
        if min(spread_ratios(fixed)[0], spread_ratios(moving)[0]) >= MIN_SPREAD_RATIO:
            return fit_rigid(fixed, moving).matrix, INITIAL_LANDMARKS
    return None, INITIAL_NONE


def _searched(problem: Problem, starts: Array, everywhere_: bool) -> _Places:
    """Where the starts end."""
    rough = replace(problem, surface=problem.surface.thinned(ROUGH_STEP))
    if everywhere_:
        few = rough.thinned(GLOBAL_POINTS)
        ends = aligned(few, starts, GLOBAL)
        starts = ends[np.argsort(loss_of(contact_of(few, ends), GLOBAL[-1][0]), kind="stable")[:GLOBAL_KEPT]]
    some = problem.thinned(COARSE_POINTS)
    ends = aligned(rough.thinned(COARSE_POINTS), starts, COARSE[:-1])
    ends = aligned(some, ends, COARSE[-1:])
    chosen, _ = _distinct(some, ends, _cost(some, ends, COARSE[-1][0], COARSE[-1][0] / WIDTH_PER_SCALE))
    refined = aligned(problem, ends[chosen[:REFINED]], FINE)
    scale = float(scale_of(contact_of(problem, refined)).min())
    refined = aligned(problem, refined, ((WIDTH_PER_SCALE * scale, LAST_STEPS),))
    refined = polished(problem, refined, WIDTH_PER_SCALE * scale)
    cost = _cost(problem, refined, WIDTH_PER_SCALE * scale, scale, exact=True)
    order, _ = _distinct(problem, refined, cost)
    best = refined[order]
    apart = np.array([[_away(a, b, some.points_mm) for a in best] for b in ends])
    reached = np.bincount(np.argmin(apart, axis=1), minlength=len(best))
    return _Places(best, cost[order] - cost[order[0]], scale_of(contact_of(problem, best)), reached)


def _cost(problem: Problem, T: Array, width_mm: float, scale_mm: float, exact: bool = False) -> Array:
    """Negative log likelihood (s,) of transforms (s, 4, 4), independent points and landmarks counted."""
    loss = loss_of(contact_of(problem, T, exact), width_mm)
    cost = likelihood_gain(loss, width_mm, scale_mm, effective_points(problem.points_mm))
    if len(problem.ties.fixed_mm):
        miss = moved(T, problem.ties.moving_mm) - problem.ties.fixed_mm
        cost = cost + (miss**2).sum(axis=(1, 2)) / (2.0 * TIE_SD_MM**2)
    return cost


def _distinct(problem: Problem, T: Array, cost: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the transforms that differ by more than DISTINCT_MM from every better one, best first, and the
    number of transforms that each stands for.
    """
    kept: list[int] = []
    count: list[int] = []
    for n in np.argsort(cost, kind="stable"):
        near = [k for k, other in enumerate(kept) if _away(T[n], T[other], problem.points_mm) < DISTINCT_MM]
        if near:
            count[near[0]] += 1
        else:
            kept.append(int(n))
            count.append(1)
    return np.array(kept), np.array(count)


def _away(a: Array, b: Array, points_mm: Array) -> float:
    """RMS distance in mm between points (n, 3) under two transforms."""
    return float(np.sqrt(((moved(a[None], points_mm) - moved(b[None], points_mm)) ** 2).sum(axis=-1).mean()))


def _turn_deg(a: Array, b: Array) -> float:
    cosine = (np.trace(a[:3, :3] @ b[:3, :3].T) - 1.0) / 2.0
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _rivals(problem: Problem, places: _Places, certainty: Certainty) -> tuple[Rival, ...]:
    """The other places, unless they lie within the uncertainty that is stated anyway."""
    covered = COVERED_SD * float(certainty.sd_mm[0])
    rivals = []
    for T, less, scale in zip(places.T[1:], places.less[1:], places.scale_mm[1:], strict=True):
        away = _away(T, places.T[0], problem.points_mm)
        if away > max(covered, DISTINCT_MM):
            rivals.append(Rival(away, float(scale), float(less), T))
    return tuple(rivals)


def _mirror(problem: Problem, T: Array, scale_mm: float) -> Rival | None:
    """How well the mirror image of the points fits: flipped along their own axes, aligned as the points were."""
    points = problem.points_mm
    middle = points.mean(axis=0)
    axes = np.linalg.svd(points - middle, full_matrices=False)[2]
    width = WIDTH_PER_SCALE * scale_mm
    here = _cost(problem, T[None], width, scale_mm)[0]
    rough = problem.surface.thinned(ROUGH_STEP)
    best: Rival | None = None
    for axis in axes:
        flipped = points - 2.0 * np.outer((points - middle) @ axis, axis)
        mirrored = Problem(problem.surface, flipped, Ties.none())
        some = mirrored.thinned(COARSE_POINTS)
        ends = aligned(replace(some, surface=rough), round_a_start(T, flipped)[:MIRROR_STARTS], COARSE[:-1])
        ends = aligned(some, ends, COARSE[-1:])
        chosen = int(np.argmin(_cost(some, ends, COARSE[-1][0], COARSE[-1][0] / WIDTH_PER_SCALE)))
        end = aligned(mirrored, ends[[chosen]], (*FINE, (width, LAST_STEPS)))
        less = float(_cost(mirrored, end, width, scale_mm)[0] - here)
        if best is None or less < best.log_likelihood:
            rms = float(scale_of(contact_of(mirrored, end))[0])
            best = Rival(_away(end[0], T, points), rms, less, end[0])
    return best


def _judged(
    task: SurfaceTask,
    problem: Problem,
    T: Array,
    scale_mm: float,
    certainty: Certainty,
    starts: Starts,
    mirror: Rival | None,
) -> SurfaceRegistration:
    """The result with its reasons."""
    every = replace(problem, points_mm=np.asarray(task.points_mm, dtype=np.float64))
    contact = contact_of(every, T[None], exact=True)
    signed, beyond = contact.signed_mm[0], contact.beyond[0]
    fits = (contact.away_mm[0] <= OUTLIER_SD * scale_mm) & ~beyond
    rms = float(np.sqrt((signed[fits] ** 2).mean())) if fits.any() else float(scale_mm)
    share = float(fits.sum() / max(int((~beyond).sum()), 1))
    beyond_share = float(beyond.mean())
    loose = loose_directions(problem, T, certainty)
    miss = np.linalg.norm(moved(T[None], problem.ties.moving_mm)[0] - problem.ties.fixed_mm, axis=1)
    targets = np.zeros((0, 3)) if task.targets_mm is None else np.asarray(task.targets_mm, dtype=np.float64)
    places = targets if task.targets_in_fixed else moved(T[None], targets)[0]
    covariance = certainty.target_covariance(places)
    cosine = None if task.normals is None else _outward(task, contact.normals[0], T)
    under = float((signed[~beyond] < -UNDER_MM).mean()) if (~beyond).any() else 0.0
    return SurfaceRegistration(
        matrix=T,
        signed_mm=signed,
        beyond=beyond,
        scale_mm=scale_mm,
        rms_mm=rms,
        inlier_share=share,
        coverage=_coverage(problem, T, certainty, beyond_share),
        loose=loose,
        starts=starts,
        targets_mm=targets,
        target_covariance_mm2=covariance,
        target_bound_mm=np.array([error_bound(np.linalg.eigvalsh(each)) for each in covariance]),
        mirrored_rms_mm=None if mirror is None else mirror.rms_mm,
        landmark_residuals_mm=miss,
        reasons=reasons_of(rms, share, beyond_share, loose, starts, mirror, miss, task.surface.fault, cosine),
        warnings=warnings_of(share, beyond_share, under, loose, mirror, starts, task.surface.oriented),
    )


def _outward(task: SurfaceTask, normals: Array, T: Array) -> float | None:
    """Median cosine between the sides the points were touched from and the surface's own normals."""
    if task.normals is None or not task.surface.oriented:
        return None
    return float(np.median(np.einsum("nd,nd->n", task.normals @ T[:3, :3].T, normals)))


def _coverage(problem: Problem, T: Array, certainty: Certainty, beyond_share: float) -> dict[str, Any]:
    """How much of the surface was touched: extents along the points' axes, spread of normals, what they hold."""
    points = moved(T[None], problem.points_mm)[0]
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    normals = problem.surface.blended_normals(points)
    mean = normals.mean(axis=0)
    cosine = normals @ (mean / max(float(np.linalg.norm(mean)), 1e-12))
    return {
        "points": len(problem.points_mm),
        "independent_points": certainty.n_effective,
        "extent_mm": np.ptp(points @ axes.T, axis=0).tolist(),
        "widest_normal_deg": float(np.degrees(np.arccos(np.clip(np.quantile(cosine, 0.05), -1.0, 1.0)))),
        "beyond_edge_share": beyond_share,
        "sd_mm": certainty.sd_mm.tolist(),
    }
