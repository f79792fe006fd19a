"""Which part of a CT is the patient: without the table, clothing and supports, with lungs and bowel gas filled.

Thin things beside the patient fall to an opening; air inside is what no wide way leads to from the outside. All on a
coarser grid: the borders are made sharp again where a surface is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Air and water; the border of tissue is half-way, where any blur leaves it.
AIR_HU, WATER_HU, BORDER_HU = -1000.0, 0.0, -500.0
# Nothing real is below: scanners fill what they did not reconstruct with -2000, -3024 or less.
UNMEASURED_HU = -1500.0
# Voxels are merged up to this size: a surface follows the CT numbers between them, far finer.
WORK_MM = 2.0
# What is thinner than twice this falls off: table tops, clothing, tubes; the wall over a lung or bowel is thicker.
OPENING_MM = 3.0
# The outside reaches in where a ball of this radius passes: over the navel, not through nostrils into the lungs.
PASSAGE_MM = 4.0
# An enclosed air of more than this is lung, not the outside: lungs have some -850 HU.
LUNG_HU = -950.0
# A part of the body that stands alone in the field, as a second leg, has this share of the largest; an arm has less.
LEAST_PART = 0.25
# Less tissue than this is no patient.
LEAST_BODY_ML = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """The patient on a working grid: CT numbers within AIR_HU and WATER_HU, mask, and which voxels were measured."""

    hu: Floats  # (nz, ny, nx)
    mask: Mask
    measured: Mask
    grid: VoxelGrid

    def contains(self, points_mm: Array) -> Mask:
        """(n,): whether points (n, 3) in LPS mm lie in the body; False beyond the field."""
        index = np.rint(self.grid.index_of(points_mm)).astype(np.int64)
        inside = np.asarray(((index >= 0) & (index < np.array(self.grid.size))).all(axis=1))
        i, j, k = np.where(inside[:, None], index, 0).T
        return np.asarray(self.mask[k, j, i] & inside)


def body_of(volume_hu: NDArray[np.floating], grid: VoxelGrid) -> Body:
    """The patient in a CT (nz, ny, nx) in HU. Raises InputError when there is no body in it."""
    if volume_hu.shape != grid.shape:
        raise InputError(f"a volume of {volume_hu.shape} voxels on a grid of {grid.shape}")
    hu, measured, coarse = _worked(volume_hu, grid)
    solid = (hu > BORDER_HU) & measured
    tissue = _largest(grown(shrunk(solid, OPENING_MM, coarse), OPENING_MM, coarse))
    if np.count_nonzero(tissue) * coarse.voxel_ml < LEAST_BODY_ML:
        raise InputError(f"no body in this CT: less than {LEAST_BODY_ML:.0f} mL of tissue")
    # The opening rounds what is sharp; the tissue next to it comes back.
    tissue = grown(tissue, float(coarse.spacing_mm.max()), coarse) & solid
    return Body(hu, tissue | _inner_air(tissue, hu, coarse), measured, coarse)


def _worked(volume: NDArray[np.floating], grid: VoxelGrid) -> tuple[Floats, Mask, VoxelGrid]:
    """CT numbers between air and water in merged voxels, which of these were measured, and their grid."""
    step = np.maximum(np.floor(WORK_MM / grid.spacing_mm + 1e-6).astype(int), 1)
    size = np.maximum(np.array(grid.size) // step, 1)
    origin = grid.origin_mm + grid.direction @ (grid.spacing_mm * (step - 1) / 2)
    coarse = VoxelGrid(
        origin, grid.spacing_mm * step, (int(size[0]), int(size[1]), int(size[2])), grid.direction
    )
    hu = np.empty(coarse.shape, dtype=np.float32)
    measured = np.empty(coarse.shape, dtype=np.bool_)
    si, sj, sk = (int(s) for s in step)
    nx, ny, nz = coarse.size
    for k in range(nz):
        slab = volume[k * sk : (k + 1) * sk, : ny * sj, : nx * si].astype(np.float32)
        real = np.isfinite(slab) & (slab > UNMEASURED_HU)
        slab = np.where(real, np.clip(slab, AIR_HU, WATER_HU), AIR_HU)
        cells = (-1, ny, sj, nx, si)
        hu[k] = slab.reshape(cells).mean(axis=(0, 2, 4))
        measured[k] = real.reshape(cells).all(axis=(0, 2, 4))
    return hu, measured & ~_blank_corners(volume, coarse, step), coarse


def _blank_corners(volume: NDArray[np.floating], coarse: VoxelGrid, step: NDArray[np.int_]) -> Mask:
    """What lies beyond the circle of reconstruction, where all of it holds one value: it was never measured."""
    across = _across(coarse)
    edges = [n for a, n in enumerate(coarse.shape) if a != across]
    v, u = np.ogrid[: edges[0], : edges[1]]
    beyond = np.hypot((2 * v + 1) / edges[0] - 1.0, (2 * u + 1) / edges[1] - 1.0) > 1.0
    nz, ny, nx = coarse.shape
    si, sj, sk = (int(s) for s in step)
    seen = np.moveaxis(volume[: nz * sk : sk, : ny * sj : sj, : nx * si : si], across, 0)[:, beyond]
    blank = bool(seen.size) and bool((seen == seen.flat[0]).all())
    return np.broadcast_to(np.expand_dims(beyond & blank, across), coarse.shape)


def _across(grid: VoxelGrid) -> int:
    """The axis of the array along which the planes are most nearly axial."""
    return 2 - int(np.argmax(np.abs(grid.direction[2])))


def _ball(radius_mm: float, grid: VoxelGrid) -> Mask:
    """Structuring element of the voxels whose centres lie within `radius_mm` of the middle one."""
    reach = np.floor(radius_mm / grid.spacing_mm + 1e-6).astype(int)[::-1]
    offsets = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    away = sum((o * s) ** 2 for o, s in zip(offsets, grid.spacing_mm[::-1], strict=True))
    return np.asarray(away <= radius_mm**2 * (1.0 + 1e-6))


def shrunk(mask: Mask, radius_mm: float, grid: VoxelGrid) -> Mask:
    """The mask less a rim of `radius_mm`; what it is beyond the field is taken to go on."""
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(mask, _ball(radius_mm, grid), border_value=1))


def grown(mask: Mask, radius_mm: float, grid: VoxelGrid) -> Mask:
    """The mask and what lies within `radius_mm` of it."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, _ball(radius_mm, grid)))


