"""Is the tip still where its calibration says? The tool's tip rests in a divot while the tool is turned (H46).

The tip's places tell how well tool and tracker agree with the calibration; where the tool was turned, they also
tell where the tip really is. Lengths mm, one frame for all poses and the divot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import TrackerGates, gates_content
from calibration.tip.correlation import independent_share
from calibration.tip.pivot import solve_robust, weakest_rotation_deg

# A shift of the tip counts as seen where it could be told from none: two standard errors within the gate.
SHIFT_SIGMAS = 2.0
# The first and the last of so many parts tell the drift.
DRIFT_PARTS = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DivotCheck:
    """What one check gave: `point_mm` (3,) where the tip was on average, None without a pose.

    `rms_mm` is the 3D RMS of the tip about the divot (its known place if given, else the mean), `max_mm` the
    largest distance, `drift_mm` the way of the mean from the first to the last third. `tip_shift_mm` (3,) in the
    marker frame: the tip found from these poses less the calibrated one, with its standard error; None where
    the tool turned too little to tell. `wrong`: a figure speaks against the tip; without it a refused check has
    only proven nothing.
    """

    poses: int
    point_mm: Floats | None = None
    known_mm: Floats | None = None
    rms_mm: float | None = None
    max_mm: float | None = None
    drift_mm: float | None = None
    rotation_deg: float | None = None
    tip_shift_mm: Floats | None = None
    tip_shift_sd_mm: float | None = None
    reasons: tuple[str, ...] = ()
    wrong: bool = False
    skipped: Mapping[str, int] = field(default_factory=dict)
    gates: TrackerGates = field(default_factory=TrackerGates)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    @property
    def offset_mm(self) -> float | None:
        """Distance of the mean from the known place; None where that is not known."""
        if self.known_mm is None or self.point_mm is None:
            return None
        return float(np.linalg.norm(self.point_mm - self.known_mm))

    @property
    def tip_shift_length_mm(self) -> float | None:
        """By how much the tip is elsewhere; None where the tool turned too little to tell."""
        return None if self.tip_shift_mm is None else float(np.linalg.norm(self.tip_shift_mm))

    def as_json(self) -> dict[str, Any]:
        """The content of the result file; unknown is None."""

        def listed(array: Floats | None) -> list[float] | None:
            return None if array is None else array.tolist()

        return {
            "poses": self.poses,
            "point_mm": listed(self.point_mm),
            "known_mm": listed(self.known_mm),
            "offset_mm": self.offset_mm,
            "rms_mm": self.rms_mm,
            "max_mm": self.max_mm,
            "drift_mm": self.drift_mm,
            "rotation_deg": self.rotation_deg,
            "tip_shift_mm": listed(self.tip_shift_mm),
            "tip_shift_length_mm": self.tip_shift_length_mm,
            "tip_shift_sd_mm": self.tip_shift_sd_mm,
            "skipped": dict(self.skipped),
            "accepted": self.accepted,
            "wrong": self.wrong,
            "reasons": list(self.reasons),
            **gates_content(self.gates),
        }


def check_divot(
    matrices: Floats,
    tip_mm: Floats,
    known_mm: Floats | None = None,
    gates: TrackerGates | None = None,
    skipped: Mapping[str, int] | None = None,
) -> DivotCheck:
    """Check the calibrated tip (3,) on rigid marker poses (n, 4, 4) in order of time, its tip in one divot.

    `known_mm` (3,) is the divot's place in the poses' frame, where that is known.
    """
    gates, left_out = gates or TrackerGates(), dict(skipped or {})
    if not len(matrices):
        return _judged(DivotCheck(0, skipped=left_out, gates=gates))
    tips = matrices[:, :3, :3] @ tip_mm + matrices[:, :3, 3]
    mean = tips.mean(axis=0)
    away = np.linalg.norm(tips - (mean if known_mm is None else known_mm), axis=1)
    shift, sd = _tip_shift(matrices, tip_mm)
    return _judged(
        DivotCheck(
            len(matrices),
            mean,
            known_mm,
            float(np.sqrt((away**2).mean())),
            float(away.max()),
            _drift_mm(tips),
            weakest_rotation_deg(matrices),
            shift,
            sd,
            skipped=left_out,
            gates=gates,
        )
    )


def _drift_mm(tips: Floats) -> float:
    """Way (mm) of the mean of the first third to that of the last."""
    parts = np.array_split(tips, DRIFT_PARTS)
    if not all(len(part) for part in parts):
        return 0.0
    return float(np.linalg.norm(parts[-1].mean(axis=0) - parts[0].mean(axis=0)))


def _tip_shift(matrices: Floats, tip_mm: Floats) -> tuple[Floats | None, float | None]:
    """The tip found from the poses less the calibrated one, (3,), and its standard error in the worst direction."""
    solution = solve_robust(matrices)
    if solution is None:
        return None, None
    counted = solution.independent_share is not None
    share = 1.0 if counted else independent_share(solution.residuals_mm[solution.used])
    variance = float(np.linalg.eigvalsh(solution.tip_covariance_mm2)[-1]) / share
    return solution.tip_mm - tip_mm, float(np.sqrt(max(variance, 0.0)))


def _judged(check: DivotCheck) -> DivotCheck:
    """The check with the reasons of the gates; a shift that could not be told is none that is told."""
    gates = check.gates
    if check.poses < gates.min_poses:
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(check.skipped.items()))
        left_out = f" (left out: {causes})" if causes else ""
        few = f"{check.poses} usable poses, at least {gates.min_poses} needed{left_out}"
        return replace(check, tip_shift_mm=None, tip_shift_sd_mm=None, reasons=(few,))
    told = check.tip_shift_sd_mm is not None and _turned(check)
    if not told:
        check = replace(check, tip_shift_mm=None, tip_shift_sd_mm=None)
    against = _reasons(check, told)
    unproven = [_too_little(check)] if not told and check.known_mm is None else []
    return replace(check, reasons=(*against, *unproven), wrong=bool(against))


def _turned(check: DivotCheck) -> bool:
    """Whether a shift as large as the gate would have been seen."""
    gates = check.gates
    enough = (check.rotation_deg or 0.0) >= gates.min_rotation_deg
    return enough and SHIFT_SIGMAS * (check.tip_shift_sd_mm or 0.0) <= gates.max_tip_shift_mm


def _reasons(check: DivotCheck, told: bool) -> list[str]:
    gates, reasons = check.gates, []
    rms, drift, shift = check.rms_mm or 0.0, check.drift_mm or 0.0, check.tip_shift_length_mm or 0.0
    if told and shift > gates.max_tip_shift_mm:
        reasons.append(
            f"the tip lies {shift:.2f} mm (SD {check.tip_shift_sd_mm:.2f}) from where its calibration has it, at "
            f"most {gates.max_tip_shift_mm:g} allowed: a bent probe, a moved marker or another tool"
        )
    if drift > gates.max_drift_mm:
        reasons.append(f"the tip drifted by {drift:.2f} mm, at most {gates.max_drift_mm:g} allowed")
    if not rms <= gates.max_divot_rms_mm:
        about = "its known place" if check.known_mm is not None else "its mean"
        advice = _noise_advice(shift) if told and check.known_mm is None and not reasons else ""
        reasons.append(
            f"3D RMS of the tip about {about} {rms:.2f} mm, at most {gates.max_divot_rms_mm:g} allowed{advice}"
        )
    return reasons


def _noise_advice(shift_mm: float) -> str:
    """What to do where the tip lies right and only its scatter is too large."""
    return (
        f" (the tip itself lies within {shift_mm:.2f} mm of its calibration: where this is the tracker's noise at the "
        "tool's length, set max_divot_rms_mm in the table [gates.tracker] of the case file)"
    )


def _too_little(check: DivotCheck) -> str:
    return (
        f"the tool was turned too little to show a wrong tip ({check.rotation_deg or 0.0:.1f} deg, "
        f"{check.gates.min_rotation_deg:g} needed): tilt it to all sides, by some 20 degrees"
    )
