"""Speed of the reconstruction beside what a user would write: PyTomography, numpy, scipy and numba on the same rows.

Everything in one run, interleaved; medians of wall and CPU time, memory, and the read bandwidth measured in between.
Run: python -m benchmarks.reconstruction [--quick] [--peers build/peers/bin/python] [--out speed.json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.reconstructionours import Ours, bandwidth_of, memory_of
from benchmarks.reconstructionpeers import BUILDS, PASSES, answer_name, timed
from benchmarks.worker import Worker

Times = dict[str, list[tuple[float, float]]]

MAIN, QUICK = (64, 64, 48), (24, 24, 16)
REST_S = 0.05  # threads that spin after their work get to sleep
RERUN = 20  # iterations from scratch that a user without a live estimator would run
SPARE = 3 << 30
OURS, READ, TICK, BUILD = "ours", "read", "live tick", "ours, row"


def files_for(ours: Ours, folder: Path) -> None:
    """What the peers read: the very rows of our store, widened."""
    rows = np.lib.format.open_memmap(
        folder / "rows.npy", mode="w+", dtype=np.float32, shape=(len(ours.store), ours.width)
    )
    for low in range(0, len(rows), 64):
        halves = ours.store.packed[low : low + 64, : ours.width].view(np.float16)
        rows[low : low + 64] = halves.astype(np.float32) * ours.store.scales[low : low + 64, None]
    del rows
    for name, values in (
        ("counts", ours.counts),
        ("live", ours.live),
        ("sensitivity", ours.sensitivity[: ours.width]),
        ("start", ours.start[: ours.width]),
    ):
        np.save(folder / f"{name}.npy", values)


def room_for(n: int, m: int, name: str) -> str | None:
    """Why a peer does not fit beside the rows; None where it does."""
    free = memory_of("/proc/meminfo", "MemAvailable")
    needs = {"scipy CSR": 8 * n * m, "PyTomography on our rows": 5 * n * m}.get(name, 0) + SPARE
    return None if free >= needs else f"needs {needs / 2**30:.1f} GiB, {free / 2**30:.1f} free"


def workers_for(
    kind: str, names: list[str], python: Path, folder: Path, size: tuple[int, int]
) -> tuple[dict[str, Worker], dict[str, str]]:
    """Peers that run, and why the others do not."""
    there: dict[str, Worker] = {}
    absent: dict[str, str] = {}
    for name in names:
        full = room_for(*size, name) if kind == "pass" else None
        if full is not None:
            absent[name] = f"not run: {full}"
            continue
        worker = Worker(python, kind, name, folder)
        if worker.absent is None:
            there[name] = worker
        else:
            absent[name] = f"absent: {worker.absent}"
    return there, absent


def agreement(theirs: Path, mine: np.ndarray, weight: np.ndarray | float = 1.0) -> float:
    """Largest difference of a peer's answer, of our largest value, both weighted."""
    difference = np.abs(np.load(theirs).reshape(-1) - mine) * weight
    return float(difference.max() / np.abs(mine * weight).max())


