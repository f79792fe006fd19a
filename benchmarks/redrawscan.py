"""One scan of a redraw study: the simulator's body, hand, head and rates, its counts drawn, written as a scan folder.

Nothing here comes from the reconstruction, and the Cramer-Rao bound is taken from the simulator's own rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.mismatch import drawn_mismatch
from benchmarks.redrawprobes import detector_of, physics_of
from calibration.physics.nuclide import nuclide as nuclide_by_name
from navigation.simulate import hand
from navigation.simulate.body import Body
from navigation.simulate.chance import random_rotation, rigid, small_rotation, stream, wave
from navigation.simulate.rates import Background, RateModel, Source
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan, write_scan

Array = NDArray[np.float64]

INTERVAL_S, POSE_HZ = 0.1, 20.0
STEPS = 4  # points of an interval at which the sources are evaluated; the background at its middle
TOOL_MM, TOOL_DEG, SLOW_SHARE, SLOW_S = 0.25, 0.3, 0.3, 1.5
SURFACE_POINTS, SURFACE_NOISE_MM, SURFACE_REACH_MM = 400, 0.3, 60.0
STEP_MM, STEP_LOG, LATENCY_STEP_S = 0.5, 0.01, 0.01
OCCLUSION_S = (0.3, 1.0)


@dataclass(frozen=True)
class Patient:
    """Body, activity, and where the surgeon believes it to be."""

    body: Body
    lesions: list[Source]
    others: list[Source]
    background: Background
    centre: tuple[float, float]

    @property
    def sources(self) -> list[Source]:
        """Everything but the tissue background."""
        return [*self.lesions, *self.others]


@dataclass(frozen=True)
class Instruments:
    """Nuclide, number of the probe, and what the counter does."""

    nuclide: str = "Tc-99m"
    probe: int = 0
    dead_time_s: float = 0.0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    occlusions: int = 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """A scan on disk, the true frame, and the bound (k, 4, 4) on each lesion's place in mm and log activity."""

    T_reference_body: Array
    bound: Array


def draw(patient: Patient, instruments: Instruments, duration_s: float, seed: int, folder: Path) -> Drawn:
    """Write one scan of a patient to `folder`."""
    rng = stream(seed, "redraw")
    with physics_of(instruments.nuclide):
        model = RateModel(detector_of(instruments.nuclide, instruments.probe), drawn_mismatch(rng))
        path = hand.scan(patient.body, patient.centre, hand.SCAN_HALF_MM, duration_s, rng)
        begin = INTERVAL_S * np.arange(round(duration_s / INTERVAL_S), dtype=np.float64)
        rate = _Rate(model, patient, path, begin, instruments)
        counts = rng.poisson(rate.expected())
        hidden = _hidden(rng, duration_s, instruments.occlusions)
        bound = rate.bound(~_within(begin, begin + INTERVAL_S, hidden))
    T = rigid(random_rotation(rng), rng.uniform(-300.0, 300.0, 3))
    stamps = begin + INTERVAL_S + instruments.latency_s + _late(rng, len(begin), instruments.jitter_s)
    pose_s = np.arange(0.0, duration_s + 0.5, 1.0 / POSE_HZ)
    poses = T @ path.at(pose_s) @ _noise(rng, pose_s)
    poses[_within(pose_s, pose_s, hidden)] = np.nan
    write_scan(
        Scan(
            nuclide=instruments.nuclide,
            reference_time=None,
            pose_name=TIP_POSES,
            poses=PoseTable(pose_s, poses),
            counts=CountTable(stamps, counts.astype(float), np.full(len(begin), INTERVAL_S)),
            dead_time_s=instruments.dead_time_s,
            count_latency_s=None if instruments.latency_s else 0.0,
            surface_mm=_touched(rng, patient, T),
            simulated=True,
        ),
        folder,
        force=True,
    )
    return Drawn(T, bound)


