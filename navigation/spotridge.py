"""The ridge of the likelihood along a focus's activity, which may be bent: a weak one deep or shallow, a close pair
that shares its counts in many ways.

The ellipsoid of a quadratic likelihood is kept but for its part that goes with the activity; that part is taken from
fits with the activity held at steps along the ridge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import JointFit, Problem, fit_sources

Array = NDArray[np.float64]

# Steps of the log activity in its standard errors, how many to a side, and the longest step.
STEP_SD, STEPS, LONGEST = 0.6, 10, 0.5
# Where the log-likelihood has fallen by this much nothing is left of it: e^-4.
FALLEN = 4.0
# A gain in log-likelihood along the ridge that is worth climbing.
HIGHER = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """Fits along the ridge, the free one among them, with the share of each in the whole (sum 1)."""

    held: int
    fits: tuple[JointFit, ...]
    weights: Array

    def covariance(self, fit: JointFit, index: int) -> Array:
        """(3, 3) mm2 about the place of a source in the free `fit`, bent as the ridge is."""
        place = len(fit.background) + 4 * index
        along = fit.covariance[place : place + 3, self._activity(fit)]
        straight = np.outer(along, along) / max(self._variance(fit), 1e-12)
        offsets = np.array([f.sources[index].position_mm for f in self.fits]) - fit.sources[index].position_mm
        bent: Array = np.einsum("k,ki,kj->ij", self.weights, offsets, offsets)
        result: Array = fit.block(index)[:3, :3] - straight + bent
        return result

    def _activity(self, fit: JointFit) -> int:
        return len(fit.background) + 4 * self.held + 3

    def _variance(self, fit: JointFit) -> float:
        at = self._activity(fit)
        return float(fit.covariance[at, at])


def ridge_of(problem: Problem, fit: JointFit, precision: Array, held: int) -> Ridge:
    """Along the activity of one source."""
    step = min(STEP_SD * float(np.sqrt(max(fit.block(held)[3, 3], 1e-12))), LONGEST)
    sides = [_side(problem, fit, precision, held, way * step) for way in (-1.0, 1.0)]
    fits = (*reversed(sides[0]), fit, *sides[1])
    height = np.array([f.objective for f in fits])
    weights = np.exp(height - height.max())
    return Ridge(held, fits, weights / weights.sum())


def weaker(fit: JointFit, pair: tuple[int, int]) -> int:
    """Which of two sources tells most of how they share their counts."""
    return min(pair, key=lambda i: fit.sources[i].activity_kbq)


def climbed(problem: Problem, fit: JointFit, precision: Array, held: int) -> JointFit:
    """The free fit from the highest place of the ridge; the fit itself where it stands there."""
    top = max(ridge_of(problem, fit, precision, held).fits, key=lambda f: f.objective)
    if top.objective < fit.objective + HIGHER:
        return fit
    trial = fit_sources(problem, list(top.sources), top.background, precision)
    return trial if trial.objective > fit.objective else fit


def _side(problem: Problem, fit: JointFit, precision: Array, held: int, step: float) -> list[JointFit]:
    """Fits with the activity held ever farther to one side, each from the last, until the likelihood has fallen."""
    found: list[JointFit] = []
    last, best = fit, fit.objective
    for _ in range(STEPS):
        sources = list(last.sources)
        sources[held] = replace(sources[held], activity_kbq=sources[held].activity_kbq * float(np.exp(step)))
        last = fit_sources(problem, sources, last.background, precision, held=held)
        best = max(best, last.objective)
        if last.objective < best - FALLEN:
            break
        found.append(last)
    return found
