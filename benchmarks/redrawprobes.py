"""The probes of a redraw study: heads of several makes for each nuclide, in its physics, and their calibrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.probe.detector import AirWater, calibrate
from calibration.probe.gridfit import Grid
from navigation.simulate import collimator, detector, rates
from navigation.simulate.body import AIR
from navigation.simulate.chance import rigid, stream
from navigation.simulate.collimator import ProbeHead, point_response
from navigation.simulate.detector import Detector
from navigation.simulate.rates import RateModel, Source
from navigation.simulate.setup import GRID_R_MM, GRID_Z_MM, TANK
from tracking.errors import InputError
from tracking.jsonfile import write_json

Array = NDArray[np.float64]

GRID_KBQ, GRID_S = 500.0, 10.0
WATER_MM, WATER_S = (10.0, 30.0, 50.0), 60.0
# Makes of probe for each nuclide.
PROBES = 3


@dataclass(frozen=True)
class Physics:
    """What a nuclide's photons do: 1/mm in shield, crystal and tissue, and the build-up in the window."""

    shield: float
    crystal: float
    tissue: float
    saturation: float
    length_mm: float
    thick_mm: float  # least wall of a head made for it


# Narrow-beam coefficients of NIST XCOM: tungsten alloy of 17.5 g/cm3; CsI, BGO for 511 keV; soft tissue.
PHYSICS = {
    "Tc-99m": Physics(3.29, 0.36, 0.0152, 0.411, 73.0, 2.0),
    "In-111": Physics(1.35, 0.22, 0.0134, 0.36, 75.0, 4.0),
    "F-18": Physics(0.238, 0.095, 0.0096, 0.30, 90.0, 9.0),
}


@contextmanager
def physics_of(name: str) -> Iterator[None]:
    """The simulator in the physics of a nuclide; as it was before afterwards."""
    p = PHYSICS[name]
    wanted: list[tuple[Any, str, float]] = [
        (collimator, "MU_SHIELD_PER_MM", p.shield),
        (collimator, "MU_CRYSTAL_PER_MM", p.crystal),
        (rates, "MU_TISSUE_PER_MM", p.tissue),
        (detector, "SCATTER_SATURATION", p.saturation),
        (detector, "SCATTER_LENGTH_MM", p.length_mm),
    ]
    before = [(module, key, getattr(module, key)) for module, key, _ in wanted]
    for module, key, value in wanted:
        setattr(module, key, value)
    try:
        yield
    finally:
        for module, key, value in before:
            setattr(module, key, value)


def head_of(name: str, number: int) -> ProbeHead:
    """A probe of some make for a nuclide."""
    rng = stream(number, name, "head")
    crystal = rng.uniform(4.3, 6.2)
    bore = crystal * rng.uniform(0.92, 1.12)
    return ProbeHead(
        crystal_radius_mm=crystal,
        crystal_depth_mm=rng.uniform(6.0, 10.0) if name != "F-18" else rng.uniform(15.0, 25.0),
        recess_mm=rng.uniform(8.0, 13.0),
        bore_radius_mm=bore,
        shield_radius_mm=max(bore, crystal) + PHYSICS[name].thick_mm + rng.uniform(0.0, 2.0),
        efficiency=rng.uniform(0.5, 0.7) * (0.9 if name != "In-111" else 1.6),
        leak=10 ** rng.uniform(-5.0, -4.0),
    )


@cache
def detector_of(name: str, number: int) -> Detector:
    """The tables of a head; to be asked within its physics."""
    return Detector.of(head_of(name, number))


def probe_file(name: str, number: int, folder: Path) -> Path:
    """probe.json of a head, calibrated from a simulated grid and air/water measurement; made once.

    Raises InputError when the calibration is refused.
    """
    path = folder / f"{name}-{number}.json"
    if path.is_file():
        return path
    with physics_of(name):
        grid, water = _grid(name, number), _air_water(name, number)
    content = calibrate(grid, nuclide_by_name(name), None, water, simulated=True)
    if content["accepted"] is not True:
        raise InputError(f"{path}: {content['reasons']}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def _grid(name: str, number: int) -> Grid:
    r, z = (v.ravel() for v in np.meshgrid(np.array(GRID_R_MM), np.array(GRID_Z_MM)))
    mean = point_response(head_of(name, number), r, z) * GRID_KBQ * GRID_S
    counts = stream(number, name, "grid").poisson(mean).astype(float)
    return Grid(r, z, counts, np.full(len(r), GRID_S), np.full(len(r), GRID_KBQ))


def _air_water(name: str, number: int) -> AirWater:
    rng, model = stream(number, name, "water"), RateModel(detector_of(name, number))
    face = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))[None]
    told = np.zeros((2, len(WATER_MM)))
    for row, body in zip(told, (AIR, TANK), strict=True):
        points = [Source("point", np.array([[0.0, 0.0, -d]]), np.ones(1), GRID_KBQ) for d in WATER_MM]
        rate = np.array([model.of_sources([p], body, face)[0] for p in points])
        row[:] = 1000.0 * rng.poisson(rate * WATER_S) / WATER_S / GRID_KBQ
    return AirWater(np.array(WATER_MM), told[0], told[1])
