"""Foci of activity: found on the score map, placed off the grid, kept only if significant field-wise.

A source is added where the score of the current model is largest and above the maximum statistic's threshold, all
sources are fitted jointly, strong ones may grow into balls, and any that the likelihood does not need is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.budget import Budget
from navigation.likelihood import LinearFit, fit_linear
from navigation.pointlayer import JointFit, Problem, Source, fit_sources
from navigation.profileinterval import activity_interval
from navigation.saturation import BOUND_SHARE, saturated_share
from navigation.spotbudget import spot_budget
from navigation.spotdepth import depth_of
from navigation.spotquality import USABLE_LOG_SD, Looks, extrapolated_share, quality_of
from navigation.spotridge import climbed, ridge_of, weaker
from navigation.spotsplit import best_split, possible_pair
from navigation.uncertainty import (
    LEAST_INFORMATION,
    REPLICATES,
    Nuisance,
    ScoreMap,
    field_thresholds,
    score_map,
)
from navigation.upperlimits import bounds_of
from navigation.volume import Spot

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

MOST_SOURCES = 10
# Field-wise false-positive level at which a source enters the model, and at which it is reported as found.
MODEL_LEVEL, REPORT_LEVEL = 0.05, 0.01
# Stretches of this many readings are ranked for the quiet level, and the share of them that is taken for quiet.
QUIET_READINGS, QUIET_QUANTILE = 10, 0.25
SMALLEST_LEVEL = 1e-3
# Radii that a source significant enough to show its size may take, in mm.
RADII_MM = (0.0, 5.0, 8.0, 12.0, 16.0, 22.0)
# While the scan goes on only a hot organ is worth the time that sizes take.
SIZE_SIGNIFICANCE, LIVE_SIZE_SIGNIFICANCE = 30.0, 120.0
# Gain in log-likelihood (twice) that a size must bring: the 0.1 % quantile of chi2 with one degree of freedom.
SIZE_GAIN = 10.8
# So much above the threshold of what is reported a source may owe its place there to having been refined off the
# search points, and how far from it these are asked.
BORDERLINE, ON_GRID_MM = 1.15, 12.0
# Half of what the refinement is worth on average: a true source is refined as well.
OFF_GRID = 1.02
# Standard error of the log activity from which on the ridge along it may be bent.
BENT_LOG_SD = 0.1
# Two fitted sources this close are one, unless the likelihood insists.
NEIGHBOUR_MM = 25.0
# Significance that an organ of the study must have to be part of the model: its place is no search.
ORGAN_SIGNIFICANCE = 3.0
# Misfit per reading above which the model without more sources explains too little to trust its score.
ROUGH_MISFIT = 2.5
# Shift of the significance by other sources' model error below which a source stands alone.
NO_LEAKAGE = 0.25
# So many times the error that no smooth one explains may make up a source beside a hot one.
BEYOND_DOUBT = 2.0
# Placement beyond the fit, per axis: tip calibration and touched surface. A tilted axis and the response's other
# errors are part of the fit (`responseerror`).
POSITION_SYSTEMATIC_MM = 0.25
PLACE_SHARE = 0.5
Z95 = 1.96
# Prior precision of a place (1/mm2) and of an activity (1/kBq2): keeps what is undetermined finite.
WEAK_PLACE, WEAK_ACTIVITY = 1e-2, 1e-8


def map_nuisance(problem: Problem, found: Found) -> Nuisance:
    """Of the MDA map: the background is free, the sources only make the counts they make.

    With the sources free as well, their own places would be the worst seen of all.
    """
    foci = bounds_of(found.fit)
    return Nuisance(problem.data, problem.background_rows, found.precision, found.fit.rate_cps, foci)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Significances that enter the model and that are reported: field-wise MODEL_LEVEL and REPORT_LEVEL."""

    model: float
    report: float


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The sources of a scan: joint fit, significance of each, the threshold they passed, the null fit."""

    fit: JointFit
    significance: tuple[float, ...]
    thresholds: Thresholds
    null: LinearFit
    precision: Array
    final: bool = (
        False  # the answer, whose intervals are worth the time of a profile, not a state of the display
    )

    def stands(self, index: int) -> bool:
        """Whether the software stands by a source: significant over the field, its activity placed within bounds."""
        log_sd = float(np.sqrt(max(self.fit.block(index)[3, 3], 0.0)))
        return self.significance[index] >= self.thresholds.report and log_sd <= USABLE_LOG_SD

    def nuisance(self, problem: Problem, without: tuple[int, ...] = ()) -> Nuisance:
        """Background and all sources but some, as nuisance of a further source."""
        kept = [s for i, s in enumerate(self.fit.sources) if i not in without]
        if len(kept) == len(self.fit.sources):
            return nuisance_of(problem, self.fit, self.precision)
        fit = fit_sources(problem, kept, self.fit.background, self.precision, fixed=True)
        return nuisance_of(problem, fit, self.precision)


def fit_background(problem: Problem) -> tuple[LinearFit, Array]:
    """Level and modulations without any source; the prior of the modulations is relative to a quiet level."""
    quiet = quiet_level(problem)
    precision = problem.background.precision(quiet)
    start = np.zeros(len(precision))
    start[0] = quiet
    fitted = fit_linear(problem.data, problem.background_rows, precision, start)
    if misfit(problem, fitted.rate_cps) <= ROUGH_MISFIT:
        return fitted, precision
    # A background bent to explain a hot focus explains nothing: keep the quiet level and let the focus be found.
    rate = problem.background_rows @ start
    return LinearFit(start, rate, fitted.covariance, problem.data.log_likelihood(rate)), precision


def quiet_level(problem: Problem) -> float:
    """Uniform concentration in kBq/mL that the quieter stretches of the scan show: a hot focus does not raise it."""
    expected = problem.background_rows[:, 0] * problem.data.live_s
    bins = max(len(expected) // QUIET_READINGS, 1)
    data = problem.data
    beside = 0.0 if data.known is None else data.live_s * data.known.cps
    counts = np.array([max(c.sum(), 0.0) for c in np.array_split(data.counts - beside, bins)])
    exposure = np.array([e.sum() for e in np.array_split(expected, bins)])
    seen = exposure > 0
    if not seen.any():
        return SMALLEST_LEVEL
    return max(float(np.quantile(counts[seen] / exposure[seen], QUIET_QUANTILE)), SMALLEST_LEVEL)


def nuisance_of(problem: Problem, fit: JointFit, precision: Array, free: list[int] | None = None) -> Nuisance:
    """Design of what is fitted besides: background modes, and gradient and activity of each source in `free` (all)."""
    chosen = list(range(len(fit.sources))) if free is None else free
    if not chosen:
        return Nuisance(problem.data, problem.background_rows, precision, fit.rate_cps)
    sources = [fit.sources[i] for i in chosen]
    rows = problem.source_rows(sources)
    columns = [problem.background_rows]
    for i, source in enumerate(sources):
        r = rows[:, 7 * i : 7 * i + 7]
        columns += [source.activity_kbq * (r[:, 2::2] - r[:, 1:6:2]), r[:, :1]]
    design = np.concatenate([*columns, fit.error_columns], axis=1)
    # A weak prior keeps undetermined directions of a source finite.
    weak = np.array([[max(WEAK_PLACE, s.place_precision)] * 3 + [WEAK_ACTIVITY] for s in sources]).ravel()
    errors = np.ones(fit.error_columns.shape[1])
    return Nuisance(problem.data, design, np.concatenate([precision, weak, errors]), fit.rate_cps)


def thresholds_of(problem: Problem, rows: Array32, replicates: int = REPLICATES) -> Thresholds:
    """Thresholds of the maximum over candidate rows (n, m), by redrawing the counts of a scan without a source."""
    null, precision = fit_background(problem)
    plain = Nuisance(problem.data, problem.background_rows, precision, null.rate_cps)
    return Thresholds(*field_thresholds(rows, plain, (MODEL_LEVEL, REPORT_LEVEL), replicates))


def find(
    problem: Problem,
    points_mm: Array,
    rows: Array32,
    thresholds: Thresholds,
    most: int = MOST_SOURCES,
    prune: bool = True,
) -> Found:
    """Sources in the field of the candidate points (m, 3) with rows (n, m) float32, decay included.

    Without `prune` the significance of a source is its gain when it was added: quicker, and all the display needs.
    """
    null, precision = fit_background(problem)
    fit, gains = _organs_first(problem, null, precision)
    while len(fit.sources) < most + len(problem.organs):
        grown = _grow(problem, fit, precision, points_mm, rows, thresholds)
        if grown is None and prune:
            grown = _divide(problem, fit, precision, thresholds)
        if grown is None:
            break
        gains.append(float(np.sqrt(2 * (grown.objective - fit.objective))))
        precision = problem.background.precision(max(float(grown.background[0]), SMALLEST_LEVEL))
        fit = _sized(problem, grown, precision, SIZE_SIGNIFICANCE if prune else LIVE_SIZE_SIGNIFICANCE)
    significance = tuple(gains)
    if prune:
        for pair in _close_pairs(fit):
            fit = climbed(problem, fit, precision, weaker(fit, pair))
        fit, significance = _prune(problem, fit, precision, thresholds)
        significance = tuple(
            _on_grid(problem, fit, precision, i, points_mm, rows)
            if thresholds.report <= s < BORDERLINE * thresholds.report and not _neighboured(fit, i)
            else s
            for i, s in enumerate(significance)
        )
    return Found(fit, significance, thresholds, null, precision, final=prune)


def _organs_first(problem: Problem, null: LinearFit, precision: Array) -> tuple[JointFit, list[float]]:
    """The organs of a study that the scan sees, the nearest first, and what each is worth."""
    fit = fit_sources(problem, [], null.theta, precision)
    gains: list[float] = []
    for start in _starts(problem, fit):
        grown = fit_sources(problem, [*fit.sources, start], fit.background, precision)
        gain = 2 * (grown.objective - fit.objective)
        if gain > ORGAN_SIGNIFICANCE**2:
            fit = grown
            gains.append(float(np.sqrt(gain)))
    return fit, gains


def _starts(problem: Problem, fit: JointFit) -> list[Source]:
    """Each organ with the activity that would explain most of the counts beyond the background."""
    score, information = problem.data.weights(fit.rate_cps)
    found = []
    for organ in problem.organs:
        radius = float(np.sqrt(5.0 / 3.0 * (organ.shares @ (organ.offsets_mm**2).sum(axis=1))))
        start = Source(organ.place_mm, 1.0, radius, organ)
        row = problem.source_rows([start])[:, 0]
        seen = float(information @ row**2)
        if seen > LEAST_INFORMATION and float(score @ row) > 0.0:
            found.append(
                (float(score @ row) / np.sqrt(seen), replace(start, activity_kbq=float(score @ row) / seen))
            )
    return [start for _, start in sorted(found, key=lambda f: -f[0])]


def _grow(
    problem: Problem, fit: JointFit, precision: Array, points_mm: Array, rows: Array32, thresholds: Thresholds
) -> JointFit | None:
    """One more source where the score is largest; None when nothing is significant.

    Beside a source that is there already it must be fit to be reported, and more than mend the model.
    """
    start = _candidate(problem, fit, precision, points_mm, rows, thresholds)
    if start is None:
        return None
    trial = fit_sources(problem, [*fit.sources, start], fit.background, precision)
    needed = needed_gain(problem, trial, -1, thresholds)
    return trial if 2 * (trial.objective - fit.objective) > needed else None


def _divide(problem: Problem, fit: JointFit, precision: Array, thresholds: Thresholds) -> JointFit | None:
    """Two points in the place of one where the counts insist as on any other focus; None where they do nowhere."""
    best, most = None, 0.0
    for index, source in enumerate(fit.sources):
        if source.known is not None or source.radius_mm > 0.0:
            continue
        trial = best_split(problem, fit, precision, index)
        if trial is None:
            continue
        needed = max(needed_gain(problem, trial, half, thresholds) for half in (-1, -2))
        spare = 2 * (trial.objective - fit.objective) - needed
        if spare > most:
            best, most = trial, spare
    return best


def _candidate(
    problem: Problem, fit: JointFit, precision: Array, points_mm: Array, rows: Array32, thresholds: Thresholds
) -> Source | None:
    """Where the next source is to be tried, and how strong."""
    if misfit(problem, fit.rate_cps) > ROUGH_MISFIT:
        return _rough_candidate(problem, fit, points_mm, rows)
    scores = score_map(rows, nuisance_of(problem, fit, precision))
    statistic = guarded_significance(problem, scores, fit, rows)
    best = int(np.argmax(statistic))
    if not statistic[best] >= thresholds.model:
        return None
    return Source(points_mm[best], max(float(scores.score[best] / scores.information[best]), 1e-3))


def _rough_candidate(problem: Problem, fit: JointFit, points_mm: Array, rows: Array32) -> Source | None:
    """While the model explains little, the score at it misleads: least squares with the data's own variance."""
    expected, slope = problem.data.expected(fit.rate_cps), problem.data.slope(fit.rate_cps)
    variance = np.maximum(expected, problem.data.lowest)
    score = (slope * problem.data.excess(fit.rate_cps) / variance).astype(np.float32) @ rows
    information = np.einsum("nm,nm->m", rows, rows * (slope**2 / variance).astype(np.float32)[:, None])
    seen = information > LEAST_INFORMATION
    statistic = np.where(seen, score / np.sqrt(np.where(seen, information, 1.0)), -np.inf)
    best = int(np.argmax(statistic))
    if not statistic[best] > 0:
        return None
    return Source(points_mm[best], max(float(score[best] / information[best]), 1e-3))


