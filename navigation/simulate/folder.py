"""Scan folders without sockets, as fast as the machine can: for tests, campaigns and examples.

They come from the same room, tracker and counter as the live streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.chance import stream
from navigation.simulate.course import QUIET, Course
from navigation.simulate.devices import COUNT_INTERVAL_S, Counter, Tracker
from navigation.simulate.room import PHASES_S, OperatingRoom, kind_of
from navigation.simulate.scenes import DEAD_TIME_S, NUCLIDE, Scene, build_scene
from navigation.simulate.setup import check_source_record, tip_record
from navigation.simulate.truth import iso_time, write_truth
from tracking.jsonfile import write_json
from tracking.sample import CountSample, PoseSample
from tracking.scanfolder import MARKER_POSES, TIP_POSES, CountTable, PoseTable, Scan, write_scan
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# Offline time has no wall clock: the reference time of all simulated folders, 2026-01-01T10:00:00Z.
REFERENCE_UTC_S = datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp()
START_S = 600.0
POSE_HZ = 20.0
TOUCH_HZ = 30.0
TOUCH_NOISE_MM = 0.3
BED_DEPTH_MM = 10.0
TAIL_S = 0.5  # the tracker runs on until the late counter has delivered


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """What both instruments delivered over one phase."""

    poses: list[tuple[PoseSample, ...]]
    counts: list[CountSample]


def simulate_scan_folder(
    scene: str,
    seed: int,
    out: Path,
    phase: str = "scan-1",
    *,
    duration_s: float | None = None,
    marker_poses: bool = False,
    tell_latency: bool = True,
    truth: Path | None = None,
    probe_seed: int | None = None,
    course: Course = QUIET,
    force: bool = False,
) -> Scene:
    """Write the scan folder of one phase (sweep, scan-1, scan-2, rescan) to `out`; scan-2 and rescan come
    after the resection.

    With `marker_poses` (always for a sweep) poses are the marker body's and tip.json is the nominal one,
    else they are the tip's with the true tip frame. `bed.json` is added after the resection,
    `source.json` to a sweep. `course` is what goes wrong meanwhile. `truth` names a file outside the folder.
    Returns the scene. Raises InputError for unknown names or an existing folder, OSError.
    """
    built = build_scene(scene, seed, probe_seed)
    kind = kind_of(phase)
    after = kind == "rescan" or phase == "scan-2"
    room = OperatingRoom(built, START_S, course)
    if after:
        room.command("resect", START_S)
    length = duration_s if duration_s is not None else PHASES_S["rescan" if after else kind]
    room.command(phase, START_S, length)
    take = record(room, START_S, length)
    marker = marker_poses or kind == "sweep"
    write_scan(_scan(built, take, marker, tell_latency, _surface(room, after)), out, force)
    if after:
        wall = touched(room, "touch-bed")
        write_json(out / "bed.json", {"points_mm": np.round(wall, 3), "depth_mm": BED_DEPTH_MM})
    if kind == "sweep":
        write_json(out / "source.json", check_source_record(built, REFERENCE_UTC_S))
    if truth is not None:
        write_truth(built, truth, REFERENCE_UTC_S, course)
    return built


def record(room: OperatingRoom, start_s: float, length_s: float) -> Take:
    """Tracker at POSE_HZ and counter over a phase that was commanded."""
    tracker, counter = Tracker(room), Counter(room, start_s)
    times = start_s + np.arange(int((length_s + TAIL_S) * POSE_HZ)) / POSE_HZ
    poses = [tracker.measure(float(t)) for t in times]
    counts = [counter.measure() for _ in range(round(length_s / COUNT_INTERVAL_S))]
    return Take(poses, counts)


def _scan(scene: Scene, take: Take, marker: bool, tell_latency: bool, surface: Array) -> Scan:
    matrices = np.array([_in_reference(samples) for samples in take.poses])
    if not marker:
        matrices = matrices @ scene.equipment.T_probe_probetip
    counts = np.array([(c.t_s, c.counts, c.interval_s) for c in take.counts])
    return Scan(
        nuclide=NUCLIDE,
        reference_time=iso_time(REFERENCE_UTC_S),
        pose_name=MARKER_POSES if marker else TIP_POSES,
        poses=PoseTable(np.array([s[0].t_s for s in take.poses]), matrices),
        counts=CountTable(*counts.T),
        dead_time_s=DEAD_TIME_S,
        count_latency_s=round(scene.equipment.count_latency_s, 4) if tell_latency else None,
        surface_mm=surface,
        tip=tip_record(scene) if marker else None,
        simulated=True,
    )


def _in_reference(samples: tuple[PoseSample, ...]) -> Array:
    """`T_reference_probe` (4, 4) as measured, NaN when probe or Reference was hidden."""
    by_name = {s.name: s for s in samples}
    probe, reference = by_name["ProbeToTracker"], by_name["ReferenceToTracker"]
    if not (probe.status.usable and reference.status.usable):
        return np.full((4, 4), np.nan)
    return np.asarray(invert_rigid(reference.matrix) @ probe.matrix)


def _surface(room: OperatingRoom, after: bool) -> Array:
    """Touched points in Reference: the skin, and after the resection what is left of it with the cavity's
    wall.
    """
    skin = touched(room, "touch")
    return np.concatenate([skin, touched(room, "touch-bed")]) if after else skin


def touched(room: OperatingRoom, phase: str) -> Array:
    """(about 150, 3) points in Reference that the stylus touches in a phase, with the tracker's noise.

    The stylus is followed in a room of its own, so that the caller's room keeps its history.
    """
    scene = room.scene
    own = OperatingRoom(scene, START_S)
    if room.patient_at(START_S).body.cavity is not None:
        own.command("resect", START_S)
    own.command(phase, START_S + 1.0)
    t = START_S + 1.0 + np.arange(int(PHASES_S[phase] * TOUCH_HZ)) / TOUCH_HZ
    tips = own.stylus_in_body(t)[int(TOUCH_HZ) :, :3, 3]
    T = scene.patient.T_reference_body
    noise = stream(scene.seed, scene.name, "touched", phase).normal(
        0, TOUCH_NOISE_MM / np.sqrt(3.0), tips.shape
    )
    return np.asarray(tips @ T[:3, :3].T + T[:3, 3] + noise)
