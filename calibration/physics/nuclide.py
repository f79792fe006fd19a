"""The nuclides the project knows: half-life, photon lines with their yields, and the default energy window.

Half-lives and yields follow the evaluations of DDEP (BIPM Monographie-5, Table of Radionuclides) and ENSDF; each
entry names its own. Energies keV, times s; a default window is 20 % round the main line unless stated otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError

# A 20 % window is 10 % of the main line to either side: what probes and cameras ship with.
WINDOW_HALF_FRACTION = 0.10
# Energy resolution of a scintillation probe, FWHM at 140 keV as a fraction; scales with 1/sqrt(E).
RESOLUTION_140 = 0.12
FWHM_PER_SIGMA = 2.355

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86400.0
MONOGRAPHIE = "BIPM Monographie-5 (DDEP)"


@dataclass(frozen=True, slots=True)
class Nuclide:
    """One radionuclide as a gamma probe sees it.

    `lines_kev` holds (energy in keV, photons per decay); `window_kev` is the default energy window; `half_life_sd_s`
    is the standard uncertainty of the half-life used here: the evaluation's own, and what rounding took from it.
    """

    name: str
    half_life_s: float
    half_life_sd_s: float
    lines_kev: tuple[tuple[float, float], ...]
    window_kev: tuple[float, float]
    source: str
    dicom_codes: tuple[str, ...] = ()

    @property
    def decay_constant_per_s(self) -> float:
        """Natural logarithm of 2 over the half-life."""
        return math.log(2.0) / self.half_life_s

    @property
    def photons_per_decay(self) -> float:
        """Photons of the lines inside the default window per decay."""
        low, high = self.window_kev
        return sum(share for energy, share in self.lines_kev if low <= energy <= high)

    def counted_lines(
        self, window_kev: tuple[float, float], resolution_140: float = RESOLUTION_140
    ) -> tuple[tuple[float, float], ...]:
        """(energy in keV, photons per decay that fall into the window) of every line, as a probe resolves them."""
        return tuple(
            (energy, share * line_acceptance(energy, window_kev, resolution_140))
            for energy, share in self.lines_kev
        )

    def photons_in(self, window_kev: tuple[float, float], resolution_140: float = RESOLUTION_140) -> float:
        """Photons per decay counted in any window by a probe of this resolution (FWHM at 140 keV)."""
        return sum(seen for _, seen in self.counted_lines(window_kev, resolution_140))

    def decay_factor(self, t_s: ArrayLike) -> NDArray[np.float64]:
        """Activity at `t_s` over that at the reference time (t_s = 0); same shape as `t_s`, > 1 before it."""
        return np.asarray(np.exp(-self.decay_constant_per_s * np.asarray(t_s, dtype=np.float64)))

    def decay_relative_sd(self, t_s: float) -> float:
        """Relative standard uncertainty of `decay_factor(t_s)` from that of the half-life."""
        return self.decay_constant_per_s * abs(t_s) * self.half_life_sd_s / self.half_life_s

    def mean_decay_factor(self, start_s: float, end_s: float) -> float:
        """Mean of `decay_factor` over [start_s, end_s]."""
        span = self.decay_constant_per_s * (end_s - start_s)
        start = math.exp(-self.decay_constant_per_s * start_s)
        return start if span == 0.0 else start * -math.expm1(-span) / span


def line_acceptance(
    energy_kev: float, window_kev: tuple[float, float], resolution_140: float = RESOLUTION_140
) -> float:
    """Probability that a photon absorbed whole is counted in the window, by a probe whose lines are Gaussian."""
    sigma = resolution_140 / FWHM_PER_SIGMA * math.sqrt(140.0 * energy_kev)
    low, high = ((edge - energy_kev) / sigma / math.sqrt(2.0) for edge in window_kev)
    return 0.5 * (math.erf(high) - math.erf(low))


def window_around(line_kev: float) -> tuple[float, float]:
    """The 20 % window (low, high) in keV round a line."""
    return (1.0 - WINDOW_HALF_FRACTION) * line_kev, (1.0 + WINDOW_HALF_FRACTION) * line_kev


def nuclide(name: str) -> Nuclide:
    """The nuclide written as "Tc-99m", "99mTc", "^99m^Technetium", "Technetium Tc-99m" or by its DICOM code.

    Codes are the SNOMED RT and SNOMED CT values of DICOM PS3.16, CID 18 and CID 4020. Raises InputError that lists
    the known names.
    """
    found = _BY_CODE.get(name.strip().upper()) or _BY_KEY.get(_key(name))
    if found is None:
        raise InputError(f"unknown nuclide {name!r}; known are {', '.join(sorted(NUCLIDES))}")
    return found


def _key(name: str) -> tuple[str, str]:
    """(symbol, mass number with its m), whatever the order and the punctuation."""
    plain = re.sub(r"[^0-9a-z]", "", name.lower())
    match = re.fullmatch(r"([a-z]+)(\d+m?)|(\d+)(m?)([a-z]+?)", plain)
    if match is None:
        return "", plain
    if match[1] is not None:
        symbol, mass = match[1], match[2]
    else:
        symbol, mass = match[5], match[3] + match[4]
    return _ELEMENTS.get(symbol, symbol), mass


_NAMES = {
    "tc": ("technetium",),
    "in": ("indium",),
    "ga": ("gallium",),
    "f": ("fluorine", "fluor"),
    "lu": ("lutetium",),
    "i": ("iodine", "iod", "jod"),
    "co": ("cobalt", "kobalt"),
}
# "technetium", and "technetiumtc" as in "Technetium Tc-99m".
_ELEMENTS = {
    spelt: symbol for symbol, names in _NAMES.items() for name in names for spelt in (name, name + symbol)
}

NUCLIDES: dict[str, Nuclide] = {
    n.name: n
    for n in (
        Nuclide(
            "Tc-99m",
            6.007 * _HOUR_S,
            0.0011 * _HOUR_S,
            ((140.5, 0.885), (18.4, 0.063), (20.7, 0.012)),
            window_around(140.5),
            f"{MONOGRAPHIE} vol. 1: 6.0067(10) h, 88.5(2) %; ENSDF: 6.0072(9) h, 89 %",
            ("C-163A8", "72454006"),
        ),
        # Both lines are used; the X-rays of cadmium matter only beside a nuclide of low energy.
        Nuclide(
            "In-111",
            67.3 * _HOUR_S,
            0.02 * _HOUR_S,
            ((171.3, 0.907), (245.4, 0.941), (23.1, 0.68), (26.2, 0.145)),
            (154.0, 270.0),
            f"{MONOGRAPHIE} vol. 3: 2.8049(4) d, 90.61 and 94.12 %; ENSDF: 2.8047(4) d, 90.7(9) and 94.1(10) %",
            ("C-145A4", "56609000"),
        ),
        Nuclide(
            "Ga-68",
            67.7 * _MINUTE_S,
            0.2 * _MINUTE_S,
            ((511.0, 1.778), (1077.3, 0.032)),
            window_around(511.0),
            f"{MONOGRAPHIE} vol. 7: 67.83(20) min, positrons 88.9(4) %; ENSDF: 67.71(8) min, 88.9 %",
            ("C-131A3", "35337001"),
        ),
        Nuclide(
            "F-18",
            109.8 * _MINUTE_S,
            0.07 * _MINUTE_S,
            ((511.0, 1.935),),
            window_around(511.0),
            f"{MONOGRAPHIE} vol. 1: 109.73(2) min, positrons 96.9(2) %; ENSDF: 109.77(5) min, 96.7 %",
            ("C-111A1", "77004003"),
        ),
        Nuclide(
            "Lu-177",
            6.65 * _DAY_S,
            0.005 * _DAY_S,
            (
                *((208.4, 0.104), (112.9, 0.062), (249.7, 0.002), (321.3, 0.0021), (71.6, 0.0017)),
                *((55.8, 0.028), (54.6, 0.016), (63.5, 0.012)),
            ),
            window_around(208.4),
            f"{MONOGRAPHIE} vol. 2: 6.647(4) d, 10.38(7) and 6.20(7) %; ENSDF: 6.6443(9) d, 10.4 and 6.2 %",
            ("C-101ED", "447553000"),
        ),
        # The lines above 440 keV are few but go through the shield.
        Nuclide(
            "I-123",
            13.2 * _HOUR_S,
            0.024 * _HOUR_S,
            (
                *((159.0, 0.833), (27.4, 0.705), (31.1, 0.161), (346.4, 0.0012), (440.0, 0.0042)),
                *((505.3, 0.0029), (529.0, 0.0131), (538.5, 0.0035)),
            ),
            window_around(159.0),
            f"{MONOGRAPHIE} vol. 1: 13.2234(37) h, 83.3(4) %; ENSDF: 13.2235(19) h, 83.3(4) %",
            ("C-114A4", "21572004"),
        ),
        # X-rays of tellurium and the 35.5 keV gamma; the window takes them all.
        Nuclide(
            "I-125",
            59.4 * _DAY_S,
            0.031 * _DAY_S,
            ((27.3, 1.134), (31.1, 0.255), (35.5, 0.067)),
            (24.0, 38.0),
            f"{MONOGRAPHIE} vol. 6: 59.388(28) d, gamma 6.67 %; ENSDF: 59.400(10) d, gamma 6.68(13) %",
            ("C-114A6", "68630002"),
        ),
        Nuclide(
            "I-131",
            8.023 * _DAY_S,
            0.002 * _DAY_S,
            (
                *((364.5, 0.814), (637.0, 0.0720), (284.3, 0.0612), (80.2, 0.026), (722.9, 0.0177)),
                *((503.0, 0.0036), (325.8, 0.0026), (177.2, 0.0027), (29.7, 0.0395), (33.8, 0.0093)),
            ),
            window_around(364.5),
            f"{MONOGRAPHIE} vol. 6: 8.0233(19) d, 81.2(8) %; ENSDF: 8.0252(6) d, 81.5(8) %",
            ("C-114B1", "1368003"),
        ),
        # The check source: near enough to Tc-99m in energy, and it lasts for years.
        Nuclide(
            "Co-57",
            271.8 * _DAY_S,
            0.05 * _DAY_S,
            ((122.1, 0.855), (136.5, 0.107), (14.4, 0.092), (692.4, 0.0016)),
            window_around(122.1),
            f"{MONOGRAPHIE} vol. 1: 271.80(5) d, 85.51(6) and 10.71(15) %; ENSDF: 271.74(6) d, 85.6 and 10.7 %",
            ("C-144A3", "27054007"),
        ),
    )
}
_BY_KEY: dict[tuple[str, str], Nuclide] = {_key(name): n for name, n in NUCLIDES.items()}
_BY_CODE: dict[str, Nuclide] = {code: n for n in NUCLIDES.values() for code in n.dicom_codes}
