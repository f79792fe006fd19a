"""Where a scan has looked so far, kept up to date reading by reading: when a wider field is due."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.field import LOOK_DEPTH_MM, snapped
from navigation.reconstruction.geometry import LOOKING_MM, PATH_REFRESH
from navigation.reconstruction.setup import ImagingSetup
from tracking.sample import Readings

Array = NDArray[np.float64]


class Extent:
    """The box that `navigation.field.box_of` gives for all poses that look at the patient, one by one."""

    def __init__(self, setup: ImagingSetup) -> None:
        self.looking = 0
        self._near = None if setup.surface_mm is None else cKDTree(setup.surface_mm)
        self._path = setup.surface_mm is None and setup.ct is None
        self._low, self._high = np.full(3, np.inf), np.full(3, -np.inf)
        self._grid = setup.grid
        self._readings = 0
        if setup.tip_hint is not None and len(setup.tip_hint):
            self._stretch(setup.tip_hint)

    def take(self, fresh: Readings) -> None:
        """Look at the poses of new readings."""
        poses = fresh.mid_poses
        self._readings += len(poses)
        if self._near is not None and len(poses):
            poses = poses[np.asarray(self._near.query(poses[:, :3, 3])[0]) <= LOOKING_MM]
        self.looking += len(poses)
        if len(poses):
            self._stretch(poses)

    def _stretch(self, poses: Array) -> None:
        tips, axes = poses[:, :3, 3], poses[:, :3, 2]
        ends = np.concatenate([tips, tips + LOOK_DEPTH_MM * axes])
        self._low = np.minimum(self._low, ends.min(axis=0))
        self._high = np.maximum(self._high, ends.max(axis=0))

    @property
    def key(self) -> tuple[float, ...]:
        """Changes when a wider field is due; without a touched surface also when the path has doubled."""
        low, high = self._grid.box(*snapped(self._low, self._high))
        doublings = (self._readings // PATH_REFRESH).bit_length() if self._path else 0
        return (*low.tolist(), *high.tolist(), float(doublings))
