"""A parametric response of a collimated probe: a crystal seen through its bore.

The photon from a point (r, z) in front of the face is counted when its ray to the crystal passes the rim of the
bore, or penetrates rim or side wall over a path that grows as the ray steepens. Geometry after Wengenmair & Kopp
(2005), "Gamma probes for sentinel lymph node localization"; the integral over the crystal is our own quadrature.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from calibration._physics import collimated

Array = NDArray[np.float64]

# Below the wall's thickness the side of a shield of tungsten still counts; beyond it nothing comes through.
THICK_WALL_MM = 30.0
# Far to the side every ray crosses the wall at right angles, and its leak no longer changes with the place.
FAR_ASIDE_MM = 200.0
PER_KBQ = 1000.0  # decays per second in one kBq


@dataclass(frozen=True, slots=True)
class Quadrature:
    """Points over the crystal: radius (Gauss in r^2), half circle of azimuth, depth (Gauss)."""

    n_radius: int
    n_azimuth: int
    n_depth: int


# Errs by 0.1 to 0.5 % RMS over a grid, and most where the rim's shadow is sharpest.
FINE = Quadrature(12, 24, 10)
# For the first steps of a fit: at a quarter of the cost some percent at the edge of the view.
COARSE = Quadrature(5, 10, 5)


@dataclass(frozen=True, slots=True)
class Collimator:
    """Geometry and efficiency of a probe; lengths mm, attenuation 1/mm.

    `efficiency` is counts per photon that reaches the crystal times photons per decay; `leak` is what an
    unshielded isotropic detector at the crystal would add, in cps/kBq mm^2 sr; `wall_mm` is the shield beside
    the bore, whose `rim_per_mm` a photon from the side has to get through.
    """

    efficiency: float
    aperture_mm: float
    crystal_mm: float
    recess_mm: float
    rim_per_mm: float
    thickness_mm: float
    crystal_per_mm: float
    leak: float
    wall_mm: float = THICK_WALL_MM

    def response(self, r_mm: Array, z_mm: Array, quadrature: Quadrature = FINE) -> Array:
        """Sensitivity in cps/kBq, in air, at lateral offset r and distance z >= 0 in front of the face (n,)."""
        bore = np.array(astuple(self)[1:7] + (self.wall_mm,))
        x, y, weight = _disc(self.crystal_mm, quadrature)
        depth, depth_weight = _unit_gauss(quadrature.n_depth)
        r, z = (np.ascontiguousarray(v, dtype=np.float64) for v in (r_mm, z_mm))
        return self._scaled(collimated(bore, x, y, weight, depth, depth_weight, r, z), r, z)

    def _scaled(self, seen_per_mm2: Array, r_mm: Array, z_mm: Array) -> Array:
        """cps/kBq (n,) from the crystal's mean visibility over distance squared (n,), with the leak."""
        area = np.pi * self.crystal_mm**2
        leak = self.leak / (4 * np.pi * (r_mm**2 + (z_mm + self.recess_mm) ** 2))
        result: Array = PER_KBQ * self.efficiency * area / (4 * np.pi) * seen_per_mm2 + leak
        return result

    @property
    def leak_behind(self) -> float:
        """What an isotropic detector would add where the source lies beside or behind the face, cps/kBq mm^2 sr.

        The response at its edge, far to the side in the plane of the face: bore's wall and joints together.
        """
        r = np.array([FAR_ASIDE_MM])
        distance2 = FAR_ASIDE_MM**2 + self.recess_mm**2
        return float(4 * np.pi * distance2 * self.response(r, np.zeros(1))[0])

    def as_vector(self) -> Array:
        """Logarithms of all parameters: every one is positive."""
        result: Array = np.log(np.array(astuple(self)))
        return result

    @staticmethod
    def from_vector(vector: Array) -> Collimator:
        """Inverse of `as_vector`."""
        return Collimator(*(float(v) for v in np.exp(vector)))


@cache
def _unit_gauss(n: int) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def _disc(radius: float, quadrature: Quadrature) -> tuple[Array, Array, Array]:
    """Points x, y and weights (sum 1) over a disc; the half with y > 0 stands for both by symmetry."""
    square, weight = _unit_gauss(quadrature.n_radius)
    n = quadrature.n_azimuth
    azimuth = (np.arange(n) + 0.5) / n * np.pi
    rr, phi = np.meshgrid(radius * np.sqrt(square), azimuth, indexing="ij")
    weights = np.repeat(weight[:, None] / n, n, axis=1)
    return (rr * np.cos(phi)).ravel(), (rr * np.sin(phi)).ravel(), weights.ravel()
