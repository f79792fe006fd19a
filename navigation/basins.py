"""Basins of an image: which maximum each voxel belongs to, so that a source's flank is not taken for its neighbour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def summits(box: Array) -> Array:
    """Height of the maximum that the steepest way up from each voxel (nz, ny, nx) of a box leads to."""
    order = np.arange(box.size).reshape(box.shape)
    padded = np.pad(box, 1, constant_values=-np.inf)
    numbers = np.pad(order, 1)
    best, way = box.copy(), order.copy()
    for step in np.ndindex(3, 3, 3):
        part = tuple(slice(s, s + n) for s, n in zip(step, box.shape, strict=True))
        higher = padded[part] > best
        best = np.where(higher, padded[part], best)
        way = np.where(higher, numbers[part], way)
    to: NDArray[np.int64] = way.reshape(-1).astype(np.int64)
    while (to[to] != to).any():
        to = to[to]
    return np.asarray(box.reshape(-1)[to].reshape(box.shape))


def own_part(image: Array, mask: Mask, top: float) -> Mask:
    """The voxels of a mask (nz, ny, nx) from which the steepest way up ends no higher than `top`."""
    if not mask.any():
        return mask
    index = np.argwhere(mask)
    low, high = np.maximum(index.min(axis=0) - 2, 0), index.max(axis=0) + 3
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    own = np.zeros_like(mask)
    own[part] = mask[part] & (summits(image[part]) <= top)
    return own
