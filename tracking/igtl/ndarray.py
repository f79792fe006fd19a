"""NDARRAY bodies: the product of the sizes is held against the body before anything is made of it.

The array of a received body is a view of its bytes, big-endian as on the wire
(http://openigtlink.org/protocols/v2_ndarray.html).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tracking.errors import WireError
from tracking.igtl.content import expect_size
from tracking.igtl.header import ARRAY_LARGEST_BYTES

_SCALARS = {2: "i1", 3: "u1", 4: "i2", 5: "u2", 6: "i4", 7: "u4", 10: "f4", 11: "f8", 13: "c16"}
_CODES = {code: number for number, code in _SCALARS.items()}
# What every numpy can hold.
_MOST_AXES = 32


@dataclass(frozen=True, slots=True, eq=False)
class NDArrayContent:
    """NDARRAY: numbers of any shape of at most 65535 along each axis, the last index running fastest."""

    TYPE: ClassVar[str] = "NDARRAY"
    array: NDArray[Any]

    def __post_init__(self) -> None:
        array = self.array.view()
        if array.dtype.str[1:] not in _CODES:
            raise WireError(f"array of {array.dtype} has no OpenIGTLink scalar type")
        if array.ndim > _MOST_AXES or max(array.shape, default=0) > 0xFFFF:
            raise WireError(f"array of shape {array.shape} does not fit the wire")
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def pack(self) -> bytes:
        """2 bytes, 2 for each axis and the numbers."""
        array = self.array
        head = struct.pack(f">BB{array.ndim}H", _CODES[array.dtype.str[1:]], array.ndim, *array.shape)
        return head + array.astype(array.dtype.newbyteorder(">"), copy=False).tobytes()

    @staticmethod
    def unpack(raw: bytes) -> NDArrayContent:
        """The product of the sizes must be the body's."""
        if len(raw) < 2:
            raise WireError(f"NDARRAY body of {len(raw)} bytes, less than 2")
        scalar, axes = raw[0], raw[1]
        start = 2 + 2 * axes
        if scalar not in _SCALARS or axes > _MOST_AXES or len(raw) < start:
            raise WireError(f"NDARRAY with scalar type {scalar} and {axes} axes in {len(raw)} bytes")
        shape = struct.unpack_from(f">{axes}H", raw, 2)
        dtype = np.dtype(">" + _SCALARS[scalar])
        expect_size(raw, start + math.prod(shape) * dtype.itemsize, "NDARRAY")
        # an empty array may still be too wide along its other axes for numpy to describe
        if math.prod(n for n in shape if n) * dtype.itemsize > ARRAY_LARGEST_BYTES:
            raise WireError(f"NDARRAY of shape {shape} is over the limit")
        return NDArrayContent(np.ndarray(shape, dtype, raw, start))
