"""The specimen: what it holds, the uptake that gives activities a size, and whether it holds what was removed.

A kilobecquerel is no figure to operate by: at the uptake of this patient's specimen it is a ball of so many
millimetres. What was removed from the bed must be in the specimen, or it is somewhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.physics.nuclide import Nuclide
from tracking.errors import InputError
from tracking.jsonfile import number_of, read_json

Z95 = 1.96
# Density of soft tissue in g/mL; breast and lymph nodes with their fat lie within 5 % of it.
TISSUE_G_PER_ML = 1.0
# An interval wider than a factor of a thousand is no measurement, and would overflow on the way to a size.
WIDEST_LOG_SD = float(np.log(1000.0)) / Z95


@dataclass(frozen=True, slots=True)
class Specimen:
    """What was taken out: kBq with its 95 % interval, and the volume in mL that it fills, where that is known."""

    activity_kbq: float
    ci95_kbq: tuple[float, float]
    volume_ml: float | None = None
    name: str = "specimen"

    def __post_init__(self) -> None:
        low, high = self.ci95_kbq
        if not 0.0 <= low <= self.activity_kbq <= high < np.inf or self.activity_kbq <= 0.0:
            raise InputError(
                f"{self.name}: activity {self.activity_kbq:g} kBq is not within {low:g} to {high:g}"
            )
        if self.volume_ml is not None and not 0.0 < self.volume_ml < np.inf:
            raise InputError(f"{self.name}: a volume of {self.volume_ml:g} mL is none")

    def decayed(self, factor: float) -> Specimen:
        """At another time, when activities are `factor` of what they were."""
        low, high = self.ci95_kbq
        return replace(self, activity_kbq=factor * self.activity_kbq, ci95_kbq=(factor * low, factor * high))

    @property
    def uptake_kbq_per_ml(self) -> float | None:
        """Mean over the specimen; the tissue round a focus makes it lower, and sizes larger, than the focus's own."""
        return None if self.volume_ml is None else self.activity_kbq / self.volume_ml

    @property
    def log_sd(self) -> float:
        """Of the activity."""
        low, high = self.ci95_kbq
        return WIDEST_LOG_SD if low <= 0.0 else min(float(np.log(high / low)) / (2.0 * Z95), WIDEST_LOG_SD)

    def ball_mm(self, activity_kbq: float) -> tuple[float, tuple[float, float]] | None:
        """Diameter in mm of a ball of this uptake that holds an activity, and its 95 % interval; None without one."""
        uptake = self.uptake_kbq_per_ml
        if uptake is None:
            return None
        diameter = 10.0 * float(np.cbrt(6.0 * activity_kbq / uptake / np.pi))
        factor = float(np.exp(Z95 * self.log_sd / 3.0))
        return diameter, (diameter / factor, diameter * factor)


@dataclass(frozen=True, slots=True)
class Balance:
    """What was removed from the bed, what the specimen holds, and the difference with its interval, kBq."""

    removed_kbq: float
    removed_ci95_kbq: tuple[float, float]
    specimen: Specimen
    missing_kbq: float
    missing_ci95_kbq: tuple[float, float]

    @property
    def closes(self) -> bool:
        """Whether nothing is missing and nothing is too much, within what both are known to."""
        return self.missing_ci95_kbq[0] <= 0.0 <= self.missing_ci95_kbq[1]

    @property
    def warning(self) -> str | None:
        """What does not add up; None where all does."""
        if self.closes:
            return None
        held = (
            f"the specimen holds {self.specimen.activity_kbq:.1f} kBq of {self.removed_kbq:.1f} kBq removed"
        )
        if self.missing_kbq > 0.0:
            return f"{held}: was all of it counted, and is the rest in the field or lost?"
        return f"{held}: more than the scans say was there; was another focus taken, or is it contaminated?"

    def to_json(self) -> dict[str, Any]:
        """As bed_check.json has it."""
        return {
            "removed_kbq": self.removed_kbq,
            "removed_ci95_kbq": list(self.removed_ci95_kbq),
            "specimen_kbq": self.specimen.activity_kbq,
            "specimen_ci95_kbq": list(self.specimen.ci95_kbq),
            "missing_kbq": self.missing_kbq,
            "missing_ci95_kbq": list(self.missing_ci95_kbq),
            "closes": self.closes,
        }


def balance(removed_kbq: float, removed_ci95_kbq: tuple[float, float], specimen: Specimen) -> Balance:
    """Both at the same reference time. Errors that scans and specimen share, the probe's scale, make it the wider."""
    missing = removed_kbq - specimen.activity_kbq
    low, high = specimen.ci95_kbq
    # More may be missing by how far the removed may be above and the specimen below, and the other way round.
    more = float(np.hypot(removed_ci95_kbq[1] - removed_kbq, specimen.activity_kbq - low))
    less = float(np.hypot(removed_kbq - removed_ci95_kbq[0], high - specimen.activity_kbq))
    return Balance(removed_kbq, removed_ci95_kbq, specimen, missing, (missing - less, missing + more))


def read_specimen(path: Path, nuclide: Nuclide, reference_time: str | None) -> Specimen:
    """The specimen of a file, as `gammanav specimen` writes it or by hand, at a scan's reference time.

    Keys: activity_kbq, ci95_kbq, and volume_ml or mass_g; nuclide and reference_time are compared and brought to the
    scan's where they are given. Raises InputError.
    """
    content = read_json(path)
    stated = content.get("nuclide")
    if stated is not None and stated != nuclide.name:
        raise InputError(f"{path}: the specimen was counted for {stated}, the scan is of {nuclide.name}")
    if content.get("accepted") is False:
        raise InputError(f"{path}: the measurement of the specimen was refused")
    activity = number_of(content, "activity_kbq", path, lowest=0.0)
    if activity is None:
        raise InputError(f"{path}: activity_kbq is missing")
    found = Specimen(
        activity, _interval(content, path), _volume(content, path), str(content.get("name", "specimen"))
    )
    told = content.get("reference_time")
    if told is None or reference_time is None:
        return found
    return found.decayed(
        float(nuclide.decay_factor((_time(reference_time, path) - _time(told, path)).total_seconds()))
    )


def _interval(content: dict[str, Any], path: Path) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in content["ci95_kbq"])
    except (KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: ci95_kbq must be two numbers") from fault
    return low, high


def _volume(content: dict[str, Any], path: Path) -> float | None:
    volume, mass = (number_of(content, key, path, lowest=0.0) for key in ("volume_ml", "mass_g"))
    return volume if volume is not None or mass is None else mass / TISSUE_G_PER_ML


def _time(text: object, path: Path) -> datetime:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError as fault:
        raise InputError(f"{path}: {text!r} is no time") from fault
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
