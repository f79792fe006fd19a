"""Scan phases of a record as scans: the same poses and counts that the live engine saw, as a scan folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.buffer import TransformBuffer
from tracking.counts import CountInterval
from tracking.errors import InputError
from tracking.hub import Hub
from tracking.jsonfile import number_of
from tracking.recording.frames import between
from tracking.recording.phases import POSE_MARGIN_S, Phase, Source, inputs_of, inside, phases_of
from tracking.recording.reader import Record
from tracking.recording.sequence_import import SequenceRecord
from tracking.sample import PoseSample
from tracking.scanfolder import MARKER_POSES, TIP_POSES, CountTable, PoseTable, Scan, read_scan
from tracking.sequence import SUFFIXES
from tracking.tip import merge_tips
from tracking.transform import rigidity_fault

__all__ = ["Phase", "export_scan", "export_scans", "open_scan", "open_source", "phases_of"]

PROBE, PROBE_TIP = "Probe", "ProbeTip"
# About five hours at 60 Hz: an export reads the whole record before it cuts.
EXPORT_CAPACITY = 1 << 20


def open_source(where: Path) -> tuple[Source, str]:
    """A record or a sequence file, and the phase asked for: "" in `RECORD`, "scan-2" in `RECORD#scan-2`.

    Raises InputError as `Record` and `SequenceRecord`.
    """
    name, _, phase = where.name.partition("#")
    path = where if where.is_file() else where.with_name(name)
    if not path.is_file():
        raise InputError(f"{where}: no such scan folder or record")
    source = SequenceRecord(path) if path.suffix.lower() in SUFFIXES else Record(path)
    return source, "" if path == where else phase


def open_scan(where: Path) -> Scan:
    """A scan from a folder, a record or a sequence file with counts: `RECORD`, or `RECORD#scan-2` of several.

    Raises InputError as `read_scan` and `export_scan`.
    """
    if where.is_dir():
        return read_scan(where)
    source, phase = open_source(where)
    found = phases_of(source)
    if not phase and len(found) != 1:
        name = source.path.name
        raise InputError(f"{source.path}: holds {', '.join(found) or 'no scan'}; name one as {name}#NAME")
    return export_scan(source, phase or next(iter(found)))


def export_scan(
    record: Path | Source,
    phase: str | Phase,
    T_probe_probetip: NDArray[np.float64] | None = None,
    surface_mm: NDArray[np.float64] | None = None,
) -> Scan:
    """One phase of a record as a scan, ready for `write_scan`.

    The record's head gives `nuclide`, and where present `epoch_s` (Unix time of t = 0, else the whole second
    before the start; `unix_time` false says that it is none), `dead_time_s`, `count_latency_s`, `simulated`,
    `T_probe_probetip` (4, 4) or a `tip` as in tip.json; the phase may know its latency and surface better.
    With a matrix of the tip the
    poses are ProbeTipToReference, else ProbeToReference. Raises InputError when the record has no such phase,
    no counts or no visible probe in it.
    """
    source = Record(record) if isinstance(record, Path) else record
    stretch = phase if isinstance(phase, Phase) else phases_of(source).get(phase)
    if stretch is None:
        raise InputError(f"{source.path}: has no phase {phase!r}")
    return export_scans(source, [stretch], T_probe_probetip, surface_mm)[0]


def export_scans(
    source: Source,
    phases: Iterable[Phase],
    T_probe_probetip: NDArray[np.float64] | None = None,
    surface_mm: NDArray[np.float64] | None = None,
) -> list[Scan]:
    """Several phases, the record being read once. As `export_scan`."""
    buffer, intervals, told = _played(source)
    head = _Head(source.meta, source.path, told)
    tip = head.tip_matrix() if T_probe_probetip is None else T_probe_probetip
    return [_cut(buffer, intervals, phase, head, tip, surface_mm) for phase in phases]


class _Head:
    """The head of a record as a scan needs it; each method raises InputError naming the file and the key."""

    def __init__(self, meta: Mapping[str, Any], path: Path, told: Mapping[str, Any]) -> None:
        self.meta = meta
        self.path = path
        self.told = told

    def stated(self) -> dict[str, Any]:
        """What the case states of probe and window, and over it what the counter told itself."""
        settings = self.meta.get("settings")
        case = settings.get("stated") if isinstance(settings, dict) else self.meta.get("stated")
        return {**(case if isinstance(case, dict) else {}), **self.told}

    def measured_s(self, start_s: float) -> float | None:
        """`start_s` where it was recorded here; an imported scan may say any time."""
        foreign = self.meta.get("unix_time") is False or "imported_from" in self.meta
        return None if foreign else start_s

    def nuclide(self) -> str:
        nuclide = self.meta.get("nuclide")
        if not isinstance(nuclide, str):
            raise InputError(f"{self.path}: its head names no nuclide")
        return nuclide

    def number(self, key: str, lowest: float | None = None) -> float | None:
        return number_of(self.meta, key, self.path, lowest)

    def reference_time(self, epoch_s: float) -> str | None:
        """ISO 8601; None where the stamps are on a clock that nobody can name."""
        return (
            None if self.meta.get("unix_time") is False else datetime.fromtimestamp(epoch_s, UTC).isoformat()
        )

    def tip_matrix(self) -> NDArray[np.float64] | None:
        if self.meta.get("T_probe_probetip") is None:
            return None
        matrix = np.asarray(self.meta["T_probe_probetip"], dtype=np.float64)
        fault = rigidity_fault(matrix)
        if fault is not None:
            raise InputError(f"{self.path}, T_probe_probetip: {fault}")
        return matrix

    def tip(self) -> dict[str, Any] | None:
        tip = self.meta.get("tip")
        return merge_tips([tip]) if isinstance(tip, dict) and tip else None


class _NotingBuffer(TransformBuffer):
    """A buffer that notes at which frames a transform was no pose, though its neighbours may bridge them."""

    def __init__(self) -> None:
        super().__init__(EXPORT_CAPACITY)
        self.hidden: dict[str, set[float]] = {}

    def add(self, sample: PoseSample) -> bool:
        if not sample.status.usable or rigidity_fault(np.asarray(sample.matrix)) is not None:
            self.hidden.setdefault(sample.name, set()).add(sample.t_s)
        return super().add(sample)

    def seen(self, tool: str, t_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether `tool` and its reference were measured at each time (n,), or wholly bridged there."""
        good = np.ones(len(t_s), dtype=bool)
        for track in self.chain(tool):
            if track is not None:
                hidden = np.array(sorted(self.hidden.get(track.name, ())))
                measured = np.isin(t_s, track.frame_times())
                good &= np.where(measured, ~np.isin(t_s, hidden), between(track, t_s))
        return good


