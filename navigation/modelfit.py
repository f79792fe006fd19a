"""What a scan's result says of the fit of its own model to its counts."""

from __future__ import annotations

from dataclasses import dataclass, field
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

    `covariance_mm2` (3, 3) is the mean square of the displacement over a breath that the model does not follow;
    `swing_mm` (2, 3) the displacement as cosine and sine of the breath's phase, which is 0 with the first reading.
    """

    per_minute: float
    range_mm: float
    axis: Array
    covariance_mm2: Array
    swing_mm: Array = field(default_factory=lambda: np.zeros((2, 3)))
    sure: bool = True  # more than one sound scan in fifty would show

    def displacement(self, t_s: Array) -> Array:
        """(n, 3) mm at times (n,) after the first reading."""
        phase = 2.0 * np.pi * self.per_minute / 60.0 * t_s[:, None]
        return np.asarray(np.cos(phase) * self.swing_mm[0] + np.sin(phase) * self.swing_mm[1])

    @property
    def words(self) -> str:
        """What is told of it."""
        fit = "the counts fit a target that moves" if self.sure else "it may be that the target moves"
        return (
            f"breathing: {fit} by about {self.range_mm:.0f} mm {self.per_minute:.0f} times a minute;"
            " its place is the mean"
        )

    def to_json(self) -> dict[str, Any]:
        """Content of `breathing` in spots.json's `goodness`."""
        return {
            "per_minute": self.per_minute,
            "range_mm": self.range_mm,
            "axis": self.axis.tolist(),
            "covariance_mm2": self.covariance_mm2.tolist(),
            "sure": self.sure,
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
