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
from navigation.bedcompare import compared, require_comparable
from navigation.bedplaces import (
    BED_VOXEL_MM,
    WIDEST_PATCH_MM,
    bed_voxels,
    out_of_reach,
    places_round,
    reach_of,
    scan_next,
    widest_patch,
)
from navigation.bedreach import seconds_altogether, seconds_at, words
from navigation.bedrules import Z95, classical_rules
from navigation.bedsources import SEARCHED_BEYOND_MM, measured, residuals_in
from navigation.bedwords import reasons_of, statement_of, with_records
from navigation.besidefoci import Beside
from navigation.lagscore import HAND_SPEED_MM_S, LATENCY_BLUR_MM, score_lag
from navigation.modelfit import UNTESTED
from navigation.nothingtold import why_nothing
from navigation.pointlayer import JointFit, fit_sources
from navigation.reconstruction.live import ScanState
from navigation.reconstruction.maps import EXAMINED_RATIO
from navigation.saturation import blinded
from navigation.shadow import Shading, shading
from navigation.specimen import Specimen
from navigation.uncertainty import Nuisance, ScoreMap, score_map
from navigation.upperlimits import (
    WIDEST_LOG,
    activity_upper,
    bound_of,
    extent_of,
    total_limit,
)

Array = NDArray[np.float64]

# "none-above" needs this share of the bed, and no uncovered patch wider than this.
NEEDED_SHARE = 0.99
PARTLY_SHARE = 0.5
# Relative uncertainty of the local sensitivity (scale, depth of the wall, pose), one standard deviation.
SENSITIVITY_SYSTEMATIC = 0.08
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
    specimen: Specimen | None = None,
) -> BedCheck:
    """What the scan says about the bed, with the map of the bed it rests on.

    `before_decay` brings activities of the scan `before` to the reference time of this one; `specimen` is at that.

    Raises InputError when the outlined points make no surface or enclose no tissue, or `before` is of another nuclide
    or place.
    """
    if before is not None:
        require_comparable(before, state, bed)
    # The same bits whatever was asked of the scan before.
    state = replace(state, problem=replace(state.problem, anchors=Anchors()))
    points = bed_voxels(state, bed)
    rows = state.problem.rows(points)
    margin = state.problem.rows(places_round(state, bed, SEARCHED_BEYOND_MM))
    fit, significances, scores = residuals_in(state, points, rows, margin)
    residuals = measured(state, fit, significances)
    told = _places_told(state, points, rows, fit, residuals, scores, confidence)
    check = _stated(state, points, rows, told, residuals, threshold_kbq, confidence, specimen)
    check = _wider(replace(check, rules=classical_rules(state, bed, before, before_decay)), bed)
    return check if before is None else compared(check, state, bed, before, before_decay)


def _stated(
    state: ScanState,
    points: Array,
    rows: Array,
    told: _Told,
    residuals: dict[int, Residual],
    threshold_kbq: float,
    confidence: float,
    specimen: Specimen | None,
) -> BedCheck:
    """The finding at a threshold, its words and its reasons."""
    covered = (told.mda <= threshold_kbq) & (told.limit < threshold_kbq)
    shadowed = told.shade.shadowed(covered) & ~told.blind
    share, widest = float(covered.mean()), widest_patch(points, covered)
    blind_share, shadowed_share = float(told.blind.mean()), float(shadowed.mean())
    blocked, result = _blocked(state), state.result
    finding = _finding(bool(residuals), share, widest, blocked)
    listed = tuple(sorted(residuals.values(), key=lambda r: -r.significance))
    mda, away = _bulk(told.mda), out_of_reach(state, points)
    needed_s, needed = (
        (None, None) if away else _needed(state, points, rows, told, threshold_kbq, finding, blocked)
    )
    statement = statement_of(
        finding, threshold_kbq, confidence, share, widest, listed, mda, blocked, specimen, needed
    )
    return BedCheck(
        finding=finding,
        threshold_kbq=threshold_kbq,
        confidence=confidence,
        covered_fraction=share,
        largest_uncovered_mm=widest,
        mda_kbq=mda,
        max_upper_limit_kbq=_bulk(told.limit),
        residuals=listed,
        scan_next_mm=scan_next(points, covered),
        statement=with_records(statement, result.records),
        reasons=reasons_of(result, state.geometry.surface_source, share, away, blind_share, shadowed_share),
        rules={},
        bed_map=BedMap(points, told.mda, told.limit, covered, shadowed),
        given=result.given,
        records=result.records,
        samples_placed=result.samples_placed,
        samples_saturated=result.samples_saturated,
        saturated_fraction=blind_share,
        shadowed_fraction=shadowed_share,
        reach_kbq=None if residuals or blocked else _reach(points, told),
        needed_s=needed_s,
        specimen=specimen,
    )


def _wider(check: BedCheck, bed: Bed) -> BedCheck:
    """What is told of a bed that was not touched."""
    if bed.wider_mm <= 0.0:
        return check
    told = f"the bed is of the study: taken {bed.wider_mm:.1f} mm wider and deeper, as far as its registration errs"
    return replace(check, reasons=(*check.reasons, told))


def _needed(
    state: ScanState,
    points: Array,
    rows: Array,
    told: _Told,
    threshold_kbq: float,
    finding: str,
    blocked: str | None,
) -> tuple[float | None, str | None]:
    """Seconds that would bring the bed to the threshold, and how that is said; none where time is not what it lacks."""
    if finding in ("none-above", "residual-suspected") or blocked is not None:
        return None, None
    data, rate_cps = state.problem.data, state.found.fit.rate_cps
    worst = np.maximum(told.mda, told.limit)
    lost = told.blind | told.shade.untold
    seconds = np.where(lost, 0.0, seconds_at(rows, data, rate_cps, worst, threshold_kbq))
    altogether = seconds_altogether(points, seconds)
    return altogether, words(altogether)


def _reach(points: Array, told: _Told) -> float | None:
    """Least threshold at which this scan would be told as none above it, rounded against ourselves."""
    least = reach_of(points, np.maximum(told.mda, told.limit), NEEDED_SHARE)
    return None if least is None else float(np.nextafter(least, np.inf))


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
    seen: Array,
    fit: JointFit,
    residuals: dict[int, Residual],
    scores: ScoreMap,
    confidence: float,
) -> _Told:
    """A place where a source may lie may hold all of it, beyond what could hide there besides."""
    quantile = float(norm.ppf(confidence))
    systematic = float(np.hypot(SENSITIVITY_SYSTEMATIC, state.setup.response.systematic_relative_sd))
    inflate = 1.0 + quantile * systematic
    shade = _shading(state, seen, fit, set(residuals))
    blind = _blinded(state, seen)
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
        rows = seen.astype(np.float32)
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


def _blinded(state: ScanState, rows: Array) -> NDArray[np.bool_]:
    """Which places of the bed (m,), with rows (n, m), saturated samples leave without a limit."""
    data = state.problem.data
    if not data.n_saturated:
        return np.zeros(rows.shape[1], dtype=bool)
    return blinded(rows, data)


def _shading(state: ScanState, rows: Array, fit: JointFit, suspected: set[int]) -> Shading:
    """By how much sources beside the bed widen what is open in it."""
    beside = [s for i, s in enumerate(fit.sources) if i not in suspected]
    known = fit_sources(state.problem, beside, fit.background, state.found.precision, fixed=True)
    return shading(state.problem, known, state.found.precision, rows)


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
