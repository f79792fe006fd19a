"""What a source's neighbours do to it: pairs that share their counts, and the model error of strong ones.

A percent of an injection site is a node: what is found beside one must be worth more than the model may get wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import JointFit, Problem
from navigation.uncertainty import LEAST_INFORMATION, ScoreMap, Thresholds

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Two fitted sources this close are one, unless the likelihood insists.
NEIGHBOUR_MM = 25.0
# Shift of the significance by other sources' model error below which a source stands alone.
NO_LEAKAGE = 0.25
# So many times the error that no smooth one explains may make up a source beside a hot one.
BEYOND_DOUBT = 2.0


def neighboured(fit: JointFit, index: int) -> bool:
    """Whether another source is near enough to take a part of this one's counts."""
    place = fit.sources[index].position_mm
    others = [s for i, s in enumerate(fit.sources) if i != index]
    return any(np.linalg.norm(s.position_mm - place) < NEIGHBOUR_MM + s.radius_mm for s in others)


def points(fit: JointFit) -> list[int]:
    """Which sources are points: neither balls nor organs."""
    return [i for i, s in enumerate(fit.sources) if s.known is None and s.radius_mm == 0.0]


def close_pairs(fit: JointFit) -> list[tuple[int, int]]:
    """Points that may take each other's counts, the farthest apart first."""
    places = [s.position_mm for s in fit.sources]
    lone = points(fit)
    apart = {
        (i, k): float(np.linalg.norm(places[i] - places[k]))
        for n, i in enumerate(lone)
        for k in lone[n + 1 :]
    }
    return sorted((pair for pair, mm in apart.items() if mm < NEIGHBOUR_MM), key=lambda pair: -apart[pair])


def needed_gain(problem: Problem, fit: JointFit, index: int, thresholds: Thresholds) -> float:
    """Twice the log-likelihood that a source must be worth beside others whose counts the model may get wrong."""
    bias, inflation = leakage(problem, fit, index)
    bias *= BEYOND_DOUBT
    beside = bias > NO_LEAKAGE
    return ((thresholds.report if beside else thresholds.model) * inflation + bias * inflation) ** 2


def leakage(problem: Problem, fit: JointFit, index: int) -> tuple[float, float]:
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
