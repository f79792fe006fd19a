"""What a snapshot holds of guidance beside the coverage: what was removed where, and the way to what is selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """A mark "removed here": place (3,) mm in Reference, Unix time, place of the reference, targets that it ended."""

    place_mm: Array
    t_s: float
    frame: int
    ended: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For record, report and wire."""
        return {
            "place_mm": self.place_mm.tolist(),
            "t_s": self.t_s,
            "frame": self.frame,
            "ended": list(self.ended),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """What is gone for: a target by its name, or a focus by where (3,) it was when chosen, with its covariance."""

    kind: str  # "target" | "focus"
    name: str
    place_mm: Array | None = None
    covariance_mm2: Array | None = None
    frame: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Navigation:
    """From the probe's face to what is selected; lengths in mm, None where the place is not known to 10 mm.

    `direction` (3,) is a unit vector in the probe's frame, +Z out of its face.
    """

    name: str
    kind: str
    sd_mm: float | None  # of the place, worst direction
    distance_mm: float | None = None
    ahead_mm: float | None = None  # along the probe's axis
    beside_mm: float | None = None  # off that axis
    depth_mm: float | None = None  # below the nearest surface
    direction: Array | None = None
    removed: bool = False  # a mark says that it was taken out

    @property
    def words(self) -> str:
        """For the screen: "--" where nothing may be told."""
        if self.removed:
            return f"{self.name}: marked as removed"
        if self.distance_mm is None or self.sd_mm is None:
            return f"{self.name}: --"
        ahead = self.ahead_mm or 0.0
        where = f"{abs(ahead):.0f} mm {'BEHIND' if ahead <= -0.5 else 'ahead'}"
        deep = "" if self.depth_mm is None else f", {self.depth_mm:.0f} mm below the surface"
        return (
            f"{self.name}: {self.distance_mm:.0f} mm away (SD {self.sd_mm:.0f} mm), {where},"
            f" {self.beside_mm:.0f} mm beside{deep}"
        )

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return {
            "name": self.name,
            "kind": self.kind,
            "sd_mm": self.sd_mm,
            "distance_mm": self.distance_mm,
            "ahead_mm": self.ahead_mm,
            "beside_mm": self.beside_mm,
            "depth_mm": self.depth_mm,
            "direction": None if self.direction is None else self.direction.tolist(),
            "removed": self.removed,
            "words": self.words,
        }
