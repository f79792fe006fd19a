"""Scan folders: scan.json, poses.csv, counts.csv, optional surface.csv and tip.json, checked row by row.

All t_s are seconds on one clock whose zero is `reference_time`; lengths are mm. Poses and counts need not
start together, and stamps may jitter by milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.binning import binned
from tracking.buffer import PoseTrack
from tracking.errors import InputError
from tracking.jsonfile import number_of, prepare_out, read_json, write_json
from tracking.poses import rigid_mask
from tracking.sample import Readings
from tracking.sync import place_counts
from tracking.tables import Table, read_table
from tracking.tip import merge_tips, read_tip, tip_matrix
from tracking.transform import rigidity_fault

Floats = NDArray[np.float64]

TIP_POSES = "ProbeTipToReference"
MARKER_POSES = "ProbeToReference"
POSE_COLUMNS = ("t_s", *(f"m{i}{j}" for i in range(4) for j in range(4)))
COUNT_COLUMNS = ("t_s", "counts", "window_s")
SURFACE_COLUMNS = ("x_mm", "y_mm", "z_mm")
# What a scan may say of the probe and its setting, for comparison with a calibration.
STATED_KEYS = ("window_kev", "probe_serial", "collimator")
SCAN_FILES = ("scan.json", "poses.csv", "counts.csv", "surface.csv", "tip.json")
# A busy machine stamps a line late by up to this much, so two stamps may even change order.
STAMP_JITTER_S = 0.02
# Jitter shortens single steps; half a window as the *median* step means that counts are told twice.
LEAST_STEP_PER_WINDOW = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class PoseTable:
    """Times (n,), strictly increasing, and matrices (n, 4, 4) in mm; all-NaN rows = not visible."""

    t_s: Floats
    matrices: Floats

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(n,) bool."""
        seen: NDArray[np.bool_] = np.isfinite(self.matrices[:, 0, 0])
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class CountTable:
    """Window ends as stamped (n,), counts (n,), window lengths in s (n,), in order of time."""

    t_s: Floats
    counts: Floats
    window_s: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One scan as it lies in its folder, checked. `tip` holds the keys of the folder's own tip.json."""

    nuclide: str
    reference_time: str | None
    pose_name: str  # ProbeTipToReference | ProbeToReference
    poses: PoseTable
    counts: CountTable
    dead_time_s: float | None = None
    count_latency_s: float | None = None
    surface_mm: Floats | None = None  # (k, 3)
    tip: dict[str, Any] | None = None
    source: Path = Path()
    simulated: bool = False
    stated: Mapping[str, Any] = field(
        default_factory=dict
    )  # window_kev, probe_serial, collimator as far as known
    measured_s: float | None = None  # Unix time of its measurement, where a record proves it

    @property
    def measured_on(self) -> date | None:
        """The day on which its calibrations must be valid, where a record proves it; None is today.

        A folder's `reference_time` is what activities are stated for, and proves nothing; a day to come neither.
        """
        if self.measured_s is None:
            return None
        return min(datetime.fromtimestamp(self.measured_s, UTC).date(), datetime.now(UTC).date())


