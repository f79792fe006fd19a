"""Guided pivot: stand the tool in its divot, tilt it to your left, then all the way round until the tip is known.

The running estimate is that of `calibrate pivot` itself; a tip that leaves its place ends the attempt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.gates import PivotGates
from calibration.guided.coverage import Cell, basis_about, covered, tilt_and_azimuth
from calibration.guided.guide import FAST_DEG_S, Guidance, Guide, Wish, direction_words, user_right
from calibration.tip.pivot import (
    PivotCalibration,
    calibrate_pivot,
    largest_rotation_deg,
    weakest_rotation_deg,
)

Array = NDArray[np.float64]

# Hold upright for so long; the mean of these poses is "upright".
HOLD_S = 1.0
# The tilt to the left that tells how the user looks at the tool: far beyond a tremor.
LEFT_DEG, LEFT_MM = 12.0, 15.0
# Poses nearer than this to the one kept before tell nothing new; of a fast tracker only so many are kept.
NEXT_DEG, NEXT_S = 0.4, 0.05
# How well the tip is wanted: a third of what the gate allows, so that the gate is passed in the result too.
TARGET_SD_MM = 0.15
FEWEST_POSES, MOST_POSES = 80, 900
# Share of the cap's cells that must hold a pose, and the tilt that must be reached, whatever the predicted error.
NEEDED_COVERAGE, NEEDED_TILT_DEG = 0.6, 20.0
# Below this rotation the running estimate of the tip is worse than none.
ESTIMATE_DEG, ESTIMATE_POSES, ESTIMATE_EVERY_S = 4.0, 20, 0.5
# A tip beyond this from its place, and beyond so many RMS, for so many poses running, has slipped.
SLIP_MM, SLIP_RMS, SLIP_POSES = 2.0, 6.0, 6
# Held elsewhere first and then carried into the divot: farther than a tilt takes the marker of the longest tool.
CARRIED_MM, LONGEST_TOOL_MM = 20.0, 450.0
# The way into the divot lies within this first part of an attempt.
EARLY_SHARE = 0.4
# After this an attempt has failed, whatever is missing.
LONGEST_S = 120.0
# Shares of the progress bar.
UPRIGHT_SHARE, LEFT_SHARE = 0.08, 0.07


class PivotGuide(Guide):
    """Of a stylus or probe in a divot; poses are marker to tracker."""

    step = "pivot"

    def __init__(
        self, tool: str = "tool", gates: PivotGates | None = None, target_sd_mm: float = TARGET_SD_MM
    ) -> None:
        super().__init__(tool)
        self.gates = gates or PivotGates()
        self.target_sd_mm = min(target_sd_mm, self.gates.max_tip_sd_mm)
        self.restarts = 0
        self._begin()

    def _begin(self) -> None:
        self.phase = "upright"
        self._held: list[tuple[float, Array]] = []
        self._upright: Array | None = None
        self._left: Array | None = None
        self._kept: list[Array] = []
        self._times_s: list[float] = []
        self._kept_s = -np.inf
        self._estimate: PivotCalibration | None = None
        self._estimated_s = -np.inf
        self._off = 0
        self._wish = Wish()

    @property
    def matrices(self) -> Array:
        """Poses (n, 4, 4) of this attempt, as kept."""
        return np.stack(self._kept) if self._kept else np.zeros((0, 4, 4))

    def _pose(self, t_s: float, matrix: Array) -> None:
        if self.phase == "done":
            return
        if self.phase == "upright":
            self._hold(t_s, matrix)
            return
        self._keep(t_s, matrix)
        if self.phase == "left":
            self._learn_left(matrix)
        if self._carried(matrix):
            self._begin()
            self.restarted(t_s)
            return
        if self._slipped(matrix):
            self.restarts += 1
            self._begin()
            self.restarted(t_s)
            return
        if t_s - self._estimated_s >= ESTIMATE_EVERY_S:
            self._estimated_s = t_s
            self._renew(t_s)
        self._wish.renew(t_s, self._cells(), self._pointer())

    def _hold(self, t_s: float, matrix: Array) -> None:
        if not self.motion.still:
            self._held = []
            return
        self._held.append((t_s, matrix))
        if t_s - self._held[0][0] >= HOLD_S:
            self._upright = self._held[len(self._held) // 2][1]
            self.phase = "left"
            self._start_s = t_s

    def _learn_left(self, matrix: Array) -> None:
        """The way the marker went when it was tilted to the left; the tip stayed, so the marker's way is the tilt's."""
        assert self._upright is not None
        moved = matrix[:3, 3] - self._upright[:3, 3]
        turned = largest_rotation_deg(np.stack([self._upright, matrix]))
        if turned >= LEFT_DEG and float(np.linalg.norm(moved)) >= LEFT_MM:
            self._left = moved
            self.phase = "cone"

    def _keep(self, t_s: float, matrix: Array) -> None:
        if t_s - self._kept_s < NEXT_S or len(self._kept) >= MOST_POSES:
            return
        if self._kept and largest_rotation_deg(np.stack([self._kept[-1], matrix])) < NEXT_DEG:
            return
        self._kept.append(matrix)
        self._times_s.append(t_s)
        self._kept_s = t_s

    def _carried(self, matrix: Array) -> bool:
        """Whether the marker went farther from "upright" than any tilt of a tool takes it: it was held elsewhere."""
        if self._estimate is not None or self._upright is None:
            return False
        moved = float(np.linalg.norm(matrix[:3, 3] - self._upright[:3, 3]))
        turned = np.radians(largest_rotation_deg(np.stack([self._upright, matrix])))
        return moved > CARRIED_MM + LONGEST_TOOL_MM * 2.0 * float(np.sin(0.5 * turned))

    def _leave_out_the_way_there(self) -> None:
        """Poses before the tip came to its place do not belong to the attempt."""
        known = self._estimate
        if known is None or known.tip_offset_mm is None or known.pivot_point_mm is None:
            return
        poses = self.matrices
        tips = poses[:, :3, :3] @ known.tip_offset_mm + poses[:, :3, 3]
        off = np.linalg.norm(tips - known.pivot_point_mm, axis=1) > self._limit_mm(known)
        early = np.flatnonzero(off[: int(EARLY_SHARE * len(off))])
        if len(early) == 0:
            return
        first = int(early[-1]) + 1
        self._kept, self._times_s = self._kept[first:], self._times_s[first:]
        self._start_s = self._times_s[0]
        self._estimate = calibrate_pivot(self.matrices, self.gates)

    def _limit_mm(self, known: PivotCalibration) -> float:
        """How far from its place a tip may seem to be by noise and by what is not known of it."""
        doubt = (known.tip_sd_mm or 0.0) * SLIP_RMS + SLIP_MM
        return max(doubt, SLIP_RMS * (known.rms_mm or 0.0))

    def _renew(self, t_s: float) -> None:
        poses = self.matrices
        if len(poses) < ESTIMATE_POSES or weakest_rotation_deg(poses) < ESTIMATE_DEG:
            return
        self._estimate = calibrate_pivot(poses, self.gates)
        self._leave_out_the_way_there()
        if self._reached() or (self._start_s is not None and t_s - self._start_s > LONGEST_S):
            self.phase = "done"

    def _slipped(self, matrix: Array) -> bool:
        """Whether the tip has left its place, by the estimate of before."""
        known = self._estimate
        if known is None or known.tip_offset_mm is None or known.pivot_point_mm is None:
            return False
        tip = matrix[:3, :3] @ known.tip_offset_mm + matrix[:3, 3]
        off = float(np.linalg.norm(tip - known.pivot_point_mm))
        self._off = self._off + 1 if off > self._limit_mm(known) else 0
        return self._off >= SLIP_POSES

    def _reached(self) -> bool:
        known = self._estimate
        if known is None or not known.accepted or known.tip_sd_mm is None:
            return False
        enough = len(self._kept) >= FEWEST_POSES and (known.max_angle_deg or 0.0) >= NEEDED_TILT_DEG
        return enough and self._coverage() >= NEEDED_COVERAGE and known.tip_sd_mm <= self.target_sd_mm

    def _basis(self) -> Array | None:
        """The user's view: rows right, away and up; None before the tip and the left are known."""
        known = self._estimate
        if known is None or known.pivot_point_mm is None or self._upright is None or self._left is None:
            return None
        up = self._upright[:3, 3] - known.pivot_point_mm
        up = up / np.linalg.norm(up)
        return basis_about(up, user_right(self._left, up))

    def _directions(self, poses: Array) -> Array:
        assert self._estimate is not None
        assert self._estimate.pivot_point_mm is not None
        away = poses[:, :3, 3] - self._estimate.pivot_point_mm
        result: Array = away / np.linalg.norm(away, axis=1, keepdims=True)
        return result

    def _cells(self) -> tuple[Cell, ...]:
        basis = self._basis()
        if basis is None:
            return covered(np.zeros((0, 3)), np.eye(3))
        return covered(self._directions(self.matrices), basis)

    def _coverage(self) -> float:
        cells = self._cells()
        return sum(c.visits > 0 for c in cells) / len(cells)

    def _pointer(self) -> tuple[float, float] | None:
        basis = self._basis()
        if basis is None or not self.motion.poses:
            return None
        tilt, azimuth = tilt_and_azimuth(self._directions(self.motion.poses[-1][1][None]), basis)
        return float(tilt[0]), float(azimuth[0])

    def _share(self) -> float:
        """Progress of the attempt."""
        if self.phase == "upright":
            held = self._held[-1][0] - self._held[0][0] if self._held else 0.0
            return UPRIGHT_SHARE * min(held / HOLD_S, 1.0)
        if self.phase == "left":
            return UPRIGHT_SHARE
        if self.phase == "done":
            return 1.0
        known = self._estimate
        sd = known.tip_sd_mm if known is not None else None
        exact = 0.0 if not sd else min(self.target_sd_mm / sd, 1.0)
        parts = (exact, self._coverage() / NEEDED_COVERAGE, len(self._kept) / FEWEST_POSES)
        done = UPRIGHT_SHARE + LEFT_SHARE
        return done + (0.99 - done) * float(np.mean([min(p, 1.0) for p in parts]))

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        cells, pointer = self._cells(), self._pointer()
        wanted = None if pointer is None else self._wish.cell
        progress = self.advanced(self._share())
        refusals = self._estimate.reasons if self.phase == "done" and self._estimate is not None else ()
        return Guidance(
            self.step,
            self.phase,
            progress,
            self._hint(pointer, wanted),
            cells,
            pointer,
            wanted,
            view_known=self._basis() is not None,
            seconds_left=self.seconds_left() if self.phase == "cone" else None,
            done=self.phase == "done",
            refusals=tuple(refusals),
            figures=self._figures(),
        )

    def _figures(self) -> tuple[tuple[str, str], ...]:
        known = self._estimate
        rows = [("poses", f"{len(self._kept)}")]
        if known is not None and known.tip_sd_mm is not None and known.rms_mm is not None:
            rows.append(("tip known to", f"{known.tip_sd_mm:.2f} mm (wanted {self.target_sd_mm:.2f})"))
            rows.append(("3D RMS", f"{known.rms_mm:.2f} mm (allowed {self.gates.max_rms_mm:g})"))
            rows.append(("largest tilt", f"{known.max_angle_deg or 0.0:.0f} deg"))
        if self.restarts:
            rows.append(("slips", f"{self.restarts}"))
        return tuple(rows)

    def _hint(self, pointer: tuple[float, float] | None, wanted: Cell | None) -> str:
        unseen = self.unseen_hint()
        if self.phase == "done":
            return "done: take the tool out of the divot"
        if unseen is not None:
            return unseen
        if self.phase == "upright":
            start = "the tip slipped: start again. " if self.restarts else ""
            if self._held:
                return f"{start}hold still"
            return f"{start}put the tip into the divot and hold the {self.motion.tool} upright, still"
        if self.motion.speed[1] > FAST_DEG_S:
            return "slower"
        if self.phase == "left":
            return f"tilt the {self.motion.tool} to your left, the tip stays in the divot"
        if pointer is None or wanted is None:
            return "tilt it slowly all the way round, the tip stays in the divot"
        return tilt_words(pointer, wanted)


def tilt_words(pointer: tuple[float, float], wanted: Cell) -> str:
    """How to get from the pointer to a cell, in the user's directions from upright."""
    if wanted.low_deg == 0.0:
        return "back to upright"
    words = direction_words(wanted.middle_rad)
    turn = abs((pointer[1] - wanted.middle_rad + np.pi) % (2.0 * np.pi) - np.pi)
    same_side = turn < np.pi / 8.0
    if same_side and pointer[0] >= wanted.high_deg:
        return f"tilt less {words}"
    if same_side and pointer[0] < wanted.low_deg:
        return f"tilt farther {words}"
    return f"tilt {words}"
