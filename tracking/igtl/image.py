"""IMAGE bodies: voxels in k-j-i order and a geometry whose position is the *centre* of the image.

With origin o (centre of voxel 0), direction D (columns are the i, j, k axes), spacing S and size n the wire
carries the columns of D S and the centre o + D S (n - 1) / 2
(http://openigtlink.org/protocols/v2_image.html).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import WireError
from tracking.igtl.content import frozen_matrix, pack_matrix, unpack_matrix

_HEAD = struct.Struct(">H4B3H48s3H3H")
_BIG, _LITTLE = 1, 2
RAS, LPS = 1, 2
_SCALARS = {2: "i1", 3: "u1", 4: "i2", 5: "u2", 6: "i4", 7: "u4", 10: "f4", 11: "f8"}
_CODES = {code: number for number, code in _SCALARS.items()}


def _byte_order(array: NDArray[Any]) -> int:
    return _BIG if array.dtype.newbyteorder("S").str.startswith("<") else _LITTLE


@dataclass(frozen=True, slots=True, eq=False)
class ImageContent:
    """IMAGE: `array` (nz, ny, nx) or (nz, ny, nx, components) and `matrix` (4, 4) as on the wire.

    The columns of `matrix` are direction x spacing in mm, its last column the *centre* of the whole image
    of `size` (ni, nj, nk) voxels, of which `array` is the part that starts at `offset` (i, j, k).
    `frame_flag` is the RAS/LPS flag, which receivers ignore; nothing is flipped by it. `byte_order` matters
    to voxels of one byte alone, and only so that they go out as they came.
    """

    TYPE: ClassVar[str] = "IMAGE"
    array: NDArray[Any]
    matrix: NDArray[np.float64]
    size: tuple[int, int, int]
    offset: tuple[int, int, int] = (0, 0, 0)
    frame_flag: int = RAS
    image_version: int = 1
    byte_order: int = _LITTLE

    def __post_init__(self) -> None:
        array = self.array.view()
        if array.ndim == 4 and array.shape[3] == 1:
            array = array[..., 0]
        if array.ndim not in (3, 4) or 0 in array.shape:
            raise WireError(
                f"image of shape {array.shape} is neither (nz, ny, nx) nor (nz, ny, nx, components)"
            )
        if array.dtype.str[1:] not in _CODES:
            raise WireError(f"image of {array.dtype} has no OpenIGTLink scalar type")
        part = array.shape[2::-1]
        ends = [o + p for o, p in zip(self.offset, part, strict=True)]
        if any(end > n for end, n in zip(ends, self.size, strict=True)) or max(self.size) > 0xFFFF:
            raise WireError(f"image part {part} at {self.offset} does not fit the size {self.size}")
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "matrix", frozen_matrix(self.matrix))

    @staticmethod
    def of(
        array: NDArray[Any], origin_mm: ArrayLike, spacing_mm: ArrayLike, direction: ArrayLike
    ) -> ImageContent:
        """A whole volume (nz, ny, nx): origin (3,) is the centre of voxel 0, spacing (3,) along i, j, k."""
        size = (array.shape[2], array.shape[1], array.shape[0])
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing_mm, dtype=np.float64)
        matrix[:3, 3] = np.asarray(origin_mm) + matrix[:3, :3] @ ((np.array(size) - 1) / 2)
        return ImageContent(array, matrix, size)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) along i, j, k."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return spacing

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3): columns are the unit vectors of i, j, k."""
        return self.matrix[:3, :3] / self.spacing_mm

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """(3,): centre of voxel (0, 0, 0) of the whole image."""
        middle = (np.array(self.size) - 1) / 2
        origin: NDArray[np.float64] = self.matrix[:3, 3] - self.matrix[:3, :3] @ middle
        return origin

    def pack(self) -> bytes:
        """72 bytes and the voxels."""
        array = self.array
        components = array.shape[3] if array.ndim == 4 else 1
        head = _HEAD.pack(
            self.image_version,
            components,
            _CODES[array.dtype.str[1:]],
            self.byte_order if array.itemsize == 1 else _byte_order(array),
            self.frame_flag,
            *self.size,
            pack_matrix(self.matrix),
            *self.offset,
            *array.shape[2::-1],
        )
        voxels = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return b"".join((head, voxels.data))

    @staticmethod
    def unpack(raw: bytes) -> ImageContent:
        """The voxel count of the header must be the body's; the array is a view of `raw`."""
        if len(raw) < _HEAD.size:
            raise WireError(f"IMAGE body of {len(raw)} bytes, less than {_HEAD.size}")
        fields = _HEAD.unpack_from(raw)
        version, components, scalar, endian, frame = fields[:5]
        size, offset, part = fields[5:8], fields[9:12], fields[12:15]
        if scalar not in _SCALARS or endian not in (_BIG, _LITTLE) or components == 0:
            raise WireError(f"IMAGE with scalar type {scalar}, byte order {endian}, {components} components")
        dtype = np.dtype((">" if endian == _BIG else "<") + _SCALARS[scalar])
        expected = _HEAD.size + part[0] * part[1] * part[2] * components * dtype.itemsize
        if len(raw) != expected:
            raise WireError(f"IMAGE body of {len(raw)} bytes, its header says {expected}")
        shape = part[::-1] if components == 1 else (*part[::-1], components)
        array = np.frombuffer(raw, dtype=dtype, offset=_HEAD.size).reshape(shape)
        return ImageContent(array, unpack_matrix(fields[8]), size, offset, frame, version, endian)
