"""How far soft tissue moves against the Reference: the term that the predicted error at a target takes for it.

Figures without this term are those of a rigid patient; a scan whose counts showed breathing measures it, else a value
is given or assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError

Array = NDArray[np.float64]

# Middle of the 5 to 15 mm from end to end that organs of the abdomen move by in quiet breathing; a sine of so much
# deviates by that over 2 sqrt(2) from its mean. Along every axis, for nobody knows how the Reference lies to the body.
ASSUMED_RANGE_MM = 10.0
SD_OF_RANGE = 1.0 / (2.0 * 2.0**0.5)
ASSUMED_SD_MM = ASSUMED_RANGE_MM * SD_OF_RANGE
# More than this is no breathing but an organ that lies elsewhere.
LARGEST_SD_MM = 30.0


@dataclass(frozen=True, slots=True)
class TissueMotion:
    """Standard deviation per axis in mm, and where it is from: `measured`, `given` or `assumed`."""

    sd_mm: float
    origin: str

    @property
    def words(self) -> str:
        """What is told of it beside a predicted error."""
        if self.sd_mm == 0.0:
            return "rigid patient: no motion of the tissue is in this figure"
        return f"{self.origin} motion of the tissue: {self.sd_mm:.1f} mm per axis (standard deviation)"

    def widened(self, covariance_mm2: Array) -> Array:
        """Covariance (..., 3, 3) mm2 of a place at rest, with the motion added; in any frame of the patient."""
        result: Array = covariance_mm2 + self.sd_mm**2 * np.eye(3)
        return result

    def to_json(self) -> dict[str, Any]:
        """Content of `tissue_motion` in results."""
        return {"sd_mm": self.sd_mm, "origin": self.origin, "words": self.words}


def tissue_motion(range_mm: float | None = None, given_mm: float | None = None) -> TissueMotion:
    """What a scan measured or what was given, the larger of the two; the assumed value where neither is.

    `range_mm` is the breathing from end to end that the counts showed, `given_mm` a standard deviation; a given 0 says
    that the target does not move, as on bone. Raises InputError for one that is no such length.
    """
    if given_mm is not None and not 0.0 <= given_mm <= LARGEST_SD_MM:
        raise InputError(
            f"motion of the tissue must be 0 to {LARGEST_SD_MM:g} mm (standard deviation), not {given_mm:g}"
        )
    measured = None if range_mm is None else range_mm * SD_OF_RANGE
    if measured is not None and measured >= (given_mm or 0.0):
        return TissueMotion(measured, "measured")
    return TissueMotion(ASSUMED_SD_MM, "assumed") if given_mm is None else TissueMotion(given_mm, "given")


def tissue_motion_sd_mm(range_mm: float | None = None, given_mm: float | None = None) -> float:
    """The figure alone, as `tissue_motion`."""
    return tissue_motion(range_mm, given_mm).sd_mm


def along(range_mm: float, axis: Array) -> list[float]:
    """(3,): standard deviation of a place along each axis of Reference, of a swing along the unit vector (3,)."""
    return [float(v) for v in range_mm * SD_OF_RANGE * np.abs(axis)]
