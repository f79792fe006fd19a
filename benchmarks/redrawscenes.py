"""The scenes of the redraw study: what lies where, which instruments look, and what is asked of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.redrawprobes import PROBES
from benchmarks.redrawscan import Instruments, Patient
from navigation.simulate.body import Body
from navigation.simulate.chance import stream
from navigation.simulate.rates import Background, Source, ellipsoid

Array = NDArray[np.float64]
Rng = np.random.Generator
PLAIN = Instruments()
Drawn = tuple[list[Source], list[Source], float]


@dataclass(frozen=True)
class Scene:
    """How to draw a patient, with which counter, and the figures asked for: median error, share found."""

    build: Callable[[Rng, Body], Drawn]
    instruments: Instruments = PLAIN
    error_mm: float | None = None
    found: float = 0.9
    duration_s: float = 60.0


def patient_of(scene: Scene, name: str, seed: int) -> tuple[Patient, Instruments]:
    """The patient and the instruments of one scan: another body, place and probe for each seed."""
    rng = stream(seed, name, "anatomy")
    body = Body(rng.uniform(160, 230), rng.uniform(120, 170), rng.uniform(90, 130))
    lesions, others, level = scene.build(rng, body)
    middle = np.mean([s.centre[:2] for s in lesions], axis=0) if lesions else rng.uniform(-12, 12, 2)
    centre = middle + rng.uniform(-8.0, 8.0, 2)
    direction = rng.normal(size=3)
    wave = 2 * np.pi / rng.uniform(60.0, 120.0) * direction / np.linalg.norm(direction)
    background = Background(
        level,
        rng.uniform(0.0, 0.1),
        (float(wave[0]), float(wave[1]), float(wave[2])),
        rng.uniform(0, 2 * np.pi),
    )
    i = scene.instruments
    chosen = Instruments(i.nuclide, seed % PROBES, i.dead_time_s, i.latency_s, i.jitter_s, i.occlusions)
    return Patient(body, lesions, others, background, (float(centre[0]), float(centre[1]))), chosen


def at_depth(body: Body, place: Array, depth_mm: float) -> Array:
    """(3,) body frame: so deep below the skin over a place (2,)."""
    return np.array([*place, float(body.skin(place[0], place[1])) - depth_mm])


def node(body: Body, place: Array, depth_mm: float, kbq: float, radius_mm: float = 4.0) -> Source:
    """A ball of activity under the skin."""
    return ellipsoid("node", at_depth(body, place, depth_mm), np.full(3, radius_mm), kbq)


def _aside(rng: Rng, place: Array, away_mm: float) -> Array:
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(place + away_mm * np.array([np.cos(turn), np.sin(turn)]))


def _place(rng: Rng) -> Array:
    return rng.uniform(-12.0, 12.0, 2)


def _occult(rng: Rng, body: Body) -> Drawn:
    return [node(body, _place(rng), rng.uniform(23, 27), 40.0)], [], 1.0


def _pair(first_kbq: float, second_kbq: float, level: float) -> Callable[[Rng, Body], Drawn]:
    def build(rng: Rng, body: Body) -> Drawn:
        here, depth = _place(rng), rng.uniform(18, 22)
        there = _aside(rng, here, 15.0)
        return [node(body, here, depth, first_kbq, 3.0), node(body, there, depth, second_kbq, 3.0)], [], level

    return build


def _beside_organ(rng: Rng, body: Body) -> Drawn:
    here = _place(rng)
    organ = at_depth(body, _aside(rng, here, rng.uniform(38, 46)), rng.uniform(36, 46))
    kbq = rng.uniform(60.0, 120.0)
    hot = ellipsoid("organ", organ, rng.uniform(12.0, 17.0, 3), 50.0 * kbq, 300)
    return [node(body, here, rng.uniform(14, 20), kbq)], [hot], 0.5


def _cold_water(rng: Rng, body: Body) -> Drawn:
    here = _place(rng)
    there = _aside(rng, here, rng.uniform(30, 38))
    nodes = [
        node(body, here, rng.uniform(10, 20), 21.0, 3.0),
        node(body, there, rng.uniform(10, 20), 42.0, 3.0),
    ]
    return nodes, [], 0.0


def _annihilation(rng: Rng, body: Body) -> Drawn:
    return [node(body, _place(rng), rng.uniform(16, 24), 100.0)], [], 0.5


def _depot(kbq: float) -> Callable[[Rng, Body], Drawn]:
    def build(rng: Rng, body: Body) -> Drawn:
        here, depth = _place(rng), rng.uniform(13, 19)
        place = at_depth(body, _aside(rng, here, 20.0), depth + rng.uniform(-3, 3))
        return (
            [node(body, here, depth, 50.0, 3.0)],
            [ellipsoid("depot", place, rng.uniform(3, 5, 3), kbq)],
            0.3,
        )

    return build


def _alone(rng: Rng, body: Body) -> Drawn:
    """A depot of 5 MBq or a hot deep organ, and nothing else."""
    here, depot = _place(rng), rng.random() < 0.5
    if depot:
        place = at_depth(body, here, rng.uniform(10, 20))
        return [], [ellipsoid("depot", place, rng.uniform(3, 5, 3), 5000.0)], 0.3
    place = at_depth(body, _aside(rng, here, rng.uniform(0, 35)), rng.uniform(32, 45))
    return [], [ellipsoid("organ", place, rng.uniform(10.0, 17.0, 3), rng.uniform(2e3, 8e3), 300)], 0.3


def _empty(rng: Rng, body: Body) -> Drawn:
    return [], [], rng.uniform(0.1, 1.5)


REAL = Instruments(dead_time_s=1e-5, latency_s=0.13, jitter_s=0.004, occlusions=4)
SCENES = {
    "occult": Scene(_occult, error_mm=4.2),
    "occult_real": Scene(_occult, REAL, error_mm=5.9),
    "two_nodes": Scene(_pair(300.0, 200.0, 0.2), error_mm=2.0),
    "weak_pair": Scene(_pair(30.0, 20.0, 0.2), error_mm=5.5, found=0.6),
    "organ_111in": Scene(_beside_organ, Instruments("In-111"), error_mm=3.0),
    "cold_water": Scene(_cold_water, error_mm=2.7, found=0.95),
    "node_511": Scene(_annihilation, Instruments("F-18"), error_mm=4.2),
    "depot_500": Scene(_depot(500.0), error_mm=4.5),
    "depot_5000": Scene(_depot(5000.0), found=0.0),
    "hot_alone": Scene(_alone),
    "empty": Scene(_empty),
}
