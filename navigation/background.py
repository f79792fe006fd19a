"""Tissue background as a spatial unknown: one level and smooth modulations of it over coarse compartments.

The level is free; the modulations follow a Gaussian process over a lattice with a relative standard deviation, kept
as its leading modes, so that a weak deep source is not mistaken for a gradient nor a gradient for a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from navigation.projector import Lattice, Projector
from tracking.sample import Readings

Array = NDArray[np.float64]

# Spacing of the lattice, correlation length of the tissue and relative standard deviation of its uptake. Uptake of
# one kind of tissue varies by some 10-20 % over centimetres; organs that differ by more are foci with an extent.
LATTICE_SPACING_MM, CORRELATION_MM, RELATIVE_SD = 30.0, 45.0, 0.15
# Modes kept: beyond these the data cannot tell one from the next.
MODES = 12
# Margin of the lattice round the field: the collimator sees background beyond it.
LATTICE_MARGIN_MM = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """The lattice and the modes on it: `modes` (nodes, q), column 0 is the uniform level, the others unit modes."""

    lattice: Lattice
    modes: Array
    known_factor: bool = False  # one more coefficient: standard errors of a known rate's factor

    @staticmethod
    def over(low_mm: Array, high_mm: Array, modes: int = MODES) -> Background:
        """Background of a field with the corners low and high (3,) in Reference."""
        lattice = Lattice.over(low_mm - LATTICE_MARGIN_MM, high_mm + LATTICE_MARGIN_MM, LATTICE_SPACING_MM)
        return Background(lattice, _modes(lattice.size, modes))

    def rows(self, projector: Projector, readings: Readings) -> Array:
        """(n, q) in cps per kBq/mL: counts of the uniform level and of each mode."""
        # einsum and not BLAS: a row must not depend on how many rows are made at once.
        rows = projector.background(self.lattice, readings).astype(np.float64)
        result: Array = np.einsum("nk,kq->nq", rows, self.modes, optimize=False)
        return result

    def precision(self, level: float) -> Array:
        """(q,) prior precision of the coefficients: none for the level, relative to it for the modulations."""
        out = np.full(self.modes.shape[1], 1.0 / (RELATIVE_SD * max(level, 1e-3)) ** 2)
        out[0] = 0.0
        return np.append(out, 1.0) if self.known_factor else out

    def modes_at(self, points_mm: Array) -> Array:
        """(n, q): what a unit of each coefficient is at points (n, 3), in kBq/mL."""
        return self.lattice.interpolate(self.modes, points_mm)


@lru_cache(maxsize=64)
def _modes(size: tuple[int, int, int], modes: int) -> Array:
    """(nodes, 1 + modes): the level, and the leading modes of a lattice of this size, wherever it lies.

    The squared-exponential kernel is a product over the axes, so its modes are products of those of each axis.
    """
    along = [_axis_modes(n) for n in size]
    weight = np.einsum("k,j,i->kji", along[2][0], along[1][0], along[0][0])
    leading = np.argsort(-weight.ravel(), kind="stable")[:modes]
    columns = [np.ones(int(np.prod(size)))]
    for k, j, i in zip(*np.unravel_index(leading, weight.shape), strict=True):
        shape = np.einsum("a,b,c->abc", along[2][1][:, k], along[1][1][:, j], along[0][1][:, i])
        columns.append(np.sqrt(weight[k, j, i]) * shape.ravel())
    result = np.stack(columns, axis=1)
    result.setflags(write=False)
    return result


def _axis_modes(n: int) -> tuple[Array, Array]:
    """Eigenvalues (n,), falling, and eigenvectors (n, n) of the kernel along one axis, their signs fixed."""
    place = LATTICE_SPACING_MM * np.arange(n)
    values, vectors = np.linalg.eigh(np.exp(-0.5 * ((place[:, None] - place) / CORRELATION_MM) ** 2))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n)])
    return values, vectors * signs
