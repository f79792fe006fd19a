"""Guided daily check: rests on the axis at three distances, then once round the source with the probe leaning.

The rests tell the sensitivity, the round tells the view and where the source really lies, without which a
sensitivity near the face is not worth much.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.guided.guide import Guidance, Guide
from calibration.guided.guidepoints import PointsGuide
from calibration.guided.guidesweep import SweepGuide
from calibration.probe.gridplan import InAir

Array = NDArray[np.float64]

# r and z in mm: on the axis at the distances of NEMA NU 3.
CHECK_PLACES = ((0.0, 10.0), (0.0, 30.0), (0.0, 50.0))
# A check needs less than a calibration: twice its errors.
CHECK_TARGETS = {"latency_ms": 8.0, "axis_deg": 2.0, "centre_mm": 1.0}
# Share of the progress bar that the rests take.
RESTS_SHARE = 0.5


class CheckGuide(Guide):
    """Poses are of the marker in Reference, `T_probe_tip` (4, 4) the nominal tip, `source_mm` (3,) in Reference."""

    step = "check"

    def __init__(
        self, source_mm: Array, T_probe_tip: Array, activity_kbq: float, response: InAir | None = None
    ) -> None:
        super().__init__("probe")
        self.rests = PointsGuide(CHECK_PLACES, source_mm, T_probe_tip, step=self.step)
        self.round = SweepGuide(source_mm, T_probe_tip, activity_kbq, response)
        self.round.targets = dict(CHECK_TARGETS)

    @property
    def part(self) -> Guide:
        """Which of the two is under way."""
        return self.rests if self.rests.number < len(self.rests.wanted) else self.round

    def take_pose(self, t_s: float, matrix: Array | None) -> None:
        """As of every guide: to the part that is under way, too."""
        super().take_pose(t_s, matrix)
        self.part.take_pose(t_s, matrix)

    def _pose(self, t_s: float, matrix: Array) -> None:
        """The parts take what they need."""

    def _counted(self, t_s: float, counts: float, window_s: float) -> None:
        super()._counted(t_s, counts, window_s)
        self.part.take_counts(t_s, counts, window_s)

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        told = self.part.guidance()
        resting = self.part is self.rests
        share = RESTS_SHARE * told.progress
        share = share if resting else RESTS_SHARE + (1.0 - RESTS_SHARE) * told.progress
        progress = self.advanced(share)
        return replace(
            told,
            step=self.step,
            progress=progress,
            seconds_left=self.seconds_left(),
            done=told.done and not resting,
        )
