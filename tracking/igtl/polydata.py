"""POLYDATA bodies: surfaces and lines; every count is held against the body before anything is made of it.

The arrays of a received body are views of its bytes, big-endian as on the wire
(http://openigtlink.org/protocols/v2_polydata.html).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracking.errors import WireError
from tracking.igtl.text import text_of, wire_bytes

_HEAD = struct.Struct(">10I")
_ATTRIBUTE = struct.Struct(">BBI")
_LONGEST_NAME = 255
_POINT_BYTES = 12


def _frozen(array: NDArray[Any], dtype: str, axes: int) -> NDArray[Any]:
    """A read-only view, or a copy of the type asked for."""
    made = np.ascontiguousarray(array, dtype=dtype).view()
    if made.ndim != axes:
        raise WireError(f"POLYDATA with an array of shape {made.shape}")
    made.setflags(write=False)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """`count` cells: `numbers` (n,) holds for each how many points it has, then the points' indices.

    Raises WireError unless the cells fill `numbers`.
    """

    count: int = 0
    numbers: NDArray[Any] = field(default_factory=lambda: np.zeros(0, ">u4"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", _frozen(self.numbers, ">u4", 1))
        self.points_used()

    @staticmethod
    def of(corners: NDArray[Any]) -> Cells:
        """Cells (n, k) of k points each, such as triangles (n, 3)."""
        return Cells(len(corners), np.insert(corners, 0, corners.shape[1], axis=1).ravel())

    def points_used(self) -> NDArray[Any]:
        """(m,) indices of the points, without the counts."""
        numbers = self.numbers
        width = int(numbers[0]) + 1 if len(numbers) else 1
        if len(numbers) == self.count * width:
            rows = numbers.reshape(self.count, width)
            if (rows[:, 0] == width - 1).all():
                return rows[:, 1:].ravel()
        return numbers[self._of_points()]

    def _of_points(self) -> NDArray[np.bool_]:
        """(n,) mask of what is no count, for cells of different sizes."""
        numbers = self.numbers.astype(np.uint32).data
        mask = np.ones(len(numbers), dtype=bool)
        at = found = 0
        while at < len(numbers):
            mask[at] = False
            at += 1 + numbers[at]
            found += 1
        if at != len(numbers) or found != self.count:
            raise WireError(f"POLYDATA with {self.count} cells that do not fill {len(numbers)} numbers")
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """Values (n, components) float32 of points or (`kind` from 0x10 on) cells: scalars, vectors, normals..."""

    name: str
    kind: int
    values: NDArray[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _frozen(self.values, ">f4", 2))


@dataclass(frozen=True, slots=True, eq=False)
class PolyDataContent:
    """POLYDATA: points (n, 3) in mm, what connects them, and values on them."""

    TYPE: ClassVar[str] = "POLYDATA"
    points_mm: NDArray[Any]
    vertices: Cells = field(default_factory=Cells)
    lines: Cells = field(default_factory=Cells)
    polygons: Cells = field(default_factory=Cells)
    strips: Cells = field(default_factory=Cells)
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        points = _frozen(self.points_mm, ">f4", 2)
        if points.shape[1] != 3:
            raise WireError(f"POLYDATA with points of shape {points.shape}, not (n, 3)")
        if any(int(c.points_used().max(initial=0)) >= len(points) for c in self._cells() if len(c.numbers)):
            raise WireError(f"POLYDATA with a cell beyond its {len(points)} points")
        object.__setattr__(self, "points_mm", points)

    def _cells(self) -> tuple[Cells, Cells, Cells, Cells]:
        return self.vertices, self.lines, self.polygons, self.strips

    def pack(self) -> bytes:
        """40 bytes, the points, the cells and the attributes."""
        counts = [n for cells in self._cells() for n in (cells.count, cells.numbers.nbytes)]
        parts = [_HEAD.pack(len(self.points_mm), *counts, len(self.attributes)), self.points_mm.tobytes()]
        parts += [cells.numbers.tobytes() for cells in self._cells()]
        names = [wire_bytes(a.name) + b"\0" for a in self.attributes]
        if any(b"\0" in name[:-1] or len(name) > _LONGEST_NAME + 1 for name in names):
            raise WireError("POLYDATA attribute with a name of more than 255 bytes, or with a NUL")
        for a in self.attributes:
            parts.append(_ATTRIBUTE.pack(a.kind, a.values.shape[1], a.values.shape[0]))
        padding = b"\0" * (sum(map(len, names)) % 2)
        return b"".join((*parts, *names, padding, *(a.values.tobytes() for a in self.attributes)))

    @staticmethod
    def unpack(raw: bytes) -> PolyDataContent:
        """All counts together must be the body's."""
        reader = _Reader(raw)
        points, *counts, n_attributes = _HEAD.unpack(reader.take(_HEAD.size))
        points_mm = np.frombuffer(reader.take(_POINT_BYTES * points), ">f4").reshape(points, 3)
        vertices, lines, polygons, strips = map(reader.cells, counts[0::2], counts[1::2])
        attributes = reader.attributes(n_attributes)
        reader.end()
        return PolyDataContent(points_mm, vertices, lines, polygons, strips, attributes)


class _Reader:
    """Takes a body apart from front to back; WireError for more than there is."""

    def __init__(self, raw: bytes) -> None:
        self._raw = memoryview(raw)
        self._at = 0

    def take(self, size: int) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._raw):
            raise WireError(f"POLYDATA body of {len(self._raw)} bytes is too short for its counts")
        return self._raw[start : self._at]

    def cells(self, count: int, size: int) -> Cells:
        if size % 4:
            raise WireError(f"POLYDATA with {size} bytes of cells")
        return Cells(count, np.frombuffer(self.take(size), ">u4"))

    def attributes(self, count: int) -> tuple[Attribute, ...]:
        heads = list(_ATTRIBUTE.iter_unpack(self.take(count * _ATTRIBUTE.size)))
        start = self._at
        names = [self._name() for _ in heads]
        if (self._at - start) % 2 and self.take(1)[0]:
            raise WireError("POLYDATA with something in its padding")
        return tuple(
            Attribute(name, kind, self._values(n, components))
            for name, (kind, components, n) in zip(names, heads, strict=True)
        )

    def _name(self) -> str:
        window = bytes(self._raw[self._at : self._at + _LONGEST_NAME + 1])
        end = window.find(b"\0")
        if end < 0:
            raise WireError("POLYDATA attribute whose name does not end")
        return text_of(bytes(self.take(end + 1))[:-1])

    def _values(self, n: int, components: int) -> NDArray[Any]:
        return np.frombuffer(self.take(4 * n * components), ">f4").reshape(n, components)

    def end(self) -> None:
        if self._at != len(self._raw):
            raise WireError(f"POLYDATA with {len(self._raw) - self._at} bytes that belong to nothing")
