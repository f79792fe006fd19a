"""The places of a resection bed: its tissue as points, the widest patch that was not covered, where to scan next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.bed import Bed
from navigation.reconstruction.live import ScanState
from navigation.surface import Surface
from tracking.errors import InputError

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
    surface = Surface.from_points(bed.points_mm, state.problem.readings.mid_poses)
    tree = cKDTree(bed.points_mm)
    low, high = bed.points_mm.min(axis=0) - bed.depth_mm, bed.points_mm.max(axis=0) + bed.depth_mm
    axes = [np.arange(low[a], high[a] + BED_VOXEL_MM, BED_VOXEL_MM) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    distance = np.asarray(tree.query(points)[0])
    near = distance <= np.hypot(bed.depth_mm, BESIDE_MM)
    points, distance = points[near], distance[near]
    behind = -surface.signed_distance(points)
    beside = np.sqrt(np.maximum(distance**2 - behind**2, 0.0))
    inside: Array = points[(behind >= 0.0) & (behind <= bed.depth_mm) & (beside <= BESIDE_MM)]
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
