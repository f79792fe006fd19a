"""The live map at ten ticks a second beside a loaded core: tick times, deadlines, age, memory, and the likelihood of
the map against MLEM from scratch on the same rows.

Run: python -m benchmarks.live [--seconds 600] [--at 1200 --at 20000 --ticks 300] [--grid 128 128 96 2] [--bed]
The short form, `--seconds 20`, takes about half a minute; `--at N` begins with N readings at once.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from navigation import _core
from navigation.bed import Bed
from navigation.coverage import Aim
from navigation.engine.imaging import Imager
from navigation.engine.planner import Planner
from navigation.field import MapGrid
from navigation.projector import THREADS
from navigation.reconstruction import ImagingSetup
from navigation.reconstruction.geometry import build_geometry, rows_of
from navigation.reconstruction.livescan import LiveScan
from navigation.reconstruction.rowstore import RowStore
from navigation.schedule import Frame
from tests.navigation.scan_model import flat_surface, response
from tracking.sample import Readings

Array = NDArray[np.float64]

TICK_S, DEADLINE_S = 0.1, 0.1
SOURCES = (((6.0, -4.0, -18.0), 80.0), ((-30.0, 20.0, -25.0), 40.0), ((30.0, 30.0, -12.0), 20.0))
LEVEL_KBQ_PER_ML = 0.4
MLEM_STEPS = (20, 50)
BUSY = "while True: pass"


def path(n: int, half_mm: float) -> Readings:
    """Readings of 0.1 s without counts: lines at 25 mm/s over +-half_mm that wander and tilt, never twice the same."""
    t = np.arange(n) * TICK_S
    x = np.abs((25.0 * t / (2 * half_mm)) % 2 - 1) * 2 * half_mm - half_mm
    y = half_mm * np.sin(2 * np.pi * t / 37.7 + 0.3 * np.sin(t / 91.0))
    a, b = 0.35 * np.sin(t / 3.1), 0.35 * np.sin(t / 4.7 + 1.0)
    poses = np.tile(np.eye(4), (n, 1, 1))
    axis = np.stack([np.sin(b) * np.cos(a), -np.sin(a), -np.cos(a) * np.cos(b)], axis=1)
    side = np.cross(axis, [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2] = np.cross(side, axis), side, axis
    poses[:, :3, 3] = np.stack([x, y, 3.0 + 1.5 * np.sin(t / 5.3)], axis=1)
    return Readings(t, np.zeros(n), np.full(n, TICK_S), poses, np.ones(n), np.arange(n + 1))


def counted(setup: ImagingSetup, readings: Readings) -> Readings:
    """The readings with Poisson counts of SOURCES in a uniform level."""
    geometry = build_geometry(setup, readings.head(100))
    points = np.array([p for p, _ in SOURCES])
    rate = geometry.projector.rows(points, readings) @ np.array([a for _, a in SOURCES])
    rate = rate + LEVEL_KBQ_PER_ML * geometry.background.rows(geometry.projector, readings)[:, 0]
    return replace(readings, counts=np.random.default_rng(7).poisson(rate * TICK_S).astype(np.float64))


def setup_on(size_mm: tuple[float, float, float], voxel_mm: float) -> ImagingSetup:
    """The probe over a flat surface, the grid fixed under it."""
    low = (-size_mm[0] / 2, -size_mm[1] / 2, 36.0 - size_mm[2])
    high = (size_mm[0] / 2, size_mm[1] / 2, 36.0)
    made = ImagingSetup.create(response(), flat_surface(), "Tc-99m")
    return replace(made, grid=MapGrid(voxel_mm, low, high))


class Run:
    """A scan ticked at its rhythm, beside work that goes on in another thread."""

    def __init__(self, setup: ImagingSetup, readings: Readings, aim: Aim | None = None) -> None:
        self.readings, self.aim = readings, aim
        self.beside = ThreadPoolExecutor(1)
        self.scan = LiveScan(setup, self.beside)
        self.planner, self.imager = Planner(), Imager(lambda _: self.scan)
        self.took: list[float] = []
        self.late: list[float] = []
        self.adopted = self.limits = 0
        self._usual: float | None = None
        self.covered_s: list[float] = []  # when the coverage of the bed was renewed
        self._readings = 0

    def tick(self, batch: Readings) -> Frame:
        """One tick as the engine does it, its digests included."""
        begun = time.perf_counter()
        work = self.planner.plan("scan", begun, self.scan.progress, self._usual, self.aim is not None)
        self.scan.add(batch)
        self.scan.aim_at(self.aim)
        frame = self.scan.advance(work)
        self.imager._digest(frame)
        self.took.append(time.perf_counter() - begun)
        if frame.coverage is not None and frame.coverage.readings != self._readings:
            self._readings = frame.coverage.readings
            self.covered_s.append(begun)
        self._usual = None if work.adopt or work.widen else self.took[-1]
        self.adopted += work.adopt
        self.limits += work.limits
        return frame

    def begin(self, n: int) -> float:
        """All of the first n readings at once; returns the seconds that took."""
        begun = time.perf_counter()
        self.tick(self.readings.head(n))
        self.took.clear()
        return time.perf_counter() - begun

    def go_on(self, first: int, end: int) -> Iterator[tuple[int, Frame]]:
        """A reading a tick, ten times a second; a tick that is late begins when the one before has ended."""
        begun = time.perf_counter()
        for i in range(first, end):
            due = begun + (i - first) * TICK_S
            time.sleep(max(due - time.perf_counter(), 0.0))
            frame = self.tick(self.readings.select(slice(i, i + 1)))
            self.late.append(time.perf_counter() - due)
            yield i + 1, frame


class Judge:
    """MLEM from scratch on rows of its own, and the likelihood of any activity."""

    def __init__(self, setup: ImagingSetup, readings: Readings) -> None:
        self.readings = readings
        self.store: RowStore | None = None
        self._setup, self._geometry = setup, build_geometry(setup, readings)

    def _rows(self, n: int) -> RowStore:
        if self.store is None:
            self.store = RowStore(len(self._geometry.field.active) + 1)
        for low in range(len(self.store), n, 256):
            part = self.readings.select(slice(low, min(low + 256, n)))
            self.store.append(rows_of(self._setup, self._geometry, part)[0])
        return self.store

    def likelihood(self, x: NDArray[np.float32], n: int) -> float:
        """Poisson log-likelihood of padded activities, of the first n readings."""
        store = self._rows(n)
        rate = np.empty(n, dtype=np.float32)
        _core.project(store.packed[:n], store.scales[:n], x, rate, THREADS)
        expected = np.maximum(rate.astype(np.float64), 1e-6) * self.readings.live_s[:n]
        return float((self.readings.counts[:n] * np.log(expected) - expected).sum())

    def mlem(self, n: int) -> tuple[list[float], float]:
        """Likelihood after each of MLEM_STEPS from a uniform start, and the seconds of one step."""
        store = self._rows(n)
        width = store.width - 1
        uniform = np.full(width, LEVEL_KBQ_PER_ML * self._geometry.field.grid.voxel_ml)
        x = store.padded(np.append(uniform, LEVEL_KBQ_PER_ML))
        prior, seen = x.copy(), np.empty_like(x)
        counts, live = (a[:n].astype(np.float32) for a in (self.readings.counts, self.readings.live_s))
        found, begun = [], time.perf_counter()
        for step in range(max(MLEM_STEPS)):
            _core.em_subset(
                store.packed[:n],
                store.scales[:n],
                counts,
                live,
                np.zeros(n, np.uint8),
                0.0,
                False,
                1e9,
                0,
                1,
                prior,
                0.0,
                x,
                seen,
                THREADS,
            )
            if step + 1 in MLEM_STEPS:
                found.append(self.likelihood(x, n))
        return found, (time.perf_counter() - begun) / max(MLEM_STEPS)


def memory_gib() -> float:
    """The most this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def told(title: str, run: Run) -> float:
    """Prints the tick times; returns their median in s."""
    took = np.sort(run.took)
    p50, p99 = (float(np.quantile(took, q)) for q in (0.5, 0.99))
    late = np.array(run.late)
    print(
        f"{title}: p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms, longest {1e3 * took[-1]:.0f} ms,"
        f" {int((late > DEADLINE_S).sum())} of {len(late)} deadlines missed, map age at most"
        f" {1e3 * (late.max() + TICK_S):.0f} ms; {run.adopted} searches, {run.limits} with limits;"
        f" memory at most {memory_gib():.2f} GiB"
    )
    if len(run.covered_s) > 1:
        gaps = np.sort(np.diff(run.covered_s))
        print(
            f"  coverage of the bed renewed {len(run.covered_s)} times, every {np.median(gaps):.2f} s in the median,"
            f" p90 {gaps[int(0.9 * len(gaps))]:.2f} s, longest {gaps[-1]:.2f} s"
        )
    return p50


