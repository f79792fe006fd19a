"""Guided spin: turn the probe about its own axis until that axis is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.gates import AxisGates
from calibration.guided.coverage import RING_DEG, Cell
from calibration.guided.guide import FAST_DEG_S, Guidance, Guide
from calibration.tip.axis import AxisCalibration, calibrate_axis
from calibration.tip.pivot import largest_rotation_deg

Array = NDArray[np.float64]

SECTORS = 24
# How well the axis is wanted: half of what the gate allows.
TARGET_SD_DEG = 0.5
# A wrist turns through 120 degrees without a new grip; that is twice what the gate asks for.
NEEDED_SPIN_DEG = 120.0
FEWEST_POSES, MOST_POSES = 60, 900
NEXT_DEG, NEXT_S = 0.4, 0.05
# Before so much turning no axis is told from noise.
ESTIMATE_DEG, ESTIMATE_POSES, ESTIMATE_EVERY_S = 12.0, 12, 0.5
# Turned this far one way and then halted, a wrist is at its end.
ONE_WAY_DEG, HALTED_DEG_S = 40.0, 6.0
# Of a spin that sways too much this share is left out, the oldest poses first, twice a second.
FORGOTTEN_SHARE = 0.15
LONGEST_S = 120.0
SECTOR_RAD = 2.0 * np.pi / SECTORS


class SpinGuide(Guide):
    """Of a probe turned about its own axis; poses are marker to tracker, `tip_mm` (3,) tells which end is the face."""

    step = "axis"

    def __init__(
        self, tool: str = "probe", tip_mm: Array | None = None, gates: AxisGates | None = None
    ) -> None:
        super().__init__(tool)
        self.gates = gates or AxisGates()
        self.tip_mm = tip_mm
        self.target_sd_deg = min(TARGET_SD_DEG, self.gates.max_axis_sd_deg)
        self.phase = "turn"
        self._kept: list[Array] = []
        self._times_s: list[float] = []
        self._kept_s = self._estimated_s = -np.inf
        self._estimate: AxisCalibration | None = None

    @property
    def matrices(self) -> Array:
        """Poses (n, 4, 4), as kept."""
        return np.stack(self._kept) if self._kept else np.zeros((0, 4, 4))

    def _pose(self, t_s: float, matrix: Array) -> None:
        if self.phase == "done" or t_s - self._kept_s < NEXT_S or len(self._kept) >= MOST_POSES:
            return
        if self._kept and largest_rotation_deg(np.stack([self._kept[-1], matrix])) < NEXT_DEG:
            return
        self._kept.append(matrix)
        self._times_s.append(t_s)
        self._kept_s = t_s
        if t_s - self._estimated_s >= ESTIMATE_EVERY_S:
            self._estimated_s = t_s
            self._renew(t_s)

    def _renew(self, t_s: float) -> None:
        poses = self.matrices
        if len(poses) < ESTIMATE_POSES or largest_rotation_deg(poses) < ESTIMATE_DEG:
            return
        self._estimate = calibrate_axis(poses, self.tip_mm, self.gates)
        if (self._estimate.wobble_deg or 0.0) > self.gates.max_wobble_deg:
            self._forget_the_oldest()
        if self._reached() or (self._start_s is not None and t_s - self._start_s > LONGEST_S):
            self.phase = "done"

    def _forget_the_oldest(self) -> None:
        """The way there, or a spin that swayed, is not what the result may rest on; what comes now may be better."""
        first = max(int(FORGOTTEN_SHARE * len(self._kept)), 1)
        self._kept, self._times_s = self._kept[first:], self._times_s[first:]
        self._start_s = self._times_s[0]

    def _reached(self) -> bool:
        known = self._estimate
        if known is None or known.axis is None or known.axis_sd_deg is None or not known.accepted:
            return False
        spun = (known.spin_deg or 0.0) >= max(NEEDED_SPIN_DEG, self.gates.min_spin_deg)
        return spun and len(self._kept) >= FEWEST_POSES and known.axis_sd_deg <= self.target_sd_deg

    def _angles_rad(self, poses: Array) -> Array:
        """Angles (n,) about the axis against the first pose; 0 before the axis is known."""
        known = self._estimate
        if known is None or known.axis is None:
            return np.zeros(len(poses))
        relative = self._kept[0][:3, :3].T @ poses[:, :3, :3]
        skew = relative - np.swapaxes(relative, 1, 2)
        sines = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1) @ known.axis
        along = np.einsum("a,nab,b->n", known.axis, relative, known.axis)
        result: Array = np.arctan2(sines, np.einsum("nii->n", relative) - along)
        return result

    def _cells(self) -> tuple[Cell, ...]:
        angles = np.mod(self._angles_rad(self.matrices), 2.0 * np.pi)
        visits = np.bincount((angles / SECTOR_RAD).astype(np.int64) % SECTORS, minlength=SECTORS)
        low, high = RING_DEG[1], RING_DEG[3]
        return tuple(
            Cell(low, high, k * SECTOR_RAD, (k + 1) * SECTOR_RAD, int(visits[k])) for k in range(SECTORS)
        )

    def guidance(self) -> Guidance:
        """What to tell the user now."""
        known = self._estimate
        pointer = None
        if known is not None and self.motion.poses:
            angle = float(np.mod(self._angles_rad(self.motion.poses[-1][1][None])[0], 2.0 * np.pi))
            pointer = (0.5 * (RING_DEG[1] + RING_DEG[3]), angle)
        progress = self.advanced(self._share())
        return Guidance(
            self.step,
            self.phase,
            progress,
            self._hint(),
            self._cells(),
            pointer,
            seconds_left=self.seconds_left(),
            done=self.phase == "done",
            refusals=known.reasons if known is not None and self.phase == "done" else (),
            figures=self._figures(),
        )

    def _share(self) -> float:
        if self.phase == "done":
            return 1.0
        known = self._estimate
        if known is None:
            return 0.2 * min(len(self._kept) / ESTIMATE_POSES, 1.0)
        sd = known.axis_sd_deg
        exact = 0.0 if not sd else min(self.target_sd_deg / sd, 1.0)
        parts = (exact, (known.spin_deg or 0.0) / NEEDED_SPIN_DEG, len(self._kept) / FEWEST_POSES)
        return 0.99 * float(np.mean([min(p, 1.0) for p in parts]))

    def _figures(self) -> tuple[tuple[str, str], ...]:
        known = self._estimate
        rows = [("poses", f"{len(self._kept)}")]
        if known is not None and known.axis is not None:
            error = "not yet" if known.axis_sd_deg is None else f"{known.axis_sd_deg:.2f} deg"
            rows.append(("axis known to", f"{error} (wanted {self.target_sd_deg:g})"))
            rows.append(("spun through", f"{known.spin_deg or 0.0:.0f} deg (wanted {NEEDED_SPIN_DEG:g})"))
            rows.append(
                ("wobble", f"{known.wobble_deg or 0.0:.1f} deg (allowed {self.gates.max_wobble_deg:g})")
            )
        return tuple(rows)

    def _hint(self) -> str:
        unseen = self.unseen_hint()
        if self.phase == "done":
            return "done: put the probe down"
        if unseen is not None:
            return unseen
        if self.motion.speed[1] > FAST_DEG_S:
            return "slower"
        known = self._estimate
        if known is None:
            return f"turn the {self.motion.tool} about its own axis, as one rolls a pencil"
        if (known.wobble_deg or 0.0) > self.gates.max_wobble_deg:
            return "hold the shaft in one direction while you turn: it sways too much"
        if (known.spin_deg or 0.0) >= ONE_WAY_DEG and self.motion.speed[1] < HALTED_DEG_S:
            return "turn about the shaft the other way"
        return "go on turning about the shaft, evenly"
