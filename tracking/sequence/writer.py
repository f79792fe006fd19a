"""Writes a sequence file frame by frame, as PLUS does for trackers: with a dummy image of one pixel a frame.

Numbers are written with every digit. PLUS reads lines of at most 999 characters, so none is longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.sample import PoseStatus

FORMS = {"mha": ".mha", "nrrd": ".nrrd"}
LONGEST_LINE = 998
# The number of frames is known at the end: its place is kept, with room for any number.
SIZE_WIDTH = 10
_META_HEAD = (
    ("ObjectType", "Image"),
    ("NDims", "3"),
    ("AnatomicalOrientation", "RAI"),
    ("BinaryData", "True"),
    ("BinaryDataByteOrderMSB", "False"),
    ("CenterOfRotation", "0 0 0"),
    ("CompressedData", "False"),
    ("ElementSpacing", "1 1 1"),
    ("ElementType", "MET_UCHAR"),
    ("Kinds", "domain domain list"),
    ("Offset", "0 0 0"),
    ("TransformMatrix", "1 0 0 0 1 0 0 0 1"),
    ("UltrasoundImageOrientation", "MF"),
    ("UltrasoundImageType", "BRIGHTNESS"),
)
_NRRD_HEAD = (
    ("type", "unsigned char"),
    ("dimension", "3"),
    ("space dimension", "2"),
    ("space directions", "(1,0) (0,1) none"),
    ("space origin", "(0,0)"),
    ("kinds", "domain domain list"),
    ("endian", "little"),
    ("encoding", "raw"),
)
_NRRD_KEYS = (("ultrasound image orientation", "MF"), ("ultrasound image type", "BRIGHTNESS"))
PIXELS_AT_ONCE = 1 << 16


class SequenceWriter:
    """Writes `path`, a MetaImage or NRRD by its suffix; `fields` go into the header.

    A context: leaving it writes the pixels and the number of frames. Raises InputError when no frame came.
    """

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        self.path = path
        self.frames = 0
        self._nrrd = path.suffix.lower() == FORMS["nrrd"]
        self._fields = dict(fields)
        self._size_at = 0
        self._stream: IO[bytes]

    def add(
        self,
        t_s: float,
        transforms: Mapping[str, tuple[NDArray[np.float64], PoseStatus]],
        fields: Mapping[str, str],
    ) -> None:
        """One frame at `t_s`: matrices (4, 4) in mm with their status by name, and custom fields."""
        number = self.frames
        self._field(number, "FrameNumber", str(number + 1))
        for name, (matrix, status) in transforms.items():
            self._field(number, f"{name}Transform", " ".join(map(repr, matrix.ravel().tolist())))
            self._field(number, f"{name}TransformStatus", status.value)
        self._field(number, "Timestamp", repr(t_s))
        self._field(number, "UnfilteredTimestamp", repr(t_s))
        for name, value in fields.items():
            self._field(number, name, value)
        self.frames += 1

    def __enter__(self) -> SequenceWriter:
        self._stream = self.path.open("wb")
        try:
            self._head()
        except BaseException:
            self._stream.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._stream.close()

    def _head(self) -> None:
        if self._nrrd:
            self._stream.write(b"NRRD0004\n")
        for name, value in _NRRD_HEAD if self._nrrd else _META_HEAD:
            self._line(name, ": " if self._nrrd else " = ", value)
        self._line(
            "sizes" if self._nrrd else "DimSize", ": " if self._nrrd else " = ", "1 1 " + " " * SIZE_WIDTH
        )
        self._size_at = self._stream.tell() - SIZE_WIDTH - 1
        for name, value in _NRRD_KEYS if self._nrrd else ():
            self._line(name, ":=", value)
        for name, value in self._fields.items():
            self._line(name, ":=" if self._nrrd else " = ", value)

    def _field(self, number: int, name: str, value: str) -> None:
        self._line(f"Seq_Frame{number:04d}_{name}", ":=" if self._nrrd else " = ", value)

    def _line(self, name: str, between: str, value: str) -> None:
        line = f"{name}{between}{value}"
        if len(line) > LONGEST_LINE or not line.isascii() or not line.isprintable():
            raise InputError(f"{self.path}: field {name} does not fit into a line of PLUS")
        self._stream.write(line.encode("ascii") + b"\n")

    def _finish(self) -> None:
        if not self.frames:
            raise InputError(f"{self.path}: there is no frame to write")
        self._stream.write(b"\n" if self._nrrd else b"ElementDataFile = LOCAL\n")
        for start in range(0, self.frames, PIXELS_AT_ONCE):
            self._stream.write(bytes(min(PIXELS_AT_ONCE, self.frames - start)))
        self._stream.seek(self._size_at)
        self._stream.write(str(self.frames).rjust(SIZE_WIDTH).encode("ascii"))
