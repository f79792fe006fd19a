"""What may go wrong in the simulated room: breathing, tissue that shifts, a bumped reference, a moved table.

Breathing and shift slide body and activity under the hand in the Reference frame; a bump moves the reference marker
alone, a move of the table everything that the tracker sees. Times are seconds since the reference time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.chance import rigid, small_rotation
from navigation.simulate.motion import STILL, Motion

Array = NDArray[np.float64]

# A table is driven, not thrown.
TABLE_S = 4.0
# A second marker stands so far beside the reference on the patient.
CHECK_PLACE_MM = np.array([90.0, 30.0, 10.0])
BUMP_TURNS_ABOUT = np.array([0.6, -0.5, 0.62])
BUMP_ALONG = np.array([0.7, 0.6, -0.39])
TABLE_ALONG, TABLE_TURNS_ABOUT = np.array([0.2, 0.9, 0.39]), np.array([0.1, 0.2, 0.97])


@dataclass(frozen=True, slots=True)
class Course:
    """What happens in a room; by default nothing. Lengths mm, angles degrees, times s, None: never."""

    breathing: Motion = STILL
    shift_mm: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # of body and activity, once something was resected
    bump_s: float | None = None
    bump_mm: float = 0.0
    bump_deg: float = 0.0
    table_s: float | None = None
    table_mm: float = 0.0
    table_deg: float = 0.0
    check_marker: bool = False  # a second marker on the patient, beside the reference

    def slid_mm(self, t_s: Array, resected_s: float | None) -> Array:
        """(n, 3) in the body frame: where tissue lies at times (n,), against where it was imaged."""
        since = np.inf if resected_s is None else resected_s
        return replace(self.breathing, moved_mm=self.shift_mm, moved_at_s=since).shift(t_s)

    @property
    def slides(self) -> bool:
        """Whether tissue moves at all."""
        return self.breathing != STILL or any(self.shift_mm)

    def bump(self, t_s: float) -> Array:
        """(4, 4): the reference marker against its first place on the patient, in its own frame."""
        if self.bump_s is None or t_s < self.bump_s:
            return np.eye(4)
        return _rigid(self.bump_mm, BUMP_ALONG, self.bump_deg, BUMP_TURNS_ABOUT)

    def table(self, t_s: float) -> Array:
        """(4, 4): the patient with everything on it against the first place, in the patient's Reference frame."""
        if self.table_s is None or t_s <= self.table_s:
            return np.eye(4)
        part = min((t_s - self.table_s) / TABLE_S, 1.0)
        return _rigid(part * self.table_mm, TABLE_ALONG, part * self.table_deg, TABLE_TURNS_ABOUT)

    def to_json(self) -> dict[str, Any]:
        """For truth.json."""
        breathing = self.breathing
        return {
            "breathing_mm": breathing.breathing_mm,
            "breathing_period_s": breathing.period_s,
            "breathing_axis": list(breathing.axis),
            "shift_after_resection_mm": list(self.shift_mm),
            "bump": None if self.bump_s is None else [self.bump_s, self.bump_mm, self.bump_deg],
            "table": None if self.table_s is None else [self.table_s, self.table_mm, self.table_deg],
            "check_marker": self.check_marker,
        }


def _rigid(mm: float, along: Array, degrees: float, about: Array) -> Array:
    return rigid(
        small_rotation(np.radians(degrees) * about / np.linalg.norm(about)),
        mm * along / np.linalg.norm(along),
    )


QUIET = Course()
