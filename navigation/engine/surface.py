"""The touched surface after a resection: where the bed was outlined, the skin touched before is gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.surface import surface_after_resection

Points = NDArray[np.float64]


def surface_after(surface_mm: Points | None, bed_mm: Points | None) -> Points | None:
    """The surface (k, 3) as it is now: old points beside the bed, and the bed's own; None if untouched.

    Raises InputError when the bed is a line or a point.
    """
    if bed_mm is None or surface_mm is None:
        return surface_mm if bed_mm is None else bed_mm
    return surface_after_resection(surface_mm, bed_mm, _normal(surface_mm))


def _normal(points_mm: Points) -> Points:
    """Direction (3,) in which the points vary least; its sign does not matter here."""
    normal: Points = np.linalg.svd(points_mm - points_mm.mean(axis=0))[2][-1]
    return normal