def _largest(mask: Mask) -> Mask:
    """The largest connected part, and others that are comparable."""
    from scipy.ndimage import label

    labels, count = label(mask)
    if count == 0:
        return mask
    volumes = np.bincount(labels.ravel())
    volumes[0] = 0
    return np.asarray((volumes >= LEAST_PART * volumes.max())[labels])


def _inner_air(tissue: Mask, hu: Floats, grid: VoxelGrid) -> Mask:
    """Air within the body: what the outside does not reach by a wide way, and lungs wherever the field cuts them."""
    from scipy.ndimage import label

    air = ~tissue
    free = _free_in_plane(air, grid)
    labels, count = label(shrunk(air, PASSAGE_MM, grid))
    reached = np.zeros(count + 1, dtype=np.bool_)
    reached[np.unique(labels[free])] = True
    reached[0] = False
    outside = free | (grown(reached[labels], PASSAGE_MM, grid) & air)
    return (air & ~outside) | _lungs(free, hu) | _lungs(air & ~free, hu)


def _free_in_plane(air: Mask, grid: VoxelGrid) -> Mask:
    """Air that reaches the field's border within its own axial plane: never lungs or bowel that the ends cut."""
    from scipy.ndimage import label

    across = _across(grid)
    planes = np.moveaxis(air, across, 0)
    structure = np.zeros((3, 3, 3), dtype=np.bool_)
    structure[1] = [[False, True, False], [True, True, True], [False, True, False]]
    labels, count = label(planes, structure)
    rim = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    free = np.zeros(count + 1, dtype=np.bool_)
    free[np.unique(np.concatenate([r.ravel() for r in rim]))] = True
    free[0] = False
    return np.moveaxis(free[labels], 0, across)


def _lungs(air: Mask, hu: Floats) -> Mask:
    """The connected parts of some air whose median CT number is that of lung."""
    from scipy.ndimage import label

    labels, count = label(air)
    dense = np.bincount(labels[hu > LUNG_HU], minlength=count + 1)
    lung = dense > 0.5 * np.bincount(labels.reshape(-1), minlength=count + 1)
    lung[0] = False
    return np.asarray(lung[labels])
