"""The native kernels beside what a user would write in numpy, scipy or numba; interleaved runs, medians, CPU and wall.

Run: python -m benchmarks.kernels [--rounds 7] [--readings 1200 6000]. A pass is also given as its share of the read
bandwidth, measured in the same rounds by a plain read of the same rows. numba is compared where it can be imported.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.machine import machine
from benchmarks.numbarows import numba_rows
from navigation import _core
from navigation.projector import THREADS, Projector
from navigation.reconstruction.rowstore import RowStore
from navigation.surface import Surface
from tests.navigation.scan_model import flat_surface, raster, response
from tracking.sample import Readings

Work = Callable[[], object]
Times = dict[str, list[tuple[float, float]]]

# The main grid of the design, x fastest, below the touched plane.
MAIN, SPACING_MM = (64, 64, 48), 2.0
BUILT_AT_ONCE = 24
SUBSETS, NUISANCE = 8, 10
# Above this many entries a dense float32 matrix and its CSR form are left out.
MOST_DENSE = 300_000_000


def timed(work: Work) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(works: dict[str, Work], rounds: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) seconds of each, all in turn in every round, after one round to warm up."""
    runs: Times = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            run = timed(work)
            if turn:
                runs[name].append(run)
    return {
        name: (statistics.median(w for w, _ in run), statistics.median(c for _, c in run))
        for name, run in runs.items()
    }


def table(title: str, times: dict[str, tuple[float, float]], ours: str, per: float = 0.0) -> None:
    """One line per work: wall and CPU, time per entry where `per` entries are told, and the ratio to ours."""
    print(f"\n{title}")
    for name, (wall, cpu) in times.items():
        entry = (
            f", {1e9 * wall / per:6.2f} ns wall and {1e9 * cpu / per:6.2f} ns CPU per entry" if per else ""
        )
        ratio = f"{wall / times[ours][0]:6.2f} x wall, {cpu / times[ours][1]:6.2f} x CPU"
        print(f"  {name:34} {1e3 * wall:9.2f} ms wall {1e3 * cpu:9.2f} ms CPU  {ratio}{entry}")


def main_grid() -> np.ndarray:
    """(m, 3): voxel centres."""
    nx, ny, nz = MAIN
    z, y, x = np.meshgrid(*(np.arange(n) for n in (nz, ny, nx)), indexing="ij")
    corner = np.array([-(nx - 1), -(ny - 1), -2 * (nz - 1) - 2.0]) * SPACING_MM / 2
    return corner + SPACING_MM * np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)


def projector() -> Projector:
    """Half a space of tissue below a touched plane."""
    surface = Surface.from_points(flat_surface(), raster(20).mid_poses)
    return Projector(response(), surface.tissue(np.array([-90.0, -90, -120]), np.array([90.0, 90, 40])))


def numpy_rows(points: np.ndarray, readings: Readings) -> np.ndarray:
    """Without the tissue's path, in full tissue: the least a numpy user computes."""
    detector, rows = response(), np.empty((len(readings), len(points)), dtype=np.float32)
    for row, pose in zip(rows, readings.poses, strict=True):
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        r, z = np.hypot(local[:, 0], local[:, 1]), local[:, 2]
        height = np.where(z > 0, z + detector.recess_mm, 1.0)
        through = np.where(z > 0, np.hypot(r, height) * z / height, 0.0)
        row[:] = detector.in_tissue(r, z, through)
    return rows


