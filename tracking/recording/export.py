"""Scan phases of a record as scans: the same poses and counts that the live engine saw, as a scan folder.

A phase lies between two `phase` events whose JSON payload is `{"phase": "scan-1", "action": "start" | "stop",
"t_s": stamp}`, `t_s` on the clock of the devices' stamps (the event's arrival where it is absent).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.counts import CountInterval
from tracking.errors import InputError
from tracking.hub import Hub
from tracking.jsonfile import number_of
from tracking.recording.reader import Event, Record
from tracking.scanfolder import MARKER_POSES, TIP_POSES, CountTable, PoseTable, Scan, read_scan
from tracking.transform import rigidity_fault

PROBE, PROBE_TIP = "Probe", "ProbeTip"
# Poses kept round the counting intervals: for any count latency and for interpolation at the borders.
POSE_MARGIN_S = 0.5
# Stamps at a border of a phase may differ by rounding.
BORDER_ROUNDING_S = 1e-6
# About five hours at 60 Hz: an export reads the whole record before it cuts.
EXPORT_CAPACITY = 1 << 20


@dataclass(frozen=True, slots=True)
class Phase:
    """A named stretch of a record in seconds of the devices' stamps."""

    name: str
    start_s: float
    stop_s: float


def open_scan(where: Path) -> Scan:
    """A scan from a folder, or from a record: `RECORD`, or `RECORD#scan-2` where it holds several phases.

    Raises InputError as `read_scan` and `export_scan`.
    """
    if where.is_dir():
        return read_scan(where)
    name, _, phase = where.name.partition("#")
    path = where if where.is_file() else where.with_name(name)
    if not path.is_file():
        raise InputError(f"{where}: no such scan folder or record")
    found = phases_of(Record(path))
    if not phase and len(found) != 1:
        raise InputError(f"{path}: holds {', '.join(found) or 'no scan'}; name one as {path.name}#NAME")
    return export_scan(path, phase or next(iter(found)))


def phases_of(record: Record) -> dict[str, Phase]:
    """Phases by name; one without a stop ends with the record. Raises InputError for a bad phase event."""
    began: dict[str, float] = {}
    found: dict[str, Phase] = {}
    for event in record.events("phase"):
        content = event.content()
        name, t_s = str(content.get("phase")), _stamp_of(content, event)
        if content.get("action") == "start":
            began[name] = t_s
            found[name] = Phase(name, t_s, np.inf)
        elif content.get("action") == "stop" and name in began:
            found[name] = Phase(name, began[name], t_s)
        else:
            raise InputError(f"{record.path}, event {event.id}: not a start or stop of a phase")
    return found


def export_scan(
    path: Path,
    phase: str | Phase,
    T_probe_probetip: NDArray[np.float64] | None = None,
    surface_mm: NDArray[np.float64] | None = None,
) -> Scan:
    """One phase of the record at `path` as a scan, ready for `write_scan`.

    The record's head gives `nuclide`, and where present `epoch_s` (Unix time of t = 0, else the whole second
    before the start), `dead_time_s`, `count_latency_s`, `simulated`, `T_probe_probetip` (4, 4). With a tip
    the poses are ProbeTipToReference, else ProbeToReference. Raises InputError when the record has no such
    phase, no counts or no visible probe in it.
    """
    record = Record(path)
    stretch = phase if isinstance(phase, Phase) else phases_of(record).get(phase)
    if stretch is None:
        raise InputError(f"{path}: has no phase {phase!r}")
    hub, intervals = _played(record)
    kept = [i for i in intervals if _inside(i, stretch)]
    if not kept:
        raise InputError(f"{path}: no counts in {stretch.name}")
    epoch = number_of(record.meta, "epoch_s", path)
    epoch = float(np.floor(stretch.start_s)) if epoch is None else epoch
    tip = _tip_of(record.meta, path) if T_probe_probetip is None else T_probe_probetip
    pose_name, poses = _poses(hub, kept, tip, path)
    nuclide = record.meta.get("nuclide")
    if not isinstance(nuclide, str):
        raise InputError(f"{path}: its head names no nuclide")
    return Scan(
        nuclide=nuclide,
        reference_time=datetime.fromtimestamp(epoch, UTC).isoformat(),
        pose_name=pose_name,
        poses=PoseTable(poses.t_s - epoch, poses.matrices),
        counts=_table(kept, epoch),
        dead_time_s=number_of(record.meta, "dead_time_s", path, lowest=0.0),
        count_latency_s=number_of(record.meta, "count_latency_s", path, lowest=0.0),
        surface_mm=surface_mm,
        source=path,
        simulated=bool(record.meta.get("simulated", False)),
    )


def _stamp_of(content: Mapping[str, Any], event: Event) -> float:
    value = content.get("t_s", event.arrival_s)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"event {event.id} (phase): t_s is {value!r}, not a number")
    return float(value)


def _played(record: Record) -> tuple[Hub, list[CountInterval]]:
    """The hub after all raw messages, and every counting interval."""
    hub = Hub(capacity=EXPORT_CAPACITY)
    intervals: list[CountInterval] = []
    for event in record.events("raw"):
        intervals += hub.handle(event.source, event.arrival_s, event.payload)
    intervals += hub.counts.flush()
    return hub, intervals


def _inside(interval: CountInterval, phase: Phase) -> bool:
    begins = interval.t_end_s - interval.window_s >= phase.start_s - BORDER_ROUNDING_S
    return begins and interval.t_end_s <= phase.stop_s + BORDER_ROUNDING_S


def _poses(
    hub: Hub, intervals: list[CountInterval], tip: NDArray[np.float64] | None, path: Path
) -> tuple[str, PoseTable]:
    direct = f"{PROBE_TIP}ToReference" in hub.buffer.names
    tool = PROBE_TIP if direct else PROBE
    track = hub.buffer.chain(tool)[0]
    t_s = track.frame_times(
        intervals[0].t_end_s - intervals[0].window_s - POSE_MARGIN_S,
        intervals[-1].t_end_s + POSE_MARGIN_S,
    )
    matrices, valid = hub.buffer.tool_in_reference(tool, t_s, None if direct else tip)
    if not valid.any():
        raise InputError(f"{path}: the probe is never visible there")
    return TIP_POSES if direct or tip is not None else MARKER_POSES, PoseTable(t_s, matrices)


def _table(intervals: list[CountInterval], epoch_s: float) -> CountTable:
    t_end, counts, window = np.array([(i.t_end_s, i.counts, i.window_s) for i in intervals]).T
    return CountTable(t_end - epoch_s, counts, window)


def _tip_of(meta: Mapping[str, Any], path: Path) -> NDArray[np.float64] | None:
    if meta.get("T_probe_probetip") is None:
        return None
    matrix = np.asarray(meta["T_probe_probetip"], dtype=np.float64)
    fault = rigidity_fault(matrix)
    if fault is not None:
        raise InputError(f"{path}, T_probe_probetip: {fault}")
    return matrix
