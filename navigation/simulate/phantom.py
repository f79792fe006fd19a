"""The patient as voxels: CT numbers and blurred activity on grids in the study's LPS frame.

The CT shows skin, soft tissue, a spine deep below the region and the radio-opaque fiducials; the SPECT
what a camera makes of the activity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.chance import stream
from navigation.simulate.rates import Source
from navigation.simulate.scenes import Patient, Scene
from navigation.volume import VoxelGrid
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

CT_SPACING_MM, CT_SIZE = (2.75, 2.75, 3.0), (160, 128, 84)
NM_SPACING_MM, NM_SIZE = (4.6, 4.6, 4.6), (96, 78, 56)
AIR_HU, SOFT_HU, SKIN_HU, BONE_HU, FIDUCIAL_HU = -1000.0, 40.0, 80.0, 650.0, 2600.0
CT_NOISE_HU = 8.0
SKIN_MM, FIDUCIAL_RADIUS_MM, SPINE_RADIUS_MM = 2.5, 3.0, 17.0
# The spine lies this far above the body's lowest point, out of the probe's sight.
SPINE_ABOVE_BACK_MM = 38.0
SPECT_FWHM_MM = 9.5
# Counts per kBq in a voxel over the whole acquisition: sets the noise of the image.
SPECT_COUNTS_PER_KBQ = 400.0
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def study_grid(
    patient: Patient, spacing_mm: tuple[float, float, float], size: tuple[int, int, int]
) -> VoxelGrid:
    """An LPS-aligned grid of axial slices round the region, reaching from above the skin down to the back."""
    T = patient.T_study_body
    middle = T[:3, :3] @ np.array([*patient.scan_centre, -patient.body.c_mm]) + T[:3, 3]
    spacing = np.array(spacing_mm)
    return VoxelGrid(middle - 0.5 * spacing * (np.array(size) - 1.0), spacing, size, np.eye(3))


def _in_body(patient: Patient, grid: VoxelGrid) -> Array:
    T = invert_rigid(patient.T_study_body)
    return np.asarray(grid.points() @ T[:3, :3].T + T[:3, 3])


def _in_study(patient: Patient, points: Array) -> Array:
    return np.asarray(points @ patient.T_study_body[:3, :3].T + patient.T_study_body[:3, 3])


def _soft(distance_mm: Array, width_mm: float) -> Array:
    """Share (n,) of a voxel within a border, from the signed distance to it (positive inside)."""
    return np.clip(0.5 + distance_mm / width_mm, 0.0, 1.0)


def ct_numbers(scene: Scene, grid: VoxelGrid) -> NDArray[np.int16]:
    """(nz, ny, nx) in HU, with noise."""
    patient, width = scene.patient, float(grid.spacing_mm.max())
    points = _in_body(patient, grid)
    body = patient.body
    tissue = body.occupancy(points, width)
    deep = body.occupancy(points + np.array([0.0, 0.0, SKIN_MM]), width)
    hu = AIR_HU + (SKIN_HU - AIR_HU) * tissue + (SOFT_HU - SKIN_HU) * deep * tissue
    axis = np.array([patient.scan_centre[0], -2.0 * body.c_mm + SPINE_ABOVE_BACK_MM])
    spine = _soft(SPINE_RADIUS_MM - np.linalg.norm(points[:, [0, 2]] - axis, axis=1), width) * deep
    hu += (BONE_HU - hu) * spine
    for ball, index in zip(
        patient.fiducials, grid.index_of(_in_study(patient, patient.fiducials)), strict=True
    ):
        near = _box(grid, index, FIDUCIAL_RADIUS_MM + width)
        share = _soft(FIDUCIAL_RADIUS_MM - np.linalg.norm(points[near] - ball, axis=1), width)
        hu[near] += (FIDUCIAL_HU - hu[near]) * share
    hu += stream(scene.seed, scene.name, "ct").normal(0.0, CT_NOISE_HU, hu.shape)
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16).reshape(grid.shape)


def _box(grid: VoxelGrid, index: Array, reach_mm: float) -> NDArray[np.int64]:
    """Flat indices of the voxels within a box round a continuous index (i, j, k)."""
    reach = np.ceil(reach_mm / grid.spacing_mm)
    low = np.clip(np.floor(index - reach), 0, np.array(grid.size)).astype(np.int64)
    high = np.clip(np.ceil(index + reach) + 1, 0, np.array(grid.size)).astype(np.int64)
    i, j, k = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    nx, ny, _ = grid.size
    return np.asarray(((k[:, None, None] * ny + j[:, None]) * nx + i).ravel())


def activity(scene: Scene, grid: VoxelGrid) -> NDArray[np.float64]:
    """(nz, ny, nx) in kBq/mL as a camera with SPECT_FWHM_MM sees it, with its counting noise; never
    negative.
    """
    from scipy.ndimage import gaussian_filter

    patient = scene.patient
    points = _in_body(patient, grid)
    width = float(grid.spacing_mm.max())
    kbq = patient.body.occupancy(points, width) * patient.background.at(points) * grid.voxel_ml
    kbq = kbq.reshape(grid.shape)
    for source in (*patient.lesions, *patient.others):
        _deposit(
            kbq, grid, source.points @ patient.T_study_body[:3, :3].T + patient.T_study_body[:3, 3], source
        )
    seen = gaussian_filter(kbq, SPECT_FWHM_MM / FWHM_PER_SIGMA / grid.spacing_mm[::-1], mode="constant")
    counts = stream(scene.seed, scene.name, "spect").poisson(np.maximum(seen, 0.0) * SPECT_COUNTS_PER_KBQ)
    # A reconstruction's filter smooths the noise of neighbouring voxels together.
    smooth = gaussian_filter(counts.astype(np.float64), 0.7, mode="constant")
    return np.asarray(smooth / SPECT_COUNTS_PER_KBQ / grid.voxel_ml)


def _deposit(kbq: Array, grid: VoxelGrid, points: Array, source: Source) -> None:
    """Add a source's points to their eight nearest voxels each (trilinear), those outside the grid left
    out.
    """
    index = grid.index_of(points)
    low = np.floor(index).astype(np.int64)
    part = index - low
    size = np.array(grid.size)
    for corner in np.ndindex(2, 2, 2):
        at = low + np.array(corner)
        weight = np.prod(np.where(np.array(corner) == 1, part, 1.0 - part), axis=1)
        inside = ((at >= 0) & (at < size)).all(axis=1)
        i, j, k = at[inside].T
        np.add.at(kbq, (k, j, i), (weight * source.shares)[inside] * source.activity_kbq)
