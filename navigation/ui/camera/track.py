"""Where the camera's marker stood when a frame was taken: its recent poses, in between by interpolation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.ui.camera.frames import Frame, Frames
from navigation.ui.camera.model import CameraModel
from navigation.ui.camera.overlay import FASTEST_DEG_S, FASTEST_MM_S
from navigation.ui.state import POSE_EXPIRY_S, VideoState
from tracking.poses import interpolate, rotation_angles

Array = NDArray[np.float64]

# Poses kept: some seconds at sixty a second.
KEPT = 240
# A frame is placed by poses at most so far apart in time; longer than the engine's rounds of 50 ms.
WIDEST_GAP_S = 0.15
# How fast the camera moves is judged over at least so long.
SPEED_OVER_S = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class _Pose:
    t_s: float
    matrix: Array | None


class CameraTrack:
    """Takes the marker's poses by the window's clock; None for one that is not valid."""

    def __init__(self) -> None:
        self._poses: deque[_Pose] = deque(maxlen=KEPT)

    def take(self, t_s: float, matrix: Array | None) -> None:
        """A pose of the moment `t_s`; what comes out of order is left out."""
        if not self._poses or t_s > self._poses[-1].t_s:
            self._poses.append(_Pose(t_s, matrix))

    def at(self, t_s: float) -> tuple[Array | None, bool]:
        """(4, 4) at a moment, None where it was not seen, and whether the camera moved too fast then.

        A moment after the newest pose gets that one while it has not expired.
        """
        before = [p for p in self._poses if p.t_s <= t_s]
        after = [p for p in self._poses if p.t_s > t_s]
        if not before or before[-1].matrix is None:
            return None, False
        first = before[-1]
        if not after:
            fresh = t_s - first.t_s <= POSE_EXPIRY_S
            return (first.matrix if fresh else None), self._fast(first)
        second = after[0]
        if second.matrix is None or first.matrix is None or second.t_s - first.t_s > WIDEST_GAP_S:
            return None, False
        share = np.array([(t_s - first.t_s) / (second.t_s - first.t_s)])
        return interpolate(first.matrix[None], second.matrix[None], share)[0], self._fast(second)

    def _fast(self, last: _Pose) -> bool:
        """Whether the camera moves too fast at the time of a pose; it does not where nothing earlier is known."""
        earlier = [
            p
            for p in self._poses
            if p.matrix is not None and SPEED_OVER_S <= last.t_s - p.t_s <= POSE_EXPIRY_S
        ]
        if not earlier or last.matrix is None:
            return False
        old = earlier[-1]
        assert old.matrix is not None
        took = last.t_s - old.t_s
        shift = float(np.linalg.norm(last.matrix[:3, 3] - old.matrix[:3, 3]))
        turn = float(np.rad2deg(rotation_angles(last.matrix[:3, :3], old.matrix[:3, :3])))
        return shift > FASTEST_MM_S * took or turn > FASTEST_DEG_S * took


class Video:
    """A running source of frames and its calibration; `delay_s` is how long a frame takes from the scene to here."""

    def __init__(self, frames: Frames, camera: CameraModel | None, delay_s: float = 0.0) -> None:
        self.frames, self.camera, self.delay_s = frames, camera, delay_s
        self.track = CameraTrack()

    def state(self, now_s: float) -> VideoState:
        """What is true of the video at `now_s` of the clock that stamped frames and poses."""
        frame: Frame | None = self.frames.newest()
        if frame is None:
            return VideoState(self.camera, None, None, None, False, self.frames.fault)
        taken_s = frame.arrival_s - self.delay_s
        matrix, moving = self.track.at(taken_s)
        return VideoState(self.camera, frame, now_s - taken_s, matrix, moving, self.frames.fault)
