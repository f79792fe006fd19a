"""A small asymmetric patient for registrations of images: a CT and what a camera would see of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from navigation.registration.imagevolume import ImageVolume
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]
CT_GRID = VoxelGrid.aligned((-150.0, -110.0, -90.0), 4.0, (76, 56, 46))
NM_GRID = VoxelGrid.aligned((-160.0, -120.0, -100.0), 5.0, (65, 49, 41))
SOFT, LUNG, BONE, LIVER = 40.0, -800.0, 500.0, 60.0


def _ball(points: Array, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """1 within an ellipsoid, 0 without, soft over some millimetres."""
    away = np.linalg.norm((points - np.array(centre)) / np.array(radii), axis=1)
    return np.clip(0.5 + (1.0 - away) * min(radii) / 4.0, 0.0, 1.0)


def parts(grid: VoxelGrid, patient: int = 0) -> dict[str, Array]:
    """Shares of the organs in each voxel; another number is another patient."""
    p = grid.points()
    d = 1.0 if patient == 0 else 0.8
    body = _ball(p, (0, 0, 0), (115.0 * d, 80.0 / d**0.5, 130.0))
    body = np.maximum(body, _ball(p, (60, -55, 30), (40.0, 30.0, 40.0)))
    return {
        "body": body,
        "liver": _ball(p, (-50, -15, -20 * d), (45.0 * d, 40.0, 50.0)) * body,
        "lung": _ball(p, (50 * d, 5, 60), (38.0, 42.0, 50.0 / d)) * body,
        "spine": _ball(p, (0, 60 * d, 0), (16.0, 16.0, 400.0)) * body,
        "kidney": _ball(p, (55, 35, -40 * d), (18.0, 16.0, 30.0)) * body,
    }


def ct(grid: VoxelGrid = CT_GRID, patient: int = 0, seed: int = 1) -> ImageVolume:
    """CT numbers with noise."""
    o = parts(grid, patient)
    hu = -1000.0 + (SOFT + 1000.0) * o["body"]
    for name, value in (("liver", LIVER + 60.0), ("lung", LUNG), ("spine", BONE), ("kidney", LIVER)):
        hu = hu + (value - hu) * o[name]
    hu = hu + np.random.default_rng(seed).normal(0.0, 15.0, hu.shape)
    return ImageVolume(hu.reshape(grid.shape).astype(np.float32), grid, "CT", "ct")


def spect(grid: VoxelGrid = NM_GRID, patient: int = 0, background: float = 1.0) -> ImageVolume:
    """Activity, blurred to 10 mm and noisy; without background only two foci are left."""
    o = parts(grid, patient)
    tissue = o["body"] * (1.0 - 0.8 * o["lung"]) + 3.0 * o["liver"] + 8.0 * o["kidney"]
    foci = 60.0 * _ball(grid.points(), (20, -40, 10), (7.0, 7.0, 7.0))
    foci += 40.0 * _ball(grid.points(), (-30, 20, -50), (7.0, 7.0, 7.0))
    seen = gaussian_filter(
        (background * tissue + foci).reshape(grid.shape), 10.0 / 2.355 / grid.spacing_mm[0]
    )
    counts = np.random.default_rng(2).poisson(np.maximum(seen, 0.0) * 50.0)
    return ImageVolume((counts / 50.0).astype(np.float32), grid, "NM", "spect")


def displaced(volume: ImageVolume, T: Array) -> ImageVolume:
    """The same voxels said to lie where T (4, 4) puts them: the right registration is the inverse of T."""
    g = volume.grid
    grid = VoxelGrid(T[:3, :3] @ g.origin_mm + T[:3, 3], g.spacing_mm, g.size, T[:3, :3] @ g.direction)
    return ImageVolume(volume.array, grid, volume.modality, volume.name)


def cropped(volume: ImageVolume, low: tuple[int, int, int], high: tuple[int, int, int]) -> ImageVolume:
    """The voxels low <= (i, j, k) < high."""
    g = volume.grid
    (a, b, c), (d, e, f) = low, high
    array = np.ascontiguousarray(volume.array[c:f, b:e, a:d])
    origin = g.origin_mm + g.direction @ (g.spacing_mm * np.array(low))
    return ImageVolume(
        array, VoxelGrid(origin, g.spacing_mm, (d - a, e - b, f - c), g.direction), volume.modality
    )
