"""How deep a focus lies: the shortest way from it out of the tissue, touched or from a CT.

Rays are cast in even directions and the shortest is refined; the standard deviation is that of the place along it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from navigation.surface import TissueMap

Array = NDArray[np.float64]

# Border of the tissue on its map, where attenuation is half that of tissue.
BORDER = 0.5
# Even directions (some 11 degrees apart: 0.5 % of the depth), then as many within a cone about the shortest.
DIRECTIONS, CONE_RAD = 200, 0.2
STEP_MM, REACH_MM = 1.0, 120.0
# A touched surface: noise of the touch, pressure, and the border of a 4 mm map between its nodes.
SURFACE_SD_MM = 0.5


def depth_of(
    tissue: TissueMap | None, position_mm: Array, covariance_mm2: Array
) -> tuple[float, float] | None:
    """Depth of a place (3,) below the nearest surface in mm and its SD; None where no surface is known or near."""
    if tissue is None:
        return None
    found = way_out(tissue, position_mm)
    if found is None:
        return None
    depth, out = found
    return depth, float(np.sqrt(out @ covariance_mm2 @ out + SURFACE_SD_MM**2))


def way_out(tissue: TissueMap, position_mm: Array) -> tuple[float, Array] | None:
    """Length in mm and unit direction (3,) of the shortest way into the air; None beyond REACH_MM."""
    even = _directions()
    depth = _crossings(tissue, position_mm, even)
    best = int(np.argmin(depth))
    if not np.isfinite(depth[best]):
        return None
    near = even[best] + CONE_RAD * even
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    refined = _crossings(tissue, position_mm, near)
    finest = int(np.argmin(refined))
    return float(refined[finest]), near[finest]


def _crossings(tissue: TissueMap, position_mm: Array, directions: Array) -> Array:
    """Length (n,) along each direction (n, 3) at which the tissue ends; inf where it does not."""
    along = np.arange(0.0, REACH_MM + STEP_MM, STEP_MM)
    points = position_mm + along[:, None, None] * directions
    share = tissue.at(points.reshape(-1, 3)).reshape(points.shape[:2])
    outside = share < BORDER
    first = np.argmax(outside, axis=0)
    before = np.maximum(first - 1, 0)
    ray = np.arange(len(directions))
    inner, outer = share[before, ray], share[first, ray]
    part = (inner - BORDER) / np.maximum(inner - outer, 1e-9)
    length = np.where(first > 0, along[before] + STEP_MM * np.clip(part, 0.0, 1.0), 0.0)
    return np.where(outside.any(axis=0), length, np.inf)


@cache
def _directions() -> Array:
    """(DIRECTIONS, 3): a Fibonacci spiral over the sphere."""
    i = np.arange(DIRECTIONS) + 0.5
    polar, azimuth = np.arccos(1.0 - 2.0 * i / DIRECTIONS), np.pi * (1.0 + 5**0.5) * i
    out = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
    out.setflags(write=False)
    return out
