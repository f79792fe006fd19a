"""Float16 rows for the tests of the kernels, and the instruction sets of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from navigation import _core

PAD = 32
INSTRUCTION_SETS = ("portable", "avx2", "avx512")


@contextmanager
def instruction_set(name: str) -> Iterator[bool]:
    """Kernels of this name inside, the best ones after; False where this machine has none of that name."""
    try:
        yield _core.use_instruction_set(name)
    finally:
        _core.use_instruction_set("")


def store(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(packed, scales) of rows (n, m)."""
    n, m = rows.shape
    packed = np.zeros((n, -(-m // PAD) * PAD), dtype=np.uint16)
    scales = np.zeros(n, dtype=np.float32)
    _core.pack_rows(np.ascontiguousarray(rows, dtype=np.float32), packed, scales)
    return packed, scales


def widened(packed: np.ndarray, scales: np.ndarray, m: int) -> np.ndarray:
    """(n, m) float64: what the store holds, by numpy."""
    return packed[:, :m].view(np.float16).astype(np.float64) * scales[:, None]
