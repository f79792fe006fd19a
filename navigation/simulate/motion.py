"""A patient who moves in the Reference frame while the hand goes on, and a scan of him as readings in memory.

The body slides under the probe as a whole, by breathing or by one move; the tracker sees only the probe and the
Reference. Rates, tissue and head are the simulator's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.body import Body
from navigation.simulate.chance import rigid, small_rotation, wave
from navigation.simulate.hand import Path
from navigation.simulate.rates import Background, RateModel, Source
from tracking.sample import Readings

Array = NDArray[np.float64]

INTERVAL_S = 0.1
# Points of an interval at which the sources are evaluated, and poses of the path that a reading keeps.
STEPS, PATH_POSES = 4, 3
# Error of the tracked tip, the share of it that is slow, and its periods in s.
TIP_MM, TIP_DEG, SLOW_SHARE, SLOW_S = 0.25, 0.3, 0.3, (3.0, 12.0)
# Mean of cos^4.
COS4_MEAN = 3.0 / 8.0


@dataclass(frozen=True, slots=True)
class Motion:
    """Breathing of `breathing_mm` from end to end along `axis` (body frame), and one move at `moved_at_s`.

    `dwelling` breathing rests at its end as patients do: cos^4 (Lujan 1999, DOI 10.1118/1.598577), its mean at rest.
    """

    breathing_mm: float = 0.0
    period_s: float = 4.0
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    phase_rad: float = 0.0
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    moved_at_s: float = np.inf
    dwelling: bool = False

    def shift(self, t_s: Array) -> Array:
        """(n, 3) mm: where the body is at times (n,), against where it was when the surface was touched."""
        phase = 2 * np.pi * t_s / self.period_s + self.phase_rad
        wave = np.cos(phase / 2) ** 4 - COS4_MEAN if self.dwelling else 0.5 * np.sin(phase)
        cycle = self.breathing_mm * wave
        moved = (t_s >= self.moved_at_s)[:, None] * np.array(self.moved_mm)
        return np.asarray(cycle[:, None] * np.array(self.axis) + moved)


STILL = Motion()


@dataclass(frozen=True, slots=True, eq=False)
class Scenery:
    """Body, activity in it, and the head that looks, as `RateModel` has it."""

    model: RateModel
    body: Body
    sources: tuple[Source, ...]
    background: Background
    T_reference_body: Array  # (4, 4), of the patient at rest
    half_life_s: float = 6.007 * 3600.0
    dead_time_s: float = 0.0


def expected_counts(scenery: Scenery, path: Path, motion: Motion = STILL, start_s: float = 0.0) -> Array:
    """Mean counts (n,) of the intervals of a path that begins `start_s` after the reference time."""
    n = round(path.duration_s / INTERVAL_S)
    t: Array = np.asarray(INTERVAL_S * np.arange(n), dtype=np.float64)
    fine = (t[:, None] + INTERVAL_S * (np.arange(STEPS) + 0.5) / STEPS).ravel()
    model = scenery.model
    seen = model.of_sources(list(scenery.sources), scenery.body, _in_body(path, fine, motion))
    quiet = model.of_background(scenery.background, scenery.body, _in_body(path, t + INTERVAL_S / 2, motion))
    rate = seen.reshape(n, STEPS) + quiet[:, None]
    now = start_s + t + INTERVAL_S / 2
    rate *= (model.mismatch.gain(now) * 0.5 ** (now / scenery.half_life_s))[:, None]
    counted: Array = (rate / (1.0 + rate * scenery.dead_time_s)).mean(axis=1) * INTERVAL_S
    return counted


def tracked(
    scenery: Scenery,
    path: Path,
    counts: Array,
    rng: np.random.Generator,
    late_s: float = 0.0,
    start_s: float = 0.0,
) -> Readings:
    """Counts (n,) placed on the tracked path; `late_s` is how much later than believed the counter stamps."""
    n = len(counts)
    at = INTERVAL_S * (np.arange(n * PATH_POSES) + 0.5) / PATH_POSES
    poses = scenery.T_reference_body @ path.at(at + late_s) @ _tip_errors(rng, at)
    weights = np.full(n * PATH_POSES, 1.0 / PATH_POSES)
    first = PATH_POSES * np.arange(n + 1, dtype=np.int64)
    t: Array = np.asarray(start_s + INTERVAL_S * (np.arange(n) + 0.5), dtype=np.float64)
    return Readings(t, counts.astype(np.float64), np.full(n, INTERVAL_S), poses, weights, first)


def _in_body(path: Path, t_s: Array, motion: Motion) -> Array:
    """Poses (n, 4, 4) of the tip in the body as it lies at each time."""
    poses = path.at(t_s).copy()
    poses[:, :3, 3] -= motion.shift(t_s)
    return poses


def _tip_errors(rng: np.random.Generator, t_s: Array) -> Array:
    """(n, 4, 4): white and slow error of the tracked tip."""
    slow = np.stack([wave(rng, t_s, *SLOW_S) for _ in range(6)], axis=1)
    both = np.sqrt(SLOW_SHARE) * slow + np.sqrt(1 - SLOW_SHARE) * rng.normal(size=slow.shape)
    both /= np.sqrt(3.0)
    return np.array([rigid(small_rotation(np.radians(TIP_DEG * e[:3])), TIP_MM * e[3:]) for e in both])
