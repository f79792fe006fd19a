"""Scans of the simulator whose true rates are kept, so that only their counts need drawing anew.

Body, hand, touched surface, probe, its bench calibration and every rate are the simulator's own physics; poses and
the count latency are exact here, since what is judged is counting and the model, not the tracker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import AirWater, calibrate
from calibration.probe.gridfit import Grid
from calibration.probe.response import DetectorResponse, response_of
from navigation.likelihood import Counts
from navigation.pointlayer import Problem
from navigation.reconstruction.geometry import Geometry, build_geometry
from navigation.reconstruction.setup import ImagingSetup
from navigation.simulate import hand
from navigation.simulate.body import Body
from navigation.simulate.chance import stream
from navigation.simulate.folder import touched
from navigation.simulate.rates import RateModel, Source
from navigation.simulate.room import OperatingRoom, detector_of
from navigation.simulate.scenes import HALF_LIFE_S, SCENES, Scene, build_scene
from navigation.simulate.setup import air_water, probe_grid
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

INTERVAL_S = 0.1
# Poses of the path that a reading keeps, and points of it at which the rates are evaluated.
PATH_POSES, RATE_POSES = 3, 2
# Levels of tissue in kBq/mL and lengths in s that the geometries go through: usual ones, and few counts.
USUAL = ((0.3, 60.0), (0.6, 45.0), (0.45, 90.0), (0.9, 30.0))
FEW = ((0.2, 30.0), (0.2, 20.0), (0.1, 30.0), (0.05, 40.0))
# Every third geometry is a wound after the resection.
AFTER_RESECTION = 3
# Probes that the geometries share, each with a calibration of its own.
PROBES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Redrawable:
    """One geometry: readings without counts, `quiet_cps` (n,) true rate of the tissue, and the model's rows.

    `search_rows` (n, m) float32 at the search points (m, 3), decay included.
    """

    scene: Scene
    body: Body
    model: RateModel
    setup: ImagingSetup
    readings: Readings
    tips: Array  # (n * RATE_POSES, 4, 4) in the body frame
    quiet_cps: Array
    geometry: Geometry
    problem: Problem
    search_mm: Array
    search_rows: Array32

    def of_point(self, position_mm: Array) -> Array:
        """True rate (n,) in cps per kBq of a point source at a place (3,) in Reference."""
        T = np.linalg.inv(self.scene.patient.T_reference_body)
        source = Source("point", (T[:3, :3] @ position_mm + T[:3, 3])[None], np.ones(1), 1.0)
        return _averaged(self.model.of_sources([source], self.body, self.tips), self._gain())

    def with_counts(self, counts: Array) -> Problem:
        """What the point layer sees of counts (n,)."""
        readings = replace(self.readings, counts=counts)
        return replace(self.problem, readings=readings, data=Counts(counts, readings.live_s))

    def _gain(self) -> Array:
        return _gain(self.scene, self.readings.t_s)


def redrawable(index: int, few: bool) -> Redrawable:
    """Geometry `index` of the study, usual or with few counts; the same on every machine."""
    level, length_s = (FEW if few else USUAL)[index % 4]
    name = SCENES[index % len(SCENES)]
    scene = build_scene(name, 7000 + index, probe_seed=500 + index % PROBES)
    patient = scene.patient
    patient = replace(patient, background=replace(patient.background, kbq_per_ml=level))
    scene = replace(scene, patient=replace(patient, lesions=(), others=()))
    wound = index % AFTER_RESECTION == AFTER_RESECTION - 1
    body = replace(patient.body, cavity=patient.cavity) if wound else patient.body
    rng = stream(scene.seed, "redrawable")
    if wound:
        path = hand.scan_bed(body, length_s, rng)
    else:
        path = hand.scan(body, patient.scan_centre, hand.SCAN_HALF_MM, length_s, rng)
    model = RateModel(detector_of(scene.equipment.head), scene.equipment.mismatch)
    n = int(length_s / INTERVAL_S)
    tips = path.at(_inside(n, RATE_POSES))
    readings = _readings(scene, path, n)
    quiet = _averaged(model.of_background(patient.background, body, tips), _gain(scene, readings.t_s))
    setup = ImagingSetup.create(calibration(500 + index % PROBES), _surface(scene, body), "Tc-99m")
    return _seen(scene, body, model, setup, readings, tips, quiet)


def _seen(
    scene: Scene,
    body: Body,
    model: RateModel,
    setup: ImagingSetup,
    readings: Readings,
    tips: Array,
    quiet: Array,
) -> Redrawable:
    geometry = build_geometry(setup, readings)
    decay = setup.nuclide.decay_factor(readings.t_s)
    points = geometry.field.points_mm[geometry.field.search]
    rows = geometry.projector.rows(points, readings) * decay[:, None].astype(np.float32)
    background = geometry.background.rows(geometry.projector, readings) * decay[:, None]
    problem = Problem(
        Counts(readings.counts, readings.live_s),
        readings,
        geometry.projector,
        geometry.background,
        background,
        decay,
    )
    return Redrawable(scene, body, model, setup, readings, tips, quiet, geometry, problem, points, rows)


def _inside(n: int, points: int) -> Array:
    """(n * points,) times in s: the middles of equal parts of each interval."""
    return ((np.arange(n * points) + 0.5) / points) * INTERVAL_S


def _averaged(rate: Array, factor: Array) -> Array:
    """Mean (n,) of the rates at each interval's points, times gain and decay."""
    return np.asarray(rate.reshape(len(factor), -1).mean(axis=1) * factor)


def _gain(scene: Scene, t_s: Array) -> Array:
    return np.asarray(scene.equipment.mismatch.gain(t_s) * 0.5 ** (t_s / HALF_LIFE_S))


def _readings(scene: Scene, path: hand.Path, n: int) -> Readings:
    poses = scene.patient.T_reference_body @ path.at(_inside(n, PATH_POSES))
    return Readings(
        (np.arange(n) + 0.5) * INTERVAL_S,
        np.zeros(n),
        np.full(n, INTERVAL_S),
        poses,
        np.full(n * PATH_POSES, 1.0 / PATH_POSES),
        PATH_POSES * np.arange(n + 1, dtype=np.int64),
    )


def _surface(scene: Scene, body: Body) -> Array:
    """Touched points in Reference, of the skin and of the wound if there is one."""
    room = OperatingRoom(scene)
    skin = touched(room, "touch")
    if body.cavity is None:
        return skin
    room.command("resect", 0.0)
    return np.concatenate([skin, touched(room, "touch-bed")])


_calibrations: dict[int, DetectorResponse] = {}


def calibration(probe_seed: int) -> DetectorResponse:
    """The probe of that seed as its bench sees it, with counting noise; made once in a process."""
    if probe_seed not in _calibrations:
        scene = build_scene("bed", probe_seed)
        r, z, counts, live, activity = probe_grid(scene).T
        bench = air_water(scene)
        water = AirWater(
            np.array([10.0, 30.0, 50.0]), *(np.array(list(bench[m].values())) for m in ("air", "water"))
        )
        content = calibrate(
            Grid(r, z, counts, live, activity), nuclide("Tc-99m"), air_water=water, simulated=True
        )
        _calibrations[probe_seed] = response_of(content, "probe.json")
    return _calibrations[probe_seed]
