"""When a series was acquired and to which moment its values are corrected, as its scanner's clock told.

Seconds since 1970 as if the scanner stood at UTC, with its offset where that is known; None is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Clock:
    """Clock readings of a series; `spread_s` is the time between its first and its last slice.

    `decay_reference_s` is the moment whose activity the values state, None where that is unknown.
    """

    acquired_s: float | None = None
    decay_reference_s: float | None = None
    injected_s: float | None = None
    utc_offset_s: float | None = None
    spread_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Entry of the patient's table: dates tell of a person."""
        return {
            "acquired_s": self.acquired_s,
            "decay_reference_s": self.decay_reference_s,
            "injected_s": self.injected_s,
            "utc_offset_s": self.utc_offset_s,
            "spread_s": self.spread_s,
        }

    def after_acquisition_s(self) -> float | None:
        """Seconds from the start of the acquisition to the moment the values are corrected to."""
        if self.decay_reference_s is None or self.acquired_s is None:
            return None
        return self.decay_reference_s - self.acquired_s

    def utc_s(self, clock_s: float) -> float:
        """A clock reading as seconds since 1970; without a stated offset the scanner keeps this computer's zone."""
        if self.utc_offset_s is not None:
            return clock_s - self.utc_offset_s
        naive = datetime.fromtimestamp(clock_s, UTC).replace(tzinfo=None)
        return naive.astimezone().timestamp()


def clock_from(entry: Any) -> Clock:
    """A clock out of study.json; what is no number is unknown."""
    stated = entry if isinstance(entry, dict) else {}

    def number(key: str) -> float | None:
        value = stated.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    return Clock(
        number("acquired_s"),
        number("decay_reference_s"),
        number("injected_s"),
        number("utc_offset_s"),
        number("spread_s") or 0.0,
    )
