"""What a user would write today for one EM update over the rows of a scan, and for making a row: one peer a process.

Started by `benchmarks.reconstruction` with the interpreter that has the peers; it imports nothing of this project but
where the peer is PyTomography on our own rows. Speaks JSON, one line a request.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Below this share of its row's maximum a user of sparse rows drops an entry.
TRUNCATED = 1e-3
FLOOR = 1e-6

Step = Callable[[np.ndarray], np.ndarray]


class Data:
    """The files of one size: rows (n, m) float32 in cps per kBq, counts, live times; sensitivity of the whole scan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = np.load(folder / "rows.npy", mmap_mode="r+")
        self.counts = np.load(folder / "counts.npy")
        self.live = np.load(folder / "live.npy")
        self.sensitivity = np.load(folder / "sensitivity.npy")
        self.inverse = np.where(
            self.sensitivity > 0, 1 / np.where(self.sensitivity > 0, self.sensitivity, 1), 0
        )
        self.inverse = self.inverse.astype(np.float32)


def numpy_dense(data: Data) -> tuple[Step, int]:
    """Two matrix-vector products in single precision."""

    def step(x: np.ndarray) -> np.ndarray:
        rate = np.maximum(data.rows @ x, FLOOR)
        return x * (data.rows.T @ (data.counts / rate)) * data.inverse

    return step, data.rows.nbytes


