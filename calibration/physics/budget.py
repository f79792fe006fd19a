"""An uncertainty budget per kBq in the manner of the GUM (JCGM 100:2008): components, combined, expanded.

All figures are relative: the activity is a product and a quotient of its inputs, so relative uncertainties add in
squares, each times its sensitivity (d ln result / d ln input).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracking.errors import InputError

# Probability of the expanded uncertainty, and the quantile of the normal distribution it has for many degrees.
COVERAGE = 0.95
Z_COVERAGE = 1.96
# A factor of a million to either side says that nothing is known; beyond it numbers overflow.
WIDEST_LOG = math.log(1e6)
# With more effective degrees of freedom Student's quantile is the normal one to the last digit that is told.
MANY_DEGREES = 1000.0
TYPES = ("A", "B")
DISTRIBUTIONS = ("normal", "rectangular", "triangular", "Poisson")
# A half width of a rectangular or triangular distribution over its standard deviation (JCGM 100, 4.3.7 and 4.3.9).
DIVISORS = {"rectangular": math.sqrt(3.0), "triangular": math.sqrt(6.0)}


@dataclass(frozen=True, slots=True)
class Component:
    """One source of uncertainty: `relative_sd` is the standard uncertainty of the input, relative to it.

    `kind` is "A" (evaluated from repeated or counted data) or "B" (from anything else); `assumed` marks a figure
    that nobody stated for this very measurement.
    """

    name: str
    kind: str
    relative_sd: float
    source: str
    sensitivity: float = 1.0
    distribution: str = "normal"
    degrees_of_freedom: float = math.inf
    assumed: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for what is no component."""
        if self.kind not in TYPES or self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"{self.name}: {self.kind} and {self.distribution} are no type and distribution")
        if not (
            math.isfinite(self.relative_sd) and self.relative_sd >= 0.0 and self.degrees_of_freedom > 0.0
        ):
            raise ValueError(f"{self.name}: {self.relative_sd} is no standard uncertainty")

    @staticmethod
    def within(
        name: str, half_width: float, source: str, distribution: str = "rectangular", sensitivity: float = 1.0
    ) -> Component:
        """Type B from bounds: anything within `half_width` (relative) of the value."""
        return Component(name, "B", half_width / DIVISORS[distribution], source, sensitivity, distribution)

    @property
    def contribution(self) -> float:
        """What it contributes to the relative standard uncertainty of the result."""
        return abs(self.sensitivity) * self.relative_sd


@dataclass(frozen=True, slots=True)
class Budget:
    """The components of one result, and what they amount to."""

    components: tuple[Component, ...]

    @staticmethod
    def of(components: Iterable[Component | None]) -> Budget:
        """The components there are; one without any contribution is left out."""
        return Budget(tuple(c for c in components if c is not None and c.contribution > 0.0))

    @property
    def relative_sd(self) -> float:
        """Combined relative standard uncertainty, u_c (JCGM 100, 5.1.2)."""
        return math.sqrt(sum(c.contribution**2 for c in self.components))

    @property
    def degrees_of_freedom(self) -> float:
        """Effective degrees of freedom by the formula of Welch and Satterthwaite (JCGM 100, G.4.1)."""
        total = sum(c.contribution**4 / c.degrees_of_freedom for c in self.components)
        return self.relative_sd**4 / total if total > 0.0 else math.inf

    @property
    def coverage_factor(self) -> float:
        """k of the expanded uncertainty at 95 %: Student's quantile for the effective degrees of freedom."""
        degrees = self.degrees_of_freedom
        if degrees >= MANY_DEGREES:
            return Z_COVERAGE
        from scipy.stats import t

        return float(t.ppf(0.5 + COVERAGE / 2.0, degrees))

    def interval(self, value: float) -> tuple[float, float]:
        """The 95 % interval round a positive value, on the logarithm: its lower end is never negative."""
        spread = math.exp(min(self.coverage_factor * self.relative_sd, WIDEST_LOG))
        return value / spread, value * spread

    def to_json(self) -> dict[str, Any]:
        """The table as files carry it; relative figures, largest contribution first, infinity as null."""
        rows = sorted(self.components, key=lambda c: -c.contribution)
        return {
            "components": [_row(c) for c in rows],
            "combined_relative_sd": _digits(self.relative_sd),
            "degrees_of_freedom": _finite(self.degrees_of_freedom),
            "coverage_factor": _digits(self.coverage_factor),
            "expanded_relative": _digits(self.coverage_factor * self.relative_sd),
            "coverage": COVERAGE,
        }


def budget_from_json(content: Mapping[str, Any], where: str) -> Budget:
    """The budget that `Budget.to_json` wrote. Raises InputError naming `where`."""
    try:
        return Budget(tuple(_component(row) for row in content["components"]))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise InputError(f"{where}: no uncertainty budget ({fault!r})") from None


def _row(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "type": component.kind,
        "relative_sd": _digits(component.relative_sd),
        "sensitivity": _digits(component.sensitivity),
        "contribution": _digits(component.contribution),
        "distribution": component.distribution,
        "degrees_of_freedom": _finite(component.degrees_of_freedom),
        "source": component.source,
        "assumed": component.assumed,
    }


def _component(row: Mapping[str, Any]) -> Component:
    degrees = row.get("degrees_of_freedom")
    return Component(
        str(row["name"]),
        str(row["type"]),
        float(row["relative_sd"]),
        str(row["source"]),
        float(row["sensitivity"]),
        str(row["distribution"]),
        math.inf if degrees is None else float(degrees),
        bool(row.get("assumed", False)),
    )


def _finite(value: float) -> float | None:
    return _digits(value) if math.isfinite(value) else None


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
