"""Resection beds of the simulator whose true rates are kept, so that only content and counts are drawn anew.

Body, cavity, hand, tracked poses, touched wall, probe and its bench calibration are the simulator's own physics. What
the reconstruction makes of poses and wall alone, its rows, is made once for each ground and used again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.redrawable import calibration
from navigation.bed import Bed
from navigation.bedplaces import bed_voxels
from navigation.pointlayer import Problem
from navigation.reconstruction import ImagingSetup, LiveReconstruction, ScanState
from navigation.reconstruction.maps import Maps
from navigation.simulate import hand
from navigation.simulate.body import Body
from navigation.simulate.chance import stream
from navigation.simulate.folder import touched
from navigation.simulate.motion import INTERVAL_S, Scenery, tracked
from navigation.simulate.rates import Background, RateModel, Source, ellipsoid
from navigation.simulate.room import OperatingRoom, detector_of
from navigation.simulate.scenes import HALF_LIFE_S, Scene, build_scene
from navigation.spots import Found
from navigation.uncertainty import Thresholds
from tracking.sample import Readings

Array = NDArray[np.float64]

PROBES = 6
# Lengths of the rescan in s, and how deep behind the wall the statement shall hold, in mm.
LENGTH_S, DEPTH_MM = (40.0, 60.0), (5.0, 8.0)
# True tissue level in kBq/mL, and points of an interval at which a source is evaluated.
LEVEL, STEPS = (0.15, 0.6), 2
# Places of the bed where something may be left; off the check's own grid by up to half a voxel, and in tissue.
PLACES, OFF_GRID_MM, LEAST_DEEP_MM = 300, 1.0, 0.3
# The outline ends where the hand still scans beyond it: this share of the touched wall's radius.
OUTLINED = 0.75
# A wall touched with a wrong tip: this far too deep or too high.
ASKEW_MM = 2.0
# A strong source beside the cavity: how far from its rim, how deep below the skin, and its size.
HOT_AWAY_MM, HOT_DEEP_MM, HOT_MM = (8.0, 30.0), (12.0, 24.0), (3.0, 5.0)
# A hand that leaves one side of the bed out: nothing beyond this share of the radius.
LEFT_OUT = 0.1
KINDS = ("whole", "half", "askew")


class _Quick(LiveReconstruction):
    """The exact reconstruction, with what a bed check does not ask for left out: the maps, and thresholds of the field
    outside the bed redrawn for each draw of the counts.
    """

    ground: Ground

    def _final_thresholds(self, problem: Problem) -> Thresholds:
        return self.ground.thresholds

    def _final_maps(self, problem: Problem, found: Found, beside: object) -> Maps:
        return self.ground.maps


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """One bed under one hand. Rates (…, n) are true, in cps per kBq or kBq/mL, decay and gain included.

    `quiet_cps` (3, n) of a level of tissue, and of the cosine and sine of its long wave; `place_cps` (p, n) of point
    sources at `places_mm` (p, 3) in Reference; `hot_cps` (n,) of the strong source beside the bed.
    """

    index: int
    kind: str
    setup: ImagingSetup
    readings: Readings
    bed: Bed
    level: float
    quiet_cps: Array
    places_mm: Array
    place_cps: Array
    hot_cps: Array
    thresholds: Thresholds
    maps: Maps
    made: LiveReconstruction  # holds the rows

    def state(self, counts: Array) -> ScanState:
        """What a bed check needs of a scan with counts (n,): every step of the offline reconstruction but the maps."""
        live = _Quick(self.setup)
        live.ground = self
        live.add(replace(self.readings, counts=counts))
        live.rest_on(self.made._rows)
        live._searched = self.made._searched
        live.finish()
        assert live.state is not None
        return live.state


@dataclass(frozen=True, slots=True, eq=False)
class _Room:
    """The true side of a ground: scene, cut body, path, probe, and when each interval began."""

    scene: Scene
    body: Body
    path: hand.Path
    model: RateModel
    begin_s: Array

    @property
    def gain(self) -> Array:
        """(n,)"""
        middle = self.begin_s + INTERVAL_S / 2
        return np.asarray(self.model.mismatch.gain(middle) * 0.5 ** (middle / HALF_LIFE_S))

    def of(self, source: Source) -> Array:
        """(n,) cps of a source of 1 kBq."""
        at = (self.begin_s[:, None] + INTERVAL_S * (np.arange(STEPS) + 0.5) / STEPS).ravel()
        rate = self.model.of_sources([source], self.body, self.path.at(at))
        return np.asarray(rate.reshape(-1, STEPS).mean(axis=1) * self.gain)

    def quiet(self) -> Array:
        """(3, n): even tissue, and the two phases of its wave."""
        patient = self.scene.patient
        tips = self.path.at(self.begin_s + INTERVAL_S / 2)
        even = self.model.of_background(Background(1.0), self.body, tips)
        waves = [
            self.model.of_background(
                replace(patient.background, kbq_per_ml=1.0, ripple=1.0, phase=p), self.body, tips
            )
            for p in (0.0, -np.pi / 2)
        ]
        return np.asarray(np.stack([even, waves[0] - even, waves[1] - even]) * self.gain)


@lru_cache(maxsize=4)
def ground_of(index: int, kind: str) -> Ground:
    """Ground `index`, of a kind of KINDS; the same on every machine."""
    room, rng = _room(index), stream(index, "bedground", kind)
    own = stream(index, "bedground")
    level, depth_mm = own.uniform(*LEVEL), own.uniform(*DEPTH_MM)
    T = room.scene.patient.T_reference_body
    shift = T[:3, 2] * ASKEW_MM * (1.0 if index % 2 else -1.0) * (kind == "askew")
    wall, surface = _touched(room.scene)
    setup = ImagingSetup.create(calibration(500 + index % PROBES), surface + shift, "Tc-99m", simulated=True)
    quiet = room.quiet()
    readings = _readings(room, stream(index, "bedground", "tracked"))
    kept = _looked(room, own) if kind == "half" else np.ones(len(readings), dtype=bool)
    runs = np.flatnonzero(np.diff(kept.astype(int), prepend=0, append=0)).reshape(-1, 2)
    readings = Readings.joined([readings.select(slice(int(a), int(b))) for a, b in runs])
    mean = level * quiet[0, kept] * readings.live_s
    made = LiveReconstruction(setup)
    made.add(replace(readings, counts=mean))
    made.finish()
    assert made.state is not None
    bed = Bed(_outlined(wall, room) + shift, depth_mm)
    places = _places(bed_voxels(made.state, bed), room, rng)
    unit = [Source("left", (p - T[:3, 3])[None] @ T[:3, :3], np.ones(1), 1.0) for p in places]
    return Ground(
        index,
        kind,
        setup,
        readings,
        bed,
        level,
        quiet[:, kept],
        places,
        np.array([room.of(source)[kept] for source in unit]),
        room.of(_hot(room, own))[kept],
        made.state.found.thresholds,
        made._final_maps(made.state.problem, made.state.found, made.state.beside),
        made,
    )


def _room(index: int) -> _Room:
    scene = build_scene("bed", 9000 + index, probe_seed=500 + index % PROBES)
    scene = replace(scene, patient=replace(scene.patient, lesions=(), others=()))
    body = replace(scene.patient.body, cavity=scene.patient.cavity)
    rng = stream(index, "bedground", "hand")
    path = hand.scan_bed(body, float(rng.uniform(*LENGTH_S)), rng)
    model = RateModel(detector_of(scene.equipment.head), scene.equipment.mismatch)
    begin = INTERVAL_S * np.arange(round(path.duration_s / INTERVAL_S), dtype=np.float64)
    return _Room(scene, body, path, model, begin)


def _readings(room: _Room, rng: np.random.Generator) -> Readings:
    """Tracked poses of the intervals, without counts."""
    scenery = Scenery(room.model, room.body, (), Background(0.0), room.scene.patient.T_reference_body)
    return tracked(scenery, room.path, np.zeros(len(room.begin_s)), rng)


def _touched(scene: Scene) -> tuple[Array, Array]:
    """Touched points of the wall, and of skin and wall together, in Reference."""
    room = OperatingRoom(scene)
    skin = touched(room, "touch")
    room.command("resect", 0.0)
    wall = touched(room, "touch-bed")
    return wall, np.concatenate([skin, wall])


def _outlined(wall_mm: Array, room: _Room) -> Array:
    """The touched points (k, 3) in the middle of the wall."""
    T, cavity = room.scene.patient.T_reference_body, room.scene.patient.cavity
    at = ((wall_mm - T[:3, 3]) @ T[:3, :3])[:, :2] - [cavity.x_mm, cavity.y_mm]
    away = np.linalg.norm(at / [cavity.radius_x_mm, cavity.radius_y_mm], axis=1)
    return np.asarray(wall_mm[away <= OUTLINED * away.max()])


def _looked(room: _Room, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,): which readings a hand takes that leaves one side of the cavity out."""
    cavity = room.scene.patient.cavity
    turn = rng.uniform(0.0, 2.0 * np.pi)
    at = room.path.at(room.begin_s + INTERVAL_S / 2)[:, :2, 3] - [cavity.x_mm, cavity.y_mm]
    radius = 0.5 * (cavity.radius_x_mm + cavity.radius_y_mm)
    return np.asarray(at @ [np.cos(turn), np.sin(turn)] <= LEFT_OUT * radius)


