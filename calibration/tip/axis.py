"""Spin calibration: along which direction of its marker's frame a probe looks, and whether that may be used.

The probe turns about its own axis, so R_i a = b for all poses: a is the direction whose images R_i a spread
least, the weakest eigenvector of I - M^T M with M the mean rotation. A spin alone does not tell which end is
the face: the tip does, given or found from the same poses where the tool was also tilted a little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import AxisGates, gates_content
from calibration.tip.pivot import STATIC_ROTATION_DEG, largest_rotation_deg, solve_aos

# A hand's wobble is slow: stretches of a sixth of the spin are taken as independent, single poses are not.
BLOCKS = 6
# The fit has taken the axis and its direction in space, two angles each, out of the stretches' freedom.
FITTED_ANGLES = 4
# The tip must lie beyond this many standard errors on one side for that side to be the face's.
SIGN_SIGMAS = 5.0
# Sway that shows where the tip is: noise of the orientation, up to half a degree, turns about the marker instead.
MIN_SIGN_WOBBLE_DEG = 1.0
# A tip that stays in its divot does to this; a hand that spins a probe in the air does not.
MAX_SIGN_RMS_MM = 1.0
# The marker stands behind the face; a tip nearly beside it, within 6 degrees, does not tell front from back.
MIN_SIGN_COSINE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class AxisCalibration:
    """The result: `axis` (3,), unit vector out of the face in the marker frame; None where undetermined.

    `axis_sd_deg` is the standard error in the worst direction, `wobble_deg` the RMS tilt of the axis about its
    mean, `spin_deg` the arc turned through. `sign_from` is "tip", "poses", or "undetermined": then the vector
    may point out of either end.
    """

    axis: NDArray[np.float64] | None
    axis_sd_deg: float | None
    spin_deg: float | None
    wobble_deg: float | None
    poses: int
    sign_from: str = "undetermined"
    reasons: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    gates: AxisGates = field(default_factory=AxisGates)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The content of axis.json; unknown is None."""
        return {
            "axis": None if self.axis is None else self.axis.tolist(),
            "axis_sd_deg": self.axis_sd_deg,
            "spin_deg": self.spin_deg,
            "wobble_deg": self.wobble_deg,
            "poses": self.poses,
            "skipped": dict(self.skipped),
            "sign_from": self.sign_from,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            **gates_content(self.gates),
        }


def calibrate_axis(
    matrices: NDArray[np.float64],
    tip_mm: NDArray[np.float64] | None = None,
    gates: AxisGates | None = None,
    skipped: Mapping[str, int] | None = None,
) -> AxisCalibration:
    """Axis of a probe from rigid marker poses (n, 4, 4) of a spin, with the reasons why it may not be used.

    `tip_mm` (3,) is the centre of the face in the marker frame; without it the sign comes from the poses.
    """
    gates = gates or AxisGates()
    left_out = dict(skipped or {})
    n = len(matrices)
    # Before the second pose nothing has turned.
    if n < 2 or largest_rotation_deg(matrices) < STATIC_ROTATION_DEG:
        few = _few_poses(n, gates, left_out)
        reasons = (*few, "the tool did not turn")
        return AxisCalibration(None, None, None, None, n, reasons=reasons, skipped=left_out, gates=gates)
    axis, values, vectors = _least_spread(matrices)
    wobble = float(np.degrees(np.sqrt(values[0])))
    axis, sign_from = _signed(axis, matrices, tip_mm, wobble)
    sd = _standard_error_deg(matrices, values, vectors)
    spin = spin_arc_deg(matrices, axis)
    found = [*_few_poses(n, gates, left_out), *_quality_reasons(spin, wobble, sd, gates)]
    if sign_from == "undetermined":
        found.append(_sign_reason(tip_mm))
    return AxisCalibration(axis, sd, spin, wobble, n, sign_from, tuple(found), left_out, gates)


def spin_arc_deg(matrices: NDArray[np.float64], axis: NDArray[np.float64]) -> float:
    """Arc that poses (n, 4, 4) have turned through about `axis` (3,), without the largest gap; at most 360."""
    relative = matrices[0, :3, :3].T @ matrices[:, :3, :3]
    # The twist about the axis, from the rotation's antisymmetric part and its trace (swing-twist).
    sines = np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        axis=1,
    )
    traces = np.einsum("nii->n", relative)
    along = np.einsum("a,nab,b->n", axis, relative, axis)
    angles = np.sort(np.degrees(np.arctan2(sines @ axis, traces - along)))
    gaps = np.diff(np.append(angles, angles[0] + 360.0))
    return float(360.0 - gaps.max())