def _played(record: Source) -> tuple[_NotingBuffer, list[CountInterval], dict[str, Any]]:
    """The poses after all raw messages, every counting interval, and what the counter told of itself."""
    hub = Hub(inputs_of(record))
    hub.buffer = buffer = _NotingBuffer()
    intervals: list[CountInterval] = []
    for event in record.events("raw"):
        intervals += hub.handle(event.source, event.arrival_s, event.payload)
    intervals += hub.counts.flush()
    return buffer, intervals, hub.counts.told


def _cut(
    buffer: _NotingBuffer,
    intervals: list[CountInterval],
    phase: Phase,
    head: _Head,
    tip: NDArray[np.float64] | None,
    surface_mm: NDArray[np.float64] | None,
) -> Scan:
    kept = [i for i in intervals if inside(i, phase)]
    if not kept:
        raise InputError(f"{head.path}: no counts in {phase.name}")
    epoch = head.number("epoch_s")
    epoch = float(np.floor(phase.start_s)) if epoch is None else epoch
    pose_name, poses = _poses(buffer, kept, tip, head.path)
    latency_s = phase.count_latency_s
    return Scan(
        nuclide=head.nuclide(),
        reference_time=head.reference_time(epoch),
        pose_name=pose_name,
        poses=PoseTable(poses.t_s - epoch, poses.matrices),
        counts=_table(kept, epoch),
        dead_time_s=head.number("dead_time_s", lowest=0.0),
        count_latency_s=head.number("count_latency_s", lowest=0.0) if latency_s is None else latency_s,
        surface_mm=phase.surface_mm if surface_mm is None else surface_mm,
        tip=head.tip() if pose_name == MARKER_POSES else None,
        source=head.path,
        simulated=bool(head.meta.get("simulated", False)),
        stated=head.stated(),
        measured_s=head.measured_s(phase.start_s),
    )


def _poses(
    buffer: _NotingBuffer, intervals: list[CountInterval], tip: NDArray[np.float64] | None, path: Path
) -> tuple[str, PoseTable]:
    direct = f"{PROBE_TIP}ToReference" in buffer.names
    tool = PROBE_TIP if direct else PROBE
    track = buffer.chain(tool)[0]
    t_s = track.frame_times(
        intervals[0].t_end_s - intervals[0].window_s - POSE_MARGIN_S,
        intervals[-1].t_end_s + POSE_MARGIN_S,
    )
    matrices, valid = buffer.tool_in_reference(tool, t_s, None if direct else tip)
    valid = valid & buffer.seen(tool, t_s)
    matrices[~valid] = np.nan
    if not valid.any():
        raise InputError(f"{path}: the probe is never visible there")
    return TIP_POSES if direct or tip is not None else MARKER_POSES, PoseTable(t_s, matrices)


def _table(intervals: list[CountInterval], epoch_s: float) -> CountTable:
    t_end, counts, window = np.array([(i.t_end_s, i.counts, i.window_s) for i in intervals]).T
    return CountTable(t_end - epoch_s, counts, window)