def _places(voxels_mm: Array, room: _Room, rng: np.random.Generator) -> Array:
    """Places (PLACES, 3) of the outlined bed in Reference that are in tissue; of all of it alike."""
    T = room.scene.patient.T_reference_body
    found: list[Array] = []
    while sum(map(len, found)) < PLACES:
        near = voxels_mm[rng.integers(len(voxels_mm), size=PLACES)]
        near = near + rng.uniform(-OFF_GRID_MM, OFF_GRID_MM, near.shape)
        at = (near - T[:3, 3]) @ T[:3, :3]
        found.append(near[room.body.surface(at[:, 0], at[:, 1]) - at[:, 2] >= LEAST_DEEP_MM])
    return np.concatenate(found)[:PLACES]


def _hot(room: _Room, rng: np.random.Generator) -> Source:
    """An injection site of 1 kBq beside the cavity."""
    cavity, turn = room.scene.patient.cavity, rng.uniform(0.0, 2.0 * np.pi)
    away = max(cavity.radius_x_mm, cavity.radius_y_mm) + rng.uniform(*HOT_AWAY_MM)
    x, y = cavity.x_mm + away * np.cos(turn), cavity.y_mm + away * np.sin(turn)
    deep = float(room.body.surface(np.array(x), np.array(y))) - rng.uniform(*HOT_DEEP_MM)
    return ellipsoid("site", np.array([x, y, deep]), np.full(3, rng.uniform(*HOT_MM)), 1.0, 40)
