"""Coverage of an outlined bed while it is scanned: what the scan would notice and what it excludes, place by place.

A place is covered where minimum detectable activity and upper limit both lie below the threshold, by the arithmetic of
the map's limits; the finding itself is the bed check's, of the whole scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from navigation.bed import Bed
from navigation.bedplaces import WIDEST_PATCH_MM
from navigation.besidefoci import Beside
from navigation.uncertainty import Nuisance, ScoreMap, score_map
from navigation.upperlimits import total_limit

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Relative uncertainty of the local sensitivity (scale, depth of the wall, pose), one standard deviation: as in the
# bed check.
SENSITIVITY_SYSTEMATIC = 0.08
# A bed is covered when this share of it is, and no uncovered patch is too wide: as in the bed check.
NEEDED_SHARE = 0.99
# A place whose MDA is so many times the bed's best was not seen: as of the map's voxels.
UNSEEN_RATIO = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """The bed that is scanned, and what the scan is to show of it; without a threshold nothing is called covered."""

    bed: Bed
    threshold_kbq: float | None = None
    confidence: float = 0.95

    def to_json(self) -> dict[str, Any]:
        """The figures; the points stand elsewhere."""
        return {
            "threshold_kbq": self.threshold_kbq,
            "depth_mm": self.bed.depth_mm,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True, eq=False)
class ScanNext:
    """Where to look next: `pose` (4, 4) of the tip in Reference, and what a look of a second there is worth.

    `now_kbq` and `then_kbq`: for a bed its worst MDA, None where a place was not seen at all; for a focus its worst
    standard deviation in mm instead. `seconds` is the way there and the look.
    """

    pose: Array
    of: str  # "bed" | "focus"
    now: float | None
    then: float | None
    seconds: float

    @property
    def place_mm(self) -> Array:
        """(3,): where the middle of the face goes, in Reference."""
        return self.pose[:3, 3]

    @property
    def direction(self) -> Array:
        """(3,): unit vector out of the face, in Reference."""
        return self.pose[:3, 2]

    def to_json(self) -> dict[str, Any]:
        """For wire and record."""
        unit = "kbq" if self.of == "bed" else "sd_mm"
        return {
            "of": self.of,
            "place_mm": self.place_mm.tolist(),
            "direction": self.direction.tolist(),
            f"now_{unit}": self.now,
            f"then_{unit}": self.then,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True, eq=False)
class BedCoverage:
    """Of the bed's places (m, 3) mm in Reference: MDA and upper limit (m,) in kBq, inf where the scan says nothing.

    `covered` (m,) is None without a threshold. `readings` is how many it is of, `t_s` when the newest of these was, on
    the scan's clock.
    """

    aim: Aim
    points_mm: Array
    mda_kbq: Array
    limit_kbq: Array
    covered: NDArray[np.bool_] | None
    widest_mm: float | None  # the widest patch that is not covered
    readings: int
    t_s: float
    scan_next: ScanNext | None = None

    @property
    def share(self) -> float | None:
        """Share of the bed that is covered; None without a threshold."""
        return None if self.covered is None else float(self.covered.mean())

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(m,): where the scan says nothing at all."""
        return ~np.isfinite(self.mda_kbq)

    @property
    def worst_kbq(self) -> float | None:
        """What NEEDED_SHARE of the bed's MDA does not exceed; None while that much was not seen."""
        worst = float(np.quantile(self.mda_kbq, NEEDED_SHARE, method="higher"))
        return worst if np.isfinite(worst) else None

    @property
    def reached(self) -> bool:
        """Whether the threshold is reached over the bed; that says nothing of what is in it."""
        share, widest = self.share, self.widest_mm
        return (
            share is not None and widest is not None and share >= NEEDED_SHARE and widest <= WIDEST_PATCH_MM
        )

    def to_json(self) -> Mapping[str, Any]:
        """The figures for wire and screen."""
        return {
            **self.aim.to_json(),
            "covered_fraction": self.share,
            "largest_uncovered_mm": self.widest_mm,
            "worst_mda_kbq": self.worst_kbq,
            "unseen_fraction": float(self.unseen.mean()),
            "readings": self.readings,
            "scan_next": None if self.scan_next is None else self.scan_next.to_json(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Of places (m,): MDA and upper limit in kBq, inf where none is told, and the scores they come from."""

    mda_kbq: Array
    limit_kbq: Array
    scores: ScoreMap


def limits_at(
    points_mm: Array,
    rows: Array32,
    nuisance: Nuisance,
    beside: Beside,
    confidence: float,
    systematic_relative_sd: float,
    blinded: NDArray[np.bool_],
) -> Limits:
    """Of places (m, 3) with rows (n, m): beside the foci, and with what the sensitivity may be off by."""
    quantile = float(norm.ppf(confidence))
    inflate = 1.0 + quantile * float(np.hypot(SENSITIVITY_SYSTEMATIC, systematic_relative_sd))
    scores = score_map(rows, nuisance).dimmed(beside.share(points_mm, rows))
    mda = np.where(blinded, np.inf, inflate * scores.mda_kbq)
    mda = np.where(mda <= UNSEEN_RATIO * float(mda.min(initial=np.inf)), mda, np.inf)
    hidden = np.where(blinded, np.inf, inflate * scores.upper_limit_kbq(quantile))
    return Limits(mda, total_limit(points_mm, hidden, beside.foci, 0.0), scores)
