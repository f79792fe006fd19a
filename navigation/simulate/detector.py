"""The detector's response tabulated for the simulation: unscattered photons, and scattered ones that
arrive more broadly.

The table is polar (distance from the face's centre, angle off the axis), fine enough that its
interpolation errs far less than the mismatch drawn for each seed. Scattered photons seem to come from all
round their source: their response is the primary's, smeared over the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

from navigation.simulate.collimator import ProbeHead, point_response

Array = NDArray[np.float64]

NEAREST_MM, FARTHEST_MM, DISTANCES = 0.4, 500.0, 40
DISTANCE_OFFSET_MM = 4.0  # nodes are even in log(d + offset): about 0.5 mm apart at the face
ANGLES = 91  # every 2 degrees from the axis to straight behind
# Concentration of the von Mises-Fisher kernel that smears the scattered photons (about 19 degrees RMS): it
# puts the scattered share of a uniform background at 21 %.
SCATTER_CONCENTRATION = 18.0
# Build-up B(t) = S (1 - exp(-t / T)) along t mm of tissue, as a share of the primary on the axis: 5 % of
# all counts at 10 mm, 12 % at 30 mm, 17 % at 50 mm.
SCATTER_SATURATION = 0.411
SCATTER_LENGTH_MM = 73.0


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """Tables (DISTANCES, ANGLES) of log(response * (d + offset)^2), response in cps/kBq; `head` made them."""

    head: ProbeHead
    log_primary: Array
    log_scatter: Array

    @staticmethod
    def of(head: ProbeHead) -> Detector:
        """Integrate the head's response over the whole table (about a second)."""
        distance, angle = _nodes()
        d, theta = np.meshgrid(distance, angle, indexing="ij")
        primary = point_response(head, d * np.sin(theta), d * np.cos(theta)) * (d + DISTANCE_OFFSET_MM) ** 2
        scatter = primary @ _smearing(angle).T
        scatter *= (primary[:, 0] / scatter[:, 0])[:, None]
        return Detector(head, np.log(primary), np.log(scatter))

    def primary(self, distance_mm: Array, angle_rad: Array) -> Array:
        """cps/kBq of a point source in air, the shape of the arguments."""
        return self._look_up(self.log_primary, distance_mm, angle_rad)

    def scatter(self, distance_mm: Array, angle_rad: Array) -> Array:
        """cps/kBq of scattered photons per unit of build-up: as many as unscattered ones on the axis,
        more beside it.
        """
        return self._look_up(self.log_scatter, distance_mm, angle_rad)

    @staticmethod
    def _look_up(table: Array, distance_mm: Array, angle_rad: Array) -> Array:
        d = np.clip(distance_mm, NEAREST_MM, FARTHEST_MM)
        u = np.log(d + DISTANCE_OFFSET_MM)
        low, high = np.log(NEAREST_MM + DISTANCE_OFFSET_MM), np.log(FARTHEST_MM + DISTANCE_OFFSET_MM)
        x = (u - low) / (high - low) * (DISTANCES - 1)
        y = np.clip(angle_rad / np.pi, 0.0, 1.0) * (ANGLES - 1)
        i = np.minimum(x.astype(np.int64), DISTANCES - 2)
        j = np.minimum(y.astype(np.int64), ANGLES - 2)
        fx, fy = x - i, y - j
        flat, k = table.ravel(), i * ANGLES + j
        near = flat[k] * (1.0 - fy) + flat[k + 1] * fy
        far = flat[k + ANGLES] * (1.0 - fy) + flat[k + ANGLES + 1] * fy
        return np.asarray(np.exp(near * (1.0 - fx) + far * fx - 2.0 * u))


def build_up(tissue_mm: Array) -> Array:
    """Scattered photons in the window per unscattered one after `tissue_mm` of tissue, seen on the axis."""
    return np.asarray(SCATTER_SATURATION * (1.0 - np.exp(-tissue_mm / SCATTER_LENGTH_MM)))


def _nodes() -> tuple[Array, Array]:
    low, high = np.log(NEAREST_MM + DISTANCE_OFFSET_MM), np.log(FARTHEST_MM + DISTANCE_OFFSET_MM)
    return np.exp(np.linspace(low, high, DISTANCES)) - DISTANCE_OFFSET_MM, np.linspace(0.0, np.pi, ANGLES)


def _smearing(angle: Array) -> Array:
    """(ANGLES, ANGLES): row i spreads a ring at angle j over the sphere onto angle i; rows sum to 1."""
    cosines, sines = np.outer(np.cos(angle), np.cos(angle)), np.outer(np.sin(angle), np.sin(angle))
    kappa = SCATTER_CONCENTRATION
    kernel = ive(0, kappa * sines) * np.exp(kappa * (cosines + sines - 1.0)) * np.sin(angle)[None, :]
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))
