"""Where one looks in the study: a place, three planes through it, and what a click on one of them means. Without Qt.

Places are LPS millimetres. Planes stand as radiologists look at them: the patient's right on the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.reslice import Plane, linear
from navigation.ui.compose import CT_BRIGHTEST, LOOK, Backdrop

Array = NDArray[np.float64]

LEFT, BACK, UP = np.eye(3)
# Title, picture right, picture down, letters right and down.
AXES = (
    ("Axial", LEFT, BACK, ("R", "L", "A", "P")),
    ("Coronal", LEFT, -UP, ("R", "L", "S", "I")),
    ("Sagittal", BACK, -UP, ("A", "P", "S", "I")),
)
# Half of what a plane shows on its shorter side, from the finest look to a whole patient.
SMALLEST_MM, LARGEST_MM, FIRST_MM = 20.0, 400.0, 120.0
PIXELS = 360
OUTSIDE_HU = -1024.0


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A place (3,) and how much is seen round it: `half_mm` on the shorter side of a picture."""

    place_mm: Array
    half_mm: float = FIRST_MM

    def planes(self) -> tuple[Plane, ...]:
        """Axial, coronal, sagittal, through the place."""
        return tuple(Plane(self.place_mm, right, down) for _, right, down, _ in AXES)

    def zoomed(self, factor: float) -> Look:
        """The same place, nearer or farther."""
        return Look(self.place_mm, float(np.clip(self.half_mm * factor, SMALLEST_MM, LARGEST_MM)))

    def moved(self, plane: int, right_mm: float, down_mm: float, through_mm: float = 0.0) -> Look:
        """The place that lies so far right of, below and behind the middle of a plane."""
        shown = self.planes()[plane]
        offset = right_mm * shown.right + down_mm * shown.down + through_mm * shown.normal
        return Look(self.place_mm + offset, self.half_mm)


def first_look(backdrop: Backdrop) -> Look:
    """The middle of the study."""
    grid = backdrop.grid
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (
        np.array(grid.size) - 1
    )
    axes = np.asarray(grid.direction) * np.asarray(grid.spacing_mm)
    places = corners @ axes.T + np.asarray(grid.origin_mm)
    return Look(places.mean(axis=0))


def pixels(backdrop: Backdrop, plane: Plane, half_mm: tuple[float, float]) -> NDArray[np.uint8]:
    """RGB (rows, columns, 3) of the CT on a plane; black outside of it."""
    scale = PIXELS / (2.0 * max(half_mm))
    shape = (max(2, round(2 * half_mm[1] * scale)), max(2, round(2 * half_mm[0] * scale)))
    hu = linear(backdrop.values, backdrop.grid, plane.points(half_mm, shape), OUTSIDE_HU)
    grey = CT_BRIGHTEST * np.clip((hu - LOOK.ct_hu[0]) / (LOOK.ct_hu[1] - LOOK.ct_hu[0]), 0.0, 1.0)
    return np.repeat(np.asarray(grey, dtype=np.uint8)[..., None], 3, axis=-1)