def misfit(problem: Problem, rate_cps: Array) -> float:
    """Pearson chi2 per reading."""
    expected = problem.data.expected(rate_cps)
    return float(np.mean(problem.data.excess(rate_cps) ** 2 / expected))


def needed_gain(problem: Problem, fit: JointFit, index: int, thresholds: Thresholds) -> float:
    """Twice the log-likelihood that a source must be worth beside others whose counts the model may get wrong."""
    bias, inflation = _leakage(problem, fit, index)
    bias *= BEYOND_DOUBT
    beside = bias > NO_LEAKAGE
    return ((thresholds.report if beside else thresholds.model) * inflation + bias * inflation) ** 2


def _leakage(problem: Problem, fit: JointFit, index: int) -> tuple[float, float]:
    """What the model error of the other sources does to the significance of one.

    First the shift if the error were the same in all readings, then the factor on the standard deviation if it were
    independent from reading to reading; the truth lies between, so both are asked for.
    """
    rows = problem.source_rows(list(fit.sources))[:, ::7]
    own = rows[:, index]
    error = np.delete(problem.unmodelled_error(list(fit.sources), rows), index % len(fit.sources), axis=1)
    _, information = problem.data.weights(fit.rate_cps)
    strength = float(information @ own**2)
    if strength <= LEAST_INFORMATION:
        return np.inf, np.inf
    shift = float((information * own) @ error.sum(axis=1)) / float(np.sqrt(strength))
    spread = float((information**2 * own**2) @ (error**2).sum(axis=1)) / strength
    return shift, float(np.sqrt(1.0 + spread))


