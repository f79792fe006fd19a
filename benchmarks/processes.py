"""Benchmarks over several processes: children that report over a pipe, and what the system says of them."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine

PATIENCE_S = 30.0
_SPAWN = multiprocessing.get_context("spawn")


class Child:
    """A process that runs `work(pipe, *arguments)`; it says things over the pipe and is told things."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._pipe, far = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=work, args=(far, *arguments), daemon=True)
        self._process.start()
        far.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process.pid is not None
        return self._process.pid

    def tell(self, word: Any) -> None:
        self._pipe.send(word)

    def hear(self, patience_s: float = PATIENCE_S) -> Any:
        """The next thing it says; RuntimeError when it says nothing in time."""
        if not self._pipe.poll(patience_s):
            raise RuntimeError("a child of the benchmark said nothing")
        return self._pipe.recv()

    def end(self) -> None:
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def told(pipe: Connection) -> bool:
    """Whether the parent has said something."""
    return pipe.poll(0)


def pace(rate_hz: float, seconds: float, work: Callable[[int], None]) -> int:
    """Call `work(i)` at a steady rate; late calls are caught up with. Returns how many were made."""
    start_s = time.perf_counter()
    count = int(rate_hz * seconds)
    for i in range(count):
        wait_s = start_s + i / rate_hz - time.perf_counter()
        if wait_s > 0.0:
            time.sleep(wait_s)
        work(i)
    return count


def cpu_s() -> float:
    """Processor time of this process so far, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_mib(pid: int | None = None) -> float:
    """Resident memory of a process."""
    fields = Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / 2**20


def spread(values_s: Sequence[float]) -> dict[str, float]:
    """p50, p99 and largest in ms."""
    if not len(values_s):
        return {"p50_ms": float("nan"), "p99_ms": float("nan"), "max_ms": float("nan")}
    ms = 1e3 * np.asarray(values_s)
    return {
        "p50_ms": round(float(np.percentile(ms, 50)), 3),
        "p99_ms": round(float(np.percentile(ms, 99)), 3),
        "max_ms": round(float(ms.max()), 3),
    }


def table(rows: Sequence[tuple[str, str, str]]) -> None:
    """What, measured, to reach."""
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write(path: Path | None, results: dict[str, Any]) -> None:
    """Everything as JSON, if asked for."""
    if path is not None:
        head = {"machine": machine(), "python": platform.python_version()}
        path.write_text(json.dumps(_plain({**head, **results}), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """What JSON can hold: a figure that could not be measured is null."""
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
