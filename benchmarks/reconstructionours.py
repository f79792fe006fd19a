"""Our side of the speed table: rows, pass, live tick and cold recompute on the main grid, through the code in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.live import LEVEL_KBQ_PER_ML, counted, path
from benchmarks.reconstructionmodel import Model
from calibration.counter.deadtime import NO_DEAD_TIME
from calibration.probe.response import DEPTH_SCALE_MM
from navigation import _core
from navigation.field import MapGrid
from navigation.likelihood import Counts
from navigation.projector import THREADS
from navigation.reconstruction import ImagingSetup
from navigation.reconstruction.geometry import build_geometry
from navigation.reconstruction.livescan import LiveScan
from navigation.reconstruction.osem import PASSES, Told, osem
from navigation.reconstruction.rowstore import RowStore
from navigation.reconstruction.stage import stage_over
from navigation.research import Detection, System, VoxelGrid, save_system
from navigation.schedule import Work
from tests.navigation.scan_model import flat_surface, response

VOXEL_MM = 2.0
AT_ONCE = 256
SPARE_READINGS = 400


class Ours:
    """A scan of n readings over a grid of (nx, ny, nz) voxels of tissue."""

    few = 32
    cold_passes = PASSES

    def __init__(self, n: int, size: tuple[int, int, int]) -> None:
        high = np.array([size[0], size[1], 0.0]) * VOXEL_MM / 2
        low = high - VOXEL_MM * np.array(size)
        made = ImagingSetup.create(response(), flat_surface(), "Tc-99m")
        self.setup = replace(made, grid=MapGrid(VOXEL_MM, tuple(low), tuple(high)))
        self.readings = counted(self.setup, path(n + SPARE_READINGS, half_mm=size[0] * VOXEL_MM / 2 - 10))
        self.grid = VoxelGrid.aligned(low + VOXEL_MM / 2, VOXEL_MM, size)
        self.projector = build_geometry(self.setup, self.readings.head(100)).projector
        self.points = self.grid.points()
        self.width, self.n = len(self.points), n
        self.store = self.rebuilt()
        self._count()
        self.live_scan, self._ticked = LiveScan(self.setup), n
        self.live_scan.add(self.readings.head(n))
        self.live_scan.advance(Work())

    def _count(self) -> None:
        """What a pass needs."""
        self.live = self.readings.live_s[: self.n].astype(np.float32)
        self.counts = self.readings.counts[: self.n].astype(np.float32)
        self.start = self.store.padded(np.full(self.width, LEVEL_KBQ_PER_ML * self.grid.voxel_ml))
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
        """What a new reading costs in the live map: its row, one pass over it and the replayed ones, the map."""
        self.live_scan.add(self.readings.select(slice(self._ticked, self._ticked + 1)))
        self.live_scan.advance(Work())
        self._ticked += 1

    def cold(self) -> None:
        """Everything from the poses, as after a new registration: field, rows, background, then the map."""
        stage = stage_over(self.setup, self.readings.head(self.n), None)
        assert stage is not None
        level = np.full(len(stage.points_mm), LEVEL_KBQ_PER_ML)
        counts = Counts(self.counts.astype(np.float64), self.live.astype(np.float64))
        osem(stage.store, stage.of_rows(Told.of(counts)), stage.mean_of(level, LEVEL_KBQ_PER_ML))

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
