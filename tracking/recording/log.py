"""SQLite's write-ahead log beside an open record: did it end, or was it damaged?

SQLite takes the log up to the first frame whose checksum does not fit and says nothing of the rest. A killed
process leaves at most a frame half written at its end; frames of the same log behind a bad one, or zeros, were
written and are lost. Format and checksum: https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Magic numbers of a log whose checksums are over little-endian and over big-endian words.
_WORDS = {0x377F0682: "<u4", 0x377F0683: ">u4"}
_HEAD = struct.Struct(">IIIIIIII")  # magic, version, page size, number, salt (2), checksum (2)
_FRAME = struct.Struct(">IIIIII")  # page, size after commit, salt (2), checksum (2)

Sums = tuple[int, int]


def log_damage(log: Path) -> str | None:
    """What is wrong with the log; None when it ends as that of a killed process may, or is not there.

    Only the log is opened: SQLite holds its locks on the other two files, and closing those here would drop
    them for the whole process.
    """
    first = _look(log)
    # A writer may be half-way through a frame: damage stays where it is.
    return first if first is None or first == _look(log) else None


def _look(log: Path) -> str | None:
    try:
        data = log.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEAD.size:
        return None
    magic, _, page, _, salt_0, salt_1, *sums = _HEAD.unpack_from(data)
    if magic not in _WORDS or list(_summed(data[:24], (0, 0), _WORDS[magic])) != sums:
        return "its head is damaged"
    size = _FRAME.size + page
    frames = [data[i : i + size] for i in range(_HEAD.size, len(data) - size + 1, size)]
    whole = (len(data) - _HEAD.size) % size == 0
    return _damage(frames, whole, (salt_0, salt_1), (sums[0], sums[1]), _WORDS[magic])


def _damage(frames: list[bytes], whole: bool, salt: Sums, sums: Sums, words: str) -> str | None:
    """Follow the frames as far as their checksums fit; what lies behind is of an older log, or was lost.

    `whole`: the file ends with its last frame, as one that a killed process was writing there would not.
    """
    for n, frame in enumerate(frames):
        ours = _FRAME.unpack_from(frame)[2:4] == salt
        if ours:
            sums = _summed(frame[:8] + frame[_FRAME.size :], sums, words)
        if not ours or _FRAME.unpack_from(frame)[4:] != sums:
            rest = frames[n + 1 :]
            lost = any(_FRAME.unpack_from(later)[2:4] == salt or not any(later) for later in rest)
            last = ours and whole and not rest
            return f"damaged in frame {n + 1}" if lost or last or not any(frame) else None
    return None


def _summed(data: bytes, sums: Sums, words: str) -> Sums:
    """The running checksum (s, t) over pairs of words: s += a + t, then t += b + s, modulo 2^32.

    It is linear, (s, t) -> M (s, t) + (a, a + b) with M = [[1, 1], [1, 2]], so that all pairs of a frame are
    taken at once with the powers of M.
    """
    pairs = np.frombuffer(data, words).reshape(-1, 2).astype(np.uint32)
    powers = _powers(len(pairs))
    given = np.stack([pairs[:, 0], pairs[:, 0] + pairs[:, 1]], axis=1)
    total = np.einsum("nij,nj->i", powers[1:], given, dtype=np.uint32)
    total += powers[0] @ np.array(sums, np.uint32)
    return int(total[0]), int(total[1])


@cache
def _powers(count: int) -> NDArray[np.uint32]:
    """M^count, M^(count - 1), ..., M^0 modulo 2^32, shape (count + 1, 2, 2)."""
    step = np.array([[1, 1], [1, 2]], np.uint32)
    found = [np.eye(2, dtype=np.uint32)]
    for _ in range(count):
        found.append(found[-1] @ step)
    return np.array(found[::-1])
