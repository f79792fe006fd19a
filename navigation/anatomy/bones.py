"""Bone in a CT as a mask and a surface, apart from contrast medium and metal as far as CT numbers tell.

Hysteresis finds the spongy part with its cortex; a fluid with contrast medium is as dense as bone but even, bone is
not; metal is denser than any bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.body import AIR_HU, body_of, grown
from navigation.anatomy.skin import MOST_TRIANGLES, Mesh, surface_of
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# Spongy bone that hangs together with cortex, and cortex.
SPONGY_HU, CORTEX_HU = 160.0, 350.0
# Dental enamel and the densest cortex reach 2,500; titanium begins at the end of the 12-bit scale.
METAL_HU = 2800.0
# Blooming and streaks close to metal.
METAL_REACH_MM = 3.0
# Pieces smaller than this are calcifications, clips' blooming or noise.
LEAST_BONE_ML = 0.5
# Fluid with contrast medium varies by the CT's noise alone; bone by hundreds of HU. At least so many HU, and so many
# times the noise of soft tissue.
LEAST_TEXTURE_HU, TEXTURE_NOISE = 60.0, 3.0
# Vessels and bowel with contrast medium stay below; what is even and denser is taken for bone, urine too.
MOST_CONTRAST_HU = 600.0
# So much of a piece must lie under its own surface for its texture to be told.
LEAST_CORE_VOXELS = 20
MOST_HU = 3071.0


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """Bone, and what looks like it: masks (nz, ny, nx) on a grid of some 2 mm, with the CT numbers there."""

    hu: Floats
    bone: Mask
    metal: Mask
    contrast: Mask
    grid: VoxelGrid


def bones_of(volume_hu: NDArray[np.floating], grid: VoxelGrid) -> Skeleton:
    """Bone, metal and contrast medium within the body of a CT (nz, ny, nx) in HU.

    Raises InputError when there is no body in the CT.
    """
    from scipy.ndimage import binary_propagation

    body = body_of(volume_hu, grid)
    hu = _merged(volume_hu, body.grid, grid)
    metal = _metal(volume_hu, body.grid, grid) & grown(body.mask, METAL_REACH_MM, body.grid)
    near_metal = grown(metal, METAL_REACH_MM, body.grid) if metal.any() else metal
    dense = (hu > SPONGY_HU) & body.mask & ~near_metal
    candidate = np.asarray(binary_propagation(dense & (hu > CORTEX_HU), mask=dense))
    soft = body.mask & (np.abs(hu) < SPONGY_HU)
    bone, contrast = _told_apart(candidate, hu, _noise(hu, soft), body.grid)
    return Skeleton(hu, bone, metal, contrast, body.grid)


def bone_surface(skeleton: Skeleton, most_triangles: int = MOST_TRIANGLES) -> Mesh:
    """The surface of the bone, normals outward, in LPS mm. Raises InputError when there is none."""
    within = grown(skeleton.bone, float(skeleton.grid.spacing_mm.max()), skeleton.grid)
    field = np.where(within, np.minimum(skeleton.hu, CORTEX_HU), 0.0)
    mesh = surface_of(field.astype(np.float32), skeleton.grid, SPONGY_HU, most_triangles)
    if len(mesh.triangles) == 0:
        raise InputError("no bone in this CT")
    return mesh


def _blocks(
    volume: NDArray[np.floating], coarse: VoxelGrid, fine: VoxelGrid
) -> tuple[NDArray[np.floating], list[int]]:
    """The part of a volume that a merged grid covers, and how many voxels it merges along k, j, i."""
    step = np.rint(coarse.spacing_mm / fine.spacing_mm).astype(int)[::-1]
    n = np.array(coarse.shape) * step
    return volume[: n[0], : n[1], : n[2]], [int(s) for s in step]


def _merged(volume: NDArray[np.floating], coarse: VoxelGrid, fine: VoxelGrid) -> Floats:
    """Mean CT numbers of merged voxels, air to the end of the 12-bit scale."""
    part, (sk, sj, si) = _blocks(volume, coarse, fine)
    nz, ny, nx = coarse.shape
    hu = np.empty(coarse.shape, dtype=np.float32)
    for k in range(nz):
        slab = np.clip(np.nan_to_num(part[k * sk : (k + 1) * sk], nan=AIR_HU), AIR_HU, MOST_HU)
        hu[k] = slab.reshape(sk, ny, sj, nx, si).mean(axis=(0, 2, 4))
    return hu


def _metal(volume: NDArray[np.floating], coarse: VoxelGrid, fine: VoxelGrid) -> Mask:
    """Merged voxels that hold one of metal."""
    part, (sk, sj, si) = _blocks(volume, coarse, fine)
    nz, ny, nx = coarse.shape
    found = np.empty(coarse.shape, dtype=np.bool_)
    for k in range(nz):
        slab = part[k * sk : (k + 1) * sk] > METAL_HU
        found[k] = slab.reshape(sk, ny, sj, nx, si).any(axis=(0, 2, 4))
    return found


def _noise(hu: Floats, soft: Mask) -> float:
    """SD of soft tissue from the differences of neighbours along a row."""
    steps = np.abs(np.diff(hu, axis=2)[soft[:, :, 1:] & soft[:, :, :-1]])
    return float(np.median(steps) / 0.6745 / np.sqrt(2.0)) if len(steps) > 100 else 0.0


def _told_apart(candidate: Mask, hu: Floats, noise: float, grid: VoxelGrid) -> tuple[Mask, Mask]:
    """Bone, and even pieces that are contrast medium; pieces too small for either are left out."""
    from scipy.ndimage import binary_erosion, label

    labels, count = label(candidate, np.ones((3, 3, 3), dtype=np.bool_))
    volume = np.bincount(labels.reshape(-1), minlength=count + 1) * grid.voxel_ml
    # The rim of anything dense is uneven by partial volume: texture is that of the core.
    core = np.where(binary_erosion(candidate, np.ones((3, 3, 3), dtype=np.bool_)), labels, 0).reshape(-1)
    flat = hu.reshape(-1).astype(np.float64)
    held = np.bincount(core, minlength=count + 1)
    mean = np.bincount(core, flat, count + 1) / np.maximum(held, 1)
    spread = np.sqrt(np.maximum(np.bincount(core, flat**2, count + 1) / np.maximum(held, 1) - mean**2, 0.0))
    even = (
        (held >= LEAST_CORE_VOXELS)
        & (mean < MOST_CONTRAST_HU)
        & (spread < max(LEAST_TEXTURE_HU, TEXTURE_NOISE * noise))
    )
    even[0], large = False, volume >= LEAST_BONE_ML
    large[0] = False
    return np.asarray((large & ~even)[labels]), np.asarray((large & even)[labels])
