"""The text header of a sequence file, line by line: MetaImage `name = value`, NRRD `name: value`, `name:=value`.

The pixel data behind it, raw or compressed, in the file or beside it, are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tracking.errors import InputError

NRRD_MAGIC = b"NRRD"
LAST_META_FIELD = "elementdatafile"
DETACHED_NRRD_FIELDS = ("data file", "datafile")
# PLUS reads lines of at most 1,000 characters; a list of index values in NRRD may take some hundred thousand.
LONGEST_LINE_BYTES = 1 << 22
# Ten hours of four tools at 60 Hz; a header beyond that is another file.
LARGEST_HEADER_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """A field and its value, both stripped, and its line in the file, counted from 1."""

    row: int
    name: str
    value: str


def header_lines(path: Path) -> Iterator[HeaderLine]:
    """The fields of the header in their order.

    Raises InputError when the file is none of both forms, a line is no field, or the header breaks off.
    """
    try:
        with path.open("rb") as stream:
            first = stream.readline(LONGEST_LINE_BYTES)
            if first.startswith(NRRD_MAGIC):
                yield from _nrrd_lines(stream, path)
            else:
                yield from _meta_lines(first, stream, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _meta_lines(first: bytes, stream: IO[bytes], path: Path) -> Iterator[HeaderLine]:
    if b"=" not in first or b"\0" in first:
        raise InputError(f"{path}: neither a MetaImage nor a NRRD header: not a sequence file")
    for row, line in _rows(first, stream, path):
        if not line.strip():
            continue
        name, found, value = line.partition("=")
        if not found:
            raise InputError(f"{path}, row {row}: not a field `name = value`")
        yield HeaderLine(row, name.strip(), value.strip())
        if name.strip().lower() == LAST_META_FIELD:
            return
    raise InputError(f"{path}: the header breaks off before ElementDataFile")


def _nrrd_lines(stream: IO[bytes], path: Path) -> Iterator[HeaderLine]:
    detached = False
    for row, line in _rows(b"", stream, path):
        if row > 1 and not line.strip():
            return
        if row == 1 or line.startswith("#"):
            continue
        name, found, value = line.partition(":")
        if not found:
            raise InputError(f"{path}, row {row}: not a field `name: value`")
        detached = detached or name.strip().lower() in DETACHED_NRRD_FIELDS
        yield HeaderLine(row, name.strip(), value.removeprefix("=").strip())
    if not detached:
        raise InputError(f"{path}: the header breaks off before its empty line")


def _rows(first: bytes, stream: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; for NRRD the first, already judged, comes as an empty one."""
    read, row, line = len(first), 1, first
    while line or row == 1:
        if len(line) >= LONGEST_LINE_BYTES or read > LARGEST_HEADER_BYTES:
            raise InputError(f"{path}, row {row}: too long for the header of a sequence")
        yield row, line.decode("latin-1")
        line = stream.readline(LONGEST_LINE_BYTES)
        read, row = read + len(line), row + 1
