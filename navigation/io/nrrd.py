"""Volumes as NRRD files whose coordinates are those of the grid, as ITK reads them.

Written: little-endian float32, int16 or uint8, gzip, `space: left-posterior-superior`, own fields as
key:=value. The bytes are a function of the content alone. Format: http://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.jsonfile import temporary_beside

# Level 1 takes a seventh of the time of level 6 for a tenth more bytes on a typical map.
GZIP_LEVEL = 1
# zlib's flag for a gzip wrapper: 15 window bits plus 16; it writes modification time 0.
_GZIP_WRAPPER = 15 + 16
# A header is some hundred bytes; more than this is another kind of file.
LARGEST_HEADER_BYTES = 1 << 16
# 1024^3 voxels: beyond any study that fits this machine.
LARGEST_VOXEL_COUNT = 1 << 30
_CHUNK_BYTES = 1 << 20

_TYPES = {
    "float": "f4",
    "double": "f8",
    "signed char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "unsigned char": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "unsigned short": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "unsigned int": "u4",
    "uint32": "u4",
}
# Signs that bring each space to left-posterior-superior.
_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class NrrdVolume:
    """What a file holds: float32 array (nz, ny, nx), its grid in LPS millimetres and its key:=value pairs."""

    array: NDArray[np.float32]
    grid: VoxelGrid
    keys: dict[str, str]


def write_nrrd(
    path: Path,
    array: ArrayLike,
    grid: VoxelGrid,
    keys: Mapping[str, str] | None = None,
    stored: str = "float",
) -> None:
    """Write an array (nz, ny, nx) as float32, or `stored` as "short" or "uchar"; it appears whole or not at all.

    Raises ValueError if the shape is not the grid's, a key cannot be written, or values do not fit the type.
    """
    values = _as_stored(np.asarray(array), stored)
    if values.shape != grid.shape:
        raise ValueError(f"array {values.shape} does not fit the grid {grid.shape}")
    header = _header(grid, keys or {}, stored)
    handle, temporary = temporary_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(header)
            _write_gzip(file, values)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_nrrd(path: Path) -> NrrdVolume:
    """Read a three-dimensional scalar NRRD (raw or gzip, data in the same file) as float32 in LPS.

    Raises InputError when the file is no such thing, is cut off, or states no geometry.
    """
    try:
        with path.open("rb") as file:
            fields, keys = _read_header(file, path)
            grid, dtype = _geometry(fields, path)
            data = _read_data(file, fields, dtype, grid, path)
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror or fault}") from fault
    array = data.reshape(grid.shape).astype(np.float32)
    array.setflags(write=False)
    return NrrdVolume(array, grid, keys)


def _vector(values: ArrayLike) -> str:
    return "(" + ",".join(repr(float(v)) for v in np.asarray(values)) + ")"


def fits_short(array: NDArray[np.generic]) -> bool:
    """Whether all values are whole and within 16 bits, so that a volume can be stored in half the space."""
    limits = np.iinfo(np.int16)
    for plane in array:
        low, high = float(plane.min()), float(plane.max())
        if not (limits.min <= low and high <= limits.max) or not np.array_equal(plane, np.rint(plane)):
            return False
    return True


def _as_stored(array: NDArray[np.generic], stored: str) -> NDArray[np.generic]:
    kind = np.dtype(_TYPES[stored]).newbyteorder("<")
    values = np.ascontiguousarray(array, dtype=kind)
    if stored != "float" and not np.array_equal(values, array):
        raise ValueError(f"values do not fit the type {stored}")
    return values


def _header(grid: VoxelGrid, keys: Mapping[str, str], stored: str) -> bytes:
    columns = (grid.direction * grid.spacing_mm).T
    lines = [
        "NRRD0005",
        f"type: {stored}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in grid.size),
        "space directions: " + " ".join(_vector(c) for c in columns),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        'space units: "mm" "mm" "mm"',
        "space origin: " + _vector(grid.origin_mm),
    ]
    for key, value in sorted(keys.items()):
        if not key or ":=" in key or any(c in key for c in "\r\n#"):
            raise ValueError(f"{key!r} cannot be an NRRD key")
        escaped = value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")
        lines.append(f"{key}:={escaped}")
    return ("\n".join(lines) + "\n\n").encode()


def _write_gzip(file: BinaryIO, values: NDArray[np.generic]) -> None:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WRAPPER)
    data = values.reshape(-1).view(np.uint8).data
    for start in range(0, len(data), _CHUNK_BYTES):
        file.write(packer.compress(data[start : start + _CHUNK_BYTES]))
    file.write(packer.flush())


def _read_header(file: BinaryIO, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not re.fullmatch(rb"NRRD000[1-9]", file.readline(LARGEST_HEADER_BYTES).strip()):
        raise InputError(f"{path}: not an NRRD file")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    left = LARGEST_HEADER_BYTES
    while True:
        line = file.readline(left)
        left -= len(line)
        if left <= 0 or not line:
            raise InputError(f"{path}: the NRRD header does not end")
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        if not text:
            return fields, keys
        _store_line(text, fields, keys)


def _store_line(text: str, fields: dict[str, str], keys: dict[str, str]) -> None:
    if text.startswith("#"):
        return
    if match := re.match(r"(.*?):=(.*)", text):
        keys[match[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])
    elif match := re.match(r"([^:]+): *(.*)", text):
        fields[match[1].strip().lower()] = match[2].strip()


def _numbers(text: str, path: Path, what: str) -> list[float]:
    try:
        return [float(v) for v in re.sub(r"[(),]", " ", text).split()]
    except ValueError:
        raise InputError(f"{path}: field '{what}' is not a list of numbers: {text}") from None


def _geometry(fields: dict[str, str], path: Path) -> tuple[VoxelGrid, np.dtype[np.generic]]:
    for name in ("type", "sizes", "encoding", "space", "space directions", "space origin"):
        if name not in fields:
            raise InputError(f"{path}: field '{name}' is missing")
    kind = _TYPES.get(fields["type"].lower())
    signs = _SPACES.get(fields["space"].lower())
    if kind is None or signs is None:
        raise InputError(f"{path}: type '{fields['type']}' in space '{fields['space']}' is not supported")
    sizes = _numbers(fields["sizes"], path, "sizes")
    vectors = _numbers(fields["space directions"], path, "space directions")
    origin = _numbers(fields["space origin"], path, "space origin")
    if len(sizes) != 3 or len(vectors) != 9 or len(origin) != 3:
        raise InputError(f"{path}: not a three-dimensional scalar volume")
    if min(sizes) < 1 or np.prod(sizes) > LARGEST_VOXEL_COUNT:
        raise InputError(f"{path}: sizes {fields['sizes']} are out of range")
    return _grid(sizes, vectors, origin, signs, path), np.dtype(kind)


def _grid(
    sizes: list[float],
    vectors: list[float],
    origin: list[float],
    signs: tuple[float, float, float],
    path: Path,
) -> VoxelGrid:
    flip = np.asarray(signs)
    columns = np.asarray(vectors).reshape(3, 3).T * flip[:, None]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or not np.isfinite(origin).all() or not (spacing > 0.0).all():
        raise InputError(f"{path}: space directions {columns.T.tolist()} span no volume")
    nx, ny, nz = (int(n) for n in sizes)
    return VoxelGrid(np.asarray(origin) * flip, spacing, (nx, ny, nz), columns / spacing)


def _read_data(
    file: BinaryIO,
    fields: dict[str, str],
    dtype: np.dtype[np.generic],
    grid: VoxelGrid,
    path: Path,
) -> NDArray[np.generic]:
    if "data file" in fields or "datafile" in fields:
        raise InputError(f"{path}: data in a separate file is not supported")
    wanted = int(np.prod(grid.size)) * dtype.itemsize
    encoding = fields["encoding"].lower()
    if encoding in ("gzip", "gz"):
        raw = _unpack(file.read(), wanted, path)
    elif encoding == "raw":
        raw = file.read(wanted)
    else:
        raise InputError(f"{path}: encoding '{encoding}' is not supported")
    if len(raw) != wanted:
        raise InputError(f"{path}: {wanted} bytes of voxels expected, {len(raw)} found")
    if fields.get("endian", "little").lower() == "big":
        return np.frombuffer(raw, dtype=dtype.newbyteorder(">"))
    return np.frombuffer(raw, dtype=dtype.newbyteorder("<"))


def _unpack(packed: bytes, wanted: int, path: Path) -> bytes:
    """At most `wanted` + 1 bytes are ever unpacked, whatever the stream holds."""
    try:
        return zlib.decompressobj(_GZIP_WRAPPER).decompress(packed, wanted + 1)
    except zlib.error as fault:
        raise InputError(f"{path}: damaged voxel data ({fault})") from None
