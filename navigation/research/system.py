"""The linear model of one scan on a voxel grid: rows in half precision, projection, back-projection, likelihood.

Images are (nz, ny, nx) in kBq/mL at the reference time; readings are (n,) in order of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.counter.deadtime import DeadTime
from navigation.likelihood import Counts
from navigation.reconstruction.rowstore import PAD, RowStore
from navigation.reconstruction.setup import ImagingSetup
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
RowsOf = Callable[[Array, Readings], Array32]

# Rows made at once: single precision for a few, never for a scan.
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """Per reading (n,): what was counted in which live time, when, and how the counter loses counts.

    `additive_cps` is a known rate on top (a second nuclide's spill); `nuclide` and `simulated` go into files.
    """

    counts: Array
    live_s: Array
    t_s: Array
    dead_time: DeadTime
    additive_cps: Array | None = None
    nuclide: str = ""
    simulated: bool = False

    @staticmethod
    def of(setup: ImagingSetup, readings: Readings) -> Detection:
        """Of a scan's readings."""
        spill = None if setup.spill is None else setup.spill.of(readings).cps
        return Detection(
            readings.counts,
            readings.live_s,
            readings.t_s,
            setup.dead_time,
            spill,
            setup.nuclide.name,
            setup.simulated,
        )

    @property
    def likelihood(self) -> Counts:
        """The Poisson likelihood with dead time; readings above 30 % loss are lower bounds."""
        return Counts.of(self.counts, self.live_s, self.t_s, self.dead_time)

    def total_cps(self, rate_cps: Array) -> Array:
        """(n,): a modelled rate and the known one."""
        return rate_cps if self.additive_cps is None else rate_cps + self.additive_cps


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """Rows of n readings over the `columns` (m,) of a grid's flattened arrays; `shell` says whether one more is theirs.

    `store` holds them as float16 with one scale a row, in cps per kBq (the shell: per kBq/mL).
    """

    grid: VoxelGrid
    columns: NDArray[np.intp]
    store: RowStore
    detection: Detection
    shell: bool

    @staticmethod
    def of(
        setup: ImagingSetup,
        readings: Readings,
        grid: VoxelGrid,
        inside: NDArray[np.bool_],
        rows_of: RowsOf,
        level_rows: Array | None,
    ) -> System:
        """Build the rows; `level_rows` (n,) in cps per kBq/mL of all tissue, None for no shell.

        Raises InputError where no voxel is inside.
        """
        columns = np.flatnonzero(inside)
        if len(columns) == 0:
            raise InputError(
                "no voxel of the grid is inside the tissue: are grid and scan in the same frame?"
            )
        points, shell = grid.points()[columns], level_rows is not None
        store = row_store(len(columns) + int(shell), len(readings))
        for low in range(0, len(readings), ROWS_AT_ONCE):
            part = slice(low, low + ROWS_AT_ONCE)
            rows = rows_of(points, readings.select(part))
            if level_rows is not None:
                held = rows.sum(axis=1, dtype=np.float64) * grid.voxel_ml
                beyond = np.maximum(level_rows[part] - held, 0.0).astype(np.float32)
                rows = np.concatenate([rows, beyond[:, None]], axis=1)
            store.append(rows)
        return System(grid, columns, store, Detection.of(setup, readings), shell)

    def __len__(self) -> int:
        return len(self.store)

    def rows(self) -> Array32:
        """(n, m) float32 in cps per kBq, widened from the store, the shell left out; 4 n m bytes."""
        return self.store.unpacked(slice(0, len(self.columns)))

    def shell_cps(self) -> Array32:
        """(n,) cps per kBq/mL of the tissue outside the voxels; zeros without a shell."""
        if not self.shell:
            return np.zeros(len(self), dtype=np.float32)
        column: Array32 = self.store.unpacked(slice(len(self.columns), None))[:, 0]
        return column

    def project(self, image: ArrayLike, shell_kbq_per_ml: float = 0.0) -> Array32:
        """(n,) cps of an image (nz, ny, nx) in kBq/mL and of a level outside it; before dead time."""
        return self.store.project(self.vector(image, shell_kbq_per_ml))

    def back_project(self, values: ArrayLike) -> Array32:
        """(nz, ny, nx): the adjoint of `project` over the voxels, of values (n,); zero outside them."""
        given = np.ascontiguousarray(values, dtype=np.float32)
        if given.shape != (len(self),):
            raise InputError(f"values have shape {given.shape}, the scan has {len(self)} readings")
        return self.image(self.store.back_project(given)) * np.float32(self.grid.voxel_ml)

    def sensitivity(self) -> Array32:
        """(nz, ny, nx): counts of the whole scan per kBq in a voxel; zero where no activity may be."""
        live = np.ascontiguousarray(self.detection.live_s, dtype=np.float32)
        return self.image(self.store.back_project(live))

    def expected(self, image: ArrayLike, shell_kbq_per_ml: float = 0.0) -> Array:
        """(n,) expected counts of an image, dead time and known rate included."""
        rate = self.project(image, shell_kbq_per_ml).astype(np.float64)
        return self.detection.likelihood.expected(self.detection.total_cps(rate))

    def log_likelihood(self, image: ArrayLike, shell_kbq_per_ml: float = 0.0) -> float:
        """Poisson log-likelihood of the counts, up to a constant of the data."""
        rate = self.project(image, shell_kbq_per_ml).astype(np.float64)
        return self.detection.likelihood.log_likelihood(self.detection.total_cps(rate))

    def vector(self, image: ArrayLike, shell_kbq_per_ml: float = 0.0) -> Array32:
        """(stride,) as the store multiplies it: kBq of each column, the shell's level, and padding.

        Raises InputError for an image of another shape.
        """
        values = np.asarray(image, dtype=np.float32)
        if values.shape != self.grid.shape:
            raise InputError(f"the image has shape {values.shape}, the grid (nz, ny, nx) {self.grid.shape}")
        out = np.zeros(self.store.stride, dtype=np.float32)
        out[: len(self.columns)] = values.reshape(-1)[self.columns] * np.float32(self.grid.voxel_ml)
        if self.shell:
            out[len(self.columns)] = shell_kbq_per_ml
        return out

    def image(self, vector: Array32) -> Array32:
        """(nz, ny, nx) of the first m entries of a vector, zero elsewhere."""
        out = np.zeros(int(np.prod(self.grid.shape)), dtype=np.float32)
        out[self.columns] = vector[: len(self.columns)]
        return out.reshape(self.grid.shape)


def row_store(width: int, rows: int) -> RowStore:
    """An empty store that takes so many rows as they are: nothing of a researcher's scan is merged."""
    return RowStore(width, cap_bytes=2 * max(rows, 1) * -(-width // PAD) * PAD)
