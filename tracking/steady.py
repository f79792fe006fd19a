"""Whether the patient's reference marker is where it was: a second marker, fixed to the same bone, must not move.

What moves is the pose of the check marker in the reference's frame; which of the two was bumped cannot be told,
and does not matter: everything measured before lies in another frame than everything after (hazard H04).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from tracking.poses import Floats, rotation_angles

# Where it was is the mean of so long, where it is of so long: white noise is gone, a bump is found within 1 s.
LEARNT_S, SHORT_S = 6.0, 0.6
# A bump of 1 mm must be found in 99 of 100; the mean of 0.6 s of two markers wavers by 0.1 mm.
ALARM_MM = 0.75
# Markers turn by 0.1 degrees of noise in that mean; less than this shows at the lever between them: 1 mm at 90 mm.
ALARM_DEG = 0.65
# Fewer poses are no mean.
FEWEST_POSES = 8
# Poses that lie further apart in time belong to a marker that was lost in between.
LONGEST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Moved:
    """The markers have moved against each other: since when at the latest, by how much, where they were."""

    since_s: float
    by_mm: float
    by_deg: float


class SteadyWatch:
    """Takes poses of the check marker in Reference in order of time; `moved` is set once and stays."""

    def __init__(self) -> None:
        self.moved: Moved | None = None
        self._began_s: float | None = None
        self._base: Floats | None = None
        self._recent: deque[tuple[float, Floats]] = deque()

    @property
    def watching(self) -> bool:
        """Whether it is known where the marker was."""
        return self._base is not None

    def take(self, t_s: float, T_reference_check: Floats) -> None:
        """The next pose (4, 4), mm, at its stamp."""
        if self._recent and not 0.0 < t_s - self._recent[-1][0] <= LONGEST_PAUSE_S:
            self._restart(t_s)
        if self._began_s is None:
            self._began_s = t_s
        self._recent.append((t_s, T_reference_check))
        if self._base is None:
            self._learn(t_s)
        elif self.moved is None:
            self._compare(t_s)

    def _restart(self, t_s: float) -> None:
        """After a pause only the mean of the last poses begins anew, not what is known."""
        self._recent.clear()
        self._began_s = t_s

    def _learn(self, t_s: float) -> None:
        assert self._began_s is not None
        if t_s - self._began_s >= LEARNT_S and len(self._recent) >= FEWEST_POSES:
            self._base = self._mean()

    def _compare(self, t_s: float) -> None:
        while t_s - self._recent[0][0] > SHORT_S:
            self._recent.popleft()
        assert self._began_s is not None
        assert self._base is not None
        if len(self._recent) < FEWEST_POSES or t_s - self._began_s < SHORT_S:
            return
        now = self._mean()
        by_mm = float(np.linalg.norm(now[:3, 3] - self._base[:3, 3]))
        by_deg = float(np.degrees(rotation_angles(now[:3, :3], self._base[:3, :3])))
        if by_mm > ALARM_MM or by_deg > ALARM_DEG:
            self.moved = Moved(self._recent[0][0], by_mm, by_deg)

    def _mean(self) -> Floats:
        """Mean of the matrices: of poses within a degree of each other it is a rotation to 1e-4."""
        mean: Floats = np.mean([pose for _, pose in self._recent], axis=0)
        return mean
