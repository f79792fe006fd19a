"""Marker poses from a running tracker: every message of one tool kept, with the cause where it is no pose.

What was kept is written as a CSV that `calibration.tip.posefile` reads back to the same poses, so that nothing is
lost and a calibration can be computed anew. Lengths mm, times as stamped by the tracker.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.tip.posefile import ELEMENT_NAMES, SIMULATION_REMARK, TRANSFORM_REMARK, PoseSet, usable_poses
from tracking.errors import WireError
from tracking.igtl.codec import Message, decode
from tracking.igtl.poses import poses_from_message
from tracking.inputs import WorkingVolume, frame_number, within
from tracking.jsonfile import write_text
from tracking.sample import PoseSample
from tracking.transform import rigidity_fault

NOT_A_MESSAGE, SAME_FRAME = "damaged message", "repeated"
# Metadata by which a simulated instrument owns up to being one, whatever its value but these.
SIMULATION, NOT_SIMULATED = "Simulation", ("", "0", "FALSE")


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    t_s: float
    matrix: NDArray[np.float64]
    fault: str
    arrival_s: float


class PoseStream:
    """Takes raw messages on a device's thread; any thread may ask. `device` is a wire name such as StylusToTracker."""

    def __init__(self, device: str, volume: WorkingVolume | None = None) -> None:
        self.device = device
        self.simulated = False
        self._volume = volume
        self._rows: list[_Row] = []
        self._others: set[str] = set()
        self._damaged = 0
        self._last: PoseSample | None = None
        self._news = threading.Condition()

    def take(self, source: str, arrival_s: float, raw: bytes) -> None:
        """The next raw message; anything that is no pose of the device is only counted."""
        try:
            message = decode(raw)
        except WireError:
            with self._news:
                self._damaged += 1
            return
        for pose in poses_from_message(message):
            self._take_pose(_numbered(pose, message), message, arrival_s)

    def _take_pose(self, pose: PoseSample, message: Message, arrival_s: float) -> None:
        with self._news:
            if pose.name != self.device:
                self._others.add(pose.name)
                return
            stamp = message.metadata.get(SIMULATION, "")
            self.simulated = self.simulated or stamp.upper() not in NOT_SIMULATED
            matrix = np.array(pose.matrix, dtype=np.float64)
            self._rows.append(_Row(pose.t_s, matrix, self._fault(pose), arrival_s))
            self._last = pose
            self._news.notify_all()

    def _fault(self, pose: PoseSample) -> str:
        """Why the message holds no pose; what the matrices tell by themselves is found later."""
        status = within(pose, self._volume).status
        if not status.usable:
            return status.value
        same_frame = self._last is not None and pose.frame is not None and pose.frame == self._last.frame
        return SAME_FRAME if same_frame else ""

    def wait(self, rows: int, timeout_s: float) -> bool:
        """Block until more than `rows` messages of the device have come; False on timeout."""
        with self._news:
            return self._news.wait_for(lambda: len(self._rows) > rows, timeout_s)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the other poses that came, in order of the alphabet."""
        with self._news:
            return tuple(sorted(self._others))

    def arrivals_s(self) -> tuple[float | None, float | None]:
        """When the first usable pose and the newest message of the device came; None before."""
        with self._news:
            rows = list(self._rows)
        first = next((row.arrival_s for row in rows if _is_pose(row)), None)
        return first, rows[-1].arrival_s if rows else None

    def pose_set(self) -> PoseSet:
        """What has come so far, as from a file; causes of the messages left out are the sender's words."""
        with self._news:
            rows, damaged = list(self._rows), self._damaged
        causes = Counter(row.fault for row in rows if row.fault)
        if damaged:
            causes[NOT_A_MESSAGE] = damaged
        found = usable_poses([row.matrix for row in rows if not row.fault], causes)
        return replace(found, source=self.device, simulated=self.simulated)

    def write_csv(self, path: Path) -> None:
        """All messages of the device, t_s,m00,...,m33, with every bit; NaN throughout where it is no pose."""
        with self._news:
            rows = list(self._rows)
        head = [f"{TRANSFORM_REMARK} {self.device}"]
        head += [SIMULATION_REMARK] if self.simulated else []
        lines = [*head, ",".join(("t_s", *ELEMENT_NAMES)), *(_line(row) for row in rows)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "\n".join(lines) + "\n")


def _numbered(pose: PoseSample, message: Message) -> PoseSample:
    return replace(pose, frame=frame_number(message.metadata))


def _is_pose(row: _Row) -> bool:
    return not row.fault and rigidity_fault(row.matrix) is None and not np.array_equal(row.matrix, np.eye(4))


def _line(row: _Row) -> str:
    known = not row.fault and bool(np.isfinite(row.matrix).all())
    values = row.matrix.ravel() if known else np.full(16, np.nan)
    return ",".join([repr(float(row.t_s)), *(repr(float(v)) for v in values)])
