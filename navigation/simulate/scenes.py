"""The three scenes: patient and equipment drawn from a seed.

Body frame as in `body`; everything that the operating room must not know (`truth`) is here, in the
Reference frame only on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.body import Body, Cavity
from navigation.simulate.chance import random_rotation, rigid, small_rotation, stream
from navigation.simulate.collimator import ProbeHead, built_head
from navigation.simulate.rates import Background, Mismatch, Source, ellipsoid
from tracking.errors import InputError

Array = NDArray[np.float64]

NUCLIDE = "Tc-99m"
HALF_LIFE_S = 6.007 * 3600.0
WINDOW_KEV = (126.0, 154.0)
DEAD_TIME_S = 1e-5
PROBE_SERIAL = "SIMULATION-0001"
CHECK_SOURCE_KBQ = 300.0
MARGIN_MM = 4.5  # tissue taken behind the lesion
STEEPEST_WALL_DEG = 50.0
FIDUCIALS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """Anatomy in the body frame. `lesions` are what a surgeon looks for, `others` physiological or
    injected activity.
    """

    body: Body
    lesions: tuple[Source, ...]
    others: tuple[Source, ...]
    background: Background
    cavity: Cavity
    fiducials: Array  # (k, 3)
    T_reference_body: Array  # (4, 4)
    T_study_body: Array  # (4, 4), study in LPS
    scan_centre: tuple[float, float]  # where the surgeon believes the region to be, body x and y

    @property
    def T_study_reference(self) -> Array:
        """(4, 4): the registration that the user has to find."""
        return np.asarray(self.T_study_body @ np.linalg.inv(self.T_reference_body))

    def resected(self) -> Patient:
        """The patient after the cavity is cut: what lay in it is gone."""
        body = replace(self.body, cavity=self.cavity)
        lesions = tuple(s for source in self.lesions if (s := source.outside(body)) is not None)
        others = tuple(s for source in self.others if (s := source.outside(body)) is not None)
        return replace(self, body=body, lesions=lesions, others=others)


@dataclass(frozen=True, slots=True, eq=False)
class Equipment:
    """Probe, tracker and stylus as they are, and what their owner believes of them."""

    head: ProbeHead
    mismatch: Mismatch
    count_latency_s: float
    T_probe_probetip: Array  # (4, 4), true
    nominal_T_probe_probetip: Array
    stylus_tip_mm: Array  # (3,) in the stylus marker's frame, true
    nominal_stylus_tip_mm: Array
    check_source: Source  # in the body frame, beside the patient
    T_tracker_reference: Array  # (4, 4), mean over time


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One patient with one set of equipment; `occlusions` is the number of pose losses in each scan."""

    name: str
    seed: int
    patient: Patient
    equipment: Equipment
    occlusions: int


@dataclass(frozen=True, slots=True, eq=False)
class _Finding:
    """What differs between the scenes."""

    lesions: tuple[Source, ...]
    background_kbq_per_ml: float
    others: tuple[Source, ...] = ()
    occlusions: int = 1
    remnant: bool = False


def build_scene(name: str, seed: int, probe_seed: int | None = None) -> Scene:
    """The scene `name` (bed, occult or node); `probe_seed` keeps the same probe over many seeds.

    Raises InputError for another name or a negative seed.
    """
    if name not in _FINDINGS:
        raise InputError(f"scene {name!r}: not one of {', '.join(_FINDINGS)}")
    if seed < 0:
        raise InputError(f"seed {seed}: must not be negative")
    rng = stream(seed, name, "anatomy")
    body = Body(rng.uniform(170, 215), rng.uniform(130, 165), rng.uniform(95, 120))
    spot = rng.uniform(-12, 12, 2)
    finding = _FINDINGS[name](rng, body, spot)
    patient = _patient(rng, body, spot, finding)
    return Scene(
        name,
        seed,
        patient,
        _equipment(seed if probe_seed is None else probe_seed, seed, body),
        finding.occlusions,
    )


