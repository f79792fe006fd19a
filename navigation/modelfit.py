"""What a scan's result says of the fit of its own model to its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What no scan shows of its own counts.
NEVER_SEEN = "an error of the sensitivity that is the same everywhere does not show in any scan"


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

    def to_json(self) -> dict[str, Any]:
        """Content of `goodness` in spots.json."""
        return {
            "p": self.p,
            "statistic": self.statistic,
            "flagged": self.flagged,
            "reasons": list(self.reasons),
            "tests": dict(self.tests),
            "unseen": list(self.unseen),
        }
