"""What the window costs: from its start to its first frame, and a frame of each layout on a CT of 256^3 and a live map.

Frames are whole ones of 1600 x 1000, painted without a GPU. Run: python -m benchmarks.window [--frames N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PyQt5.QtWidgets import QApplication

from benchmarks.machine import machine
from navigation.ui.compose import Backdrop
from navigation.ui.dashboard import CORNERS, FIELD_3D, Dashboard
from navigation.volume import VoxelGrid
from tests.navigation.ui.scene import FOCUS_MM, messages, model_of, snapshot
from tracking.igtl import Server, encode

CT_VOXELS, CT_MM = 256, 1.4
STARTS = 5


def start_s() -> tuple[float, float]:
    """Seconds from the start of the window's process to its first frame, and its memory then in MiB."""
    server = Server(0)
    server.start()
    for message in messages(snapshot()):
        first, second = encode(message.with_version(1)), encode(message.with_version(2))
        server.publish(first, second, (message.type, message.device), True)
    began = time.perf_counter()
    words = [sys.executable, "-m", "navigation.ui", "--connect", f"127.0.0.1:{server.port}", "--talk"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as window:
        assert window.stdout is not None
        while "beat" not in json.loads(window.stdout.readline()):
            pass
        took = time.perf_counter() - began
        with open(f"/proc/{window.pid}/status", encoding="ascii") as status:
            resident = next(int(row.split()[1]) for row in status if row.startswith("VmRSS"))
        window.kill()
    server.stop()
    return took, resident / 1024.0


def board_of(application: QApplication) -> Dashboard:
    """The views on a CT of the stated size; the 3D view once it is ready."""
    board = Dashboard(lambda: None, lambda number: None)
    board.resize(1600, 1000)
    grid = VoxelGrid.aligned(FOCUS_MM - 0.5 * CT_VOXELS * CT_MM, CT_MM, (CT_VOXELS,) * 3)
    board.backdrop = Backdrop(grid, np.random.default_rng(1).normal(0, 60, grid.shape).astype(np.float32))
    board.view_3d.prepare(None)
    while board.view_3d._works is None:
        application.processEvents()
        time.sleep(0.05)
    return board


def frames(board: Dashboard, corner: str, count: int) -> np.ndarray:
    """Milliseconds of each of so many frames; the probe moves from one to the next."""
    shot, out = snapshot(), []
    board.corner = corner
    for i in range(count):
        pose = shot.tools["Probe"].matrix
        assert pose is not None
        moved = pose.copy()
        moved[:3, 3] += [0.5 * np.sin(i), 0.3 * np.cos(i), 0.0]
        tools = {**shot.tools, "Probe": replace(shot.tools["Probe"], matrix=moved)}
        state = model_of(replace(shot, tools=tools)).state(0.05)
        if corner == FIELD_3D:
            board.view_3d._drawn = None  # each frame rendered anew, not five a second
        began = time.perf_counter()
        board.show_state(state)
        board.grab()
        out.append(1000.0 * (time.perf_counter() - began))
    return np.array(out)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    asked = parser.parse_args()
    print(machine())
    starts = [start_s() for _ in range(STARTS)]
    took, memory = np.array(starts).T
    print(
        f"start to first frame {np.median(took):.2f} s, at most {took.max():.2f}; {np.median(memory):.0f} MiB"
    )
    application = QApplication([])
    board = board_of(application)
    for corner in CORNERS:
        found = frames(board, corner, asked.frames)
        median, late = np.median(found), np.quantile(found, 0.99)
        print(f"{corner:6s} median {median:6.1f} ms ({1000 / median:.0f} a second), p99 {late:6.1f} ms")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