def _at_depth(body: Body, x: float, y: float, depth_mm: float) -> Array:
    return np.array([x, y, float(body.skin(np.array(x), np.array(y))) - depth_mm])


def _bed(rng: np.random.Generator, body: Body, spot: Array) -> _Finding:
    centre = _at_depth(body, spot[0], spot[1], rng.uniform(15.0, 20.0))
    radius = rng.uniform(4.0, 5.0)
    lesion = ellipsoid("lesion", centre, radius * rng.uniform(0.85, 1.15, 3), rng.uniform(90.0, 110.0))
    return _Finding((lesion,), rng.uniform(0.3, 0.5), remnant=bool(rng.random() < 0.6))


def _occult(rng: np.random.Generator, body: Body, spot: Array) -> _Finding:
    centre = _at_depth(body, spot[0], spot[1], rng.uniform(20.0, 25.0))
    lesion = ellipsoid(
        "lesion", centre, rng.uniform(3.0, 4.5) * rng.uniform(0.85, 1.15, 3), rng.uniform(54.0, 66.0)
    )
    return _Finding((lesion,), rng.uniform(0.5, 1.0), occlusions=4)


def _node(rng: np.random.Generator, body: Body, spot: Array) -> _Finding:
    centre = _at_depth(body, spot[0], spot[1], rng.uniform(14.0, 19.0))
    node = ellipsoid(
        "node", centre, rng.uniform(3.0, 5.0) * rng.uniform(0.8, 1.2, 3), rng.uniform(150.0, 300.0)
    )
    away, turn = rng.uniform(27.0, 35.0), rng.uniform(0, 2 * np.pi)
    x, y = spot + away * np.array([np.cos(turn), np.sin(turn)])
    if rng.random() < 0.5:
        site = _at_depth(body, x, y, rng.uniform(22.0, 30.0))
        hot = ellipsoid("injection site", site, rng.uniform(5.0, 8.0, 3), rng.uniform(10e3, 20e3), 200)
    else:
        organ = _at_depth(body, x, y, rng.uniform(42.0, 50.0))
        hot = ellipsoid("hot organ", organ, rng.uniform(12.0, 17.0, 3), rng.uniform(15e3, 30e3), 300)
    return _Finding((node,), rng.uniform(0.3, 0.6), others=(hot,), occlusions=2)


_FINDINGS: dict[str, Callable[[np.random.Generator, Body, Array], _Finding]] = {
    "bed": _bed,
    "occult": _occult,
    "node": _node,
}
SCENES = tuple(_FINDINGS)


def _cavity(rng: np.random.Generator, body: Body, target: Source) -> Cavity:
    x, y, z = target.centre
    skin = float(body.skin(np.array(x), np.array(y)))
    depth = skin - z + float((target.points[:, 2].max() - target.points[:, 2].min()) / 2) + MARGIN_MM
    # The wall is steepest, pi D / (2 R), at half its depth: 50 degrees here.
    radius = 0.5 * np.pi * depth / np.tan(np.radians(STEEPEST_WALL_DEG))
    stretch = rng.uniform(0.95, 1.08)
    off_x, off_y = rng.uniform(-1.5, 1.5, 2)
    return Cavity(x + off_x, y + off_y, depth, radius * stretch, radius / stretch)


def _remnant(rng: np.random.Generator, body: Body, cavity: Cavity) -> Source:
    """6 to 12 kBq whose centre lies 2 to 4.5 mm behind the wall, in the inner half of the cavity."""
    cut = replace(body, cavity=cavity)
    share, turn = rng.uniform(0.1, 0.5), rng.uniform(0, 2 * np.pi)
    x = cavity.x_mm + share * cavity.radius_x_mm * np.cos(turn)
    y = cavity.y_mm + share * cavity.radius_y_mm * np.sin(turn)
    wall = np.array([x, y, float(cut.surface(np.array(x), np.array(y)))])
    inwards = -cut.normal(np.array(x), np.array(y))
    radius = rng.uniform(1.2, 2.0)
    centre = wall + rng.uniform(radius + 0.6, 4.5) * inwards
    return ellipsoid("remnant", centre, np.full(3, radius), rng.uniform(6.0, 12.0))


