"""Rigid registration of matched landmarks, with the reasons why it may not be used.

Least squares without scale, reflections excluded (Umeyama 1991, doi:10.1109/34.88573); predicted target
registration error after Fitzpatrick, West and Maurer 1998, doi:10.1109/42.736021. Lengths mm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Three points determine a rotation, none is left to check it.
MIN_PAIRS = 3
# Skin landmarks touched with a stylus give 2 to 5 mm; beyond that a pair is wrong.
MAX_FRE_MM = 5.0
# Second over first spread of the landmarks: below it the rotation about their line rests on noise.
MIN_SPREAD_RATIO = 0.05
# Third over first spread: below it a mirrored set fits as well as the right one.
COPLANAR_RATIO = 0.05
# Another reading of the landmarks (mirrored, two exchanged) is believed when it at least halves the FRE.
BETTER_FIT = 0.5
# Below this FRE there is nothing to explain by an error of that kind: trackers and touch give as much.
UNSUSPECTED_FRE_MM = 1.0
# Other assignments that fit this well are a symmetry: exchanged landmarks would not be noticed.
SYMMETRIC_FRE_MM = 3.0
# A landmark that the others miss by more than this is no proof of the registration.
LARGEST_LEAVE_ONE_OUT_MM = 10.0
# All assignments of six landmarks are 720; beyond that only exchanged pairs are tried.
MOST_PERMUTED = 6


@dataclass(frozen=True, slots=True, eq=False)
class RigidFit:
    """`matrix` (4, 4) maps moving to fixed; `residuals_mm` (n,) distances; `fre_mm` their RMS."""

    matrix: NDArray[np.float64]
    residuals_mm: NDArray[np.float64]

    @property
    def fre_mm(self) -> float:
        """Fiducial registration error: root mean square distance."""
        return float(np.sqrt((self.residuals_mm**2).mean()))


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkRegistration:
    """A fit with its doubts: `reasons` refuse it, `warnings` do not.

    `leave_one_out_mm` (n,): error at each landmark of the fit to the others, NaN where they do not suffice;
    `targets_mm` (k, 3) in the moving frame with the predicted RMS error `tre_mm` (k,).
    """

    fit: RigidFit | None
    labels: tuple[str, ...] | None
    leave_one_out_mm: NDArray[np.float64]
    targets_mm: NDArray[np.float64]
    tre_mm: NDArray[np.float64]
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The content of reg.json; unknown is None."""
        fit = self.fit
        return {
            "T_target_source": None if fit is None else fit.matrix.tolist(),
            "id": None if fit is None else registration_id(fit.matrix),
            "fre_mm": None if fit is None else fit.fre_mm,
            "residuals_mm": [] if fit is None else fit.residuals_mm.tolist(),
            "leave_one_out_mm": [None if np.isnan(v) else float(v) for v in self.leave_one_out_mm],
            "labels": None if self.labels is None else list(self.labels),
            "tre_mm": {
                "targets": self.targets_mm.tolist(),
                "predicted": [None if np.isnan(v) else float(v) for v in self.tre_mm],
            },
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }


def registration_id(matrix: NDArray[np.float64]) -> str:
    """A short name of this very transform, for the record and the wire."""
    rounded = np.round(np.asarray(matrix, dtype=np.float64), 6) + 0.0
    return hashlib.sha256(rounded.astype("<f8").tobytes()).hexdigest()[:12]


def fit_rigid(fixed_mm: ArrayLike, moving_mm: ArrayLike, mirrored: bool = False) -> RigidFit:
    """Best rotation and translation of moving (n, 3) onto fixed (n, 3); the best reflection if mirrored."""
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    centre_fixed, centre_moving = fixed.mean(axis=0), moving.mean(axis=0)
    u, _, vt = np.linalg.svd((fixed - centre_fixed).T @ (moving - centre_moving))
    wanted = -1.0 if mirrored else 1.0
    last = wanted * np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * [1.0, 1.0, last]) @ vt
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre_fixed - rotation @ centre_moving
    residuals = fixed - (moving @ rotation.T + matrix[:3, 3])
    return RigidFit(matrix, np.linalg.norm(residuals, axis=1))


