"""The simulated patient's shape: an ellipsoid with, after the resection, a smooth cavity in its surface.

Body frame: origin on the skin at the top of the ellipsoid, +Z out of the body, millimetres. Everything is
analytic and vectorised over points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FAR_BELOW_MM = -1e4  # the height of the skin where there is no body
NORMAL_STEP_MM = 0.05


@dataclass(frozen=True, slots=True)
class Cavity:
    """A bowl of depth D with a rounded rim: depth(rho) = D cos^2(pi rho / 2), rho the elliptical radius
    in the plane.
    """

    x_mm: float
    y_mm: float
    depth_mm: float
    radius_x_mm: float
    radius_y_mm: float

    def depth_at(self, x: Array, y: Array) -> Array:
        """Depth in mm below the former skin."""
        rho = np.hypot((x - self.x_mm) / self.radius_x_mm, (y - self.y_mm) / self.radius_y_mm)
        return np.asarray(self.depth_mm * np.cos(0.5 * np.pi * np.minimum(rho, 1.0)) ** 2)

    def place(self, disc: Array) -> Array:
        """(n, 2): points of the unit disc (n, 2) laid over the cavity's opening."""
        stretch, centre = (self.radius_x_mm, self.radius_y_mm), (self.x_mm, self.y_mm)
        return np.asarray(disc * np.array(stretch) + np.array(centre))


@dataclass(frozen=True, slots=True)
class Body:
    """Semi-axes in mm of the ellipsoid whose top is the origin, and the cavity, if one is cut."""

    a_mm: float
    b_mm: float
    c_mm: float
    cavity: Cavity | None = None

    def skin(self, x: Array, y: Array) -> Array:
        """Z of the intact skin (the shape of x and y)."""
        room = 1.0 - (x / self.a_mm) ** 2 - (y / self.b_mm) ** 2
        height = self.c_mm * (np.sqrt(np.maximum(room, 0.0)) - 1.0)
        return np.where(room > 0.0, height, FAR_BELOW_MM)

    def surface(self, x: Array, y: Array) -> Array:
        """Z of the surface as it is now: skin, or cavity wall."""
        height = self.skin(x, y)
        return height if self.cavity is None else height - self.cavity.depth_at(x, y)

    def normal(self, x: Array, y: Array) -> Array:
        """Outward unit normals (..., 3) of the surface."""
        e = NORMAL_STEP_MM
        slope_x = (self.surface(x + e, y) - self.surface(x - e, y)) / (2 * e)
        slope_y = (self.surface(x, y + e) - self.surface(x, y - e)) / (2 * e)
        normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=-1)
        return np.asarray(normal / np.linalg.norm(normal, axis=-1, keepdims=True))

    def occupancy(self, points: Array, width_mm: Array | float) -> Array:
        """Share of tissue (...,) in cells of the given width round points (..., 3): 1 inside, 0 outside,
        soft between.
        """
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        top = np.clip(0.5 + (self.surface(x, y) - z) / width_mm, 0.0, 1.0)
        below = z < -2.0 * self.c_mm - self.skin(x, y)
        return np.where(below, 0.0, top)

    def inside(self, points: Array) -> NDArray[np.bool_]:
        """Whether points (..., 3) lie in tissue."""
        return np.asarray(self.occupancy(points, 1e-6) > 0.5)

    def tissue_path(self, start: Array, end: Array, steps: int) -> Array:
        """Millimetres of tissue on the segments start -> end, (..., 3) each; marched in `steps` cells if
        cut.
        """
        length = np.linalg.norm(end - start, axis=-1)
        if self.cavity is None:
            return np.asarray(length * self._share_in_ellipsoid(start, end))
        along = (np.arange(steps) + 0.5) / steps
        points = start[..., None, :] + along[:, None] * (end - start)[..., None, :]
        share = self.occupancy(points, np.maximum(length[..., None] / steps, 1e-6))
        return np.asarray(share.mean(axis=-1) * length)

    def _share_in_ellipsoid(self, start: Array, end: Array) -> Array:
        """Share (...,) of the segments inside the intact body: where |p|^2 < 1 in the ellipsoid's own
        units.
        """
        axes = np.array([self.a_mm, self.b_mm, self.c_mm])
        p = (start + np.array([0.0, 0.0, self.c_mm])) / axes
        step = (end - start) / axes
        a = np.maximum((step * step).sum(axis=-1), 1e-12)
        b, c = (p * step).sum(axis=-1), (p * p).sum(axis=-1) - 1.0
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        enter, leave = np.clip((-b - root) / a, 0.0, 1.0), np.clip((-b + root) / a, 0.0, 1.0)
        return np.asarray(leave - enter)


# No tissue anywhere: the bench in air.
AIR = Body(1e-6, 1e-6, 1e-6)