def read_scan(folder: Path) -> Scan:
    """Read and check a scan folder. Raises InputError naming file and row or key."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    head_path = folder / "scan.json"
    head = read_json(head_path)
    pose_name = _pose_name(head, head_path)
    surface, tip = folder / "surface.csv", folder / "tip.json"
    return Scan(
        nuclide=_text(head, "nuclide", head_path),
        reference_time=_time_text(head, head_path),
        pose_name=pose_name,
        poses=_read_poses(folder / "poses.csv"),
        counts=read_counts_csv(folder / "counts.csv"),
        dead_time_s=number_of(head, "dead_time_s", head_path, lowest=0.0),
        count_latency_s=number_of(head, "count_latency_s", head_path, lowest=0.0),
        surface_mm=read_surface_csv(surface) if surface.exists() else None,
        tip=read_tip([tip]) if pose_name == MARKER_POSES and tip.exists() else None,
        source=folder,
        simulated=_flag(head, "simulated", head_path),
        stated={key: head[key] for key in STATED_KEYS if head.get(key) is not None},
    )


def write_scan(scan: Scan, folder: Path, force: bool = False) -> None:
    """Write a scan folder, whole or not at all. Raises InputError when one is there already, OSError."""
    with prepare_out(folder, force, SCAN_FILES) as out:
        head = {
            "nuclide": scan.nuclide,
            "pose": scan.pose_name,
            "reference_time": scan.reference_time,
            "dead_time_s": scan.dead_time_s,
            "count_latency_s": scan.count_latency_s,
            "simulated": scan.simulated or None,
            **{key: scan.stated[key] for key in STATED_KEYS if key in scan.stated},
        }
        write_json(out / "scan.json", {k: v for k, v in head.items() if v is not None})
        rows = np.column_stack([scan.poses.t_s, scan.poses.matrices.reshape(-1, 16)])
        _write_table(out / "poses.csv", POSE_COLUMNS, rows, ["%.6f"] + ["%.9f"] * 16)
        table = np.column_stack([scan.counts.t_s, scan.counts.counts, scan.counts.window_s])
        _write_table(out / "counts.csv", COUNT_COLUMNS, table, ["%.6f", "%.12g", "%.6f"])
        if scan.surface_mm is not None:
            _write_table(out / "surface.csv", SURFACE_COLUMNS, scan.surface_mm, ["%.4f"] * 3)
        if scan.tip:
            write_json(out / "tip.json", scan.tip)


def tip_poses(
    scan: Scan, tip_files: Sequence[Path] = (), T_probe_probetip: Floats | None = None
) -> PoseTrack:
    """The history of ProbeTipToReference.

    Marker poses need the tip's place on the marker: `T_probe_probetip` (4, 4) if given, else the folder's
    tip.json overridden by `tip_files`, key by key. Raises InputError when they do not tell, GateRefusedError
    for a calibration that was not accepted.
    """
    matrices = scan.poses.matrices
    if scan.pose_name == MARKER_POSES:
        matrices = matrices @ _tip_of(scan, tip_files, T_probe_probetip)
    return PoseTrack.from_arrays(scan.poses.t_s, matrices, TIP_POSES)


def readings_of(
    scan: Scan,
    tip_files: Sequence[Path] = (),
    latency_s: float = 0.0,
    T_probe_probetip: Floats | None = None,
) -> Readings:
    """The scan's counts placed on the tip's path, `latency_s` removed from their stamps.

    Intervals much shorter than a tenth of a second are summed first, as the live engine does.
    Raises InputError when poses and counts do not overlap in time at all, and as `tip_poses`.
    """
    track = tip_poses(scan, tip_files, T_probe_probetip)
    _require_overlap(scan, latency_s)
    c = scan.counts
    end, counts, window, _ = binned(c.t_s, c.counts, c.window_s, c.window_s)
    return place_counts(track.sample, end, counts, window, latency_s, covers=track.covers)


def _tip_of(scan: Scan, tip_files: Sequence[Path], T_probe_probetip: Floats | None) -> Floats:
    if T_probe_probetip is not None:
        return T_probe_probetip
    own = scan.source / "tip.json"
    if scan.tip is None and not tip_files:
        raise InputError(f"{own}: no such file, and {MARKER_POSES} poses need one (or --tip)")
    named = [own] if scan.tip is not None else []
    tip = merge_tips(
        [
            *([scan.tip] if scan.tip is not None else []),
            *(read_tip([p], day=scan.measured_on) for p in tip_files),
        ]
    )
    return tip_matrix(tip, " + ".join(str(p) for p in [*named, *tip_files]))


def _require_overlap(scan: Scan, latency_s: float) -> None:
    c = scan.counts
    seen = scan.poses.t_s[scan.poses.visible]
    first, last = float((c.t_s - c.window_s).min()) - latency_s, float(c.t_s.max()) - latency_s
    if last < seen[0] or first > seen[-1]:
        raise InputError(
            f"{scan.source}: poses.csv ({seen[0]:.3f} to {seen[-1]:.3f} s) and counts.csv"
            f" ({first:.3f} to {last:.3f} s) do not overlap in time"
        )


def _read_poses(path: Path) -> PoseTable:
    table = read_table(path, POSE_COLUMNS)
    t_s, matrices = table.values[:, 0], table.values[:, 1:].reshape(-1, 4, 4)
    table.require(np.isfinite(t_s), "t_s is not finite")
    _require_order(table, t_s)
    hidden = np.isnan(table.values[:, 1:])
    table.require(~hidden.any(axis=1) | hidden.all(axis=1), "only part of the pose is NaN")
    bad = np.flatnonzero(~rigid_mask(matrices) & ~hidden[:, 0])
    if len(bad):
        raise table.fault(int(bad[0]), f"not a rigid pose: {rigidity_fault(matrices[bad[0]])}")
    if hidden.all():
        raise InputError(f"{path}: the tool is never visible (every pose is NaN)")
    order = np.argsort(t_s, kind="stable")
    return PoseTable(t_s[order], matrices[order])


def read_counts_csv(path: Path) -> CountTable:
    """Counting windows from t_s,counts,window_s, put in order of time. Raises InputError naming file and row."""
    table = read_table(path, COUNT_COLUMNS)
    for i, name in enumerate(COUNT_COLUMNS):
        table.require(np.isfinite(table.values[:, i]), f"{name} is not finite")
    t_s, counts, window_s = table.values.T
    table.require(counts >= 0.0, "counts is negative")
    table.require(window_s > 0.0, "window_s is not positive")
    _require_order(table, t_s)
    step = float(np.median(np.diff(t_s))) if len(t_s) > 1 else np.inf
    if step < LEAST_STEP_PER_WINDOW * float(np.median(window_s)):
        raise InputError(
            f"{path}: windows of {np.median(window_s):g} s every {step:.3g} s overlap, so counts appear twice"
        )
    order = np.argsort(t_s, kind="stable")
    return CountTable(t_s[order], counts[order], window_s[order])


def _require_order(table: Table, t_s: Floats) -> None:
    """Each time lies after the one before (within jitter), and none is told twice."""
    step = np.diff(t_s, prepend=-np.inf)
    table.require(step > -STAMP_JITTER_S, "t_s does not increase")
    order = np.argsort(t_s, kind="stable")
    again = np.zeros(len(t_s), dtype=bool)
    again[order[1:]] = np.diff(t_s[order]) == 0.0
    table.require(~again, "t_s does not increase")


def read_surface_csv(path: Path) -> Floats:
    """Touched surface points (k, 3) in mm from x_mm,y_mm,z_mm. Raises InputError naming file and row."""
    table = read_table(path, SURFACE_COLUMNS)
    table.require(np.isfinite(table.values).all(axis=1), "a coordinate is not finite")
    return table.values


def _text(head: Mapping[str, Any], key: str, path: Path) -> str:
    value = head.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}, {key}: is missing or not a text")
    return value


def _flag(head: Mapping[str, Any], key: str, path: Path) -> bool:
    value = head.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{path}, {key}: {value!r} is neither true nor false")
    return bool(value)


def _pose_name(head: Mapping[str, Any], path: Path) -> str:
    name = _text(head, "pose", path)
    if name not in (TIP_POSES, MARKER_POSES):
        raise InputError(f"{path}, pose: {name!r} is neither {TIP_POSES} nor {MARKER_POSES}")
    return name


def _time_text(head: Mapping[str, Any], path: Path) -> str | None:
    if head.get("reference_time") is None:
        return None
    text = _text(head, "reference_time", path)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{path}, reference_time: {text!r} is not an ISO 8601 time") from None
    return text


def _write_table(path: Path, columns: Sequence[str], rows: Floats, formats: Sequence[str]) -> None:
    np.savetxt(path, rows, fmt=list(formats), delimiter=",", header=",".join(columns), comments="")
