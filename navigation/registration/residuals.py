"""Which landmark does not fit the others: residuals in units of what they should be, leave-one-out, advice.

The weight that a landmark had in the fit is taken out of its residual (studentized residuals of a linear model); the
chance of the largest is told for as many landmarks as were looked at. Lengths mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.rigid import PointErrors, RigidFit, fit_with_errors, jacobians, spread_ratios
from navigation.registration.targeterror import FitError, FleBelief

Array = NDArray[np.float64]

# Three points determine a rotation, none is left to check it.
MIN_PAIRS = 3
# Second over first spread of the landmarks: below it the rotation about their line rests on noise.
MIN_SPREAD_RATIO = 0.05
# A landmark is named where sound ones would leave one like it in fewer than 5 of 100 registrations.
NAMED = 0.05
# Below this no touch is better: exact points leave rounding, of which one is always the largest.
SMALLEST_NAMED_MM = 1.0
# Directions in which a residual cannot lie have no variance; this much of a point's own is rounding.
_NO_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ResidualTest:
    """For each pair (n,): residual over what it should be (RMS 1 for sound ones) and the chance of so large a one.

    NaN where the others leave no reading to judge by; of three landmarks none can be told from the others. The chances
    are corrected for the number of pairs.
    """

    normalised: Array
    chance: Array

    def suspect(self) -> int | None:
        """The landmark that does not fit the others, None where none is proven."""
        known = np.where(np.isfinite(self.chance), self.chance, 1.0)
        worst = int(np.argmin(known))
        return worst if known[worst] < NAMED else None


def judged_residuals(
    fit: RigidFit,
    fixed: Array,
    moving: Array,
    error: FitError,
    belief: FleBelief | None,
) -> ResidualTest:
    """Judge each of the pairs (n, 3) by the others, and by what was known of the localisation error."""
    jacobian = jacobians(moving @ error.rotation.T)
    explained = jacobian @ error.unit_covariance @ np.swapaxes(jacobian, 1, 2)
    left = fixed - fit.apply(moving)
    squares, ranks = np.array(
        [
            _squared(e, v, np.trace(p))
            for e, v, p in zip(left, error.pairs_mm2 - explained, error.pairs_mm2, strict=True)
        ]
    ).T
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.sqrt(squares / (ranks * error.scale))
    total = error.residual_scale * error.residual_dof
    chance = [_chance(float(s), int(r), total, error, belief) for s, r in zip(squares, ranks, strict=True)]
    if len(fixed) <= MIN_PAIRS:
        chance = [math.nan] * len(fixed)
    return ResidualTest(
        np.where(error.scale > 0.0, normalised, 0.0), np.minimum(np.array(chance) * len(fixed), 1.0)
    )


def _squared(residual: Array, variance: Array, size: float) -> tuple[float, int]:
    """Squared residual in units of its variance, and in how many directions it may lie."""
    values, vectors = np.linalg.eigh(variance)
    possible = values > _NO_VARIANCE * size
    return float(((vectors.T @ residual)[possible] ** 2 / values[possible]).sum()), int(possible.sum())


def _chance(squared: float, rank: int, total: float, error: FitError, belief: FleBelief | None) -> float:
    """Of so large a residual where the others, and what was given beforehand, tell how large they are."""
    from scipy.stats import chi2, f

    if belief is not None and not error.contradicted:
        given = belief.rms_mm**2 / float(np.trace(error.pairs_mm2, axis1=1, axis2=2).mean())
        if math.isinf(belief.dof):
            return float(chi2.sf(squared / given, rank)) if rank else math.nan
        total, dof = total + belief.dof * given, belief.dof + error.residual_dof - rank
    else:
        dof = float(error.residual_dof - rank)
    rest = total - squared
    if not rank or dof < 1.0:
        return math.nan
    if rest <= 0.0:
        return 1.0 if squared <= 0.0 else 0.0
    return float(f.sf(squared / rank / (rest / dof), rank, dof))


def leave_one_out(fixed: Array, moving: Array, errors: PointErrors | None = None) -> Array:
    """(n,): distance at each landmark after a fit to all others; NaN where those are too few or on a line."""
    distances = np.full(len(fixed), np.nan)
    for i in range(len(fixed)):
        rest = np.arange(len(fixed)) != i
        if rest.sum() >= MIN_PAIRS and spread_ratios(moving[rest])[0] >= MIN_SPREAD_RATIO:
            fit = fit_with_errors(fixed[rest], moving[rest], None if errors is None else errors[rest])
            distances[i] = np.linalg.norm(fixed[i] - fit.apply(moving[i]))
    return distances


def suggestion(
    names: Sequence[str], test: ResidualTest, left_out_mm: Array, doubtful: bool
) -> dict[str, Any] | None:
    """What to touch again: the landmark that is proven not to fit; where the fit is doubtful, the likeliest one."""
    known = np.where(np.isfinite(test.normalised), test.normalised, 0.0)
    suspect = test.suspect()
    if suspect is not None and left_out_mm[suspect] < SMALLEST_NAMED_MM:
        suspect = None
    if suspect is None and not (doubtful and known.max() > 0.0):
        return None
    which = int(np.argmax(known)) if suspect is None else suspect
    away = None if np.isnan(left_out_mm[which]) else float(left_out_mm[which])
    missed = "" if away is None else f", the others miss it by {away:.1f} mm"
    sure = "fits the others least" if suspect is None else "does not fit the others"
    return {
        "label": names[which],
        "proven": suspect is not None,
        "others_miss_it_by_mm": away,
        "words": f"touch landmark {names[which]} again, or leave it out: it {sure}{missed}",
    }
