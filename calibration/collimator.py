"""A parametric response of a collimated probe: a crystal seen through its bore.

The photon from a point (r, z) in front of the face is counted when its ray to the crystal passes the rim of the
bore, or penetrates it over a path that grows as the ray flattens. Geometry after Wengenmair & Kopp (2005),
"Gamma probes for sentinel lymph node localization"; the integral over the crystal is our own quadrature.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Quadrature over the crystal: radius (Gauss in r^2), half circle of azimuth, depth (Gauss).
N_RADIUS, N_AZIMUTH, N_DEPTH = 10, 24, 3
# Keeps the penetration path finite on the axis, where rays are parallel to the bore.
SMALLEST_SINE = 1e-3
PER_KBQ = 1000.0  # decays per second in one kBq


@dataclass(frozen=True, slots=True)
class Collimator:
    """Geometry and efficiency of a probe; lengths mm, attenuation 1/mm.

    `efficiency` is counts per photon that reaches the crystal times photons per decay; `leak` is what an
    unshielded isotropic detector at the crystal would add, in cps/kBq mm^2 sr.
    """

    efficiency: float
    aperture_mm: float
    crystal_mm: float
    recess_mm: float
    rim_per_mm: float
    thickness_mm: float
    crystal_per_mm: float
    leak: float

    def response(self, r_mm: Array, z_mm: Array) -> Array:
        """Sensitivity in cps/kBq, in air, at lateral offset r and distance z >= 0 in front of the face (n,)."""
        collimated = np.zeros(len(r_mm))
        for depth, weight in zip(*_unit_gauss(N_DEPTH), strict=True):
            collimated += weight * self._layer(r_mm, z_mm, depth)
        area = np.pi * self.crystal_mm**2
        distance2 = r_mm**2 + (z_mm + self.recess_mm) ** 2
        total: Array = PER_KBQ * self.efficiency * area / (4 * np.pi) * collimated
        result: Array = total + self.leak / (4 * np.pi * distance2)
        return result

    def _layer(self, r_mm: Array, z_mm: Array, depth: float) -> Array:
        """Mean over one layer of the crystal, at a fraction `depth` of its thickness, of visibility / distance^2."""
        behind = self.recess_mm + self.thickness_mm * depth
        x, y, weight = _disc(self.crystal_mm)
        height = (z_mm + behind)[:, None]
        dx, dy = r_mm[:, None] - x, -y
        distance2 = dx**2 + dy**2 + height**2
        cosine = height / np.sqrt(distance2)
        sine = np.sqrt(1 - cosine**2) + SMALLEST_SINE
        at_face = behind / height
        outside = np.hypot(x + dx * at_face, y + dy * at_face) - self.aperture_mm
        rim = np.exp(-self.rim_per_mm * np.maximum(outside, 0.0) / sine)
        opaque = self.crystal_per_mm * self.thickness_mm
        stopped = opaque * np.exp(-opaque * depth / cosine)
        result: Array = (rim * stopped / distance2) @ weight
        return result

    def as_vector(self) -> Array:
        """Logarithms of all parameters: every one is positive."""
        result: Array = np.log(np.array(astuple(self)))
        return result

    @staticmethod
    def from_vector(vector: Array) -> Collimator:
        """Inverse of `as_vector`."""
        return Collimator(*(float(v) for v in np.exp(vector)))


def _unit_gauss(n: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def _disc(radius: float) -> tuple[Array, Array, Array]:
    """Points x, y and weights (sum 1) over a disc; the half with y > 0 stands for both by symmetry."""
    square, weight = _unit_gauss(N_RADIUS)
    azimuth = (np.arange(N_AZIMUTH) + 0.5) / N_AZIMUTH * np.pi
    rr, phi = np.meshgrid(radius * np.sqrt(square), azimuth, indexing="ij")
    weights = np.repeat(weight[:, None] / N_AZIMUTH, N_AZIMUTH, axis=1)
    return (rr * np.cos(phi)).ravel(), (rr * np.sin(phi)).ravel(), weights.ravel()
