"""One field of view with the response rows of the readings in it, and the live map's activity on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.coverage import Aim
from navigation.reconstruction.estimate import LiveEstimate
from navigation.reconstruction.geometry import Geometry, build_geometry
from navigation.reconstruction.scanrows import ScanRows
from navigation.reconstruction.search import Seen
from navigation.reconstruction.setup import ImagingSetup
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]


class Stage(ScanRows):
    """Rows are added in order of time; `estimate` is set by whoever knows where to begin."""

    estimate: LiveEstimate

    @property
    def points_mm(self) -> Array:
        """(m, 3): centres of the active voxels."""
        return self.geometry.field.points_mm

    def seen(self, readings: Readings, limits: bool, aim: Aim | None = None) -> Seen:
        """What a search is given."""
        return Seen(self.geometry, readings, self.background_rows[: len(readings)], limits, aim)

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