def bed_below(half_mm: float) -> Aim:
    """A flat bed, 10 mm deep, in the middle of the path."""
    axis = np.arange(-half_mm, half_mm + 1.0, 5.0)
    x, y = (v.ravel() for v in np.meshgrid(axis, axis))
    return Aim(Bed(np.column_stack([x, y, np.zeros(len(x))]), 10.0), 4.0)


def whole_scan(setup: ImagingSetup, readings: Readings, checkpoints: list[int], aim: Aim | None) -> None:
    """From the first reading on, with the likelihood at checkpoints."""
    run, kept = Run(setup, readings, aim), {}
    for n, frame in run.go_on(0, len(readings)):
        if n in checkpoints and frame.map is not None and run.scan._stage is not None:
            kept[n] = run.scan._stage.estimate.x.copy()
    told(f"{len(readings)} ticks", run)
    judge = Judge(setup, readings)
    for n, x in kept.items():
        (first, last), step_s = judge.mlem(n)
        mine = judge.likelihood(x, n)
        cost = step_s * MLEM_STEPS[0] / float(np.median(run.took))
        print(
            f"  {n} readings: log-likelihood {mine:.1f}, {mine - first:+.1f} against MLEM-{MLEM_STEPS[0]},"
            f" {mine - last:+.1f} against MLEM-{MLEM_STEPS[1]}; that rerun costs {cost:.0f} ticks"
        )


