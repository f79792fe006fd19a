"""The touched surface after a resection: where the bed was outlined, the skin touched before is gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.surface import surface_after_resection
from tracking.tip import frame_along

# Share of the touched points, from the middle outwards, over which the probe is expected.
SCANNED_SHARE = 0.6

Points = NDArray[np.float64]


def surface_after(surface_mm: Points | None, bed_mm: Points | None) -> Points | None:
    """The surface (k, 3) as it is now: old points beside the bed, and the bed's own; None if untouched.

    Raises InputError when the bed is a line or a point.
    """
    if bed_mm is None or surface_mm is None:
        return surface_mm if bed_mm is None else bed_mm
    return surface_after_resection(surface_mm, bed_mm, _normal(surface_mm))


def expected_poses(surface_mm: Points, probe_mm: Points) -> Points:
    """Poses (p, 4, 4) from which a probe, now at `probe_mm` (3,) outside, will look at a surface (k, 3).

    Only the inner part of what was touched counts: a hand touches wider than it scans.
    """
    centre, inward = surface_mm.mean(axis=0), _normal(surface_mm)
    inward = inward if inward @ (centre - probe_mm) > 0.0 else -inward
    distance = np.linalg.norm(surface_mm - centre, axis=1)
    inner = surface_mm[distance <= np.quantile(distance, SCANNED_SHARE)]
    poses = np.tile(frame_along(np.zeros(3), inward), (len(inner), 1, 1))
    poses[:, :3, 3] = inner
    return poses


def _normal(points_mm: Points) -> Points:
    """Direction (3,) in which the points vary least; its sign does not matter here."""
    normal: Points = np.linalg.svd(points_mm - points_mm.mean(axis=0))[2][-1]
    return normal
