"""The count rate of the simulated probe: extended sources and tissue background through the tabulated
detector.

Unscattered photons are attenuated with the narrow-beam coefficient along the true ray in tissue;
scattered ones add a build-up with a broader angular distribution. The background is integrated in the
probe's own frame over rays that are marched through the body's analytic shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.body import Body
from navigation.simulate.detector import Detector, build_up

Array = NDArray[np.float64]

MU_TISSUE_PER_MM = 0.0152  # narrow beam, soft tissue at 140.5 keV
PATH_STEPS = 28  # cells along a source's ray; cells are soft-edged, so that 2 mm cells err by 0.1 mm
RAY_COSINES, RAY_AZIMUTHS = 22, 14
WIDEST_ANGLE_DEG = 140.0
# Radial cells grow from 0.8 mm at the face to 23 mm at 270 mm: the tissue's depth is seen, since exp(-mu d)
# falls slowly.
FIRST_CELL_MM, CELL_GROWTH, RADIAL_CELLS = 0.8, 1.09, 40


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """An activity at the reference time spread over points (m, 3) in the body frame, with shares (m,)
    that sum to 1.
    """

    name: str
    points: Array
    shares: Array
    activity_kbq: float

    @property
    def centre(self) -> Array:
        """(3,): the centroid of the activity."""
        return np.asarray(self.shares @ self.points / self.shares.sum())

    def outside(self, body: Body) -> Source | None:
        """What is left of the source in `body`, or None."""
        kept = body.inside(self.points)
        share = float(self.shares[kept].sum())
        if share <= 0.0:
            return None
        return Source(self.name, self.points[kept], self.shares[kept] / share, self.activity_kbq * share)


@dataclass(frozen=True, slots=True)
class Background:
    """Tissue activity in kBq/mL and a long wave of relative amplitude `ripple` over it; wave vector in
    rad/mm.
    """

    kbq_per_ml: float
    ripple: float = 0.0
    wave: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase: float = 0.0

    def at(self, points: Array) -> Array:
        """kBq/mL (...,) at points (..., 3)."""
        return np.asarray(
            self.kbq_per_ml * (1.0 + self.ripple * np.cos(points @ np.array(self.wave) + self.phase))
        )


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What the calibration on the bench never saw: tilt of the sensitive axis, asymmetry and slow drift."""

    tilt_x_rad: float = 0.0
    tilt_y_rad: float = 0.0
    asymmetry: float = 0.0
    asymmetry_phase: float = 0.0
    drift: float = 0.0
    drift_period_s: float = 300.0
    drift_phase: float = 0.0

    def rotation(self) -> Array:
        """(3, 3): points of the mechanical tip frame into the detector's own."""
        x, y = self.tilt_x_rad, self.tilt_y_rad
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        return np.asarray(about_x @ about_y)

    def gain(self, t_s: Array) -> Array:
        """Relative sensitivity at times t (n,)."""
        return np.asarray(1.0 + self.drift * np.sin(2 * np.pi * t_s / self.drift_period_s + self.drift_phase))

    def skew(self, x: Array, y: Array, distance: Array) -> Array:
        """Relative response to a source at lateral x, y: grows with the sine of the angle off the axis."""
        across = x * np.cos(self.asymmetry_phase) + y * np.sin(self.asymmetry_phase)
        return np.asarray(1.0 + self.asymmetry * across / np.maximum(distance, 1e-6))


