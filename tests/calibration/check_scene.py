"""Checks with a point source in air, made with the simulator's own physics: ray by ray through the probe's head.

The hand holds the source on the axis at 10, 30 and 50 mm, sweeps it across at 30 mm, turns the probe about its
face, goes round its side and back, and ends far away. Nothing here shares a model with the analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from calibration.probe.gridfit import Grid
from navigation.simulate.body import AIR
from navigation.simulate.chance import random_rotation, rigid, small_rotation
from navigation.simulate.collimator import ProbeHead
from navigation.simulate.rates import Mismatch, RateModel, ellipsoid
from navigation.simulate.room import detector_of
from navigation.simulate.scenes import build_scene
from navigation.simulate.setup import probe_grid
from tracking.jsonfile import write_json
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan, write_scan

SCENE = build_scene("occult", 3)
HEAD = SCENE.equipment.head
SERIAL = "SIMULATION-0001"
FIRST_DAY = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
DEAD_TIME_S, WINDOW_S, LATENCY_S = 1e-5, 0.1, 0.11
SOURCE_MM = np.array([61.0, -22.0, 118.0])
ACTIVITY_KBQ, ROOM_CPS = 300.0, 1.5
HALF_LIFE_S = 6.007 * 3600.0
TRACKER_MM, TRACKER_DEG = 0.25, 0.3
PER_STEP = 20  # path poses in a second of the table below

# Seconds to get there, then the source in the tip frame: x, y, z in mm.
Way = tuple[float, float, float, float]
ON_AXIS: tuple[Way, ...] = tuple(
    way for z in (10.0, 30.0, 50.0) for way in ((1.0, 0.0, 0.0, z), (6.0, 0.0, 0.0, z))
)
ACROSS: tuple[Way, ...] = (
    (1.5, -45.0, 0.0, 30.0),
    (5.0, 45.0, 0.0, 30.0),
    (1.5, 0.0, 45.0, 30.0),
    (5.0, 0.0, -45.0, 30.0),
)
TURNED: tuple[Way, ...] = (
    *((0.5, 30.0 * np.sin(a), 0.0, 30.0 * np.cos(a)) for a in np.radians(np.arange(-100.0, 101.0, 10.0))),
    *((0.5, 0.0, 30.0 * np.sin(a), 30.0 * np.cos(a)) for a in np.radians(np.arange(100.0, -101.0, -10.0))),
)
BESIDE: tuple[Way, ...] = (
    (1.0, 12.0, 0.0, -12.0),
    *((1.2, 12.0 * np.cos(a), 12.0 * np.sin(a), -14.0) for a in np.linspace(0.0, 2 * np.pi, 10)),
    *((1.0, 12.0 * np.cos(a), 12.0 * np.sin(a), -40.0) for a in np.linspace(0.0, 2 * np.pi, 8)),
)
AWAY: tuple[Way, ...] = ((2.0, 0.0, 200.0, -250.0), (10.0, 0.0, 200.0, -250.0))
WHOLE = (*ON_AXIS, *ACROSS, *TURNED, *BESIDE, *AWAY)


@dataclass(frozen=True)
class Check:
    """One visit to the check source; `true_kbq` is what is there at the reference time."""

    way: tuple[Way, ...] = WHOLE
    head: ProbeHead = HEAD
    true_kbq: float = ACTIVITY_KBQ
    room_cps: float = ROOM_CPS
    day: float = 0.0
    seed: int = 0
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # by how much the source is pushed half-way
    nuclide: str = "Tc-99m"
    mismatch: Mismatch = SCENE.equipment.mismatch
    latency_s: float = LATENCY_S


def seen_from_tip(way: Sequence[Way], t_s: np.ndarray) -> np.ndarray:
    """(n, 3): the source in the tip frame at times t, straight from point to point."""
    at = np.cumsum([w[0] for w in way])
    places = np.array([w[1:] for w in way])
    return np.stack([np.interp(t_s, at, places[:, k]) for k in range(3)], axis=1)


def tips(check: Check, t_s: np.ndarray) -> np.ndarray:
    """(n, 4, 4): true poses of the tip in Reference; the hand turns the probe about its axis and leans it."""
    first = random_rotation(np.random.default_rng(7))
    local = seen_from_tip(check.way, t_s)
    poses = np.tile(np.eye(4), (len(t_s), 1, 1))
    for i, t in enumerate(t_s):
        lean = np.array([0.5 * np.sin(0.31 * t), 0.5 * np.cos(0.23 * t), 0.9 * np.sin(0.17 * t)])
        poses[i, :3, :3] = first @ small_rotation(lean)
    poses[:, :3, 3] = SOURCE_MM - np.einsum("nij,nj->ni", poses[:, :3, :3], local)
    return poses


@cache
def scan_of(check: Check) -> Scan:
    """The scan as its folder would hold it: poses of the tip at 20 Hz with the tracker's noise, counts at 10 Hz."""
    rng = np.random.default_rng([11, check.seed])
    length = sum(w[0] for w in check.way)
    t_pose = np.arange(0.0, length + 1.0, 0.05)
    noisy = np.array(
        [
            pose @ rigid(small_rotation(np.radians(TRACKER_DEG / 3**0.5 * turn)), TRACKER_MM / 3**0.5 * shift)
            for pose, turn, shift in zip(
                tips(check, t_pose),
                rng.normal(size=(len(t_pose), 3)),
                rng.normal(size=(len(t_pose), 3)),
                strict=True,
            )
        ]
    )
    end = np.arange(0.5, length, WINDOW_S)
    counts = rng.poisson(expected(check, end, length)).astype(float)
    return Scan(
        nuclide=check.nuclide,
        reference_time=(FIRST_DAY + timedelta(days=check.day)).isoformat(),
        pose_name=TIP_POSES,
        poses=PoseTable(t_pose, noisy),
        counts=CountTable(end + check.latency_s, counts, np.full(len(end), WINDOW_S)),
        dead_time_s=DEAD_TIME_S,
        simulated=True,
    )


