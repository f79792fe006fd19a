"""The nuclides the project knows: half-life, gamma lines, default energy window and soft-tissue attenuation.

Line energies and intensities are rounded from the evaluated nuclear data of DDEP and ENSDF; the narrow-beam
attenuation follows NIST XCOM for soft tissue, doi:10.18434/T48G6X. Energies keV, times s, mu per cm.
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

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Nuclide:
    """One radionuclide as a gamma probe sees it.

    `lines_kev` holds (energy in keV, photons per decay); `window_kev` is the default energy window;
    `mu_tissue_per_cm` is the narrow-beam attenuation of soft tissue, averaged over the lines in that window.
    """

    name: str
    half_life_s: float
    lines_kev: tuple[tuple[float, float], ...]
    window_kev: tuple[float, float]
    mu_tissue_per_cm: float

    @property
    def decay_constant_per_s(self) -> float:
        """Natural logarithm of 2 over the half-life."""
        return math.log(2.0) / self.half_life_s

    @property
    def photons_per_decay(self) -> float:
        """Photons of the lines inside the default window per decay."""
        low, high = self.window_kev
        return sum(share for energy, share in self.lines_kev if low <= energy <= high)

    def decay_factor(self, t_s: ArrayLike) -> NDArray[np.float64]:
        """Activity at `t_s` over that at the reference time (t_s = 0); same shape as `t_s`, > 1 before it."""
        return np.asarray(np.exp(-self.decay_constant_per_s * np.asarray(t_s, dtype=np.float64)))

    def mean_decay_factor(self, start_s: float, end_s: float) -> float:
        """Mean of `decay_factor` over [start_s, end_s]."""
        span = self.decay_constant_per_s * (end_s - start_s)
        start = math.exp(-self.decay_constant_per_s * start_s)
        return start if span == 0.0 else start * -math.expm1(-span) / span


def window_around(line_kev: float) -> tuple[float, float]:
    """The 20 % window (low, high) in keV round a line."""
    return (1.0 - WINDOW_HALF_FRACTION) * line_kev, (1.0 + WINDOW_HALF_FRACTION) * line_kev


def nuclide(name: str) -> Nuclide:
    """The nuclide written as "Tc-99m", "99mTc", "Tc99m", "^99m^Technetium" or "technetium-99m".

    Raises InputError that lists the known ones.
    """
    found = _BY_KEY.get(_key(name))
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


_ELEMENTS = {
    "technetium": "tc",
    "indium": "in",
    "gallium": "ga",
    "fluorine": "f",
    "fluor": "f",
    "lutetium": "lu",
    "iodine": "i",
}

NUCLIDES: dict[str, Nuclide] = {
    n.name: n
    for n in (
        Nuclide("Tc-99m", 6.007 * _HOUR_S, ((140.5, 0.885),), window_around(140.5), 0.152),
        # Both lines are used; mu is the mean of 0.143 and 0.126 by intensity.
        Nuclide("In-111", 67.3 * _HOUR_S, ((171.3, 0.907), (245.4, 0.941)), (154.0, 270.0), 0.134),
        Nuclide("Ga-68", 67.7 * _MINUTE_S, ((511.0, 1.778),), window_around(511.0), 0.095),
        Nuclide("F-18", 109.8 * _MINUTE_S, ((511.0, 1.935),), window_around(511.0), 0.095),
        Nuclide("Lu-177", 6.65 * _DAY_S, ((208.4, 0.104), (112.9, 0.062)), window_around(208.4), 0.134),
        Nuclide("I-123", 13.2 * _HOUR_S, ((159.0, 0.833),), window_around(159.0), 0.146),
        # X-rays of tellurium and the 35.5 keV gamma; the window takes them all.
        Nuclide(
            "I-125",
            59.4 * _DAY_S,
            ((27.3, 1.134), (31.1, 0.255), (35.5, 0.067)),
            (24.0, 38.0),
            0.41,
        ),
    )
}
_BY_KEY: dict[tuple[str, str], Nuclide] = {_key(name): n for name, n in NUCLIDES.items()}
