"""A focus in an abdomen that breathes: is it found, how near its mean place, does its region hold that, is it noticed.

The body slides under the probe while the hand goes on, in the simulator's physics; the same scans at rest beside it. A
study that was cut off goes on where it stopped.

Run: python -m benchmarks.breathing [--scans N] [--kbq A] [--range MM ...] [--seed S] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.mismatch import drawn_mismatch
from benchmarks.redrawprobes import detector_of, physics_of, probe_file
from benchmarks.redraws import load
from benchmarks.redrawscenes import Drawn, Rng, Scene, _place, node, patient_of
from calibration.probe.response import load_response
from navigation.reconstruction import ImagingSetup, reconstruct
from navigation.simulate import hand
from navigation.simulate.body import Body
from navigation.simulate.chance import random_rotation, rigid, stream
from navigation.simulate.motion import Motion, Scenery, expected_counts, tracked
from navigation.simulate.rates import RateModel

Array = NDArray[np.float64]

CHI2_95, FOUND_MM = 7.815, 12.0
SCAN_S, SURFACE_POINTS = 60.0, 300


def scene_of(kbq: float) -> Scene:
    """One focus, 15 to 25 mm deep."""

    def build(rng: Rng, body: Body) -> Drawn:
        return [node(body, _place(rng), rng.uniform(15.0, 25.0), kbq, 3.0)], [], rng.uniform(0.2, 1.0)

    return Scene(build)


def one_scan(kbq: float, range_mm: float, seed: int, probes: Path) -> dict[str, Any]:
    """What is said of one scan; breathing runs mainly from head to foot."""
    patient, instruments = patient_of(scene_of(kbq), f"breathing-{kbq:g}", seed)
    rng = stream(seed, "breathing")
    response = load_response(probe_file(instruments.nuclide, instruments.probe, probes))
    T = rigid(random_rotation(rng), rng.uniform(-300.0, 300.0, 3))
    axis = np.array([0.2 * rng.normal(), 1.0, 0.4 * rng.normal()])
    axis /= np.linalg.norm(axis)
    motion = Motion(range_mm, rng.uniform(3.0, 5.0), (axis[0], axis[1], axis[2]), rng.uniform(0, 2 * np.pi))
    with physics_of(instruments.nuclide):
        model = RateModel(detector_of(instruments.nuclide, instruments.probe), drawn_mismatch(rng))
        path = hand.scan(patient.body, patient.centre, hand.SCAN_HALF_MM, SCAN_S, rng)
        scenery = Scenery(model, patient.body, tuple(patient.sources), patient.background, T)
        counts = rng.poisson(expected_counts(scenery, path, motion))
    readings = tracked(scenery, path, counts, rng)
    x, y = np.array(patient.centre)[:, None] + rng.uniform(-60.0, 60.0, (2, SURFACE_POINTS))
    skin = np.stack([x, y, patient.body.skin(x, y)], axis=1) + rng.normal(0.0, 0.3, (SURFACE_POINTS, 3))
    surface = skin @ T[:3, :3].T + T[:3, 3]
    start = time.process_time()
    result = reconstruct(ImagingSetup.create(response, surface, instruments.nuclide), readings).result
    # The mean of a sine is the place at rest.
    truth = T[:3, :3] @ patient.lesions[0].centre + T[:3, 3]
    stated = [s for s in result.spots if s.quality != "unusable"]
    near = sorted(stated, key=lambda s: float(np.linalg.norm(s.position_mm - truth)))
    goodness = result.goodness
    told: dict[str, Any] = {
        "seed": seed,
        "foci": len(stated),
        "flagged": goodness is not None and goodness.flagged,
        "breathing": None if goodness is None or goodness.breathing is None else goodness.breathing.range_mm,
        "cpu_s": time.process_time() - start,
    }
    if near and np.linalg.norm(near[0].position_mm - truth) <= FOUND_MM:
        off = near[0].position_mm - truth
        told["error"] = float(np.linalg.norm(off))
        told["chi2"] = float(off @ np.linalg.solve(near[0].covariance_mm2, off))
        told["inside"] = bool(near[0].activity_ci95_kbq[0] <= kbq <= near[0].activity_ci95_kbq[1])
        told["sd"] = near[0].sd_mm
    return told


def row(range_mm: float, scans: list[dict[str, Any]]) -> str:
    """One range of breathing."""
    found = [s for s in scans if "error" in s]
    error = np.array([s["error"] for s in found])
    false = float(np.mean([max(s["foci"] - ("error" in s), 0) for s in scans]))
    return (
        f"{range_mm:5.0f} {len(scans):6d} {len(found) / len(scans):7.1%} {false:6.2f}"
        f" {np.median(error):7.2f} {np.quantile(error, 0.95):6.2f} {np.mean(error <= 3.5):6.0%}"
        f" {np.mean([s['chi2'] <= CHI2_95 for s in found]):7.2f} {np.median([s['sd'] for s in found]):5.1f}"
        f" {np.mean([s['inside'] for s in found]):5.2f} {np.mean([s['flagged'] for s in scans]):7.0%}"
        f" {np.mean([s['breathing'] is not None for s in scans]):8.0%} {np.median([s['cpu_s'] for s in scans]):5.1f}"
    )


def main() -> None:
    """Run what is missing and print a row for each range."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--kbq", type=float, default=60.0)
    parser.add_argument("--range", type=float, action="append", dest="ranges")
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("build/breathing"))
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    print("range  scans   found  false  median   95 % <=3.5  region  SD    kBq flagged breathing CPU s")
    for range_mm in wanted.ranges or [0.0, 5.0, 10.0, 15.0]:
        path = wanted.out / f"{wanted.kbq:g}-{range_mm:g}.jsonl"
        scans = load(path)
        done = {s["seed"] for s in scans}
        for seed in range(wanted.seed, wanted.seed + wanted.scans):
            if seed not in done:
                scans.append(one_scan(wanted.kbq, range_mm, seed, wanted.out.parent / "redraw-probes"))
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(scans[-1]) + "\n")
        print(row(range_mm, scans), flush=True)


if __name__ == "__main__":
    main()
