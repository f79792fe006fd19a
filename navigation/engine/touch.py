"""Points touched with the stylus: the tip's path while a surface is outlined, thinned to an even spacing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Points closer than this add weight but no shape: a cavity wall is described well by points some 7 mm apart.
SPACING_MM = 4.0
# More points than this no hand touches; a bound keeps memory flat when outlining is left on.
MOST_POINTS = 4000


class TouchedPoints:
    """Touched points in Reference, mm, none closer than the spacing to another."""

    def __init__(self, spacing_mm: float = SPACING_MM) -> None:
        self.spacing_mm = spacing_mm
        self._points = np.zeros((0, 3))

    def add(self, point_mm: NDArray[np.float64]) -> bool:
        """Take a point (3,) unless one is there already."""
        if len(self._points) >= MOST_POINTS:
            return False
        if len(self._points) and np.linalg.norm(self._points - point_mm, axis=1).min() < self.spacing_mm:
            return False
        self._points = np.vstack([self._points, point_mm])
        return True

    def replace(self, points_mm: NDArray[np.float64]) -> None:
        """Take all points (k, 3) as they are, instead of what was there."""
        self._points = np.array(points_mm, dtype=np.float64).reshape(-1, 3)

    @property
    def points_mm(self) -> NDArray[np.float64] | None:
        """(k, 3), or None while fewer than three points say anything of a surface."""
        return self._points.copy() if len(self._points) >= 3 else None

    def __len__(self) -> int:
        return len(self._points)
