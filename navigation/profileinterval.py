"""The 95 % interval of one focus's activity by its profile likelihood, where counting leaves it far from a parabola.

At each trial activity place, background, latency and all neighbours are fitted anew; the interval is where twice the
log-likelihood falls by the 95 % quantile of chi2 with one degree of freedom (Wilks 1938, DOI 10.1214/aoms/1177732360).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.budget import WIDEST_LOG, Budget
from navigation.likelihood import inverse_information
from navigation.pointlayer import JointFit, Problem, fit_sources
from navigation.spotbudget import shares_of_fit

Array = NDArray[np.float64]

# Root of the 95 % quantile of chi2(1), and how near to it a trial counts as there: 2 % of the half width.
DROP, NEAR = 1.96, 0.04
# Standard error of the log activity by counting above which the parabola is not trusted: it errs by its square.
POOR_LOG_SD = 0.1
# Trials to a side, the longest first step in log units, and the longest step to the next in times the last.
TRIALS, LONGEST_FIRST, LONGEST = 5, 3.0, 2.5


def activity_interval(
    problem: Problem, fit: JointFit, precision: Array, index: int, budget: Budget
) -> tuple[float, float]:
    """Activities in kBq that bound one source's 95 % interval: counting by its profile, the rest by its budget.

    `precision` (q,) is the prior of the background's coefficients.
    """
    activity = fit.sources[index].activity_kbq
    counting = float(np.hypot(*shares_of_fit(fit, index)[:2]))
    if counting <= POOR_LOG_SD:
        return budget.interval(activity)
    rest = max(budget.relative_sd**2 - counting**2, 0.0)
    erring = max(counting**2 - _counting_alone(problem, fit, precision, index) ** 2, 0.0)
    other = DROP * float(np.sqrt(rest + erring))
    low, high = (_reach(problem, fit, precision, index, side * DROP * counting) for side in (-1.0, 1.0))
    down, up = (min(float(np.hypot(half, other)), WIDEST_LOG) for half in (low, high))
    return activity * float(np.exp(-down)), activity * float(np.exp(up))


def _counting_alone(problem: Problem, fit: JointFit, precision: Array, index: int) -> float:
    """Standard error of the log activity without the model error of the counts, which no likelihood knows."""
    sources = list(fit.sources)
    rows = problem.source_rows(sources)
    columns = [problem.background_rows]
    for i, source in enumerate(sources):
        r = rows[:, 7 * i : 7 * i + 7]
        columns += [source.activity_kbq * (r[:, 2::2] - r[:, 1:6:2]), source.activity_kbq * r[:, :1]]
    design = np.concatenate([*columns, fit.error_columns], axis=1)
    _, information = problem.data.weights(fit.rate_cps)
    prior = np.concatenate([precision, np.zeros(4 * len(sources)), np.ones(fit.error_columns.shape[1])])
    curvature = design.T @ (information[:, None] * design) + np.diag(prior)
    at = len(precision) + 4 * index + 3
    return float(np.sqrt(max(inverse_information(curvature)[at, at], 0.0)))


def _reach(problem: Problem, fit: JointFit, precision: Array, index: int, first: float) -> float:
    """How far (> 0) the log activity may go to the side of `first` before the likelihood has fallen by DROP^2 / 2."""
    side, step = np.sign(first), min(abs(first), LONGEST_FIRST)
    known = [(0.0, 0.0)]  # steps and signed roots, rising
    sources, background = list(fit.sources), fit.background
    for _ in range(TRIALS):
        held = replace(
            fit.sources[index],
            activity_kbq=fit.sources[index].activity_kbq * float(np.exp(side * step)),
            position_mm=sources[index].position_mm,
        )
        trial = fit_sources(
            problem,
            [held if i == index else s for i, s in enumerate(sources)],
            background,
            precision,
            held=index,
        )
        root = float(np.sqrt(2.0 * max(fit.objective - trial.objective, 0.0)))
        sources, background = list(trial.sources), trial.background
        known = sorted([*known, (step, root)])
        if abs(root - DROP) <= NEAR or step >= WIDEST_LOG:
            break
        step = min(_next(known), WIDEST_LOG)
    return step if len(known) == 1 else _crossing(known)


def _next(known: list[tuple[float, float]]) -> float:
    """The next trial: between the two that bracket the drop, else on, as the last ones lead."""
    below = max(k for k in known if k[1] < DROP)
    above = [k for k in known if k[1] >= DROP]
    if above:
        (x0, y0), (x1, y1) = below, min(above)
        return x0 + (x1 - x0) * (DROP - y0) / max(y1 - y0, 1e-9)
    step, root = below
    return step * min(DROP / max(root, DROP / LONGEST), LONGEST)


def _crossing(known: list[tuple[float, float]]) -> float:
    """Where the signed root reaches the drop, by a straight line; WIDEST_LOG where it never does."""
    above = [k for k in known if k[1] >= DROP]
    if not above:
        step, root = known[-1]
        return step if abs(root - DROP) <= NEAR else WIDEST_LOG
    (x0, y0), (x1, y1) = max(k for k in known if k[1] < DROP), min(above)
    return x0 + (x1 - x0) * (DROP - y0) / max(y1 - y0, 1e-9)
