"""What lies ahead of the probe: seen along its axis from behind the face, with a bar for the depth.

Without Qt: where each focus falls in the picture. Right and down are as in the slices: the patient's left to the right
where that is known, so that a hand that rolls the probe does not turn the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.ui.bedcells import cells_of
from navigation.ui.state import LARGEST_SD_MM, ViewState, probe_axes

Array = NDArray[np.float64]

# Half of the picture's side in mm, and the depth that the bar shows.
HALF_MM, DEEPEST_MM = 45.0, 80.0
RINGS_MM = (10.0, 20.0, 30.0, 40.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """A focus in the picture: mm to the right and down, mm ahead (behind the face below zero), radius, its words."""

    number: int
    right_mm: float
    down_mm: float
    ahead_mm: float
    sd_mm: float
    radius_mm: float
    chosen: bool

    @property
    def words(self) -> str:
        """Its number and how deep it lies; "--" where that is not known well enough."""
        if not self.sd_mm <= LARGEST_SD_MM:
            return f"{self.number}  --"
        return f"{self.number}  {abs(self.ahead_mm):.0f} mm{'' if self.ahead_mm >= 0.0 else ' BEHIND'}"

    @property
    def inside(self) -> bool:
        """Whether it lies within the picture."""
        return max(abs(self.right_mm), abs(self.down_mm)) <= HALF_MM

    def on_rim(self) -> tuple[float, float]:
        """Where the picture's rim is crossed on the way to it: (right, down) in mm."""
        largest = max(abs(self.right_mm), abs(self.down_mm), 1e-9)
        scale = min(1.0, 0.94 * HALF_MM / largest)
        return self.right_mm * scale, self.down_mm * scale


def marks(state: ViewState) -> tuple[Mark, ...]:
    """Every focus of a state that is live; none otherwise: nothing old is pointed at."""
    pose = state.T_reference_probe
    if pose is None or not state.live:
        return ()
    axes = probe_axes(pose, state.T_ras_reference)
    chosen = None if state.target is None else state.target.spot.id
    found = []
    for spot in state.spots:
        right, down, ahead = (float(v) for v in axes @ (spot.position_mm - pose[:3, 3]))
        radius = max(3.0, spot.extent_mm / 2.0)
        found.append(Mark(spot.id, right, down, ahead, spot.sd_mm, radius, spot.id == chosen))
    return tuple(found)


def bed_squares(state: ViewState) -> list[tuple[Array, str]]:
    """Outline (4, 2) of each cell of the bed, (right, down) in mm, and how it was seen."""
    cells, pose = cells_of(state), state.T_reference_probe
    if cells is None or pose is None:
        return []
    axes = probe_axes(pose, state.T_ras_reference)[:2]
    squares = (cells.squares(axes[0], axes[1]) - pose[:3, 3]) @ axes.T
    return list(zip(squares, cells.seen, strict=True))


def next_mark(state: ViewState) -> tuple[float, float] | None:
    """(right, down) in mm of the place to scan next, None where there is none."""
    coverage = state.bed.get("coverage") or {}
    look, pose = coverage.get("scan_next"), state.T_reference_probe
    if look is None or pose is None or not state.engine_alive:
        return None
    axes = probe_axes(pose, state.T_ras_reference)
    offset = axes @ (np.array(look["place_mm"], dtype=np.float64) - pose[:3, 3])
    return float(offset[0]), float(offset[1])
