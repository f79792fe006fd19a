"""Guided sweep round a point source: detector centre, axis and latency, or quick passes for the latency alone.

What the sweep will tell is predicted as it goes, from the Fisher information of every counting window; a common
probe's response serves for that where none is given, and then the prediction is a rough one.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from calibration.guided.coverage import Cell, basis_about
from calibration.guided.guide import FAST_MM_S, Guidance, Guide, Wish, direction_words, user_right, way_to
from calibration.probe.gridplan import InAir, common_probe

Array = NDArray[np.float64]

# Rings of the source's offset across the axis, mm, and their cells.
RING_MM = (0.0, 7.0, 15.0, 25.0)
RING_CELLS = (1, 8, 8)
# Distances in front of the face at which a window counts as covering its cell.
NEAREST_MM, FARTHEST_MM = 8.0, 55.0
GOOD_MM = 30.0
# What is wanted: half of what a calibration must reach (5 ms, 1.5 degrees, 1 mm).
TARGETS = {"latency_ms": 4.0, "axis_deg": 1.0, "centre_mm": 0.5}
# The response fitted along with the rest takes part of the information.
UNKNOWN_RESPONSE_FACTOR = 1.5
NEEDED_COVERAGE = 0.7
FEWEST_WINDOWS = 100
LONGEST_S = 180.0
# Held within this of the axis over the source, the first movement, to the user's left, tells how the user looks at it.
ABOVE_MM, LEFT_MM = 20.0, 40.0
# The way to go is told anew so often.
TOLD_S = 1.0
# A pass this quick makes the counts rise and fall within a few windows: what a latency is seen by.
QUICK_MM_S, SLOW_MM_S = 60.0, 8.0
# Poses are kept so long that a late counter's windows find theirs; the latency assumed meanwhile.
KEPT_S, ASSUMED_LATENCY_S = 2.0, 0.1
# Steps for slopes of the response.
SLOPE_MM = 0.5
# Nothing known is worse than this: it keeps the information's inverse finite. s, rad, rad, mm, mm, mm, log, cps.
PRIOR_SD = np.array([0.2, 0.3, 0.3, 20.0, 20.0, 20.0, 2.0, 100.0])
# A weak room rate under every window.
ROOM_CPS = 2.0


class SweepGuide(Guide):
    """Poses are of the marker in Reference, `T_probe_tip` (4, 4) the nominal tip, `source_mm` (3,) in Reference."""

    step = "detector-scan"

    def __init__(
        self,
        source_mm: Array,
        T_probe_tip: Array,
        activity_kbq: float,
        response: InAir | None = None,
        *,
        latency_only: bool = False,
    ) -> None:
        super().__init__("probe")
        self.step = "latency" if latency_only else "detector-scan"
        self.targets = {"latency_ms": TARGETS["latency_ms"]} if latency_only else dict(TARGETS)
        self.latency_only = latency_only
        self.phase = "left"
        self._source, self._T_tip = np.asarray(source_mm, dtype=np.float64), T_probe_tip
        self._activity = activity_kbq
        self._in_air, self._known = response or common_probe, response is not None
        self._path: deque[tuple[float, Array]] = deque()
        self._first: Array | None = None
        self._right: Array | None = None
        self._told_s = -np.inf
        self._way = "pass over the source"
        self._wish = Wish()
        self._visits = np.zeros(sum(RING_CELLS), dtype=np.int64)
        self._information = np.diag(1.0 / PRIOR_SD**2)
        self.windows = 0
        # How many times the assumed response the counts are.
        self._counted_sum, self._foretold_sum = 0.0, 0.0

    def _pose(self, t_s: float, matrix: Array) -> None:
        tip = matrix @ self._T_tip
        self._path.append((t_s, tip))
        while t_s - self._path[0][0] > KEPT_S:
            self._path.popleft()
        if self.phase == "left":
            self._learn_left(tip)
        elif t_s - self._told_s >= TOLD_S:
            self._told_s = t_s
            self._wish.renew(t_s, ring_cells(self._visits), self._pointer())
            self._way = self._way_words()

    def _learn_left(self, tip: Array) -> None:
        """From where the probe was held above the source, the first way of some length is to the user's left."""
        seen = tip[:3, :3].T @ (self._source - tip[:3, 3])
        above = NEAREST_MM <= seen[2] <= FARTHEST_MM and np.hypot(seen[0], seen[1]) <= ABOVE_MM
        if above and self.motion.still:
            self._first = tip
        if self._first is None:
            return
        moved = tip[:3, 3] - self._first[:3, 3]
        up = -self._first[:3, 2]
        right = user_right(moved, up)
        if right is not None and float(np.linalg.norm(moved - (moved @ up) * up)) >= LEFT_MM:
            self._right = right
            self.phase = "sweep"
            self._start_s = self._path[-1][0]

    def _counted(self, t_s: float, counts: float, window_s: float) -> None:
        super()._counted(t_s, counts, window_s)
        if self.phase != "sweep":
            return
        found = self._at(t_s - ASSUMED_LATENCY_S - 0.5 * window_s)
        if found is None:
            return
        tip, velocity = found
        seen = tip[:3, :3].T @ (self._source - tip[:3, 3])
        self._learn(seen, velocity, counts, window_s)
        self._visit(tip, seen)
        self.windows += 1
        newest = self._path[-1][0]
        late = self._start_s is not None and newest - self._start_s > LONGEST_S
        if self._reached() or late:
            self.phase = "done"

    def _at(self, t_s: float) -> tuple[Array, Array] | None:
        """The tip nearest to a time, and the source's velocity in its frame, mm/s; None where the path has a hole."""
        times = np.array([t for t, _ in self._path])
        if len(times) < 3:
            return None
        k = int(np.clip(np.argmin(np.abs(times - t_s)), 1, len(times) - 2))
        (before_s, before), (_, tip), (after_s, after) = (self._path[j] for j in (k - 1, k, k + 1))
        if abs(times[k] - t_s) > 0.1 or after_s - before_s > 0.3:
            return None
        source = [t[:3, :3].T @ (self._source - t[:3, 3]) for t in (before, after)]
        return tip, (source[1] - source[0]) / max(after_s - before_s, 1e-6)

    def _learn(self, seen: Array, velocity: Array, counts: float, window_s: float) -> None:
        """Add one window's information on latency, tilts, shifts, scale and room."""
        places = np.stack(
            [seen, *(seen + SLOPE_MM * e for e in np.eye(3)), *(seen - SLOPE_MM * e for e in np.eye(3))]
        )
        r, z = np.hypot(places[:, 0], places[:, 1]), np.maximum(places[:, 2], 0.1)
        rates = self._activity * self._in_air(r, z) * (places[:, 2] > 0.0)
        self._counted_sum += counts
        self._foretold_sum += float(rates[0]) * window_s
        scale = self._counted_sum / max(self._foretold_sum, 1e-9)
        rates = rates * min(scale, 1e3)
        slope = (rates[1:4] - rates[4:7]) / (2.0 * SLOPE_MM)
        x, y, depth = seen
        row = np.array(
            [
                -(slope @ velocity),
                -slope[1] * depth + slope[2] * y,
                slope[0] * depth - slope[2] * x,
                *(-slope),
                rates[0],
                1.0,
            ]
        )
        self._information += window_s * np.outer(row, row) / (rates[0] + ROOM_CPS)

    def _visit(self, tip: Array, seen: Array) -> None:
        if NEAREST_MM <= seen[2] <= FARTHEST_MM:
            self._visits[cell_of(*self._flat(tip, seen))] += 1

    def _flat(self, tip: Array, seen: Array) -> tuple[float, float]:
        """Offset of the *probe* from the source in the user's view: mm and azimuth, 0 to the right."""
        offset = -(tip[:3, :2] @ seen[:2])
        basis = basis_about(-tip[:3, 2], self._right)
        right, away = float(offset @ basis[0]), float(offset @ basis[1])
        return float(np.hypot(right, away)), float(np.mod(np.arctan2(away, right), 2.0 * np.pi))

    @property
    def predicted(self) -> dict[str, float]:
        """Standard errors foretold: latency_ms, axis_deg, centre_mm (across)."""
        free = [0, 1, 2, 3, 4, *([5] if self._known else []), 6, 7]
        covariance = np.linalg.inv(self._information[np.ix_(free, free)])
        sd = np.sqrt(np.diag(covariance)) * (1.0 if self._known else UNKNOWN_RESPONSE_FACTOR)
        return {
            "latency_ms": 1000.0 * float(sd[0]),
            "axis_deg": float(np.degrees(sd[1:3].max())),
            "centre_mm": float(sd[3:5].max()),
        }

    def _reached(self) -> bool:
        found = self.predicted
        exact = all(found[k] <= v for k, v in self.targets.items())
        wide = self.latency_only or self._coverage() >= NEEDED_COVERAGE
        return exact and wide and self.windows >= FEWEST_WINDOWS

    def _coverage(self) -> float:
        return float((self._visits > 0).mean())

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        cells = ring_cells(self._visits)
        pointer = self._pointer()
        wanted = None if pointer is None or self.latency_only else self._wish.cell
        return Guidance(
            self.step,
            self.phase,
            self.advanced(self._share()),
            self._hint(),
            cells,
            pointer,
            wanted,
            unit="mm",
            view_known=self._right is not None,
            seconds_left=self.seconds_left() if self.phase == "sweep" else None,
            done=self.phase == "done",
            refusals=self._missing() if self.phase == "done" and not self._reached() else (),
            figures=self._figures(),
        )

    def _pointer(self) -> tuple[float, float] | None:
        if not self._path or self._right is None or not self.motion.seen:
            return None
        tip = self._path[-1][1]
        return self._flat(tip, tip[:3, :3].T @ (self._source - tip[:3, 3]))

    def _distance(self) -> float | None:
        if not self._path:
            return None
        tip = self._path[-1][1]
        return float(tip[:3, 2] @ (self._source - tip[:3, 3]))

    def _share(self) -> float:
        if self.phase == "done":
            return 1.0
        if self.phase == "left":
            return 0.0
        found = self.predicted
        parts = [self.targets[k] / found[k] for k in self.targets] + [self.windows / FEWEST_WINDOWS]
        parts += [] if self.latency_only else [self._coverage() / NEEDED_COVERAGE]
        return 0.05 + 0.94 * float(np.mean([min(p, 1.0) for p in parts]))

    def _missing(self) -> tuple[str, ...]:
        found = self.predicted
        names = {
            "latency_ms": "latency to {:.0f} ms",
            "axis_deg": "axis to {:.1f} deg",
            "centre_mm": "centre to {:.1f} mm",
        }
        short = [names[k].format(found[k]) for k, v in self.targets.items() if found[k] > v]
        return (f"time is up: the sweep tells only the {', '.join(short)}",) if short else ()

    def _figures(self) -> tuple[tuple[str, str], ...]:
        rows = [("windows", f"{self.windows}")]
        if self.windows:
            units = {
                "latency_ms": ("latency", "ms"),
                "axis_deg": ("axis", "deg"),
                "centre_mm": ("centre", "mm"),
            }
            found = self.predicted
            for key, target in self.targets.items():
                name, unit = units[key]
                rows.append((f"{name} foretold to", f"{found[key]:.2g} {unit} (wanted {target:g})"))
        distance = self._distance()
        if distance is not None:
            rows.append(("distance", f"{distance:.0f} mm"))
        return tuple(rows)

    def _hint(self) -> str:
        if self.phase == "done":
            return "done: put the source away"
        unseen = self.unseen_hint()
        if unseen is not None:
            return unseen
        if self.phase == "left":
            if self._first is None:
                return f"hold the probe {GOOD_MM:g} mm above the source, looking down at it, still"
            return "move the probe to your left"
        distance = self._distance() or 0.0
        if distance < 0.0:
            return "turn the probe: the source lies behind its face"
        if distance > FARTHEST_MM:
            return f"move closer to {GOOD_MM:g} mm: now {distance:.0f} mm"
        if distance < NEAREST_MM:
            return f"move away to {GOOD_MM:g} mm: now {distance:.0f} mm"
        speed = self.motion.speed[0]
        if speed > FAST_MM_S and not self.latency_only:
            return "slower"
        if self.latency_only:
            return (
                "to and fro over the source"
                if speed > QUICK_MM_S
                else "faster: pass over the source in half a second"
            )
        if speed < SLOW_MM_S:
            return "keep moving: the latency is seen by movement"
        return self._way

    def _way_words(self) -> str:
        pointer, wanted = self._pointer(), self._wish.cell
        if wanted is None or pointer is None:
            return "go on round the source, and lean the probe to all sides"
        if wanted.low_deg == 0.0:
            return "pass right over the source"
        return f"move the probe more {direction_words(way_to(pointer, wanted))}"


def cell_of(offset_mm: float, azimuth_rad: float) -> int:
    """Index of the cell of an offset; what lies beyond the last ring belongs to it."""
    ring = min(int(np.searchsorted(RING_MM, offset_mm, side="right")) - 1, len(RING_CELLS) - 1)
    step = 2.0 * np.pi / RING_CELLS[ring]
    return sum(RING_CELLS[:ring]) + int(np.floor(azimuth_rad / step + 0.5)) % RING_CELLS[ring]


def ring_cells(visits: NDArray[np.int64]) -> tuple[Cell, ...]:
    """The cells with their visits; their borders are millimetres."""
    cells: list[Cell] = []
    for ring, count in enumerate(RING_CELLS):
        step = 2.0 * np.pi / count
        for k in range(count):
            start = (k - 0.5) * step
            number = int(visits[len(cells)])
            cells.append(Cell(RING_MM[ring], RING_MM[ring + 1], start, start + step, number))
    return tuple(cells)
