"""Our side of the speed table: rows, pass, live tick and cold recompute on the main grid, through the code in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.reconstructionmodel import Model
from calibration.counter.deadtime import NO_DEAD_TIME
from calibration.probe.response import DEPTH_SCALE_MM
from navigation import _core
from navigation.likelihood import Counts
from navigation.projector import THREADS, Projector
from navigation.reconstruction.estimate import LiveEstimate, Told
from navigation.reconstruction.osem import PASSES, osem
from navigation.reconstruction.rowstore import RowStore
from navigation.research import Detection, System, VoxelGrid, save_system
from navigation.surface import Surface
from tests.navigation.scan_model import flat_surface, raster, response

VOXEL_MM = 2.0
AT_ONCE = 256
SPARE_READINGS = 400
LEVEL_KBQ_ML, FOCUS_KBQ = 0.4, 80.0
REPLAYED = 256


class Ours:
    """A scan of n readings over a grid of (nx, ny, nz) voxels of tissue."""

    few = 32
    cold_passes = PASSES

    def __init__(self, n: int, size: tuple[int, int, int]) -> None:
        self.readings = raster(n + SPARE_READINGS, half_mm=size[0] * VOXEL_MM / 2 - 10)
        low = np.array([-size[0], -size[1], -2 * size[2]]) * VOXEL_MM / 2
        self.grid = VoxelGrid.aligned(low + VOXEL_MM / 2, VOXEL_MM, size)
        high = low + VOXEL_MM * np.array(size)
        surface = Surface.from_points(flat_surface(), self.readings.mid_poses[:10])
        self.projector = Projector(response(), surface.tissue(low - 20, high + 20))
        self.points = self.grid.points()
        self.width = len(self.points)
        self.n = n
        self.store = self.rebuilt()
        self._count()
        self.estimate = LiveEstimate(self.store, self.start[: self.width].astype(np.float64))
        self.estimate.take(self.store, self.live)

    def _count(self) -> None:
        """Counts of a focus in a level, and what a pass needs."""
        truth = np.full(self.width, LEVEL_KBQ_ML * self.grid.voxel_ml)
        truth[
            self.grid.size[0] * (self.grid.size[1] // 2) + self.width * 3 // 4 + self.grid.size[0] // 2
        ] += FOCUS_KBQ
        rate = self.store.project(self.store.padded(truth))
        self.live = np.full(self.n, 0.1, dtype=np.float32)
        self.counts = np.random.default_rng(1).poisson(rate * self.live).astype(np.float32)
        self.start = self.store.padded(np.full(self.width, LEVEL_KBQ_ML * self.grid.voxel_ml))
        self.sensitivity = self.store.back_project(self.live)
        self._quiet = np.zeros(self.n, dtype=np.uint8)
        self._zero = np.zeros(self.store.stride, dtype=np.float32)

    def rebuilt(self) -> RowStore:
        """All rows from poses."""
        store = RowStore(self.width)
        for low in range(0, self.n, AT_ONCE):
            part = slice(low, min(low + AT_ONCE, self.n))
            store.append(self.projector.rows(self.points, self.readings.select(part)))
        return store

    def build(self, rows: int) -> np.ndarray:
        """(rows, m) float32."""
        return self.projector.rows(self.points, self.readings.head(rows))

    def one_pass(self, x: np.ndarray) -> np.ndarray:
        """One EM update over all rows, in place."""
        _core.em_subset(
            self.store.packed[: self.n],
            self.store.scales[: self.n],
            self.counts,
            self.live,
            self._quiet,
            0.0,
            False,
            NO_DEAD_TIME.saturated_rate_cps,
            0,
            1,
            self._zero,
            0.0,
            x,
            self.sensitivity,
            THREADS,
            True,
        )
        return x

    def tick(self) -> None:
        """What a new reading costs: its row, and one pass over it and the replayed ones."""
        n = len(self.store)
        fresh = self.readings.select(slice(n, n + 1))
        self.store.append(self.projector.rows(self.points, fresh))
        counts = np.append(self.counts, np.zeros(n + 1 - self.n, dtype=np.float32))
        live = np.append(self.live, np.full(n + 1 - self.n, 0.1, dtype=np.float32))
        told = Told(counts, live, np.zeros(n + 1, dtype=np.uint8), NO_DEAD_TIME)
        self.estimate.take(self.store, live)
        self.estimate.advance(self.store, told, REPLAYED, 1)

    def cold(self) -> None:
        """Everything from the poses, as after a new registration: rows, then the map."""
        counts = Counts(self.counts.astype(np.float64), self.live.astype(np.float64))
        osem(self.rebuilt(), counts, self.start[: self.width].astype(np.float64))

    def model(self) -> Model:
        """The first pose's row for whoever writes it anew."""
        r, tissue = self.projector.response, self.projector.tissue
        assert tissue is not None
        scales = np.array([r.recess_mm, DEPTH_SCALE_MM, r.leak, r.mu_per_mm, tissue.spacing_mm])
        pose = self.readings.mid_poses[0]
        return Model(pose, self.points.astype(np.float32), r.table, tissue.values, tissue.origin_mm, scales)

    def save(self, path: Path) -> None:
        """As `load_system` reads it."""
        detection = Detection(
            self.counts.astype(float), self.live.astype(float), 0.1 * np.arange(self.n), NO_DEAD_TIME
        )
        save_system(System(self.grid, np.arange(self.width), self.store, detection, False), path)


def bandwidth_of(buffer: np.ndarray) -> float:
    """Read a buffer once, on all cores of the linear algebra library."""
    return float(np.dot(buffer, buffer))


def memory_of(file: str, key: str) -> int:
    """Bytes of a line in kB."""
    line = next(line for line in Path(file).read_text().splitlines() if line.startswith(key + ":"))
    return 1024 * int(line.split()[1])
