"""What the window costs the engine: ticks of a scan alone and beside the window that draws it, turn about in one run.

The window is a process of its own, fed by another with poses twenty times a second and a map five times; both take
their share of the machine, as in a case. Run: python -m benchmarks.beside [--rounds N] [--ticks N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from benchmarks.live import Run, counted, path, setup_on
from benchmarks.machine import machine
from tests.navigation.ui.scene import messages, snapshot
from tracking.igtl import Server, encode

FEED_S, MAP_EVERY = 0.05, 4
BEGIN = 600
ENVIRONMENT = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}


def feed() -> None:
    """Publish for good what the engine would: its port on the first line."""
    server = Server(0)
    server.start()
    print(server.port, flush=True)
    number = 0
    while True:
        number += 1
        shot = snapshot(id=number)
        probe = shot.tools["Probe"]
        assert probe.matrix is not None
        moved = probe.matrix.copy()
        moved[:3, 3] += [np.sin(0.1 * number), np.cos(0.1 * number), 0.0]
        shot = replace(shot, tools={**shot.tools, "Probe": replace(probe, matrix=moved)})
        for message in messages(shot):
            if message.type != "IMAGE" or number % MAP_EVERY == 0:
                raw = encode(message.with_version(1)), encode(message.with_version(2))
                server.publish(*raw, (message.type, message.device), True)
        time.sleep(FEED_S)


@contextmanager
def window() -> Iterator[None]:
    """A window that draws a live scan."""
    words = [sys.executable, "-m", "benchmarks.beside", "--feed"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as feeder:
        assert feeder.stdout is not None
        where = f"127.0.0.1:{int(feeder.stdout.readline())}"
        drawn = [sys.executable, "-m", "navigation.ui", "--connect", where]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(drawn, stdout=quiet, stderr=quiet, env=ENVIRONMENT) as view:
            time.sleep(3.0)
            try:
                yield
            finally:
                view.kill()
                feeder.kill()


def ticks_ms(run: Run, first: int, count: int) -> tuple[float, float, float]:
    """Median and p99 of so many ticks, and the part of a core that they take."""
    run.took.clear()
    cpu, begun = time.process_time(), time.perf_counter()
    for _ in run.go_on(first, first + count):
        pass
    share = (time.process_time() - cpu) / (time.perf_counter() - begun)
    took = 1000.0 * np.array(run.took)
    return float(np.median(took)), float(np.quantile(took, 0.99)), share


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--ticks", type=int, default=150)
    parser.add_argument("--feed", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.feed:
        feed()
    print(machine())
    total = BEGIN + 2 * asked.rounds * asked.ticks
    setup = setup_on((128.0, 128.0, 96.0), 2.0)
    run = Run(setup, counted(setup, path(total, 45.0)))
    run.begin(BEGIN)
    at, rows = BEGIN, []
    for _ in range(asked.rounds):
        alone = ticks_ms(run, at, asked.ticks)
        with window():
            beside = ticks_ms(run, at + asked.ticks, asked.ticks)
        at += 2 * asked.ticks
        rows.append((alone, beside))
    table = np.array(rows)
    for name, k in (("alone", 0), ("beside the window", 1)):
        p50, p99, share = np.median(table[:, k], axis=0)
        print(f"{name:18s} tick p50 {p50:.1f} ms, p99 {p99:.1f} ms, {100 * share:.0f} % of a core")
    ratio = table[:, 1, 1] / table[:, 0, 1]
    print(f"p99 beside over alone: median {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})")


if __name__ == "__main__":
    main()
