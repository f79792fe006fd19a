"""How well two volumes agree under a transform, at fixed points drawn once, with what each part of the body says.

Normalised mutual information does not grow as the overlap shrinks (Studholme, Hill and Hawkes 1999,
DOI 10.1016/S0031-3203(98)00091-0); volumes of one modality may be judged by their correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagevolume import ImageVolume
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]

MUTUAL_INFORMATION, CORRELATION = "mutual information", "correlation"
# Bins of each image: finer ones are filled by chance, coarser ones join soft tissues.
BINS = 32
# Parts of the body that speak for themselves, for the scatter of the result.
BLOCK_MM = 60.0
# Seed of the points: the same input gives the same result.
SEED = 20210
# What is less than this share of the drawn points is no overlap worth a figure.
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Points (n, 3) in FIXED with the fixed values at them, and the number (n,) of the block each lies in."""

    points_mm: Array
    values: Array
    block: NDArray[np.int64]
    blocks: int


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """A moving volume ready for sampling: scaled values (nz, ny, nx) on their grid."""

    values: NDArray[np.float32]
    grid: VoxelGrid


def smoothed(volume: ImageVolume, spacing_mm: float) -> Moving:
    """The scaled values with details finer than voxels of `spacing_mm` smoothed away."""
    from scipy.ndimage import gaussian_filter

    # Half a voxel of the coarser image: what it cannot show is no reason to disagree.
    sigma = np.where(volume.grid.spacing_mm < spacing_mm, 0.5 * spacing_mm / volume.grid.spacing_mm, 0.0)
    return Moving(np.asarray(gaussian_filter(volume.scaled, sigma[::-1]), dtype=np.float32), volume.grid)


def interpolate(source: Moving, points_mm: Array, outside: float = -1.0) -> Array:
    """Trilinear values (n,) at points (n, 3); `outside` beyond the outermost voxel centres."""
    from scipy.ndimage import map_coordinates

    index = source.grid.index_of(points_mm)[:, ::-1].T
    found = map_coordinates(source.values, index, order=1, mode="constant", cval=outside, output=np.float64)
    low, high = -1e-6, np.array(source.values.shape)[:, None] - 1 + 1e-6
    inside = ((index >= low) & (index <= high)).all(axis=0)
    return np.where(inside, found, outside)


def draw(fixed: ImageVolume, view: Moving, count: int, within: NDArray[np.bool_] | None = None) -> Sampling:
    """Points spread evenly by chance over the body and its rim; `within` narrows the mask of `fixed.body`."""
    mask, grid = fixed.rimmed, fixed.body[1]
    chosen = np.argwhere(mask if within is None else mask & within)[:, ::-1]
    rng = np.random.default_rng(SEED)
    which = rng.integers(0, len(chosen), count)
    index = chosen[which] + rng.uniform(-0.5, 0.5, (count, 3))
    points = index @ grid.matrix[:3, :3].T + grid.origin_mm
    values = interpolate(view, points)
    points, values = points[values >= 0.0], values[values >= 0.0]
    cells = np.floor(points / BLOCK_MM).astype(np.int64)
    _, block = np.unique(cells, axis=0, return_inverse=True)
    block = block.reshape(-1)
    return Sampling(points, values, block, int(block.max()) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """The agreement of `moving` with the sampling of FIXED, whole or for parts of the blocks.

    `statistics` of a transform are one row per block (blocks, m); they add up, and `score` (higher is better)
    is a function of the sum.
    """

    sampling: Sampling
    moving: Moving
    kind: str

    def statistics(self, T_moving_fixed: Array) -> Array:
        """(blocks, m): joint histograms or moments of each block, of the points within both fields."""
        points = self.sampling.points_mm @ T_moving_fixed[:3, :3].T + T_moving_fixed[:3, 3]
        values = interpolate(self.moving, points)
        inside = values >= 0.0
        fixed, found, block = self.sampling.values[inside], values[inside], self.sampling.block[inside]
        if self.kind == CORRELATION:
            return self._moments(fixed, found, block)
        return self._histogram(fixed, found, block)

    def _moments(self, x: Array, y: Array, block: NDArray[np.int64]) -> Array:
        rows = (np.ones_like(x), x, y, x * x, y * y, x * y)
        sums = [np.bincount(block, row, self.sampling.blocks) for row in rows]
        return np.asarray(np.stack(sums, axis=1), dtype=np.float64)

    def _histogram(self, x: Array, y: Array, block: NDArray[np.int64]) -> Array:
        """Each point shared between the two nearest moving bins, so that the score has no steps."""
        i = np.minimum((x * BINS).astype(np.int64), BINS - 1)
        place = np.clip(y * BINS - 0.5, 0.0, BINS - 1.000001)
        j = place.astype(np.int64)
        part = place - j
        at = (block * BINS + i) * BINS + j
        size = self.sampling.blocks * BINS * BINS
        total = np.bincount(at, 1.0 - part, size) + np.bincount(at + 1, part, size + 1)[:size]
        return np.asarray(total, dtype=np.float64).reshape(self.sampling.blocks, BINS * BINS)

    def score(self, statistics: Array) -> float:
        """The score of summed statistics (m,): normalised mutual information less one, or correlation."""
        if self.kind == CORRELATION:
            return _correlation(statistics)
        return _normalised_information(statistics.reshape(BINS, BINS))

    def at(self, T_moving_fixed: Array) -> float:
        """The score of all points; -1 where the fields hardly overlap."""
        statistics = self.statistics(T_moving_fixed)
        if self.share(statistics) < LEAST_SHARE:
            return -1.0
        return self.score(statistics.sum(axis=0))

    def share(self, statistics: Array) -> float:
        """Share of the points that lie within both fields."""
        inside = statistics[:, 0].sum() if self.kind == CORRELATION else statistics.sum()
        return float(inside / max(len(self.sampling.points_mm), 1))


def _correlation(moments: Array) -> float:
    n, x, y, xx, yy, xy = (float(v) for v in moments)
    if n < 2.0:
        return -1.0
    spread = (xx - x * x / n) * (yy - y * y / n)
    return (xy - x * y / n) / float(np.sqrt(spread)) if spread > 0.0 else 0.0


def _normalised_information(joint: Array) -> float:
    """(H(x) + H(y)) / H(x, y) - 1 of a table of counts: 0 for independent, 1 for identical images."""
    total = float(joint.sum())
    if total <= 0.0:
        return -1.0
    both = _entropy(joint / total)
    if both <= 0.0:
        return 0.0
    return (_entropy(joint.sum(axis=0) / total) + _entropy(joint.sum(axis=1) / total)) / both - 1.0


def _entropy(shares: Array) -> float:
    filled = shares[shares > 0.0]
    return float(-(filled * np.log(filled)).sum())
