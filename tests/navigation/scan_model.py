"""A small scan made with the reconstruction's own model, to test its arithmetic (never its physics)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from calibration.physics.nuclide import nuclide
from calibration.probe.collimator import Collimator
from calibration.probe.detector import calibrate
from calibration.probe.gridfit import Grid
from calibration.probe.response import DetectorResponse, response_of
from navigation.likelihood import Counts
from navigation.pointlayer import Problem
from navigation.reconstruction import ImagingSetup, LiveReconstruction
from tracking.sample import Readings

PROBE = Collimator(0.8, 5.0, 5.0, 10.0, 3.2, 7.0, 0.3, 0.05)


def grid_of(probe: Collimator, seed: int = 0) -> Grid:
    """168 noisy points, 500 kBq for 10 s each."""
    r, z = np.meshgrid(
        [0, 2, 4, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50, 60.0],
        [2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100.0],
    )
    r, z = r.ravel(), z.ravel()
    counts = np.random.default_rng(seed).poisson(probe.response(r, z) * 5000.0).astype(float)
    return Grid(r, z, counts, np.full(len(r), 10.0), np.full(len(r), 500.0))


@cache
def response() -> DetectorResponse:
    """The calibration of PROBE for Tc-99m."""
    return response_of(calibrate(grid_of(PROBE), nuclide("Tc-99m")), "probe.json")


def flat_surface() -> np.ndarray:
    """(k, 3): the plane z = 0, tissue below it."""
    x, y = np.meshgrid(np.arange(-60.0, 61, 8), np.arange(-60.0, 61, 8))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)


def raster(n: int = 400, half_mm: float = 28.0, height_mm: float = 2.0) -> Readings:
    """Readings of 0.1 s with zero counts over +-half_mm, looking down (-z), 25 mm/s."""
    t = np.arange(n) * 0.1
    along = 25.0 * t
    line = np.floor(along / (2 * half_mm))
    x = np.abs((along / (2 * half_mm)) % 2 - 1) * 2 * half_mm - half_mm
    lines = line[-1] + 1
    y = half_mm * (2 * (line + 0.5) / lines - 1)
    poses = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (n, 1, 1))
    poses[:, :3, 3] = np.stack([x, y, np.full(n, height_mm)], axis=1)
    return Readings(t, np.zeros(n), np.full(n, 0.1), poses, np.ones(n), np.arange(n + 1))


def setup() -> ImagingSetup:
    """The probe over the flat surface."""
    return ImagingSetup.create(response(), flat_surface(), "Tc-99m")


def filled(
    readings: Readings, sources: list[tuple[tuple[float, float, float], float]], background: float, seed: int
) -> Readings:
    """The readings with Poisson counts of point sources (position, kBq) in a uniform background (kBq/mL)."""
    problem = problem_of(readings)
    rate = background * problem.background_rows[:, 0]
    for position, activity in sources:
        rate = rate + activity * problem.rows(np.array([position]))[:, 0]
    counts = np.random.default_rng(seed).poisson(rate * readings.live_s).astype(float)
    return replace(readings, counts=counts)


def problem_of(readings: Readings) -> Problem:
    """What the point layer sees of the readings."""
    live = LiveReconstruction(setup())
    live.add(readings)
    problem = live._problem()
    assert problem is not None
    return replace(problem, data=Counts(readings.counts, readings.live_s))
