"""Which tools are outside the part of the volume in which their tracker is as good as it was accepted to be."""

from __future__ import annotations

import numpy as np

from tracking.inputs import WorkingVolume
from tracking.sample import PoseSample

# So far inside again before a tool counts as back: a hand at the border is told of once.
BACK_MM = 10.0


class VolumeWatch:
    """Takes poses in order; `outside` names the transforms whose newest pose lies beyond."""

    def __init__(self) -> None:
        self.outside: set[str] = set()

    def take(self, pose: PoseSample, good: WorkingVolume | None) -> bool:
        """The next pose; True when its tool has just left. A tool that is not seen is nowhere."""
        if good is None or not pose.name.endswith("ToTracker"):
            return False
        place = pose.matrix[:3, 3]
        if not pose.status.usable or not np.isfinite(place).all():
            self.outside.discard(pose.name)
            return False
        if pose.name in self.outside:
            if good.holds(place, BACK_MM):
                self.outside.discard(pose.name)
            return False
        left = not good.holds(place)
        if left:
            self.outside.add(pose.name)
        return left
