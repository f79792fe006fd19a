"""The recorder at 1 kHz and two images of 1 MiB a second, beside plain SQLite in WAL mode without chain or seal.

Run: python -m benchmarks.recorder [SECONDS]; then a record of half an hour is written, read, and gone on with.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.machine import machine
from tracking.recording import Record, Recorder
from tracking.recording.store import Row, Store

P, R = ParamSpec("P"), TypeVar("R")
RATE_HZ, IMAGES_S = 1000, 0.5
SMALL, LARGE = os.urandom(130), os.urandom(1 << 20)
HALF_HOUR_S = 1800


class PlainStore(Store):
    """What a user would write: the same rows without links, folded by the commits themselves."""

    def commit(self, rows: list[Row], unseal: bool = False) -> None:  # type: ignore[override]
        with self._database:
            self._database.executemany(
                "INSERT INTO event (arrival_s, source, kind, payload, chain) VALUES (?, ?, ?, ?, x'')", rows
            )

    def tidy(self) -> None:
        """Nothing to do."""


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def measured(path: Path, seconds: float, plain: bool) -> str:
    """Feed a recorder at the rates; commits, appends and CPU."""
    recorder = Recorder(path, {})
    if plain:
        recorder._store.__class__ = PlainStore
        recorder._store._database.execute("PRAGMA wal_autocheckpoint = 1000")
    commits: list[float] = []
    recorder._store.commit = timed(recorder._store.commit, commits)  # type: ignore[method-assign]
    appends: list[float] = []
    append = timed(recorder.append, appends)
    cpu, began = time.process_time(), time.perf_counter()
    next_s = image_s = began
    while next_s < began + seconds:
        append("tracker", next_s, "raw", SMALL)
        if next_s >= image_s:
            append("engine", next_s, "map", LARGE)
            image_s += IMAGES_S
        next_s += 1.0 / RATE_HZ
        time.sleep(max(0.0, next_s - time.perf_counter()))
    used = time.process_time() - cpu
    idle = idle_cpu(seconds)
    health = recorder.health
    recorder.close()
    return (
        f"commit p50 {1e3 * percentile(commits, 0.5):.2f} ms, p99 {1e3 * percentile(commits, 0.99):.2f} ms, most "
        f"{1e3 * max(commits):.1f} ms; append p99 {1e6 * percentile(appends, 0.99):.0f} us, most "
        f"{1e3 * max(appends):.2f} ms; CPU {100 * (used - idle) / seconds:.1f} % of a core (the feeding loop "
        f"alone {100 * idle / seconds:.1f} %); lost {health.lost}"
    )


def idle_cpu(seconds: float) -> float:
    """CPU seconds of the feeding loop without a recorder, from a tenth of the time."""
    cpu, began = time.process_time(), time.perf_counter()
    next_s = began
    while next_s < began + seconds / 10:
        next_s += 1.0 / RATE_HZ
        time.sleep(max(0.0, next_s - time.perf_counter()))
    return 10 * (time.process_time() - cpu)


def timed(work: Callable[P, R], into: list[float]) -> Callable[P, R]:
    """`work`, with the seconds of every call put into `into`."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            into.append(time.perf_counter() - began)

    return run


def half_hour(path: Path) -> None:
    """Half an hour of 200 messages and a map of 1 MiB a second: written at once, read, gone on with."""
    began = time.perf_counter()
    with Recorder(path, {}) as recorder:
        for second in range(HALF_HOUR_S):
            for n in range(201):
                kind, payload = ("map", LARGE) if n == 200 else ("raw", SMALL)
                while not recorder.append("s", second + n / 201, kind, payload):
                    time.sleep(0.01)
    print(f"half an hour, {path.stat().st_size >> 20} MiB: written in {time.perf_counter() - began:.1f} s")
    for title, work in (
        ("read and verified", lambda: sum(1 for _ in Record(path).events())),
        ("raw messages picked", lambda: sum(1 for _ in Record(path).picked("raw"))),
    ):
        began = time.perf_counter()
        rows = work()
        print(f"{title}: {rows} rows in {time.perf_counter() - began:.2f} s")
    for title, whole in (("newest rows checked", False), ("all rows checked", True)):
        began = time.perf_counter()
        recorder = Recorder.resume(path, whole=whole)
        print(f"gone on with, {title}: {time.perf_counter() - began:.2f} s")
        recorder.close()


def main() -> None:
    """All of it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    print(machine())
    print(
        f"SQLite {sqlite3.sqlite_version}; each second {RATE_HZ} messages of {len(SMALL)} bytes and "
        f"{1 / IMAGES_S:.0f} images of 1 MiB"
    )
    with tempfile.TemporaryDirectory() as folder:
        for n, plain in enumerate((False, True, False, True)):
            title = "plain WAL" if plain else "chained"
            print(f"{title}: {measured(Path(folder) / f'{n}.gnav', seconds, plain)}")
        half_hour(Path(folder) / "half.gnav")


if __name__ == "__main__":
    main()
