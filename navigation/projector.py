"""From poses to response rows: one place that hands a calibration and the tissue to the native core.

Rows are cps per kBq at the time of the reading; decay to the reference time and live time enter in the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from calibration.probe.response import DEPTH_SCALE_MM, DetectorResponse
from navigation import _core
from navigation.surface import TissueMap
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Threads of the native core: this is a two-core application on purpose, the interface needs air too.
THREADS = 2
# Fewer entries than this are made sooner than a second thread starts.
WORTH_THREADS = 20_000
# Rays of the background: polar nodes inside and outside the collimator's view, azimuths, step and reach in mm.
POLAR_INNER, POLAR_OUTER, AZIMUTHS = 12, 4, 12
INNER_ANGLE_RAD, OUTER_ANGLE_RAD = np.deg2rad(60.0), np.deg2rad(86.0)
RAY_STEP_MM, RAY_REACH_MM = 3.0, 150.0


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A coarse lattice of trilinear hats: size (nx, ny, nz), origin (3,), spacing in mm."""

    size: tuple[int, int, int]
    origin_mm: Array
    spacing_mm: float

    @staticmethod
    def over(low_mm: Array, high_mm: Array, spacing_mm: float) -> Lattice:
        """The lattice that covers a box, centred on it."""
        steps = np.maximum(np.ceil((high_mm - low_mm) / spacing_mm).astype(int), 1)
        centre = (low_mm + high_mm) / 2
        nx, ny, nz = (int(s) + 1 for s in steps)
        return Lattice((nx, ny, nz), centre - spacing_mm * steps / 2, spacing_mm)

    def points(self) -> Array:
        """(nx ny nz, 3): the nodes, x fastest."""
        x, y, z = (self.origin_mm[a] + self.spacing_mm * np.arange(self.size[a]) for a in range(3))
        zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
        return np.stack([xx.ravel(), yy.ravel(), zz.ravel()], axis=1)

    def interpolate(self, values: Array, points_mm: Array) -> Array:
        """Node values (nodes, q) at points (n, 3): (n, q); the border continues."""
        size = np.array(self.size)
        f = np.clip((points_mm - self.origin_mm) / self.spacing_mm, 0.0, size - 1.0)
        low = np.minimum(f.astype(np.int64), size - 2)
        a = f - low
        out = np.zeros((len(points_mm), values.shape[1]))
        for c in range(8):
            step = np.array([c & 1, c >> 1 & 1, c >> 2])
            i, j, k = (low + step).T
            weight = np.prod(np.where(step, a, 1 - a), axis=1)
            out += weight[:, None] * values[(k * size[1] + j) * size[0] + i]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """Response rows of one calibration in one patient."""

    response: DetectorResponse
    tissue: TissueMap | None

    def rows(self, points_mm: Array, readings: Readings) -> Array32:
        """(n, m) float32 in cps/kBq: n readings, m points in Reference; the path of each reading is averaged."""
        points = np.ascontiguousarray(points_mm, dtype=np.float32).reshape(-1, 3)
        out = np.empty((len(readings), len(points)), dtype=np.float32)
        if out.size:
            _core.response_rows(
                points,
                np.ascontiguousarray(readings.poses),
                np.ascontiguousarray(readings.weights),
                np.ascontiguousarray(readings.first),
                *self._detector(),
                *self._tissue(),
                out,
                THREADS if out.size > WORTH_THREADS else 1,
            )
        return out

    def background(self, lattice: Lattice, readings: Readings) -> Array32:
        """(n, nodes) float32: cps per kBq/mL of each hat of the lattice, at the middle of each reading."""
        directions, solid = _ray_directions()
        out = np.empty((len(readings), int(np.prod(lattice.size))), dtype=np.float32)
        if len(readings):
            _core.background_rows(
                np.ascontiguousarray(readings.mid_poses),
                directions,
                solid,
                RAY_STEP_MM,
                RAY_REACH_MM,
                *self._detector(),
                *self._tissue(),
                np.array(lattice.size, dtype=np.int64),
                lattice.origin_mm.astype(np.float32),
                lattice.spacing_mm,
                out,
                THREADS,
            )
        return out

    def _detector(self) -> tuple[Array32, float, float, float, float]:
        r = self.response
        return r.table, r.recess_mm, DEPTH_SCALE_MM, r.leak, r.mu_per_mm

    def _tissue(self) -> tuple[Array32 | None, Array32, float]:
        if self.tissue is None:
            return None, np.zeros(3, dtype=np.float32), 1.0
        return self.tissue.values, self.tissue.origin_mm.astype(np.float32), self.tissue.spacing_mm


@cache
def _ray_directions() -> tuple[Array32, Array32]:
    """Directions (q, 3) and solid angles (q): Gauss in the polar angle, equidistant in azimuth."""
    directions, solid = [], []
    for n, low, high in (
        (POLAR_INNER, 0.0, INNER_ANGLE_RAD),
        (POLAR_OUTER, INNER_ANGLE_RAD, OUTER_ANGLE_RAD),
    ):
        x, w = np.polynomial.legendre.leggauss(n)
        for i, (theta, weight) in enumerate(
            zip(low + (high - low) * (x + 1) / 2, w * (high - low) / 2, strict=True)
        ):
            # Azimuths are staggered from ring to ring.
            phi = (np.arange(AZIMUTHS) + 0.5 * (i % 2)) * 2 * np.pi / AZIMUTHS
            ring = np.stack(
                [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.full(AZIMUTHS, np.cos(theta))],
                axis=1,
            )
            directions.append(ring)
            solid.append(np.full(AZIMUTHS, weight * np.sin(theta) * 2 * np.pi / AZIMUTHS))
    return np.concatenate(directions).astype(np.float32), np.concatenate(solid).astype(np.float32)
