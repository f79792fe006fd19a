"""Rigid registration of matched landmarks, with the reasons why it may not be used.

The fit is `navigation.registration.rigid`, what it may be wrong by at a target `targeterror`, which landmark is bad
`residuals`, and what else the lists could mean `doubts`. Lengths mm.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.doubts import (
    ORDER_BY_CHANCE,
    Alternatives,
    Mirror,
    alternatives,
    coplanar,
    mirror,
    scale_doubt,
    too_large,
    unit_doubts,
)
from navigation.registration.evidence import UNNOTICED, Evidence
from navigation.registration.residuals import (
    MIN_PAIRS,
    MIN_SPREAD_RATIO,
    ResidualTest,
    judged_residuals,
    leave_one_out,
    suggestion,
)
from navigation.registration.rigid import (
    PointErrors,
    RigidFit,
    fit_rigid,
    fit_with_errors,
    pair_weights,
    spread_ratios,
)
from navigation.registration.targeterror import (
    FitError,
    FleBelief,
    TargetError,
    fit_error,
    predicted_tre,
    target_covariance,
    target_error,
)

__all__ = [
    "MAX_FRE_MM",
    "MIN_PAIRS",
    "MIN_SPREAD_RATIO",
    "FitError",
    "FleBelief",
    "LandmarkRegistration",
    "PointErrors",
    "RigidFit",
    "fit_rigid",
    "leave_one_out",
    "predicted_tre",
    "register_landmarks",
    "registration_id",
    "spread_ratios",
    "target_covariance",
    "target_error",
]

Array = NDArray[np.float64]

# Skin landmarks touched with a stylus give 2 to 5 mm; beyond that a pair is wrong.
MAX_FRE_MM = 5.0
# Nearer than this two touches are of one landmark.
DOUBLED_MM = 1.0
# A set that is its own image to this is symmetric: marked points are no more exact.
SYMMETRIC_MM = 1.0
# A landmark that the others miss by more than this is no proof of the registration.
LARGEST_LEAVE_ONE_OUT_MM = 10.0
# Farther from the landmarks than this nothing was measured: the prediction is that of a lever.
FAR_TARGET_MM = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkRegistration:
    """A fit with its doubts: `reasons` refuse it, `warnings` do not.

    `leave_one_out_mm` (n,): error at each landmark of the fit to the others, NaN where they do not suffice;
    `targets_mm` (k, 3) in the moving frame with the predicted RMS error `tre_mm` (k,) and all else in `at_targets`.
    """

    fit: RigidFit | None
    labels: tuple[str, ...] | None
    leave_one_out_mm: Array
    targets_mm: Array
    tre_mm: Array
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: FitError | None = None
    at_targets: tuple[TargetError, ...] = ()
    at_centre: TargetError | None = None
    tests: ResidualTest | None = None
    weights: Array = field(default_factory=lambda: np.zeros(0))
    others: Alternatives = field(default_factory=Alternatives)
    touch_again: dict[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    @property
    def names(self) -> list[str]:
        """The labels, else the numbers of the pairs from 1."""
        return _names(self.labels, len(self.leave_one_out_mm))

    def as_json(self) -> dict[str, Any]:
        """The content of reg.json; unknown is None."""
        fit, tests = self.fit, self.tests
        return {
            "method": "points",
            "T_target_source": None if fit is None else fit.matrix.tolist(),
            "id": None if fit is None else registration_id(fit.matrix),
            "tre_mm": self._targets_json(),
            "fre_mm": None if fit is None else fit.fre_mm,
            "residuals_mm": [] if fit is None else fit.residuals_mm.tolist(),
            "residuals_normalised": [] if tests is None else _known(tests.normalised),
            "residuals_chance": [] if tests is None else _known(tests.chance),
            "leave_one_out_mm": _known(self.leave_one_out_mm),
            "touch_again": self.touch_again,
            "labels": None if self.labels is None else list(self.labels),
            "weights": self.weights.tolist(),
            "fle_mm": None if self.error is None else self.error.as_json(),
            "ambiguity": None if fit is None else self.others.as_json(self.names),
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }

    def _targets_json(self) -> dict[str, Any]:
        """Predicted RMS error, 95 % bound and covariance at the targets and at the landmarks' centre."""
        there, centre = self.at_targets, self.at_centre
        unknown = [None] * len(self.targets_mm)
        return {
            "targets": self.targets_mm.tolist(),
            "predicted": _known(self.tre_mm),
            "bound95": [t.bound95_mm for t in there] or unknown,
            "covariance_mm2": [t.covariance_mm2.tolist() for t in there] or unknown,
            "largest_along": [t.direction.tolist() for t in there] or unknown,
            "centre": None if centre is None else {"predicted": centre.rms_mm, "bound95": centre.bound95_mm},
        }


