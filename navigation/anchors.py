"""Rows of extended sources that were made already, and what follows from them a fraction of a millimetre away.

A ball is hundreds of points with six neighbours each; a fit asks for it again and again at nearly the same place.
The rows at the place and half a millimetre to each side of it tell those in between to second order along each axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracking.sample import Readings

Array = NDArray[np.float64]

# How far from where its rows were made a source may be, as a share of its radius, and at most in mm, and how far every
# face must be from it: the mixed second derivative that is left out then changes its rows by less than 5e-4 of the
# largest, and their slopes by less than a tenth of the steepest.
NEAR_SHARE, FARTHEST_MM, CLEAR_MM = 0.02, 0.5, 4.0
# Rows that are kept of sources of one size and shape.
KEPT = 4


@dataclass(slots=True, eq=False)
class Anchors:
    """Of one scan's readings; not thread-safe, like the fits that ask for it."""

    readings: Readings | None = None
    made: dict[tuple[float, object], list[tuple[Array, Array]]] = field(default_factory=dict)

    def near(
        self, readings: Readings, key: tuple[float, object], position_mm: Array, step_mm: float
    ) -> Array | None:
        """Rows (n, 7) at a place (3,), then `step_mm` to both sides along x, y, z; None where none were made near."""
        if self.readings is not readings or nearest_face(readings, position_mm) < key[0] + CLEAR_MM:
            return None
        allowed = min(NEAR_SHARE * key[0], FARTHEST_MM)
        for place, rows in reversed(self.made.get(key, [])):
            offset = position_mm - place
            if float(np.linalg.norm(offset)) <= allowed:
                return moved(rows, offset, step_mm)
        return None

    def keep(self, readings: Readings, key: tuple[float, object], position_mm: Array, rows: Array) -> None:
        """Rows (n, 7) that were made."""
        if self.readings is not readings:
            self.readings, self.made = readings, {}
        self.made[key] = [*self.made.get(key, [])[1 - KEPT :], (position_mm, rows)]


def nearest_face(readings: Readings, position_mm: Array) -> float:
    """How near a place (3,) the probe's face came, in mm."""
    offset = readings.mid_poses[:, :3, 3] - position_mm
    return float(np.sqrt(np.einsum("ni,ni->n", offset, offset).min()))


def moved(rows: Array, offset_mm: Array, step_mm: float) -> Array:
    """Rows (n, 7) of a place and `step_mm` to both sides along each axis, as they are `offset_mm` (3,) away."""
    middle, less, more = rows[:, 0], rows[:, 1::2], rows[:, 2::2]
    slope = (more - less) / (2.0 * step_mm)
    bend = (more - 2.0 * middle[:, None] + less) / step_mm**2
    out = np.empty_like(rows)
    out[:, 0] = middle + slope @ offset_mm + 0.5 * bend @ offset_mm**2
    there, curved = slope + bend * offset_mm, 0.5 * bend * step_mm**2
    out[:, 1::2] = out[:, :1] - step_mm * there + curved
    out[:, 2::2] = out[:, :1] + step_mm * there + curved
    return out
