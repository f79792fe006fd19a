"""The bed check: is anything left, what is the least that would have been noticed, and where was not looked.

The order of the findings and the arithmetic behind them: a source significant field-wise over the bed is suspected
whatever the threshold; "none above X" needs MDA and upper limit below X on nearly all of the bed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from navigation.bed import Bed, BedCheck, BedMap, Residual
from navigation.bedwords import reasons_of, statement_of, with_records
from navigation.lagscore import HAND_SPEED_MM_S, LATENCY_BLUR_MM, score_lag
from navigation.nothingtold import why_nothing
from navigation.pointlayer import JointFit, Source, fit_sources
from navigation.profileinterval import activity_interval
from navigation.reconstruction.live import ScanState
from navigation.reconstruction.maps import EXAMINED_RATIO
from navigation.saturation import blinded
from navigation.shadow import Shading, shading
from navigation.spots import (
    Z95,
    Thresholds,
    budget_of,
    guarded_significance,
    needed_gain,
    nuisance_of,
)
from navigation.surface import Surface
from navigation.uncertainty import ScoreMap, field_thresholds, score_map
from tracking.errors import InputError

Array = NDArray[np.float64]

# Field-wise level over the bed at which a source is suspected.
BED_LEVEL = 0.05
# "none-above" needs this share of the bed, and no uncovered patch wider than this.
NEEDED_SHARE, WIDEST_PATCH_MM = 0.99, 5.0
PARTLY_SHARE = 0.5
# Voxels of the bed: finer than its depth and than the widest patch.
BED_VOXEL_MM = 2.0
# How far beside a touched point the bed reaches: points are touched some 7 mm apart.
BESIDE_MM = 5.0
# A source this close to the bed belongs to it: within it, or where placement cannot tell.
BED_MARGIN_MM = 5.0
# A source placed worse than this is not the bed's for that reason alone.
WIDEST_MARGIN_MM = 10.0
# A bed farther than this from every pose of the probe was not scanned at all.
OUT_OF_REACH_MM = 80.0
# Relative uncertainty of the local sensitivity (scale, depth of the wall, pose), one standard deviation.
SENSITIVITY_SYSTEMATIC = 0.08
MOST_RESIDUALS = 4
# Activity before the resection is counted within this distance of the later bed.
BEFORE_REACH_MM = 25.0
SCAN_NEXT = 3


def check_bed(
    state: ScanState,
    bed: Bed,
    threshold_kbq: float,
    confidence: float = 0.95,
    before: ScanState | None = None,
    before_decay: float = 1.0,
) -> BedCheck:
    """What the scan says about the bed, with the map of the bed it rests on.

    `before_decay` brings activities of the scan `before` to the reference time of this one.

    Raises InputError when the outlined points make no surface or enclose no tissue.
    """
    points = bed_voxels(state, bed)
    fit, significances, scores = _residuals(state, points)
    residuals = _reported(state, fit, significances)
    quantile = float(norm.ppf(confidence))
    response = state.setup.response
    inflate = 1.0 + quantile * float(np.hypot(SENSITIVITY_SYSTEMATIC, response.systematic_relative_sd))
    shade = _shading(state, points, fit, {index for index, _ in significances})
    blind = _blinded(state, points)
    lost, widened = blind | shade.untold, inflate * shade.error
    mda = np.where(lost, np.inf, scores.mda_kbq * widened)
    limit = np.where(lost, np.inf, scores.upper_limit_kbq(quantile) * widened)
    covered = (mda <= threshold_kbq) & (limit < threshold_kbq)
    shadowed = shade.shadowed(covered) & ~blind
    share = float(covered.mean()) if len(covered) else 0.0
    widest = widest_patch(points, covered)
    reach = float(np.asarray(cKDTree(points).query(state.problem.readings.mid_poses[:, :3, 3])[0]).min())
    reasons = reasons_of(
        state.result,
        state.geometry.surface_source,
        share,
        reach > OUT_OF_REACH_MM,
        float(blind.mean()),
        float(shadowed.mean()),
    )
    blocked = _blocked(state)
    finding = _finding(bool(residuals), share, widest, blocked)
    removed, interval = (None, None) if before is None else _removed(before, bed, residuals, before_decay)
    return BedCheck(
        finding=finding,
        threshold_kbq=threshold_kbq,
        confidence=confidence,
        covered_fraction=share,
        largest_uncovered_mm=widest,
        mda_kbq=_bulk(mda),
        max_upper_limit_kbq=_bulk(limit),
        residuals=residuals,
        scan_next_mm=_scan_next(points, covered),
        statement=with_records(
            statement_of(finding, threshold_kbq, confidence, share, widest, residuals, _bulk(mda), blocked),
            state.result.records,
        ),
        reasons=reasons,
        rules=classical_rules(state, bed, before, before_decay),
        removed_kbq=removed,
        removed_ci95_kbq=interval,
        bed_map=BedMap(points, mda, limit, covered),
        given=state.result.given,
        records=state.result.records,
        samples_placed=state.result.samples_placed,
        samples_saturated=state.result.samples_saturated,
        saturated_fraction=float(blind.mean()),
        shadowed_fraction=float(shadowed.mean()),
    )


def _blinded(state: ScanState, points: Array) -> NDArray[np.bool_]:
    """Which places of the bed (m,) saturated samples leave without a limit."""
    data = state.problem.data
    if not data.n_saturated:
        return np.zeros(len(points), dtype=bool)
    return blinded(state.problem.rows(points), data)


def _shading(state: ScanState, points: Array, fit: JointFit, suspected: set[int]) -> Shading:
    """By how much sources beside the bed widen what is open in it."""
    beside = [s for i, s in enumerate(fit.sources) if i not in suspected]
    known = fit_sources(state.problem, beside, fit.background, state.found.precision, fixed=True)
    return shading(state.problem, known, state.found.precision, state.problem.rows(points))


def bed_voxels(state: ScanState, bed: Bed) -> Array:
    """Centres (m, 3) of the tissue within `depth_mm` behind the outlined points."""
    surface = Surface.from_points(bed.points_mm, state.problem.readings.mid_poses)
    tree = cKDTree(bed.points_mm)
    low, high = bed.points_mm.min(axis=0) - bed.depth_mm, bed.points_mm.max(axis=0) + bed.depth_mm
    axes = [np.arange(low[a], high[a] + BED_VOXEL_MM, BED_VOXEL_MM) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    distance = np.asarray(tree.query(points)[0])
    near = distance <= np.hypot(bed.depth_mm, BESIDE_MM)
    points, distance = points[near], distance[near]
    behind = -surface.signed_distance(points)
    beside = np.sqrt(np.maximum(distance**2 - behind**2, 0.0))
    inside: Array = points[(behind >= 0.0) & (behind <= bed.depth_mm) & (beside <= BESIDE_MM)]
    if len(inside) == 0:
        raise InputError("the outlined bed encloses no tissue behind its surface")
    return inside


def widest_patch(points_mm: Array, covered: NDArray[np.bool_]) -> float:
    """Width in mm of the widest uncovered patch: twice the largest distance of an uncovered place to a covered one."""
    if covered.all():
        return 0.0
    if not covered.any():
        return float(np.linalg.norm(points_mm.max(axis=0) - points_mm.min(axis=0))) if len(points_mm) else 0.0
    return 2.0 * float(np.max(cKDTree(points_mm[covered]).query(points_mm[~covered])[0]))


def _residuals(state: ScanState, points: Array) -> tuple[JointFit, list[tuple[int, float]], ScoreMap]:
    """Sources in the bed: (index in the fit, significance) of each, and the scores beyond them.

    Sources beside the bed stay free in those scores: counts they may have taken from the bed widen its limits.
    """
    problem, precision = state.problem, state.found.precision
    tree = cKDTree(points)
    outside = [s for i, s in enumerate(state.found.fit.sources) if not _belongs(state.found.fit, i, tree)]
    fit = fit_sources(problem, outside, state.found.fit.background, precision, fixed=True)
    rows = problem.rows(points).astype(np.float32)
    (threshold,) = field_thresholds(rows, nuisance_of(problem, fit, precision), (BED_LEVEL,))
    found: list[tuple[int, float]] = []
    for _ in range(MOST_RESIDUALS):
        scores = score_map(rows, nuisance_of(problem, fit, precision))
        statistic = guarded_significance(problem, scores, fit, rows)
        best = int(np.argmax(statistic))
        if statistic[best] < threshold:
            break
        start = Source(points[best], max(float(scores.score[best] / scores.information[best]), 1e-3))
        grown = fit_sources(problem, [*fit.sources, start], fit.background, precision)
        gain = 2 * (grown.objective - fit.objective)
        if gain < needed_gain(problem, grown, -1, Thresholds(threshold, threshold)):
            break
        fit = grown
        if _belongs(fit, len(fit.sources) - 1, tree):
            found.append((len(fit.sources) - 1, float(np.sqrt(max(gain, 0.0)))))
    suspected = {index for index, _ in found}
    beside = [i for i in range(len(fit.sources)) if i not in suspected]
    return fit, found, score_map(rows, nuisance_of(problem, fit, precision, beside))


def _belongs(fit: JointFit, index: int, tree: cKDTree) -> bool:
    """Whether a source lies in the bed, or so near that its place cannot tell."""
    sd = float(np.sqrt(np.linalg.eigvalsh(fit.block(index)[:3, :3])[-1]))
    distance = float(np.asarray(tree.query(fit.sources[index].position_mm)[0]))
    return distance <= BED_MARGIN_MM + min(sd, WIDEST_MARGIN_MM)


def _reported(
    state: ScanState, fit: JointFit, significances: list[tuple[int, float]]
) -> tuple[Residual, ...]:
    residuals = []
    for index, significance in significances:
        source = fit.sources[index]
        budget = budget_of(state.problem, fit, index, significance)
        interval = activity_interval(state.problem, fit, state.found.precision, index, budget)
        residuals.append(Residual(source.position_mm, source.activity_kbq, interval, significance))
    return tuple(sorted(residuals, key=lambda r: -r.significance))


def _finding(suspected: bool, share: float, widest: float, blocked: str | None) -> str:
    if suspected:
        return "residual-suspected"
    if blocked is not None:
        return "not-assessed"
    if share >= NEEDED_SHARE and widest <= WIDEST_PATCH_MM:
        return "none-above"
    return "partly-assessed" if share >= PARTLY_SHARE else "not-assessed"


def _blocked(state: ScanState) -> str | None:
    """What forbids any statement on absence, however much was examined."""
    if (nothing := why_nothing(state.problem.data)) is not None:
        return nothing
    if state.geometry.surface_source == "path":
        return "without a touched surface or a CT the probe's path is no surface"
    if state.setup.spill is not None and state.setup.spill.doubt is not None:
        return state.setup.spill.doubt
    goodness = state.result.goodness
    fault = latency_fault(state)
    if fault is None and goodness is not None and goodness.flagged:
        return goodness.reasons[0]
    return fault


def latency_fault(state: ScanState) -> str | None:
    """Why the places of the counts are not to be trusted: a latency that is open, or that the counts contradict."""
    found, interval = state.found, state.result.count_latency_ci95_s
    half_s = 1.96 * found.fit.latency_sd_s
    if interval is not None:
        half_s = max(half_s, (interval[1] - interval[0]) / 2)
    if half_s * HAND_SPEED_MM_S > LATENCY_BLUR_MM:
        return "the count latency is not known well enough"
    if state.result.count_latency_s < 0.0:
        return "the tracker's stamps are later than the counter's"
    shift_s = found.fit.latency_shift_s
    if abs(shift_s) * HAND_SPEED_MM_S > LATENCY_BLUR_MM:
        return f"the counts were placed {1000 * abs(shift_s):.0f} ms beside the latency they tell themselves"
    lag = score_lag(state.problem, found.fit, found.precision, state.setup.latency_sd_s)
    return lag.words if lag is not None and lag.rejects() else None


def _bulk(values: Array) -> float | None:
    """The value that NEEDED_SHARE of the bed does not exceed; None where so much was not examined at all."""
    if len(values) == 0:
        return None
    value = float(np.quantile(values, NEEDED_SHARE, method="higher"))
    return value if np.isfinite(value) and value <= EXAMINED_RATIO * float(values.min()) else None


def _scan_next(points: Array, covered: NDArray[np.bool_]) -> tuple[tuple[float, float, float], ...]:
    """Up to SCAN_NEXT uncovered places, far from what is covered and from each other."""
    rest, done = points[~covered], points[covered]
    chosen: list[tuple[float, float, float]] = []
    while len(rest) and len(chosen) < SCAN_NEXT:
        inwards = -np.linalg.norm(rest - rest.mean(axis=0), axis=1)
        distance = np.asarray(cKDTree(done).query(rest)[0] if len(done) else inwards)
        best = int(np.argmax(distance))
        if len(done) and distance[best] <= WIDEST_PATCH_MM / 2 and chosen:
            break
        x, y, z = (float(v) for v in rest[best])
        chosen.append((x, y, z))
        done = np.concatenate([done, rest[best : best + 1]])
    return tuple(chosen)


def _removed(
    before: ScanState, bed: Bed, residuals: tuple[Residual, ...], decay: float
) -> tuple[float, tuple[float, float]]:
    """Activity near the bed before, less what is suspected now; both at the same reference time."""
    tree = cKDTree(bed.points_mm)
    gone, variance = 0.0, 0.0
    for spot in before.result.spots:
        if spot.quality == "unusable" or tree.query(spot.position_mm)[0] > BEFORE_REACH_MM:
            continue
        gone += decay * spot.activity_kbq
        variance += decay**2 * ((spot.activity_ci95_kbq[1] - spot.activity_ci95_kbq[0]) / (2 * Z95)) ** 2
    for residual in residuals:
        gone -= residual.activity_kbq
        variance += ((residual.ci95_kbq[1] - residual.ci95_kbq[0]) / (2 * Z95)) ** 2
    half = Z95 * float(np.sqrt(variance))
    return gone, (gone - half, gone + half)


def classical_rules(
    state: ScanState, bed: Bed, before: ScanState | None, before_decay: float = 1.0
) -> dict[str, bool | None]:
    """What the usual rules would have called, on one-second counts near the bed; True = positive.

    A hottest count before that was saturated is no figure to take a tenth of: None.
    """
    rate, near = _second_rates(state, bed)
    if not near.any():
        return {"ratio_1_5": None, "three_sigma": None, "ten_percent": None}
    background = float(np.median(rate))
    top = float(rate[near].max())
    ten = None
    if before is not None and not before.problem.data.n_saturated:
        hottest = float(_second_rates(before, bed)[0].max()) - background
        ten = (top - background) > 0.1 * before_decay * hottest if hottest > 0 else None
    return {
        "ratio_1_5": top > 0 and top >= 1.5 * background,
        "three_sigma": top > background + 3.0 * float(np.sqrt(max(background, 1.0))),
        "ten_percent": ten,
    }


def _second_rates(state: ScanState, bed: Bed) -> tuple[Array, NDArray[np.bool_]]:
    """Rates (k,) over consecutive seconds, and whether the probe was near the bed in each."""
    readings = state.problem.readings
    second = np.floor(readings.t_s - readings.t_s[0]).astype(np.int64)
    live = np.bincount(second, readings.live_s)
    counts = np.bincount(second, state.problem.data.lowest)
    distance = cKDTree(bed.points_mm).query(readings.mid_poses[:, :3, 3])[0]
    full = live >= 0.5
    near = np.bincount(second, distance) / np.maximum(np.bincount(second), 1) <= BEFORE_REACH_MM
    return counts[full] / live[full], near[full]
