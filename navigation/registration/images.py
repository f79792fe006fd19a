"""Rigid registration of two volumes: SPECT or PET onto CT by mutual information, CT onto CT by correlation.

SimpleITK's optimiser from many starts (Mattes et al. 2003, DOI 10.1109/TMI.2003.809072), then reasons to refuse what
it found, and the error to expect at each target. `T_target_source` maps physical LPS points of MOVING into FIXED; mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.imagefindings import (
    MAX_PREDICTED_MM,
    MAX_SHIFT_MM,
    MAX_TURN_DEG,
    Findings,
    Settings,
)
from navigation.registration.imagemetric import CORRELATION, MUTUAL_INFORMATION, SEED
from navigation.registration.imagepair import Pair, highest, overlap_corners
from navigation.registration.imagepeak import Peak
from navigation.registration.imagesearch import Tick, mapped, search
from navigation.registration.imagevolume import CT, ImageVolume
from navigation.registration.landmarks import registration_id
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

__all__ = [
    "MAX_PREDICTED_MM",
    "MAX_SHIFT_MM",
    "MAX_TURN_DEG",
    "ImageRegistration",
    "Settings",
    "metric_for",
    "register_images",
]
METHOD = "images"
# There, this many times the error at a target is allowed. Set after simulated studies: right pairs have up to twice
# the limit of a target at their border, other patients' four times.
CORNER_FACTOR = 2.0
# Ticks of a registration whose starts are all followed, for a bar.
LONGEST_TICKS = 15


@dataclass(frozen=True, slots=True, eq=False)
class ImageRegistration:
    """The transform (4, 4) with its doubts: `reasons` refuse it, `warnings` do not.

    `targets_mm` (k, 3) are in "moving" or "fixed" as `targets_in` says; `predicted_mm` (k,) is the RMS error
    expected there. `findings` hold the figures behind the reasons.
    """

    T_fixed_moving: Array
    kind: str
    score: float
    targets_mm: Array
    targets_in: str
    predicted_mm: Array
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    findings: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The content of reg.json; there are no pairs of points, hence no FRE."""
        return {
            "T_target_source": self.T_fixed_moving.tolist(),
            "id": registration_id(self.T_fixed_moving),
            "method": METHOD,
            "fre_mm": None,
            "residuals_mm": [],
            "tre_mm": {
                "targets": self.targets_mm.tolist(),
                "predicted": self.predicted_mm.tolist(),
                "frame": self.targets_in,
            },
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "metric": self.kind,
            "score": self.score,
            "seed": SEED,
            **self.findings,
        }


def metric_for(fixed: ImageVolume, moving: ImageVolume) -> str:
    """Correlation where CT numbers mean the same in both, else mutual information."""
    return CORRELATION if fixed.modality == moving.modality == CT else MUTUAL_INFORMATION


def register_images(
    fixed: ImageVolume,
    moving: ImageVolume,
    targets_mm: ArrayLike | None = None,
    settings: Settings | None = None,
    initial: Array | None = None,
    targets_in: str = "moving",
    tick: Tick = lambda _: None,
) -> ImageRegistration:
    """Register MOVING onto FIXED; targets (k, 3) by default the corners of what both show.

    `targets_in` says whether they are given in "moving" or "fixed"; `initial` (4, 4) maps MOVING into FIXED and is
    one start more. Raises InputError for a volume without a body.
    """
    wanted = settings or Settings()
    kind = wanted.kind or metric_for(fixed, moving)
    given = None if initial is None else invert_rigid(initial)
    ends, starts = search(fixed, moving, kind, given, tick)
    pair = Pair.of(fixed, moving, kind)
    best = highest(pair, ends)
    tick("checking")
    at = best.T_moving_fixed
    T_fixed_moving = invert_rigid(at)
    corners = overlap_corners(fixed, moving, T_fixed_moving)
    given_targets = corners if targets_mm is None else np.asarray(targets_mm, dtype=np.float64).reshape(-1, 3)
    in_fixed = targets_mm is not None and targets_in == "fixed"
    targets = mapped(at, given_targets) if in_fixed else given_targets
    predicted = pair.predicted(best, targets)
    found = Findings.of(pair, best, ends, given, tick)
    checked = found.reasons(wanted)
    checked += _too_uncertain(best, predicted, pair.predicted(best, corners), wanted.limit_mm(kind))
    return ImageRegistration(
        T_fixed_moving,
        kind,
        best.score,
        given_targets,
        "fixed" if in_fixed else "moving",
        predicted,
        tuple(checked),
        tuple(found.warnings()),
        {"starts": starts, "fixed": fixed.facts(), "moving": moving.facts(), **found.as_json()},
    )


def _too_uncertain(best: Peak, at_targets: Array, at_corners: Array, most_mm: float) -> list[str]:
    """Reasons in the predicted errors (mm): a target in the middle must not hide a turn that is not determined."""
    if not best.determined:
        return ["the agreement does not fall in every direction: the transform is not determined"]
    found = []
    if at_targets.max(initial=0.0) > most_mm:
        found.append(f"predicted error up to {at_targets.max():.1f} mm, at most {most_mm:g} allowed")
    elif at_corners.max() > CORNER_FACTOR * most_mm:
        found.append(
            f"predicted error up to {at_corners.max():.1f} mm at the body's borders, "
            f"at most {CORNER_FACTOR * most_mm:g} allowed there"
        )
    return found
