"""Bodies of the small OpenIGTLink types: what the bytes between header and metadata say.

Every class packs to the bytes it was unpacked from (but that a signalling NaN comes back quiet); numbers are
big-endian on the wire. Matrices are (4, 4) float64 in mm here and 12 float32, column by column, there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import WireError
from tracking.igtl.text import (
    NATURAL,
    WireText,
    decode_text,
    encode_text,
    field_text,
    natural_encoding,
    padded_name,
    text_of,
)

_FLOAT64 = np.dtype(np.float64)
_MATRIX = struct.Struct(">12f")
_POINT = struct.Struct(">64s32s4B3ff20s")
_TDATA = struct.Struct(">20sBB48s")
_STATUS = struct.Struct(">Hq20s")


def pack_matrix(matrix: NDArray[np.float64]) -> bytes:
    """The upper 3x4 of (4, 4) as 12 float32, column by column; what float32 cannot hold becomes infinite."""
    columns = matrix[:3].T
    try:
        return _MATRIX.pack(*columns.ravel().tolist())
    except OverflowError:
        with np.errstate(over="ignore"):
            return columns.astype(">f4").tobytes()


def unpack_matrix(raw: bytes) -> NDArray[np.float64]:
    """48 bytes as a read-only (4, 4) with last row 0 0 0 1; the values are not judged here."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz, px, py, pz = _MATRIX.unpack(raw)
    values = np.array([xx, yx, zx, px, xy, yy, zy, py, xz, yz, zz, pz, 0.0, 0.0, 0.0, 1.0])
    values.setflags(write=False)
    return values.reshape(4, 4)


def _is_frozen(array: ArrayLike) -> TypeGuard[NDArray[np.float64]]:
    """Whether nobody can change the array any more, so that it needs no copy."""
    if not isinstance(array, np.ndarray) or array.dtype is not _FLOAT64 or array.flags.writeable:
        return False
    return isinstance(array.base, np.ndarray) and not array.base.flags.writeable


def frozen_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """A read-only (4, 4), copied where it could still change; WireError for another shape."""
    frozen = matrix if _is_frozen(matrix) else np.array(matrix, dtype=np.float64)
    if frozen.shape != (4, 4):
        raise WireError(f"matrix of shape {frozen.shape}, not (4, 4)")
    frozen.setflags(write=False)
    return frozen


def expect_size(raw: bytes, size: int, what: str) -> None:
    """WireError unless the body has that many bytes."""
    if len(raw) != size:
        raise WireError(f"{what} body of {len(raw)} bytes, not {size}")


@dataclass(frozen=True, slots=True, eq=False)
class TransformContent:
    """TRANSFORM: (4, 4) in mm, as sent: it may hold NaN or be no rigid transform at all."""

    TYPE: ClassVar[str] = "TRANSFORM"
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", frozen_matrix(self.matrix))

    def pack(self) -> bytes:
        """48 bytes."""
        return pack_matrix(self.matrix)

    @staticmethod
    def unpack(raw: bytes) -> TransformContent:
        """From 48 bytes."""
        expect_size(raw, _MATRIX.size, "TRANSFORM")
        return TransformContent(unpack_matrix(raw))


@dataclass(frozen=True, slots=True)
class StatusContent:
    """STATUS: code 1 is OK, the others are the standard's table of faults."""

    TYPE: ClassVar[str] = "STATUS"
    OK: ClassVar[int] = 1
    code: int
    subcode: int = 0
    error_name: str = ""
    message: str = ""

    def pack(self) -> bytes:
        """30 bytes and the message with its NUL."""
        name = padded_name(self.error_name, 20, "error name")
        text = self.message
        end = text.raw if isinstance(text, WireText) else text.encode("utf-8") + b"\0"
        return _STATUS.pack(self.code, self.subcode, name) + end

    @staticmethod
    def unpack(raw: bytes) -> StatusContent:
        """The message may lack its NUL, or have something behind it."""
        if len(raw) < _STATUS.size:
            raise WireError(f"STATUS body of {len(raw)} bytes, less than {_STATUS.size}")
        code, subcode, name = _STATUS.unpack_from(raw)
        text = raw[_STATUS.size :]
        message = str(text_of(text.partition(b"\0")[0]))
        plain = message.encode("utf-8") + b"\0" == text
        return StatusContent(code, subcode, field_text(name), message if plain else WireText(message, text))