def guarded_significance(problem: Problem, scores: ScoreMap, fit: JointFit, rows: Array32) -> Array:
    """Score statistic with the model error of strong sources in its variance."""
    if not fit.sources:
        return scores.significance
    _, information = problem.data.weights(fit.rate_cps)
    sources = list(fit.sources)
    error = problem.unmodelled_error(sources, problem.source_rows(sources)[:, ::7])
    excess = information**2 * (error**2).sum(axis=1)
    extra = np.einsum("nm,nm->m", rows, rows * excess.astype(np.float32)[:, None], dtype=np.float64)
    return scores.guarded(extra)


def _sized(problem: Problem, fit: JointFit, precision: Array, significance: float) -> JointFit:
    """Let strong sources grow or shrink by a step while the likelihood gains enough."""
    for index in range(len(fit.sources)):
        if fit.sources[index].known is not None or _strength(problem, fit, index) < significance:
            continue
        for direction in (1, -1):
            fit = _resized(problem, fit, precision, index, direction)
    return fit


def _strength(problem: Problem, fit: JointFit, index: int) -> float:
    """In how many standard deviations the counts of one source show, were all else known."""
    own = problem.source_rows([fit.sources[index]])[:, 0] * fit.sources[index].activity_kbq
    return float(np.sqrt(problem.data.weights(fit.rate_cps)[1] @ own**2))


