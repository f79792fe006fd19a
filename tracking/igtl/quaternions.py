"""Bodies that carry a position in mm and a quaternion (x, y, z, w): POSITION, QTRANS and QTDATA.

A quaternion that is not of unit length is never normalised in silence: its pose is scaled by the square of the
length, so that every check for rigidity refuses it
(http://openigtlink.org/protocols/v2_position.html, .../v2_quaternion_tracking.html).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tracking.errors import WireError
from tracking.igtl.text import field_text, padded_name

# | |q| - 1 |. Four decimals, as trackers write them, reach 1e-4; beyond 3e-4 the scaled rotation departs from
# an orthonormal one by more than tracking.transform.ORTHOGONALITY_TOLERANCE.
UNIT_TOLERANCE = 3e-4
_QTDATA = struct.Struct(">20sBB3f4f")
_FORMS = {size: struct.Struct(f">{size // 4}f") for size in (12, 24, 28)}

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def pose_of(position_mm: Vector, quaternion: Quaternion) -> NDArray[np.float64]:
    """Read-only (4, 4) of a position and a quaternion (x, y, z, w); no rigid one unless of unit length."""
    x, y, z, w = quaternion
    length = math.hypot(x, y, z, w)
    if abs(length - 1.0) <= UNIT_TOLERANCE:
        x, y, z, w = x / length, y / length, z / length, w / length
    # the homogeneous form: |q|^2 times a rotation
    with np.errstate(over="ignore", invalid="ignore"):
        xx, yy, zz, ww = np.square((x, y, z, w))
        xy, xz, yz, wx, wy, wz = 2.0 * np.multiply((x, x, y, w, w, w), (y, z, z, x, y, z))
        rows = [
            (ww + xx - yy - zz, xy - wz, xz + wy, position_mm[0]),
            (xy + wz, ww - xx + yy - zz, yz - wx, position_mm[1]),
            (xz - wy, yz + wx, ww - xx - yy + zz, position_mm[2]),
            (0.0, 0.0, 0.0, 1.0),
        ]
    matrix = np.array(rows)
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, slots=True)
class PositionContent:
    """POSITION: a point in mm, with an orientation of 0, 3 (x, y, z; w >= 0 is understood) or 4 numbers."""

    TYPE: ClassVar[str] = "POSITION"
    position_mm: Vector
    quaternion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.quaternion) not in (0, 3, 4):
            raise WireError(f"POSITION with an orientation of {len(self.quaternion)} numbers")

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """(4, 4) in mm, not checked for rigidity; None where the message holds no orientation."""
        if not self.quaternion:
            return None
        x, y, z, *last = self.quaternion
        w = last[0] if last else math.sqrt(max(0.0, 1.0 - (x * x + y * y + z * z)))
        return pose_of(self.position_mm, (x, y, z, w))

    def pack(self) -> bytes:
        """12, 24 or 28 bytes."""
        values = (*self.position_mm, *self.quaternion)
        return _FORMS[4 * len(values)].pack(*values)

    @staticmethod
    def unpack(raw: bytes) -> PositionContent:
        """From 12, 24 or 28 bytes."""
        form = _FORMS.get(len(raw))
        if form is None:
            raise WireError(f"POSITION body of {len(raw)} bytes, not 12, 24 or 28")
        values = form.unpack(raw)
        return PositionContent(values[:3], values[3:])


@dataclass(frozen=True, slots=True)
class QuaternionTool:
    """One element of QTDATA: name, position in mm, (x, y, z, w) and kind (see `TrackedTool`), as sent."""

    name: str
    position_mm: Vector
    quaternion: Quaternion
    kind: int = 2
    reserved: int = 0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) in mm, not checked for rigidity."""
        return pose_of(self.position_mm, self.quaternion)


@dataclass(frozen=True, slots=True)
class QTDataContent:
    """QTDATA: the poses of several tools at one time."""

    TYPE: ClassVar[str] = "QTDATA"
    tools: tuple[QuaternionTool, ...]

    def pack(self) -> bytes:
        """50 bytes for each tool."""
        return b"".join(
            _QTDATA.pack(
                padded_name(t.name, 20, "tool name"), t.kind, t.reserved, *t.position_mm, *t.quaternion
            )
            for t in self.tools
        )

    @staticmethod
    def unpack(raw: bytes) -> QTDataContent:
        """The body must be a whole number of tools."""
        if len(raw) % _QTDATA.size:
            raise WireError(f"QTDATA body of {len(raw)} bytes, no multiple of {_QTDATA.size}")
        return QTDataContent(
            tuple(
                QuaternionTool(field_text(name), (x, y, z), (qx, qy, qz, w), kind, reserved)
                for name, kind, reserved, x, y, z, qx, qy, qz, w in _QTDATA.iter_unpack(raw)
            )
        )
