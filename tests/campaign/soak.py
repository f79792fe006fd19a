"""A day in the operating room at many times its pace: does anything grow, leak or fail?

The real engine, recorder and publisher with three real clients; the instruments are played with faults
(holes, repeats, overtaken and lost messages, set clocks) on a clock that runs `--speed` times as fast.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from navigation.engine.assembly import head_of
from navigation.engine.events import EngineEvent
from navigation.engine.imaging import Imager
from navigation.engine.keeping import KeptRecorder
from navigation.engine.live import LiveEngine
from navigation.engine.session import Session
from navigation.publish import Publisher
from tests.navigation.engine.fakes import EPOCH_S, build, settings, stream
from tracking.igtl.link import Client
from tracking.recording import Recorder

CHUNK_S = 10.0
SCAN_EVERY_S, SCAN_S = 1800.0, 60.0
SAMPLE_EVERY_S = 600.0
# The first quarter fills histories that are bounded by design.
WARM_SHARE = 0.25
MOST_MIB_PER_HOUR = 1.0
# A scan's own readings and path stay for the report: 60 s at 60 Hz are half a megabyte of poses and as much of counts.
MIB_PER_SCAN = 1.5
REPEATED, LOST, LATE, LONGEST_DELAY_S = 0.05, 0.02, 0.05, 0.2
HOLE_EVERY_S, HOLE_S = 300.0, 4.0


class Faults(logging.Handler):
    """Counts what was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def spoiled(events: list[EngineEvent], rng: np.random.Generator) -> list[EngineEvent]:
    """The same messages as a bad network would hand them on."""
    out: list[EngineEvent] = []
    for event in events:
        if rng.random() < LOST or (event.arrival_s % HOLE_EVERY_S) < HOLE_S:
            continue
        late = rng.uniform(0.0, LONGEST_DELAY_S) if rng.random() < LATE else 0.0
        copies = 2 if rng.random() < REPEATED else 1
        out += [EngineEvent(event.source, event.arrival_s + late, event.kind, event.payload)] * copies
    return sorted(out, key=lambda e: e.arrival_s)


def day(seconds: float, seed: int) -> Iterator[list[EngineEvent]]:
    rng = np.random.default_rng(seed)
    start_s, seq = EPOCH_S + 10.0, 1
    while start_s < EPOCH_S + 10.0 + seconds:
        chunk = list(stream(CHUNK_S, start_s=start_s, first_seq=seq))
        seq += round(CHUNK_S / 0.1)
        start_s += CHUNK_S
        yield spoiled(chunk, rng)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Soak:
    """The engine on a clock of its own, and what it costs over the day."""

    def __init__(self, folder: Path, speed: float) -> None:
        self.now_s = EPOCH_S + 10.0
        self.speed = speed
        self.session = Session(settings())
        self.recorder = Recorder(folder / "record.gnav", head_of(self.session.settings))
        self.publisher = Publisher(0)
        kept = KeptRecorder(self.recorder)
        self.engine = LiveEngine(
            self.session, Imager(build), kept, self.publisher.show, clock=lambda: self.now_s
        )
        self.samples: list[tuple[float, float, int, int]] = []

    def run(self, seconds: float, seed: int) -> None:
        self.publisher.start()
        clients = [
            Client("127.0.0.1", self.publisher.server.port, f"viewer-{i}", lambda *_: None) for i in range(3)
        ]
        for client in clients:
            client.start()
        for thread in self.engine._threads:
            thread.start()
        scan, next_sample_s = 0, 0.0
        for number, chunk in enumerate(day(seconds, seed)):
            passed_s = number * CHUNK_S
            if passed_s % SCAN_EVERY_S == SCAN_S:
                scan += 1
                self.engine.command("start", mode="scan", name=f"scan-{scan}").result(60.0)
            if passed_s % SCAN_EVERY_S == 2 * SCAN_S:
                self.engine.command("stop").result(60.0)
                self.engine.command("analyze", scan=f"scan-{scan}").result(60.0)
            self._play(chunk)
            if passed_s >= next_sample_s:
                next_sample_s = passed_s + SAMPLE_EVERY_S
                self._sample(passed_s)
        for client in clients:
            client.stop()
        self.engine.stop()
        self.publisher.stop()
        self.recorder.close()

    def _play(self, chunk: list[EngineEvent]) -> None:
        """One chunk at the clock's pace; the engine is waited for when it falls behind."""
        began = time.monotonic()
        for event in chunk:
            ahead_s = (event.arrival_s - self.now_s) / self.speed
            if ahead_s > 0.002:
                time.sleep(ahead_s)
            self.now_s = max(self.now_s, event.arrival_s)
            self.engine._on_raw(event.source, event.arrival_s, event.payload)
        while self.engine._inbox.qsize() > 100 and time.monotonic() - began < 60.0:
            time.sleep(0.001)

    def _sample(self, passed_s: float) -> None:
        found = (passed_s / 3600.0, rss_mib(), len(os.listdir("/proc/self/fd")), threading.active_count())
        self.samples.append(found)
        print("{:6.2f} h  {:7.1f} MiB  {:3d} files  {:2d} threads".format(*found), flush=True)


def verdict(samples: list[tuple[float, float, int, int]], faults: list[str]) -> int:
    warm = samples[int(len(samples) * WARM_SHARE) :]
    hours, rss, files, threads = (np.array(column) for column in zip(*warm, strict=True))
    slope = float(np.polyfit(hours, rss, 1)[0]) if len(warm) > 2 else float("nan")
    allowed = MOST_MIB_PER_HOUR + MIB_PER_SCAN * 3600.0 / SCAN_EVERY_S
    print(f"{slope:+.2f} MiB per hour (at most {allowed:.2f}), {len(faults)} errors {faults[:3]}")
    same = len(set(files.tolist())) == 1 and len(set(threads.tolist())) == 1
    return int(not (slope < allowed and same and not faults))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--speed", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    faults = Faults()
    logging.getLogger().addHandler(faults)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.speed)
        soak.run(3600.0 * options.hours, options.seed)
    return verdict(soak.samples, faults.texts)


if __name__ == "__main__":
    sys.exit(main())
