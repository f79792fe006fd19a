"""The bed check: is anything left, what is the least that would have been noticed, and where was not looked.

The order of the findings and the arithmetic behind them: a source significant field-wise over the bed is suspected
whatever the threshold; "none above X" needs MDA and upper limit below X on nearly all of the bed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from navigation.anchors import Anchors
from navigation.bed import Bed, BedCheck, BedMap, Residual
from navigation.bedplaces import (
    BED_VOXEL_MM,
    WIDEST_PATCH_MM,
    bed_voxels,
    out_of_reach,
    scan_next,
    widest_patch,
)
from navigation.bedrules import Z95, classical_rules, removed_of
from navigation.bedwords import reasons_of, statement_of, with_records
from navigation.besidefoci import Beside
from navigation.lagscore import HAND_SPEED_MM_S, LATENCY_BLUR_MM, score_lag
from navigation.modelfit import UNTESTED
from navigation.neighbours import guarded_significance, needed_gain
from navigation.nothingtold import why_nothing
from navigation.pointlayer import JointFit, Source, fit_sources
from navigation.profileinterval import activity_interval
from navigation.reconstruction.live import ScanState
from navigation.reconstruction.maps import EXAMINED_RATIO
from navigation.saturation import blinded
from navigation.shadow import Shading, shading
from navigation.spotreport import budget_of
from navigation.spots import nuisance_of
from navigation.uncertainty import Nuisance, ScoreMap, Thresholds, field_thresholds, score_map
from navigation.upperlimits import (
    WIDEST_LOG,
    FocusBound,
    activity_upper,
    bound_of,
    extended,
    extent_of,
    total_limit,
)

Array = NDArray[np.float64]

# Field-wise level over the bed at which a source is suspected.
BED_LEVEL = 0.05
# "none-above" needs this share of the bed, and no uncovered patch wider than this.
NEEDED_SHARE = 0.99
PARTLY_SHARE = 0.5
# A source this close to the bed belongs to it: within it, or where placement cannot tell.
BED_MARGIN_MM = 5.0
# A source placed worse than this is not the bed's for that reason alone.
WIDEST_MARGIN_MM = 10.0
# Relative uncertainty of the local sensitivity (scale, depth of the wall, pose), one standard deviation.
SENSITIVITY_SYSTEMATIC = 0.08
MOST_RESIDUALS = 4
# Scatter and natural activity give any working probe more than this over a patient; one that counts less over a whole
# scan looks like a loose cable, and no absence is told by it.
LEAST_CPS = 1.0
# With fewer readings a broken model is flagged too seldom for a statement on absence.
LEAST_TESTED = 40


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
    # The same bits whatever was asked of the scan before.
    state = replace(state, problem=replace(state.problem, anchors=Anchors()))
    points = bed_voxels(state, bed)
    fit, significances, scores = _residuals(state, points)
    residuals = _reported(state, fit, significances)
    told = _places_told(state, points, fit, residuals, scores, confidence)
    covered = (told.mda <= threshold_kbq) & (told.limit < threshold_kbq)
    shadowed = told.shade.shadowed(covered) & ~told.blind
    share = float(covered.mean()) if len(covered) else 0.0
    widest = widest_patch(points, covered)
    blocked = _blocked(state)
    finding = _finding(bool(residuals), share, widest, blocked)
    listed = tuple(sorted(residuals.values(), key=lambda r: -r.significance))
    removed, interval = (None, None) if before is None else removed_of(before, bed, listed, before_decay)
    blind_share, shadowed_share = float(told.blind.mean()), float(shadowed.mean())
    statement = statement_of(
        finding, threshold_kbq, confidence, share, widest, listed, _bulk(told.mda), blocked
    )
    return BedCheck(
        finding=finding,
        threshold_kbq=threshold_kbq,
        confidence=confidence,
        covered_fraction=share,
        largest_uncovered_mm=widest,
        mda_kbq=_bulk(told.mda),
        max_upper_limit_kbq=_bulk(told.limit),
        residuals=listed,
        scan_next_mm=scan_next(points, covered),
        statement=with_records(statement, state.result.records),
        reasons=reasons_of(
            state.result,
            state.geometry.surface_source,
            share,
            out_of_reach(state, points),
            blind_share,
            shadowed_share,
        ),
        rules=classical_rules(state, bed, before, before_decay),
        removed_kbq=removed,
        removed_ci95_kbq=interval,
        bed_map=BedMap(points, told.mda, told.limit, covered),
        given=state.result.given,
        records=state.result.records,
        samples_placed=state.result.samples_placed,
        samples_saturated=state.result.samples_saturated,
        saturated_fraction=blind_share,
        shadowed_fraction=shadowed_share,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Of the bed's places (m,): MDA and upper limit in kBq, inf where none is told, and what keeps it from them."""

    mda: Array
    limit: Array
    blind: NDArray[np.bool_]
    shade: Shading


