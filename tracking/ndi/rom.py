"""NDI tool definition files (.rom): recognised, checked and described before they go to a tracker.

Layout as found in NDI's own files: "NDI\\0", a 16-bit sum of all bytes from 6 on, the number of markers at
28, their positions (3 float32 in mm each) at 72, manufacturer (12 bytes) at 580, part number (20) at 592.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError

# What a tracker takes for one tool; the files written by NDI's tool architect have 752.
LARGEST_BYTES = 1024
SMALLEST_BYTES = 752
MOST_MARKERS = 20
_MAGIC = b"NDI\0"
_COUNT_AT, _MARKERS_AT, _MAKER_AT, _PART_AT = 28, 72, 580, 592
_SUMMED_FROM = 6


@dataclass(frozen=True, slots=True, eq=False)
class Rom:
    """A tool: the file's bytes, who made it, its part number, markers (n, 3) in mm in the tool's frame."""

    data: bytes
    manufacturer: str
    part_number: str
    markers_mm: NDArray[np.float64]


def read_rom(path: Path) -> Rom:
    """The tool definition in `path`. Raises InputError naming the file when it is none or is damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not data.startswith(_MAGIC) or not SMALLEST_BYTES <= len(data) <= LARGEST_BYTES:
        raise InputError(f"{path}: is no NDI tool definition")
    if sum(data[_SUMMED_FROM:]) & 0xFFFF != struct.unpack_from("<H", data, len(_MAGIC))[0]:
        raise InputError(f"{path}: the checksum of the tool definition is wrong")
    count = data[_COUNT_AT]
    if not 0 < count <= MOST_MARKERS:
        raise InputError(f"{path}: {count} markers in the tool definition")
    markers = np.frombuffer(data, "<f4", 3 * count, _MARKERS_AT).reshape(count, 3).astype(np.float64)
    return Rom(data, _text(data, _MAKER_AT, 12), _text(data, _PART_AT, 20), markers)


def _text(data: bytes, start: int, size: int) -> str:
    return data[start : start + size].split(b"\0", 1)[0].decode("ascii", "replace")
