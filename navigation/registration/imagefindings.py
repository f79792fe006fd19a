"""The figures on which a registration of images is accepted or refused, with the limit of each.

Every reason is a sentence with its figure; transforms are `T_moving_fixed`, lengths mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagechecks import (
    Lead,
    Overlap,
    inner_agreement,
    lead,
    lead_over_displaced,
    outline_misfit,
    outline_share,
    overlap_of,
)
from navigation.registration.imagemetric import CORRELATION, MUTUAL_INFORMATION
from navigation.registration.imagepair import Pair
from navigation.registration.imagepeak import Peak, climb
from navigation.registration.imagesearch import (
    End,
    Follower,
    Tick,
    apart_mm,
    best_starts,
    geometric_starts,
)
from navigation.registration.imagevolume import CT, ImageVolume

Array = NDArray[np.float64]

# Patients are laid down again within this of any geometric start; more is another region or a wrong optimum.
MAX_SHIFT_MM = 120.0
MAX_TURN_DEG = 30.0
# Of the smaller body, this share must lie in the other's field, and this volume.
MIN_OVERLAP, MIN_OVERLAP_ML = 0.4, 200.0
# A rival this near, in standard deviations of the difference, could be the right one.
MIN_LEAD_SDS = 3.0
# The lead over displaced copies. Set after simulated studies: a SPECT on its own CT leads by 8.6 and more, on another
# patient's by 3.7 at most; two CTs of one patient lead by 4.9 and more.
MIN_DISPLACED_SDS = {CORRELATION: 3.0, MUTUAL_INFORMATION: 5.0}
# An emission image that lags this far behind its mirror image is mirrored; one nearer leaves the side open, with words.
MIRROR_LEAD_SDS = 2.0
# Half of the outline must show: fewer sides leave a direction to what foci happen to do.
MIN_OUTLINE = 0.5
# Outlines of one patient on two days; clothing and blur take as much of an emission image as one of its voxels.
MAX_MISFIT_MM = 5.0
# Inside one patient, CT numbers go together like this; those of two patients' hardly do.
MIN_INNER_CORRELATION = 0.5
# The predicted error at the worst target that is accepted: a hot spot then lies within its own size.
MAX_PREDICTED_MM = {CORRELATION: 3.0, MUTUAL_INFORMATION: 5.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user may choose; None is what the kind of metric suggests."""

    kind: str | None = None
    max_predicted_mm: float | None = None
    max_shift_mm: float = MAX_SHIFT_MM
    max_turn_deg: float = MAX_TURN_DEG

    def limit_mm(self, kind: str) -> float:
        """Largest accepted predicted error at a target."""
        return self.max_predicted_mm or MAX_PREDICTED_MM[kind]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The figures on which the reasons rest."""

    kind: str
    overlap: Overlap
    shift_mm: float
    turn_deg: float
    displaced: Lead
    rivals: tuple[tuple[Lead, float], ...]
    mirror: Lead
    outline: float | None
    misfit_mm: float | None
    most_misfit_mm: float
    inner: float | None

    @staticmethod
    def of(pair: Pair, best: Peak, ends: Sequence[End], given: Array | None, tick: Tick) -> Findings:
        """The figures of a top among the ends of a search; `given` is the start that the user gave, if any."""
        fixed, moving, at = pair.fixed, pair.moving, best.T_moving_fixed
        statistics = pair.agreement.statistics(at)
        shift, turned = _moved(fixed, moving, at, given)
        displaced = lead_over_displaced(pair.agreement, at, statistics)
        tick("mirrored")
        return Findings(
            pair.agreement.kind,
            overlap_of(fixed, moving, at),
            shift,
            turned,
            displaced,
            tuple(_rivals(pair, at, statistics, ends)),
            _mirror_lead(pair, statistics, tick),
            None if moving.modality == CT else outline_share(fixed, moving, at),
            outline_misfit(fixed, moving, at),
            MAX_MISFIT_MM if pair.agreement.kind == CORRELATION else max(MAX_MISFIT_MM, pair.voxel_mm),
            inner_agreement(fixed, pair.agreement, at) if pair.agreement.kind == CORRELATION else None,
        )

    def reasons(self, wanted: Settings) -> list[str]:
        """Why it may not be used, each a sentence with its figure."""
        return [*self._place(wanted), *self._leads(), *self._outlines()]

    def _place(self, wanted: Settings) -> list[str]:
        found = []
        if self.overlap.share < MIN_OVERLAP or self.overlap.volume_ml < MIN_OVERLAP_ML:
            found.append(
                f"too little overlap: {100 * self.overlap.share:.0f} % of the smaller body, "
                f"{self.overlap.volume_ml:.0f} mL"
            )
        if self.shift_mm > wanted.max_shift_mm:
            found.append(
                f"moved by {self.shift_mm:.0f} mm from every start, at most {wanted.max_shift_mm:g} plausible"
            )
        if self.turn_deg > wanted.max_turn_deg:
            found.append(f"turned by {self.turn_deg:.0f} degrees, at most {wanted.max_turn_deg:g} plausible")
        return found

    def _leads(self) -> list[str]:
        found = []
        if self.displaced.sds < MIN_DISPLACED_SDS[self.kind]:
            found.append("the images agree hardly better than when displaced on purpose")
        near = [mm for rival, mm in self.rivals if rival.sds < MIN_LEAD_SDS]
        if near:
            found.append(f"ambiguous: another transform, {near[0]:.0f} mm away, agrees as well")
        if self.mirror.sds < self._mirror_limit:
            found.append("the mirror image of MOVING agrees better: one of the two may be mirrored")
        return found

    @property
    def _mirror_limit(self) -> float:
        """A mirrored CT must agree worse; that of foci in a symmetric body may agree a little better by chance."""
        return 0.0 if self.kind == CORRELATION else -MIRROR_LEAD_SDS

    def _outlines(self) -> list[str]:
        found = []
        if self.outline is not None and self.outline < MIN_OUTLINE:
            found.append(
                f"MOVING shows the body's outline along {100 * self.outline:.0f} % only: "
                "foci alone do not tell the place"
            )
        if self.misfit_mm is None:
            found.append("no outline of the body within both fields")
        elif self.misfit_mm > self.most_misfit_mm:
            found.append(
                f"the outlines of the bodies lie {self.misfit_mm:.1f} mm apart (median), "
                f"at most {self.most_misfit_mm:.1f} allowed: another patient or posture?"
            )
        if self.inner is not None and self.inner < MIN_INNER_CORRELATION:
            found.append(
                f"inside the bodies the CT numbers hardly go together (correlation {self.inner:.2f}): another patient?"
            )
        return found

    def warnings(self) -> list[str]:
        """Doubts that do not refuse it."""
        found = ["rigid: breathing, bowel and bladder between the two images are not in the predicted error"]
        if self._mirror_limit <= self.mirror.sds < MIN_LEAD_SDS:
            found.append("left and right cannot be told apart by these images: check the side")
        return found

    def as_json(self) -> dict[str, Any]:
        """The figures, for the result."""
        return {
            "overlap": {"share": self.overlap.share, "volume_ml": self.overlap.volume_ml},
            "shift_mm": self.shift_mm,
            "turn_deg": self.turn_deg,
            "lead_over_displaced_sds": _finite(self.displaced.sds),
            "rivals": [{"apart_mm": mm, "lead_sds": _finite(rival.sds)} for rival, mm in self.rivals],
            "lead_over_mirror_sds": _finite(self.mirror.sds),
            "outline_share": self.outline,
            "outline_misfit_mm": self.misfit_mm,
            "inner_correlation": self.inner,
        }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _moved(fixed: ImageVolume, moving: ImageVolume, at: Array, given: Array | None) -> tuple[float, float]:
    """How far (mm) and how much (degrees) the body is moved from the nearest geometric or given start."""
    starts = [s.T_moving_fixed for s in geometric_starts(fixed, moving)]
    starts += [] if given is None else [given]
    centre = fixed.body_centre_mm[None]
    shift = min(apart_mm(at, start, centre) for start in starts)
    turns = [np.trace(at[:3, :3] @ start[:3, :3].T) for start in starts]
    return shift, float(np.degrees(np.arccos(np.clip((max(turns) - 1.0) / 2.0, -1.0, 1.0))))


def _rivals(pair: Pair, at: Array, statistics: Array, ends: Sequence[End]) -> list[tuple[Lead, float]]:
    """The lead over each other end of the search, and how far that lies away."""
    points = pair.fixed.spread_mm
    found = []
    for end in ends:
        away = apart_mm(at, end.T_moving_fixed, points)
        if away > 4.0 * pair.step_mm and pair.agreement.at(end.T_moving_fixed) > -1.0:
            rival = pair.agreement.statistics(end.T_moving_fixed)
            found.append((lead(pair.agreement, statistics, pair.agreement, rival), away))
    return found


def _mirror_lead(pair: Pair, statistics: Array, tick: Tick) -> Lead:
    """The smallest lead over a mirror image: mirrored along any axis, since turns of 180 degrees are not searched."""
    leads = []
    for axis in range(3):
        leads.append(_lead_over(pair, pair.moving.mirrored(axis), statistics))
        tick("mirrored")
    return min(leads, key=lambda found: found.difference)


def _lead_over(pair: Pair, image: ImageVolume, statistics: Array) -> Lead:
    """The lead over another moving volume at the highest place that it finds for itself."""
    kind = pair.agreement.kind
    follow = Follower(pair.fixed, image, kind)
    starts = best_starts(pair.fixed, image, kind, None)[:2]
    end = max((follow(s.T_moving_fixed, s.name, 0) for s in starts), key=lambda e: e.score)
    end = follow(end.T_moving_fixed, end.start, 1)
    rival = pair.against(image)
    top = climb(rival, end.T_moving_fixed, pair.step_mm, halves=False)
    return lead(pair.agreement, statistics, rival, rival.statistics(top.T_moving_fixed))
