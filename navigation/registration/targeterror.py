"""What a landmark registration may be wrong by at a target: covariance, RMS and a bound that holds in 95 of 100 cases.

First-order propagation of the weighted fit; for equal errors its trace is the formula of Fitzpatrick, West and Maurer
1998 (doi:10.1109/42.736021). The bound counts with the few residuals the error's size is known from. Lengths mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.rigid import PointErrors, RigidFit, equal_errors, jacobians

Array = NDArray[np.float64]

CONFIDENCE = 0.95
# Residuals that a given error explains less often than this contradict it: the larger one is then used.
CONTRADICTED = 0.01
# Nodes along each side of the sphere's octant: the bound is right to 1e-4 of itself, for an error along a line too.
_NODES = 10
# Of the bound, in units of the largest standard deviation.
_BOUND_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class FleBelief:
    """What is known of the localisation error before the fit: 3D RMS of a pair, and the readings behind it.

    `dof` counts independent single-axis readings that the value was estimated from; infinite where it is taken as
    known. Raises ValueError for what is no such thing.
    """

    rms_mm: float
    dof: float = math.inf

    def __post_init__(self) -> None:
        if not (self.rms_mm > 0.0 and math.isfinite(self.rms_mm) and self.dof > 0.0):
            raise ValueError(f"a localisation error of {self.rms_mm} mm from {self.dof} readings is none")


@dataclass(frozen=True, slots=True, eq=False)
class FitError:
    """How the errors of the points enter the fit.

    `unit_covariance` (6, 6): of a small rotation (rad) about the origin of the moving frame, turned, and of the
    shift, for points whose covariances are `pairs_mm2` (n, 3, 3); `scale` is the factor of those covariances, known
    from `dof` readings (infinite: given), `residual_scale` what the `residual_dof` residuals alone say of it.
    """

    rotation: Array
    pairs_mm2: Array
    unit_covariance: Array
    scale: float
    dof: float
    residual_scale: float
    residual_dof: int
    contradicted: bool = False

    @property
    def fle_mm(self) -> float:
        """Localisation error of a pair, 3D RMS over the pairs."""
        return math.sqrt(self.scale * self._mean_trace)

    @property
    def _mean_trace(self) -> float:
        return float(np.trace(self.pairs_mm2, axis1=1, axis2=2).mean())

    def fle_interval_mm(self) -> tuple[float, float]:
        """95 % interval of the localisation error; a point where it is taken as known."""
        if math.isinf(self.dof):
            return self.fle_mm, self.fle_mm
        from scipy.stats import chi2

        tails = chi2.ppf([(1.0 + CONFIDENCE) / 2.0, (1.0 - CONFIDENCE) / 2.0], self.dof)
        low, high = self.fle_mm * np.sqrt(self.dof / tails)
        return float(low), float(high)

    def as_json(self) -> dict[str, object]:
        """`fle_mm` of reg.json."""
        return {
            "rms": self.fle_mm,
            "ci95": list(self.fle_interval_mm()),
            "dof": None if math.isinf(self.dof) else self.dof,
            "residuals_alone": math.sqrt(self.residual_scale * self._mean_trace),
            "residuals_dof": self.residual_dof,
        }


@dataclass(frozen=True, slots=True, eq=False)
class TargetError:
    """At one target: covariance (3, 3) mm2 in the fixed frame, RMS, 95 % bound, direction of the largest error."""

    covariance_mm2: Array
    rms_mm: float
    bound95_mm: float
    direction: Array


def fit_error(
    fit: RigidFit,
    fixed_mm: ArrayLike,
    moving_mm: ArrayLike,
    errors: PointErrors | None = None,
    belief: FleBelief | None = None,
) -> FitError:
    """The error of a fit to pairs (n, 3), n >= 3 and not on a line.

    Without `errors` all points are equally good; without `belief` only the residuals tell how good: few of them tell
    little, and the bound widens accordingly.
    """
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    rotation = fit.matrix[:3, :3]
    pairs = (equal_errors(len(fixed)) if errors is None else errors).combined(rotation)
    inverse = np.linalg.inv(pairs)
    jacobian = jacobians(moving @ rotation.T)
    unit = np.linalg.inv((np.swapaxes(jacobian, 1, 2) @ inverse @ jacobian).sum(axis=0))
    left = fixed - fit.apply(moving)
    residual_dof = 3 * len(fixed) - 6
    alone = float(np.einsum("ni,nij,nj->", left, inverse, left)) / residual_dof
    scale, dof, contradicted = alone, float(residual_dof), False
    if belief is not None:
        mean_trace = float(np.trace(pairs, axis1=1, axis2=2).mean())
        scale, dof, contradicted = _believed(belief.rms_mm**2 / mean_trace, belief.dof, alone, residual_dof)
    return FitError(rotation, pairs, unit, scale, dof, alone, residual_dof, contradicted)


def _believed(given: float, given_dof: float, alone: float, dof: int) -> tuple[float, float, bool]:
    """Scale and readings of what was given and what is seen together; what is seen, where it is clearly more."""
    from scipy.stats import chi2, f

    ratio = alone / given
    chance = chi2.sf(ratio * dof, dof) if math.isinf(given_dof) else f.sf(ratio, dof, given_dof)
    if chance < CONTRADICTED:
        return alone, float(dof), True
    if math.isinf(given_dof):
        return given, math.inf, False
    both = given_dof + dof
    return (given_dof * given + dof * alone) / both, both, False


def target_covariance(error: FitError, target_mm: ArrayLike) -> Array:
    """(3, 3) mm2, fixed frame: covariance of a target (3,) of the moving frame by the registration alone.

    Where the size of the points' error is known from few readings only, `target_error` has the bound that says so.
    """
    jacobian = jacobians(error.rotation @ np.asarray(target_mm, dtype=np.float64))
    return np.asarray(error.scale * jacobian @ error.unit_covariance @ jacobian.T)


def target_error(error: FitError, target_mm: ArrayLike) -> TargetError:
    """What the registration may be wrong by at a target (3,) of the moving frame."""
    covariance = target_covariance(error, target_mm)
    values, vectors = np.linalg.eigh(covariance)
    bound = error_bound(values, error.dof)
    direction = vectors[:, 2] * np.sign(vectors[np.argmax(np.abs(vectors[:, 2])), 2])
    return TargetError(covariance, math.sqrt(max(np.trace(covariance), 0.0)), bound, direction)


def error_bound(variances_mm2: ArrayLike, dof: float = math.inf, confidence: float = CONFIDENCE) -> float:
    """Length (mm) that an error with these principal variances (3,) stays below with the given probability.

    `dof` is what the variances' common factor was estimated from: the error is then a multivariate t. Its square
    along a direction u is 3 F(3, dof) (u' V u), so the probability is the mean over directions of that law.
    """
    from scipy.optimize import brentq

    variances = np.clip(np.asarray(variances_mm2, dtype=np.float64), 0.0, None)
    largest = float(variances.max())
    if largest == 0.0:
        return 0.0
    squares, weights = _octant()
    # sorted, so that the pole of the octant is the smallest axis whichever that is
    along = np.maximum(squares @ np.sort(variances / largest)[::-1], np.finfo(float).tiny)

    def short(length: float) -> float:
        return float(weights @ _radial(length**2 / along, dof)) - confidence

    upper = 2.0
    while short(upper) < 0.0:
        upper *= 2.0
    return float(brentq(short, 0.0, upper, xtol=_BOUND_TOLERANCE)) * math.sqrt(largest)


def _radial(squared: Array, dof: float) -> Array:
    """Probability that the squared length of a spherical Gaussian (t, for finite dof) in 3D is below `squared`."""
    from scipy.special import chdtr, fdtr

    return np.asarray(chdtr(3.0, squared) if math.isinf(dof) else fdtr(3.0, dof, squared / 3.0))


@cache
def _octant() -> tuple[Array, Array]:
    """Squared components (m, 3) of directions of one octant, and their shares of it: the others are mirror images."""
    nodes, shares = np.polynomial.legendre.leggauss(_NODES)
    nodes, shares = (nodes + 1.0) / 2.0, shares / 2.0
    height, turn = np.meshgrid(nodes, nodes * np.pi / 2.0, indexing="ij")
    round_ = np.sqrt(1.0 - height**2)
    squares = np.stack([round_ * np.cos(turn), round_ * np.sin(turn), height], axis=-1) ** 2
    return squares.reshape(-1, 3), np.outer(shares, shares).ravel()


def predicted_tre(landmarks_mm: Array, targets_mm: Array, fre_mm: float) -> Array:
    """RMS target error (k,) at targets (k, 3) in the frame of the landmarks (n, 3), all of them equally good.

    Fitzpatrick 1998: FLE^2 = FRE^2 / (1 - 2/n) and TRE^2 = FLE^2/n (1 + 1/3 sum_k d_k^2 / f_k^2), with d_k
    and f_k the distances of the target and (RMS) of the landmarks from principal axis k. NaN below three.
    """
    n = len(landmarks_mm)
    if n < 3:
        return np.full(len(targets_mm), np.nan)
    centre = landmarks_mm.mean(axis=0)
    _, _, axes = np.linalg.svd(landmarks_mm - centre)
    fle_squared = fre_mm**2 / (1.0 - 2.0 / n)
    f_squared = _squared_axis_distances((landmarks_mm - centre) @ axes.T).mean(axis=0)
    d_squared = _squared_axis_distances((targets_mm - centre) @ axes.T)
    return np.asarray(np.sqrt(fle_squared / n * (1.0 + (d_squared / f_squared).sum(axis=1) / 3.0)))


def _squared_axis_distances(points: Array) -> Array:
    """(n, 3): squared distance of each point from each coordinate axis."""
    squares = points**2
    return np.asarray(squares.sum(axis=1, keepdims=True) - squares)
