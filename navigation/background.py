"""Tissue background as a spatial unknown: one level and smooth modulations of it over coarse compartments.

The level is free; the modulations follow a Gaussian process over a lattice with a relative standard deviation, kept
as its leading modes, so that a weak deep source is not mistaken for a gradient nor a gradient for a source.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    @staticmethod
    def over(low_mm: Array, high_mm: Array, modes: int = MODES) -> Background:
        """Background of a field with the corners low and high (3,) in Reference."""
        lattice = Lattice.over(low_mm - LATTICE_MARGIN_MM, high_mm + LATTICE_MARGIN_MM, LATTICE_SPACING_MM)
        nodes = lattice.points()
        distance2 = ((nodes[:, None] - nodes[None]) ** 2).sum(axis=-1)
        values, vectors = np.linalg.eigh(np.exp(-0.5 * distance2 / CORRELATION_MM**2))
        order = np.argsort(values)[::-1][:modes]
        # The sign of an eigenvector is arbitrary; fixing it keeps results the same from run to run.
        signs = np.sign(vectors[np.abs(vectors[:, order]).argmax(axis=0), order])
        smooth = vectors[:, order] * signs * np.sqrt(np.maximum(values[order], 0.0))
        return Background(lattice, np.concatenate([np.ones((len(nodes), 1)), smooth], axis=1))

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
        return out

    def modes_at(self, points_mm: Array) -> Array:
        """(n, q): what a unit of each coefficient is at points (n, 3), in kBq/mL."""
        return self.lattice.interpolate(self.modes, points_mm)
