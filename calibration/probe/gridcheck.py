"""Whether the points of a grid can be one probe's response: told before the fit, and from how they agree with it.

A factor of a thousand is a unit, a point that is there twice is a slip of the table, and points that disagree with
their own repeats or by the activity they were measured with are not of one source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.gates import DetectorGates
from calibration.probe.gridfit import Grid

Array = NDArray[np.float64]

# Where the sensitivity is compared, mm in front of the face, and the recess that carries other distances there.
COMPARED_AT_MM, COMMON_RECESS_MM = 30.0, 10.0
# Points this near the axis, in shares of their distance, see what a point on it sees.
NEAR_AXIS = 0.1
# A unit's factor, and how near to it a figure must come to be called by its name.
UNIT = 1000.0
# No detector in front of a source catches more than half of its photons.
HALF_SPACE = 0.5
# Repeats of one place, or the points of one activity, may differ by this share (setting the source anew, its assay)
# and by so many standard deviations of their counts.
REPEAT_SHARE, ACTIVITY_SHARE, SIGMAS = 0.03, 0.02, 5.0
# Below so many counts two honest measurements are often alike.
TELLING_COUNTS = 10.0


def refusals(grid: Grid, photons_per_decay: float, gates: DetectorGates) -> list[str]:
    """Why these data cannot be a calibration, before any fit; empty if they can."""
    reasons = _too_little(grid, gates)
    rate = grid.counts / grid.exposure
    near, far = grid.z_mm <= np.median(grid.z_mm), grid.z_mm > np.median(grid.z_mm)
    if far.any() and near.any() and rate[near].max() <= rate[far].max():
        reasons.append("the rate does not fall with the distance from the face")
    return reasons + _implausible(grid, photons_per_decay, gates) + _repeats(grid)


def _too_little(grid: Grid, gates: DetectorGates) -> list[str]:
    reasons = []
    if len(grid) < gates.min_points:
        reasons.append(f"{len(grid)} points; at least {gates.min_points} are needed")
    if grid.counts.sum() < gates.min_counts:
        reasons.append(f"{grid.counts.sum():.0f} counts in all; at least {gates.min_counts} are needed")
    if len(np.unique(grid.z_mm)) < gates.min_distances:
        reasons.append(f"fewer than {gates.min_distances} distances from the face")
    return reasons


def _implausible(grid: Grid, photons_per_decay: float, gates: DetectorGates) -> list[str]:
    """A sensitivity that no probe has: another unit of the activity or the time."""
    caught = float((grid.counts / grid.exposure).max()) / (1000.0 * photons_per_decay)
    at_30_mm = sensitivity_at_30_mm(grid)
    if at_30_mm is None or at_30_mm == 0.0:
        return []
    too_much = caught > HALF_SPACE or at_30_mm > gates.max_sensitivity
    if not too_much and at_30_mm >= gates.min_sensitivity:
        return []
    unit = ""
    if too_much and _plausible(at_30_mm / UNIT, gates):
        unit = ": is activity_kbq in MBq?"
    elif not too_much and _plausible(at_30_mm * UNIT, gates):
        unit = ": is activity_kbq in Bq?"
    return [f"{at_30_mm:.3g} cps/MBq at {COMPARED_AT_MM:g} mm is no probe's{unit}"]


def _plausible(sensitivity: float, gates: DetectorGates) -> bool:
    return gates.min_sensitivity <= sensitivity <= gates.max_sensitivity


def sensitivity_at_30_mm(grid: Grid) -> float | None:
    """cps/MBq on the axis at 30 mm, carried there from the points nearest to it; None without any near the axis."""
    axial = grid.r_mm <= NEAR_AXIS * (grid.z_mm + COMMON_RECESS_MM)
    if not axial.any():
        return None
    carried = ((grid.z_mm + COMMON_RECESS_MM) / (COMPARED_AT_MM + COMMON_RECESS_MM)) ** 2
    return float(np.median(1000.0 * (carried * grid.counts / grid.exposure)[axial]))


def copies(grid: Grid) -> tuple[int, int] | None:
    """Two points (their places in the table) that agree in every value, which repeated counting does not."""
    seen: dict[tuple[float, ...], int] = {}
    values = np.stack([grid.r_mm, grid.z_mm, grid.counts, grid.live_s, grid.activity_kbq], axis=1)
    for place, row in enumerate(values):
        key = tuple(float(v) for v in row)
        if key in seen and row[2] >= TELLING_COUNTS:
            return seen[key], place
        seen.setdefault(key, place)
    return None


def _repeats(grid: Grid) -> list[str]:
    """Places measured more than once whose rates do not agree."""
    places, group = np.unique(np.stack([grid.r_mm, grid.z_mm], axis=1), axis=0, return_inverse=True)
    group = group.ravel()
    wrong = []
    for k in np.flatnonzero(np.bincount(group) > 1):
        counts, exposure = grid.counts[group == k], grid.exposure[group == k]
        expected = exposure * counts.sum() / exposure.sum()
        spread = np.sqrt(np.maximum(expected, 1.0) + (REPEAT_SHARE * expected) ** 2)
        if (np.abs(counts - expected) > SIGMAS * spread).any():
            wrong.append(f"r {places[k, 0]:g}, z {places[k, 1]:g} mm")
    if not wrong:
        return []
    return [
        f"points measured more than once disagree ({'; '.join(wrong[:3])}): another source, time or place?"
    ]


def disagreeing_activities(grid: Grid, expected: Array) -> list[str]:
    """Points of one activity that count otherwise than those of another, beside what one response foretells (n,)."""
    activities, group = np.unique(grid.activity_kbq, return_inverse=True)
    counts, foretold = np.bincount(group, grid.counts), np.bincount(group, expected)
    if len(activities) == 1 or foretold.sum() <= 0.0:
        return []
    others = (counts.sum() - counts) / np.maximum(foretold.sum() - foretold, 1e-9)
    ratio = counts / np.maximum(foretold * others, 1e-9)
    sd = np.sqrt(1.0 / np.maximum(foretold, 1.0) + ACTIVITY_SHARE**2)
    worst = int(np.argmax(np.abs(ratio - 1.0) / sd))
    if abs(ratio[worst] - 1.0) <= SIGMAS * sd[worst]:
        return []
    return [
        f"points measured with {activities[worst]:g} kBq count {ratio[worst]:.2g} times what the others foretell:"
        " the activities are not consistent"
    ]