def _patient(rng: np.random.Generator, body: Body, spot: Array, finding: _Finding) -> Patient:
    cavity = _cavity(rng, body, finding.lesions[0])
    remnant = _remnant(rng, body, cavity)
    direction = rng.normal(size=3)
    wave = 2 * np.pi / rng.uniform(60.0, 120.0) * direction / np.linalg.norm(direction)
    background = Background(
        finding.background_kbq_per_ml,
        rng.uniform(0.05, 0.12),
        (float(wave[0]), float(wave[1]), float(wave[2])),
        rng.uniform(0, 2 * np.pi),
    )
    centre = spot + rng.uniform(-8.0, 8.0, 2)
    return Patient(
        body,
        (*finding.lesions, remnant) if finding.remnant else finding.lesions,
        finding.others,
        background,
        cavity,
        _fiducials(rng, body),
        rigid(random_rotation(rng), rng.uniform(-150.0, 150.0, 3)),
        _lying(rng),
        (float(centre[0]), float(centre[1])),
    )


def _fiducials(rng: np.random.Generator, body: Body) -> Array:
    """(FIDUCIALS, 3): balls on the skin, spread round the region, not symmetric."""
    turn = 2 * np.pi * np.arange(FIDUCIALS) / FIDUCIALS + rng.uniform(-0.25, 0.25, FIDUCIALS)
    away = rng.uniform(60.0, 85.0, FIDUCIALS)
    x, y = away * np.cos(turn), away * np.sin(turn)
    skin = np.stack([x, y, body.skin(x, y)], axis=1)
    return np.asarray(skin + 2.0 * body.normal(x, y))


def _lying(rng: np.random.Generator) -> Array:
    """`T_study_body`: supine, body x to the left (L), y to the head (S), z to the front (A); turned by
    some degrees.
    """
    supine = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    turn = small_rotation(np.radians(rng.uniform(-8.0, 8.0, 3)))
    return rigid(turn @ supine, rng.uniform(-40.0, 40.0, 3))


def _mismatch(rng: np.random.Generator) -> Mismatch:
    tilt, turn = np.radians(rng.uniform(0.1, 1.0)), rng.uniform(0, 2 * np.pi)
    return Mismatch(
        float(tilt * np.cos(turn)),
        float(tilt * np.sin(turn)),
        rng.uniform(0.0, 0.03),
        rng.uniform(0, 2 * np.pi),
        rng.uniform(0.01, 0.02),
        rng.uniform(200.0, 600.0),
        rng.uniform(0, 2 * np.pi),
    )


def _equipment(probe_seed: int, seed: int, body: Body) -> Equipment:
    rng = stream(probe_seed, "equipment")
    head, mismatch = built_head(rng), _mismatch(rng)
    bent = small_rotation(np.radians(rng.uniform(-8.0, 8.0, 3)))
    tip = rigid(bent, np.array([rng.uniform(5, 15), rng.uniform(-15, -5), rng.uniform(125, 145)]))
    error = rigid(small_rotation(np.radians(rng.normal(0, 0.15, 3))), rng.normal(0, 0.15, 3))
    stylus = np.array([rng.uniform(-4, 4), rng.uniform(-4, 4), rng.uniform(145, 165)])
    place = stream(seed, "equipment", "place")
    source = np.array([place.uniform(-30, 30), body.b_mm + 90.0, place.uniform(-30, 0)])
    return Equipment(
        head,
        mismatch,
        float(rng.uniform(0.06, 0.18)),
        tip,
        np.asarray(tip @ error),
        stylus,
        stylus + rng.normal(0, 0.1, 3),
        ellipsoid("check source", source, np.full(3, 1.0), CHECK_SOURCE_KBQ, 100),
        rigid(random_rotation(place), place.uniform(-200, 200, 3) + np.array([0.0, 0.0, 1800.0])),
    )
