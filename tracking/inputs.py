"""What may come from a source: which kinds of samples, on whose clock, and from where in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.sample import PoseSample, PoseStatus

# Metadata in which senders number their frames, the tracker's own number first.
FRAME_NUMBERS = ("FrameNumber", "Seq")
# Longer ones are no frame numbers and would not fit into 64 bits.
MOST_DIGITS = 18


class ClockKind(StrEnum):
    """Whose clock a source stamps with: one it shares with the others, or its own, laid on ours."""

    SHARED = "shared"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class WorkingVolume:
    """The box in which a tracker measures, in its own frame, mm; a pose outside is not to be believed."""

    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]

    def holds(self, position_mm: NDArray[np.float64], margin_mm: float = 0.0) -> bool:
        """Whether the point (3,) lies in the box, at least `margin_mm` from its sides."""
        low, high = np.array(self.low_mm) + margin_mm, np.array(self.high_mm) - margin_mm
        return bool((position_mm >= low).all() and (position_mm <= high).all())

    def within(self, other: WorkingVolume) -> bool:
        """Whether the whole box lies in another one."""
        return other.holds(np.array(self.low_mm)) and other.holds(np.array(self.high_mm))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a source may send (H40), everything else from it is refused; its clock, and where it can see.

    `devices` lists the only device names that are taken from it; None: any that the kinds allow. Outside
    `good_volume`, a part of the volume, a pose is used and the user is told.
    """

    poses: bool = True
    counts: bool = True
    clock: ClockKind = ClockKind.SHARED
    volume: WorkingVolume | None = None
    devices: tuple[str, ...] | None = None
    good_volume: WorkingVolume | None = None

    def allows(self, device: str) -> bool:
        """Whether the source may send a device of this name."""
        return self.devices is None or device in self.devices

    @staticmethod
    def from_json(role: Mapping[str, Any]) -> Inputs:
        """Of a source as the head of a record describes it; heads of before the clocks were told apart too."""
        volume, good = (_volume(role.get(key)) for key in ("volume_mm", "good_volume_mm"))
        clock = ClockKind(role.get("clock", ClockKind.SHARED))
        names = role.get("devices")
        devices = None if names is None else tuple(str(name) for name in names)
        return Inputs(bool(role["poses"]), bool(role["counts"]), clock, volume, devices, good)


def _volume(corners: Any) -> WorkingVolume | None:
    return None if corners is None else WorkingVolume(tuple(corners[0]), tuple(corners[1]))


def frame_number(metadata: Mapping[str, str]) -> int | None:
    """The number of the tracker's frame, None where the sender gives none that is a number."""
    for key in FRAME_NUMBERS:
        text = metadata.get(key, "")
        if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
            return int(text)
    return None


def within(pose: PoseSample, volume: WorkingVolume | None) -> PoseSample:
    """The pose, disowned where it lies outside the volume in which its tracker measures."""
    if volume is None or not pose.status.usable or not pose.name.endswith("ToTracker"):
        return pose
    place = pose.matrix[:3, 3]
    outside = bool(np.isfinite(place).all()) and not volume.holds(place)
    return replace(pose, status=PoseStatus.OUT_OF_VOLUME) if outside else pose
