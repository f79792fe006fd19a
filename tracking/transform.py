"""Rigid transforms that know which frames they connect.

Lengths are millimetres; axes are right-handed; `T_target_source` maps points
written in `source` to points written in `target` (wire name: SourceToTarget).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import FrameMismatchError, PoseError

# max |R^T R - I|. A float32 wire matrix reaches 1e-7, a text file with 6 digits 1e-5; 1e-3 still
# stops a matrix that is scaled or sheared by more than a tracker's own rounding.
ORTHOGONALITY_TOLERANCE = 1e-3
# |det - 1|: the bound of the hazard table for a pose that may be used.
DETERMINANT_TOLERANCE = 0.01
# A translation beyond 10 m is no operating room.
LARGEST_TRANSLATION_MM = 1e4


def rigidity_fault(matrix: NDArray[np.float64]) -> str | None:
    """Why a (4, 4) matrix is not a usable pose, or None if it is one."""
    if matrix.shape != (4, 4):
        return f"shape {matrix.shape}, not (4, 4)"
    # Plain floats: several times faster than numpy on 16 numbers, and every pose that arrives passes here.
    rows = matrix.tolist()
    if not all(map(math.isfinite, chain.from_iterable(rows))):
        return "not finite"
    (ax, bx, cx, x), (ay, by, cy, y), (az, bz, cz, z), (l0, l1, l2, l3) = rows
    if max(abs(l0), abs(l1), abs(l2), abs(l3 - 1.0)) > ORTHOGONALITY_TOLERANCE:
        return "last row is not 0 0 0 1"
    if max(abs(x), abs(y), abs(z)) > LARGEST_TRANSLATION_MM:
        return "translation beyond 10 m"
    lengths = (ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz)
    angles = (ax * bx + ay * by + az * bz, bx * cx + by * cy + bz * cz, cx * ax + cy * ay + cz * az)
    if max(abs(v - 1.0) for v in lengths) > ORTHOGONALITY_TOLERANCE or max(map(abs, angles)) > (
        ORTHOGONALITY_TOLERANCE
    ):
        return "rotation part is not orthonormal"
    det = ax * (by * cz - cy * bz) + bx * (cy * az - ay * cz) + cx * (ay * bz - by * az)
    if abs(det - 1.0) > DETERMINANT_TOLERANCE:
        return "rotation part is mirrored"
    return None


def frames_of(wire_name: str) -> tuple[str, str]:
    """(source, target) of a wire name such as ProbeToTracker.

    Raises ValueError unless exactly one "To" is followed by a capital or a digit.
    """
    cuts = [
        i
        for i in range(1, len(wire_name) - 2)
        if wire_name.startswith("To", i) and (wire_name[i + 2].isupper() or wire_name[i + 2].isdigit())
    ]
    if len(cuts) != 1:
        raise ValueError(f"transform name {wire_name!r} is not of the form FromToTo")
    return wire_name[: cuts[0]], wire_name[cuts[0] + 2 :]


@dataclass(frozen=True, slots=True, eq=False)
class RigidTransform:
    """`T_target_source`, a proper rotation and a translation in mm.

    Raises PoseError when the matrix is not rigid.
    """

    target: str
    source: str
    matrix: NDArray[np.float64]  # (4, 4), read-only

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        fault = rigidity_fault(matrix)
        if fault is not None:
            raise PoseError(f"{self.source}To{self.target}: {fault}")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @property
    def wire_name(self) -> str:
        """SourceToTarget, as PLUS and SlicerIGT write it."""
        return f"{self.source}To{self.target}"

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        if self.source != other.target:
            raise FrameMismatchError(f"cannot chain {other.wire_name} into {self.wire_name}")
        return RigidTransform(self.target, other.source, self.matrix @ other.matrix)

    def inverse(self) -> RigidTransform:
        """`T_source_target`."""
        return RigidTransform(self.source, self.target, invert_rigid(self.matrix))

    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Points (n, 3) or (3,) in `source`, returned in `target`."""
        points = np.asarray(points_mm, dtype=np.float64)
        result: NDArray[np.float64] = points @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return result


def invert_rigid(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of rigid matrices (..., 4, 4): transpose of the rotation, no general solve."""
    inverse = np.zeros_like(matrices)
    rotation_t = np.swapaxes(matrices[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation_t, matrices[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse
