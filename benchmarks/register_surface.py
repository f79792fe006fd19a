"""Touched points against a CT's skin: basin of convergence, error at the targets, and whether its bound holds.

Phantoms are touched with noise, tips that were lifted, and skin that gives way by a field of its own; with --study the
skin of an imported study is touched in the same way. Nothing of what is measured is known to the registration.

Run: python -m benchmarks.register_surface [--bodies N] [--starts N] [--radii MM ...] [--study FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from navigation.anatomy.skin import skin_surface
from navigation.io.study import load_study
from navigation.registration.surface import FixedSurface, SurfaceTask, register_surface
from navigation.registration.surface.align import rotations
from navigation.simulate.body import Body
from navigation.simulate.phantom import CT_SIZE, CT_SPACING_MM, ct_numbers, study_grid
from navigation.simulate.scenes import build_scene
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
Rng = np.random.Generator

REACH_MM, REACH_DEG = 20.0, 15.0
POINTS = 400
# A result this far off at any target is a wrong place, not an inexact one.
WRONG_MM = 10.0
NEAR, FAR, MIRRORED = "within reach", "far beyond reach", "mirrored"


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """A body: its CT's surface, and true places (n, 3) with normals (n, 3), evenly spread, in the CT's frame."""

    name: str
    surface: FixedSurface
    places: Array
    normals: Array
    middle: Array  # (3,) of the region that is touched


@dataclass(slots=True)
class Tally:
    """What came of many registrations under one condition."""

    starts: int = 0
    accepted: int = 0
    wrong: int = 0
    covered: float = 0.0  # share of the targets, summed over the accepted
    errors_mm: list[float] = field(default_factory=list)
    all_mm: list[float] = field(default_factory=list)
    bounds_mm: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Figures of the accepted ones, and of all."""
        e, b = np.array(self.errors_mm), np.array(self.bounds_mm)
        return {
            "starts": self.starts,
            "accepted": self.accepted,
            "wrong_accepted": self.wrong,
            "within_3_mm": int((e <= 3.0).sum()),
            "tre_median_mm": float(np.median(e)) if len(e) else None,
            "tre_95_mm": float(np.quantile(e, 0.95)) if len(e) else None,
            "bound_95_median_mm": float(np.median(b)) if len(b) else None,
            "bound_covers": self.covered / max(self.accepted, 1),
            "tre_median_of_all_mm": float(np.median(self.all_mm)),
            "cpu_median_s": float(np.median(self.cpu_s)),
            "cpu_largest_s": float(max(self.cpu_s)),
        }


def phantom(seed: int) -> Skin:
    """The simulated patient's CT, and the skin by its formula."""
    scene = build_scene("occult", seed)
    patient = scene.patient
    grid = study_grid(patient, CT_SPACING_MM, CT_SIZE)
    surface = FixedSurface.from_mesh(skin_surface(ct_numbers(scene, grid), grid), lps=True)
    places, normals = _skin_places(patient.body, np.random.default_rng(seed))
    T = patient.T_study_body
    middle = np.array([*patient.scan_centre, 0.0])
    middle[2] = float(patient.body.skin(middle[:1], middle[1:2])[0])
    return Skin(
        f"phantom {seed}",
        surface,
        _applied(T, places),
        normals @ T[:3, :3].T,
        _applied(T, middle[None])[0],
    )


def _skin_places(body: Body, rng: Rng) -> tuple[Array, Array]:
    """Places (n, 3) and normals on the upper half of the body, as many on every square centimetre."""
    x = rng.uniform(-body.a_mm, body.a_mm, 60_000)
    y = rng.uniform(-body.b_mm, body.b_mm, 60_000)
    inside = (x / body.a_mm) ** 2 + (y / body.b_mm) ** 2 < 0.97
    x, y = x[inside], y[inside]
    normals = body.normal(x, y)
    # Steep skin has more area over the same plane: 1 / cosine, at most 6 times.
    kept = rng.random(len(x)) < np.minimum(1.0 / np.maximum(normals[:, 2], 1e-3), 6.0) / 6.0
    return np.stack([x, y, body.skin(x, y)], axis=1)[kept], normals[kept]


def from_study(folder: Path, seed: int) -> Skin:
    """The skin of an imported study; it is touched where a hand gets to, from the front and the sides."""
    series = next(s for s in load_study(folder).series if s.modality == "CT" and s.usable)
    volume = series.volume()
    # What is touched is finer than what is registered to.
    fine = FixedSurface.from_mesh(skin_surface(volume, series.grid, 400_000), lps=True)
    surface = FixedSurface.from_mesh(skin_surface(volume, series.grid), lps=True)
    rng = np.random.default_rng(seed)
    reachable = (fine.normals[:, 1] < 0.5) & ~fine.rim
    places, normals = fine.points_mm[reachable], fine.normals[reachable]
    front = np.flatnonzero(normals[:, 1] < -0.6)
    return Skin(f"study {seed}", surface, places, normals, places[rng.choice(front)])


def touched(skin: Skin, radius_mm: float, rng: Rng) -> Array:
    """Points (n, 3) in the CT's frame: 0.3 to 1 mm of noise, 5 to 15 % lifted tips or cloth, skin that gives way."""
    near = np.flatnonzero(np.linalg.norm(skin.places - skin.middle, axis=1) < radius_mm)
    chosen = rng.choice(near, min(POINTS, len(near)), replace=False)
    places, normals = skin.places[chosen], skin.normals[chosen]
    squares = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    length, amount, pressed = rng.uniform(15.0, 35.0), rng.uniform(0.2, 0.8), rng.uniform(0.0, 0.8)
    field_ = np.linalg.cholesky(np.exp(-squares / (2.0 * length**2)) + 1e-6 * np.eye(len(places)))
    along = amount * (field_ @ rng.normal(size=len(places))) - pressed
    lifted = rng.random(len(places)) < rng.uniform(0.05, 0.15)
    along[lifted] = rng.uniform(2.0, 25.0, lifted.sum())
    noise = rng.uniform(0.3, 1.0) / np.sqrt(3.0)
    return np.asarray(places + along[:, None] * normals + rng.normal(0.0, noise, places.shape))


def targets_of(skin: Skin, rng: Rng) -> Array:
    """Three places (3, 3) 20 to 60 mm under the touched region."""
    index = int(np.argmin(np.linalg.norm(skin.places - skin.middle, axis=1)))
    aside = rng.normal(0.0, 25.0, (3, 3))
    return np.asarray(skin.middle - rng.uniform(20.0, 60.0, (3, 1)) * skin.normals[index] + aside)


def off_by(T: Array, points: Array, rng: Rng, mm: tuple[float, float], deg: tuple[float, float]) -> Array:
    """T (4, 4) whose points lie off by as much as the ranges say, in any direction, about their middle."""
    direction, axis = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    turn = rotations((np.radians(rng.uniform(*deg)) * axis)[None])[0]
    middle = _applied(T, points.mean(axis=0)[None])[0]
    result = np.eye(4)
    result[:3, :3] = turn @ T[:3, :3]
    result[:3, 3] = turn @ (T[:3, 3] - middle) + middle + rng.uniform(*mm) * direction
    return result


def _applied(T: Array, points: Array) -> Array:
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])


def measure(skin: Skin, radius_mm: float, starts: int, seed: int, tallies: dict[str, Tally]) -> None:
    """One touch of one body, registered from many starts."""
    rng = np.random.default_rng((seed, int(radius_mm)))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotations(rng.normal(size=(1, 3)))[0], rng.uniform(-200.0, 200.0, 3)
    places, targets = touched(skin, radius_mm, rng), targets_of(skin, rng)
    moving = _applied(invert_rigid(T), places)
    for kind, number in ((NEAR, starts), (FAR, max(starts // 2, 1)), (MIRRORED, 1)):
        for _ in range(number):
            mm, deg = ((30.0, 90.0), (25.0, 90.0)) if kind == FAR else ((0.0, REACH_MM), (0.0, REACH_DEG))
            points = moving * [-1.0, 1.0, 1.0] if kind == MIRRORED else moving
            truth = T if kind != MIRRORED else T @ np.diag([-1.0, 1.0, 1.0, 1.0])
            start = off_by(T, moving, rng, mm, deg)
            if kind == MIRRORED:
                start[:3, 3] += _applied(start, moving).mean(axis=0) - _applied(start, points).mean(axis=0)
            _one(skin, points, start, truth, targets, tallies.setdefault(kind, Tally()))


def _one(skin: Skin, points: Array, start: Array, truth: Array, targets: Array, tally: Tally) -> None:
    own = _applied(np.linalg.inv(truth), targets)
    begin = time.process_time()
    found = register_surface(SurfaceTask(skin.surface, points, initial=start, targets_mm=own))
    tally.cpu_s.append(time.process_time() - begin)
    error = np.linalg.norm(_applied(found.matrix, own) - targets, axis=1)
    tally.starts += 1
    tally.all_mm.append(float(error.max()))
    if found.accepted:
        tally.accepted += 1
        tally.wrong += bool(error.max() > WRONG_MM)
        tally.covered += float((error <= found.target_bound_mm).mean())
        tally.errors_mm.append(float(np.median(error)))
        tally.bounds_mm.append(float(np.median(found.target_bound_mm)))


def skins(args: argparse.Namespace) -> Iterator[Skin]:
    """The bodies asked for."""
    for seed in range(args.seed, args.seed + args.bodies):
        yield phantom(seed) if args.study is None else from_study(args.study, seed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bodies", type=int, default=20)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--radii", type=float, nargs="+", default=[60.0, 100.0, 140.0, 180.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[float, dict[str, Tally]] = {radius: {} for radius in args.radii}
    for number, skin in enumerate(skins(args)):
        print(f"{skin.name} ...", file=sys.stderr)
        for radius in args.radii:
            measure(skin, radius, args.starts, args.seed + number, found[radius])
    content = {
        "machine": machine(),
        "conditions": {
            f"touched within {radius:g} mm": {kind: tally.summary() for kind, tally in tallies.items()}
            for radius, tallies in found.items()
        },
    }
    for where, kinds in content["conditions"].items():
        for kind, figures in kinds.items():
            print(f"{where}, {kind}: " + ", ".join(f"{k} {_short(v)}" for k, v in figures.items()))
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