def scipy_csr(data: Data) -> tuple[Step, int]:
    """Sparse rows, truncated."""
    from scipy import sparse

    first, columns, values = [0], [], []
    for row in data.rows:
        kept = np.flatnonzero(row >= TRUNCATED * row.max())
        columns.append(kept.astype(np.int32))
        values.append(row[kept])
        first.append(first[-1] + len(kept))
    joined = (np.concatenate(values), np.concatenate(columns), np.array(first))
    values.clear()
    columns.clear()
    matrix = sparse.csr_matrix(joined, shape=data.rows.shape, copy=False)
    sensitivity = matrix.T @ data.live
    inverse = np.where(sensitivity > 0, 1 / np.where(sensitivity > 0, sensitivity, 1), 0).astype(np.float32)

    def step(x: np.ndarray) -> np.ndarray:
        rate = np.maximum(matrix @ x, FLOOR)
        return x * (matrix.T @ (data.counts / rate)) * inverse

    return step, matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def numba_fused(data: Data) -> tuple[Step, int]:
    """One loop over the rows, each read once, sums for each thread."""
    import numba

    @numba.njit(parallel=True, fastmath=True)
    def gain(rows, counts, x, parts):  # type: ignore[no-untyped-def]
        n, m = rows.shape
        out = np.zeros((parts, m), dtype=np.float32)
        for p in numba.prange(parts):
            for i in range(p * n // parts, (p + 1) * n // parts):
                rate = np.float32(0.0)
                for j in range(m):
                    rate += rows[i, j] * x[j]
                u = counts[i] / max(rate, np.float32(1e-6))
                for j in range(m):
                    out[p, j] += u * rows[i, j]
        return out.sum(axis=0)

    def step(x: np.ndarray) -> np.ndarray:
        return x * gain(data.rows, data.counts, x, numba.get_num_threads()) * data.inverse

    return step, data.rows.nbytes


def pytomography_dense(data: Data) -> tuple[Step, int]:
    """PyTomography's OSEM over a system matrix of one dense tensor, its normalisation kept."""
    import torch
    from pytomography.algorithms import OSEM
    from pytomography.likelihoods import PoissonLogLikelihood
    from pytomography.metadata import ObjectMeta, ProjMeta
    from pytomography.projectors import SystemMatrix

    rows, live = torch.from_numpy(data.rows), torch.from_numpy(data.live)
    kept = torch.from_numpy(data.sensitivity).reshape(-1, 1, 1)

    class Dense(SystemMatrix):
        def __init__(self) -> None:
            proj = ProjMeta(list(range(len(data.rows))))
            proj.shape = (len(data.rows),)
            super().__init__(ObjectMeta((2.0, 2.0, 2.0), tuple(kept.shape)), proj)

        def forward(self, object: Any, subset_idx: int | None = None) -> Any:
            return live * (rows @ object.reshape(-1))

        def backward(self, proj: Any, subset_idx: int | None = None) -> Any:
            return (rows.T @ (live * proj)).reshape(kept.shape)

        def compute_normalization_factor(self, subset_idx: int | None = None) -> Any:
            return kept

    likelihood = PoissonLogLikelihood(Dense(), torch.from_numpy(data.counts))

    def step(x: np.ndarray) -> np.ndarray:
        start = torch.from_numpy(x.copy()).reshape(kept.shape)
        return np.asarray(OSEM(likelihood, object_initial=start)(n_iters=1).numpy().reshape(-1))

    return step, data.rows.nbytes


def pytomography_ours(data: Data) -> tuple[Step, int]:
    """PyTomography's OSEM over our rows through our adapter."""
    from pytomography.algorithms import OSEM
    from pytomography.likelihoods import PoissonLogLikelihood

    from navigation.research import load_system
    from navigation.research.pytomography import image_of, projections, system_matrix, tensor_of

    system = load_system(data.folder / "rows.npz")
    matrix = system_matrix(system)
    kept = matrix.compute_normalization_factor()
    matrix.compute_normalization_factor = lambda subset_idx=None: kept
    likelihood = PoissonLogLikelihood(matrix, projections(system))
    ml = np.float32(system.grid.voxel_ml)

    def step(x: np.ndarray) -> np.ndarray:
        start = tensor_of((x / ml).reshape(system.grid.shape))
        return np.asarray(image_of(OSEM(likelihood, object_initial=start)(n_iters=1)).reshape(-1) * ml)

    return step, system.store.packed.nbytes


def row_maker(name: str, folder: Path) -> Callable[[], np.ndarray]:
    """One row, by numpy or numba, in tissue of any shape or behind a flat skin."""
    from benchmarks.reconstructionmodel import Model, numba_row, numpy_row

    model, flat = Model.read(folder), name.endswith(FLAT)
    return numba_row(model, flat) if name.startswith("numba") else lambda: numpy_row(model, flat)


PASSES = {
    "numpy dense": numpy_dense,
    "scipy CSR": scipy_csr,
    "numba": numba_fused,
    "PyTomography": pytomography_dense,
    "PyTomography on our rows": pytomography_ours,
}
FLAT = "flat skin"
BUILDS = [f"{by}, {tissue}" for tissue in (FLAT, "any tissue") for by in ("numpy", "numba")]


def answer_name(kind: str, name: str) -> str:
    """File of what a peer computes."""
    return f"answer-{kind}-{name.replace(' ', '-')}.npy"


def peak_bytes() -> tuple[int, int]:
    """(peak of all, anonymous now) resident bytes of this process; mapped files count in the first alone."""
    found = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return tuple(1024 * int(found[k].split()[0]) for k in ("VmHWM", "RssAnon"))  # type: ignore[return-value]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call, of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Make the peer that the arguments name, then time one step for each line that comes."""
    kind, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    answer: dict[str, Any] = {}
    out, sys.stdout = sys.stdout, sys.stderr
    try:
        if kind == "pass":
            step, held = PASSES[name](Data(folder))
            x = np.load(folder / "start.npy")
            result = step(x)

            def work() -> object:
                return step(x)

            answer = {"held": held}
        else:
            work = row_maker(name, folder)
            result = work()
        np.save(folder / answer_name(kind, name), np.asarray(result, dtype=np.float32))
    except ImportError as fault:
        answer = {"absent": fault.name or str(fault)}
    print(json.dumps(answer), file=out, flush=True)
    for _ in sys.stdin:
        wall, cpu = timed(work)
        peak, private = peak_bytes()
        print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "private": private}), file=out, flush=True)


if __name__ == "__main__":
    main()
