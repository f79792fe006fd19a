"""What is reported of each source of a fit: place, activity and size with their uncertainties, quality and reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.budget import Budget
from navigation.neighbours import close_pairs, leakage, neighboured, points
from navigation.pointlayer import JointFit, Problem
from navigation.profileinterval import activity_interval
from navigation.saturation import BOUND_SHARE, saturated_share
from navigation.spotbudget import spot_budget
from navigation.spotdepth import depth_of
from navigation.spotquality import Looks, extrapolated_share, quality_of
from navigation.spotridge import ridge_of, weaker
from navigation.spots import Found
from navigation.spotsize import Sizes, sizes_of
from navigation.spotsplit import possible_pair
from navigation.upperlimits import FocusBound, activity_upper, bound_of, extent_of
from navigation.volume import Spot

Array = NDArray[np.float64]

# Standard error of the log activity from which on the ridge along it may be bent.
BENT_LOG_SD = 0.1
# Placement beyond the fit, per axis: tip calibration and touched surface. A tilted axis and the response's other
# errors are part of the fit (`responseerror`).
POSITION_SYSTEMATIC_MM = 0.25
PLACE_SHARE = 0.5


def spots_of(problem: Problem, found: Found, doubts: tuple[str, ...] = ()) -> tuple[Spot, ...]:
    """What is reported of the sources, the most active first."""
    return reported(described(problem, found, doubts), found)


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A source as it may be reported, and the balls that its activity is in: centres (k, 3) and radii (k,) in mm."""

    spot: Spot
    reach: tuple[Array, Array]
    upper_kbq: float  # the most it may hold, one-sided

    def bound(self, voxel_mm: float) -> FocusBound:
        """For limits of voxels of `voxel_mm`."""
        return bound_of(self.reach, self.spot.covariance_mm2, self.upper_kbq, voxel_mm)


def described(problem: Problem, found: Found, doubts: tuple[str, ...] = ()) -> tuple[Described, ...]:
    """Every source in the order of the fit, reported or not."""
    told = []
    for i, (place, size) in enumerate(zip(_places(problem, found), _sizes(problem, found), strict=True)):
        spot, source = _spot(problem, found, i, place, size, doubts), found.fit.sources[i]
        reach = extent_of(source) if source.known is not None else size.reaches()
        upper = max(activity_upper(found.fit, i), spot.activity_ci95_kbq[1])
        told.append(Described(spot, reach, upper))
    return tuple(told)


def reported(told: tuple[Described, ...], found: Found) -> tuple[Spot, ...]:
    """Those that are reported, the most active first.

    A source that is neither significant nor placed stays in the model and out of the report.
    """
    spots = [
        s
        for s in (t.spot for t in told)
        if len(s.reasons) < 2 or s.quality != "unusable" or s.significance >= found.thresholds.report
    ]
    spots.sort(key=lambda s: -s.activity_kbq)
    return tuple(replace(s, id=i + 1) for i, s in enumerate(spots))


def _sizes(problem: Problem, found: Found) -> list[Sizes]:
    """What sizes each source may have; while the scan goes on the one it has."""
    indices = range(len(found.fit.sources))
    if not found.final:
        return [Sizes(i, (found.fit,), np.ones(1)) for i in indices]
    return [sizes_of(problem, found.fit, found.precision, i) for i in indices]


def _places(problem: Problem, found: Found) -> list[Array]:
    """Covariance (3, 3) of each source's place; of a weak one, and of two that are close, bent as their ridge is."""
    fit = found.fit
    places = [fit.block(i)[:3, :3] for i in range(len(fit.sources))]
    if not found.final:
        return places
    pairs = close_pairs(fit)
    paired = {i for pair in pairs for i in pair}
    alone = [(i, (i,)) for i in points(fit) if i not in paired]
    for held, moved in [*alone, *((weaker(fit, pair), pair) for pair in pairs)]:
        if fit.block(held)[3, 3] <= BENT_LOG_SD**2:
            continue
        ridge = ridge_of(problem, fit, found.precision, held)
        for i in moved:
            places[i] = ridge.covariance(fit, i)
    return places


def _spot(
    problem: Problem, found: Found, index: int, place: Array, size: Sizes, doubts: tuple[str, ...]
) -> Spot:
    source = found.fit.sources[index]
    shift = leakage(problem, found.fit, index)[0]
    # A hot neighbour's model error moves the place as well, by about half as many standard deviations as the activity.
    covariance = place * (1.0 + (PLACE_SHARE * shift) ** 2) + POSITION_SYSTEMATIC_MM**2 * np.eye(3)
    spread, doubt = _possible_pair(problem, found, index)
    covariance = (covariance + covariance.T) / 2 + spread + size.covariance_mm2
    budget = budget_of(problem, found.fit, index, found.significance[index], size.log_sd)
    activity, interval = source.activity_kbq, budget.interval(source.activity_kbq)
    if found.final:
        interval = activity_interval(problem, found.fit, found.precision, index, budget)
    looks = Looks.of(problem, found.fit, index)
    depth = depth_of(problem.projector.tissue, source.position_mm, covariance)
    quality, reasons = quality_of(
        problem, found.fit, index, looks, covariance, budget.relative_sd, None if depth is None else depth[0]
    )
    bound = saturated_share(problem, source)
    told = [doubt] if doubt else []
    if bound > BOUND_SHARE:
        told.append(
            f"lower bound: the counter was saturated for {100 * bound:.0f} % of its counts; it is at least"
            f" {interval[0]:.3g} kBq"
        )
    if source.known is not None:
        told.append(f"{source.known.name}: uptake there may be physiological")
    if (doubts or told) and quality == "ok":
        quality = "limited"
    if found.significance[index] < found.thresholds.report:
        quality = "unusable"
        told.append("not significant at 1 % over the whole field: a hint, not a finding")
    return Spot(
        id=0,
        position_mm=source.position_mm,
        covariance_mm2=covariance,
        extent_mm=2.0 * source.radius_mm,
        activity_kbq=activity,
        activity_ci95_kbq=interval,
        significance=found.significance[index],
        tbr=looks.tbr,
        quality=quality,
        reasons=(*reasons, *told, *doubts),
        budget=budget,
        depth_below_surface_mm=None if depth is None else depth[0],
        depth_sd_mm=None if depth is None else depth[1],
    )


def _possible_pair(problem: Problem, found: Found, index: int) -> tuple[Array, str]:
    """What a source that may be two adds to its covariance (3, 3), and its words; nothing while the scan goes on."""
    pair = None
    if found.final and not neighboured(found.fit, index):
        pair = possible_pair(problem, found.fit, found.precision, index, found.significance[index])
    return (np.zeros((3, 3)), "") if pair is None else pair


def budget_of(problem: Problem, fit: JointFit, index: int, significance: float, size: float = 0.0) -> Budget:
    """What the interval of one source's activity is made of, its neighbours and its place in the response included."""
    leaked = leakage(problem, fit, index)[0] / max(significance, 1.0)
    return spot_budget(problem, fit, index, leaked, extrapolated_share(problem, fit.sources[index]), size)
