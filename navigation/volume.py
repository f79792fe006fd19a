"""Voxel grids and the frozen maps that live on them.

Arrays are in k-j-i order, shape (nz, ny, nx); positions are millimetres in the Reference frame and are
exactly ITK's physical points: `origin + direction @ (spacing * (i, j, k))`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.physics.budget import Budget
from calibration.physics.injection import Given
from calibration.records.record import RecordStamp
from navigation.modelfit import Goodness


@dataclass(frozen=True, slots=True, eq=False)
class VoxelGrid:
    """Geometry of a volume: centre of voxel (0, 0, 0), spacing (3,) in mm along i, j, k, direction (3, 3)."""

    origin_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    size: tuple[int, int, int]  # (nx, ny, nz)
    direction: NDArray[np.float64]  # columns are the i, j, k axes

    @staticmethod
    def aligned(origin_mm: ArrayLike, spacing_mm: float, size: tuple[int, int, int]) -> VoxelGrid:
        """A grid of cubes along the axes of its frame."""
        return VoxelGrid(
            np.asarray(origin_mm, dtype=np.float64), np.full(3, float(spacing_mm)), size, np.eye(3)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (nz, ny, nx)."""
        nx, ny, nz = self.size
        return nz, ny, nx

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(4, 4): index (i, j, k, 1) to position."""
        m = np.eye(4)
        m[:3, :3] = self.direction * self.spacing_mm
        m[:3, 3] = self.origin_mm
        return m

    def points(self) -> NDArray[np.float64]:
        """(nz * ny * nx, 3): all voxel centres, in the order of the flattened array."""
        nz, ny, nx = self.shape
        k, j, i = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
        index = np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)
        return index @ self.matrix[:3, :3].T + self.origin_mm

    def index_of(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Continuous (i, j, k) of points (n, 3)."""
        offset = np.asarray(points_mm, dtype=np.float64) - self.origin_mm
        return (offset @ self.direction) / self.spacing_mm


@dataclass(frozen=True, slots=True, eq=False)
class ActivityMap:
    """One published state of the map: immutable; a newer one replaces it.

    `activity` kBq/mL, `relative_sd` (1 = 100 %), `mda_kbq` kBq of a point source, `upper_limit_kbq` what there may be
    at most of one beyond the background, one-sided 95 %; float32, k-j-i. Voxels that the scan does not examine hold 0
    in `activity` and NOT_EXAMINED in the others; `examined` is the mask. Where saturated readings looked, and
    where a strong focus leaves nothing to say, the last two are NO_LIMIT_KBQ: no activity could be excluded there.
    """

    grid: VoxelGrid
    activity: NDArray[np.float32]
    relative_sd: NDArray[np.float32]
    mda_kbq: NDArray[np.float32]
    upper_limit_kbq: NDArray[np.float32]
    examined: NDArray[np.bool_]
    version: int
    t_s: float  # time of the newest reading in it, on the scan's clock
    n_readings: int
    # The same of all but the activity, where these are refreshed on a slower rhythm.
    limits_t_s: float | None = None
    limits_readings: int | None = None


# What RelSd, MDA and limit volumes hold where the scan has not looked: no real value is negative.
NOT_EXAMINED = -1.0
# What MDA and limit are where none can be told: a figure no threshold reaches, and finite for files and wire.
NO_LIMIT_KBQ = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """A focus of activity: position (3,) mm, covariance (3, 3) mm2 in Reference, kBq at reference time."""

    id: int
    position_mm: NDArray[np.float64]
    covariance_mm2: NDArray[np.float64]
    extent_mm: float
    activity_kbq: float
    activity_ci95_kbq: tuple[float, float]
    significance: float
    tbr: float | None
    quality: str  # "ok" | "limited" | "unusable"
    reasons: tuple[str, ...] = ()
    budget: Budget | None = None  # what the interval of the activity is made of
    percent_injected: tuple[float, float, float] | None = None  # of what was given, and its 95 % interval
    depth_below_surface_mm: float | None = None  # None where no surface is known
    depth_sd_mm: float | None = None

    @property
    def sd_mm(self) -> float:
        """Root of the largest eigenvalue of the covariance."""
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance_mm2)[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class ScanResult:
    """Everything one scan says: the map, the spots, the local background and how the counts were placed."""

    map: ActivityMap
    spots: tuple[Spot, ...]
    background_kbq_per_ml: float
    count_latency_s: float
    count_latency_ci95_s: tuple[float, float] | None
    samples_total: int
    samples_placed: int
    nuclide: str
    reasons: tuple[str, ...] = ()
    simulated: bool = False
    given: Given | None = None  # administered activity at the reference time, where the case tells it
    samples_saturated: int = 0  # of those placed; each is a lower bound only
    records: tuple[RecordStamp, ...] = ()  # every calibration it rests on, the detector's first
    goodness: Goodness | None = None  # whether the model fits the counts