def _resized(problem: Problem, fit: JointFit, precision: Array, index: int, direction: int) -> JointFit:
    """The best radius in one direction, as long as each step gains; to be a ball at all must pay SIZE_GAIN."""
    start = RADII_MM.index(fit.sources[index].radius_mm)
    best = fit
    for radius in RADII_MM[start + 1 :] if direction > 0 else RADII_MM[:start][::-1]:
        sources = list(best.sources)
        sources[index] = replace(sources[index], radius_mm=radius)
        trial = fit_sources(problem, sources, best.background, precision)
        if trial.objective <= best.objective:
            break
        best = trial
    needed = SIZE_GAIN if start == 0 else 0.0
    return best if 2 * (best.objective - fit.objective) > needed else fit


def _prune(
    problem: Problem, fit: JointFit, precision: Array, thresholds: Thresholds
) -> tuple[JointFit, tuple[float, ...]]:
    """Drop the least needed source until all are needed; returns the significance of each."""
    while fit.sources:
        trials = [_without(problem, fit, precision, i) for i in range(len(fit.sources))]
        gains = [2 * max(fit.objective - t.objective, 0.0) for t in trials]
        spare = [g - needed_gain(problem, fit, i, thresholds) for i, g in enumerate(gains)]
        weakest = int(np.argmin(spare))
        if spare[weakest] >= 0:
            return fit, tuple(float(np.sqrt(g)) for g in gains)
        fit = fit_sources(problem, list(trials[weakest].sources), trials[weakest].background, precision)
    return fit, ()


