"""Sources that a bed holds, or that lie so near that their place cannot tell: sought anew, field-wise, and measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.bed import Residual
from navigation.modelerror import linearised
from navigation.neighbours import guarded_significance, needed_gain
from navigation.pointlayer import JointFit, Source, fit_sources
from navigation.profileinterval import activity_interval
from navigation.reconstruction.live import ScanState
from navigation.spotreport import budget_of
from navigation.spots import nuisance_of
from navigation.uncertainty import ScoreMap, Thresholds, field_thresholds, score_map
from navigation.upperlimits import FocusBound, bound_of, extended, extent_of

Array = NDArray[np.float64]

# Field-wise level over the bed at which a source is suspected.
BED_LEVEL = 0.05
# A source this close to the bed belongs to it: within it, or where placement cannot tell.
BED_MARGIN_MM = 5.0
# A source placed worse than this is not the bed's for that reason alone.
WIDEST_MARGIN_MM = 10.0
# How far beside the bed a weak source is that still belongs to it: the margin, and as much as it is placed to.
SEARCHED_BEYOND_MM = 10.0
MOST_RESIDUALS = 4
# What the model error of strong sources explains at one place it explains this far round it.
EXPLAINED_MM = 12.0


def residuals_in(
    state: ScanState, points: Array, seen: Array, margin: Array
) -> tuple[JointFit, list[tuple[int, float]], ScoreMap]:
    """Sources in the bed: (index in the fit, significance) of each, and the scores beyond them.

    `seen` (n, m) are the rows of the bed, `margin` (n, k) of places round it: what is found there may belong to it, so
    the level holds for both together.

    Sources beside the bed stay free in those scores: counts they may have taken from the bed widen its limits. Points
    in the bed are looked for anew; an extended one that reaches into it is not, and is suspected as it is.
    """
    problem, precision, whole = state.problem, state.found.precision, state.found.fit
    inside = [_belongs(whole, i, focus, points) for i, focus in enumerate(state.beside.foci)]
    kept = [i for i, s in enumerate(whole.sources) if extended(s) or not inside[i]]
    fit = fit_sources(problem, [whole.sources[i] for i in kept], whole.background, precision, fixed=True)
    rows = seen.astype(np.float32)
    searched = np.concatenate([rows, margin.astype(np.float32)], axis=1)
    (threshold,) = field_thresholds(searched, nuisance_of(problem, fit, precision), (BED_LEVEL,))
    found = [(n, state.found.significance[i]) for n, i in enumerate(kept) if inside[i]]
    explained = np.zeros(len(points), dtype=bool)
    for _ in range(MOST_RESIDUALS):
        scores = score_map(rows, nuisance_of(problem, fit, precision))
        statistic = np.where(explained, -np.inf, guarded_significance(problem, scores, fit, rows))
        best = int(np.argmax(statistic))
        if statistic[best] < threshold:
            break
        start = Source(points[best], max(float(scores.score[best] / scores.information[best]), 1e-3))
        grown = fit_sources(problem, [*fit.sources, start], fit.background, precision)
        gain = 2 * (grown.objective - fit.objective)
        if gain < needed_gain(problem, grown, -1, Thresholds(threshold, threshold)):
            break
        if beside_error(state, fit, grown.sources[-1].position_mm) < threshold:
            explained |= np.linalg.norm(points - points[best], axis=1) < EXPLAINED_MM
            continue
        fit, last = grown, len(grown.sources) - 1
        at = bound_of(extent_of(fit.sources[last]), fit.block(last)[:3, :3], 0.0, 0.0)
        if _belongs(fit, last, at, points):
            found.append((last, float(np.sqrt(max(gain, 0.0)))))
    suspected = {index for index, _ in found}
    beside = [i for i in range(len(fit.sources)) if i not in suspected]
    return fit, found, score_map(rows, nuisance_of(problem, fit, precision, beside))


def beside_error(state: ScanState, fit: JointFit, place_mm: Array) -> float:
    """Significance of a source at a place (3,) beside those of a fit, whose response, axis, drift and places may err.

    A score test in the joint fit made linear: what the others' model error can explain is no residual, however many
    counts it is. Without others it is infinite: there is nothing to err.
    """
    if not fit.sources:
        return float("inf")
    problem = state.problem
    linear = linearised(problem, fit, state.found.precision)
    seen = linear.root * problem.rows(place_mm[None, :])[:, 0]
    left = linear.remainder(seen)
    information = float(seen @ left)
    return float(linear.residual @ left) / float(np.sqrt(information)) if information > 0.0 else 0.0


def _belongs(fit: JointFit, index: int, focus: FocusBound, points: Array) -> bool:
    """Whether a source, or a part of an extended one, lies in the bed, or so near that its place cannot tell."""
    sd = float(np.sqrt(np.linalg.eigvalsh(fit.block(index)[:3, :3])[-1]))
    return float(focus.distance(points).min()) <= BED_MARGIN_MM + min(sd, WIDEST_MARGIN_MM)


def measured(state: ScanState, fit: JointFit, significances: list[tuple[int, float]]) -> dict[int, Residual]:
    """What is suspected, by its index in the fit, with its activity and the interval of that."""
    residuals = {}
    for index, significance in significances:
        source = fit.sources[index]
        budget = budget_of(state.problem, fit, index, significance)
        interval = activity_interval(state.problem, fit, state.found.precision, index, budget)
        residuals[index] = Residual(source.position_mm, source.activity_kbq, interval, significance)
    return residuals