class _Rate:
    """Expected counts of a path, and what they tell."""

    def __init__(
        self, model: RateModel, patient: Patient, path: hand.Path, begin_s: Array, instruments: Instruments
    ) -> None:
        self.model, self.patient, self.path, self.begin_s = model, patient, path, begin_s
        self.instruments = instruments
        self.half_life_s = nuclide_by_name(instruments.nuclide).half_life_s
        gain = model.mismatch.gain(begin_s) * 0.5 ** (begin_s / self.half_life_s)
        self.gain = gain
        middle = path.at(begin_s + INTERVAL_S / 2)
        self.quiet = gain * model.of_background(patient.background, patient.body, middle)
        self.each = [self._of(s) for s in patient.sources]

    def _of(self, source: Source, shift_s: float = 0.0) -> Array:
        """(n, STEPS) cps of one source."""
        at = (self.begin_s[:, None] + INTERVAL_S * (np.arange(STEPS) + 0.5) / STEPS - shift_s).ravel()
        rate = self.model.of_sources([source], self.patient.body, self.path.at(at))
        return np.asarray(rate.reshape(-1, STEPS) * self.gain[:, None])

    def expected(self, each: list[Array] | None = None, level: float = 1.0) -> Array:
        """Mean counts (n,) of each interval."""
        rate = level * self.quiet[:, None] + sum(self.each if each is None else each, np.zeros((1, STEPS)))
        seen: Array = (rate / (1.0 + rate * self.instruments.dead_time_s)).mean(axis=1) * INTERVAL_S
        return seen

    def bound(self, placed: NDArray[np.bool_]) -> Array:
        """Cramer-Rao covariance (k, 4, 4) of each lesion: all places and activities, the level, an untold latency."""
        columns = []
        for i, source in enumerate(self.patient.sources):
            for axis in range(3):
                step = STEP_MM * np.eye(3)[axis]
                columns.append(self._difference(i, source, step) / (2 * STEP_MM))
            more, less = (
                self.expected([*self.each[:i], self.each[i] * np.exp(s), *self.each[i + 1 :]])
                for s in (STEP_LOG, -STEP_LOG)
            )
            columns.append((more - less) / (2 * STEP_LOG))
        columns.append((self.expected(level=1.01) - self.expected(level=0.99)) / 0.02)
        if self.instruments.latency_s:
            late, early = (
                self.expected([self._of(s, d) for s in self.patient.sources])
                for d in (LATENCY_STEP_S, -LATENCY_STEP_S)
            )
            columns.append((late - early) / (2 * LATENCY_STEP_S))
        design = np.stack(columns, axis=1)[placed]
        mean = np.maximum(self.expected()[placed], 1e-9)
        scale = np.maximum(np.abs(design).max(axis=0), 1e-12)
        unit = design / scale
        covariance = np.linalg.pinv(unit.T @ (unit / mean[:, None]), hermitian=True) / np.outer(scale, scale)
        return np.array(
            [covariance[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] for i in range(len(self.patient.lesions))]
        ).reshape(-1, 4, 4)

    def _difference(self, index: int, source: Source, step: Array) -> Array:
        both = []
        for way in (1.0, -1.0):
            moved = Source(source.name, source.points + way * step, source.shares, source.activity_kbq)
            both.append(self.expected([*self.each[:index], self._of(moved), *self.each[index + 1 :]]))
        return both[0] - both[1]


def _noise(rng: np.random.Generator, t_s: Array) -> Array:
    """(n, 4, 4): white and slow error of the tracked tip."""
    slow = np.stack([wave(rng, t_s, 2 * SLOW_S, 8 * SLOW_S) for _ in range(6)], axis=1)
    both = np.sqrt(SLOW_SHARE) * slow + np.sqrt(1 - SLOW_SHARE) * rng.normal(size=slow.shape)
    both /= np.sqrt(3.0)
    return np.array([rigid(small_rotation(np.radians(TOOL_DEG * e[:3])), TOOL_MM * e[3:]) for e in both])


def _late(rng: np.random.Generator, n: int, mean_s: float) -> Array:
    return rng.exponential(mean_s, n) if mean_s else np.zeros(n)


def _hidden(rng: np.random.Generator, duration_s: float, number: int) -> list[tuple[float, float]]:
    starts = (np.arange(number) + rng.uniform(0.1, 0.8, number)) * duration_s / max(number, 1)
    return [(float(s), float(s + rng.uniform(*OCCLUSION_S))) for s in starts]


def _within(begin_s: Array, end_s: Array, hidden: list[tuple[float, float]]) -> NDArray[np.bool_]:
    met = np.zeros(len(begin_s), dtype=bool)
    for first, last in hidden:
        met |= (end_s >= first) & (begin_s < last)
    return met


def _touched(rng: np.random.Generator, patient: Patient, T: Array) -> Array:
    """(SURFACE_POINTS, 3) in Reference: the skin round the region, as a stylus finds it."""
    plane = rng.uniform(-SURFACE_REACH_MM, SURFACE_REACH_MM, (SURFACE_POINTS, 2)) + np.array(patient.centre)
    points = np.column_stack([plane, patient.body.skin(plane[:, 0], plane[:, 1])])
    points += rng.normal(0.0, SURFACE_NOISE_MM / np.sqrt(3.0), points.shape)
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])
