"""Attenuation of this patient from a registered CT, relative to soft tissue, in the Reference frame.

Hounsfield units to relative attenuation by the usual bilinear rule: water and air fix the lower branch, and bone's
rise is flattened because its Compton part grows less than its CT number (Burger et al. 2002,
DOI 10.1007/s00259-002-0796-3).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.study import load_study
from navigation.registration.study import load_registration
from navigation.surface import TISSUE_SPACING_MM, TissueMap
from tracking.errors import InputError

# Slope above water: attenuation per HU relative to water's 1/1000, at 140 keV.
BONE_SLOPE = 0.55
# Below this a voxel is air: lung is the lightest tissue that counts.
AIR_HU = -900.0


def tissue_from_study(study: Path, registration: Path) -> TissueMap:
    """The CT of an imported study, brought into Reference by reg.json (T_study_reference).

    Raises InputError without a usable CT, GateRefusedError for a refused registration.
    """
    from scipy.ndimage import map_coordinates

    series = load_study(study).ct
    if series is None or not series.usable:
        raise InputError(f"{study}: no usable CT in it")
    inverse = load_registration(registration).T_study_reference.inverse()
    nz, ny, nx = series.grid.shape
    index = np.array(
        [(i, j, k) for i in (0, nx - 1) for j in (0, ny - 1) for k in (0, nz - 1)], dtype=np.float64
    )
    corners = inverse.apply(index @ series.grid.matrix[:3, :3].T + series.grid.origin_mm)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / TISSUE_SPACING_MM).astype(int) + 1
    axes = [low[a] + TISSUE_SPACING_MM * np.arange(size[a]) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    place = series.grid.index_of(inverse.inverse().apply(points))
    values = map_coordinates(
        relative_mu(series.volume()), place[:, ::-1].T, order=1, mode="constant", cval=0.0
    )
    return TissueMap(values.reshape(x.shape).astype(np.float32), low, TISSUE_SPACING_MM, "ct")


def relative_mu(hounsfield: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear attenuation over that of soft tissue; 0 in air."""
    above = 1.0 + BONE_SLOPE * hounsfield / 1000.0
    below = 1.0 + hounsfield / 1000.0
    value = np.where(hounsfield > 0, above, below)
    return np.where(hounsfield < AIR_HU, 0.0, np.maximum(value, 0.0)).astype(np.float32)
