"""A simulated bench on real sockets that begins its phase when somebody listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from navigation.simulate import bench_scene
from navigation.simulate.stage import Stage

LISTEN_S = 20.0


@contextmanager
def bench(name: str, seed: int = 1, speed: float = 6.0) -> Iterator[tuple[Stage, int, int]]:
    """The stage and its ports; tracker and probe play `name` from the first listener on."""
    stage = Stage(bench_scene(name, seed), 0, speed=speed)
    tracker, probe = stage.start()
    player = threading.Thread(target=stage.play, name="bench", daemon=True)
    starter = threading.Thread(target=_begin, args=(stage, name), name="begin", daemon=True)
    player.start()
    starter.start()
    try:
        yield stage, tracker, probe
    finally:
        stage.stop.set()
        player.join(10.0)
        starter.join(10.0)
        stage.close()


def _begin(stage: Stage, name: str) -> None:
    deadline = time.monotonic() + LISTEN_S
    while time.monotonic() < deadline and not stage.stop.is_set():
        if stage.tracker_server.clients or stage.probe_server.clients:
            stage.command(name)
            return
        stage.stop.wait(0.05)