def register_landmarks(
    fixed_mm: ArrayLike,
    moving_mm: ArrayLike,
    labels: Sequence[str] | None = None,
    targets_mm: ArrayLike | None = None,
    max_fre_mm: float = MAX_FRE_MM,
) -> LandmarkRegistration:
    """Register pairs (n, 3): the transform maps moving into fixed, targets (k, 3) are given in moving.

    Raises ValueError when the two lists differ in length.
    """
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[1] != 3:
        raise ValueError(f"pairs of points needed, not {fixed.shape} and {moving.shape}")
    targets = np.zeros((0, 3)) if targets_mm is None else np.asarray(targets_mm, dtype=np.float64)
    names = None if labels is None else tuple(labels)
    unknown = np.full(len(targets), np.nan)
    refused = LandmarkRegistration(None, names, np.full(len(fixed), np.nan), targets, unknown)
    if len(fixed) < MIN_PAIRS:
        reason = f"{len(fixed)} pairs of landmarks, at least {MIN_PAIRS} needed"
        return replace(refused, reasons=(reason,))
    if min(spread_ratios(fixed)[0], spread_ratios(moving)[0]) < MIN_SPREAD_RATIO:
        return replace(
            refused, reasons=("the landmarks lie on a line: the rotation about it is not determined",)
        )
    fit = fit_rigid(fixed, moving)
    left_out = leave_one_out(fixed, moving)
    return LandmarkRegistration(
        fit,
        names,
        left_out,
        targets,
        predicted_tre(moving, targets, fit.fre_mm),
        _reasons(fixed, moving, fit, names, max_fre_mm),
        _warnings(fixed, moving, left_out),
    )


def spread_ratios(points_mm: NDArray[np.float64]) -> tuple[float, float]:
    """Second and third over first singular value of the centred points (n, 3); 0 for coincident points."""
    values = np.linalg.svd(points_mm - points_mm.mean(axis=0), compute_uv=False)
    values = np.concatenate([values, np.zeros(3)])[:3]
    if values[0] == 0.0:
        return 0.0, 0.0
    return float(values[1] / values[0]), float(values[2] / values[0])


def leave_one_out(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): distance at each landmark after a fit to all others; NaN where those are too few or on a line."""
    errors = np.full(len(fixed), np.nan)
    for i in range(len(fixed)):
        rest = np.arange(len(fixed)) != i
        if rest.sum() >= MIN_PAIRS and spread_ratios(moving[rest])[0] >= MIN_SPREAD_RATIO:
            matrix = fit_rigid(fixed[rest], moving[rest]).matrix
            errors[i] = np.linalg.norm(fixed[i] - (matrix[:3, :3] @ moving[i] + matrix[:3, 3]))
    return errors


def predicted_tre(
    landmarks_mm: NDArray[np.float64], targets_mm: NDArray[np.float64], fre_mm: float
) -> NDArray[np.float64]:
    """RMS target error (k,) at targets (k, 3) in the frame of the landmarks (n, 3).

    Fitzpatrick 1998: FLE^2 = FRE^2 / (1 - 2/n) and TRE^2 = FLE^2/n (1 + 1/3 sum_k d_k^2 / f_k^2), with d_k
    and f_k the distances of the target and (RMS) of the landmarks from principal axis k. NaN below three.
    """
    n = len(landmarks_mm)
    if n < MIN_PAIRS:
        return np.full(len(targets_mm), np.nan)
    centre = landmarks_mm.mean(axis=0)
    _, _, axes = np.linalg.svd(landmarks_mm - centre)
    fle_squared = fre_mm**2 / (1.0 - 2.0 / n)
    f_squared = _squared_axis_distances((landmarks_mm - centre) @ axes.T).mean(axis=0)
    d_squared = _squared_axis_distances((targets_mm - centre) @ axes.T)
    return np.asarray(np.sqrt(fle_squared / n * (1.0 + (d_squared / f_squared).sum(axis=1) / 3.0)))


def _squared_axis_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3): squared distance of each point from each coordinate axis."""
    squares = points**2
    return np.asarray(squares.sum(axis=1, keepdims=True) - squares)