@dataclass(frozen=True, slots=True)
class StringContent:
    """STRING: text with the IANA number of its character set: ASCII, or UTF-8 where needed, by default."""

    TYPE: ClassVar[str] = "STRING"
    text: str
    encoding: int = NATURAL

    def __post_init__(self) -> None:
        if self.encoding == NATURAL:
            object.__setattr__(self, "encoding", natural_encoding(self.text))

    @property
    def data(self) -> bytes:
        """The text's bytes as they stand on the wire."""
        return encode_text(self.text, self.encoding)

    def pack(self) -> bytes:
        """4 bytes and the text, at most 65535 bytes of it."""
        data = self.data
        if len(data) > 0xFFFF:
            raise WireError(f"STRING of {len(data)} bytes, more than 65535")
        return struct.pack(">HH", self.encoding, len(data)) + data

    @staticmethod
    def unpack(raw: bytes) -> StringContent:
        """The length must be the body's; text in a set that is not known keeps its bytes."""
        if len(raw) < 4:
            raise WireError(f"STRING body of {len(raw)} bytes, less than 4")
        encoding, length = struct.unpack_from(">HH", raw)
        expect_size(raw, 4 + length, "STRING")
        return StringContent(decode_text(raw[4:], encoding), encoding)


@dataclass(frozen=True, slots=True)
class SensorContent:
    """SENSOR: up to 255 float64 in the unit of `unit` (the standard's 64-bit code; 0 = none)."""

    TYPE: ClassVar[str] = "SENSOR"
    values: tuple[float, ...]
    unit: int = 0
    status: int = 0

    def pack(self) -> bytes:
        """10 bytes and 8 for each value."""
        if len(self.values) > 255:
            raise WireError(f"SENSOR with {len(self.values)} values, more than 255")
        head = struct.pack(">BBQ", len(self.values), self.status, self.unit)
        return head + struct.pack(f">{len(self.values)}d", *self.values)

    @staticmethod
    def unpack(raw: bytes) -> SensorContent:
        """The number of values must be the body's."""
        if len(raw) < 10:
            raise WireError(f"SENSOR body of {len(raw)} bytes, less than 10")
        count, status, unit = struct.unpack_from(">BBQ", raw)
        expect_size(raw, 10 + 8 * count, "SENSOR")
        return SensorContent(struct.unpack_from(f">{count}d", raw, 10), unit, status)


@dataclass(frozen=True, slots=True)
class Point:
    """One element of POINT: position in mm, colour (r, g, b, a) 0-255, radius or diameter in mm."""

    name: str
    position_mm: tuple[float, float, float]
    group: str = ""
    rgba: tuple[int, int, int, int] = (255, 255, 0, 255)
    diameter_mm: float = 0.0
    owner: str = ""

    def pack(self) -> bytes:
        """136 bytes."""
        return _POINT.pack(
            padded_name(self.name, 64, "point name"),
            padded_name(self.group, 32, "point group"),
            *self.rgba,
            *self.position_mm,
            self.diameter_mm,
            padded_name(self.owner, 20, "point owner"),
        )


@dataclass(frozen=True, slots=True)
class PointContent:
    """POINT: a list of fiducials."""

    TYPE: ClassVar[str] = "POINT"
    points: tuple[Point, ...]

    def pack(self) -> bytes:
        """136 bytes for each point."""
        return b"".join(point.pack() for point in self.points)

    @staticmethod
    def unpack(raw: bytes) -> PointContent:
        """The body must be a whole number of points."""
        if len(raw) % _POINT.size:
            raise WireError(f"POINT body of {len(raw)} bytes, no multiple of {_POINT.size}")
        points = []
        for name, group, r, g, b, a, x, y, z, diameter, owner in _POINT.iter_unpack(raw):
            points.append(
                Point(
                    field_text(name), (x, y, z), field_text(group), (r, g, b, a), diameter, field_text(owner)
                )
            )
        return PointContent(tuple(points))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedTool:
    """One element of TDATA: name, kind (1 tracker, 2 6D, 3 3D, 4 5D) and (4, 4) pose in mm, as sent."""

    name: str
    matrix: NDArray[np.float64]
    kind: int = 2
    reserved: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", frozen_matrix(self.matrix))


@dataclass(frozen=True, slots=True)
class TDataContent:
    """TDATA: the poses of several tools at one time."""

    TYPE: ClassVar[str] = "TDATA"
    tools: tuple[TrackedTool, ...]

    def pack(self) -> bytes:
        """70 bytes for each tool."""
        return b"".join(
            _TDATA.pack(padded_name(t.name, 20, "tool name"), t.kind, t.reserved, pack_matrix(t.matrix))
            for t in self.tools
        )

    @staticmethod
    def unpack(raw: bytes) -> TDataContent:
        """The body must be a whole number of tools."""
        if len(raw) % _TDATA.size:
            raise WireError(f"TDATA body of {len(raw)} bytes, no multiple of {_TDATA.size}")
        return TDataContent(
            tuple(
                TrackedTool(field_text(name), unpack_matrix(matrix), kind, reserved)
                for name, kind, reserved, matrix in _TDATA.iter_unpack(raw)
            )
        )


@dataclass(frozen=True, slots=True)
class OpaqueContent:
    """Any other type: the bytes as they came."""

    data: bytes = b""

    def pack(self) -> bytes:
        """The same bytes."""
        return self.data
