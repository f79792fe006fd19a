"""Volumes as an image registration takes them: values brought to one scale, the body's mask, the finer details cut.

Arrays are k-j-i; points are millimetres in the physical LPS space of the volume's grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CT = "CT"
# CT numbers and what they are brought to: air to dense bone, fat and muscle spread apart; beyond are metal and streaks.
HU_SCALE = ((-1000.0, -200.0, 300.0, 1000.0), (0.0, 0.2, 0.8, 1.0))
# Half-way between air and soft tissue, where any blur leaves the skin.
SKIN_HU = -500.0
# Share of the field's voxels below the level that stands for what takes up activity.
UPTAKE_QUANTILE = 0.9
# Poor tissue beside rich one has this share of its activity; hotter than HOTTEST times that is all alike: how hot a
# focus is says nothing of its place.
POOR_SHARE, HOTTEST = 0.1, 200.0
# Masks are made on voxels of about this size: an outline is found between them.
MASK_MM = 4.0
# Speckle of an emission image is joined over this distance before its outline is drawn.
MASK_SMOOTH_MM = 4.0
# Less than this is no patient's part but a phantom's or a fragment.
LEAST_BODY_ML = 50.0
# The air next to the skin counts as well: the outline is the strongest thing that both images show.
RIM_MM = 20.0


@dataclass(frozen=True, eq=False)
class ImageVolume:
    """One volume: `array` (nz, ny, nx) on `grid`, its modality ("" if unknown) and its name for messages."""

    array: NDArray[np.float32]
    grid: VoxelGrid
    modality: str = ""
    name: str = "volume"
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"array {self.array.shape} does not fit the grid {self.grid.shape}")
        if min(self.grid.size) < 2:
            raise InputError(f"{self.name}: a single slice cannot be registered")
        if not np.isfinite(self.array).all():
            raise InputError(f"{self.name}: voxels that are no numbers")
        if float(np.ptp(self.array)) == 0.0:
            raise InputError(f"{self.name}: all voxels are alike")

    @cached_property
    def scaled(self) -> NDArray[np.float32]:
        """Values between 0 and 1: CT numbers cut at air and bone, activity compressed so that tissue is seen."""
        if self.modality == CT:
            return np.interp(self.array, *HU_SCALE).astype(np.float32)
        low, poor = self._levels
        relative = np.clip((self.array - low) / poor, 0.0, HOTTEST)
        return np.asarray(np.log1p(relative) / np.log1p(HOTTEST), dtype=np.float32)

    @cached_property
    def _levels(self) -> tuple[float, float]:
        """Of an image other than CT: what stands for nothing, and how far above it poor tissue lies."""
        low, rich = (float(v) for v in np.quantile(self.array, (0.01, UPTAKE_QUANTILE)))
        return low, POOR_SHARE * (rich - low if rich > low else float(np.ptp(self.array)))

    @cached_property
    def body(self) -> tuple[Mask, VoxelGrid]:
        """The patient's mask and its grid of about MASK_MM. Raises InputError when a CT shows none."""
        from scipy.ndimage import binary_fill_holes, gaussian_filter, label

        values, grid = self.coarse(MASK_MM)
        if self.modality == CT:
            solid = values > float(np.interp(SKIN_HU, *HU_SCALE))
        else:
            smooth = gaussian_filter(values, MASK_SMOOTH_MM / grid.spacing_mm[::-1])
            solid = smooth > _otsu(smooth)
        labels, _ = label(solid)
        sizes = np.bincount(labels.ravel())[1:]
        if sizes.max(initial=0) * grid.voxel_ml >= LEAST_BODY_ML:
            largest = labels == 1 + int(sizes.argmax())
            return np.stack([binary_fill_holes(plane) for plane in largest]), grid
        if self.modality == CT:
            raise InputError(f"{self.name}: no body in it")
        # Foci without a body round them: the field stands for it, and the missing outline is what is told.
        return np.ones(grid.shape, dtype=np.bool_), grid

    @cached_property
    def rimmed(self) -> Mask:
        """The body's mask with the air within RIM_MM, on the grid of `body`."""
        from scipy.ndimage import distance_transform_edt

        mask, grid = self.body
        return np.asarray(distance_transform_edt(~mask, sampling=grid.spacing_mm[::-1]) <= RIM_MM)

    @cached_property
    def body_centre_mm(self) -> Array:
        """(3,) centre of the body's mask."""
        mask, grid = self.body
        index = np.argwhere(mask)[:, ::-1].mean(axis=0)
        return np.asarray(grid.matrix[:3, :3] @ index + grid.origin_mm)

    @cached_property
    def spread_mm(self) -> Array:
        """(6, 3) points that stand for the body: its middle moved by its standard deviation along each axis."""
        mask, grid = self.body
        points = np.argwhere(mask)[:, ::-1] @ grid.matrix[:3, :3].T
        sd = np.diag(points.std(axis=0))
        return np.concatenate([self.body_centre_mm + sd, self.body_centre_mm - sd])

    @property
    def field_centre_mm(self) -> Array:
        """(3,) middle of the field of view."""
        middle = 0.5 * (np.array(self.grid.size) - 1.0)
        return np.asarray(self.grid.matrix[:3, :3] @ middle + self.grid.origin_mm)

    @property
    def extent_mm(self) -> Array:
        """(3,) size of the field of view along the patient's axes."""
        sides = self.grid.matrix[:3, :3] * np.array(self.grid.size)
        return np.asarray(np.abs(sides).sum(axis=1))

    def coarse(self, spacing_mm: float) -> tuple[NDArray[np.float32], VoxelGrid]:
        """Scaled values merged to voxels of about `spacing_mm`, never finer than they are."""
        step = np.maximum(np.rint(spacing_mm / self.grid.spacing_mm).astype(int), 1)
        step = np.minimum(step, np.array(self.grid.size))
        size = np.array(self.grid.size) // step
        (si, sj, sk), (nx, ny, nz) = (int(s) for s in step), (int(n) for n in size)
        cut = self.scaled[: nz * sk, : ny * sj, : nx * si]
        merged = cut.reshape(nz, sk, ny, sj, nx, si).mean(axis=(1, 3, 5), dtype=np.float32)
        first = self.grid.origin_mm + self.grid.direction @ (self.grid.spacing_mm * (step - 1) / 2)
        return merged, VoxelGrid(first, self.grid.spacing_mm * step, (nx, ny, nz), self.grid.direction)

    def mirrored(self, axis: int) -> ImageVolume:
        """The volume turned into its mirror image along an axis of its grid (0 is i), in the same field."""
        return replace(self, array=np.ascontiguousarray(np.flip(self.array, 2 - axis)))

    def facts(self) -> dict[str, Any]:
        """What a result says of it."""
        grid = self.grid
        return {
            "name": self.name,
            "modality": self.modality or None,
            "size": list(grid.size),
            "spacing_mm": grid.spacing_mm.tolist(),
        }


def _otsu(values: NDArray[np.float32]) -> float:
    """Threshold between two classes of values with the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])
