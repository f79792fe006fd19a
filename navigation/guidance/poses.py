"""Poses from which a probe can look at a bed: its face near the touched surface, its shaft in the air."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.surface import Surface
from tracking.tip import frame_along

Array = NDArray[np.float64]

# Places on the surface this far apart: a third of what a probe resolves.
SPACING_MM = 6.0
# Grid on which the surface is sought between its touched points.
GRID_MM = 3.0
# How far beyond the outline the probe may look from: from the rim it sees the bed's edge better than from within.
RIM_MM = 8.0
# The face is held off by this much; where the shaft or the rim of the face would touch, by more.
STANDOFF_MM = (2.0, 5.0, 9.0, 14.0)
# Along the wall's normal, along the way in, and between.
TILTS = (0.0, 0.5, 1.0)
# Directions closer than this are the same to a hand.
SAME_COSINE = float(np.cos(np.deg2rad(10.0)))
# Radius of the face and the shaft that have to be clear of tissue; most heads are 10 to 17 mm wide.
HEAD_RADIUS_MM = 6.0
SHAFT_MM = (12.0, 25.0, 45.0)


def poses_over(outline_mm: Array, surface: Surface) -> Array:
    """Poses (p, 4, 4) of the tip in Reference over an outline (k, 3); empty where none is clear of tissue.

    `surface` is oriented and holds the outline's points and those round it.
    """
    points, normals = _on_surface(outline_mm, surface)
    inward = -normals.mean(axis=0)
    length = float(np.linalg.norm(inward))
    if len(points) == 0 or length == 0.0:
        return np.zeros((0, 4, 4))
    inward /= length
    pairs = [
        (point, axis)
        for point, normal in zip(points, normals, strict=True)
        for axis in _directions(-normal, inward)
    ]
    return _clear(np.array([p for p, _ in pairs]), np.array([a for _, a in pairs]), surface)


def _directions(straight: Array, inward: Array) -> list[Array]:
    """Unit directions between two, those that differ."""
    chosen: list[Array] = []
    for share in TILTS:
        axis = (1.0 - share) * straight + share * inward
        length = float(np.linalg.norm(axis))
        if length > 0.0 and all(float(axis @ other) / length < SAME_COSINE for other in chosen):
            chosen.append(axis / length)
    return chosen


def _clear(points: Array, axes: Array, surface: Surface) -> Array:
    """Poses (p, 4, 4) before places (k, 3) along axes (k, 3), as near as rim and shaft allow; fewer where none do."""
    frames = np.array([frame_along(np.zeros(3), axis) for axis in axes])
    body = np.concatenate([_ring(-s) for s in (0.0, *SHAFT_MM)])
    around = np.einsum("kij,bj->kbi", frames[:, :3, :3], body)
    standoff = np.full(len(points), np.nan)
    for distance in STANDOFF_MM:
        left = np.flatnonzero(np.isnan(standoff))
        if len(left) == 0:
            break
        tips = points[left] - distance * axes[left]
        outside = surface.signed_distance((tips[:, None] + around[left]).reshape(-1, 3))
        free = outside.reshape(len(left), -1).min(axis=1) > 0.0
        standoff[left[free]] = distance
    possible = ~np.isnan(standoff)
    frames[:, :3, 3] = points - standoff[:, None] * axes
    clear: Array = frames[possible]
    return clear


def _ring(z_mm: float) -> Array:
    """(4, 3): points round the head in the tip's frame."""
    r = HEAD_RADIUS_MM
    return np.array([[r, 0.0, z_mm], [-r, 0.0, z_mm], [0.0, r, z_mm], [0.0, -r, z_mm]])


def _on_surface(outline_mm: Array, surface: Surface) -> tuple[Array, Array]:
    """Places (k, 3) SPACING_MM apart on the surface within RIM_MM of the outline, and the normals (k, 3) there."""
    low, high = outline_mm.min(axis=0) - RIM_MM, outline_mm.max(axis=0) + RIM_MM
    axes = [np.arange(low[a], high[a] + GRID_MM, GRID_MM) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    points = points[np.asarray(cKDTree(outline_mm).query(points)[0]) <= RIM_MM]
    off = surface.signed_distance(points) if len(points) else np.zeros(0)
    close = np.abs(off) <= GRID_MM / 2
    points, off = points[close], off[close]
    normals = surface.normals[cKDTree(surface.points_mm).query(points)[1]] if len(points) else points
    points = points - off[:, None] * normals
    chosen = _thinned(points)
    return points[chosen], normals[chosen]


def _thinned(points_mm: Array) -> NDArray[np.intp]:
    """Which points to keep, in their order, so that no two are nearer than SPACING_MM."""
    kept: list[int] = []
    for i, point in enumerate(points_mm):
        if not kept or np.linalg.norm(points_mm[kept] - point, axis=1).min() >= SPACING_MM:
            kept.append(i)
    return np.array(kept, dtype=np.intp)
