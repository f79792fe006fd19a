"""A bed before and after the resection: whether two scans can be compared, and whether the background is the same.

A background that rose may be spilled activity or a contaminated probe; one that fell, a probe that sees less. It is
told, and forbids nothing: no threshold is carried over from one scan to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from navigation.bed import Bed, BedCheck
from navigation.bedplaces import OUT_OF_REACH_MM
from navigation.bedrules import removed_of
from navigation.reconstruction.live import ScanState
from navigation.specimen import balance
from tracking.errors import InputError

# A change of so many standard errors, and of so large a factor: the resection itself changes what tissue is in view.
CHANGED_SIGMA, CHANGED_FACTOR = 3.0, 1.3


@dataclass(frozen=True, slots=True)
class Drift:
    """Background in kBq/mL before and after with standard errors, both at the reference time of the scan after."""

    before: float
    before_sd: float
    after: float
    after_sd: float

    @property
    def words(self) -> str | None:
        """What is told of it; None where it did not change."""
        change = self.after - self.before
        factor = self.after / max(self.before, 1e-9)
        if abs(change) <= CHANGED_SIGMA * float(np.hypot(self.before_sd, self.after_sd)):
            return None
        if 1.0 / CHANGED_FACTOR < factor < CHANGED_FACTOR:
            return None
        told = f"the background is {factor:.2g} times that of the scan before"
        if change > 0.0:
            return f"{told}: spilled activity, or a contaminated probe?"
        return f"{told}: does the probe see less, or was hot tissue removed?"

    def to_json(self) -> dict[str, Any]:
        """As bed_check.json has it."""
        return {
            "before_kbq_per_ml": self.before,
            "before_sd": self.before_sd,
            "after_kbq_per_ml": self.after,
            "after_sd": self.after_sd,
            "changed": self.words is not None,
        }


def compared(check: BedCheck, after: ScanState, bed: Bed, before: ScanState, decay: float) -> BedCheck:
    """The check with what was removed since the scan before, whether the specimen holds it, and the background's drift.

    `decay` brings activities of the scan before to the reference time of the one after.
    """
    removed, interval = removed_of(before, bed, check.residuals, decay)
    drift = drift_of(before, after, decay)
    held = None if check.specimen is None else balance(removed, interval, check.specimen)
    told = (drift.words, None if held is None else held.warning)
    return replace(
        check,
        removed_kbq=removed,
        removed_ci95_kbq=interval,
        drift=drift,
        balance=held,
        reasons=(*check.reasons, *(words for words in told if words is not None)),
    )


def drift_of(before: ScanState, after: ScanState, decay: float) -> Drift:
    """`decay` brings activities of the scan before to the reference time of the one after."""
    (first, first_sd), (second, second_sd) = _level(before), _level(after)
    return Drift(decay * first, decay * first_sd, second, second_sd)


def require_comparable(before: ScanState, after: ScanState, bed: Bed) -> None:
    """Raise InputError for scans of two nuclides, or one before that was nowhere near the bed."""
    names = before.setup.nuclide.name, after.setup.nuclide.name
    if names[0] != names[1]:
        raise InputError(f"the scan before is of {names[0]}, this one of {names[1]}: they cannot be compared")
    here, there = (
        cKDTree(bed.points_mm).query(s.problem.readings.mid_poses[:, :3, 3])[0] for s in (after, before)
    )
    if float(np.min(there)) > OUT_OF_REACH_MM >= float(np.min(here)):
        raise InputError(
            "the scan before came nowhere near the bed: is it of another place of the Reference?"
        )


def require_one_nuclide(before: Path, after: Path) -> None:
    """The same of two scans on disk, before any work. Raises InputError."""
    from tracking.recording.export import open_scan

    names = open_scan(before).nuclide, open_scan(after).nuclide
    if names[0] != names[1]:
        raise InputError(f"{before} is of {names[0]}, {after} of {names[1]}: they cannot be compared")


def _level(state: ScanState) -> tuple[float, float]:
    """The background's level beside the foci in kBq/mL, and its standard error."""
    fit = state.found.fit
    return float(fit.background[0]), float(np.sqrt(max(state.found.null.covariance[0, 0], 0.0)))