def _known(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _names(labels: tuple[str, ...] | None, n: int) -> list[str]:
    return [str(i + 1) for i in range(n)] if labels is None else list(labels)


def registration_id(matrix: NDArray[np.float64]) -> str:
    """A short name of this very transform, for the record and the wire."""
    rounded = np.round(np.asarray(matrix, dtype=np.float64), 6) + 0.0
    return hashlib.sha256(rounded.astype("<f8").tobytes()).hexdigest()[:12]


def register_landmarks(
    fixed_mm: ArrayLike,
    moving_mm: ArrayLike,
    labels: Sequence[str] | None = None,
    targets_mm: ArrayLike | None = None,
    max_fre_mm: float = MAX_FRE_MM,
    *,
    errors: PointErrors | None = None,
    belief: FleBelief | None = None,
    certain: bool | None = None,
) -> LandmarkRegistration:
    """Register pairs (n, 3): the transform maps moving into fixed, targets (k, 3) are given in moving.

    `errors` are the points' own covariances up to a factor, `belief` what is known of their size over all pairs;
    `certain` says that which point belongs to which is known otherwise than by their order (default: by labels).
    Raises ValueError when the two lists differ in length.
    """
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[1] != 3:
        raise ValueError(f"pairs of points needed, not {fixed.shape} and {moving.shape}")
    targets = np.zeros((0, 3)) if targets_mm is None else np.asarray(targets_mm, dtype=np.float64)
    names = None if labels is None else tuple(labels)
    unknown = np.full(len(targets), np.nan)
    refused = LandmarkRegistration(None, names, np.full(len(fixed), np.nan), targets, unknown)
    unfit = _undetermined(fixed, moving)
    if unfit is not None:
        return replace(refused, reasons=(unfit,))
    fit = fit_with_errors(fixed, moving, errors)
    known = names is not None if certain is None else certain
    return _judged(replace(refused, fit=fit), fit, fixed, moving, errors, belief, known, max_fre_mm)


def _undetermined(fixed: Array, moving: Array) -> str | None:
    """Why these pairs determine no transform."""
    if len(fixed) < MIN_PAIRS:
        return f"{len(fixed)} pairs of landmarks, at least {MIN_PAIRS} needed"
    if min(spread_ratios(fixed)[0], spread_ratios(moving)[0]) < MIN_SPREAD_RATIO:
        return "the landmarks lie on a line: the rotation about it is not determined"
    return None


def _judged(
    result: LandmarkRegistration,
    fit: RigidFit,
    fixed: Array,
    moving: Array,
    errors: PointErrors | None,
    belief: FleBelief | None,
    certain: bool,
    max_fre_mm: float,
) -> LandmarkRegistration:
    """The fit with its errors, its doubts and what follows from them."""
    error = fit_error(fit, fixed, moving, errors, belief)
    tests = judged_residuals(fit, fixed, moving, error, belief)
    left_out = leave_one_out(fixed, moving, errors)
    evidence = Evidence.of(belief)
    reflected = mirror(fixed, moving, fit, evidence)
    others = alternatives(fixed, moving, fit, evidence, max_fre_mm)
    there = tuple(target_error(error, t) for t in result.targets_mm)
    reasons = _reasons(fixed, moving, fit, result.names, others, reflected, certain, max_fre_mm)
    again = suggestion(result.names, tests, left_out, fit.fre_mm > max_fre_mm)
    warnings = _warnings(fixed, moving, left_out, others, reflected)
    warnings += _target_warnings(moving, result.targets_mm)
    if error.contradicted:
        warnings += (f"the residuals contradict the given localisation error: {error.fle_mm:.1f} mm is used",)
    if again is not None and again["proven"]:
        warnings += (again["words"],)
    return replace(
        result,
        leave_one_out_mm=left_out,
        tre_mm=np.array([t.rms_mm for t in there]),
        reasons=reasons,
        warnings=warnings,
        error=error,
        at_targets=there,
        at_centre=target_error(error, moving.mean(axis=0)),
        tests=tests,
        weights=np.ones(len(fixed)) if errors is None else pair_weights(errors),
        others=others,
        touch_again=again,
    )


def _reasons(
    fixed: Array,
    moving: Array,
    fit: RigidFit,
    names: list[str],
    others: Alternatives,
    reflected: Mirror,
    certain: bool,
    max_fre_mm: float,
) -> tuple[str, ...]:
    units = unit_doubts(fixed, moving)
    reasons = []
    if fit.fre_mm > max_fre_mm:
        reasons.append(f"FRE {fit.fre_mm:.2f} mm, at most {max_fre_mm:g} allowed")
    if reflected.believed:
        reasons.append(
            f"one list is mirrored: a reflection fits to {reflected.fre_mm:.2f} mm, "
            f"the best rotation to {fit.fre_mm:.2f} mm"
        )
    if others.believed is not None:
        reasons.append(
            f"landmarks {', '.join(others.exchanged(names, others.believed))} seem exchanged: "
            f"another order fits to {others.fre_mm[others.believed]:.2f} mm"
        )
    elif (
        not certain
        and others.order_by_chance(len(fixed)) > ORDER_BY_CHANCE
        and _symmetric(fixed, moving, others)
    ):
        reasons.append(_symmetric_without_labels(names, others))
    other_reading = reflected.believed or others.believed is not None or bool(units)
    scale = None if other_reading else scale_doubt(fixed, moving, fit)
    return (*units, *reasons) if scale is None else (*reasons, scale)


def _symmetric(fixed: Array, moving: Array, others: Alternatives) -> bool:
    """Whether one of the sets falls onto itself when its points are exchanged, as a square does.

    An order that somebody gives is no guess: where exchanged points fit about as well only because the errors are
    large, they are warned of and not refused.
    """
    if others.too_many:
        return True
    near = (o for o, odds in zip(others.orders, others.log_odds, strict=True) if odds > -UNNOTICED)
    return any(min(fit_rigid(p, p[o]).fre_mm for p in (fixed, moving)) < SYMMETRIC_MM for o in near)


def _doubled(fixed: Array, moving: Array) -> list[str]:
    """Words for lists that are each other's copy, and for pairs that are one landmark twice."""
    if np.abs(fixed - moving).max() < DOUBLED_MM:
        return ["both lists hold the same coordinates: nothing was measured between them"]
    near = [
        f"{i + 1} and {j + 1}"
        for i, j in combinations(range(len(fixed)), 2)
        if max(np.linalg.norm(p[i] - p[j]) for p in (fixed, moving)) < DOUBLED_MM
    ]
    told = f"pairs {', '.join(near)} are one landmark twice: leave one out, the predicted error counts both"
    return [told] if near else []


def _symmetric_without_labels(names: list[str], others: Alternatives) -> str:
    """Why an order alone does not say which landmark is which."""
    which = "" if others.too_many else f" ({', '.join(others.exchanged(names))})"
    return (
        f"the landmarks are symmetric and have no labels: exchanged ones{which} would not be noticed; label both "
        "lists, add a landmark off the symmetry, or say that the order is certain"
    )


def _warnings(
    fixed: Array, moving: Array, left_out: Array, others: Alternatives, reflected: Mirror
) -> tuple[str, ...]:
    warnings = []
    if np.nan_to_num(left_out).max() > LARGEST_LEAVE_ONE_OUT_MM:
        warnings.append(f"the other landmarks miss one by {np.nanmax(left_out):.1f} mm")
    if len(fixed) == MIN_PAIRS:
        warnings.append("three landmarks leave nothing to check the registration by")
    if not reflected.believed and (coplanar(fixed, moving) or reflected.unnoticed):
        warnings.append("the landmarks lie in a plane: a mirrored list would not be noticed")
    if others.believed is None and (others.too_many or others.unnoticed > 0):
        warnings.append("the landmarks are symmetric: exchanged ones would not be noticed")
    warnings += _doubled(fixed, moving)
    large = too_large(fixed, moving)
    return (*warnings, large) if large is not None else tuple(warnings)


def _target_warnings(moving: Array, targets: Array) -> tuple[str, ...]:
    """Targets so far from the landmarks that the prediction is no more than a lever."""
    away = np.linalg.norm(targets - moving.mean(axis=0), axis=1) if len(targets) else np.zeros(1)
    if away.max() <= FAR_TARGET_MM or not math.isfinite(away.max()):
        return ()
    return (
        f"a target lies {away.max():.0f} mm from the landmarks' centre: landmarks nearer to it tell more",
    )
