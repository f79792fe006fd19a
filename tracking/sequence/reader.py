"""A sequence file read whole but for its pixels: times, transforms with what is said of them, count fields.

A matrix is told to be a pose only by its status; an INVALID one is plausible to the eye and never a pose.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.poses import rigid_mask
from tracking.sample import PoseStatus
from tracking.sequence.header import HeaderLine, header_lines

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
COUNT_FIELDS = ("Counts", "IntervalS", "CountTimestamp", "Seq", "CountsTotal", "LiveTimeS")
TIMESTAMP = "Timestamp"
STATUS = "Status"
NO_STATUS, NOT_RIGID, IDENTITY = "no status", "not rigid", "identity"
PREFIX = "seq_frame"
_FRAME_FIELD = re.compile(r"seq_frame(\d{1,9})_(.+)", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,18}")
_TRANSFORM = re.compile(r"(.+)Transform(Status)?", re.IGNORECASE)
# What the C library of Windows prints for what is no number.
_NO_NUMBER = re.compile(r"[+-]?(1\.#\w+|nan\(\w*\))", re.IGNORECASE)
_BY_LOWER_CASE = {name.lower(): name for name in (*COUNT_FIELDS, TIMESTAMP)}


@dataclass(frozen=True, slots=True, eq=False)
class TransformTrack:
    """One transform, `name` without the ending "Transform": m frames in order.

    `frame` (m,) are their numbers, `matrices` (m, 4, 4) as written, `words` (m,) the statuses in capitals,
    "" where none is given.
    """

    name: str
    frame: NDArray[np.int64]
    matrices: NDArray[np.float64]
    words: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """(m,) why a frame is no pose: PLUS's own word, "no status", "not rigid", "identity"; "" if it is one.

        Where no frame has a status its absence means UNKNOWN; then an exact identity is a tracker's
        placeholder. Where others have one, a frame without is not trusted.
        """
        silent = not any(self.words)
        rigid = rigid_mask(self.matrices)
        same = (self.matrices == np.eye(4)).all(axis=(1, 2))
        return tuple(_fault(word, silent, bool(rigid[i]), bool(same[i])) for i, word in enumerate(self.words))

    @property
    def causes(self) -> Counter[str]:
        """How many frames are no pose, by cause."""
        return Counter(fault for fault in self.faults if fault)

    def status(self, row: int) -> PoseStatus:
        """The status of a frame in the words of the wire; INVALID for any word that is none of them."""
        word = self.words[row]
        if not word:
            return PoseStatus.INVALID if any(self.words) else PoseStatus.UNKNOWN
        return PoseStatus.__members__.get(word, PoseStatus.INVALID)


def _fault(word: str, silent: bool, rigid: bool, identity: bool) -> str:
    if word and not (word in PoseStatus.__members__ and PoseStatus(word).usable):
        return word
    if not word and not silent:
        return NO_STATUS
    if not rigid:
        return NOT_RIGID
    return IDENTITY if silent and identity else ""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A sequence file: header `fields` by their names, frames in order of their numbers.

    `times` holds the Timestamp of each frame that has one, in s on the file's own clock, `counts` the count
    fields of each frame that has some, by frame number. `missing` frames are announced but not there.
    """

    path: Path
    fields: Mapping[str, str]
    times: Mapping[int, float]
    transforms: Mapping[str, TransformTrack]
    counts: Mapping[int, Mapping[str, float]]
    missing: int = 0

    def times_of(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Timestamps (m,) of the frames (m,). Raises InputError naming the first field that is missing."""
        lacking = [int(n) for n in frames if int(n) not in self.times]
        if lacking:
            raise InputError(f"{self.path}: Seq_Frame{lacking[0]:04d}_{TIMESTAMP} is missing")
        return np.array([self.times[int(n)] for n in frames], dtype=np.float64)


@dataclass(slots=True)
class _Growing:
    """A transform while the header is read; numbers stay packed, for a header may hold a million frames."""

    frame: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    words: dict[int, str] = field(default_factory=dict)


def read_sequence(path: Path) -> Sequence:
    """Read the header of a sequence file; its frames may stand in any order.

    Raises InputError naming the field or the row: no sequence, broken off, a field told twice, no number.
    """
    reading = _Reading(path)
    for line in header_lines(path):
        reading.take(line)
    return reading.sequence()


class _Reading:
    """What has been read so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields: dict[str, str] = {}
        self.times: dict[int, float] = {}
        self.counts: dict[int, dict[str, float]] = {}
        self.growing: dict[str, _Growing] = {}
        self.frames: set[int] = set()

    def take(self, line: HeaderLine) -> None:
        """One line of the header."""
        if not line.name.lower().startswith(PREFIX):
            self.fields[line.name] = line.value
            return
        match = _FRAME_FIELD.fullmatch(line.name)
        if match is None:
            raise InputError(f"{self.path}, row {line.row}: {line.name} is not Seq_FrameNNNN_Name")
        frame, name = int(match[1]), match[2]
        self.frames.add(frame)
        if transform := _TRANSFORM.fullmatch(name):
            self._take_transform(frame, transform[1], transform[2] is not None, line)
        elif known := _BY_LOWER_CASE.get(name.lower()):
            self._take_number(frame, known, line)

    def _take_transform(self, frame: int, name: str, is_status: bool, line: HeaderLine) -> None:
        into = self.growing.setdefault(name, _Growing())
        if is_status:
            if frame in into.words:
                raise self._fault(line, "appears twice")
            into.words[frame] = line.value.upper() or PoseStatus.INVALID.value
            return
        numbers = [_number(text) for text in line.value.split()]
        if len(numbers) != 16 or None in numbers:
            raise self._fault(line, "is not a 4x4 matrix")
        into.frame.append(frame)
        into.values.extend(v for v in numbers if v is not None)

    def _take_number(self, frame: int, name: str, line: HeaderLine) -> None:
        if name == TIMESTAMP:
            self._keep(self.times, frame, line)
        else:
            self._keep(self.counts.setdefault(frame, {}), name, line)

    def _keep(self, into: dict[Any, float], key: int | str, line: HeaderLine) -> None:
        value = _number(line.value)
        if value is None or not np.isfinite(value):
            raise self._fault(line, f"is {line.value!r}, not a number")
        if key in into:
            raise self._fault(line, "appears twice")
        into[key] = value

    def _fault(self, line: HeaderLine, what: str) -> InputError:
        return InputError(f"{self.path}, row {line.row}: {line.name} {what}")

    def sequence(self) -> Sequence:
        """Everything in order. Raises InputError where parts contradict each other."""
        if not self.frames:
            raise InputError(f"{self.path}: no Seq_FrameNNNN_... field: not a sequence of PLUS")
        announced = _announced(self.fields)
        if announced is not None and max(self.frames) >= announced:
            raise InputError(
                f"{self.path}: Seq_Frame{max(self.frames):04d} lies beyond the {announced} frames of the header"
            )
        tracks = {name: self._track(name, found) for name, found in self.growing.items() if len(found.frame)}
        missing = 0 if announced is None else announced - len(self.frames)
        return Sequence(self.path, self.fields, self.times, tracks, self.counts, missing)

    def _track(self, name: str, found: _Growing) -> TransformTrack:
        frame = np.array(found.frame, dtype=np.int64)
        order = np.argsort(frame, kind="stable")
        frame = frame[order]
        again = np.flatnonzero(np.diff(frame) == 0)
        if len(again):
            raise InputError(f"{self.path}: Seq_Frame{frame[again[0]]:04d}_{name}Transform appears twice")
        matrices = np.array(found.values, dtype=np.float64).reshape(-1, 4, 4)[order]
        matrices.setflags(write=False)
        return TransformTrack(name, frame, matrices, tuple(found.words.get(int(n), "") for n in frame))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return float("nan") if _NO_NUMBER.fullmatch(text) else None


def _announced(fields: Mapping[str, str]) -> int | None:
    """The number of frames that the header announces: the size along the list axis, else along the last."""
    by_name = {name.lower(): value.split() for name, value in fields.items()}
    sizes = by_name.get("dimsize") or by_name.get("sizes")
    if not sizes:
        return None
    kinds = [kind.lower() for kind in by_name.get("kinds", [])]
    lists = [size for size, kind in zip(sizes, kinds, strict=False) if kind in ("list", "time")]
    if kinds and not lists:
        return None
    chosen = lists[0] if lists else sizes[-1]
    return int(chosen) if _SIZE.fullmatch(chosen) else None
