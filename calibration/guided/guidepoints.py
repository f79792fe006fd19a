"""Guided places: hold the probe so that the source lies at one place after the other, and count at each.

For the point-source grid and for the daily check; where the source really was while it was counted is what is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.guided.coverage import Cell
from calibration.guided.guide import SPEED_S, Guidance, Guide

Array = NDArray[np.float64]

# Near enough to a wanted place for a hand: what was reached is measured, so this only keeps the plan's spread.
NEAR_MM, NEAR_SHARE = 2.0, 0.05
# On a stand: less than half the way between two places of the plan.
STAND_NEAR_MM = 0.9
# A probe on a stand; a hand manages it for some seconds.
STILL_MM = 1.5
# Counts that make Poisson noise as small as the model's own error matter no more; nobody waits for ever.
ENOUGH_COUNTS, SHORTEST_S, LONGEST_S = 10_000.0, 1.0, 10.0
# Width of a ring of the map, one for each distance: no length of the bench.
RING_MM = 10.0
# A counter stamps late: poses are kept so long that windows find theirs.
KEPT_S = 2.0
# A counter's stamp is later than its window by less than this, and jitter by less than that.
LATEST_S = 0.45


@dataclass(frozen=True, slots=True)
class CountedPlace:
    """Counts with the source at r, z (mm, mean of the poses), the number of the wanted place beside."""

    number: int
    r_mm: float
    z_mm: float
    counts: float
    live_s: float


@dataclass(slots=True, eq=False)
class _Holding:
    """A place while it is held: since when, and what was counted."""

    since_s: float
    places: list[Array]
    counts: float = 0.0
    live_s: float = 0.0


class PointsGuide(Guide):
    """Poses are of the marker in Reference; `T_probe_tip` (4, 4) the nominal tip, `source_mm` (3,) in Reference."""

    step = "grid"

    def __init__(
        self,
        wanted: Sequence[tuple[float, float]],
        source_mm: Array,
        T_probe_tip: Array,
        *,
        step: str = "grid",
        enough_counts: float = ENOUGH_COUNTS,
        longest_s: float = LONGEST_S,
        near_mm: float = NEAR_MM,
    ) -> None:
        super().__init__("probe")
        self.step = step
        self.wanted = tuple(wanted)
        self.done_places: list[CountedPlace] = []
        self.enough_counts, self.longest_s, self.near_mm = enough_counts, longest_s, near_mm
        self._source, self._T_tip = np.asarray(source_mm, dtype=np.float64), T_probe_tip
        self._seen: Array | None = None
        self._recent: deque[tuple[float, Array]] = deque()
        self._holding: _Holding | None = None

    @property
    def number(self) -> int:
        """Which of the wanted places is next; their number when all are done."""
        return len(self.done_places)

    @property
    def place(self) -> tuple[float, float] | None:
        """r and z in mm of the source now, mean of a quarter of a second; None before a pose."""
        if not self._recent or not self.motion.seen:
            return None
        x, y, z = self._newest().mean(axis=0)
        return float(np.hypot(x, y)), float(z)

    def _newest(self) -> Array:
        """(n, 3): where the source was seen of late."""
        newest_s = self._recent[-1][0]
        return np.stack([p for t, p in self._recent if newest_s - t <= SPEED_S])

    def _pose(self, t_s: float, matrix: Array) -> None:
        tip = matrix @ self._T_tip
        self._seen = tip[:3, :3].T @ (self._source - tip[:3, 3])
        self._recent.append((t_s, self._seen))
        while t_s - self._recent[0][0] > KEPT_S:
            self._recent.popleft()
        if self.number == len(self.wanted):
            return
        if not self._at_place() or not self._held():
            self._holding = None
        elif self._holding is None:
            self._holding = _Holding(t_s, [self._seen])
        else:
            self._holding.places.append(self._seen)

    def _held(self) -> bool:
        """Whether the source has hardly moved in the tip frame of late."""
        near = self._newest()
        if len(near) < 2:
            return False
        # Single poses carry the tracker's noise; the way from the first half to the second hardly does.
        half = len(near) // 2
        return float(np.linalg.norm(near[half:].mean(axis=0) - near[:half].mean(axis=0))) <= STILL_MM

    def _at_place(self) -> bool:
        place = self.place
        if place is None:
            return False
        (r, z), (wanted_r, wanted_z) = place, self.wanted[self.number]
        room = max(self.near_mm, NEAR_SHARE * float(np.hypot(wanted_r, wanted_z)))
        return abs(r - wanted_r) <= room and abs(z - wanted_z) <= room

    def _counted(self, t_s: float, counts: float, window_s: float) -> None:
        super()._counted(t_s, counts, window_s)
        held = self._holding
        # The window must begin after the place was reached, however late the counter stamps.
        if held is None or t_s - window_s - LATEST_S < held.since_s:
            return
        held.counts += counts
        held.live_s += window_s
        if held.live_s < SHORTEST_S or (held.counts < self.enough_counts and held.live_s < self.longest_s):
            return
        x, y, z = np.stack(held.places).mean(axis=0)
        self.done_places.append(
            CountedPlace(
                self.number,
                float(np.hypot(x, y)),
                float(z),
                held.counts,
                round(held.live_s, 6),
            )
        )
        self._holding = None

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        done = self.number == len(self.wanted)
        held = self._holding
        part = 0.0 if held is None else min(held.live_s / self.longest_s, 1.0)
        progress = self.advanced((self.number + 0.9 * part) / max(len(self.wanted), 1))
        return Guidance(
            self.step,
            "done" if done else "count" if held is not None else "move",
            progress,
            self._hint(done),
            self._cells(),
            wanted=None if done else self._wanted_cell(),
            unit="mm",
            seconds_left=self.seconds_left(),
            done=done,
            figures=self._figures(done),
        )

    def _cells(self) -> tuple[Cell, ...]:
        """The wanted distances as rings, each cut into its places."""
        placed = self._placed()
        return tuple(placed[i] for i in sorted(placed))

    def _placed(self) -> dict[int, Cell]:
        """The cell of each wanted place."""
        cells = {}
        for ring, z in enumerate(sorted({z for _, z in self.wanted})):
            numbers = sorted((r, i) for i, (r, at) in enumerate(self.wanted) if at == z)
            step = 2.0 * np.pi / len(numbers)
            for k, (_, i) in enumerate(numbers):
                low = RING_MM * ring
                cells[i] = Cell(low, low + RING_MM, k * step, (k + 1) * step, int(i < self.number))
        return cells

    def _wanted_cell(self) -> Cell:
        """The cell of the place wanted now, on the map of the cells."""
        return self._placed()[self.number]

    def _figures(self, done: bool) -> tuple[tuple[str, str], ...]:
        rows = [("places", f"{self.number} of {len(self.wanted)}")]
        if not done:
            r, z = self.wanted[self.number]
            rows.append(("wanted", f"{z:g} mm in front, {r:g} mm aside"))
            if self.place is not None:
                rows.append(("now", f"{self.place[1]:.1f} mm in front, {self.place[0]:.1f} mm aside"))
        if self._holding is not None:
            rows.append(("counted", f"{self._holding.counts:.0f} in {self._holding.live_s:.1f} s"))
        return tuple(rows)

    def _hint(self, done: bool) -> str:
        if done:
            return "done: put the source away"
        unseen = self.unseen_hint()
        if unseen is not None:
            return unseen
        assert self.place is not None
        (r, z), (wanted_r, wanted_z) = self.place, self.wanted[self.number]
        if self._holding is not None:
            left = max(self.longest_s - self._holding.live_s, 0.0)
            return "hold still: counting" if left > 3.0 else "hold still: nearly done"
        if self._at_place():
            return "hold still"
        if z < 0.0:
            return "turn the probe: the source lies behind its face"
        if abs(z - wanted_z) > max(self.near_mm, NEAR_SHARE * wanted_z):
            return f"move {'closer' if z > wanted_z else 'away'} to {wanted_z:g} mm: now {z:.0f} mm"
        aside = "towards the axis" if r > wanted_r else "aside"
        return f"move {aside} until the source is {wanted_r:g} mm off the axis: now {r:.0f} mm"
