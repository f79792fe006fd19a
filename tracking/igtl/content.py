"""Bodies of the small OpenIGTLink types: what the bytes between header and metadata say.

Every class packs to the bytes it was unpacked from; numbers are big-endian on the wire. Matrices are (4, 4)
float64 in mm here and 12 float32, column by column, there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import WireError
from tracking.igtl.header import field_text, padded_name, text_of

ASCII = 3  # IANA MIBenum of US-ASCII
UTF8 = 106  # IANA MIBenum of UTF-8
_MATRIX_BYTES = 48
_POINT = struct.Struct(">64s32s4B3ff20s")
_TDATA = struct.Struct(">20sBB48s")


def pack_matrix(matrix: NDArray[np.float64]) -> bytes:
    """The upper 3x4 of (4, 4) as 12 float32, column by column; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return matrix[:3].T.astype(">f4").tobytes()


def unpack_matrix(raw: bytes) -> NDArray[np.float64]:
    """48 bytes as a read-only (4, 4) with last row 0 0 0 1; the values are not judged here."""
    matrix = np.eye(4)
    with np.errstate(invalid="ignore"):  # a signalling NaN would warn
        matrix[:3] = np.frombuffer(raw, dtype=">f4").reshape(4, 3).T
    matrix.setflags(write=False)
    return matrix


def frozen_matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    """A read-only (4, 4) copy; WireError for another shape."""
    copy = np.array(matrix, dtype=np.float64)
    if copy.shape != (4, 4):
        raise WireError(f"matrix of shape {copy.shape}, not (4, 4)")
    copy.setflags(write=False)
    return copy


def _expect(raw: bytes, size: int, what: str) -> None:
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
        _expect(raw, _MATRIX_BYTES, "TRANSFORM")
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
        return struct.pack(">Hq20s", self.code, self.subcode, name) + self.message.encode("utf-8") + b"\0"

    @staticmethod
    def unpack(raw: bytes) -> StatusContent:
        """The message may lack its NUL."""
        if len(raw) < 30:
            raise WireError(f"STATUS body of {len(raw)} bytes, less than 30")
        code, subcode, name = struct.unpack_from(">Hq20s", raw)
        return StatusContent(code, subcode, field_text(name), field_text(raw[30:]))


@dataclass(frozen=True, slots=True)
class StringContent:
    """STRING: text with its IANA character set number; text that is not ASCII goes out as UTF-8."""

    TYPE: ClassVar[str] = "STRING"
    text: str

    def pack(self) -> bytes:
        """4 bytes and the text, at most 65535 bytes of it."""
        data = self.text.encode("utf-8")
        if len(data) > 0xFFFF:
            raise WireError(f"STRING of {len(data)} bytes, more than 65535")
        return struct.pack(">HH", ASCII if self.text.isascii() else UTF8, len(data)) + data

    @staticmethod
    def unpack(raw: bytes) -> StringContent:
        """The length must be the body's; whatever the encoding says, the text is read as UTF-8."""
        if len(raw) < 4:
            raise WireError(f"STRING body of {len(raw)} bytes, less than 4")
        _, length = struct.unpack_from(">HH", raw)
        _expect(raw, 4 + length, "STRING")
        return StringContent(text_of(raw[4:]))


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
        _expect(raw, 10 + 8 * count, "SENSOR")
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
