"""What could hide beside the foci that were found: a map's limits where their places and responses are open too.

A second focus beside a strong one is told from it only as far as the first one's place, activity and response are
known: most of the information that the counts have on an activity there goes to these. Without that a limit ten
millimetres beside a hot node is a tenth of what may lie there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.lagscore import lag_design
from navigation.likelihood import inverse_information
from navigation.modelerror import common_errors, geometry_of, response_errors
from navigation.pointlayer import JointFit, Problem
from navigation.shadow import FREE_PRECISION, UNTOLD_GROWTH
from navigation.upperlimits import FocusBound

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Nearer to a focus than this the share changes within the spacing of the search points: it is asked of each voxel.
NEAR_MM = 20.0
# As far again as the region of a focus reaches, in squares: near where that is wider.
WIDER = 4.0
# Less than this of the information left is nothing: single precision, and a limit thirty times what it would be.
LEAST_SHARE = 1e-3
# Whose a column is when it belongs to no source: the background's, or an error that all sources have in common.
BACKGROUND, COMMON = -1, -2
# Places handled at once: a block of a thousand rows stays in the cache.
BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """The foci of a fit with all that is open of them, as columns (n, c) in standard deviations of the counts.

    `root` (n,) makes them of rates in cps, with the errors of the response that no smooth one explains in the variance;
    `trust` (n,) is what these leave of the root of counting alone. `owner` (c,) is the source that a column is of,
    `errs` (c,) whether it is an error of the model and no unknown of the fit; `prior` (c,) is its precision.
    """

    problem: Problem
    foci: tuple[FocusBound, ...]
    root: Array
    trust: Array
    columns: Array32
    owner: NDArray[np.intp]
    errs: NDArray[np.bool_]
    prior: Array

    @staticmethod
    def of(problem: Problem, fit: JointFit, precision: Array, foci: tuple[FocusBound, ...]) -> Beside:
        """Of a fit with its background's prior precision (q,) and the bounds of its sources."""
        design, delay = lag_design(problem, fit)
        geometry = geometry_of(problem, fit)
        q, k = len(precision), len(fit.sources)
        late = [problem.latency_sd_s * delay] if problem.latency_sd_s > 0.0 else []
        common = [*late, *common_errors(problem, fit, geometry)]
        response = response_errors(geometry)
        information = problem.data.weights(fit.rate_cps)[1]
        unmodelled = problem.unmodelled_error(list(fit.sources), geometry.rate / _activity(fit))
        trust = 1.0 / np.sqrt(1.0 + information * (unmodelled**2).sum(axis=1))
        root = np.sqrt(information) * trust
        columns = np.column_stack([design, *common, *response]) * root[:, None]
        each = np.arange(k)
        owner = np.concatenate(
            [
                np.full(q, BACKGROUND),
                np.repeat(each, len(FREE_PRECISION)),
                np.full(len(common), COMMON),
                np.repeat(each, len(response) // max(k, 1)),
            ]
        )
        prior = np.concatenate([precision, np.tile(FREE_PRECISION, k), np.ones(len(common) + len(response))])
        errs = np.arange(len(owner)) >= q + len(FREE_PRECISION) * k + len(late)
        return Beside(problem, foci, root, trust, columns.astype(np.float32), owner, errs, prior)

    def near(self, points_mm: Array) -> NDArray[np.bool_]:
        """Which points (m, 3) are so near to a focus that each must be asked."""
        near = np.zeros(len(points_mm), dtype=bool)
        for focus in self.foci:
            near |= (focus.distance(points_mm) <= NEAR_MM) | focus.holds(points_mm, WIDER)
        return near

    def edge(self, points_mm: Array, others_mm: Array, around: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which points (m, 3) a focus does not hold that holds some of the others (s, 3) `around` (m, k) them."""
        edge = np.zeros(len(points_mm), dtype=bool)
        for focus in self.foci:
            edge |= ~focus.holds(points_mm) & focus.holds(others_mm)[around].any(axis=1)
        return edge

    def share(self, points_mm: Array, rows: Array32) -> Array:
        """Share (m,) of the information on an activity at points (m, 3) with rows (n, m) that the foci leave.

        0 where no limit is told. A focus that may be at a point itself has its own bound there: it is not in its own
        way.
        """
        if not self.foci:
            return np.ones(len(points_mm))
        held = np.stack([focus.holds(points_mm) for focus in self.foci], axis=1)
        share = np.empty(len(points_mm))
        for low in range(0, len(points_mm), BLOCK):
            block = slice(low, low + BLOCK)
            share[block] = self._shares(held[block], rows[:, block])
        return share

    def share_at(self, points_mm: Array) -> Array:
        """The same at points (m, 3) whose rows are yet to be made."""
        parts = [points_mm[low : low + BLOCK] for low in range(0, len(points_mm), BLOCK)]
        shares = [self.share(part, self.problem.rows(part).astype(np.float32)) for part in parts]
        return np.concatenate(shares) if shares else np.zeros(0)

    def _shares(self, held: NDArray[np.bool_], rows: Array32) -> Array:
        lone = self._lone(rows)
        seen = rows * self.root[:, None].astype(np.float32)
        plain = np.einsum("nm,nm->m", seen, seen, dtype=np.float64)
        cross = (self.columns.T @ seen).astype(np.float64)
        share = np.empty(len(plain))
        for group in np.unique(held, axis=0):
            of = (held == group).all(axis=1)
            share[of] = self._left(np.flatnonzero(group), lone[of], plain[of], cross[:, of])
        return share

    def _left(self, at: NDArray[np.intp], lone: Array, plain: Array, cross: Array) -> Array:
        """Share (m,) of `lone` (m,) where the sources `at` may be at the place themselves."""
        others = ~np.isin(self.owner, at)
        if not (others & (self.owner >= 0)).any():
            return np.ones(len(plain))
        known = self._remaining(others & ~self.errs, plain, cross)
        erring = self._remaining(others, plain, cross)
        share = np.where(lone > 0.0, erring / np.where(lone > 0.0, lone, 1.0), 1.0)
        told = (share >= LEAST_SHARE) & (known <= UNTOLD_GROWTH**2 * erring)
        result: Array = np.where(told, np.minimum(share, 1.0), 0.0)
        return result

    def _remaining(self, which: NDArray[np.bool_], plain: Array, cross: Array) -> Array:
        """Information (m,) on an activity at places beside some of the columns."""
        return _beside(self.columns[:, which], self.prior[which], plain, cross[which])

    def _lone(self, rows: Array32) -> Array:
        """Information (m,) of counting alone, beside the background and with the foci known."""
        background = self.owner == BACKGROUND
        design = np.asarray(self.columns[:, background] / self.trust[:, None], dtype=np.float32)
        seen = rows * (self.root / self.trust)[:, None].astype(np.float32)
        plain = np.einsum("nm,nm->m", seen, seen, dtype=np.float64)
        return _beside(design, self.prior[background], plain, (design.T @ seen).astype(np.float64))


def _beside(columns: Array32, prior: Array, plain: Array, cross: Array) -> Array:
    """Information (m,) of `plain` (m,) that is left where columns (n, c) are open, `cross` (c, m) with them."""
    design = columns.astype(np.float64)
    inverse = inverse_information(design.T @ design + np.diag(prior))
    left: Array = plain - np.einsum("qm,qm->m", cross, inverse @ cross)
    return left


def _activity(fit: JointFit) -> Array:
    """(k,) kBq of the sources."""
    return np.array([s.activity_kbq for s in fit.sources])
