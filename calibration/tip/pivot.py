"""Pivot calibration: where the tip of a tool lies in its marker's frame, and whether that may be used.

The tip stays in one point while the tool turns about it, so R_i p + t_i = w for all poses: linear least
squares for tip p and pivot w ("algebraic one step", Yaniv 2015, doi:10.1117/12.2081348). The robust form
leaves out few poses far off and weighs by the noise seen in the marker's frame. Lengths mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import PivotGates, gates_content
from calibration.tip.correlation import independent_share

# Below this everything a tracker reports is its own noise.
STATIC_ROTATION_DEG = 1.0
# More poses far off than this are no single slips: nothing is left out then, and the residuals decide.
MAX_OUTLIER_FRACTION = 0.1
# Residuals of the remaining poses beyond any optical tracker's noise at a tool's length: no model of noise holds.
MAX_NOISE_RMS_MM = 1.0
# In robust standard deviations of a residual's component; noise of two directions only exceeds it once in 1500.
OUTLIER_SIGMAS = 5.0
# Median length of a vector of three standard normal components.
MEDIAN_OF_CHI_3 = 1.538
# Fewer residuals do not give the six elements of their covariance well enough to weigh with.
MIN_WEIGHTED_POSES = 40
# The quietest direction counts at most as a tenth of the loudest one's deviation: a weight, not a constraint.
MIN_VARIANCE_RATIO = 0.01
# A thousandth of any tracker's noise: below it a difference is of the arithmetic.
ROUNDING_MM = 1e-5
# Both the outliers and the weights settle in fewer rounds.
MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True, eq=False)
class PivotCalibration:
    """The result: tip (3,) in the marker frame, pivot (3,) in the tracker frame, mm; None where undetermined.

    `rms_mm` is the root mean square length of the residual vectors, `rms_per_axis_mm` that of their
    components; `tip_covariance_mm2` (3, 3); `max_angle_deg` the largest tilt of the shaft from its mean.
    Of the `poses` usable ones `outliers` lay too far off to take part in any of these figures; the covariance
    takes the others for as many as `independent_poses` are worth, since a hand's tremor lasts over many.
    """

    tip_offset_mm: NDArray[np.float64] | None
    pivot_point_mm: NDArray[np.float64] | None
    rms_mm: float | None
    tip_covariance_mm2: NDArray[np.float64] | None
    max_angle_deg: float | None
    poses: int
    reasons: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    method: str = "aos"
    outliers: int = 0
    independent_poses: float | None = None
    gates: PivotGates = field(default_factory=PivotGates)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    @property
    def rms_per_axis_mm(self) -> float | None:
        """RMS of the residuals' components."""
        return None if self.rms_mm is None else self.rms_mm / np.sqrt(3.0)

    @property
    def tip_sd_mm(self) -> float | None:
        """Standard error of the tip in its worst direction."""
        if self.tip_covariance_mm2 is None:
            return None
        return float(np.sqrt(np.linalg.eigvalsh(self.tip_covariance_mm2)[-1]))

    def as_json(self) -> dict[str, Any]:
        """The content of tip.json; unknown is None."""

        def listed(array: NDArray[np.float64] | None) -> list[Any] | None:
            return None if array is None else array.tolist()

        return {
            "tip_offset_mm": listed(self.tip_offset_mm),
            "pivot_point_mm": listed(self.pivot_point_mm),
            "rms_mm": self.rms_mm,
            "rms_per_axis_mm": self.rms_per_axis_mm,
            "tip_sd_mm": self.tip_sd_mm,
            "tip_covariance_mm2": listed(self.tip_covariance_mm2),
            "max_angle_deg": self.max_angle_deg,
            "poses": self.poses,
            "outliers": self.outliers,
            "independent_poses": self.independent_poses,
            "skipped": dict(self.skipped),
            "method": self.method,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            **gates_content(self.gates),
        }