def _least_spread(
    matrices: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The direction (3,) whose images spread least; mean square spreads (3,) rising, directions (3, 3) as columns."""
    mean = matrices[:, :3, :3].mean(axis=0)
    values, vectors = np.linalg.eigh(np.eye(3) - mean.T @ mean)
    return vectors[:, 0], np.maximum(values, 0.0), vectors


def _standard_error_deg(
    matrices: NDArray[np.float64], values: NDArray[np.float64], vectors: NDArray[np.float64]
) -> float | None:
    """Standard error in the worst direction across the axis; None where two directions spread alike.

    The larger of two: of independent poses, and of independent stretches (sandwich estimator).
    """
    n = len(matrices)
    information = n * (values[1:] - values[0])
    if not (information > np.finfo(float).eps * n).all():
        return None
    centred = matrices[:, :3, :3] - matrices[:, :3, :3].mean(axis=0)
    # Derivative of the spread by a tilt of the axis towards either direction across it, (n, 2).
    scores = np.einsum("nab,b,nac->nc", centred, vectors[:, 0], centred) @ vectors[:, 1:]
    sums = np.stack([part.sum(axis=0) for part in np.array_split(scores, min(BLOCKS, n))])
    inverse = np.diag(1.0 / information)
    freedom = len(sums) / max(len(sums) - FITTED_ANGLES, 1)
    slow = inverse @ (sums.T @ sums) @ inverse * freedom
    # Each pose has two components.
    variance = n * values[0] / max(2 * n - FITTED_ANGLES, 1)
    independent = variance * inverse @ np.diag(n * values[1:]) @ inverse
    worst = max(np.linalg.eigvalsh(slow)[-1], np.linalg.eigvalsh(independent)[-1])
    return float(np.degrees(np.sqrt(worst)))


def _signed(
    axis: NDArray[np.float64],
    matrices: NDArray[np.float64],
    tip_mm: NDArray[np.float64] | None,
    wobble_deg: float,
) -> tuple[NDArray[np.float64], str]:
    """The axis turned towards the tip, which lies in front of the marker, and where the tip came from."""
    if tip_mm is not None:
        along = float(axis @ tip_mm)
        if abs(along) <= MIN_SIGN_COSINE * float(np.linalg.norm(tip_mm)):
            return axis, "undetermined"
        return axis * np.sign(along), "tip"
    pivot = solve_aos(matrices)
    swayed = wobble_deg >= MIN_SIGN_WOBBLE_DEG
    if pivot is None or not swayed or pivot.rms_mm > MAX_SIGN_RMS_MM:
        return axis, "undetermined"
    along = float(axis @ pivot.tip_mm)
    spread = float(np.sqrt(axis @ pivot.tip_covariance_mm2 @ axis))
    beside = abs(along) <= MIN_SIGN_COSINE * float(np.linalg.norm(pivot.tip_mm))
    if beside or abs(along) <= SIGN_SIGMAS * spread:
        return axis, "undetermined"
    return axis * np.sign(along), "poses"


def _sign_reason(tip_mm: NDArray[np.float64] | None) -> str:
    if tip_mm is not None:
        return "the tip lies beside the marker: which end of the axis is the face is not known"
    return "a spin alone does not tell which end of the axis is the face: give the tip (--tip tip.json)"


def _few_poses(n: int, gates: AxisGates, skipped: Mapping[str, int]) -> list[str]:
    if n >= gates.min_poses:
        return []
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(skipped.items()))
    left_out = f" (left out: {causes})" if causes else ""
    return [f"{n} usable poses, at least {gates.min_poses} needed{left_out}"]


def _quality_reasons(spin: float, wobble: float, sd: float | None, gates: AxisGates) -> list[str]:
    reasons = []
    if wobble > gates.max_wobble_deg:
        reasons.append(
            f"a cone, not a spin: the axis itself tilted by {wobble:.1f} deg RMS, "
            f"at most {gates.max_wobble_deg:g} allowed"
        )
    if spin < gates.min_spin_deg:
        reasons.append(f"spun through {spin:.1f} deg, at least {gates.min_spin_deg:g} needed")
    if sd is None:
        reasons.append("no direction turned less than the others: the axis is not determined")
    elif sd > gates.max_axis_sd_deg:
        reasons.append(f"axis known to {sd:.2f} deg only, at most {gates.max_axis_sd_deg:g} allowed")
    return reasons
