"""Figures of a daily check against their tolerances: pass, fail, warning or not measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from calibration.daily.nema import Measured

PASS, FAIL, NOT_MEASURED = "pass", "fail", "not measured"
# Outside its tolerance, but no fault of the probe: told, and not held against it.
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the check; `tolerance` (low, high) in the figure's unit, None where it is not judged."""

    name: str
    label: str
    unit: str
    value: float | None
    ci95: tuple[float, float] | None
    tolerance: tuple[float, float] | None
    status: str
    note: str = ""

    def content(self) -> dict[str, Any]:
        """As in check.json."""
        return {
            "label": self.label,
            "unit": self.unit,
            "value": rounded(self.value),
            "ci95": None if self.ci95 is None else [rounded(v) for v in self.ci95],
            "tolerance": None if self.tolerance is None else [rounded(v) for v in self.tolerance],
            "status": self.status,
            "note": self.note,
        }

    @property
    def words(self) -> str:
        """The figure as a reason: what it is and what it should be."""
        if self.value is None or self.tolerance is None:
            return f"{self.label}: {self.note}"
        low, high = self.tolerance
        should = f"at most {high:.3g}" if low <= 0.0 else f"{low:.4g} to {high:.4g}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.label} {self.value:.4g}{unit}, should be {should}" + (
            f" ({self.note})" if self.note else ""
        )


def rounded(value: float | None) -> float | None:
    """Six significant digits; None for what is no finite number."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def unmeasured(name: str, label: str, unit: str, why: str) -> Figure:
    """A figure that the scan does not tell."""
    return Figure(name, label, unit, None, None, None, NOT_MEASURED, why)


def judged(
    name: str,
    label: str,
    unit: str,
    measured: Measured | None,
    tolerance: tuple[float, float],
    why: str = "the scan did not come there",
    note: str = "",
) -> Figure:
    """The figure against its tolerance.

    Outside with its whole interval it fails; known as well as the tolerance is wide its value decides; else it was
    not measured.
    """
    if measured is None or not all(math.isfinite(v) for v in (measured.value, *measured.ci95)):
        return unmeasured(name, label, unit, why)
    (low, high), (least, most) = tolerance, measured.ci95
    width = (high - low) / 2.0 if low > 0.0 else high
    if most < low or least > high:
        status = FAIL
    elif (most - least) / 2.0 <= width or (least >= low and most <= high):
        status = PASS if low <= measured.value <= high else FAIL
    else:
        status, note = NOT_MEASURED, "too few counts: the interval is wider than the tolerance"
    return Figure(name, label, unit, measured.value, measured.ci95, tolerance, status, note)


def told(
    name: str, label: str, unit: str, value: float | None, fine: bool, note: str, tolerance: Any = None
) -> Figure:
    """A figure that is right or wrong without an interval."""
    return Figure(name, label, unit, value, None, tolerance, PASS if fine else FAIL, "" if fine else note)
