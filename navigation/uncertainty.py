"""Score and Fisher information of a point source at every voxel, with the background as a nuisance.

From them the significance map, the minimum detectable activity (Currie 1968, DOI 10.1021/ac60259a007, with the
background's own uncertainty), upper limits, and the field-wise threshold of the maximum statistic; tails are those of
counts, to third order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import Counts, inverse_information
from navigation.tails import activity_at, count_excess, detectable, largest_quantiles, normal_equivalent

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Quantiles of MDA: 5 % local false positives, 95 % detection.
Z_FALSE_POSITIVE = Z_DETECTION = 1.6449
REPLICATES = 1000
# Information below this (1/kBq^2) is no information: SD above 30 MBq.
LEAST_INFORMATION = 1e-9
SEED = 20240917
# Columns handled at once: a block of a thousand rows stays in the cache.
BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Nuisance:
    """What is fitted besides the source: design (n, q), prior precision (q,), at a fitted rate (n,)."""

    data: Counts
    design: Array
    precision: Array
    rate_cps: Array


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Significances that enter the model and that are reported: field-wise MODEL_LEVEL and REPORT_LEVEL."""

    model: float
    report: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """Per voxel (m,): efficient score in 1/kBq, efficient information in 1/kBq^2, and how few counts bend its tails.

    An activity a there gives the score a mean of `a * information`; `third` is its third cumulant in 1/kBq^3, and
    `absorbed` (1/kBq^3) how fast the information falls as the background takes the source's counts for its own.
    """

    score: Array
    information: Array
    third: Array
    absorbed: Array

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(m,): where the scan says anything."""
        return self.information > LEAST_INFORMATION

    def at(self, index: NDArray[np.intp]) -> ScoreMap:
        """The same of some of the voxels."""
        return ScoreMap(self.score[index], self.information[index], self.third[index], self.absorbed[index])

    def dimmed(self, share: Array) -> ScoreMap:
        """With a share (m,) of the information left, the skewness of the score as it was; unseen where it is 0."""
        bend = share**1.5
        return ScoreMap(self.score, self.information * share, self.third * bend, self.absorbed * bend)

    @property
    def significance(self) -> Array:
        """Standard normal quantile (m,) of each score: negative where counts are too few, -inf where none look."""
        return self.guarded(np.zeros_like(self.score))

    def guarded(self, extra: Array) -> Array:
        """Significance (m,) with `extra` (m,) variance of the score by what the model may get wrong."""
        variance = np.maximum(self.information + extra, LEAST_INFORMATION)
        return np.where(self.seen, normal_equivalent(self.score, variance, self.third), -np.inf)

    @property
    def sd_kbq(self) -> Array:
        """(m,) kBq: standard deviation of the activity of a lone source there; inf where nothing is seen."""
        return np.where(self.seen, 1.0 / np.sqrt(self._safe), np.inf)

    @property
    def mda_kbq(self) -> Array:
        """(m,) kBq: detected with 95 % probability at a local 5 % false-positive level; inf where nothing is seen."""
        found = detectable(Z_FALSE_POSITIVE, Z_DETECTION, self._safe, self.third, self.absorbed)
        return np.where(self.seen, found, np.inf)

    def upper_limit_kbq(self, z_quantile: float) -> Array:
        """(m,) kBq: one-sided limit; a negative estimate counts as zero, which only makes it safer."""
        target = np.maximum(self.score, 0.0)
        limit = activity_at(target, -z_quantile, self._safe, self.third)
        return np.where(self.seen, limit, np.inf)

    @property
    def _safe(self) -> Array:
        return np.where(self.seen, self.information, 1.0)


def score_map(rows: Array32, nuisance: Nuisance) -> ScoreMap:
    """Rows (n, m) float32 in cps per kBq at the reference time; all passes run over them in single precision."""
    data = nuisance.data
    score, information = data.weights(nuisance.rate_cps)
    expected, slope = data.expected(nuisance.rate_cps), data.slope(nuisance.rate_cps)
    weight = information.astype(np.float32)
    third_weight = (information * slope / expected).astype(np.float32)
    out = np.zeros((3, rows.shape[1]))
    for block, held, residual, prior in _residuals(rows, nuisance, information):
        square = residual * residual
        out[0, block] = weight @ square + prior
        cube = square * residual
        out[1, block] = third_weight @ cube
        square *= held
        out[2, block] = third_weight @ (square - cube)
    # At the fit the nuisance's own score balances its prior, so the plain score is the efficient one.
    raw = (score.astype(np.float32) @ rows).astype(np.float64)
    return ScoreMap(raw, out[0], np.maximum(out[1], 0.0), np.maximum(out[2], 0.0))


def _residuals(
    rows: Array32, nuisance: Nuisance, information: Array
) -> Iterator[tuple[slice, Array32, Array32, Array32]]:
    """Blocks of columns: which, their rows, what of these the nuisance cannot make, and what its prior tells (m,)."""
    design = nuisance.design.astype(np.float32)
    carried, inverse = _carried(rows, nuisance, information), np.sqrt(nuisance.precision).astype(np.float32)
    for low in range(0, rows.shape[1], BLOCK):
        block = slice(low, min(low + BLOCK, rows.shape[1]))
        held, moved = rows[:, block], carried[:, block]
        pulled = inverse[:, None] * moved
        yield block, held, held - design @ moved, np.einsum("qm,qm->m", pulled, pulled)


def _carried(rows: Array32, nuisance: Nuisance, information: Array) -> Array32:
    """(q, m): how the nuisance moves with a source's activity, per kBq."""
    weighted = information[:, None] * nuisance.design
    curvature = nuisance.design.T @ weighted + np.diag(nuisance.precision)
    cross = (weighted.astype(np.float32).T @ rows).astype(np.float64)
    result: Array32 = (inverse_information(curvature) @ cross).astype(np.float32)
    return result


