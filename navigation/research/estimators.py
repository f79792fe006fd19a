"""Maximum-likelihood EM and its ordered subsets over the rows of a scan, dead time inside the likelihood.

Shepp & Vardi 1982 (DOI 10.1109/TMI.1982.4307558), Hudson & Larkin 1994 (DOI 10.1109/42.363108).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation import _core
from navigation.likelihood import SMALLEST_RATE_CPS
from navigation.projector import THREADS
from navigation.research.system import System
from tracking.errors import InputError

Array32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """`activity` (nz, ny, nx) in kBq/mL at the reference time, the level outside the voxels, passes over the data."""

    activity: Array32
    shell_kbq_per_ml: float
    iterations: int


Seen = Callable[[Estimate], object]


def mlem(
    system: System,
    iterations: int = 20,
    start: ArrayLike | None = None,
    shell_start_kbq_per_ml: float = 1.0,
    seen: Seen | None = None,
) -> Estimate:
    """EM over all readings at once; `seen` is called with the estimate after each iteration.

    From `start` (nz, ny, nx) in kBq/mL, positive, default 1. A known additive rate of the scan is respected. Plain EM
    without a prior: it fits noise when iterated long. Raises InputError for a start that cannot be one.
    """
    if system.detection.additive_cps is None:
        return osem(system, iterations, 1, start, shell_start_kbq_per_ml, seen)
    x = _start(system, start, shell_start_kbq_per_ml)
    for k in range(iterations):
        x = _step(system, x)
        if seen is not None:
            seen(_estimate(system, x, k + 1))
    return _estimate(system, x, iterations)


def osem(
    system: System,
    iterations: int = 4,
    subsets: int = 8,
    start: ArrayLike | None = None,
    shell_start_kbq_per_ml: float = 1.0,
    seen: Seen | None = None,
) -> Estimate:
    """EM by subsets: readings k, k + subsets, ... for k = 0, 1, ...; one iteration goes through all of them.

    Otherwise as `mlem`; a scan with a known additive rate has no subsets here and raises InputError.
    """
    if not 1 <= subsets <= len(system):
        raise InputError(f"{subsets} subsets of {len(system)} readings")
    if system.detection.additive_cps is not None:
        raise InputError("a scan with a known additive rate takes mlem")
    x = _start(system, start, shell_start_kbq_per_ml)
    kernel = _Kernel(system, subsets)
    for k in range(iterations):
        for subset in range(subsets):
            kernel.step(subset, x)
        if seen is not None:
            seen(_estimate(system, x, k + 1))
    return _estimate(system, x, iterations)


class _Kernel:
    """The fused step of the native core with the data of one scan."""

    def __init__(self, system: System, subsets: int) -> None:
        data = system.detection.likelihood
        self._store, self._subsets, self._dead = system.store, subsets, data.dead_time
        self._counts = data.lowest.astype(np.float32)
        self._live = data.live_s.astype(np.float32)
        self._saturated = data.censored.astype(np.uint8)
        self._prior = np.zeros(system.store.stride, dtype=np.float32)
        self._sensitivity = np.zeros(system.store.stride, dtype=np.float32)

    def step(self, subset: int, x: Array32) -> None:
        """Update x in place from one subset."""
        _core.em_subset(
            self._store.packed,
            self._store.scales,
            self._counts,
            self._live,
            self._saturated,
            self._dead.tau_s,
            self._dead.paralysable,
            self._dead.saturated_rate_cps,
            subset,
            self._subsets,
            self._prior,
            0.0,
            x,
            self._sensitivity,
            THREADS,
        )


def _step(system: System, x: Array32) -> Array32:
    """One EM update beside a known rate; saturated readings ask for no less than they tell."""
    data = system.detection.likelihood
    rate = np.maximum(
        system.detection.total_cps(system.store.project(x).astype(np.float64)), SMALLEST_RATE_CPS
    )
    expected, slope = data.expected(rate), data.slope(rate)
    asked = np.where(data.censored, np.maximum(data.lowest, expected), data.lowest)
    gain = system.store.back_project((slope * asked / expected).astype(np.float32))
    loss = system.store.back_project(slope.astype(np.float32))
    result: Array32 = np.where(loss > 0.0, x * gain / np.where(loss > 0.0, loss, 1.0), 0.0).astype(np.float32)
    return result


def _start(system: System, start: ArrayLike | None, shell: float) -> Array32:
    image = np.ones(system.grid.shape, dtype=np.float32) if start is None else np.asarray(start)
    x = system.vector(image, shell)
    used = x[: system.store.width]
    if not (np.isfinite(used).all() and (used >= 0.0).all() and used.any()):
        raise InputError("the start must be finite, not negative, and somewhere positive")
    return x


def _estimate(system: System, x: Array32, iterations: int) -> Estimate:
    level = float(x[len(system.columns)]) if system.shell else 0.0
    return Estimate(system.image(x) / np.float32(system.grid.voxel_ml), level, iterations)
