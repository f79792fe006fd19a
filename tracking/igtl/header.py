"""The 58-byte OpenIGTLink header (versions 1 and 2), checked before anything is allocated for the body.

Layout: version u16, type 12 bytes, device name 20 bytes, time stamp u32 s + u32 2^-32 s, body size u64, CRC
u64; all big-endian (http://openigtlink.org/protocols/v3_header.html).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache

from tracking.errors import WireError
from tracking.igtl.text import padded_name as padded_name
from tracking.igtl.text import text_of

HEADER_BYTES = 58
TYPE_BYTES = 12
NAME_BYTES = 20
VERSIONS = (1, 2)
_LAYOUT = struct.Struct(">H12s20sIIQQ")
_FRACTIONS_PER_S = 1 << 32

# Room for the extended header and the metadata of a version 2 message, on top of the content.
METADATA_LARGEST_BYTES = 1 << 18
# 512 x 512 x 128 float64 voxels; the map itself has about 1 MiB.
IMAGE_LARGEST_BYTES = 256 << 20
# A surface of half a million points, or an array of two million float64.
ARRAY_LARGEST_BYTES = 16 << 20
# A type that is not known: enough for a record of it to be of use; what is larger streams past.
OTHER_LARGEST_BYTES = 1 << 16
# Tools, lists and descriptions: more than any display could hold.
_MOST_ROWS = 1024
LARGEST_CONTENT_BYTES = {
    "TRANSFORM": 48,
    "POSITION": 28,
    "QTRANS": 28,
    "STATUS": 1 << 16,
    "STRING": (1 << 16) + 4,
    "COMMAND": 138 + (1 << 20),
    "RTS_COMMAND": 138 + (1 << 20),
    "SENSOR": 2 + 8 + 255 * 8,
    "POINT": 136 * 4096,
    "TRAJ": 150 * _MOST_ROWS,
    "TDATA": 70 * _MOST_ROWS,
    "QTDATA": 50 * _MOST_ROWS,
    "STT_TDATA": 36,
    "STT_QTDATA": 36,
    "RTS_TDATA": 1,
    "RTS_QTDATA": 1,
    "CAPABILITY": 12 * _MOST_ROWS,
    "IMGMETA": 260 * _MOST_ROWS,
    "LBMETA": 116 * _MOST_ROWS,
    "COLORT": 2 + 3 * (1 << 16),
    "COLORTABLE": 2 + 3 * (1 << 16),
    "BIND": ARRAY_LARGEST_BYTES,
    "NDARRAY": ARRAY_LARGEST_BYTES,
    "POLYDATA": ARRAY_LARGEST_BYTES,
    "IMAGE": IMAGE_LARGEST_BYTES,
}


def largest_body_bytes(message_type: str, version: int) -> int:
    """The cap on the body of a type: nothing larger is ever buffered."""
    largest = LARGEST_CONTENT_BYTES.get(message_type, OTHER_LARGEST_BYTES)
    return largest if version == 1 else largest + METADATA_LARGEST_BYTES


def stamp_of(t_s: float) -> int:
    """Seconds as unsigned 32.32 fixed point; WireError outside [0, 2^32) s or if not finite."""
    if not 0.0 <= t_s < _FRACTIONS_PER_S:
        raise WireError(f"time stamp {t_s!r} s does not fit the header")
    seconds = int(t_s)
    fraction = round((t_s - seconds) * _FRACTIONS_PER_S)
    return min((seconds << 32) + fraction, (1 << 64) - 1)


def seconds_of(stamp: int) -> float:
    """A 32.32 fixed-point time stamp as seconds (float64 keeps 0.3 us today)."""
    return (stamp >> 32) + (stamp & (_FRACTIONS_PER_S - 1)) / _FRACTIONS_PER_S


_TYPE = re.compile(rb"([A-Z][A-Z0-9_]*)\0*")
# Any text up to the padding; a control character or something behind a NUL is no sender's header.
_NAME = re.compile(rb"([^\0-\x1f\x7f]*)\0*")


def _matched_text(raw: bytes, pattern: re.Pattern[bytes], what: str) -> str:
    match = pattern.fullmatch(raw)
    if match is None:
        raise WireError(f"{raw!r} is no {what}")
    return text_of(match[1])


@lru_cache(maxsize=256)
def _type_text(raw: bytes) -> str:
    return _matched_text(raw, _TYPE, "type")


@lru_cache(maxsize=256)
def _name_text(raw: bytes) -> str:
    return _matched_text(raw, _NAME, "device name")


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of one header; `stamp` is the raw 32.32 time, `crc` covers the `body_bytes` that follow."""

    version: int
    type: str
    device: str
    stamp: int
    body_bytes: int
    crc: int

    @property
    def t_s(self) -> float:
        """Time stamp in seconds (UTC for peers that keep to the standard)."""
        return seconds_of(self.stamp)

    def pack(self) -> bytes:
        """The 58 bytes."""
        return _LAYOUT.pack(
            self.version,
            padded_name(self.type, TYPE_BYTES, "type"),
            padded_name(self.device, NAME_BYTES, "device name"),
            self.stamp >> 32,
            self.stamp & (_FRACTIONS_PER_S - 1),
            self.body_bytes,
            self.crc,
        )

    @staticmethod
    def unpack(raw: bytes | bytearray | memoryview, offset: int = 0) -> Header:
        """Read 58 bytes at `offset`; WireError when the version, type or name cannot be a header's.

        The body size is not judged here: see `largest_body_bytes`.
        """
        if len(raw) - offset < HEADER_BYTES:
            raise WireError(f"header of {len(raw) - offset} bytes, not {HEADER_BYTES}")
        version, kind, device, seconds, fraction, body_bytes, crc = _LAYOUT.unpack_from(raw, offset)
        if version not in VERSIONS:
            raise WireError(f"header version {version} is not known")
        return Header(
            version,
            _type_text(kind),
            _name_text(device),
            (seconds << 32) + fraction,
            body_bytes,
            crc,
        )
