"""Arithmetic on stacks of poses, vectorised: rigidity, unit quaternions, interpolation.

Rotations are interpolated on the great circle of unit quaternions (slerp: Shoemake 1985,
doi:10.1145/325165.325242), translations linearly. Lengths are mm, angles rad.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.transform import (
    DETERMINANT_TOLERANCE,
    LARGEST_TRANSLATION_MM,
    ORTHOGONALITY_TOLERANCE,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Below this angle sin(a x)/sin(a) equals x to 1e-9, and the quotient would lose digits.
SMALL_ANGLE_RAD = 1e-4


def rigid_mask(matrices: Floats) -> Bools:
    """(n,) bool: which of (n, 4, 4) are usable poses, by the same bounds as `rigidity_fault`."""
    finite: Bools = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    m = np.where(finite[:, None, None], matrices, np.eye(4))
    rotation = m[:, :3, :3]
    skew = np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max(axis=(1, 2), initial=0.0)
    last_row = np.abs(m[:, 3] - (0.0, 0.0, 0.0, 1.0)).max(axis=1, initial=0.0)
    far = np.abs(m[:, :3, 3]).max(axis=1, initial=0.0)
    mask: Bools = (
        finite
        & (last_row <= ORTHOGONALITY_TOLERANCE)
        & (far <= LARGEST_TRANSLATION_MM)
        & (skew <= ORTHOGONALITY_TOLERANCE)
        & (np.abs(np.linalg.det(rotation) - 1.0) <= DETERMINANT_TOLERANCE)
    )
    return mask


def quaternions_of(rotations: Floats) -> Floats:
    """Unit quaternions (n, 4) as (w, x, y, z) of rotations (n, 3, 3).

    The largest component comes from the diagonal, the others from it, so that no root is taken of a small
    difference (Shepperd 1978, doi:10.2514/3.55767b).
    """
    r = rotations
    trace = np.trace(r, axis1=1, axis2=2)
    squares = np.concatenate([trace[:, None], np.diagonal(r, axis1=1, axis2=2)], axis=1)
    rows = np.arange(len(r))
    # products[n, a, b] = 4 q_a q_b
    products = np.empty((len(r), 4, 4))
    products[:, 0, 0] = 1.0 + trace
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        products[:, a + 1, a + 1] = 1.0 + 2.0 * r[:, a, a] - trace
        products[:, 0, a + 1] = products[:, a + 1, 0] = r[:, c, b] - r[:, b, c]
        products[:, a + 1, b + 1] = products[:, b + 1, a + 1] = r[:, a, b] + r[:, b, a]
    q: Floats = products[rows, np.argmax(squares, axis=1)]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return q


def rotations_of(quaternions: Floats) -> Floats:
    """Rotations (n, 3, 3) of unit quaternions (n, 4) as (w, x, y, z)."""
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def slerp(q0: Floats, q1: Floats, fraction: Floats) -> Floats:
    """Unit quaternions (n, 4) at `fraction` (n,) of the shorter arc from q0 to q1 (n, 4)."""
    dot = np.sum(q0 * q1, axis=1)
    q1 = np.where(dot[:, None] < 0.0, -q1, q1)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    small = angle < SMALL_ANGLE_RAD
    sine = np.where(small, 1.0, np.sin(angle))
    w0 = np.where(small, 1.0 - fraction, np.sin((1.0 - fraction) * angle) / sine)
    w1 = np.where(small, fraction, np.sin(fraction * angle) / sine)
    q: Floats = w0[:, None] * q0 + w1[:, None] * q1
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return q


def interpolate(first: Floats, second: Floats, fraction: Floats) -> Floats:
    """Poses (n, 4, 4) at `fraction` (n,) between `first` and `second` (n, 4, 4), all rigid."""
    q = slerp(quaternions_of(first[:, :3, :3]), quaternions_of(second[:, :3, :3]), fraction)
    poses = np.zeros_like(first)
    poses[:, :3, :3] = rotations_of(q)
    u = fraction[:, None]
    poses[:, :3, 3] = (1.0 - u) * first[:, :3, 3] + u * second[:, :3, 3]
    poses[:, 3, 3] = 1.0
    return poses


def rotation_angles(first: Floats, second: Floats) -> Floats:
    """Angle in rad between rotations (..., 3, 3), accurate for small angles.

    |R1 - R2| (Frobenius) = 2 sqrt(2) sin(angle / 2).
    """
    chord = np.linalg.norm(first - second, axis=(-2, -1))
    angles: Floats = 2.0 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0))
    return angles
