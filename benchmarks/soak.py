"""Half an hour of the window at its own rate of frames and messages, as fast as it goes: what grows, what fails.

A real server, a real socket, the whole application off screen; every minute the engine falls silent, the probe is
lost and the steps, the corner, the lock and the colours change. Run: python -m benchmarks.soak [--minutes N]
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from dataclasses import dataclass, replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PyQt5.QtWidgets import QApplication

from benchmarks.machine import machine
from navigation.engine.snapshot import Snapshot
from navigation.ui.dashboard import CAMERA, CORNERS
from navigation.ui.window import FRAME_MS, LiveWindow, Options
from tests.navigation.ui.scene import activity_map, messages, snapshot
from tracking.igtl import Message, Server, encode

# Where no banner stands.
NOTHING = "nothing"
FRAMES_A_MINUTE = 60_000 // FRAME_MS
STATUS_EVERY, MAP_EVERY = 4, 3
# Once a minute, for so many frames' messages.
SILENT_AT, LOST_AT, GAP = 200, 600, 6
# Frames after a gap in which its end need not be seen yet: the next heartbeat has to come.
SETTLE = 48
# Real seconds that make what was sent before old, and in which a message arrives.
OLD_S = {"silent": 1.1, "lost": 0.15}


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a run came to: MiB at a sixth, the half and the end; ms of each frame; banners seen in each kind of gap."""

    memory_mib: tuple[float, float, float]
    frames_ms: np.ndarray
    threads: tuple[int, int]
    files: tuple[int, int]
    banners: dict[str, set[str]]


def resident_mib() -> float:
    """Memory of this process now."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmRSS")) / 1024.0


def open_files() -> int:
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


class Feed:
    """The engine's side: frames of messages, with the gaps of a minute."""

    def __init__(self, gaps_every: int) -> None:
        self._gaps_every = gaps_every
        self.server = Server(0)
        self.server.start()
        self._maps = [activity_map(version) for version in range(1, 9)]

    def send(self, number: int) -> str:
        """The messages of a frame; returns which gap it lies in, if any."""
        minute, in_minute = divmod(number, FRAMES_A_MINUTE)
        if minute % self._gaps_every:
            in_minute = 0
        if SILENT_AT <= in_minute < SILENT_AT + GAP:
            return "silent"
        lost = LOST_AT <= in_minute < LOST_AT + GAP
        for message in messages(self._shot(number, lost)):
            if self._due(message, number):
                raw = encode(message.with_version(1)), encode(message.with_version(2))
                self.server.publish(*raw, (message.type, message.device), True)
        settling = any(at + GAP <= in_minute < at + GAP + SETTLE for at in (SILENT_AT, LOST_AT))
        return "lost" if lost else "settling" if settling else ""

    def _shot(self, number: int, lost: bool) -> Snapshot:
        shot = snapshot(id=number, map=self._maps[number // MAP_EVERY % len(self._maps)])
        probe = shot.tools["Probe"]
        assert probe.matrix is not None
        moved = probe.matrix.copy()
        moved[:3, 3] += [5.0 * np.sin(0.05 * number), 5.0 * np.cos(0.05 * number), 0.0]
        told = replace(probe, matrix=None if lost else moved, valid=not lost, seq=number)
        return replace(shot, tools={**shot.tools, "Probe": told})

    @staticmethod
    def _due(message: Message, number: int) -> bool:
        if message.type == "IMAGE":
            return number % MAP_EVERY == 0
        return message.type != "STRING" or number % STATUS_EVERY == 0


def soak(
    minutes: int, frames_a_minute: int = FRAMES_A_MINUTE, with_3d: bool = True, gaps_every: int = 1
) -> Soaked:
    """Run it; `frames_a_minute` thins the minutes out, one in `gaps_every` has gaps. Whatever fails is raised."""
    application = QApplication.instance() or QApplication([])
    feed = Feed(gaps_every)
    window = LiveWindow(Options("127.0.0.1", feed.server.port, None, None, None), lambda: None)
    window.start()
    while not window.link.was_connected:
        time.sleep(0.01)
    memory: list[float] = []
    took: list[float] = []
    banners: dict[str, set[str]] = {"silent": set(), "lost": set(), "settling": set(), "": set()}
    step = max(1, FRAMES_A_MINUTE // frames_a_minute)
    total = minutes * FRAMES_A_MINUTE
    marks = {total // 6 // step * step, total // 2 // step * step}
    threads = files = 0
    for number in range(0, total, step):
        in_minute = number % FRAMES_A_MINUTE
        gap = feed.send(number)
        if gap in ("silent", "lost") and in_minute - step < (SILENT_AT if gap == "silent" else LOST_AT):
            time.sleep(OLD_S[gap])  # the gap begins: what came before is old by the time it is drawn
        begun = time.perf_counter()
        window.frame()
        window.shell.grab()
        took.append(1000.0 * (time.perf_counter() - begun))
        application.processEvents()
        state = window.dashboard._state
        assert state is not None
        banners[gap].update(state.banners or (NOTHING,))
        _change(window, number // step, with_3d)
        if number in marks:
            memory.append(resident_mib())
        if number == total // 6 // step * step:
            threads, files = threading.active_count(), open_files()
    found = Soaked(
        (memory[0], memory[1], resident_mib()),
        np.array(took),
        (threads, threading.active_count()),
        (files, open_files()),
        banners,
    )
    window.close()
    window.shell.close()
    feed.server.stop()
    return found


def _change(window: LiveWindow, number: int, with_3d: bool) -> None:
    """What a hand does now and then."""
    board = window.dashboard
    if number % 97 == 0:
        offered = [c for c in CORNERS if c != CAMERA and (with_3d or c != "3d")]
        board.corner = offered[number // 97 % len(offered)]
    if number % 53 == 0:
        for what in ("lock", "colours", "axes", "next-target"):
            board.do(what)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    asked = parser.parse_args()
    print(machine())
    begun = time.perf_counter()
    found = soak(asked.minutes)
    took = found.frames_ms
    print(f"{asked.minutes} minutes, {len(took)} frames in {time.perf_counter() - begun:.0f} s, no exception")
    print(f"frame median {np.median(took):.1f} ms, p99 {np.quantile(took, 0.99):.1f} ms")
    print("memory at 1/6, 1/2 and the end: " + ", ".join(f"{m:.0f} MiB" for m in found.memory_mib))
    print(
        f"threads {found.threads[0]} and {found.threads[1]}, open files {found.files[0]} and {found.files[1]}"
    )


if __name__ == "__main__":
    main()
