"""Reasons to refuse a registration of images: what a transform that is right shows, and a wrong one does not.

A right one agrees better than displaced copies, other ends of the search and the mirror image, in every part of the
body; and the outlines of the two bodies lie on each other. Lengths mm, transforms `T_moving_fixed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagemetric import SEED, Agreement, Moving, interpolate
from navigation.registration.imagepeak import HALVES
from navigation.registration.imagesearch import mapped, rigid, turn
from navigation.registration.imagevolume import ImageVolume
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Displacements at which a right transform has lost to itself: beyond the blur of any camera.
DISPLACED_MM = (20.0, 40.0)
DISPLACED_DEG = (15.0, 25.0)
# Skin of this depth and air of this distance tell whether an image shows the outline.
SHELL_MM, GAP_MM = 15.0, 4.0
# Tissue this many times brighter than the air beside it is an outline.
OUTLINE_RATIO = 2.0
# Fewer points of a shell in a part of the body say nothing of it.
LEAST_POINTS = 20


@dataclass(frozen=True, slots=True)
class Lead:
    """By how much the transform agrees better than a rival: the difference, and that in its own SDs."""

    difference: float
    sds: float


def lead(one: Agreement, statistics: Array, other: Agreement, rival: Array) -> Lead:
    """The lead of `statistics` over those of a rival, with the scatter over half of the blocks each."""
    rng = np.random.default_rng(SEED)
    blocks = len(statistics)
    differences = []
    for _ in range(HALVES):
        half = rng.permutation(blocks)[: (blocks + 1) // 2]
        differences.append(one.score(statistics[half].sum(axis=0)) - other.score(rival[half].sum(axis=0)))
    whole = one.score(statistics.sum(axis=0)) - other.score(rival.sum(axis=0))
    sd = float(np.sqrt(np.mean((np.array(differences) - whole) ** 2)))
    return Lead(whole, whole / sd if sd > 0.0 else float(np.sign(whole)) * np.inf)


def displacements(centre_mm: Array) -> list[Array]:
    """Motions (4, 4) of FIXED by known amounts along and about each axis."""
    moves = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            along = sign * np.eye(3)[axis]
            moves += [rigid(np.eye(3), mm * along) for mm in DISPLACED_MM]
            for degrees in DISPLACED_DEG:
                rotation = turn(np.radians(degrees) * along)
                moves.append(rigid(rotation, centre_mm - rotation @ centre_mm))
    return moves


def lead_over_displaced(agreement: Agreement, T_moving_fixed: Array, statistics: Array) -> Lead:
    """The smallest lead over deliberately displaced copies that still overlap by half as much."""
    share = agreement.share(statistics)
    smallest = Lead(np.inf, np.inf)
    for move in displacements(agreement.sampling.points_mm.mean(axis=0)):
        moved = agreement.statistics(T_moving_fixed @ move)
        if agreement.share(moved) < 0.5 * share:
            continue
        found = lead(agreement, statistics, agreement, moved)
        smallest = found if found.sds < smallest.sds else smallest
    return smallest


@dataclass(frozen=True, slots=True)
class Overlap:
    """What both fields show: share of the smaller body within the other field, and its volume."""

    share: float
    volume_ml: float


def overlap_of(fixed: ImageVolume, moving: ImageVolume, T_moving_fixed: Array) -> Overlap:
    """How much of each body lies in the other's field; the larger share counts, as one may be a part."""
    forth, volume = _within(fixed, moving, T_moving_fixed)
    back, _ = _within(moving, fixed, invert_rigid(T_moving_fixed))
    return Overlap(max(forth, back), volume)


def _within(one: ImageVolume, other: ImageVolume, T_other_one: Array) -> tuple[float, float]:
    mask, grid = one.body
    points = np.argwhere(mask)[:, ::-1] @ grid.matrix[:3, :3].T + grid.origin_mm
    index = other.grid.index_of(mapped(T_other_one, points))
    inside = ((index >= -0.5) & (index <= np.array(other.grid.size) - 0.5)).all(axis=1)
    return float(inside.mean()), float(inside.sum() * grid.voxel_ml)