def compare_rows(rounds: int) -> None:
    """Row build on the main grid, in full tissue and through a tissue map, and for the points of a spot."""
    points, readings = main_grid(), raster(BUILT_AT_ONCE)
    plain, mapped = Projector(response(), None), projector()
    works: dict[str, Work] = {
        "native, full tissue": lambda: plain.rows(points, readings),
        "native, path through a tissue map": lambda: mapped.rows(points, readings),
        "numpy, full tissue": lambda: numpy_rows(points, readings.select(slice(0, 2))),
    }
    if find_spec("numba"):
        works["numba, full tissue"] = lambda: numba_rows(points, readings, response())
    times = interleaved(works, rounds)
    share = BUILT_AT_ONCE / 2
    times["numpy, full tissue"] = tuple(share * t for t in times["numpy, full tissue"])  # type: ignore[assignment]
    entries = len(points) * BUILT_AT_ONCE
    table(
        f"row build, {len(points)} voxels x {BUILT_AT_ONCE} readings", times, "native, full tissue", entries
    )
    for few in (7, 200):
        spot, many = points[:: len(points) // few][:few], raster(3000)
        works = {"native, path through a tissue map": lambda s=spot, m=many: mapped.rows(s, m)}
        table(f"row build, {few} points x 3000 readings", interleaved(works, rounds), *works, few * 3000)


def filled_store(points: np.ndarray, n: int) -> RowStore:
    """Rows of n readings, made in blocks."""
    store, mapped, readings = RowStore(len(points)), projector(), raster(n)
    for low in range(0, n, 60):
        store.append(mapped.rows(points, readings.select(slice(low, min(low + 60, n)))))
    return store


def em_pass(store: RowStore, counts: np.ndarray, live: np.ndarray, known: bool) -> Work:
    """One pass of ordered-subsets EM; with `known` the subsets' sensitivities are there already."""
    x, seen = np.ones(store.stride, dtype=np.float32), np.empty((SUBSETS, store.stride), dtype=np.float32)
    told = (counts, live, np.zeros(len(store), dtype=np.uint8), 0.0, False, np.inf)

    def work(known: bool = known) -> None:
        for s in range(SUBSETS):
            _core.em_subset(
                store.packed, store.scales, *told, s, SUBSETS, x, 1e-3, x, seen[s], THREADS, known
            )

    work(False)
    return work


def dense_pass(rows: np.ndarray | csr_matrix, counts: np.ndarray, live: np.ndarray) -> Work:
    """One EM update in float32."""
    x = np.ones(rows.shape[1], dtype=np.float32)
    return lambda: x * (rows.T @ (counts / np.maximum(rows @ x, 1e-6))) / np.maximum(rows.T @ live, 1e-9)


def numpy_score(rows: np.ndarray, score: np.ndarray, information: np.ndarray, design: np.ndarray) -> Work:
    """Score, plain and cross information and third moment in float32."""
    weight, weighted = information[:, None], information[:, None] * design

    def work() -> None:
        np.einsum("nm,nm->m", rows, rows * weight, dtype=np.float64)
        np.einsum("nm,nm->m", rows * weight, rows * rows, dtype=np.float64)
        _ = rows.T @ score, weighted.T @ rows

    return work


def compare_passes(points: np.ndarray, n: int, rounds: int) -> None:
    """EM and score pass over n readings."""
    store, rng = filled_store(points, n), np.random.default_rng(0)
    counts, live = rng.poisson(5.0, n).astype(np.float32), np.full(n, 0.1, dtype=np.float32)
    score, information, third = rng.uniform(0.1, 1.0, (3, n))
    design = rng.uniform(0, 1, (n, NUISANCE))
    works: dict[str, Work] = {
        "plain read of the rows": lambda: _core.read_through(store.packed, THREADS),
        "native EM, sensitivity known": em_pass(store, counts, live, True),
        "native EM, sensitivity too": em_pass(store, counts, live, False),
        "native project": lambda: store.project(np.ones(store.stride, dtype=np.float32)),
        "native back-project": lambda: store.back_project(live),
        "native score pass": lambda: store.score_sums(score, information, design, third),
    }
    if len(points) * n <= MOST_DENSE:
        rows = store.unpacked()
        works["numpy float32 EM"] = dense_pass(rows, counts, live)
        works["scipy CSR float32 EM"] = dense_pass(csr_matrix(rows), counts, live)
        single = (a.astype(np.float32) for a in (score, information, design))
        works["numpy float32 score pass"] = numpy_score(rows, *single)
    times = interleaved(works, rounds)
    size = store.packed.nbytes
    table(f"{len(points)} voxels x {n} readings, {size / 1e6:.0f} MB", times, "native EM, sensitivity known")
    read = times["plain read of the rows"][0]
    print(f"  read {size / read / 1e9:.1f} GB/s; share of it:", end="")
    for name in ("native EM, sensitivity known", "native EM, sensitivity too", "native project"):
        print(f"  {name.removeprefix('native ')} {100 * read / times[name][0]:.0f} %", end="")
    print()


def main() -> None:
    """All comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--readings", type=int, nargs="*", default=[1200, 6000])
    asked = parser.parse_args()
    print(machine())
    points = main_grid()
    compare_rows(asked.rounds)
    compare_passes(points[:30_000], 600, asked.rounds)
    for n in asked.readings:
        compare_passes(points, n, asked.rounds)
    print(machine())


if __name__ == "__main__":
    main()
