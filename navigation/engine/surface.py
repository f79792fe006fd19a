"""The touched surface after a resection: where the bed was outlined, the skin touched before is gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A point of the old surface this near to the bed, seen along the bed's own normal, lies over the cavity.
CAVITY_MARGIN_MM = 6.0

Points = NDArray[np.float64]


def surface_after(surface_mm: Points | None, bed_mm: Points | None) -> Points | None:
    """The surface (k, 3) as it is now: old points beside the bed, and the bed's own; None if untouched."""
    if bed_mm is None or surface_mm is None:
        return surface_mm if bed_mm is None else bed_mm
    normal = _normal(surface_mm)
    flat_surface, flat_bed = (p - np.outer(p @ normal, normal) for p in (surface_mm, bed_mm))
    gap = np.linalg.norm(flat_surface[:, None] - flat_bed[None], axis=2).min(axis=1)
    return np.vstack([surface_mm[gap > CAVITY_MARGIN_MM], bed_mm])


def _normal(points_mm: Points) -> Points:
    """Direction (3,) in which the points vary least."""
    normal: Points = np.linalg.svd(points_mm - points_mm.mean(axis=0))[2][-1]
    return normal
