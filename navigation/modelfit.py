"""What a scan's result says of the fit of its own model to its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What no scan shows of its own counts.
UNTESTED = "too few counts to tell whether the model fits them"
NEVER_SEEN = "an error of the sensitivity that is the same everywhere does not show in any scan"


@dataclass(frozen=True, slots=True, eq=False)
class Breathing:
    """What was detected: breaths per minute, mm from end to end along the main axis (3,), and the variance it adds.

    `covariance_mm2` (3, 3) is the mean square of the displacement over a breath.
    """

    per_minute: float
    range_mm: float
    axis: Array
    covariance_mm2: Array

    @property
    def words(self) -> str:
        """What is told of it."""
        return (
            f"breathing: the counts fit a target that moves by about {self.range_mm:.0f} mm"
            f" {self.per_minute:.0f} times a minute; its place is the mean"
        )

    def to_json(self) -> dict[str, Any]:
        """Content of `breathing` in spots.json's `goodness`."""
        return {
            "per_minute": self.per_minute,
            "range_mm": self.range_mm,
            "axis": self.axis.tolist(),
            "covariance_mm2": self.covariance_mm2.tolist(),
        }


@dataclass(frozen=True, slots=True)
class Goodness:
    """Probability of so poor a fit by chance, the largest standardised statistic, and whether the model is flagged.

    `tests` holds each test's own probability, `unseen` what is wrong without showing in this scan. `p` is None where
    there are too few counts to tell; a surface that the probe's own path contradicts is flagged even then.
    """

    p: float | None
    statistic: float
    flagged: bool
    reasons: tuple[str, ...] = ()
    tests: tuple[tuple[str, float], ...] = ()
    unseen: tuple[str, ...] = (NEVER_SEEN,)
    breathing: Breathing | None = None  # where that is what the counts show

    def to_json(self) -> dict[str, Any]:
        """Content of `goodness` in spots.json."""
        return {
            "p": self.p,
            "statistic": self.statistic,
            "flagged": self.flagged,
            "reasons": list(self.reasons),
            "tests": dict(self.tests),
            "unseen": list(self.unseen),
            "breathing": None if self.breathing is None else self.breathing.to_json(),
        }
