"""The response rows of a scan's readings in one field: made in order of time, merged where the store is full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import FOLDED_WITHIN_S, least_doubtful_cps
from navigation.reconstruction.geometry import ROWS_AT_ONCE, Geometry, rows_of
from navigation.reconstruction.osem import Told
from navigation.reconstruction.readinglog import GrowingArray
from navigation.reconstruction.rowstore import RowStore
from navigation.reconstruction.setup import ImagingSetup
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]


class ScanRows:
    """A function of setup, field and readings alone, however many came at once."""

    def __init__(self, setup: ImagingSetup, geometry: Geometry) -> None:
        self.setup, self.geometry = setup, geometry
        self.store = RowStore(len(geometry.field.active) + 1)
        self._background = GrowingArray(np.zeros((0, geometry.background.modes.shape[1])))
        self._place = np.zeros(0, dtype=np.intp)  # of each reading's row in the store
        self._saturated_s = -np.inf  # when the last saturated reading ended

    def extend(self, readings: Readings) -> int:
        """Make the rows of the readings (n of the whole scan) that have none yet; returns how many these are."""
        before = len(self._place)
        for low in range(before, len(readings), ROWS_AT_ONCE):
            part = readings.select(slice(low, low + ROWS_AT_ONCE))
            rows, background = rows_of(self.setup, self.geometry, part)
            held = len(self.store)
            into = self.store.append(rows, part.mid_poses, part.live_s, self._kinds(part, low))
            self._place = np.concatenate([into[:held][self._place], into[held:]])
            self._background.append(background)
        return len(self._place) - before

    def _kinds(self, part: Readings, first: int) -> NDArray[np.int64]:
        """Rows of one kind may be merged: plain ones. What is a bound, or may turn out to be one, stays alone."""
        dead, recorded = self.setup.dead_time, part.counts / part.live_s
        alone = saturated = dead.saturated(recorded)
        if dead.paralysable:
            alone = saturated | self._can_be_doubtful(part.t_s, recorded, saturated)
        return np.where(alone, 1 + first + np.arange(len(part)), 0)

    def _can_be_doubtful(
        self, t_s: Array, recorded_cps: Array, saturated: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which readings (n,) a saturated one to come may make doubtful: enough of them soon after another."""
        before = np.maximum.accumulate(np.append(self._saturated_s, np.where(saturated, t_s, -np.inf)))
        self._saturated_s = float(before[-1])
        soon = t_s - before[1:] <= FOLDED_WITHIN_S
        return np.asarray(soon & (recorded_cps >= least_doubtful_cps(self.setup.dead_time)))

    def newest(self, number: int) -> NDArray[np.intp]:
        """Rows of the newest readings, of all where there are fewer."""
        return self._place[max(len(self._place) - number, 0) :]

    @property
    def merged_mm(self) -> float:
        """How far a reading's pose lies from that of its row, in mm, at most; beyond `compaction.FINE_MM` users are to
        be told that the picture is coarser.
        """
        return self.store.merged_mm

    @property
    def merged(self) -> bool:
        """Whether a row of the store stands for more than one reading."""
        return len(self.store) < len(self._place)

    def of_rows(self, told: Told) -> Told:
        """What the rows counted, from what the readings did."""
        if not self.merged:
            return told
        rows = len(self.store)
        counts, live, bounds = (
            np.bincount(self._place, values, rows) for values in (told.counts, told.live, told.saturated)
        )
        return Told(
            counts.astype(np.float32),
            live.astype(np.float32),
            (bounds > 0).astype(np.uint8),
            told.dead_time,
        )

    @property
    def background_rows(self) -> Array:
        """(n, q), a view."""
        return np.asarray(self._background.all, dtype=np.float64)