def _reasons(
    fixed: NDArray[np.float64],
    moving: NDArray[np.float64],
    fit: RigidFit,
    labels: tuple[str, ...] | None,
    max_fre_mm: float,
) -> tuple[str, ...]:
    reasons = []
    if fit.fre_mm > max_fre_mm:
        reasons.append(f"FRE {fit.fre_mm:.2f} mm, at most {max_fre_mm:g} allowed")
    if fit.fre_mm > UNSUSPECTED_FRE_MM:
        mirror = fit_rigid(fixed, moving, mirrored=True)
        if mirror.fre_mm < BETTER_FIT * fit.fre_mm:
            reasons.append(
                f"one list is mirrored: a reflection fits to {mirror.fre_mm:.2f} mm, "
                f"the best rotation to {fit.fre_mm:.2f} mm"
            )
        order, swapped_fre = best_reassignment(fixed, moving)
        if swapped_fre < BETTER_FIT * fit.fre_mm:
            moved = [
                labels[i] if labels else str(i + 1) for i in np.nonzero(order != np.arange(len(order)))[0]
            ]
            reasons.append(
                f"landmarks {', '.join(moved)} seem exchanged: another order fits to {swapped_fre:.2f} mm"
            )
    return tuple(reasons)


def best_reassignment(
    fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> tuple[NDArray[np.int64], float]:
    """The order of `moving` other than the given that fits best, and its FRE in mm."""
    orders = _other_orders(len(fixed))
    fres = _fre_of_orders(fixed, moving, orders)
    best = int(np.argmin(fres))
    return orders[best], float(fres[best])


def _other_orders(n: int) -> NDArray[np.int64]:
    """All other orders of a few landmarks, else those with two of them exchanged."""
    if n <= MOST_PERMUTED:
        return np.array(list(permutations(range(n)))[1:])
    orders = np.tile(np.arange(n), (n * (n - 1) // 2, 1))
    for row, (i, j) in enumerate(combinations(range(n), 2)):
        orders[row, [i, j]] = j, i
    return orders


def _fre_of_orders(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], orders: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(m,) FRE of the best rotation for each order (m, n), from singular values without the rotation."""
    a, b = fixed - fixed.mean(axis=0), moving - moving.mean(axis=0)
    products = np.einsum("ni,mnj->mij", a, b[orders])
    values = np.linalg.svd(products, compute_uv=False)
    values[:, 2] *= np.sign(np.linalg.det(products))
    squares = (a**2).sum() + (b**2).sum() - 2.0 * values.sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / len(a)))


def _warnings(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], left_out: NDArray[np.float64]
) -> tuple[str, ...]:
    warnings = []
    if np.nan_to_num(left_out).max() > LARGEST_LEAVE_ONE_OUT_MM:
        warnings.append(f"the other landmarks miss one by {np.nanmax(left_out):.1f} mm")
    if len(fixed) == MIN_PAIRS:
        warnings.append("three landmarks leave nothing to check the registration by")
    if min(spread_ratios(fixed)[1], spread_ratios(moving)[1]) < COPLANAR_RATIO:
        warnings.append("the landmarks lie in a plane: a mirrored list would not be noticed")
    if best_reassignment(moving, moving)[1] < SYMMETRIC_FRE_MM:
        warnings.append("the landmarks are symmetric: exchanged ones would not be noticed")
    return tuple(warnings)