def expected(check: Check, end_s: np.ndarray, length_s: float) -> np.ndarray:
    """Mean counts (n,) of the windows, with decay and dead time along the path."""
    steps = 4
    t = (end_s[:, None] - WINDOW_S + WINDOW_S * (np.arange(steps) + 0.5) / steps).ravel()
    model = RateModel(detector_of(check.head), check.mismatch)
    rate = np.zeros(len(t))
    for part, shift in ((t < length_s / 2, np.zeros(3)), (t >= length_s / 2, np.array(check.moved_mm))):
        if part.any():
            source = ellipsoid("check source", SOURCE_MM + shift, np.full(3, 1.0), check.true_kbq, 30)
            rate[part] = model.of_sources([source], AIR, tips(check, t[part]))
    rate = rate * 0.5 ** (t / HALF_LIFE_S) + check.room_cps
    counted = rate / (1.0 + DEAD_TIME_S * rate)
    return counted.reshape(-1, steps).mean(axis=1) * WINDOW_S


@cache
def calibration() -> dict[str, Any]:
    """probe.json of the probe as bought, from every second point of its bench grid."""
    grid = Grid(*(np.ascontiguousarray(column) for column in probe_grid(SCENE)[::2].T))
    return calibrate(grid, nuclide("Tc-99m"), simulated=True, extra={"probe_serial": SERIAL})


def write_probe(folder: Path) -> Path:
    """probe.json in `folder`."""
    path = folder / "probe.json"
    write_json(path, calibration())
    return path


def write_check(folder: Path, check: Check) -> Path:
    """The scan folder `folder`."""
    write_scan(scan_of(check), folder, force=True)
    return folder


def less_sensitive(share: float) -> ProbeHead:
    """The head with `share` of its counts lost evenly: a gain that drifted out of the window."""
    return replace(HEAD, efficiency=HEAD.efficiency * (1.0 - share))
