"""The linear operator that outside algorithms work with: counts of an image, its adjoint, and subsets of readings.

Numpy alone; `navigation.research.pytomography` puts it behind PyTomography's interface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.reconstruction.rowstore import RowStore
from navigation.research.system import ROWS_AT_ONCE, System, row_store
from tracking.errors import InputError

Array32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """Counts (n,) and the seconds (n,) in which a counter without dead time would have counted as many."""

    counts: Array32
    seconds: Array32

    @staticmethod
    def of(system: System) -> Exposure:
        """A saturated or doubtful reading, a lower bound only, gets neither counts nor time."""
        data = system.detection.likelihood
        told = ~data.censored if data.doubtful is None else ~(data.censored | data.doubtful)
        recorded = data.counts / data.live_s
        true = np.where(told, data.dead_time.corrected(recorded), np.inf)
        kept = np.where(recorded > 0.0, recorded / np.where(true > 0.0, true, 1.0), 1.0)
        return Exposure(
            np.where(told, data.counts, 0.0).astype(np.float32),
            np.where(told, data.live_s * kept, 0.0).astype(np.float32),
        )


class Rows:
    """`forward` and `backward` in counts per kBq/mL, over all readings or one subset of them."""

    def __init__(self, system: System) -> None:
        self.system, self._seconds = system, Exposure.of(system).seconds
        self._parts: list[tuple[RowStore, Array32]] = []

    def split(self, subsets: int) -> None:
        """Readings k, k + subsets, ... become subset k; more than one costs a second copy of the rows."""
        if not 1 <= subsets <= len(self.system):
            raise InputError(f"{subsets} subsets of {len(self.system)} readings")
        self._parts = []
        if subsets > 1:
            self._parts = [
                (_every(self.system.store, k, subsets), self._seconds[k::subsets].copy())
                for k in range(subsets)
            ]

    def forward(self, image: NDArray[np.float32], subset: int | None = None) -> Array32:
        """(n,) expected counts of an image (nz, ny, nx) in kBq/mL; the shell and known rates are not in it."""
        store, seconds = self._part(subset)
        result: Array32 = store.project(self.system.vector(image)) * seconds
        return result

    def backward(self, values: NDArray[np.float32], subset: int | None = None) -> Array32:
        """(nz, ny, nx): the adjoint of `forward`."""
        store, seconds = self._part(subset)
        back = store.back_project(np.ascontiguousarray(values * seconds, dtype=np.float32))
        return self.system.image(back) * np.float32(self.system.grid.voxel_ml)

    def normalization(self, subset: int | None = None) -> Array32:
        """(nz, ny, nx): counts per kBq/mL of each voxel."""
        return self.backward(np.ones(len(self._part(subset)[1]), dtype=np.float32), subset)

    def mask(self) -> Array32:
        """(nz, ny, nx): 1 where activity may be, else 0."""
        return self.system.image(np.ones(len(self.system.columns), dtype=np.float32))

    def _part(self, subset: int | None) -> tuple[RowStore, Array32]:
        if subset is None or not self._parts:
            return self.system.store, self._seconds
        return self._parts[subset]


def _every(store: RowStore, first: int, step: int) -> RowStore:
    """Rows first, first + step, ... of a store, side by side."""
    rows = np.arange(first, len(store), step)
    part = row_store(store.width, len(rows))
    for low in range(0, len(rows), ROWS_AT_ONCE):
        chosen = rows[low : low + ROWS_AT_ONCE]
        halves = store.packed[chosen, : store.width].view(np.float16)
        part.append(halves.astype(np.float32) * store.scales[chosen, None])
    return part
