"""The places of a resection bed: its tissue as points, the widest patch that was not covered, where to scan next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.bed import Bed
from navigation.surface import Surface
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.reconstruction.live import ScanState

Array = NDArray[np.float64]

# Voxels of the bed: finer than its depth and than the widest patch.
BED_VOXEL_MM = 2.0
# How far beside a touched point the bed reaches: points are touched some 7 mm apart.
BESIDE_MM = 5.0
# Width of an uncovered patch that is small enough.
WIDEST_PATCH_MM = 5.0
# A bed farther than this from every pose of the probe was not scanned at all.
OUT_OF_REACH_MM = 80.0
SCAN_NEXT = 3


def bed_voxels(state: ScanState, bed: Bed) -> Array:
    """Centres (m, 3) of the tissue within `depth_mm` behind the outlined points."""
    return voxels_behind(bed, Surface.from_points(bed.points_mm, state.problem.readings.mid_poses))


def places_round(state: ScanState, bed: Bed, beyond_mm: float) -> Array:
    """Places (k, 3) of the bed and `beyond_mm` beside and behind it, on every other of its voxels."""
    points = bed_voxels(state, replace(bed, wider_mm=bed.wider_mm + beyond_mm))
    at = np.round((points - points.min(axis=0)) / BED_VOXEL_MM).astype(np.int64)
    every_other: Array = points[(at % 2 == 0).all(axis=1)]
    return every_other


def voxels_behind(bed: Bed, surface: Surface) -> Array:
    """The same behind the outlined points as an oriented surface; of an uncertain bed all that may belong to it."""
    depth_mm, beside_mm = bed.depth_mm + bed.wider_mm, BESIDE_MM + bed.wider_mm
    tree = cKDTree(bed.points_mm)
    low, high = bed.points_mm.min(axis=0) - depth_mm, bed.points_mm.max(axis=0) + depth_mm
    axes = [np.arange(low[a], high[a] + BED_VOXEL_MM, BED_VOXEL_MM) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    distance = np.asarray(tree.query(points)[0])
    near = distance <= np.hypot(depth_mm, beside_mm)
    points, distance = points[near], distance[near]
    behind = -surface.signed_distance(points)
    beside = np.sqrt(np.maximum(distance**2 - behind**2, 0.0))
    inside: Array = points[(behind >= 0.0) & (behind <= depth_mm) & (beside <= beside_mm)]
    if len(inside) == 0:
        raise InputError("the outlined bed encloses no tissue behind its surface")
    return inside


def widest_patch(points_mm: Array, covered: NDArray[np.bool_]) -> float:
    """Width in mm of the widest uncovered patch: twice the largest distance of an uncovered place to a covered one."""
    if covered.all():
        return 0.0
    if not covered.any():
        return float(np.linalg.norm(points_mm.max(axis=0) - points_mm.min(axis=0))) if len(points_mm) else 0.0
    return 2.0 * float(np.max(cKDTree(points_mm[covered]).query(points_mm[~covered])[0]))


def reach_of(points_mm: Array, worst_kbq: Array, needed_share: float) -> float | None:
    """Least threshold in kBq that covers so much of the bed, with no patch too wide; None where none does.

    `worst_kbq` (m,) is the larger of MDA and upper limit at each place: covered is what is below the threshold.
    """
    levels = np.sort(worst_kbq[np.isfinite(worst_kbq)])
    first = int(np.ceil(needed_share * len(worst_kbq))) - 1
    if first < 0 or first >= len(levels):
        return None
    low, high = first, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if widest_patch(points_mm, worst_kbq <= levels[middle]) <= WIDEST_PATCH_MM:
            high = middle
        else:
            low = middle + 1
    if widest_patch(points_mm, worst_kbq <= levels[low]) > WIDEST_PATCH_MM:
        return None
    return float(levels[low])


def scan_next(points: Array, covered: NDArray[np.bool_]) -> tuple[tuple[float, float, float], ...]:
    """Up to SCAN_NEXT uncovered places, far from what is covered and from each other."""
    rest, done = points[~covered], points[covered]
    chosen: list[tuple[float, float, float]] = []
    while len(rest) and len(chosen) < SCAN_NEXT:
        inwards = -np.linalg.norm(rest - rest.mean(axis=0), axis=1)
        distance = np.asarray(cKDTree(done).query(rest)[0] if len(done) else inwards)
        best = int(np.argmax(distance))
        if len(done) and distance[best] <= WIDEST_PATCH_MM / 2 and chosen:
            break
        x, y, z = (float(v) for v in rest[best])
        chosen.append((x, y, z))
        done = np.concatenate([done, rest[best : best + 1]])
    return tuple(chosen)


def out_of_reach(state: ScanState, points: Array) -> bool:
    """Whether no pose of the probe came near the bed."""
    poses = state.problem.readings.mid_poses[:, :3, 3]
    return float(np.asarray(cKDTree(points).query(poses)[0]).min()) > OUT_OF_REACH_MM
