"""Scans of the simulator, sound or broken in one known way, for the study of the goodness of fit.

Body, hand, head, bench calibration and rates are the simulator's own physics, never the reconstruction's model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.mismatch import drawn_mismatch
from benchmarks.redrawprobes import physics_of
from calibration.physics.nuclide import nuclide
from calibration.probe.detector import AirWater, calibrate
from calibration.probe.gridfit import Grid
from calibration.probe.response import DetectorResponse, response_of
from navigation.reconstruction.setup import ImagingSetup
from navigation.simulate import hand
from navigation.simulate.body import AIR, Body
from navigation.simulate.chance import random_rotation, rigid, small_rotation, stream
from navigation.simulate.collimator import ProbeHead, built_head, point_response
from navigation.simulate.detector import Detector
from navigation.simulate.motion import STILL, Motion, Scenery, expected_counts, tracked
from navigation.simulate.rates import Background, RateModel, Source, ellipsoid
from navigation.simulate.setup import GRID_R_MM, GRID_Z_MM, TANK
from tracking.sample import Readings

Array = NDArray[np.float64]
Rng = np.random.Generator

GRID_KBQ, GRID_S = 500.0, 10.0
SURFACE_POINTS, SURFACE_NOISE_MM, SURFACE_REACH_MM = 400, 0.3, 60.0
PROBES = 4
# Another make of probe: wider and flatter, what a mistaken calibration file would be of.
OTHER_MAKE = ProbeHead(
    crystal_radius_mm=5.8, recess_mm=5.5, bore_radius_mm=6.4, shield_radius_mm=9.0, efficiency=0.45, leak=2e-4
)


@dataclass(frozen=True, slots=True)
class Break:
    """What is wrong with a scan; nothing by default."""

    motion: Motion = STILL
    late_s: float = 0.0
    other_probe: bool = False
    nuclide: str = "Tc-99m"  # whose photons arrive, whatever the calibration says
    scale: float = 1.0
    surface_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    surface_deg: float = 0.0
    rough: float = 1.0  # times the usual errors of axis, head and gain, and unevenness of the background


@dataclass(frozen=True, slots=True, eq=False)
class Broken:
    """What the reconstruction is given, and where the lesions are (k, 3) in Reference with their activities."""

    setup: ImagingSetup
    readings: Readings
    lesions_mm: Array
    lesions_kbq: Array
    sources_mm: Array


Content = tuple[list[Source], list[Source], float]


def at_depth(body: Body, place: Array, depth_mm: float) -> Array:
    """(3,) body frame: so deep below the skin over a place (2,)."""
    return np.array([*place, float(body.skin(place[0], place[1])) - depth_mm])


def _node(body: Body, place: Array, depth_mm: float, kbq: float) -> Source:
    return ellipsoid("node", at_depth(body, place, depth_mm), np.full(3, 3.5), kbq)


def _aside(rng: Rng, place: Array, away_mm: float) -> Array:
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(place + away_mm * np.array([np.cos(turn), np.sin(turn)]))


def _occult(rng: Rng, body: Body) -> Content:
    return [_node(body, rng.uniform(-12, 12, 2), rng.uniform(18, 25), rng.uniform(40, 80))], [], 0.7


def _lone(rng: Rng, body: Body) -> Content:
    return [_node(body, rng.uniform(-12, 12, 2), rng.uniform(12, 22), rng.uniform(100, 300))], [], 0.4


def _pair(rng: Rng, body: Body) -> Content:
    here = rng.uniform(-10, 10, 2)
    there = _aside(rng, here, rng.uniform(16, 28))
    return (
        [
            _node(body, here, rng.uniform(14, 22), rng.uniform(150, 350)),
            _node(body, there, rng.uniform(14, 22), rng.uniform(100, 250)),
        ],
        [],
        0.3,
    )


def _organ(rng: Rng, body: Body) -> Content:
    here = rng.uniform(-10, 10, 2)
    place = at_depth(body, _aside(rng, here, rng.uniform(34, 44)), rng.uniform(36, 46))
    kbq = rng.uniform(80, 150)
    hot = ellipsoid("organ", place, rng.uniform(12, 16, 3), 40.0 * kbq, 300)
    return [_node(body, here, rng.uniform(14, 20), kbq)], [hot], 0.5


def _site(rng: Rng, body: Body) -> Content:
    here = rng.uniform(-10, 10, 2)
    place = at_depth(body, _aside(rng, here, rng.uniform(25, 50)), rng.uniform(15, 25))
    site = ellipsoid("site", place, np.full(3, rng.uniform(3, 6)), 10 ** rng.uniform(2.7, 3.7), 200)
    return [_node(body, here, rng.uniform(12, 20), rng.uniform(40, 120))], [site], 0.3


CONTENTS: dict[str, Callable[[Rng, Body], Content]] = {
    "occult": _occult,
    "lone": _lone,
    "pair": _pair,
    "organ": _organ,
    "site": _site,
}


def scan_of(content: str, seed: int, broken: Break, duration_s: float = 60.0) -> Broken:
    """One scan, the same for the same arguments; a break changes nothing else of it."""
    rng = stream(seed, content, "anatomy")
    body = Body(rng.uniform(160, 230), rng.uniform(120, 170), rng.uniform(90, 130))
    lesions, others, level = CONTENTS[content](rng, body)
    centre = np.mean([s.centre[:2] for s in lesions], axis=0) + rng.uniform(-8.0, 8.0, 2)
    path = hand.scan(body, (float(centre[0]), float(centre[1])), hand.SCAN_HALF_MM, duration_s, rng)
    T = rigid(random_rotation(rng), rng.uniform(-300.0, 300.0, 3))
    probe = seed % PROBES
    with physics_of(broken.nuclide):
        model = RateModel(_detector(broken.nuclide, probe), drawn_mismatch(rng, broken.rough))
    scenery = Scenery(
        model,
        body,
        (*lesions, *others),
        Background(level, broken.rough * rng.uniform(0.0, 0.1), _wave(rng), rng.uniform(0, 2 * np.pi)),
        T,
    )
    with physics_of(broken.nuclide):
        mean = broken.scale * expected_counts(scenery, path, broken.motion)
    counts = rng.poisson(mean).astype(np.float64)
    readings = tracked(scenery, path, counts, rng, broken.late_s)
    surface = _touched(rng, body, centre, broken) @ T[:3, :3].T + T[:3, 3]
    response = calibration(-1 if broken.other_probe else probe)
    placed = [
        np.array([s.centre for s in some]) @ T[:3, :3].T + T[:3, 3] for some in (lesions, [*lesions, *others])
    ]
    return Broken(
        ImagingSetup.create(response, surface, "Tc-99m"),
        readings,
        placed[0],
        np.array([s.activity_kbq for s in lesions]),
        placed[1],
    )


def _wave(rng: Rng) -> tuple[float, float, float]:
    direction = rng.normal(size=3)
    k = 2 * np.pi / rng.uniform(60.0, 120.0) * direction / np.linalg.norm(direction)
    return float(k[0]), float(k[1]), float(k[2])


def _touched(rng: Rng, body: Body, centre: Array, broken: Break) -> Array:
    """(SURFACE_POINTS, 3) body frame: the skin round the region; of a broken scan shifted and tilted."""
    plane = rng.uniform(-SURFACE_REACH_MM, SURFACE_REACH_MM, (SURFACE_POINTS, 2)) + centre
    points = np.column_stack([plane, body.skin(plane[:, 0], plane[:, 1])])
    points += rng.normal(0.0, SURFACE_NOISE_MM / np.sqrt(3.0), points.shape)
    middle = at_depth(body, centre, 0.0)
    turn = small_rotation(np.radians(broken.surface_deg) * np.array([1.0, 0.0, 0.0]))
    return np.asarray((points - middle) @ turn.T + middle + np.array(broken.surface_mm))


def head_of(probe: int) -> ProbeHead:
    """A probe as made; -1 is one of another make."""
    return OTHER_MAKE if probe < 0 else built_head(stream(probe, "goodness", "head"))


@cache
def _detector(nuclide_name: str, probe: int) -> Detector:
    """The tables of a head for the photons of a nuclide; to be asked within its physics."""
    return Detector.of(head_of(probe))


@cache
def calibration(probe: int) -> DetectorResponse:
    """The bench calibration of a probe, with counting noise."""
    head = head_of(probe)
    r, z = (v.ravel() for v in np.meshgrid(np.array(GRID_R_MM), np.array(GRID_Z_MM)))
    rng = stream(probe + 1, "goodness", "bench")
    counts = rng.poisson(point_response(head, r, z) * GRID_KBQ * GRID_S).astype(float)
    model = RateModel(_detector("Tc-99m", probe))
    face, depths = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))[None], np.array([10.0, 30.0, 50.0])
    told: list[Array] = []
    for body in (AIR, TANK):
        points = [Source("point", np.array([[0.0, 0.0, -d]]), np.ones(1), GRID_KBQ) for d in depths]
        rate = np.array([model.of_sources([p], body, face)[0] for p in points])
        told.append(np.asarray(1000.0 * rng.poisson(rate * 60.0) / 60.0 / GRID_KBQ, dtype=np.float64))
    grid = Grid(r, z, counts, np.full(len(r), GRID_S), np.full(len(r), GRID_KBQ))
    content = calibrate(grid, nuclide("Tc-99m"), None, AirWater(depths, *told), simulated=True)
    return response_of(content, "probe.json")
