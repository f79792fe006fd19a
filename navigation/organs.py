"""Organs of a registered study as compartments of the reconstruction: where the tracer is by nature, and its shape.

An extended hot region of the SPECT or PET is taken over with its shape; its activity is an unknown of the scan,
because hours lie between the study and the operation. Foci are never taken from the study: they are looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.basins import own_part
from navigation.io.study import StudySeries, load_study
from navigation.pointlayer import Known
from navigation.registration.study import load_registration
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]

# Outline of a region as a share of its own maximum (the usual 40 % of nuclear medicine).
OUTLINE_SHARE = 0.4
# Smaller regions may be foci, which are found and not presumed: one of no size is 6.4 mL at 40 % with 20 mm resolution.
LEAST_ML = 8.0
# A region is hot when its maximum is so many times the median of the patient's body, and at least this share of the
# hottest voxel: what is cooler is left to the smooth background.
LEAST_CONTRAST, LEAST_SHARE = 8.0, 0.02
# The patient's body in an image of activity: above this share of the image's 99.9 % quantile there is tissue.
BODY_SHARE = 2e-4
MOST_ORGANS = 8
# A maximum is one among this many voxels along each axis: noise makes lesser ones on the flanks of a hot region.
PEAK_VOXELS = 5
# Error of an organ's place along each axis: registration by landmarks, and breathing between study and table.
REGISTRATION_SD_MM = 4.0
# Points that carry an organ's shape in the model: 9 mm cubes of a kidney of 200 mL, finer than a probe resolves.
MOST_POINTS = 300


@dataclass(frozen=True, slots=True, eq=False)
class Organ:
    """An extended region of uptake: points (k, 3) in Reference in mm with shares (k,) of its activity, sum 1.

    `volume_ml` is that inside the outline; `mean_kbq_per_ml` as the study shows it, None where that has no unit.
    """

    name: str
    points_mm: Array
    shares: Array
    volume_ml: float
    mean_kbq_per_ml: float | None = None

    @property
    def centre_mm(self) -> Array:
        """(3,): centroid of the activity."""
        centre: Array = self.shares @ self.points_mm
        return centre

    def moved(self, matrix: Array) -> Organ:
        """Under a rigid transform (4, 4), as from the study into Reference."""
        return replace(self, points_mm=self.points_mm @ matrix[:3, :3].T + matrix[:3, 3])

    def known(self, place_sd_mm: float = REGISTRATION_SD_MM) -> Known:
        """The organ as the joint fit takes it; `place_sd_mm` is the registration's error along each axis."""
        return Known(self.name, self.points_mm - self.centre_mm, self.shares, self.centre_mm, place_sd_mm)


def organs_from_study(study: Path, registration: Path) -> tuple[Organ, ...]:
    """The hot organs of an imported study in Reference, the hottest first; none without an image of activity.

    Raises InputError for an unreadable study, GateRefusedError for a refused registration.
    """
    inverse = load_registration(registration).T_study_reference.inverse().matrix
    return tuple(organ.moved(inverse) for organ in organs_of_study(study))


def organs_of_study(study: Path) -> tuple[Organ, ...]:
    """The same in the study's frame. Raises InputError for an unreadable study or one that is not registered."""
    series = load_study(study).functional
    if series is None:
        return ()
    if not series.usable:
        raise InputError(
            f"{study}: its {series.modality} series has no frame of reference in common with the study"
        )
    return tuple(
        _organ(n, region, series) for n, region in enumerate(hot_regions(series.volume(), series.grid))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A hot region of an image: points (k, 3) in the image's frame, their weights (k,), volume, mean value, voxels."""

    points_mm: Array
    weights: Array
    volume_ml: float
    mean: float
    mask: NDArray[np.bool_]  # (nz, ny, nx)


def hot_regions(volume: NDArray[np.float32], grid: VoxelGrid) -> tuple[Region, ...]:
    """Extended hot regions of an image of activity (nz, ny, nx), the hottest first.

    Each is outlined at OUTLINE_SHARE of its own maximum; what belongs to one belongs to no other.
    """
    values = np.where(np.isfinite(volume), volume, 0.0).astype(np.float64)
    free = values > 0.0
    found: list[Region] = []
    for peak in _peaks(values):
        if not free.ravel()[peak] or len(found) == MOST_ORGANS:
            continue
        top = float(values.ravel()[peak])
        mask = _connected(free & (values >= OUTLINE_SHARE * top), peak)
        # The flank of a hotter and smaller source round the corner is no part of this one.
        mask = _connected(own_part(values, mask, top), peak)
        free &= ~mask
        if np.count_nonzero(mask) * grid.voxel_ml >= LEAST_ML:
            found.append(_region(values, mask, grid))
    return tuple(found)


def _peaks(values: Array) -> list[int]:
    """Flat indices of the hot local maxima, the hottest first."""
    from scipy.ndimage import maximum_filter

    top = maximum_filter(values, size=PEAK_VOXELS) == values
    hot = np.flatnonzero(top & (values > _least_peak(values)))
    return [int(i) for i in hot[np.argsort(-values.ravel()[hot], kind="stable")]]


def _least_peak(values: Array) -> float:
    """The maximum that a region must have to be hot."""
    top = float(values.max(initial=0.0))
    body = values[values > BODY_SHARE * float(np.quantile(values, 0.999))]
    quiet = float(np.median(body)) if len(body) else 0.0
    return max(LEAST_CONTRAST * quiet, LEAST_SHARE * top)


def _connected(mask: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """The part of a mask that hangs together with one voxel (flat index)."""
    from scipy.ndimage import label

    labels = label(mask)[0]
    part: NDArray[np.bool_] = labels == labels.ravel()[seed]
    return part


def _region(values: Array, mask: NDArray[np.bool_], grid: VoxelGrid) -> Region:
    """A masked region as weighted points; neighbouring voxels are merged where there are many."""
    index = np.argwhere(mask)
    weights = values[mask]
    step = max(int(np.ceil((len(index) / MOST_POINTS) ** (1.0 / 3.0))), 1)
    cell, inverse = np.unique(index // step, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    held = np.bincount(inverse, weights, len(cell))
    centres = np.stack(
        [np.bincount(inverse, weights * index[:, a], len(cell)) / held for a in (2, 1, 0)], axis=1
    )
    points = centres @ grid.matrix[:3, :3].T + grid.origin_mm
    return Region(points, held / held.sum(), len(index) * grid.voxel_ml, float(weights.mean()), mask)


def _organ(number: int, region: Region, series: StudySeries) -> Organ:
    scale = {"BQML": 1e-3, "kBq/mL": 1.0}.get(series.units)
    mean = None if scale is None else region.mean * scale
    name = f"organ {number + 1} of the study ({region.volume_ml:.0f} mL)"
    return Organ(name, region.points_mm, region.weights, region.volume_ml, mean)
