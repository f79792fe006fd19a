"""Where a point lies as the surgeon sees it: below which part of the touched surface, and how deep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.reslice import Plane, across, unit

# Neighbours that carry the local tangent plane: with points some 7 mm apart they span about 2 cm.
PLANE_NEIGHBOURS = 9


@dataclass(frozen=True, slots=True, eq=False)
class DepthFrame:
    """Axes fixed to the tissue: `foot_mm` (3,) on the surface, `into` the depth, `right`, `up` as seen from outside."""

    foot_mm: NDArray[np.float64]
    right: NDArray[np.float64]
    up: NDArray[np.float64]
    into: NDArray[np.float64]

    def plan(self, depth_mm: float) -> Plane:
        """The plane at a depth, seen from outside."""
        return Plane(self.foot_mm + depth_mm * self.into, self.right, -self.up)

    def section(self, depth_mm: float, along: str) -> Plane:
        """The plane through the foot along "right" or "up", with the depth running down and its middle at a depth."""
        axis = self.right if along == "right" else self.up
        return Plane(self.foot_mm + depth_mm * self.into, axis, self.into)

    def coordinates(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """(n, 3): mm right, mm up, mm deep of points (n, 3)."""
        offset = np.atleast_2d(np.asarray(points_mm, dtype=np.float64)) - self.foot_mm
        return np.asarray(offset @ np.stack([self.right, self.up, self.into], axis=1))


def depth_frame(
    point_mm: ArrayLike,
    surface_mm: NDArray[np.float64] | None,
    probe_axis: NDArray[np.float64] | None,
    T_ras_reference: NDArray[np.float64] | None = None,
) -> DepthFrame:
    """Axes at the surface point nearest to `point_mm` (3,); without a surface, along the probe's mean axis.

    Picture right is the patient's left, as for an observer who faces the patient, where a registration is known.
    """
    point = np.asarray(point_mm, dtype=np.float64)
    into = unit(probe_axis) if probe_axis is not None else np.array([0.0, 0.0, 1.0])
    foot = point
    if surface_mm is not None and len(surface_mm) >= 3:
        foot, into = _tangent(point, surface_mm, into)
    hint = None if T_ras_reference is None else -T_ras_reference[0, :3]
    right = across(into, hint)
    return DepthFrame(foot, right, np.cross(right, into), into)


def _tangent(
    point: NDArray[np.float64], surface_mm: NDArray[np.float64], into: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Foot on the local tangent plane and its normal, turned the way the probe looked."""
    first = surface_mm[np.argmin(np.linalg.norm(surface_mm - point, axis=1))]
    order = np.argsort(np.linalg.norm(surface_mm - first, axis=1))[:PLANE_NEIGHBOURS]
    middle = surface_mm[order].mean(axis=0)
    normal = np.linalg.svd(surface_mm[order] - middle)[2][-1]
    normal = normal if normal @ into >= 0.0 else -normal
    return point - normal * float((point - middle) @ normal), normal


def depth_below_surface_mm(point_mm: ArrayLike, surface_mm: NDArray[np.float64] | None) -> float | None:
    """Distance in mm from the point to the local tangent plane of the surface; None without a surface."""
    if surface_mm is None or len(surface_mm) < 3:
        return None
    point = np.asarray(point_mm, dtype=np.float64)
    foot, _ = _tangent(point, surface_mm, np.array([0.0, 0.0, 1.0]))
    return float(np.linalg.norm(point - foot))


def mean_probe_axis(matrices: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Mean +Z (3,) of tip poses (n, 4, 4), NaN rows left out; None when there is none."""
    axes = matrices[:, :3, 2]
    axes = axes[np.isfinite(axes).all(axis=1)]
    if not len(axes) or float(np.linalg.norm(axes.mean(axis=0))) < 0.1:
        return None
    return unit(axes.mean(axis=0))