@dataclass(frozen=True, slots=True, eq=False)
class PivotSolution:
    """Tip and pivot (3,), residual vectors (n, 3), covariance (3, 3) of the tip, which poses took part (n,).

    `independent_share` of the poses is what the covariance takes them for; None: as all independent.
    """

    tip_mm: NDArray[np.float64]
    pivot_mm: NDArray[np.float64]
    residuals_mm: NDArray[np.float64]
    tip_covariance_mm2: NDArray[np.float64]
    used: NDArray[np.bool_]
    independent_share: float | None = None

    @property
    def rms_mm(self) -> float:
        """Root mean square length of the residuals of the poses that took part."""
        return float(np.sqrt((self.residuals_mm[self.used] ** 2).sum(axis=1).mean()))


def solve_aos(matrices: NDArray[np.float64]) -> PivotSolution | None:
    """Least squares over all poses (n, 4, 4) with equal weight; None if tip and pivot are not determined."""
    n = len(matrices)
    rotations, translations = matrices[:, :3, :3], matrices[:, :3, 3]
    design = np.concatenate([rotations, np.broadcast_to(-np.eye(3), (n, 3, 3))], axis=2).reshape(-1, 6)
    solution, _, rank, _ = np.linalg.lstsq(design, -translations.reshape(-1), rcond=None)
    if rank < 6:
        return None
    residuals = (design @ solution + translations.reshape(-1)).reshape(n, 3)
    freedom = max(3 * n - 6, 1)
    covariance = np.linalg.inv(design.T @ design) * float((residuals**2).sum()) / freedom
    return PivotSolution(solution[:3], solution[3:], residuals, covariance[:3, :3], np.ones(n, dtype=bool))


def solve_robust(matrices: NDArray[np.float64]) -> PivotSolution | None:
    """Least squares without the few poses far off, weighed by the noise in the marker's frame.

    A set whose remaining poses still exceed MAX_NOISE_RMS_MM, or with more outliers than
    MAX_OUTLIER_FRACTION, is no pivot with slips in it: solved as by `solve_aos`. None if undetermined.
    """
    plain = solve_aos(matrices)
    if plain is None:
        return None
    inliers = _inliers(matrices, plain)
    if (~inliers).sum() > MAX_OUTLIER_FRACTION * len(matrices):
        return plain
    best = _over_all(matrices, inliers, solve_aos(matrices[inliers]))
    if best is None or best.rms_mm > MAX_NOISE_RMS_MM:
        return plain
    weighted = _over_all(matrices, inliers, _weighed(matrices[inliers], best))
    return weighted or best


def _inliers(matrices: NDArray[np.float64], plain: PivotSolution) -> NDArray[np.bool_]:
    """Which poses (n,) lie within OUTLIER_SIGMAS, found by solving again without the others until it settles."""
    solution: PivotSolution | None = plain
    inliers = plain.used
    for _ in range(MAX_ROUNDS):
        if solution is None:
            return plain.used
        lengths = np.linalg.norm(solution.residuals_mm, axis=1)
        limit = OUTLIER_SIGMAS * float(np.median(lengths)) / MEDIAN_OF_CHI_3
        # Without noise all residuals are rounding, and one of them is not worse than the others.
        closer = lengths <= max(limit, ROUNDING_MM)
        if np.array_equal(closer, inliers):
            break
        inliers = closer
        solution = _over_all(matrices, inliers, solve_aos(matrices[inliers]))
    return inliers


def _over_all(
    matrices: NDArray[np.float64], used: NDArray[np.bool_], part: PivotSolution | None
) -> PivotSolution | None:
    """The solution found with the poses `used`, its residuals told for all."""
    if part is None:
        return None
    residuals = matrices[:, :3, :3] @ part.tip_mm + matrices[:, :3, 3] - part.pivot_mm
    return replace(part, residuals_mm=residuals, used=used)


