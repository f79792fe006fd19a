"""Guided steps of a calibration: samples go in as they come, one frozen Guidance comes out whenever it is asked for.

A guide knows no clock, no window and no socket: times are those of the samples. Directions are told in the user's
own view, which each guide learns from a first movement, since nobody knows how a tracker's frame lies to its user.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.guided.coverage import Cell

Array = NDArray[np.float64]

# A tool unseen for so long is told; shorter losses pass by.
UNSEEN_S = 0.4
# Movement is judged over this time: long against noise, short against a hand.
SPEED_S = 0.25
# A held tool: noise of an optical tracker stays below both.
STILL_MM_S, STILL_DEG_S = 12.0, 8.0
# Above this an optical tracker's own frame smears, and poses of slow trackers lie far apart.
FAST_DEG_S, FAST_MM_S = 90.0, 250.0
# A cell is asked for so long before another one is.
PATIENCE_S = 4.0
# Progress below this says nothing of how long the rest will take.
TELLING_PROGRESS = 0.15
WORDS_OF_DIRECTION = (
    "to the right",
    "to the right and away from you",
    "away from you",
    "to the left and away from you",
    "to the left",
    "to the left and towards you",
    "towards you",
    "to the right and towards you",
)


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the user is told now. `cells` and `pointer` (tilt or mm, azimuth in rad) lie on one map, `unit` its scale.

    `right` of the map is the user's right and up is away from the user once `view_known`.
    """

    step: str
    phase: str
    progress: float
    hint: str
    cells: tuple[Cell, ...] = ()
    pointer: tuple[float, float] | None = None
    wanted: Cell | None = None
    unit: str = "deg"
    view_known: bool = False
    seconds_left: float | None = None
    done: bool = False
    refusals: tuple[str, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Everything, for a window in another process."""
        from dataclasses import asdict

        return asdict(self)


@dataclass(slots=True, eq=False)
class Motion:
    """The newest poses of one tool: whether it is seen, how fast it moves and turns."""

    tool: str
    seen_s: float | None = None
    newest_s: float | None = None
    poses: deque[tuple[float, Array]] = field(default_factory=deque)

    def take(self, t_s: float, matrix: Array | None) -> None:
        """The next frame; None where the tracker did not see the tool. Times must rise."""
        self.newest_s = t_s
        if matrix is None:
            return
        self.seen_s = t_s
        self.poses.append((t_s, matrix))
        while len(self.poses) > 2 and t_s - self.poses[1][0] > SPEED_S:
            self.poses.popleft()

    @property
    def seen(self) -> bool:
        """Whether the newest frames show the tool."""
        if self.seen_s is None or self.newest_s is None:
            return False
        return self.newest_s - self.seen_s <= UNSEEN_S

    @property
    def speed(self) -> tuple[float, float]:
        """mm/s and deg/s over the newest quarter of a second; 0 before there is one."""
        if len(self.poses) < 2:
            return 0.0, 0.0
        (first_s, first), (last_s, last) = self.poses[0], self.poses[-1]
        # Over a shorter time noise alone looks fast.
        length = max(last_s - first_s, SPEED_S)
        turned = first[:3, :3].T @ last[:3, :3]
        cosine = np.clip((np.trace(turned) - 1.0) / 2.0, -1.0, 1.0)
        way = float(np.linalg.norm(last[:3, 3] - first[:3, 3]))
        return way / length, float(np.degrees(np.arccos(cosine))) / length

    @property
    def still(self) -> bool:
        """Whether the tool is held."""
        mm_s, deg_s = self.speed
        spans = len(self.poses) > 1 and self.poses[-1][0] - self.poses[0][0] > 0.5 * SPEED_S
        return spans and mm_s <= STILL_MM_S and deg_s <= STILL_DEG_S


class Guide(ABC):
    """One step. `take_pose` and `take_counts` may be called in any order of kinds, each with rising times."""

    step: str

    def __init__(self, tool: str) -> None:
        self.motion = Motion(tool)
        self.rate_cps: float | None = None
        self._progress = 0.0
        self._start_s: float | None = None

    def take_pose(self, t_s: float, matrix: Array | None) -> None:
        """Marker pose (4, 4) at `t_s`; None where the tracker does not see the tool."""
        self._start_s = t_s if self._start_s is None else self._start_s
        self.motion.take(t_s, matrix)
        if matrix is not None:
            self._pose(t_s, matrix)

    def take_counts(self, t_s: float, counts: float, window_s: float) -> None:
        """Counts of the window that ends at the counter's stamp `t_s`."""
        self._start_s = t_s if self._start_s is None else self._start_s
        self._counted(t_s, counts, window_s)

    @abstractmethod
    def guidance(self) -> Guidance:
        """What to tell the user now."""

    @abstractmethod
    def _pose(self, t_s: float, matrix: Array) -> None:
        """A pose that was seen."""

    def _counted(self, t_s: float, counts: float, window_s: float) -> None:
        """A counting window: its rate is shown."""
        self.rate_cps = counts / window_s if window_s > 0.0 else None

    def advanced(self, progress: float) -> float:
        """Progress that never falls within an attempt."""
        self._progress = float(np.clip(max(progress, self._progress), 0.0, 1.0))
        return self._progress

    def restarted(self, t_s: float) -> None:
        """A new attempt begins."""
        self._progress, self._start_s = 0.0, t_s

    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on as it went; None when that cannot be told yet."""
        newest = self.motion.newest_s
        if self._start_s is None or newest is None or not TELLING_PROGRESS < self._progress < 1.0:
            return None
        return (newest - self._start_s) * (1.0 - self._progress) / self._progress

    @property
    def start_s(self) -> float | None:
        """When the attempt began whose samples count."""
        return self._start_s

    def unseen_hint(self) -> str | None:
        """Words when the tracker does not see the tool."""
        if self.motion.newest_s is None:
            return f"waiting for the tracker to tell of the {self.motion.tool}"
        if not self.motion.seen:
            return f"the tracker does not see the {self.motion.tool}: turn its marker to the camera"
        return None


def direction_words(azimuth_rad: float) -> str:
    """A direction on the user's map, 0 to the right and a quarter turn away from the user."""
    eighth = int(np.floor(azimuth_rad / (np.pi / 4.0) + 0.5)) % 8
    return WORDS_OF_DIRECTION[eighth]


def way_to(pointer: tuple[float, float], wanted: Cell) -> float:
    """Azimuth in rad of the way on the map from the pointer to the middle of a cell."""
    way = middle_of(wanted) - pointer[0] * np.exp(1j * pointer[1])
    return float(np.mod(np.angle(way), 2.0 * np.pi))


@dataclass(slots=True, eq=False)
class Wish:
    """The cell asked for: kept until it is filled or PATIENCE_S are over, so that words do not flicker."""

    cell: Cell | None = None
    since_s: float = -np.inf
    given_up: tuple[tuple[float, float], ...] = ()

    def renew(self, t_s: float, cells: tuple[Cell, ...], pointer: tuple[float, float] | None) -> None:
        """Look at the cells as they are now."""
        empty = {(c.low_deg, c.start_rad): c for c in cells if not c.visits}
        kept = None if self.cell is None else (self.cell.low_deg, self.cell.start_rad)
        if pointer is None or (kept in empty and t_s - self.since_s <= PATIENCE_S):
            return
        if kept in empty:
            self.given_up = (*self.given_up, kept)
        choice = [c for key, c in empty.items() if key not in self.given_up] or list(empty.values())
        self.cell = min(choice, key=lambda c: distance_to(pointer, c), default=None)
        self.since_s = t_s


def middle_of(cell: Cell) -> complex:
    """The middle of a cell on the map; the innermost cell's is the centre."""
    radius = 0.0 if cell.low_deg == 0.0 else 0.5 * (cell.low_deg + cell.high_deg)
    return complex(radius * np.exp(1j * cell.middle_rad))


def distance_to(pointer: tuple[float, float], cell: Cell) -> float:
    """From the pointer to the middle of a cell on the map."""
    return float(abs(middle_of(cell) - pointer[0] * np.exp(1j * pointer[1])))


def user_right(left: Array, up: Array) -> Array | None:
    """Unit vector (3,) to the user's right from a movement (3,) to the left and the direction upwards (3,)."""
    across = left - (left @ up) * up
    length = float(np.linalg.norm(across))
    return None if length < 1e-9 else -across / length
