"""The activity of the live map: list-mode EM that goes on from tick to tick on a sample of the rows.

Each update is one step of ordered-subsets EM (Hudson & Larkin 1994, DOI 10.1109/42.363108) whose subset is drawn anew
from strata of the scan, under-relaxed as for a stochastic approximation (Cappe & Moulines 2009,
DOI 10.1111/j.1467-9868.2009.00698.x). Its cost does not grow with the scan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation import _core
from navigation.projector import THREADS
from navigation.reconstruction.osem import PRIOR_SHARE, WELL_SEEN_QUANTILE, Told
from navigation.reconstruction.rowstore import RowStore
from navigation.schedule import sample

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# With every new search the map goes so much of the way to what background and foci say. EM alone keeps what it put near
# the skin before a focus was found: after 25 s a third of the focus was in its place, and twice as much beside it.
RELAXED = 0.3

# So many times the newest rows are all rows: then all are read. Of fewer, a full store has merged none yet.
MANY = 8


class LiveEstimate:
    """Activities of the columns of a row store, padded; `prior` is the mean they are drawn to."""

    def __init__(self, store: RowStore, start: Array) -> None:
        self.x = store.padded(start)
        self.prior = self.x.copy()
        self.sensitivity = np.zeros(store.stride, dtype=np.float32)
        self.strength = 0.0
        self._turn = 0
        self._width = store.width

    @property
    def activity(self) -> Array:
        """(width,): kBq of each voxel, and the level of the shell."""
        return self.x[: self._width].astype(np.float64)

    def take(self, store: RowStore, live: Array32, newest: NDArray[np.intp]) -> None:
        """Count the newest rows into the sensitivity; those already in it are not read again, unless there are many."""
        if len(newest) * MANY >= len(store):
            self.sensitivity = store.back_project(live)
        elif len(newest):
            out = np.empty_like(self.x)
            _core.back_project(store.packed[newest], store.scales[newest], live[newest], out, THREADS)
            self.sensitivity += out

    def draw_to(self, mean: Array) -> None:
        """A new mean (width,) of the prior, whose weight follows the sensitivity of well-seen voxels."""
        self.prior[: self._width] = mean
        seen = self.sensitivity[: self._width - 1]
        self.strength = PRIOR_SHARE * float(np.quantile(seen, WELL_SEEN_QUANTILE))

    def relax(self) -> None:
        """Go a part of the way to the prior's mean: what the counts insist on comes back with the next ticks."""
        self.x += np.float32(RELAXED) * (self.prior - self.x)

    def advance(
        self, store: RowStore, told: Told, replay: int, passes: int, newest: NDArray[np.intp] | None = None
    ) -> int:
        """Go through rows; returns how many were read. `newest` are the rows of the last readings, the store's last
        ones unless it has merged any.
        """
        read, dead = 0, told.dead_time
        for _ in range(passes):
            rows, weights, step = sample(len(store), replay, self._turn, newest)
            self._turn += 1
            read += len(rows)
            _core.em_sample(
                store.packed,
                store.scales,
                told.counts,
                told.live,
                told.saturated,
                dead.tau_s,
                dead.paralysable,
                dead.saturated_rate_cps,
                rows,
                weights,
                self.prior,
                self.strength,
                step,
                self.x,
                THREADS,
            )
        return read
