"""Rigid fits of matched points: closed form for equal or single weights, iterated for errors with a direction.

Least squares without scale, reflections excluded (Umeyama 1991, doi:10.1109/34.88573); covariances of the points
enter as heteroscedastic weights (Matei and Meer 1999, doi:10.1109/CVPR.1999.784918). Lengths mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# An update below this (rad, and mm over the points' spread) changes no digit that anyone reads.
CONVERGED = 1e-12
# Gauss-Newton halves nothing: it gains digits by each step, and twenty have been enough for depth errors of 30 to 1.
MOST_STEPS = 100


@dataclass(frozen=True, slots=True, eq=False)
class RigidFit:
    """`matrix` (4, 4) maps moving to fixed; `residuals_mm` (n,) distances; `fre_mm` their RMS."""

    matrix: Array
    residuals_mm: Array

    @property
    def fre_mm(self) -> float:
        """Fiducial registration error: root mean square distance."""
        return float(np.sqrt((self.residuals_mm**2).mean()))

    def apply(self, points_mm: ArrayLike) -> Array:
        """Points (..., 3) of the moving frame in the fixed frame."""
        return np.asarray(np.asarray(points_mm) @ self.matrix[:3, :3].T + self.matrix[:3, 3])


@dataclass(frozen=True, slots=True, eq=False)
class PointErrors:
    """Covariances (n, 3, 3) mm2 with which the points of each list are known, each in the list's own frame."""

    fixed_mm2: Array
    moving_mm2: Array

    def __post_init__(self) -> None:
        for name in ("fixed_mm2", "moving_mm2"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> PointErrors:
        """Those of some of the pairs."""
        return PointErrors(self.fixed_mm2[chosen], self.moving_mm2[chosen])

    def combined(self, rotation: Array) -> Array:
        """(n, 3, 3): of the difference fixed - moved, in the fixed frame."""
        return np.asarray(self.fixed_mm2 + rotation @ self.moving_mm2 @ rotation.T)


def equal_errors(n: int) -> PointErrors:
    """One and the same for each pair and axis: its size is then told by the residuals, as multiples of 1 mm."""
    return PointErrors(np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3, 3)))


def fit_rigid(
    fixed_mm: ArrayLike, moving_mm: ArrayLike, mirrored: bool = False, weights: ArrayLike | None = None
) -> RigidFit:
    """Best rotation and translation of moving (n, 3) onto fixed (n, 3); the best reflection if mirrored.

    `weights` (n,) are the inverses of the pairs' variances; equal ones by default.
    """
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    shares = np.full(len(fixed), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = (shares / shares.sum())[:, None]
    centre_fixed, centre_moving = (shares * fixed).sum(axis=0), (shares * moving).sum(axis=0)
    u, _, vt = np.linalg.svd((shares * (fixed - centre_fixed)).T @ (moving - centre_moving))
    wanted = -1.0 if mirrored else 1.0
    last = wanted * np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * [1.0, 1.0, last]) @ vt
    return _fit(rotation, centre_fixed - rotation @ centre_moving, fixed, moving)


def _fit(rotation: Array, shift: Array, fixed: Array, moving: Array) -> RigidFit:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = shift
    residuals = fixed - (moving @ rotation.T + shift)
    return RigidFit(matrix, np.linalg.norm(residuals, axis=1))


def fit_with_errors(fixed_mm: ArrayLike, moving_mm: ArrayLike, errors: PointErrors | None) -> RigidFit:
    """The most likely rigid transform of moving (n, 3) onto fixed (n, 3) where each point has its own covariance.

    The rotation starts at the fit with one weight per pair and is never reflected; with errors that have no
    direction that fit is the answer.
    """
    fixed, moving = np.asarray(fixed_mm, dtype=np.float64), np.asarray(moving_mm, dtype=np.float64)
    if errors is None:
        return fit_rigid(fixed, moving)
    start = fit_rigid(fixed, moving, weights=1.0 / _mean_variance(errors.combined(np.eye(3))))
    return start if _without_direction(errors) else _iterated(start, fixed, moving, errors)


def pair_weights(errors: PointErrors) -> Array:
    """(n,) inverse mean variances of the pairs, their mean 1."""
    weights = 1.0 / _mean_variance(errors.combined(np.eye(3)))
    return np.asarray(weights / weights.mean())


def _mean_variance(covariances: Array) -> Array:
    return np.asarray(np.trace(covariances, axis1=1, axis2=2) / 3.0)


def _without_direction(errors: PointErrors) -> bool:
    return all(
        np.allclose(c, _mean_variance(c)[:, None, None] * np.eye(3), rtol=0.0, atol=1e-12)
        for c in (errors.fixed_mm2, errors.moving_mm2)
    )


def _iterated(start: RigidFit, fixed: Array, moving: Array, errors: PointErrors) -> RigidFit:
    """Gauss-Newton with the weights of the present rotation."""
    rotation, shift = start.matrix[:3, :3], start.matrix[:3, 3]
    spread = max(float(np.linalg.norm(moving - moving.mean(axis=0), axis=1).max()), 1.0)
    for _ in range(MOST_STEPS):
        moved = moving @ rotation.T
        inverse = np.linalg.inv(errors.combined(rotation))
        jacobian = jacobians(moved)
        weighted = np.swapaxes(jacobian, 1, 2) @ inverse
        normal = (weighted @ jacobian).sum(axis=0)
        step = np.linalg.solve(normal, np.einsum("nij,nj->i", weighted, fixed - moved - shift))
        rotation, shift = rotation_by(step[:3]) @ rotation, shift + step[3:]
        if np.abs(step[:3]).max() + np.abs(step[3:]).max() / spread < CONVERGED:
            break
    return _fit(rotation, shift, fixed, moving)


def jacobians(turned_mm: Array) -> Array:
    """(n, 3, 6): how points (n, 3), relative to the pivot, move with a small rotation (rad) and shift (mm)."""
    x, y, z = np.moveaxis(turned_mm, -1, 0)
    zero = np.zeros_like(x)
    # minus the cross-product matrix: d(w x p)/dw
    turn = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.concatenate([turn, np.broadcast_to(np.eye(3), turn.shape)], axis=-1)


def rotation_by(vector: ArrayLike) -> Array:
    """(3, 3) rotation by |vector| rad about its direction (Rodrigues)."""
    x, y, z = np.asarray(vector, dtype=np.float64)
    angle = float(np.sqrt(x * x + y * y + z * z))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    half = np.sinc(angle / (2.0 * np.pi)) ** 2 / 2.0
    turned: Array = np.eye(3) + np.sinc(angle / np.pi) * cross + half * cross @ cross
    return turned


def spread_ratios(points_mm: Array) -> tuple[float, float]:
    """Second and third over first singular value of the centred points (n, 3); 0 for coincident points."""
    values = np.linalg.svd(points_mm - points_mm.mean(axis=0), compute_uv=False)
    values = np.concatenate([values, np.zeros(3)])[:3]
    if values[0] == 0.0:
        return 0.0, 0.0
    return float(values[1] / values[0]), float(values[2] / values[0])
