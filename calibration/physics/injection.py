"""What was given to the patient: administered activity at any time, with its uncertainty, for shares of the injected.

::

    [injection]                                  # of a case file, or a TOML or JSON file of its own
    activity = 74.0                              # in the syringe at the assay
    unit = "MBq"                                 # or kBq, GBq
    assay_time = "2026-01-01T08:00:00Z"          # times need their zone
    injection_time = "2026-01-01T08:30:00Z"
    residual = 2.1                               # optional: left in the syringe, same unit
    residual_time = "2026-01-01T08:35:00Z"       # default: the time of injection
    calibrator = "DC-2"                          # optional: id of the radionuclide calibrator
    relative_sd = 0.02                           # optional: its standard uncertainty; 2.5 % is assumed
    nuclide = "Tc-99m"                           # optional: must be that of the scan
    patient_ref = "P-0815"                       # optional: pseudonyms only, no names and no dates of birth
    study_ref = "S-1"

A time without a zone is refused: an hour of summer time is 11 % of Tc-99m.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calibration.physics.budget import Budget, Component
from calibration.physics.nuclide import Nuclide
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.physics.source import ASSUMED_RELATIVE_SD, LARGEST_RELATIVE_SD, aware_time, require_left
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json
from tracking.tomlfile import read_toml

TABLE = "injection"
KEYS = {
    *("activity", "unit", "assay_time", "injection_time", "residual", "residual_time"),
    *("calibrator", "relative_sd", "nuclide", "patient_ref", "study_ref"),
}
MBQ_OF = {"kBq": 1e-3, "MBq": 1.0, "GBq": 1e3}
# Nobody gives less for a probe to find; more is only given of nuclides that treat. A slip of a unit is a factor 1000.
LEAST_MBQ, MOST_MBQ, MOST_THERAPY_MBQ = 0.1, 5000.0, 12000.0
THERAPY = ("Lu-177", "I-131")
# A pseudonym: one short word. Names have blanks, commas or carets, dates of birth are eight digits.
PSEUDONYM = re.compile(r"(?!\d{4}-?\d{2}-?\d{2}$)[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class Injection:
    """What was measured in the syringe before and after, and when it was given; times are aware."""

    activity_mbq: float
    assay_time: datetime
    injection_time: datetime
    residual_mbq: float = 0.0
    residual_time: datetime | None = None
    calibrator: str | None = None
    relative_sd: float | None = None
    nuclide: str | None = None
    patient_ref: str | None = None
    study_ref: str | None = None

    def given(self, nuclide: Nuclide, at: datetime) -> Given:
        """What of it is left at a time by decay alone: in the patient and in what was excreted.

        Raises GateRefusedError for another nuclide, InputError where hardly anything can be left.
        """
        if self.nuclide is not None and self.nuclide != nuclide.name:
            raise GateRefusedError(f"{TABLE}: {self.nuclide} was injected, the scan is {nuclide.name}")
        require_left(nuclide, (at - self.injection_time).total_seconds(), f"{TABLE}.injection_time")
        at_injection = self._left(nuclide, self.activity_mbq, self.assay_time, self.injection_time)
        residual = self._left(
            nuclide, self.residual_mbq, self.residual_time or self.injection_time, self.injection_time
        )
        net = at_injection - residual
        if net < LEAST_MBQ:
            raise InputError(
                f"{TABLE}.residual: {residual:.3g} of {at_injection:.3g} MBq stayed in the syringe"
            )
        kbq = 1000.0 * self._left(nuclide, net, self.injection_time, at)
        return Given(kbq, net, self._budget(nuclide, at), self)

    def to_json(self) -> dict[str, Any]:
        """What `injection_of` reads."""
        times = {k: getattr(self, k) for k in ("assay_time", "injection_time", "residual_time")}
        return {
            "activity": self.activity_mbq,
            "unit": "MBq",
            "residual": self.residual_mbq,
            **{k: v.astimezone(UTC).isoformat() for k, v in times.items() if v is not None},
            **{k: v for k in STATED if (v := getattr(self, k)) is not None},
        }

    def _left(self, nuclide: Nuclide, activity: float, start: datetime, end: datetime) -> float:
        return activity * float(nuclide.decay_factor((end - start).total_seconds()))

    def _budget(self, nuclide: Nuclide, at: datetime) -> Budget:
        """Calibrator, the same for syringe and rest, and half-life over the time since the assay."""
        stated = self.relative_sd is not None
        who = f"calibrator {self.calibrator}" if self.calibrator else "radionuclide calibrator"
        calibrator = Component(
            "administered activity",
            "B",
            ASSUMED_RELATIVE_SD if self.relative_sd is None else self.relative_sd,
            who if stated else f"{who}: not stated, within 5 % at 95 %",
            assumed=not stated,
        )
        since = nuclide.decay_relative_sd((at - self.assay_time).total_seconds())
        return Budget.of([calibrator, Component("half-life since the assay", "B", since, nuclide.source)])


STATED = ("calibrator", "relative_sd", "nuclide", "patient_ref", "study_ref")


@dataclass(frozen=True, slots=True)
class Given:
    """Administered activity, rest subtracted: kBq at the reference time, MBq when it was given, and its budget."""

    kbq: float
    injected_mbq: float
    budget: Budget
    injection: Injection

    def percent(self, activity_kbq: float) -> float:
        """An activity at the reference time in percent of what was injected."""
        return 100.0 * activity_kbq / self.kbq

    def percent_interval(self, activity_kbq: float, ci95_kbq: tuple[float, float]) -> tuple[float, float]:
        """The 95 % interval in percent: that of the activity, widened by what is unknown of the injected.

        Both are told on the logarithm, each side by itself; an end at zero stays there.
        """
        own = self.budget.coverage_factor * self.budget.relative_sd
        low, high = ci95_kbq
        if activity_kbq <= 0.0 or high <= 0.0:
            return 0.0, self.percent(max(high, 0.0)) * math.exp(own)
        down = 0.0 if low <= 0.0 else math.exp(-math.hypot(math.log(activity_kbq / low), own))
        up = math.exp(math.hypot(math.log(high / activity_kbq), own))
        return self.percent(activity_kbq * down), self.percent(activity_kbq * up)

    def to_json(self) -> dict[str, Any]:
        """What results carry of it."""
        return self.injection.to_json() | {
            "injected_mbq": float(f"{self.injected_mbq:.6g}"),
            "injected_at_reference_time_kbq": float(f"{self.kbq:.6g}"),
            "relative_sd_at_reference_time": float(f"{self.budget.relative_sd:.6g}"),
        }


def read_injection(path: Path) -> Injection:
    """The injection in a TOML or JSON file, as a table `injection` or as the whole file. Raises InputError."""
    content = read_toml(path) if path.suffix.lower() == ".toml" else read_json(path)
    table = content.get(TABLE, content)
    return injection_of(table, str(path))


def injection_of(table: object, where: str) -> Injection:
    """The injection in a table as the head of this module shows it, checked; `where` names it in messages.

    Raises InputError.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where}, {TABLE}: is no table")
    unknown = sorted(table.keys() - KEYS)
    if unknown:
        raise InputError(f"{where}, {TABLE}: unknown key {unknown[0]!r}")
    where = f"{where}, {TABLE}"
    unit = table.get("unit", "MBq")
    if unit not in MBQ_OF:
        raise InputError(f"{where}.unit: {unit!r} is none of {', '.join(MBQ_OF)}")
    name = None if table.get("nuclide") is None else nuclide_by_name(str(table["nuclide"])).name
    assay, given = (_time(table, key, where) for key in ("assay_time", "injection_time"))
    found = Injection(
        MBQ_OF[unit] * _number(table, "activity", where),
        assay,
        given,
        MBQ_OF[unit] * _number(table, "residual", where, 0.0),
        aware_time(table.get("residual_time"), f"{where}.residual_time"),
        _word(table, "calibrator", where),
        None if table.get("relative_sd") is None else _number(table, "relative_sd", where),
        name,
        _word(table, "patient_ref", where),
        _word(table, "study_ref", where),
    )
    _check(found, where)
    return found


