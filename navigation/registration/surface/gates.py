"""Why a surface registration may not be used, and what to beware of. Every limit has its name here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from navigation.registration.surface.result import Loose, Rival, Starts
from navigation.registration.surface.starts import REACH_DEG, REACH_MM

Array = NDArray[np.float64]

# Skin touched with a stylus lies within 1 to 2 mm of its CT; more is another patient, another place or cloth.
MAX_RMS_MM = 2.5
# Lifted tips, hair and cloth are some tenths of a trace; if half of it does not fit nothing does.
LEAST_INLIERS, FEW_INLIERS = 0.6, 0.8
# Points off the edge of the surface were touched where the study has no skin.
MOST_BEYOND, MANY_BEYOND = 0.3, 0.05
# A region loose by this (one SD) is 6 mm off in one of ten cases: it is no registration.
LOOSEST_SD_MM = 3.5
# Half of it is told.
LOOSE_SD_MM = 1.5
# Another place must be a hundred times less likely, independent points counted.
RIVAL_LOG_LIKELIHOOD = 4.6
# Nothing further from the start than half again its reach was asked for.
BEYOND_REACH = 1.5
# Landmarks that the surface misses by this were others, or the surface slid.
LANDMARK_MISS_MM = 8.0
# Points deeper than this under a skin are none that was touched from outside.
UNDER_MM, MANY_UNDER = 5.0, 0.1


def reasons_of(
    rms_mm: float,
    inlier_share: float,
    beyond_share: float,
    loose: Sequence[Loose],
    starts: Starts,
    mirror: Rival | None,
    landmark_miss_mm: Array,
    fault: str | None,
    outward_cosine: float | None,
) -> tuple[str, ...]:
    """Reasons that refuse a registration; empty when none does."""
    reasons = [] if fault is None else [fault]
    if outward_cosine is not None and outward_cosine < 0.0:
        reasons.append("the points were touched from the inner side of the surface: it is inside out")
    if rms_mm > MAX_RMS_MM:
        reasons.append(
            f"the touched points lie {rms_mm:.1f} mm (RMS) off the surface, at most {MAX_RMS_MM:g} allowed"
        )
    if inlier_share < LEAST_INLIERS:
        reasons.append(f"only {inlier_share:.0%} of the points fit, at least {LEAST_INLIERS:.0%} needed")
    if beyond_share > MOST_BEYOND:
        reasons.append(f"{beyond_share:.0%} of the points lie beyond the edge of the surface")
    reasons += [
        f"not determined: {each.words} (SD {each.sd_mm:.1f} mm, at most {LOOSEST_SD_MM:g} allowed); {each.guidance}"
        for each in loose
        if each.sd_mm > LOOSEST_SD_MM
    ]
    close = [r for r in starts.rivals if r.log_likelihood < RIVAL_LOG_LIKELIHOOD]
    if close:
        nearest = min(close, key=lambda r: r.log_likelihood)
        reasons.append(
            f"ambiguous: a place {nearest.away_mm:.0f} mm away fits nearly as well ({nearest.rms_mm:.2f} mm RMS)"
        )
    reasons += _far_from_start(starts)
    if mirror is not None and mirror.log_likelihood < -RIVAL_LOG_LIKELIHOOD:
        reasons.append(f"the points are mirrored: their mirror image fits to {mirror.rms_mm:.2f} mm RMS")
    if len(landmark_miss_mm) and landmark_miss_mm.max() > LANDMARK_MISS_MM:
        reasons.append(
            f"a landmark lies {landmark_miss_mm.max():.1f} mm off, at most {LANDMARK_MISS_MM:g} allowed"
        )
    return tuple(reasons)


def _far_from_start(starts: Starts) -> list[str]:
    moved, turned = starts.moved_mm, starts.turned_deg
    if moved is None or turned is None:
        return []
    if moved <= BEYOND_REACH * REACH_MM and turned <= BEYOND_REACH * REACH_DEG:
        return []
    return [
        f"the best place lies {moved:.0f} mm and {turned:.0f} degrees from the start, "
        f"whose reach is {REACH_MM:g} mm and {REACH_DEG:g} degrees"
    ]


def warnings_of(
    inlier_share: float,
    beyond_share: float,
    under_share: float,
    loose: Sequence[Loose],
    mirror: Rival | None,
    starts: Starts,
    oriented: bool,
) -> tuple[str, ...]:
    """What does not refuse a registration and has to be known."""
    warnings = []
    if LEAST_INLIERS <= inlier_share < FEW_INLIERS:
        warnings.append(f"{1.0 - inlier_share:.0%} of the points do not fit and were left out")
    if MANY_BEYOND < beyond_share <= MOST_BEYOND:
        warnings.append(
            f"{beyond_share:.0%} of the points lie beyond the edge of the surface and were left out"
        )
    if under_share > MANY_UNDER:
        warnings.append(f"{under_share:.0%} of the points lie more than {UNDER_MM:g} mm under the surface")
    warnings += [
        f"weakly determined: {each.words} (SD {each.sd_mm:.1f} mm); {each.guidance}"
        for each in loose
        if LOOSE_SD_MM < each.sd_mm <= LOOSEST_SD_MM
    ]
    if mirror is not None and abs(mirror.log_likelihood) <= RIVAL_LOG_LIKELIHOOD:
        warnings.append("the shape is symmetric: mirrored points would not be noticed")
    if starts.initial == "none":
        warnings.append("found without a start, by the shape alone: check it at a landmark")
    if not oriented:
        warnings.append("nothing tells which side of the surface is outside")
    return tuple(warnings)
