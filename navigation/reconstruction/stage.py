"""One field of view with the response rows of the readings in it, and the live map's activity on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.reconstruction.estimate import LiveEstimate
from navigation.reconstruction.geometry import Geometry, build_geometry, rows_of
from navigation.reconstruction.live import ROWS_AT_ONCE
from navigation.reconstruction.osem import Told
from navigation.reconstruction.readinglog import GrowingArray
from navigation.reconstruction.rowstore import RowStore
from navigation.reconstruction.search import Seen
from navigation.reconstruction.setup import ImagingSetup
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]


class Stage:
    """Rows are added in order of time; `estimate` is set by whoever knows where to begin."""

    estimate: LiveEstimate

    def __init__(self, setup: ImagingSetup, geometry: Geometry) -> None:
        self.setup, self.geometry = setup, geometry
        self.store = RowStore(len(geometry.field.active) + 1)
        self._background = GrowingArray(np.zeros((0, geometry.background.modes.shape[1])))
        self._place = np.zeros(0, dtype=np.intp)  # of each reading's row in the store

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
        dead = self.setup.dead_time
        alone = 1 + first + np.arange(len(part))
        if dead.paralysable:
            return alone
        return np.where(dead.saturated(part.counts / part.live_s), alone, 0)

    def newest(self, number: int) -> NDArray[np.intp]:
        """Rows of the newest readings."""
        return self._place[len(self._place) - number :]

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

    @property
    def points_mm(self) -> Array:
        """(m, 3): centres of the active voxels."""
        return self.geometry.field.points_mm

    def seen(self, readings: Readings, limits: bool) -> Seen:
        """What a search is given."""
        return Seen(self.geometry, readings, self.background_rows[: len(readings)], limits)

    def mean_of(self, concentration: Array, level: float) -> Array:
        """Columns (m + 1,) of the store from kBq/mL (m,) of the voxels and the level of the shell."""
        return np.append(concentration * self.geometry.field.grid.voxel_ml, level)

    def concentration_of(self, columns: Array32) -> Array:
        """kBq/mL (m,) of the voxels from padded columns."""
        m = len(self.geometry.field.active)
        return columns[:m].astype(np.float64) / self.geometry.field.grid.voxel_ml

    @property
    def concentration(self) -> Array:
        """kBq/mL (m,) of the voxels as the live map has them."""
        return self.concentration_of(self.estimate.x)

    @property
    def level(self) -> float:
        """kBq/mL of the shell."""
        return float(self.estimate.x[len(self.geometry.field.active)])


def stage_over(setup: ImagingSetup, readings: Readings, old: Geometry | None) -> Stage | None:
    """The field of the readings so far with all their rows; None where no tissue is in it."""
    geometry = build_geometry(setup, readings, old)
    if len(geometry.field.active) == 0:
        return None
    stage = Stage(setup, geometry)
    stage.extend(readings)
    return stage