def field_thresholds(
    rows: Array32, nuisance: Nuisance, levels: tuple[float, ...], replicates: int = REPLICATES
) -> tuple[float, ...]:
    """Significances that the largest of all voxels exceeds in shares `levels` of scans without a further source.

    Parametric bootstrap: background and counts are redrawn round the fitted rate, the background by its prior, it is
    refitted to first order, and the maximum over the field is taken. The seed is fixed and the draws follow the rate
    smoothly, so equal scans have equal thresholds.
    """
    data, rng = nuisance.data, np.random.default_rng(SEED)
    _, information = data.weights(nuisance.rate_cps)
    expected, slope = data.expected(nuisance.rate_cps), data.slope(nuisance.rate_cps)
    excess = count_excess(rng.standard_normal((len(expected), replicates)).T, expected)
    share = np.sqrt(information * expected) / slope  # 1, less where a reading is a lower bound
    score = (share * slope * excess / expected).astype(np.float32)
    uneven = rng.standard_normal((len(nuisance.precision), replicates)).T * np.sqrt(nuisance.precision)
    scores = score_map(rows, nuisance)
    largest = np.full(replicates, -np.inf)
    carried = _carried(rows, nuisance, information)
    for block, _, residual, _ in _residuals(rows, nuisance, information):
        drawn = score @ residual + uneven.astype(np.float32) @ carried[:, block]
        largest = np.maximum(largest, _largest(drawn, scores, block, largest))
    if not np.isfinite(largest).all():
        return (np.inf,) * len(levels)
    return largest_quantiles(largest, levels)


def _largest(drawn: Array32, scores: ScoreMap, block: slice, before: Array) -> Array:
    """Largest significance (b,) of drawn scores (b, m); what cannot exceed `before` (b,) is not looked at closely.

    Beyond one standard deviation a skewed score is less significant than it looks, never more.
    """
    information, third = scores.information[block], scores.third[block]
    seen = information > LEAST_INFORMATION
    if not seen.any():
        return before
    statistic = drawn[:, seen].astype(np.float64) / np.sqrt(information[seen])
    draw, voxel = np.nonzero(statistic > np.maximum(before, 1.0)[:, None])
    variance = information[seen][voxel]
    score = statistic[draw, voxel] * np.sqrt(variance)
    statistic[draw, voxel] = normal_equivalent(score, variance, third[seen][voxel])
    return np.asarray(statistic.max(axis=1))