def outline_share(fixed: ImageVolume, moving: ImageVolume, T_moving_fixed: Array) -> float | None:
    """Share of the fixed body's outline along which MOVING is brighter within than without; None if unseen."""
    from scipy.ndimage import distance_transform_edt

    mask, grid = fixed.body
    spacing = grid.spacing_mm[::-1]
    depth = distance_transform_edt(mask, sampling=spacing)
    height = distance_transform_edt(~mask, sampling=spacing)
    inner = (depth > GAP_MM) & (depth <= SHELL_MM)
    outer = (height > GAP_MM) & (height <= SHELL_MM)
    floor = float(np.quantile(moving.array, 0.01))
    raw = Moving(moving.array - np.float32(floor) + np.float32(1.0), moving.grid)
    within, without = (_by_part(shell, fixed, raw, T_moving_fixed) for shell in (inner, outer))
    both = sorted(set(within) & set(without))
    if not both:
        return None
    seen = [within[part] - 1.0 >= OUTLINE_RATIO * max(without[part] - 1.0, 0.0) for part in both]
    return float(np.mean(seen))


def _by_part(
    shell: Mask, fixed: ImageVolume, raw: Moving, T_moving_fixed: Array
) -> dict[tuple[int, ...], float]:
    """Mean of the moving values in each cube of the shell; cubes that are hardly seen left out."""
    grid = fixed.body[1]
    points = np.argwhere(shell)[:, ::-1] @ grid.matrix[:3, :3].T + grid.origin_mm
    values = interpolate(raw, mapped(T_moving_fixed, points))
    points, values = points[values >= 0.0], values[values >= 0.0]
    if len(points) == 0:
        return {}
    cells, which = np.unique(np.floor(points / 40.0).astype(int), axis=0, return_inverse=True)
    which = which.reshape(-1)
    count = np.bincount(which)
    mean = np.bincount(which, values) / count
    return {
        tuple(c): float(m) for c, m, n in zip(cells.tolist(), mean, count, strict=True) if n >= LEAST_POINTS
    }


def outline_misfit(fixed: ImageVolume, moving: ImageVolume, T_moving_fixed: Array) -> float | None:
    """Median distance of the moving body's outline from the fixed body's where both fields see it, or None."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    mask, grid = moving.body
    border = mask & ~binary_erosion(mask, border_value=1)
    points = np.argwhere(border)[:, ::-1] @ grid.matrix[:3, :3].T + grid.origin_mm
    points = mapped(invert_rigid(T_moving_fixed), points)
    body, at = fixed.body
    spacing = at.spacing_mm[::-1]
    away = distance_transform_edt(body, sampling=spacing) + distance_transform_edt(~body, sampling=spacing)
    found = interpolate(Moving(away.astype(np.float32), at), points)
    found = found[found >= 0.0]
    if len(found) < LEAST_POINTS:
        return None
    # A voxel beside the border has a distance of one voxel: half of that is on it.
    return float(max(np.median(found) - 0.5 * float(at.spacing_mm.mean()), 0.0))


def inner_agreement(fixed: ImageVolume, agreement: Agreement, T_moving_fixed: Array) -> float | None:
    """Correlation of the values deep in the fixed body, where no outline helps; None if hardly seen."""
    from scipy.ndimage import distance_transform_edt

    mask, grid = fixed.body
    deep = distance_transform_edt(mask, sampling=grid.spacing_mm[::-1]) > SHELL_MM
    points = agreement.sampling.points_mm
    place = interpolate(Moving(deep.astype(np.float32), grid), points) > 0.5
    found = interpolate(agreement.moving, mapped(T_moving_fixed, points))
    chosen = place & (found >= 0.0)
    if chosen.sum() < LEAST_POINTS:
        return None
    return float(np.corrcoef(agreement.sampling.values[chosen], found[chosen])[0, 1])
