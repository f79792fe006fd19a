"""Narrow-beam attenuation of tissue, water and shields at any energy, and of a nuclide's mixture of lines in a window.

Mass attenuation coefficients with coherent scattering at NIST's energies (Hubbell & Seltzer, NIST XCOM,
doi:10.18434/T48G6X and doi:10.18434/T4D01F), interpolated in the logarithm of both. Energies keV, mu per cm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.physics.nuclide import Nuclide
from tracking.errors import InputError

Array = NDArray[np.float64]

LOWEST_KEV, HIGHEST_KEV = 10.0, 1500.0
# A line with a smaller share of a window's counts changes no attenuation by as much as 0.1 %.
LEAST_SHARE = 1e-3
# Below this energy coherent and multiple scattering, which the scatter model lacks, exceed a fifth of single Compton.
SCATTER_MODEL_FROM_KEV = 60.0
# The model was compared with water phantoms up to annihilation photons; above, crystals escape and pairs are made.
SCATTER_MODEL_TO_KEV = 520.0


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Density in g/cm3, energies in keV (an absorption edge is told twice) and mass attenuation in cm2/g."""

    density_g_cm3: float
    energy_kev: tuple[float, ...]
    mass_cm2_g: tuple[float, ...]


# The energies of NIST's tables, 10 keV to 1.5 MeV.
_KEV = (
    *(10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0),
    *(400.0, 500.0, 600.0, 800.0, 1000.0, 1250.0, 1500.0),
)
MATERIALS = {
    # ICRU's four-component soft tissue at unit density.
    "soft tissue": Material(
        1.0,
        _KEV,
        (
            *(4.937, 1.558, 0.7616, 0.3604, 0.2609, 0.2223, 0.2025, 0.1813, 0.1688, 0.1490, 0.1356, 0.1175),
            *(0.1051, 0.09593, 0.08871, 0.07790, 0.07006, 0.06265, 0.05701),
        ),
    ),
    "water": Material(
        1.0,
        _KEV,
        (
            *(5.329, 1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370, 0.1186),
            *(0.1061, 0.09687, 0.08956, 0.07865, 0.07072, 0.06323, 0.05754),
        ),
    ),
    "tungsten": Material(
        19.3,
        (30.0, 40.0, 50.0, 60.0, 69.525, 69.525, *_KEV[7:]),
        (
            *(22.73, 10.67, 5.949, 3.713, 2.552, 11.23, 7.810, 4.438, 1.581, 0.7844, 0.3238),
            *(0.1925, 0.1378, 0.1093, 0.08066, 0.06618, 0.05577, 0.05000),
        ),
    ),
    "lead": Material(
        11.35,
        (30.0, 40.0, 50.0, 60.0, 80.0, 88.0045, 88.0045, *_KEV[8:]),
        (
            *(30.32, 14.36, 8.041, 5.021, 2.419, 1.910, 7.683, 5.549, 2.014, 0.9985, 0.4031),
            *(0.2323, 0.1614, 0.1248, 0.08870, 0.07102, 0.05876, 0.05222),
        ),
    ),
}
TISSUE, WATER = "soft tissue", "water"


def mu_per_cm(energy_kev: ArrayLike, material: str = TISSUE) -> Array:
    """Narrow-beam linear attenuation coefficient, same shape as `energy_kev`.

    Raises InputError for an unknown material or an energy beyond the material's table.
    """
    found = MATERIALS.get(material)
    if found is None:
        raise InputError(f"unknown material {material!r}; known are {', '.join(sorted(MATERIALS))}")
    energy = np.asarray(energy_kev, dtype=np.float64)
    low, high = found.energy_kev[0], found.energy_kev[-1]
    if not ((energy >= low) & (energy <= high)).all():
        raise InputError(f"{material}: attenuation is tabulated from {low:g} to {high:g} keV only")
    mass = np.exp(np.interp(np.log(energy), np.log(found.energy_kev), np.log(found.mass_cm2_g)))
    return np.asarray(found.density_g_cm3 * mass)


def tenth_value_mm(energy_kev: float, material: str) -> float:
    """Thickness in mm behind which a tenth of a narrow beam is left. Raises InputError as `mu_per_cm`."""
    return float(np.log(10.0) / mu_per_cm(energy_kev, material)) * 10.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """The lines that a window counts: (energy in keV, share of the counts in air), the shares adding up to 1."""

    lines: tuple[tuple[float, float], ...]

    @staticmethod
    def of(nuclide: Nuclide, window_kev: tuple[float, float]) -> Mixture:
        """The lines of a nuclide in a window, each by its yield and the share of its peak inside.

        Raises InputError for a window that counts none of them.
        """
        seen = nuclide.counted_lines(window_kev)
        total = sum(photons for _, photons in seen)
        if total <= 0.0:
            low, high = window_kev
            raise InputError(f"window {low:g} to {high:g} keV counts no line of {nuclide.name}")
        kept = [(energy, photons) for energy, photons in seen if photons > LEAST_SHARE * total]
        total = sum(photons for _, photons in kept)
        return Mixture(tuple((energy, photons / total) for energy, photons in kept))

    def mu_per_cm(self, material: str = TISSUE) -> float:
        """Mean coefficient by counts in air: how a thin layer attenuates."""
        return float(sum(share * mu_per_cm(energy, material) for energy, share in self.lines))

    def transmission(self, path_mm: ArrayLike, material: str = TISSUE) -> Array:
        """Share of the unscattered photons left after a path, line by line; same shape as `path_mm`."""
        path_cm = np.asarray(path_mm, dtype=np.float64) / 10.0
        left = [share * np.exp(-mu_per_cm(energy, material) * path_cm) for energy, share in self.lines]
        return np.asarray(sum(left))

    def hardening(self, path_mm: ArrayLike, material: str = TISSUE) -> Array:
        """What one mean coefficient misses: the true transmission over exp(-mean mu path), less 1; never negative."""
        path = np.asarray(path_mm, dtype=np.float64)
        plain = np.exp(-self.mu_per_cm(material) * path / 10.0)
        return np.maximum(self.transmission(path, material) / plain - 1.0, 0.0)

    def doubts(self) -> tuple[str, ...]:
        """Where the single Compton scatter that is used with this mixture is out of its range."""
        mean = sum(energy * share for energy, share in self.lines)
        if mean < SCATTER_MODEL_FROM_KEV:
            return (
                f"scatter at {mean:.0f} keV: coherent and multiple scattering are not in the model,"
                " so only an air/water measurement tells it",
            )
        if max(energy for energy, _ in self.lines) > SCATTER_MODEL_TO_KEV:
            return ("scatter of lines above 520 keV into the window is not in the model",)
        return ()


def effective_mu_per_cm(ratio: ArrayLike, distance_mm: ArrayLike) -> Array:
    """The coefficient that would explain a water-to-air ratio by exp(-mu d) alone: build-up makes it smaller."""
    return np.asarray(-np.log(np.asarray(ratio)) / np.asarray(distance_mm, dtype=np.float64) * 10.0)