def given_at(table: object, where: str, nuclide: str, epoch_s: float) -> Given | None:
    """What of the injection in a table is left at a Unix time; None without a table. Raises as `Injection.given`."""
    if table is None:
        return None
    return injection_of(table, where).given(nuclide_by_name(nuclide), datetime.fromtimestamp(epoch_s, UTC))


def require_before(injection: Injection, scan_start: datetime, where: str) -> None:
    """Raise InputError for an activity that was given only after the scan began."""
    if injection.injection_time > scan_start:
        raise InputError(
            f"{where}, {TABLE}.injection_time: {injection.injection_time.isoformat()} is after the scan began"
            f" ({scan_start.isoformat()})"
        )


def _check(found: Injection, where: str) -> None:
    most = MOST_THERAPY_MBQ if found.nuclide in THERAPY else MOST_MBQ
    if not LEAST_MBQ <= found.activity_mbq <= most:
        raise InputError(
            f"{where}.activity: {found.activity_mbq:g} MBq is not between {LEAST_MBQ:g} and {most:g} MBq;"
            " is the unit right?"
        )
    if found.relative_sd is not None and found.relative_sd > LARGEST_RELATIVE_SD:
        raise InputError(f"{where}.relative_sd: is a share, at most {LARGEST_RELATIVE_SD:g}")
    if found.assay_time > found.injection_time:
        raise InputError(f"{where}.assay_time: is after the injection: the syringe was empty")
    if found.residual_time is not None and found.residual_time < found.injection_time:
        raise InputError(f"{where}.residual_time: is before the injection")


def _time(table: Mapping[str, Any], key: str, where: str) -> datetime:
    found = aware_time(table.get(key), f"{where}.{key}")
    if found is None:
        raise InputError(f"{where}.{key}: is missing")
    return found


def _number(table: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise InputError(f"{where}.{key}: {value!r} is no number >= 0")
    return float(value)


def _word(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not PSEUDONYM.fullmatch(value):
        raise InputError(
            f"{where}.{key}: must be one short code of letters, digits, . _ - (no names, no dates)"
        )
    return value
