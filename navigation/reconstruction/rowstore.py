"""A growing store of response rows in float16: filled once per reading, read by every pass over the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation import _core
from navigation.projector import THREADS

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Rows are padded to the widest vector the kernels read.
PAD = 32
FIRST_CAPACITY = 256


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSums:
    """Sums over the readings i at each column j, of rows r_ij: `raw` (width,) of score_i r, `plain` (width,) of
    information_i r^2, `cross` (q, width) of information_i design_iq r, `skew` (width,) of third_i r^3.
    """

    raw: Array
    plain: Array
    cross: Array
    skew: Array


class RowStore:
    """Rows of `width` columns; `live` and `counts` of the likelihood are the caller's."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.stride = -(-width // PAD) * PAD
        self._packed = np.zeros((FIRST_CAPACITY, self.stride), dtype=np.uint16)
        self._scales = np.zeros(FIRST_CAPACITY, dtype=np.float32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def packed(self) -> NDArray[np.uint16]:
        """(n, stride) float16 bits."""
        return self._packed[: self._n]

    @property
    def scales(self) -> Array32:
        """(n,) factor of each row."""
        return self._scales[: self._n]

    def append(self, rows: Array32) -> None:
        """Add rows (k, width) float32."""
        need = self._n + len(rows)
        if need > len(self._packed):
            capacity = max(need, 2 * len(self._packed))
            grown = np.zeros((capacity, self.stride), dtype=np.uint16)
            grown[: self._n] = self.packed
            scales = np.zeros(capacity, dtype=np.float32)
            scales[: self._n] = self.scales
            self._packed, self._scales = grown, scales
        _core.pack_rows(
            np.ascontiguousarray(rows), self._packed[self._n : need], self._scales[self._n : need]
        )
        self._n = need

    def unpacked(self, columns: NDArray[np.intp] | slice = slice(None)) -> Array32:
        """(n, k) float32: some columns, widened."""
        halves = self.packed[:, : self.width][:, columns].view(np.float16)
        result: Array32 = halves.astype(np.float32) * self.scales[:, None]
        return result

    def project(self, x: Array32) -> Array32:
        """A x, (n,); x is padded to the stride."""
        out = np.empty(self._n, dtype=np.float32)
        _core.project(self.packed, self.scales, x, out, THREADS)
        return out

    def back_project(self, u: Array32) -> Array32:
        """A^T u, (stride,)."""
        out = np.empty(self.stride, dtype=np.float32)
        _core.back_project(self.packed, self.scales, u, out, THREADS)
        return out

    def project_many(self, images: Array32) -> Array32:
        """A X^T, (n, b), for images (b, stride): one read of the rows serves all."""
        out = np.empty((self._n, len(images)), dtype=np.float32)
        _core.project_many(self.packed, self.scales, np.ascontiguousarray(images), out, THREADS)
        return out

    def back_project_many(self, weights: NDArray[np.floating]) -> Array:
        """W^T A, (b, width) float64, for weights (n, b): one read of the rows serves 32 weightings."""
        out = np.empty((weights.shape[1], self.stride))
        _core.back_project_many(
            self.packed, self.scales, np.ascontiguousarray(weights, dtype=np.float32), out, THREADS
        )
        return out[:, : self.width]

    def score_sums(self, score: Array, information: Array, design: Array, third: Array) -> ScoreSums:
        """What a score map needs, in one pass over the rows r_ij.

        Per reading i: `score` (n,) d log L / d rate, `information` (n,) its expected negative slope, `design` (n, q)
        the nuisance's columns, `third` (n,) the factor of r^3, which is information x slope / expected in
        `uncertainty.score_map`. Any real factors will do; they are taken in single precision.
        """
        linear = np.concatenate([score[:, None], information[:, None] * design], axis=1)
        out = np.empty((linear.shape[1] + 2, self.stride))
        _core.score_pass(
            self.packed, self.scales, *(_single(a) for a in (linear, information, third)), out, THREADS
        )
        raw, cross, plain, skew = np.split(out[:, : self.width], [1, -2, -1])
        return ScoreSums(raw[0], plain[0], cross, skew[0])

    def padded(self, values: NDArray[np.float64]) -> Array32:
        """(stride,) float32 from (width,)."""
        out = np.zeros(self.stride, dtype=np.float32)
        out[: self.width] = values
        return out


def _single(values: Array) -> Array32:
    return np.ascontiguousarray(values, dtype=np.float32)