def _weighed(matrices: NDArray[np.float64], start: PivotSolution) -> PivotSolution | None:
    """Least squares with the residuals' own covariance in the marker's frame, where a tool's noise is constant.

    Noise of the orientation moves the tip across the shaft and never along it: equal weights waste that.
    """
    n = len(matrices)
    residuals = start.residuals_mm[start.used]
    if n < MIN_WEIGHTED_POSES:
        return None
    back = np.swapaxes(matrices[:, :3, :3], 1, 2)
    design = np.concatenate([np.broadcast_to(np.eye(3), (n, 3, 3)), -back], axis=2)
    target = -np.einsum("nab,nb->na", back, matrices[:, :3, 3])
    seen = np.einsum("nab,nb->na", back, residuals)
    solution = np.concatenate([start.tip_mm, start.pivot_mm])
    for _ in range(MAX_ROUNDS):
        whiten = _whitening(seen)
        if whiten is None:
            return None
        scaled = (whiten @ design).reshape(-1, 6)
        before, level = solution, (target @ whiten.T).reshape(-1)
        solution = np.linalg.lstsq(scaled, level, rcond=None)[0]
        seen = design @ solution - target
        if np.abs(solution - before).max() < ROUNDING_MM:
            break
    # Creep of the tip stands out where the noise is least: each whitened component has a memory of its own.
    whitened = (scaled @ solution - level).reshape(n, 3)
    shares = np.array([independent_share(whitened[:, [i]]) for i in range(3)])
    covariance = _sandwich(scaled, np.tile(1.0 / shares, n))[:3, :3]
    share = float(1.0 / np.mean(1.0 / shares))
    return PivotSolution(solution[:3], solution[3:], seen, covariance, np.ones(n, dtype=bool), share)


def _sandwich(design: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance (6, 6) of least squares with equal weights where the rows (m, 6) have `variances` (m,)."""
    bread = np.linalg.inv(design.T @ design)
    covariance: NDArray[np.float64] = bread @ (design.T * variances) @ design @ bread
    return covariance


def _whitening(residuals: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The matrix (3, 3) that makes residuals (n, 3) of unit variance; None where they are rounding only."""
    # Six unknowns have taken two poses' worth of the residuals' freedom.
    values, vectors = np.linalg.eigh(residuals.T @ residuals / (len(residuals) - 2))
    if values[-1] < ROUNDING_MM**2:
        return None
    scale = np.sqrt(np.maximum(values, MIN_VARIANCE_RATIO * values[-1]))
    whitening: NDArray[np.float64] = (vectors / scale).T
    return whitening


SOLVERS: dict[str, Callable[[NDArray[np.float64]], PivotSolution | None]] = {
    "aos": solve_aos,
    "robust": solve_robust,
}


def calibrate_pivot(
    matrices: NDArray[np.float64],
    gates: PivotGates | None = None,
    skipped: Mapping[str, int] | None = None,
    method: str = "robust",
) -> PivotCalibration:
    """Tip and pivot from rigid marker poses (n, 4, 4), with the reasons why they may not be used."""
    gates = gates or PivotGates()
    left_out = dict(skipped or {})
    solution = SOLVERS[method](matrices) if len(matrices) else None
    reasons = _motion_reasons(matrices, gates, left_out)
    if solution is None:
        undetermined = "tip and pivot are not determined by these poses (rank below 6)"
        return PivotCalibration(
            None,
            None,
            None,
            None,
            None,
            len(matrices),
            (*reasons, undetermined),
            left_out,
            method,
            gates=gates,
        )
    solution = _with_memory(solution)
    result = PivotCalibration(
        solution.tip_mm,
        solution.pivot_mm,
        solution.rms_mm,
        solution.tip_covariance_mm2,
        max_tilt_deg(matrices[solution.used], solution.tip_mm),
        len(matrices),
        (),
        left_out,
        method,
        int((~solution.used).sum()),
        (solution.independent_share or 1.0) * float(solution.used.sum()),
        gates,
    )
    return _gated(result, reasons)


def _with_memory(solution: PivotSolution) -> PivotSolution:
    """The same with a covariance that takes residuals which follow each other for fewer, unless it does already."""
    if solution.independent_share is not None:
        return solution
    share = independent_share(solution.residuals_mm[solution.used])
    covariance = solution.tip_covariance_mm2 / share
    return replace(solution, tip_covariance_mm2=covariance, independent_share=share)


def max_tilt_deg(matrices: NDArray[np.float64], tip_mm: NDArray[np.float64]) -> float:
    """Largest angle between the shaft (marker to tip) and its mean direction; 0 for a tip at the marker."""
    length = float(np.linalg.norm(tip_mm))
    if length == 0.0:
        return 0.0
    directions = matrices[:, :3, :3] @ (tip_mm / length)
    mean = directions.mean(axis=0)
    cosines = directions @ mean / np.linalg.norm(mean)
    return float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)).max()))