@dataclass(frozen=True, slots=True, eq=False)
class _Rays:
    """Cells of the probe's field in its own frame: (rays, cells)."""

    points: Array  # (rays, cells, 3)
    widths: Array  # (cells,)
    primary: Array  # cps per kBq/mL
    scatter: Array

    @staticmethod
    def of(detector: Detector, mismatch: Mismatch) -> _Rays:
        x, w = np.polynomial.legendre.leggauss(RAY_COSINES)
        lowest = np.cos(np.radians(WIDEST_ANGLE_DEG))
        cosine, solid = lowest + 0.5 * (1 - lowest) * (x + 1), 0.5 * (1 - lowest) * w
        phi = (np.arange(RAY_AZIMUTHS) + 0.5) * 2 * np.pi / RAY_AZIMUTHS
        widths: Array = np.asarray(FIRST_CELL_MM * CELL_GROWTH ** np.arange(RADIAL_CELLS), dtype=np.float64)
        distance = np.cumsum(widths) - 0.5 * widths
        c, p = (g.ravel() for g in np.meshgrid(cosine, phi, indexing="ij"))
        sine = np.sqrt(1 - c * c)
        direction = np.stack([sine * np.cos(p), sine * np.sin(p), c], axis=1)
        angle, far = np.broadcast_arrays(np.arccos(c)[:, None], distance[None, :])
        points = direction[:, None, :] * distance[None, :, None]
        weight = np.repeat(solid, RAY_AZIMUTHS)[:, None] * (2 * np.pi / RAY_AZIMUTHS)
        millilitres = weight * distance**2 * widths / 1000.0
        skew = mismatch.skew(points[..., 0], points[..., 1], far)
        return _Rays(
            points @ mismatch.rotation(),
            widths,
            detector.primary(far, angle) * skew * millilitres,
            detector.scatter(far, angle) * millilitres,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RateModel:
    """True count rate of a probe held in or near the body, before dead time and decay."""

    detector: Detector
    mismatch: Mismatch = Mismatch()
    rays: _Rays = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rays", _Rays.of(self.detector, self.mismatch))

    def of_sources(
        self, sources: list[Source], body: Body, tips: Array, path_poses: int | None = None
    ) -> Array:
        """Rates (n,) in cps of extended sources at poses `tips` (n, 4, 4), tip frame into the body frame.

        With `path_poses` the tips lie evenly along a short path: tissue is traced at so many of them only.
        """
        if not sources:
            return np.zeros(len(tips))
        primary, scatter = self.parts_of_sources(sources, body, tips, path_poses)
        return primary + scatter

    def parts_of_sources(
        self, sources: list[Source], body: Body, tips: Array, path_poses: int | None = None
    ) -> tuple[Array, Array]:
        """Unscattered and scattered rates, (n,) each."""
        points = np.concatenate([s.points for s in sources])
        activity = np.concatenate([s.activity_kbq * s.shares for s in sources])
        tissue = _tissue(points, body, tips[:, :3, 3], path_poses)
        primary, scatter = self._of_points(points, tissue, tips)
        return np.asarray(primary @ activity), np.asarray(scatter @ activity)

    def _of_points(self, points: Array, tissue: Array, tips: Array) -> tuple[Array, Array]:
        """cps/kBq (n, m) of points (m, 3) behind tissue (n, m) in mm, unscattered and scattered."""
        offset = points[None] - tips[:, None, :3, 3]
        local = offset @ (tips[:, :3, :3] @ self.mismatch.rotation().T)
        distance = np.linalg.norm(local, axis=-1)
        angle = np.arccos(np.clip(local[..., 2] / np.maximum(distance, 1e-9), -1.0, 1.0))
        seen = np.exp(-MU_TISSUE_PER_MM * tissue)
        skew = self.mismatch.skew(local[..., 0], local[..., 1], distance)
        primary = self.detector.primary(distance, angle) * skew * seen
        return primary, self.detector.scatter(distance, angle) * build_up(tissue) * seen

    def of_background(self, background: Background, body: Body, tips: Array) -> Array:
        """Rates (n,) in cps of the tissue background."""
        return np.asarray([sum(self.parts_of_background(background, body, tip)) for tip in tips])

    def parts_of_background(self, background: Background, body: Body, tip: Array) -> tuple[float, float]:
        """Unscattered and scattered rate in cps at one pose (4, 4)."""
        rays = self.rays
        points = rays.points @ tip[:3, :3].T + tip[:3, 3]
        share = body.occupancy(points, rays.widths)
        crossed = share * rays.widths
        tissue = np.cumsum(crossed, axis=1) - 0.5 * crossed
        weight = share * background.at(points) * np.exp(-MU_TISSUE_PER_MM * tissue)
        return float((weight * rays.primary).sum()), float((weight * rays.scatter * build_up(tissue)).sum())


def _tissue(points: Array, body: Body, faces: Array, path_poses: int | None) -> Array:
    """Millimetres of tissue (n, m) between points (m, 3) and faces (n, 3), linear between `path_poses` of
    them.
    """
    n = len(faces)
    if path_poses is None or n <= path_poses:
        some, mix = faces, np.eye(n)
    else:
        at = np.linspace(0, n - 1, path_poses).round()
        some = faces[at.astype(np.int64)]
        mix = np.stack([np.interp(np.arange(n), at, row) for row in np.eye(path_poses)], axis=1)
    start = np.broadcast_to(some[:, None], (len(some), *points.shape))
    return np.asarray(mix @ body.tissue_path(start, np.broadcast_to(points, start.shape), PATH_STEPS))


def ball(n: int) -> Array:
    """(n, 3): points that fill the unit ball evenly (Fibonacci directions, cube-root radii)."""
    i = np.arange(n) + 0.5
    z = 1.0 - 2.0 * i / n
    turn = np.pi * (1.0 + np.sqrt(5.0)) * i
    # Radii run through the unit interval in another order than the directions, or the ball would be a spiral.
    radius = ((i * 0.7548776662466927) % 1.0) ** (1.0 / 3.0)
    sine = np.sqrt(1.0 - z * z)
    points = radius[:, None] * np.stack([sine * np.cos(turn), sine * np.sin(turn), z], axis=1)
    return np.asarray(points - points.mean(axis=0))


def ellipsoid(name: str, centre: Array, semi_axes_mm: Array, activity_kbq: float, n: int = 120) -> Source:
    """A uniformly filled ellipsoid along the body's axes."""
    return Source(name, centre + ball(n) * semi_axes_mm, np.full(n, 1.0 / n), activity_kbq)
