"""Foci of activity: found on the score map, placed off the grid, kept only if significant field-wise.

A source is added where the score of the current model is largest and above the maximum statistic's threshold, all
sources are fitted jointly, strong ones may grow into balls, and any that the likelihood does not need is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import LinearFit, fit_linear
from navigation.neighbours import close_pairs, guarded_significance, needed_gain, neighboured
from navigation.pointlayer import JointFit, Problem, Source, fit_sources
from navigation.spotquality import USABLE_LOG_SD
from navigation.spotridge import climbed, weaker
from navigation.spotsize import sized
from navigation.spotsplit import best_split
from navigation.uncertainty import (
    LEAST_INFORMATION,
    REPLICATES,
    Nuisance,
    Thresholds,
    field_thresholds,
    score_map,
)

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

MOST_SOURCES = 10
# Field-wise false-positive level at which a source enters the model, and at which it is reported as found.
MODEL_LEVEL, REPORT_LEVEL = 0.05, 0.01
# Stretches of this many readings are ranked for the quiet level, and the share of them that is taken for quiet.
QUIET_READINGS, QUIET_QUANTILE = 10, 0.25
SMALLEST_LEVEL = 1e-3
# So much above the threshold of what is reported a source may owe its place there to having been refined off the
# search points, and how far from it these are asked.
BORDERLINE, ON_GRID_MM = 1.15, 12.0
# Half of what the refinement is worth on average: a true source is refined as well.
OFF_GRID = 1.02
# Significance that an organ of the study must have to be part of the model: its place is no search.
ORGAN_SIGNIFICANCE = 3.0
# An organ no larger than this may be foci that the camera blurred into one. These instead of it must gain so much
# (twice the log-likelihood) for each source that they are more, and once at least: 95 % of chi2(4).
LARGEST_FOCI_MM, INSTEAD_GAIN = 24.0, 9.49
# Misfit per reading above which the model without more sources explains too little to trust its score.
ROUGH_MISFIT = 2.5
# Prior precision of a place (1/mm2) and of an activity (1/kBq2): keeps what is undetermined finite.
WEAK_PLACE, WEAK_ACTIVITY = 1e-2, 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The sources of a scan: joint fit, significance of each, the threshold they passed, the null fit."""

    fit: JointFit
    significance: tuple[float, ...]
    thresholds: Thresholds
    null: LinearFit
    precision: Array
    elsewhere: tuple[Source, ...] = ()  # organs of the study that the counts put in another place
    final: bool = (
        False  # the answer, whose intervals are worth the time of a profile, not a state of the display
    )

    def stands(self, index: int) -> bool:
        """Whether the software stands by a source: significant over the field, its activity placed within bounds."""
        log_sd = float(np.sqrt(max(self.fit.block(index)[3, 3], 0.0)))
        return self.significance[index] >= self.thresholds.report and log_sd <= USABLE_LOG_SD


def background_alone(problem: Problem, found: Found) -> Nuisance:
    """The background as all that is open, the sources where they are and as active as they are."""
    return Nuisance(problem.data, problem.background_rows, found.precision, found.fit.rate_cps)


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

    Without `prune` the significance of a source is its gain when it was added: quicker, and all the display needs; nor
    is it asked then whether a small organ of the study is foci that its camera saw as one.
    """
    found = _found(problem, points_mm, rows, thresholds, most, prune)
    elsewhere = tuple(s for s in found.fit.sources if s.contradicted)
    for organ in problem.organs if prune else ():
        if not any(s.known is organ and s.radius_mm <= LARGEST_FOCI_MM for s in found.fit.sources):
            continue
        rest = replace(problem, organs=tuple(o for o in problem.organs if o is not organ))
        other = _found(rest, points_mm, rows, thresholds, most, prune)
        more = max(len(other.fit.sources) - len(found.fit.sources), 1)
        if 2 * (other.fit.objective - found.fit.objective) > INSTEAD_GAIN * more:
            problem, found = rest, other
    return replace(found, elsewhere=elsewhere)


def _found(
    problem: Problem, points_mm: Array, rows: Array32, thresholds: Thresholds, most: int, prune: bool
) -> Found:
    """The same with every organ of the study that the scan sees."""
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
        fit = sized(problem, grown, precision, final=prune)
    significance = tuple(gains)
    if prune:
        for pair in close_pairs(fit):
            fit = climbed(problem, fit, precision, weaker(fit, pair))
        fit, significance = _prune(problem, fit, precision, thresholds)
        significance = tuple(
            _on_grid(problem, fit, precision, i, points_mm, rows)
            if thresholds.report <= s < BORDERLINE * thresholds.report and not neighboured(fit, i)
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
    near = neighboured(fit, index)
    trial = fit_sources(problem, kept, fit.background, precision, fixed=not near)
    # Two foci may be one that is extended.
    return sized(problem, trial, precision) if near else trial


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