def main() -> None:
    """The scan in its length, or stretches of a long one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--at", type=int, action="append", default=[])
    parser.add_argument("--ticks", type=int, default=200)
    parser.add_argument("--grid", type=float, nargs=4, default=[128.0, 128.0, 96.0, 2.0])
    parser.add_argument("--bed", action="store_true", help="tell the coverage of a bed of 40 x 40 mm, too")
    parser.add_argument("--quiet", action="store_true", help="no other process beside")
    chosen = parser.parse_args()
    x, y, z, voxel = chosen.grid
    setup = setup_on((x, y, z), voxel)
    print(machine())
    beside = None if chosen.quiet else subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        if chosen.at:
            medians = []
            for n in chosen.at:
                run = Run(setup, counted(setup, path(n + chosen.ticks, 45.0)))
                print(f"{n} readings from scratch: {run.begin(n):.2f} s")
                for _ in run.go_on(n, n + chosen.ticks):
                    pass
                medians.append(told(f"at {n} readings", run))
                run.beside.shutdown()
            print("p50 against the first: " + ", ".join(f"{m / medians[0]:.2f}" for m in medians))
            return
        n = round(chosen.seconds / TICK_S)
        checkpoints = sorted({n, *(c for c in (150, 300, 600, 1200, 2400, 4000) if c < n)})
        aim = bed_below(20.0) if chosen.bed else None
        whole_scan(setup, counted(setup, path(n, 45.0)), checkpoints, aim)
    finally:
        if beside is not None:
            beside.kill()


if __name__ == "__main__":
    main()