def _places_told(
    state: ScanState,
    points: Array,
    fit: JointFit,
    residuals: dict[int, Residual],
    scores: ScoreMap,
    confidence: float,
) -> _Told:
    """A place where a source may lie may hold all of it, beyond what could hide there besides."""
    quantile = float(norm.ppf(confidence))
    systematic = float(np.hypot(SENSITIVITY_SYSTEMATIC, state.setup.response.systematic_relative_sd))
    inflate = 1.0 + quantile * systematic
    shade = _shading(state, points, fit, set(residuals))
    blind = _blinded(state, points)
    lost, widened = blind | shade.untold, inflate * shade.error
    mda = np.where(lost, np.inf, scores.mda_kbq * widened)
    hidden = np.where(lost, np.inf, scores.upper_limit_kbq(quantile) * widened)
    region = float(chi2.ppf(confidence, 3))
    foci = tuple(
        replace(
            bound_of(
                extent_of(source),
                fit.block(i)[:3, :3],
                _upper(residuals[i], quantile)
                if i in residuals
                else inflate * activity_upper(fit, i, quantile),
                BED_VOXEL_MM,
            ),
            region=region,
        )
        for i, source in enumerate(fit.sources)
    )
    if residuals:
        # What could hide beside a suspected source: that one's place, activity and response are open as well.
        known = Nuisance(
            state.problem.data, state.problem.background_rows, state.found.precision, fit.rate_cps
        )
        rows = state.problem.rows(points).astype(np.float32)
        share = Beside.of(state.problem, fit, state.found.precision, foci).share(points, rows)
        open_scores = score_map(rows, known).dimmed(share)
        mda = np.maximum(mda, inflate * open_scores.mda_kbq)
        hidden = np.maximum(hidden, inflate * open_scores.upper_limit_kbq(quantile))
    limit = total_limit(points, hidden, foci, 0.0)
    return _Told(mda, limit, blind, shade)


def _upper(residual: Residual, quantile: float) -> float:
    """The most that a suspected source may hold; never less than its 95 % interval says."""
    half = float(np.log(residual.ci95_kbq[1] / residual.activity_kbq))
    return residual.activity_kbq * float(np.exp(min(half * max(quantile / Z95, 1.0), WIDEST_LOG)))


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


def _residuals(state: ScanState, points: Array) -> tuple[JointFit, list[tuple[int, float]], ScoreMap]:
    """Sources in the bed: (index in the fit, significance) of each, and the scores beyond them.

    Sources beside the bed stay free in those scores: counts they may have taken from the bed widen its limits. Points
    in the bed are looked for anew; an extended one that reaches into it is not, and is suspected as it is.
    """
    problem, precision, whole = state.problem, state.found.precision, state.found.fit
    inside = [_belongs(whole, i, focus, points) for i, focus in enumerate(state.beside.foci)]
    kept = [i for i, s in enumerate(whole.sources) if extended(s) or not inside[i]]
    fit = fit_sources(problem, [whole.sources[i] for i in kept], whole.background, precision, fixed=True)
    rows = problem.rows(points).astype(np.float32)
    (threshold,) = field_thresholds(rows, nuisance_of(problem, fit, precision), (BED_LEVEL,))
    found = [(n, state.found.significance[i]) for n, i in enumerate(kept) if inside[i]]
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
        fit, last = grown, len(grown.sources) - 1
        at = bound_of(extent_of(fit.sources[last]), fit.block(last)[:3, :3], 0.0, 0.0)
        if _belongs(fit, last, at, points):
            found.append((last, float(np.sqrt(max(gain, 0.0)))))
    suspected = {index for index, _ in found}
    beside = [i for i in range(len(fit.sources)) if i not in suspected]
    return fit, found, score_map(rows, nuisance_of(problem, fit, precision, beside))


def _belongs(fit: JointFit, index: int, focus: FocusBound, points: Array) -> bool:
    """Whether a source, or a part of an extended one, lies in the bed, or so near that its place cannot tell."""
    sd = float(np.sqrt(np.linalg.eigvalsh(fit.block(index)[:3, :3])[-1]))
    return float(focus.distance(points).min()) <= BED_MARGIN_MM + min(sd, WIDEST_MARGIN_MM)


def _reported(state: ScanState, fit: JointFit, significances: list[tuple[int, float]]) -> dict[int, Residual]:
    """What is suspected, by its index in the fit."""
    residuals = {}
    for index, significance in significances:
        source = fit.sources[index]
        budget = budget_of(state.problem, fit, index, significance)
        interval = activity_interval(state.problem, fit, state.found.precision, index, budget)
        residuals[index] = Residual(source.position_mm, source.activity_kbq, interval, significance)
    return residuals


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
    data = state.problem.data
    if (nothing := why_nothing(data)) is not None:
        return nothing
    rate_cps = float(data.lowest.sum() / data.live_s.sum())
    if rate_cps < LEAST_CPS:
        return f"only {rate_cps:.2g} counts a second in the whole scan: the probe was not seen to work"
    if state.geometry.surface_source == "path":
        return "without a touched surface or a CT the probe's path is no surface"
    if state.setup.spill is not None and state.setup.spill.doubt is not None:
        return state.setup.spill.doubt
    goodness = state.result.goodness
    fault = latency_fault(state)
    if fault is None and goodness is not None and goodness.flagged:
        return goodness.reasons[0]
    few = len(state.problem.decay) < LEAST_TESTED
    if fault is None and goodness is not None and (goodness.p is None or few):
        return UNTESTED
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
