"""Score and Fisher information of a point source at every voxel, with the background as a nuisance.

From them the significance map, the minimum detectable activity (Currie 1968, DOI 10.1021/ac60259a007, with the
background's own uncertainty), upper limits, and the field-wise threshold of the maximum statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import Counts, inverse_information

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Quantiles of MDA: 5 % local false positives, 95 % detection.
Z_FALSE_POSITIVE = Z_DETECTION = 1.6449
REPLICATES = 1000
# Information below this (1/kBq^2) is no information: SD above 30 MBq.
LEAST_INFORMATION = 1e-9
SEED = 20240917


@dataclass(frozen=True, slots=True, eq=False)
class Nuisance:
    """What is fitted besides the source: design (n, q), prior precision (q,), at a fitted rate (n,)."""

    data: Counts
    design: Array
    precision: Array
    rate_cps: Array


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """Per voxel (m,): efficient score, efficient information in 1/kBq^2, and growth of the variance with activity.

    `estimate = score / information` is the activity of a lone source there; its variance is
    `1 / information + growth * activity`.
    """

    score: Array
    information: Array
    growth: Array

    @property
    def significance(self) -> Array:
        """Score statistic (m,), negative where counts are too few, -inf where the scan sees nothing."""
        statistic = self.score / np.sqrt(np.maximum(self.information, LEAST_INFORMATION))
        return np.where(self.information > LEAST_INFORMATION, statistic, -np.inf)

    @property
    def mda_kbq(self) -> Array:
        """(m,) kBq: detected with 95 % probability at a local 5 % false-positive level; inf where nothing is seen."""
        seen = self.information > LEAST_INFORMATION
        sd2 = 1.0 / np.where(seen, self.information, 1.0)
        # a = z sd + z sqrt(sd^2 + growth a), solved for a; equal quantiles make it linear.
        z = Z_FALSE_POSITIVE
        return np.where(seen, 2 * z * np.sqrt(sd2) + z**2 * self.growth, np.inf)

    def upper_limit_kbq(self, z_quantile: float) -> Array:
        """(m,) kBq: one-sided limit; a negative estimate counts as zero, which only makes it safer."""
        seen = self.information > LEAST_INFORMATION
        sd2 = 1.0 / np.where(seen, self.information, 1.0)
        estimate = np.maximum(self.score, 0.0) * sd2
        half = 0.5 * z_quantile**2 * self.growth
        limit = estimate + half + np.sqrt(half**2 + z_quantile**2 * (sd2 + self.growth * estimate))
        return np.where(seen, limit, np.inf)


def score_map(rows: Array32, nuisance: Nuisance) -> ScoreMap:
    """Rows (n, m) float32 in cps per kBq at the reference time; all passes run over them in single precision."""
    score, information = nuisance.data.weights(nuisance.rate_cps)
    cross, inverse = _cross(rows, nuisance, information)
    plain = np.einsum("nm,nm->m", rows, rows * information.astype(np.float32)[:, None], dtype=np.float64)
    efficient = np.maximum(plain - np.einsum("qm,qm->m", cross, inverse @ cross), 0.0)
    # At the fit the nuisance's own score balances its prior, so the plain score is the efficient one.
    raw = rows.T @ score.astype(np.float32)
    third = information.astype(np.float32) * nuisance.data.slope(nuisance.rate_cps).astype(np.float32)
    expected = nuisance.data.expected(nuisance.rate_cps).astype(np.float32)
    skew = np.einsum("nm,nm->m", rows * (third / expected)[:, None], rows * rows, dtype=np.float64)
    growth = skew / np.maximum(efficient, LEAST_INFORMATION) ** 2
    return ScoreMap(
        np.asarray(raw, dtype=np.float64), efficient, np.where(efficient > LEAST_INFORMATION, growth, 0.0)
    )


def _cross(rows: Array32, nuisance: Nuisance, information: Array) -> tuple[Array, Array]:
    """(q, m) cross information of source and nuisance, and the inverse (q, q) of the nuisance's own."""
    weighted = (information[:, None] * nuisance.design).astype(np.float32)
    curvature = nuisance.design.T @ (information[:, None] * nuisance.design) + np.diag(nuisance.precision)
    cross = (weighted.T @ rows).astype(np.float64)
    return cross, inverse_information(curvature)


def field_thresholds(
    rows: Array32, nuisance: Nuisance, levels: tuple[float, ...], replicates: int = REPLICATES
) -> tuple[float, ...]:
    """Significances that the largest of all voxels exceeds in shares `levels` of scans without a further source.

    Parametric bootstrap: counts are redrawn round the fitted rate, the background is refitted to first order, and
    the maximum over the field is taken. The seed is fixed, and the draws are normal ones bent to the skewness of a
    Poisson count (Cornish-Fisher): they follow the rate smoothly, so equal scans have equal thresholds.
    """
    data = nuisance.data
    _, information = data.weights(nuisance.rate_cps)
    expected, slope = data.expected(nuisance.rate_cps), data.slope(nuisance.rate_cps)
    normal = np.random.default_rng(SEED).standard_normal((len(expected), replicates)).T
    # The bend adds 1/18 to the variance; the last factor takes it away again.
    excess = np.sqrt(expected) * normal + (normal**2 - 1.0) / 6.0
    excess /= np.sqrt(1.0 + 1.0 / (18.0 * expected))
    share = np.sqrt(information * expected) / slope  # 1, less where a reading is a lower bound
    score = (share * slope * excess / expected).astype(np.float32)
    cross, inverse = _cross(rows, nuisance, information)
    plain = np.einsum("nm,nm->m", rows, rows * information.astype(np.float32)[:, None], dtype=np.float64)
    efficient = plain - np.einsum("qm,qm->m", cross, inverse @ cross)
    seen = efficient > LEAST_INFORMATION
    if not seen.any():
        return (np.inf,) * len(levels)
    refit = (score @ nuisance.design.astype(np.float32)) @ (inverse @ cross).astype(np.float32)
    statistic = (score @ rows - refit)[:, seen] / np.sqrt(efficient[seen]).astype(np.float32)
    largest = statistic.max(axis=1)
    return tuple(float(np.quantile(largest, 1.0 - level)) for level in levels)
