"""A small recorded session: a moving probe, a moving reference, a counter, two phases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_sensor_message
from tracking.igtl.poses import pose_message
from tracking.recording import Recorder
from tracking.sample import CountSample, PoseSample

EPOCH_S = 1_700_000_000.0
STEP_S = 0.02
HIDDEN = (1.5, 1.8)  # the probe falls silent


def shifted(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return matrix


def probe_at(t: float) -> np.ndarray:
    return shifted(20.0 * t, 5.0, -3.0)


def reference_at(t: float) -> np.ndarray:
    return shifted(0.5 * t, -2.0, 1.0)


def messages(seconds: float = 4.0) -> list[tuple[str, float, bytes]]:
    """(source, arrival, raw) in order of arrival; the counts of interval i are 10 + i % 7."""
    found: list[tuple[str, float, bytes]] = []
    for i in range(round(seconds / STEP_S)):
        t = STEP_S * i
        tools = {"ReferenceToTracker": reference_at(t), "ProbeToTracker": probe_at(t)}
        if HIDDEN[0] < t < HIDDEN[1]:
            del tools["ProbeToTracker"]
        for name, matrix in tools.items():
            raw = encode(pose_message(PoseSample(name, EPOCH_S + t, matrix)))
            found.append(("tracker", EPOCH_S + t + 0.002, raw))
    total = 0.0
    for i in range(1, round(seconds / 0.1)):
        counts = 10.0 + i % 7
        total += counts
        sample = CountSample(EPOCH_S + 0.1 * i, i, counts, 0.1, total, 0.1 * i)
        found.append(("probe", EPOCH_S + 0.1 * i + 0.005, encode(counts_sensor_message(sample))))
    return sorted(found, key=lambda m: m[1])


def record(path: Path, meta: dict[str, object] | None = None) -> Path:
    """The session on file, with scan-1 from 0.5 to 2.5 s and scan-2 from 3.0 s to the end."""
    head = {"nuclide": "Tc-99m", "epoch_s": EPOCH_S, "simulated": True, **(meta or {})}
    marks = [("scan-1", "start", 0.5), ("scan-1", "stop", 2.5), ("scan-2", "start", 3.0)]
    with Recorder(path, head) as recorder:
        for name, action, t in marks:
            mark = {"phase": name, "action": action, "t_s": EPOCH_S + t}
            recorder.append("engine", EPOCH_S + t, "phase", json.dumps(mark).encode())
        for source, arrival_s, raw in messages():
            recorder.append(source, arrival_s, "raw", raw)
    return path
