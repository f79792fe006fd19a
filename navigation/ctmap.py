"""Attenuation of this patient from the CT, relative to soft tissue, in the study's frame and brought into Reference.

Hounsfield units to relative attenuation by the usual bilinear rule: water and air fix the lower branch, and bone's
rise is flattened because its Compton part grows less than its CT number (Burger et al. 2002,
DOI 10.1007/s00259-002-0796-3).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.io.study import load_study
from navigation.registration.study import load_registration
from navigation.surface import TISSUE_SPACING_MM, Surface, TissueMap
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
Codes = NDArray[np.uint8]

# Slope above water: attenuation per HU relative to water's 1/1000, at 140 keV.
BONE_SLOPE = 0.55
# Below this a voxel is air: lung is the lightest tissue that counts.
AIR_HU = -900.0
# Attenuation is kept in hundredths of soft tissue's; 2.54 is metal, and one more says: outside the patient.
HUNDREDTHS, MOST_CODE, OUTSIDE = 100.0, 254, 255
# Near what was touched the touched surface says where tissue begins, a registration errs by millimetres; from the
# second distance on, where it is only continued, the CT does.
TOUCHED_MM, CONTINUED_MM = 15.0, 45.0
# A place of which less lies in the CT's patient is outside of him.
LEAST_INSIDE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class StudyTissue:
    """Attenuation of a CT: `codes` (nz, ny, nx) on a coarse `grid` of the study, `T_study_reference` (4, 4)."""

    codes: Codes
    grid: VoxelGrid
    T_study_reference: Array

    @staticmethod
    def of(volume_hu: NDArray[np.float32], grid: VoxelGrid) -> StudyTissue:
        """Of a CT (nz, ny, nx) in HU, not registered yet: table and air round the patient are outside.

        Raises InputError when there is no body in it.
        """
        from navigation.anatomy.body import body_of

        body = body_of(volume_hu, grid)
        merged = [max(int(TISSUE_SPACING_MM / s), 1) for s in grid.spacing_mm]
        values, coarse = _merged(relative_mu(volume_hu), grid, merged)
        codes = np.minimum(np.rint(HUNDREDTHS * values), MOST_CODE).astype(np.uint8)
        codes[~body.contains(coarse.points()).reshape(coarse.shape)] = OUTSIDE
        return StudyTissue(codes, coarse, np.eye(4))

    def registered(self, T_study_reference: Array) -> StudyTissue:
        """The same under a registration (4, 4)."""
        return replace(self, T_study_reference=np.asarray(T_study_reference, dtype=np.float64))

    def in_box(self, low_mm: Array, high_mm: Array) -> TissueMap:
        """On a grid of Reference that fills a box; beyond the CT's field its border continues."""
        axes = [
            np.arange(a, b + TISSUE_SPACING_MM, TISSUE_SPACING_MM)
            for a, b in zip(low_mm, high_mm, strict=True)
        ]
        z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
        values = self.at(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
        return TissueMap(
            values.reshape(x.shape).astype(np.float32), np.array(low_mm), TISSUE_SPACING_MM, "ct"
        )

    def at(self, points_mm: Array) -> Array:
        """Relative attenuation (n,) at points (n, 3) of Reference; 0 outside the patient."""
        return self._interpolated(points_mm)[0]

    def behind(self, surface: Surface | None, low_mm: Array, high_mm: Array) -> TissueMap:
        """Tissue of a box; near the touched `surface` that says where it begins, and the CT of what kind it is."""
        if surface is None:
            return self.in_box(low_mm, high_mm)
        touched = surface.tissue(low_mm, high_mm)
        points, shape = _nodes(touched), touched.values.shape
        ct, inside = self._interpolated(points)
        # Behind the skin lies tissue even where the CT, misplaced by the registration, has air round the patient.
        kind = np.where(inside < LEAST_INSIDE, 1.0, ct / np.maximum(inside, LEAST_INSIDE)).reshape(shape)
        distance = _distance(surface, points).reshape(shape)
        trust = np.clip((CONTINUED_MM - distance) / (CONTINUED_MM - TOUCHED_MM), 0.0, 1.0)
        values = trust * touched.values * kind + (1.0 - trust) * ct.reshape(shape)
        return TissueMap(values.astype(np.float32), touched.origin_mm, touched.spacing_mm, touched.source)

    def _interpolated(self, points_mm: Array) -> tuple[Array, Array]:
        """Attenuation (n,) at points (n, 3) of Reference, and the share (n,) of the patient in it."""
        from scipy.ndimage import map_coordinates

        T = self.T_study_reference
        index = self.grid.index_of(points_mm @ T[:3, :3].T + T[:3, 3])[:, ::-1].T
        inside = (self.codes != OUTSIDE).astype(np.float32)
        values = inside * self.codes / np.float32(HUNDREDTHS)
        found = [
            map_coordinates(v, index, order=1, mode="nearest").astype(np.float64) for v in (values, inside)
        ]
        return found[0], found[1]

    def to_json(self) -> dict[str, Any]:
        """Grid and packed codes, without the registration."""
        return {
            "origin_mm": self.grid.origin_mm.tolist(),
            "spacing_mm": self.grid.spacing_mm.tolist(),
            "size": list(self.grid.size),
            "direction": self.grid.direction.tolist(),
            "codes": base64.b64encode(zlib.compress(self.codes.tobytes(), 9)).decode("ascii"),
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> StudyTissue:
        """What `to_json` wrote. Raises KeyError, TypeError or ValueError when it is not that."""
        nx, ny, nz = (int(n) for n in found["size"])
        arrays = [np.array(found[key], dtype=np.float64) for key in ("origin_mm", "spacing_mm", "direction")]
        raw = zlib.decompress(base64.b64decode(found["codes"]))
        codes = np.frombuffer(raw, dtype=np.uint8).reshape(nz, ny, nx)
        return StudyTissue(codes, VoxelGrid(arrays[0], arrays[1], (nx, ny, nz), arrays[2]), np.eye(4))


def tissue_of_study(study: Path) -> StudyTissue:
    """Of the CT of an imported study, in the study's frame. Raises InputError without a usable CT."""
    series = load_study(study).ct
    if series is None or not series.usable:
        raise InputError(f"{study}: no usable CT in it")
    try:
        return StudyTissue.of(series.volume(), series.grid)
    except InputError as fault:
        raise InputError(f"{study}: {fault}") from fault


def tissue_from_study(study: Path, registration: Path) -> StudyTissue:
    """The same brought into Reference by reg.json (T_study_reference).

    Raises InputError without a usable CT, GateRefusedError for a refused registration.
    """
    return tissue_of_study(study).registered(load_registration(registration).T_study_reference.matrix)


def relative_mu(hounsfield: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear attenuation over that of soft tissue; 0 in air."""
    above = 1.0 + BONE_SLOPE * hounsfield / 1000.0
    below = 1.0 + hounsfield / 1000.0
    value = np.where(hounsfield > 0, above, below)
    return np.where(hounsfield < AIR_HU, 0.0, np.maximum(value, 0.0)).astype(np.float32)


def _merged(
    values: NDArray[np.float32], grid: VoxelGrid, merged: list[int]
) -> tuple[NDArray[np.float32], VoxelGrid]:
    """Means over blocks of so many voxels along i, j, k; what is left over at the end is cut off."""
    size = [max(n // m, 1) for n, m in zip(grid.size, merged, strict=True)]
    steps = [min(m, n) for m, n in zip(merged, grid.size, strict=True)]
    cut = values[: size[2] * steps[2], : size[1] * steps[1], : size[0] * steps[0]]
    blocks = cut.reshape(size[2], steps[2], size[1], steps[1], size[0], steps[0])
    first = grid.origin_mm + grid.direction @ (grid.spacing_mm * (np.array(steps) - 1.0) / 2.0)
    coarse = VoxelGrid(first, grid.spacing_mm * np.array(steps), (size[0], size[1], size[2]), grid.direction)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32), coarse


def _nodes(tissue: TissueMap) -> Array:
    """(n, 3) mm: nodes of a tissue map, in the order of its flattened values."""
    nz, ny, nx = tissue.values.shape
    k, j, i = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    return np.asarray(
        tissue.origin_mm + tissue.spacing_mm * np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)
    )


def _distance(surface: Surface, points_mm: Array) -> Array:
    """(n,) mm from points (n, 3) sideways to the nearest touched one: what lies deep below it is near it, too."""
    from scipy.spatial import cKDTree

    axis = surface.normals.mean(axis=0)
    axis /= max(float(np.linalg.norm(axis)), 1e-9)
    flat = np.eye(3) - np.outer(axis, axis)
    return np.asarray(cKDTree(surface.points_mm @ flat).query(points_mm @ flat)[0])
