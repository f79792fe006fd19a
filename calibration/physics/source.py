"""What is known of the source a probe was calibrated with: who measured its activity, how well, and when.

The activity is brought from its assay to the measurement; what the certificate and the half-life leave open goes
into the uncertainty of every kBq told later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from calibration.physics.budget import Component
from calibration.physics.nuclide import Nuclide
from tracking.errors import InputError

# Standard uncertainty of an activity whose certificate says nothing: a radionuclide calibrator in the field is within
# 5 % at 95 % (AAPM TG-181; NPL good practice guide 93).
ASSUMED_RELATIVE_SD = 0.025
# A larger one is a slip of the pen: 30 is no share.
LARGEST_RELATIVE_SD = 0.3
# Standard uncertainty of the place of a point source on a bench, mm; over the distance it counts twice, by 1/d^2.
PLACE_SD_MM = 0.25
# More half-lives than this between assay and use leave nothing of a source: a wrong date.
MOST_HALF_LIVES = 12.0


@dataclass(frozen=True, slots=True)
class SourceStatement:
    """The source as its certificate has it; None for what is not stated. Times are aware."""

    relative_sd: float | None = None
    calibrator_id: str | None = None
    assay_time: datetime | None = None
    measured_at: datetime | None = None

    @property
    def elapsed_s(self) -> float:
        """From assay to measurement; 0 where the activity is stated for the measurement."""
        if self.assay_time is None or self.measured_at is None:
            return 0.0
        return (self.measured_at - self.assay_time).total_seconds()

    def decay_factor(self, nuclide: Nuclide) -> float:
        """Activity at the measurement over that of the assay."""
        return float(nuclide.decay_factor(self.elapsed_s))

    def components(self, nuclide: Nuclide) -> tuple[Component, ...]:
        """Certificate and decay as parts of a budget."""
        stated = self.relative_sd is not None
        who = f"certificate of {self.calibrator_id}" if self.calibrator_id else "certificate of the source"
        certificate = Component(
            "activity of the source",
            "B",
            ASSUMED_RELATIVE_SD if self.relative_sd is None else self.relative_sd,
            who if stated else "not stated: calibrator within 5 % at 95 %",
            assumed=not stated,
        )
        half_life = Component(
            "half-life from assay to measurement",
            "B",
            nuclide.decay_relative_sd(self.elapsed_s),
            nuclide.source,
        )
        return certificate, half_life

    def to_json(self, nuclide: Nuclide) -> dict[str, Any]:
        """The record of it in a calibration."""
        return {
            "relative_sd": self.relative_sd,
            "calibrator_id": self.calibrator_id,
            "assay_time": None if self.assay_time is None else self.assay_time.isoformat(),
            "measured_at": None if self.measured_at is None else self.measured_at.isoformat(),
            "decay_factor": self.decay_factor(nuclide),
        }


def source_statement(
    nuclide: Nuclide,
    relative_sd: float | None = None,
    calibrator_id: str | None = None,
    assay_time: str | None = None,
    measured_at: str | None = None,
) -> SourceStatement:
    """What the options of a command state, checked. Raises InputError naming the option."""
    if relative_sd is not None and not 0.0 <= relative_sd <= LARGEST_RELATIVE_SD:
        raise InputError(f"--source-relative-sd {relative_sd:g}: is a share, at most {LARGEST_RELATIVE_SD:g}")
    if (assay_time is None) != (measured_at is None):
        raise InputError(
            "--assay-time and --measured-at go together: the activity decays from one to the other"
        )
    assay, measured = aware_time(assay_time, "--assay-time"), aware_time(measured_at, "--measured-at")
    stated = SourceStatement(relative_sd, calibrator_id, assay, measured)
    if stated.elapsed_s < 0.0:
        raise InputError(f"--measured-at {measured_at}: is before --assay-time {assay_time}")
    require_left(nuclide, stated.elapsed_s, "--assay-time")
    return stated


def aware_time(text: object, where: str) -> datetime | None:
    """An ISO 8601 time with its zone, None for none.

    Raises InputError naming `where` for anything else: an hour of summer time is 11 % of Tc-99m.
    """
    if text is None:
        return None
    try:
        when = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        raise InputError(f"{where}: {text!r} is not an ISO 8601 time") from None
    if when.tzinfo is None:
        raise InputError(f"{where}: {text} has no time zone; write 2026-01-01T08:00:00Z or +01:00 at its end")
    return when


def require_left(nuclide: Nuclide, elapsed_s: float, where: str) -> None:
    """Raise InputError where so many half-lives went by that the date must be wrong."""
    lives = abs(elapsed_s) / nuclide.half_life_s
    if lives > MOST_HALF_LIVES:
        raise InputError(f"{where}: {lives:.0f} half-lives of {nuclide.name} away; is the date right?")


def place_component(distance_mm: float) -> Component:
    """How the source's place on the bench enters the scale, at this distance from the crystal."""
    return Component(
        "place of the source",
        "B",
        PLACE_SD_MM / distance_mm,
        f"{PLACE_SD_MM:g} mm on the bench, at {distance_mm:.0f} mm from the crystal",
        sensitivity=2.0,
        assumed=True,
    )


def scale_of(content: Mapping[str, Any]) -> float | None:
    """Relative standard uncertainty of the scale that a calibration's budget tells; None without one."""
    found = content.get("uncertainty_budget")
    value = found.get("combined_relative_sd") if isinstance(found, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