def passes(ours: Ours, python: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """One EM update over all rows, each way, and the live tick."""
    files_for(ours, folder)
    peers = list(PASSES)
    ours.save(folder / "rows.npz")
    workers, absent = workers_for("pass", peers, python, folder, (len(ours.store), ours.width))
    mine, times = ours.one_pass(ours.start.copy())[: ours.width], defaultdict(list)
    buffer = np.ones(max(ours.store.packed.nbytes // 8, 1 << 26), dtype=np.float32)
    for _ in range(rounds):
        time.sleep(REST_S)
        times[OURS].append(timed(lambda: ours.one_pass(ours.start.copy())))
        times[READ].append(timed(lambda: bandwidth_of(buffer)))
        for name, worker in workers.items():
            time.sleep(REST_S)
            times[name].append(worker.step())
        times[TICK] += [timed(ours.tick) for _ in range(20)]
    result = {
        "rows": len(ours.live),
        "voxels": ours.width,
        "times": times,
        "absent": absent,
        "read_gb_s": buffer.nbytes / statistics.median(t[0] for t in times[READ]) / 1e9,
        "buffer": buffer.nbytes,
        "held": {OURS: ours.store.packed.nbytes} | {n: w.held for n, w in workers.items()},
        "peak": {n: w.peak for n, w in workers.items()},
        "private": {n: w.private for n, w in workers.items()},
        "differs": {
            # A voxel that the scan hardly sees is worth as much as it sees of it.
            n: agreement(folder / answer_name("pass", n), mine, ours.sensitivity[: ours.width])
            for n in workers
        },
    }
    for worker in workers.values():
        worker.end()
    return result


def builds(ours: Ours, python: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Response rows with attenuation, each way: seconds an entry."""
    model = ours.model()
    model.write(folder)
    workers, absent = workers_for("build", BUILDS, python, folder, (0, 0))
    mine, times = ours.build(1)[0], defaultdict(list)
    for _ in range(rounds):
        wall, cpu = timed(lambda: ours.build(ours.few))
        times[BUILD].append((wall / ours.few, cpu / ours.few))
        for name, worker in workers.items():
            time.sleep(REST_S)
            times[name].append(worker.step())
    result = {
        "entries": ours.width,
        "times": times,
        "absent": absent,
        "differs": {n: agreement(folder / answer_name("build", n), mine) for n in workers},
    }
    for worker in workers.values():
        worker.end()
    return result


def median(times: list[tuple[float, float]]) -> tuple[float, float]:
    """(wall, CPU) in ms."""
    return tuple(1e3 * statistics.median(t[k] for t in times) for k in (0, 1))  # type: ignore[return-value]


def told_passes(found: dict[str, Any]) -> None:
    """The table of one size."""
    times: Times = found["times"]
    wall, cpu = median(times[OURS])
    share = found["held"][OURS] / (1e-3 * wall) / 1e9 / found["read_gb_s"]
    print(f"\n{found['rows']:,} rows x {found['voxels']:,} voxels, one EM update over all rows")
    print(
        "| what | wall ms | CPU ms | ours is faster, wall | CPU | rows held GB | peak GB | own GB | differs |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| gammanav | {wall:.1f} | {cpu:.1f} | 1 | 1 | {found['held'][OURS] / 1e9:.2f} | | | |")
    for name in PASSES:
        if name in found["absent"]:
            print(f"| {name} | {found['absent'][name]} | | | | | | | |")
            continue
        w, c = median(times[name])
        held, peak, own = (found[k][name] / 1e9 for k in ("held", "peak", "private"))
        print(
            f"| {name} | {w:.1f} | {c:.1f} | {w / wall:.1f} | {c / cpu:.1f} | {held:.2f} | {peak:.2f} |"
            f" {own:.2f} | {found['differs'][name]:.0e} |"
        )
    best_read = found["buffer"] / min(t[0] for t in times[READ]) / 1e9
    best = found["held"][OURS] / min(t[0] for t in times[OURS]) / 1e9
    print(
        f"read bandwidth {found['read_gb_s']:.1f} GB/s, our pass reads at {100 * share:.0f} % of it (medians);"
        f" undisturbed {best_read:.1f} GB/s, {100 * best / best_read:.0f} % (fastest of each)"
    )
    ticks = sorted(1e3 * t[0] for t in times[TICK])
    tick = statistics.median(ticks)
    print(
        f"live tick (one new row, 256 replayed): p50 {tick:.1f} ms, p99 {ticks[int(0.99 * (len(ticks) - 1))]:.1f} ms,"
        f" CPU {median(times[TICK])[1]:.1f} ms"
    )
    for name in ("PyTomography", "numpy dense"):
        if name in times:
            w = median(times[name])[0]
            print(
                f"  {RERUN}-iteration rerun with {name} {RERUN * w / 1e3:.2f} s: tick {RERUN * w / tick:.0f}x cheaper;"
                f" its warm single iteration {w:.0f} ms: {w / tick:.1f}x"
            )


def told_builds(found: dict[str, Any]) -> None:
    """The table of the row build."""
    entries, times = found["entries"], found["times"]
    own = median(times[BUILD])
    print(f"\none response row with attenuation, {entries:,} voxels")
    print("| what | ns an entry, wall | CPU | ours is faster, wall | CPU | differs |")
    print("|---|---|---|---|---|---|")
    print(f"| gammanav | {1e6 * own[0] / entries:.2f} | {1e6 * own[1] / entries:.2f} | 1 | 1 | |")
    for name in BUILDS:
        if name in found["absent"]:
            print(f"| {name} | {found['absent'][name]} | | | | |")
            continue
        w, c = median(times[name])
        print(
            f"| {name} | {1e6 * w / entries:.1f} | {1e6 * c / entries:.1f} | {w / own[0]:.0f} | {c / own[1]:.0f} |"
            f" {found['differs'][name]:.0e} |"
        )


def scratch(need: int) -> Path:
    """A folder in memory where there is room, else on disk."""
    shm = Path("/dev/shm")
    inside = shm.is_dir() and shutil.disk_usage(shm).free > need
    return Path(tempfile.mkdtemp(prefix="gammanav-speed-", dir=shm if inside else None))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small grid, a few seconds")
    parser.add_argument("--rows", type=int, nargs="+", default=[1200, 6000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", type=Path, default=Path("build/peers/bin/python"), help="interpreter with the peers"
    )
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """All sizes."""
    told = arguments()
    python = told.peers if told.peers.is_file() else Path(sys.executable)
    print(
        f"{machine()}; peers in {'an environment of their own' if python == told.peers else 'this environment'}"
    )
    sizes = [150] if told.quick else told.rows
    found: dict[str, Any] = {"machine": machine(), "passes": [], "cold": {}}
    for n in sizes:
        ours = Ours(n, QUICK if told.quick else MAIN)
        folder = scratch(6 * n * ours.width + (1 << 28))
        try:
            if n == sizes[0]:
                found["build"] = builds(ours, python, told.rounds, folder)
                told_builds(found["build"])
            found["cold"][n] = statistics.median(timed(ours.cold)[0] for _ in range(1 if told.quick else 2))
            found["passes"].append(passes(ours, python, told.rounds, folder))
            told_passes(found["passes"][-1])
            print(
                f"cold recompute of {n:,} readings (rows and {ours.cold_passes} passes): {found['cold'][n]:.2f} s"
            )
        finally:
            shutil.rmtree(folder)
    found["load_after"] = os.getloadavg()[0]
    print(f"load after: {found['load_after']:.1f}")
    if told.out is not None:
        told.out.write_text(json.dumps(found, indent=1, default=list))


if __name__ == "__main__":
    main()
