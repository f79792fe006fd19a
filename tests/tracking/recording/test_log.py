"""How a write-ahead log may end without anything being lost, and how it may not."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest

from tracking.recording.log import _summed, log_damage

HEAD, FRAME = 32, 24 + 4096


def in_python(data: bytes, s: int, t: int, words: str) -> tuple[int, int]:
    """The checksum as the file format's description has it, one pair after the other."""
    for a, b in struct.iter_unpack(words, data):
        s = (s + a + t) & 0xFFFFFFFF
        t = (t + b + s) & 0xFFFFFFFF
    return s, t


@pytest.mark.parametrize(("numpy_words", "struct_words"), [("<u4", "<II"), (">u4", ">II")])
def test_all_pairs_at_once_give_the_same_checksum(numpy_words: str, struct_words: str) -> None:
    rng = np.random.default_rng(1)
    for size in (8, 24, 4104):
        data = rng.bytes(size)
        s, t = (int(v) for v in rng.integers(0, 1 << 32, 2))
        assert _summed(data, (s, t), numpy_words) == in_python(data, s, t, struct_words)


@pytest.fixture
def log(tmp_path: Path) -> bytes:
    """A log of 30 commits, begun anew after it was moved, with 10 commits and old frames behind them."""
    path = tmp_path / "r"
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("CREATE TABLE t (x)")
    for n in range(40):
        if n == 30:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with database:
            database.execute("INSERT INTO t VALUES (?)", (bytes(1000),))
    data = (tmp_path / "r-wal").read_bytes()
    database.close()
    return data


def ours(data: bytes) -> int:
    """Frames at the start that carry the head's salt."""
    frames = range(HEAD, len(data), FRAME)
    return sum(data[i + 8 : i + 16] == data[16:24] for i in frames)


def said(folder: Path, data: bytes) -> str | None:
    (folder / "log").write_bytes(data)
    return log_damage(folder / "log")


def test_a_log_that_was_begun_anew_is_whole(log: bytes, tmp_path: Path) -> None:
    n = ours(log)
    assert 0 < n < (len(log) - HEAD) // FRAME
    assert said(tmp_path, log) is None
    assert log_damage(tmp_path / "none") is None


def test_a_frame_that_a_killed_process_left_half_written_is_no_damage(log: bytes, tmp_path: Path) -> None:
    end = HEAD + ours(log) * FRAME
    head = log[end - FRAME : end - FRAME + 24]
    assert said(tmp_path, log[:end] + head) is None  # at the end of the file
    assert said(tmp_path, log[:end] + head + log[end + 24 :]) is None  # over a page of the old log


def test_a_flipped_bit_names_its_frame(log: bytes, tmp_path: Path) -> None:
    n = ours(log)
    for frame in range(1, n):
        changed = bytearray(log)
        changed[HEAD + frame * FRAME - 1] ^= 1
        assert said(tmp_path, bytes(changed)) == f"damaged in frame {frame}"
    changed = bytearray(log[: HEAD + n * FRAME])
    changed[-1] ^= 1
    assert said(tmp_path, bytes(changed)) == f"damaged in frame {n}"
    changed = bytearray(log)
    changed[9] ^= 1
    assert said(tmp_path, bytes(changed)) == "its head is damaged"


def test_zeros_are_no_end(log: bytes, tmp_path: Path) -> None:
    keep = HEAD + 2 * FRAME
    assert said(tmp_path, log[:keep] + bytes(len(log) - keep)) == "damaged in frame 3"