def weakest_rotation_deg(matrices: NDArray[np.float64]) -> float:
    """RMS rotation that the worst-determined direction of the tip has seen.

    With the pivot eliminated, the information on the tip is n (I - M^T M), M the mean rotation; for small
    angles its smallest eigenvalue is the mean square rotation about the axes across that direction.
    """
    mean = matrices[:, :3, :3].mean(axis=0)
    smallest = np.linalg.eigvalsh(np.eye(3) - mean.T @ mean)[0]
    return float(np.degrees(np.sqrt(max(smallest, 0.0))))


def _motion_reasons(
    matrices: NDArray[np.float64], gates: PivotGates, skipped: Mapping[str, int]
) -> tuple[str, ...]:
    reasons = []
    if len(matrices) < gates.min_poses:
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(skipped.items()))
        left_out = f" (left out: {causes})" if causes else ""
        reasons.append(f"{len(matrices)} usable poses, at least {gates.min_poses} needed{left_out}")
    if len(matrices):
        rotation = weakest_rotation_deg(matrices)
        if largest_rotation_deg(matrices) < STATIC_ROTATION_DEG:
            reasons.append("the tool did not turn")
        elif rotation < gates.min_rotation_deg:
            reasons.append(
                f"the tool turned about one axis only: {rotation:.1f} deg across it, "
                f"at least {gates.min_rotation_deg:g} needed"
            )
    return tuple(reasons)


def largest_rotation_deg(matrices: NDArray[np.float64]) -> float:
    """Largest rotation angle between the first pose and any other."""
    traces = np.einsum("ij,nij->n", matrices[0, :3, :3], matrices[:, :3, :3])
    return float(np.degrees(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0)).max()))


def _gated(result: PivotCalibration, reasons: tuple[str, ...]) -> PivotCalibration:
    """The same result with the reasons of the remaining gates added."""
    gates = result.gates
    rms, sd, tilt = result.rms_mm or 0.0, result.tip_sd_mm or 0.0, result.max_angle_deg or 0.0
    more = list(reasons)
    if not sd <= gates.max_tip_sd_mm:
        more.append(f"tip known to {sd:.2f} mm only, at most {gates.max_tip_sd_mm:g} allowed")
    if tilt < gates.min_tilt_deg:
        more.append(f"largest tilt {tilt:.1f} deg, at least {gates.min_tilt_deg:g} needed")
    if not rms <= gates.max_rms_mm:
        advice = "" if more or rms > MAX_NOISE_RMS_MM else _noise_advice(sd)
        more.append(f"3D RMS {rms:.3f} mm, at most {gates.max_rms_mm:g} allowed{advice}")
    return replace(result, reasons=tuple(more))


def _noise_advice(sd_mm: float) -> str:
    """What to do where nothing but the size of the residuals speaks against the tip."""
    return (
        f" (the tip itself is known to {sd_mm:.2f} mm: where residuals of this size are this tracker's noise at "
        "the tool's length, set max_rms_mm in the table [gates.pivot] of the case file)"
    )
