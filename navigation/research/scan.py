"""One scan, opened: its readings, its calibration, and response rows wherever a researcher wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.offline import Prepared, ScanOptions, prepare, reconstruct_prepared
from navigation.reconstruction.geometry import Geometry, build_geometry
from navigation.reconstruction.live import reconstruct
from navigation.reconstruction.setup import ImagingSetup
from navigation.research.answer import Answer
from navigation.research.system import System
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Where = str | Path

# A voxel belongs to the patient when at least half of it is tissue.
TISSUE_SHARE = 0.5
# Side of a voxel where none is named: finer than any probe resolves.
VOXEL_MM = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class OpenScan:
    """A scan and what it was measured with; positions in mm in the Reference frame.

    `readings`: n counting intervals on the probe's path, poses as `T_reference_probetip`. `setup`: nuclide, detector
    response, dead time, and `reasons`: what is doubtful. `geometry`: tissue, projector and automatic field of view.
    """

    readings: Readings
    setup: ImagingSetup
    geometry: Geometry
    prepared: Prepared
    latency_told: bool

    def __len__(self) -> int:
        return len(self.readings)

    @property
    def poses(self) -> Array:
        """(n, 4, 4) `T_reference_probetip` at the middle of each reading; +Z out of the face."""
        return self.readings.mid_poses

    @property
    def decay(self) -> Array:
        """(n,): activity at each reading over that at the reference time."""
        return self.setup.decay(self.readings.t_s)

    def grid(self, voxel_mm: float = VOXEL_MM) -> VoxelGrid:
        """The automatic field of view, all that the probe looked at, with cubes of another side."""
        if not 0.0 < voxel_mm < np.inf:
            raise InputError(f"voxel_mm is {voxel_mm:g}: it must be positive")
        own = self.geometry.field.grid
        low = own.origin_mm - own.direction @ own.spacing_mm / 2
        sides = np.array(own.size) * own.spacing_mm
        nx, ny, nz = (max(round(s), 1) for s in sides / voxel_mm)
        return VoxelGrid(
            low + own.direction @ np.full(3, voxel_mm / 2), np.full(3, voxel_mm), (nx, ny, nz), own.direction
        )

    def rows(self, where: VoxelGrid | ArrayLike) -> Array32:
        """(n, m) float32 in cps per kBq at the reference time, of points (m, 3) or of all voxels of a grid.

        Attenuation, scatter in the window, decay and the path within each reading are in it; dead time is not. The
        columns of a grid are those of `array.ravel()` for its (nz, ny, nx) arrays. 4 n m bytes: `system` needs half.
        """
        points = points_of(where)
        return self._rows(points, self.readings)

    def background_rows(self) -> Array:
        """(n, q) in cps per kBq/mL: of a uniform level in all tissue (column 0), and of its smooth modulations."""
        return self.geometry.background.rows(self.geometry.projector, self.readings) * self.decay[:, None]

    def tissue(self, grid: VoxelGrid) -> NDArray[np.bool_]:
        """(nz, ny, nx): voxels at least half of which are tissue, by the touched surface, the CT or the path."""
        tissue = self.geometry.projector.tissue
        if tissue is None:
            return np.ones(grid.shape, dtype=bool)
        inside: NDArray[np.bool_] = tissue.at(grid.points()).reshape(grid.shape) >= TISSUE_SHARE
        return inside

    def system(
        self, grid: VoxelGrid | None = None, where: NDArray[np.bool_] | None = None, shell: bool = True
    ) -> System:
        """The rows on a grid (default: the field of view) in half precision, ready for estimators.

        `where` (nz, ny, nx) picks the voxels that may hold activity, by default the tissue. `shell` adds one unknown:
        a uniform level in the tissue outside these voxels, which the probe counts as well.
        """
        grid = self.grid() if grid is None else grid
        inside = self.tissue(grid) if where is None else np.asarray(where, dtype=bool)
        if inside.shape != grid.shape:
            raise InputError(f"where has shape {inside.shape}, the grid {grid.shape}")
        level = self.background_rows()[:, 0] if shell else None
        return System.of(self.setup, self.readings, grid, inside, self._rows, level)

    def reconstruct(self) -> Answer:
        """The application's own answer: foci, maps, background; where the latency is not told, it is estimated."""
        if self.latency_told:
            return Answer(reconstruct(self.setup, self.readings))
        return Answer(reconstruct_prepared(self.prepared)[0])

    def _rows(self, points_mm: Array, readings: Readings) -> Array32:
        decay = self.setup.decay(readings.t_s).astype(np.float32)
        rows = self.geometry.projector.rows(points_mm, readings)
        rows *= decay[:, None]
        return rows


def open_scan(
    where: Where,
    probe: Where,
    *,
    surface: Where | None = None,
    tips: Sequence[Where] = (),
    latency_s: float | None = None,
    latency: Where | None = None,
    registration: Where | None = None,
    ct: Where | None = None,
    sheath: Where | None = None,
    crosstalk: Where | None = None,
) -> OpenScan:
    """Open a scan folder or record (`case.gnr#scan-1`) with the calibration `probe`, a file or a store of records.

    The other files are those of `gammanav reconstruct`. `latency_s` is the count latency in s; without it that of
    `latency`, the scan or the calibration is used, and where none of them tells, the middle of what is usual, until
    `reconstruct` estimates it. Raises InputError with one line that names the file, GateRefusedError for a
    calibration that may not be used.
    """
    options = ScanOptions(
        surface=_path(surface),
        tips=tuple(Path(t) for t in tips),
        latency=_path(latency),
        registration=_path(registration),
        ct=_path(ct),
        sheath=_path(sheath),
        crosstalk=_path(crosstalk),
    )
    if latency_s is not None and not 0.0 <= latency_s < np.inf:
        raise InputError(f"latency_s is {latency_s:g}: it must not be negative")
    prepared = prepare(Path(where), Path(probe), options)
    told = latency_s is not None or prepared.prior.measured
    used = prepared.prior.latency_s if latency_s is None else latency_s
    setup, readings = prepared.setup(used), prepared.placed(used)
    return OpenScan(readings, setup, build_geometry(setup, readings), prepared, told)


def points_of(where: VoxelGrid | ArrayLike) -> Array:
    """(m, 3) mm in Reference: of a grid all voxel centres, x fastest. Raises InputError for another shape."""
    if isinstance(where, VoxelGrid):
        return where.points()
    points = np.asarray(where, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"points of shape {points.shape}: (m, 3) finite positions in mm are needed")
    return points


def _path(name: Where | None) -> Path | None:
    return None if name is None else Path(name)
