"""The size of a strong focus: which balls fit its counts, and what the choice among them leaves open.

A large ball and a smaller, deeper one make much the same counts; between the two the likelihood may fall. So every
radius is tried, and what is told of the place is told of all that fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.anchors import nearest_face
from navigation.pointlayer import LEAST_BALL_TISSUE, JointFit, Problem, Source, fit_sources

Array = NDArray[np.float64]

# Radii that a source significant enough to show its size may take, in mm.
RADII_MM = (0.0, 5.0, 8.0, 11.0, 14.0, 18.0, 22.0, 27.0)
# While the scan goes on only a hot organ is worth the time that sizes take.
SIZE_SIGNIFICANCE, LIVE_SIZE_SIGNIFICANCE = 30.0, 120.0
# Gain in log-likelihood (twice) that a size must bring. A focus below the first activity (kBq) is a node, which is
# small: 99.9 % of chi2 with one degree of freedom; one above the second an organ or a depot: 99 % of it.
NODE_KBQ, ORGAN_KBQ = 300.0, 3000.0
NODE_GAIN, ORGAN_GAIN = 10.8, 6.63
# A loss in log-likelihood after which no larger, or smaller, ball is tried; while the scan goes on any loss ends it.
HOPELESS, LIVE_HOPELESS = 20.0, 0.0
# Where the log-likelihood is this much below the best nothing is left of a size: e^-4; within the other (half of
# chi2(1) at 95 %) an extended focus may reach as far.
FALLEN, NEAR_BEST = 4.0, 1.92


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Fits with the radii that one source may have, the one in use first; shares of each in the whole, sum 1.

    `others` are as those in use fit the counts, however seldom foci are of their size.
    """

    index: int
    fits: tuple[JointFit, ...]
    weights: Array
    others: tuple[Source, ...] = ()

    @property
    def covariance_mm2(self) -> Array:
        """(3, 3): what the choice of the size adds to that of the place in use."""
        offsets = np.array([f.sources[self.index].position_mm for f in self.fits]) - self._used.position_mm
        result: Array = np.einsum("k,ki,kj->ij", self.weights, offsets, offsets)
        return result

    @property
    def log_sd(self) -> float:
        """What it adds to the standard error of the log activity in use."""
        activity = np.array([f.sources[self.index].activity_kbq for f in self.fits])
        return float(np.sqrt(self.weights @ np.log(activity / self._used.activity_kbq) ** 2))

    def reaches(self) -> tuple[Array, Array]:
        """Centres (k, 3) in mm and radii (k,) of the balls that fit as well as it may be told."""
        balls = (self._used, *self.others)
        return np.array([s.position_mm for s in balls]), np.array([s.radius_mm for s in balls])

    @property
    def _used(self) -> Source:
        return self.fits[0].sources[self.index]


def sized(problem: Problem, fit: JointFit, precision: Array, final: bool = True) -> JointFit:
    """Strong sources as balls where the likelihood gains enough; in haste while the scan goes on."""
    significance = SIZE_SIGNIFICANCE if final else LIVE_SIZE_SIGNIFICANCE
    for index in range(len(fit.sources)):
        if tells_size(problem, fit, index, significance):
            trials = _trials(problem, fit, precision, index, HOPELESS if final else LIVE_HOPELESS)
            fit = _resized(fit, trials, index)
    return fit


def sizes_of(problem: Problem, fit: JointFit, precision: Array, index: int) -> Sizes:
    """The radii that a source of the final answer may have."""
    fits = [fit]
    if tells_size(problem, fit, index, SIZE_SIGNIFICANCE):
        fits += _trials(problem, fit, precision, index, HOPELESS)
    # What a size must gain to be chosen it must have to count as much.
    small = np.array([size_gain(f, index) / 2.0 * (f.sources[index].radius_mm == 0.0) for f in fits])
    height = np.array([f.objective for f in fits]) + small
    kept = height >= height.max() - FALLEN
    kept[0] = True  # the one in use
    weights = np.exp(height[kept] - height.max())
    told = np.array([f.objective for f in fits])
    near = told >= told.max() - NEAR_BEST
    others = tuple(f.sources[index] for f, one in zip(fits[1:], near[1:], strict=True) if one)
    chosen = tuple(f for f, k in zip(fits, kept, strict=True) if k)
    return Sizes(index, chosen, weights / weights.sum(), others)


def tells_size(problem: Problem, fit: JointFit, index: int, significance: float) -> bool:
    """Whether a source's counts are many enough to show a size, were all else known."""
    source = fit.sources[index]
    if source.known is not None:
        return False
    own = problem.source_rows([source])[:, 0] * source.activity_kbq
    return float(np.sqrt(problem.data.weights(fit.rate_cps)[1] @ own**2)) >= significance


def _trials(problem: Problem, fit: JointFit, precision: Array, index: int, hopeless: float) -> list[JointFit]:
    """Fits with every other radius, each from the last, up and down from the one in use."""
    now = fit.sources[index].radius_mm
    larger = [r for r in RADII_MM if r > now]
    smaller = [r for r in RADII_MM[::-1] if r < now]
    return [
        *_along(problem, fit, precision, index, larger, hopeless),
        *_along(problem, fit, precision, index, smaller, hopeless),
    ]


def _along(
    problem: Problem, fit: JointFit, precision: Array, index: int, radii: list[float], hopeless: float
) -> list[JointFit]:
    found: list[JointFit] = []
    last, best, tissue = fit, fit.objective, problem.projector.tissue
    for radius in radii:
        sources = list(last.sources)
        sources[index] = replace(sources[index], radius_mm=radius)
        if radius > nearest_face(problem.readings, sources[index].position_mm):
            break  # where the probe was there is no activity
        last = fit_sources(problem, sources, last.background, precision)
        best = max(best, last.objective)
        if last.objective < best - hopeless:
            break
        if tissue is None or last.sources[index].in_tissue(tissue) >= LEAST_BALL_TISSUE or radius == 0.0:
            found.append(last)
    return found


def size_gain(fit: JointFit, index: int) -> float:
    """What a size must gain (twice the log-likelihood) for a source as active as this one."""
    above = np.log(fit.sources[index].activity_kbq / NODE_KBQ) / np.log(ORGAN_KBQ / NODE_KBQ)
    return NODE_GAIN + (ORGAN_GAIN - NODE_GAIN) * float(np.clip(above, 0.0, 1.0))


def _resized(fit: JointFit, trials: list[JointFit], index: int) -> JointFit:
    """The best of the sizes; to be a ball at all must pay."""
    best = max([fit, *trials], key=lambda f: f.objective)
    needed = size_gain(fit, index) if fit.sources[index].radius_mm == 0.0 else 0.0
    return best if 2 * (best.objective - fit.objective) > needed else fit
