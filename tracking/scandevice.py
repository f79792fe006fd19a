"""A scan folder as a device: its rows come as the messages a tracker and a counter would have sent.

It does not model delays: every message arrives at its own stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tracking.device import EventDevice, OnRaw, OnState
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_string_message
from tracking.igtl.poses import pose_message
from tracking.recording.reader import Event
from tracking.recording.replay import MAX_SPEED
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.scanfolder import Scan, read_scan

HIDDEN_MATRIX = np.eye(4)


def scan_epoch_s(scan: Scan) -> float:
    """Unix seconds of the scan's t = 0; without a reference time 0, or what keeps all stamps positive."""
    if scan.reference_time is not None:
        when = datetime.fromisoformat(scan.reference_time)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    first = min(float(scan.poses.t_s[0]), float(scan.counts.t_s[0]))
    return float(max(0.0, np.ceil(-first)))


def scan_events(scan: Scan, source: str) -> Iterator[Event]:
    """The scan's messages in order of time, as events named `source`; hidden poses say MISSING."""
    epoch = scan_epoch_s(scan)
    times = np.concatenate([scan.poses.t_s, scan.counts.t_s])
    n_poses = len(scan.poses.t_s)
    samples = _count_samples(scan, epoch)
    for number, row in enumerate(np.argsort(times, kind="stable"), start=1):
        t_s = epoch + float(times[row])
        if row < n_poses:
            raw = _pose_bytes(scan, int(row), t_s)
        else:
            raw = encode(counts_string_message(samples[row - n_poses], version=2))
        yield Event(number, t_s, source, "raw", raw)


def _pose_bytes(scan: Scan, row: int, t_s: float) -> bytes:
    visible = bool(scan.poses.visible[row])
    matrix = scan.poses.matrices[row] if visible else HIDDEN_MATRIX
    status = PoseStatus.OK if visible else PoseStatus.MISSING
    return encode(pose_message(PoseSample(scan.pose_name, t_s, matrix, status), version=2))


def _count_samples(scan: Scan, epoch_s: float) -> list[CountSample]:
    counts = scan.counts
    totals, live = np.cumsum(counts.counts), np.cumsum(counts.window_s)
    return [
        CountSample(
            t_s=epoch_s + float(counts.t_s[i]),
            seq=i + 1,
            counts=float(counts.counts[i]),
            interval_s=float(counts.window_s[i]),
            counts_total=float(totals[i]),
            live_time_s=float(live[i]),
            nuclide=scan.nuclide,
        )
        for i in range(len(counts.t_s))
    ]


class ScanFolderDevice(EventDevice):
    """Plays a scan folder; it fails with the folder's first fault when that is malformed."""

    def __init__(
        self,
        name: str,
        folder: Path,
        on_raw: OnRaw,
        on_state: OnState | None = None,
        speed: float = MAX_SPEED,
    ) -> None:
        super().__init__(name, on_raw, on_state, speed)
        self._folder = folder

    def _events(self) -> Iterator[Event]:
        yield from scan_events(read_scan(self._folder), self.name)
