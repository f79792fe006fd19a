"""What a scan says about an outlined resection bed: coverage times sensitivity, never "clear".

The order of the findings is fixed: a source significant at a field-wise level is "residual-suspected"
whatever the threshold; "none-above" needs MDA and upper limit below the threshold on nearly all of the bed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.physics.injection import Given
from calibration.records.record import RecordStamp
from navigation.specimen import Balance, Specimen

if TYPE_CHECKING:
    from navigation.bedcompare import Drift


@dataclass(frozen=True, slots=True, eq=False)
class Bed:
    """The bed: points (n, 3) mm in Reference and the tissue within `depth_mm` behind them.

    `wider_mm` is how far beside and behind that it may lie as well: the error of a bed that was not touched.
    """

    points_mm: NDArray[np.float64]
    depth_mm: float
    wider_mm: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """A source in the bed that is significant field-wise."""

    position_mm: NDArray[np.float64]
    activity_kbq: float
    ci95_kbq: tuple[float, float]
    significance: float


@dataclass(frozen=True, slots=True, eq=False)
class BedMap:
    """The bed's voxels (m, 3) with MDA and upper limit (m,) in kBq, and which are covered, or shadowed by a source."""

    points_mm: NDArray[np.float64]
    mda_kbq: NDArray[np.float64]
    upper_limit_kbq: NDArray[np.float64]
    covered: NDArray[np.bool_]
    shadowed: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BedCheck:
    """The finding and what it rests on; lengths mm, activities kBq at the reference time."""

    finding: str  # "residual-suspected" | "none-above" | "partly-assessed" | "not-assessed"
    threshold_kbq: float
    confidence: float
    covered_fraction: float
    largest_uncovered_mm: float
    mda_kbq: float | None
    max_upper_limit_kbq: float | None
    residuals: tuple[Residual, ...]
    scan_next_mm: tuple[tuple[float, float, float], ...]
    statement: str
    reasons: tuple[str, ...]
    rules: dict[str, bool | None]  # ratio_1_5, three_sigma, ten_percent
    removed_kbq: float | None = None
    removed_ci95_kbq: tuple[float, float] | None = None
    bed_map: BedMap | None = None
    samples_placed: int = 0
    samples_saturated: int = 0
    given: Given | None = None  # administered activity at the reference time, where the case tells it
    saturated_fraction: float = 0.0  # share of the bed that saturated samples leave without any limit
    shadowed_fraction: float = 0.0  # share of the bed whose limits rest on a strong source beside it
    reach_kbq: float | None = None  # least threshold that could be stated; None where something forbids it
    needed_s: float | None = (
        None  # what would state the threshold, as near as before; None: it is, or nothing would
    )
    drift: Drift | None = None  # of the background since the scan before
    specimen: Specimen | None = None  # at the scan's reference time
    balance: Balance | None = None  # of what was removed and what the specimen holds
    records: tuple[RecordStamp, ...] = ()  # every calibration it rests on, the detector's first
