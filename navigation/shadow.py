"""Places in the shine of a strong known source: what its response may err by counts there as if it were activity.

A calibration good to a few percent in its view and to some fifteen beside it leaves an error in the counts of an
injection site that no further counting takes away; where that decides, a place is shadowed and not assessable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.lagscore import lag_design
from navigation.likelihood import inverse_information
from navigation.modelerror import common_errors, geometry_of, response_errors
from navigation.pointlayer import JointFit, Problem

Array = NDArray[np.float64]

# A limit that the known sources' model error widens by this factor rests on them and on nothing that was counted there.
UNTOLD_GROWTH = 1.5
# A place whose limit the sources raise by this factor lies in their shine, whatever else keeps it from being covered.
SHINE_GROWTH = 2.0
# Information below this is none, in 1/kBq2.
LEAST_INFORMATION = 1e-9
# Precision of places (1/mm2) and log activities of the known sources: hardly any, they are free.
FREE_PRECISION = (1e-4, 1e-4, 1e-4, 1e-8)


@dataclass(frozen=True, slots=True, eq=False)
class Shading:
    """Of places (m,): by how much the sources' model error widens a limit, and by how much they do altogether."""

    error: Array
    altogether: Array

    @property
    def untold(self) -> NDArray[np.bool_]:
        """(m,): where no limit on activity can be told."""
        return self.error >= UNTOLD_GROWTH

    def shadowed(self, covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(m,): what is not assessable for the sources: no limit is told, or theirs is what it lacks."""
        return self.untold | (~covered & (self.altogether >= SHINE_GROWTH))


def shading(problem: Problem, fit: JointFit, precision: Array, rows: Array) -> Shading:
    """Of places with rows (n, m), by the known sources of a fit, which are as free in it as the background.

    `precision` (q,) is the background's prior.
    """
    if not fit.sources:
        return Shading(np.ones(rows.shape[1]), np.ones(rows.shape[1]))
    geometry = geometry_of(problem, fit)
    design = lag_design(problem, fit)[0]
    prior = np.concatenate([precision, np.tile(FREE_PRECISION, len(fit.sources))])
    # The whole rate drifts and the axis is tilted for background and sources alike: the fit takes part of it up.
    errors = np.column_stack([*common_errors(problem, fit, geometry), *response_errors(geometry)])
    _, weight = problem.data.weights(fit.rate_cps)
    root = np.sqrt(weight)[:, None]
    known = _left(rows * root, design * root, prior)
    erring = _left(
        rows * root,
        np.column_stack([design, errors]) * root,
        np.append(prior, np.ones(errors.shape[1])),
    )
    _, alone = problem.data.weights(fit.rate_cps - fit.source_rate_cps)
    root = np.sqrt(alone)[:, None]
    quiet = _left(rows * root, problem.background_rows * root, precision)
    return Shading(_growth(known, erring), _growth(quiet, erring))


def _growth(before: Array, after: Array) -> Array:
    """Growth (m,) of a standard deviation, at least 1; 1 where nothing was told before either."""
    told = before > LEAST_INFORMATION
    ratio = np.where(told, before, 1.0) / np.maximum(np.where(told, after, 1.0), LEAST_INFORMATION)
    return np.sqrt(np.maximum(ratio, 1.0))


def _left(seen: Array, design: Array, prior: Array) -> Array:
    """Information (m,) on activity at places with standardised rows (n, m) beside everything that is fitted or errs."""
    inverse = inverse_information(design.T @ design + np.diag(prior))
    cross = design.T @ seen
    left: Array = np.einsum("nm,nm->m", seen, seen) - np.einsum("qm,qm->m", cross, inverse @ cross)
    return left
