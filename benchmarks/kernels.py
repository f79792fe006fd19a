"""Row build, EM pass and live tick beside what a user would write in numpy; interleaved, medians, CPU and wall.

Run: python -m benchmarks.kernels
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import machine
from navigation.reconstruction import LiveReconstruction
from navigation.reconstruction.osem import osem
from tests.navigation.scan_model import filled, raster, setup

ROUNDS = 5


def numpy_rows(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The response without attenuation by tissue path, vectorised: the least a numpy user computes."""
    response = setup().response
    local = np.einsum("nij,nmi->nmj", poses[:, :3, :3], points[None] - poses[:, None, :3, 3])
    r, z = np.hypot(local[..., 0], local[..., 1]), local[..., 2]
    return response.in_air(r.ravel(), z.ravel()).reshape(r.shape)


def numpy_pass(rows: np.ndarray, counts: np.ndarray, live: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One EM update in float32."""
    return x * (rows.T @ (counts / (rows @ x))) / (rows.T @ live)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(title: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Both in turn, ROUNDS times; prints medians and the ratio."""
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(timed(ours))
        other.append(timed(theirs))
    (mw, mc), (ow, oc) = (
        tuple(statistics.median(run[k] for run in runs) for k in (0, 1)) for runs in (mine, other)
    )
    print(
        f"{title}: ours {1e3 * mw:.1f} ms ({1e3 * mc:.1f} CPU), numpy {1e3 * ow:.1f} ms ({1e3 * oc:.1f} CPU), "
        f"ratio {ow / mw:.1f} wall, {oc / mc:.1f} CPU"
    )


def main() -> None:
    """All comparisons."""
    print(machine())
    readings = filled(raster(600), [((6.0, -4.0, -18.0), 80.0)], 0.4, seed=1)
    live = LiveReconstruction(setup())
    live.add(readings)
    problem = live._problem()
    assert problem is not None
    points = live._built().field.points_mm
    few = readings.head(60)
    print(f"{len(readings)} readings, {len(points)} voxels")
    compare(
        "60 rows with ray attenuation (numpy: without)",
        lambda: problem.projector.rows(points, few),
        lambda: numpy_rows(points, few.mid_poses),
    )
    rows = live._store.unpacked()
    counts, seconds = readings.counts.astype(np.float32), readings.live_s.astype(np.float32)
    x = np.full(live._store.width, 1e-3, dtype=np.float32)
    compare(
        "EM pass (ours: float16 rows, fused, 8 subsets)",
        lambda: osem(live._store, problem.data, x.astype(np.float64), passes=1),
        lambda: numpy_pass(rows, counts, seconds, x),
    )
    ticks = []
    for n in range(100, 600, 4):
        if n == 100:
            live = LiveReconstruction(setup())
            live.add(readings.head(100))
            live.update()
            continue
        live.add(readings.select(slice(n - 4, n)))
        ticks.append(timed(live.update))
    walls = sorted(t[0] for t in ticks)
    print(
        f"live tick (map, spots, coverage) up to 600 readings: median {1e3 * statistics.median(walls):.0f} ms wall, "
        f"p95 {1e3 * walls[int(0.95 * len(walls))]:.0f} ms, CPU median "
        f"{1e3 * statistics.median(t[1] for t in ticks):.0f} ms"
    )


if __name__ == "__main__":
    main()
