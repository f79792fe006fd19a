"""SQLite's write-ahead log beside an open record: did it end, or was it damaged?

SQLite takes the log up to the first frame whose checksum does not fit and says nothing of the rest. A killed
process leaves at most frames of a commit that it did not finish; frames of the same log behind a bad one, or
zeros, were written and are lost. Format: https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import struct
from pathlib import Path

# Magic numbers of a log whose checksums are over little-endian and over big-endian words.
_WORDS = {0x377F0682: "<II", 0x377F0683: ">II"}
_HEAD = struct.Struct(">IIIIIIII")  # magic, version, page size, number, salt (2), checksum (2)
_FRAME = struct.Struct(">IIIIII")  # page, size after commit, salt (2), checksum (2)
# In the index: where it holds the number of frames up to the last commit, in the machine's byte order.
_COMMITTED_AT = 16

Sums = tuple[int, int]


def log_damage(log: Path, index: Path) -> str | None:
    """What is wrong with the log; None when it ends as that of a killed process may, or is not there.

    To be called while a connection reads the record, which keeps the log from being begun anew.
    """
    first = _look(log, index)
    # A writer may be half-way through a frame: damage stays where it is.
    return first if first is None or first == _look(log, index) else None


def _look(log: Path, index: Path) -> str | None:
    try:
        with index.open("rb") as file:
            committed = int(struct.unpack_from("=I", file.read(_COMMITTED_AT + 4), _COMMITTED_AT)[0])
        with log.open("rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            magic, _, page, _, *salt, sum_0, sum_1 = _HEAD.unpack(head)
            if magic not in _WORDS or _summed(head[:24], (0, 0), _WORDS[magic]) != (sum_0, sum_1):
                return "its head is damaged"
            size = _FRAME.size + page
            sums = (sum_0, sum_1)
            if committed:
                file.seek(_HEAD.size + (committed - 1) * size)
                sums = _FRAME.unpack(file.read(_FRAME.size))[4:]
            file.seek(_HEAD.size + committed * size)
            rest = file.read()
    except (OSError, struct.error):
        return None  # no log, no index: nothing waits in it
    frames = [rest[i : i + size] for i in range(0, len(rest) - size + 1, size)]
    return _damage(frames, committed, tuple(salt), sums, _WORDS[magic])


def _damage(frames: list[bytes], committed: int, salt: Sums, sums: Sums, words: str) -> str | None:
    """Follow the frames behind the last commit as far as their checksums fit."""
    ours = [_FRAME.unpack_from(frame)[2:4] == salt for frame in frames]
    for n, frame in enumerate(frames):
        if not any(frame):
            return f"torn from frame {committed + n + 1} on"
        if ours[n]:
            sums = _summed(frame[_FRAME.size :], _summed(frame[:8], sums, words), words)
        if not ours[n] or _FRAME.unpack_from(frame)[4:] != sums:
            written = any(ours[n + 1 :]) or not all(map(any, frames[n + 1 :]))
            return f"damaged in frame {committed + n + 1}" if written else None
    return None


def _summed(data: bytes, sums: Sums, words: str) -> Sums:
    """The log's running checksum over 8-byte steps."""
    one, two = sums
    for a, b in struct.iter_unpack(words, data):
        one = (one + a + two) & 0xFFFFFFFF
        two = (two + b + one) & 0xFFFFFFFF
    return one, two