def _without(problem: Problem, fit: JointFit, precision: Array, index: int) -> JointFit:
    """The best model without one source; neighbours may move to take its place."""
    kept = [s for i, s in enumerate(fit.sources) if i != index]
    near = _neighboured(fit, index)
    trial = fit_sources(problem, kept, fit.background, precision, fixed=not near)
    # Two foci may be one that is extended.
    return _sized(problem, trial, precision, SIZE_SIGNIFICANCE) if near else trial


def _neighboured(fit: JointFit, index: int) -> bool:
    """Whether another source is near enough to take a part of this one's counts."""
    place = fit.sources[index].position_mm
    others = [s for i, s in enumerate(fit.sources) if i != index]
    return any(np.linalg.norm(s.position_mm - place) < NEIGHBOUR_MM + s.radius_mm for s in others)


def _on_grid(
    problem: Problem, fit: JointFit, precision: Array, index: int, points_mm: Array, rows: Array32
) -> float:
    """Significance of a source among the search points, whose maximum the thresholds are of: off them it is more."""
    without = _without(problem, fit, precision, index)
    near = np.linalg.norm(points_mm - fit.sources[index].position_mm, axis=1) <= ON_GRID_MM
    gain = float(np.sqrt(2 * max(fit.objective - without.objective, 0.0)))
    if not near.any():
        return gain
    scores = score_map(rows[:, near], nuisance_of(problem, without, precision))
    return min(gain, OFF_GRID * float(guarded_significance(problem, scores, without, rows[:, near]).max()))


