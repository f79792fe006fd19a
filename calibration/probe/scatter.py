"""Photons that scatter once in tissue and still fall into the energy window: where they seem to come from.

A primary-only model with the narrow-beam coefficient underestimates a source in tissue, and the missing counts
arrive from a wider angle than the primary ones. Single scatter by the Klein-Nishina formula (Klein & Nishina 1929,
DOI 10.1007/BF01366453) is integrated here over the tissue in front of the probe; higher orders are left to a
scale that an air/water measurement fixes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from calibration.physics.nuclide import FWHM_PER_SIGMA, RESOLUTION_140

Array = NDArray[np.float64]
AirResponse = Callable[[Array, Array], Array]

ELECTRON_REST_KEV = 510.999
CLASSICAL_RADIUS_MM = 2.8179403e-12
# Electrons per mm3 of ICRU's four-component soft tissue at unit density; water has 1 % more.
ELECTRONS_PER_MM3 = 3.31e20
# Quadrature round the direction to the detector: polar angle, azimuth, distance from the source.
N_POLAR, N_AZIMUTH, N_DISTANCE = 12, 8, 14
# A photon that is turned so far that fewer than this are still counted adds nothing.
LEAST_COUNTED = 1e-3


def klein_nishina(cosine: Array, energy_kev: float) -> tuple[Array, Array]:
    """Differential cross section per electron in mm2/sr, and the energy after scattering in keV."""
    ratio = 1.0 / (1.0 + energy_kev / ELECTRON_REST_KEV * (1.0 - cosine))
    section = 0.5 * CLASSICAL_RADIUS_MM**2 * ratio**2 * (ratio + 1.0 / ratio - (1.0 - cosine**2))
    return section, energy_kev * ratio


def acceptance(energy_kev: Array, window_kev: tuple[float, float]) -> Array:
    """Probability that a photon of this energy is counted in the window."""
    sigma = RESOLUTION_140 / FWHM_PER_SIGMA * np.sqrt(140.0 * energy_kev)
    low, high = window_kev
    result: Array = ndtr((high - energy_kev) / sigma) - ndtr((low - energy_kev) / sigma)
    return result


def widest_angle(energy_kev: float, window_kev: tuple[float, float]) -> float:
    """Largest deflection in rad after which a photon may still be counted: no detour turns it by less than it began."""
    angle = np.linspace(0.0, np.pi, 181)
    counted = acceptance(klein_nishina(np.cos(angle), energy_kev)[1], window_kev) > LEAST_COUNTED
    return float(angle[counted].max(initial=angle[1]))


def single_scatter(
    r_mm: Array,
    z_mm: Array,
    air: AirResponse,
    recess_mm: float,
    mu_per_mm: float,
    energy_kev: float,
    window_kev: tuple[float, float],
    emitted: float,
) -> Array:
    """Scattered sensitivity in cps/kBq of points (n,) in tissue that fills the half space in front of the face.

    `emitted` is the photons of this energy per decay over all that the window counts per decay in air: a line above
    the window adds its scatter, too. Spherical coordinates round the source cancel the 1/d^2 of its fluence.
    """
    total = np.zeros(len(r_mm))
    polar, w_polar = _gauss(N_POLAR, 0.0, widest_angle(energy_kev, window_kev))
    azimuth = (np.arange(N_AZIMUTH) + 0.5) / N_AZIMUTH * np.pi
    unit, w_unit = _gauss(N_DISTANCE, 0.0, 1.0)
    to_detector = np.stack([-r_mm, -(z_mm + recess_mm)], axis=1)
    far = np.linalg.norm(to_detector, axis=1)
    to_detector /= far[:, None]
    for a, wa in zip(polar, w_polar, strict=True):
        for b in azimuth:
            along, lateral, out = np.cos(a), np.sin(a) * np.cos(b), np.sin(a) * np.sin(b)
            # ux, uz span the plane of the axis and the source; uy leaves it.
            ux = along * to_detector[:, 0] + lateral * to_detector[:, 1]
            uz = along * to_detector[:, 1] - lateral * to_detector[:, 0]
            reach = np.where(uz < -1e-6, z_mm / np.maximum(-uz, 1e-6), 1e9)
            reach = np.minimum(reach, np.minimum(2.0 * far, 5.0 / mu_per_mm))
            for u, wu in zip(unit, w_unit, strict=True):
                step = u * reach
                x, y, z = r_mm + ux * step, out * step, z_mm + uz * step
                total += (
                    wa
                    * np.sin(a)
                    * (2 * np.pi / N_AZIMUTH)
                    * wu
                    * reach
                    * _scattered(
                        x, y, z, (ux, out, uz), step, air, recess_mm, mu_per_mm, energy_kev, window_kev
                    )
                )
    return emitted * total


def _scattered(
    x: Array,
    y: Array,
    z: Array,
    direction: tuple[Array, float, Array],
    step: Array,
    air: AirResponse,
    recess_mm: float,
    mu_per_mm: float,
    energy_kev: float,
    window_kev: tuple[float, float],
) -> Array:
    """Integrand at the place of scattering: fluence, Klein-Nishina, acceptance, attenuation, response."""
    r = np.hypot(x, y)
    height = np.maximum(z, 0.0) + recess_mm
    distance = np.sqrt(r**2 + height**2)
    cosine = -(direction[0] * x + direction[1] * y + direction[2] * height) / distance
    section, energy = klein_nishina(cosine, energy_kev)
    path = distance * np.maximum(z, 0.0) / height
    result: Array = (
        ELECTRONS_PER_MM3
        * section
        * acceptance(energy, window_kev)
        * air(r, np.maximum(z, 0.0))
        * np.exp(-mu_per_mm * (step + path))
    )
    return result


def _gauss(n: int, low: float, high: float) -> tuple[Array, Array]:
    x, w = np.polynomial.legendre.leggauss(n)
    return low + (high - low) * (x + 1) / 2, w * (high - low) / 2
