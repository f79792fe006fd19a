"""A scan of a target that breathes, brought to rest: the probe's path in the frame of the target.

What the residuals tell of the swing moves the poses, the scan is fitted anew, and what they still tell is added; the
place that comes out is the mean over a breath.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from navigation.modelfit import Breathing
from tracking.sample import Readings

# So often the swing is sought anew; a change of less is none.
ROUNDS, SETTLED_MM = 3, 0.7
# A swing of more is no breathing.
LONGEST_MM = 25.0


def stilled(readings: Readings, breathing: Breathing) -> Readings:
    """The readings as seen from the target: every pose less the target's displacement at its time."""
    if not len(readings):
        return readings
    per = np.diff(readings.first)
    away = breathing.displacement(readings.t_s - readings.t_s[0])
    poses = readings.poses.copy()
    poses[:, :3, 3] -= np.repeat(away, per, axis=0)
    return replace(readings, poses=poses)


def settled(before: Breathing, after: Breathing) -> bool:
    """Whether the swing is known, or grows beyond what breathing is."""
    return bool(np.abs(after.swing_mm - before.swing_mm).max() < SETTLED_MM or after.range_mm > LONGEST_MM)