def spots_of(problem: Problem, found: Found, doubts: tuple[str, ...] = ()) -> tuple[Spot, ...]:
    """What is reported of each source, the most active first.

    A source that is neither significant nor placed stays in the model and out of the report.
    """
    places = _places(problem, found)
    spots = [_spot(problem, found, i, place, doubts) for i, place in enumerate(places)]
    spots = [
        s
        for s in spots
        if len(s.reasons) < 2 or s.quality != "unusable" or s.significance >= found.thresholds.report
    ]
    spots.sort(key=lambda s: -s.activity_kbq)
    return tuple(replace(s, id=i + 1) for i, s in enumerate(spots))


def _places(problem: Problem, found: Found) -> list[Array]:
    """Covariance (3, 3) of each source's place; of a weak one, and of two that are close, bent as their ridge is."""
    fit = found.fit
    places = [fit.block(i)[:3, :3] for i in range(len(fit.sources))]
    if not found.final:
        return places
    pairs = _close_pairs(fit)
    paired = {i for pair in pairs for i in pair}
    alone = [(i, (i,)) for i in _points(fit) if i not in paired]
    for held, moved in [*alone, *((weaker(fit, pair), pair) for pair in pairs)]:
        if fit.block(held)[3, 3] <= BENT_LOG_SD**2:
            continue
        ridge = ridge_of(problem, fit, found.precision, held)
        for i in moved:
            places[i] = ridge.covariance(fit, i)
    return places


def _points(fit: JointFit) -> list[int]:
    return [i for i, s in enumerate(fit.sources) if s.known is None and s.radius_mm == 0.0]


def _close_pairs(fit: JointFit) -> list[tuple[int, int]]:
    """Points that may take each other's counts, the farthest apart first."""
    places = [s.position_mm for s in fit.sources]
    points = _points(fit)
    apart = {
        (i, k): float(np.linalg.norm(places[i] - places[k]))
        for n, i in enumerate(points)
        for k in points[n + 1 :]
    }
    return sorted((pair for pair, mm in apart.items() if mm < NEIGHBOUR_MM), key=lambda pair: -apart[pair])


def _spot(problem: Problem, found: Found, index: int, place: Array, doubts: tuple[str, ...]) -> Spot:
    source = found.fit.sources[index]
    shift = _leakage(problem, found.fit, index)[0]
    # A hot neighbour's model error moves the place as well, by about half as many standard deviations as the activity.
    covariance = place * (1.0 + (PLACE_SHARE * shift) ** 2) + POSITION_SYSTEMATIC_MM**2 * np.eye(3)
    spread, doubt = _possible_pair(problem, found, index)
    covariance = (covariance + covariance.T) / 2 + spread
    budget = budget_of(problem, found.fit, index, found.significance[index])
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
    if found.final and not _neighboured(found.fit, index):
        pair = possible_pair(problem, found.fit, found.precision, index, found.significance[index])
    return (np.zeros((3, 3)), "") if pair is None else pair


def budget_of(problem: Problem, fit: JointFit, index: int, significance: float) -> Budget:
    """What the interval of one source's activity is made of, its neighbours and its place in the response included."""
    leaked = _leakage(problem, fit, index)[0] / max(significance, 1.0)
    return spot_budget(problem, fit, index, leaked, extrapolated_share(problem, fit.sources[index]))
