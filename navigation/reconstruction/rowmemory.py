"""Memory for a store of rows: reserved once, in huge pages, and taken from the machine only as it is written to."""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from tracking.errors import SurroundingsError

# Not in Python's mmap before 3.13: address space is no promise of memory.
MAP_NORESERVE = 0x4000


def reserved(rows: int, stride: int) -> NDArray[np.uint16]:
    """(rows, stride) of zeros. Raises SurroundingsError where the machine has no such address space."""
    size = max(rows * stride * 2, mmap.PAGESIZE)
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except OSError as fault:
        raise SurroundingsError(f"no memory for {rows} response rows ({size >> 20} MiB): {fault}") from fault
    # A kernel without huge pages says so; ordinary ones do as well.
    with suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint16, count=rows * stride).reshape(rows, stride)
