"""How the probe is held and moved, against what the wanted MDA asks of it: too fast here, too far, tilted.

Lines over a surface LINES_MM apart at speed v collect the information `integral of s^2 dA / (rate v LINES_MM)` on a
source of the wanted depth; the speed at which that is just enough is the limit, and follows from the response, the
tissue and what is counted. Too far and tilted is where a second tells less than SHARE_OF_BEST of one held well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.probe.response import DetectorResponse
from navigation.coverage import SENSITIVITY_SYSTEMATIC

Array = NDArray[np.float64]

# Quantiles of the MDA: 5 % false positives, 95 % detection.
Z_MDA = 2 * 1.6449
# Lines of a careful hand: half of what a probe resolves.
LINES_MM = 8.0
# Below this share of the information of a probe held well it is told: scanning would take twice as long.
SHARE_OF_BEST = 0.5
# A probe on the surface: what drape and skin leave.
CONTACT_MM = 2.0
# A hand does not go slower on purpose, and no tracker follows faster: limits outside these are none.
SLOWEST_MM_S, FASTEST_MM_S = 2.0, 100.0
# Where the physics allow anything, a shaft that lies this flat is held by nobody on purpose.
MOST_OBLIQUE_DEG = 60.0
RADII_MM = np.arange(0.5, 40.0, 1.0)
STANDOFFS_MM = np.arange(0.0, 60.5, 0.5)
TILTS_DEG = np.arange(0.0, MOST_OBLIQUE_DEG + 0.5, 1.0)
# Speed is that of so long: a tremor is no speed.
OVER_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast, far and tilted a probe may be to show the wanted activity at the wanted depth."""

    fastest_mm_s: float
    farthest_mm: float
    most_oblique_deg: float


@dataclass(frozen=True, slots=True)
class Handling:
    """How the probe is held now; None what is not known."""

    speed_mm_s: float | None
    distance_mm: float | None
    angle_deg: float | None
    limits: Limits
    threshold_kbq: float

    @property
    def words(self) -> tuple[str, ...]:
        """What keeps the scan from its aim, the worst first."""
        aim, limits = f"for {self.threshold_kbq:.2g} kBq", self.limits
        found = []
        if self.distance_mm is not None and self.distance_mm > limits.farthest_mm:
            found.append(f"too far {aim}: {self.distance_mm:.0f} mm off, {limits.farthest_mm:.0f} at most")
        if self.angle_deg is not None and self.angle_deg > limits.most_oblique_deg:
            found.append(f"tilted {aim}: {self.angle_deg:.0f} degrees, {limits.most_oblique_deg:.0f} at most")
        if self.speed_mm_s is not None and self.speed_mm_s > limits.fastest_mm_s:
            found.append(
                f"too fast here {aim}: {self.speed_mm_s:.0f} mm/s, {limits.fastest_mm_s:.0f} at most"
            )
        return tuple(found)


def limits_for(response: DetectorResponse, threshold_kbq: float, depth_mm: float, rate_cps: float) -> Limits:
    """At a count rate of the tissue (cps), for a point of `threshold_kbq` at the wanted depth."""
    inflate = 1.0 + 1.6449 * float(np.hypot(SENSITIVITY_SYSTEMATIC, response.systematic_relative_sd))
    needed = (Z_MDA * inflate / threshold_kbq) ** 2
    area = 2 * np.pi * RADII_MM * float(RADII_MM[1] - RADII_MM[0])
    whole = float(area @ seen(response, RADII_MM, CONTACT_MM, depth_mm) ** 2)
    speed = whole / (max(rate_cps, 1.0) * needed * LINES_MM)
    on_axis = np.array([_told(response, s, depth_mm, 0.0) for s in STANDOFFS_MM + CONTACT_MM])
    tilted = np.array([_told(response, CONTACT_MM, depth_mm, a) for a in TILTS_DEG])
    return Limits(
        float(np.clip(speed, SLOWEST_MM_S, FASTEST_MM_S)),
        float((STANDOFFS_MM + CONTACT_MM)[_last_good(on_axis)]),
        float(TILTS_DEG[_last_good(tilted)]),
    )


def speed_of(stamps_s: Array, places_mm: Array) -> float | None:
    """mm/s over the last OVER_S of stamps (n,) and places (n, 3); None where these do not reach so far back."""
    known = np.isfinite(places_mm).all(axis=1)
    stamps, places = stamps_s[known], places_mm[known]
    if len(stamps) < 2 or stamps[-1] - stamps[0] < OVER_S / 2:
        return None
    return float(np.linalg.norm(places[-1] - places[0]) / (stamps[-1] - stamps[0]))


def seen(response: DetectorResponse, r_mm: Array, standoff_mm: float, depth_mm: float) -> Array:
    """cps/kBq (n,) of points `depth_mm` below a flat surface, r_mm (n,) beside the axis of a probe upright over it."""
    z = np.full_like(r_mm, standoff_mm + depth_mm)
    return response.in_tissue(r_mm, z, depth_mm * np.hypot(r_mm, z) / z)


def _told(response: DetectorResponse, standoff_mm: float, depth_mm: float, tilt_deg: float) -> float:
    """Information a second, but for the rate, on the place straight below where the axis meets the surface."""
    tilt = np.deg2rad(tilt_deg)
    r, z = depth_mm * np.sin(tilt), standoff_mm + depth_mm * np.cos(tilt)
    slant = np.cos(tilt - np.arctan2(r, z))  # of the ray against the surface's normal
    found = response.in_tissue(np.array([r]), np.array([z]), np.array([depth_mm / max(slant, 0.1)]))
    return float(found[0]) ** 2


def _last_good(information: Array) -> int:
    """Index up to which the information is at least SHARE_OF_BEST of the first."""
    worse = np.flatnonzero(information < SHARE_OF_BEST * information[0])
    return int(worse[0]) - 1 if len(worse) else len(information) - 1
