"""How much the probe can see where it looks: distance and angle to the touched surface, and the least activity there.

The least activity is Currie's detection limit for one second over the present count rate (DOI 10.1021/ac60259a007). A
probe held too far off or too obliquely still feeds the map, whose MDA knows it; the surgeon is told (H18).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.probe.response import DetectorResponse, response_of
from calibration.probe.sheath import Sheath, covered
from tracking.errors import GammanavError

Floats = NDArray[np.float64]

# Beyond this a probe counts less than a tenth of what it counts in contact: (32 + 10)^2 over (2 + 10)^2 is twelve.
FARTHEST_MM = 32.0
# More than this from the surface's normal, half the view misses the tissue in front of the face.
MOST_OBLIQUE_DEG = 50.0
# The surface that the probe looks at: touched points this close to its axis, and round the first of them.
BESIDE_AXIS_MM, PATCH_MM = 20.0, 25.0
# A face pressed into soft tissue lies so much behind the points touched before.
PRESSED_MM = 6.0
# A face that touches skin, and the dwell for which the least activity is told.
CONTACT_MM, DWELL_S = 2.0, 1.0
# Points of a patch below which it has no direction.
FEWEST_POINTS = 4


@dataclass(frozen=True, slots=True)
class Reach:
    """Distance along the axis to the surface (None: the axis misses it), angle to its normal, least activities."""

    distance_mm: float | None
    angle_deg: float | None
    sees_kbq: float | None
    contact_kbq: float | None

    @property
    def words(self) -> str | None:
        """What keeps the probe from seeing, None where it is held well."""
        if self.distance_mm is None:
            return "the probe looks past the touched surface"
        sees = (
            ""
            if self.sees_kbq is None or self.contact_kbq is None
            else f" to see {self.contact_kbq:.2g} kBq at the surface: in {DWELL_S:g} s it sees {self.sees_kbq:.2g} kBq"
        )
        if self.distance_mm > FARTHEST_MM:
            return f"too far{sees} ({self.distance_mm:.0f} mm off)"
        if self.angle_deg is not None and self.angle_deg > MOST_OBLIQUE_DEG:
            return f"too oblique{sees} ({self.angle_deg:.0f} degrees)"
        return None


def reach_of(
    tip: Floats, surface_mm: Floats, response: DetectorResponse | None, rate_cps: float | None
) -> Reach:
    """Where a probe with the pose `tip` (4, 4) looks on the surface (k, 3), both in Reference."""
    offset = surface_mm - tip[:3, 3]
    ahead = offset @ tip[:3, 2]
    beside = np.sqrt(np.maximum((offset**2).sum(axis=1) - ahead**2, 0.0))
    hit = (beside <= BESIDE_AXIS_MM) & (ahead > -PRESSED_MM)
    if not hit.any():
        return Reach(None, None, None, None)
    place = surface_mm[hit][np.argmin(beside[hit])]
    normal = _normal(surface_mm[np.linalg.norm(surface_mm - place, axis=1) <= PATCH_MM])
    distance, angle = _along(tip, place, normal)
    if response is None or rate_cps is None:
        return Reach(distance, angle, None, None)
    sees = [least_kbq(response, max(z, CONTACT_MM), rate_cps) for z in (distance, CONTACT_MM)]
    return Reach(distance, angle, *sees)


def _along(tip: Floats, place: Floats, normal: Floats | None) -> tuple[float, float | None]:
    """Distance along the axis to the surface's plane at `place`, and the angle to its normal."""
    ahead = float((place - tip[:3, 3]) @ tip[:3, 2])
    if normal is None:
        return max(ahead, 0.0), None
    cosine = abs(float(normal @ tip[:3, 2]))
    if cosine > math.cos(math.radians(80.0)):
        ahead = float((place - tip[:3, 3]) @ normal) / float(normal @ tip[:3, 2])
    return max(ahead, 0.0), math.degrees(math.acos(min(cosine, 1.0)))


def _normal(points_mm: Floats) -> Floats | None:
    if len(points_mm) < FEWEST_POINTS:
        return None
    normal: Floats = np.linalg.svd(points_mm - points_mm.mean(axis=0))[2][-1]
    return normal


def least_kbq(response: DetectorResponse, distance_mm: float, rate_cps: float) -> float:
    """Currie's detection limit in kBq of a point on the axis, in air, after a second at this rate."""
    seen = float(response.in_air(np.zeros(1), np.array([distance_mm]))[0])
    return (2.71 + 3.29 * math.sqrt(max(rate_cps, 0.0) * DWELL_S)) / (seen * DWELL_S)


class ReachWatch:
    """The response of the calibration in use, made once for each."""

    def __init__(self, sheath: Sheath) -> None:
        self._sheath = sheath
        self._of: dict[str, Any] | None = None
        self._response: DetectorResponse | None = None

    def response(self, calibration: dict[str, Any] | None) -> DetectorResponse | None:
        """The response in its sheath; None without a calibration, or with one that may not be used."""
        if calibration is not self._of:
            self._of, self._response = calibration, None
            try:
                if calibration is not None:
                    self._response = covered(response_of(calibration, Path("probe.json")), self._sheath)
            except GammanavError:
                self._response = None
        return self._response
