"""Does the shift alarm hold: targets of a study against scans whose targets lie elsewhere, in the simulator's physics.

Each scan (two foci, 60 s) is compared with places as they are, with places off by a registration's error, and with
places off by a shift. A study that was cut off goes on where it stopped.

Run: python -m benchmarks.shift [--scans N] [--kbq A] [--shift MM] [--seed S] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.redrawprobes import probe_file
from benchmarks.redraws import load
from benchmarks.redrawscan import draw
from benchmarks.redrawscenes import Drawn, Rng, Scene, _aside, _place, node, patient_of
from navigation.offline import ScanOptions, reconstruct_scan
from navigation.registration.activity import REGISTRATION_SD_MM, register_activity
from navigation.simulate.body import Body

Array = NDArray[np.float64]

CHI2_95 = 7.815
NULL, REGISTERED, SHIFTED = "in place", "registration error", "shifted"


def scene_of(kbq: float) -> Scene:
    """Two foci of `kbq`, 15 to 25 mm deep and 15 to 35 mm apart."""

    def build(rng: Rng, body: Body) -> Drawn:
        here = _place(rng)
        there = _aside(rng, here, rng.uniform(15.0, 35.0))
        foci = [node(body, p, rng.uniform(15.0, 25.0), kbq, 3.0) for p in (here, there)]
        return foci, [], rng.uniform(0.2, 1.0)

    return Scene(build)


def one_scan(kbq: float, shift_mm: float, seed: int, probes: Path) -> dict[str, Any]:
    """What is said of one scan under each condition."""
    patient, instruments = patient_of(scene_of(kbq), f"shift-{kbq:g}", seed)
    probe = probe_file(instruments.nuclide, instruments.probe, probes)
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(patient, instruments, 60.0, seed, Path(folder) / "scan")
        state = reconstruct_scan(Path(folder) / "scan", probe, ScanOptions())
    T = drawn.T_reference_body
    truth = np.array([T[:3, :3] @ s.centre + T[:3, 3] for s in patient.lesions])
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    shifts = {
        NULL: np.zeros(3),
        REGISTERED: REGISTRATION_SD_MM * rng.normal(size=3),
        SHIFTED: shift_mm * direction / np.linalg.norm(direction),
    }
    told: dict[str, Any] = {"seed": seed, "foci": len(state.result.spots)}
    for name, shift in shifts.items():
        start = time.process_time()
        found = register_activity(state, truth - shift)
        error = found.pose.shift_mm - shift
        low, high = found.length_ci95_mm
        told[name] = {
            "alarm": found.alarm,
            "determined": found.determined,
            "error": float(np.linalg.norm(error)),
            "chi2": float(error @ np.linalg.solve(found.covariance_mm2, error)),
            "inside": bool(low <= np.linalg.norm(shift) <= high),
            "cpu_s": time.process_time() - start,
        }
    return told


def row(name: str, scans: list[dict[str, Any]]) -> str:
    """One condition."""
    told = [s[name] for s in scans]
    error = np.array([t["error"] for t in told])
    return (
        f"{name:20s} {len(told):5d}  {np.mean([t['alarm'] for t in told]):6.1%}"
        f"  {np.median(error):6.2f} {np.quantile(error, 0.95):6.2f} {np.mean(error <= 3.0):6.0%}"
        f"  {np.mean([t['chi2'] <= CHI2_95 for t in told]):6.2f}  {np.mean([t['inside'] for t in told]):6.2f}"
        f"  {np.median([t['cpu_s'] for t in told]):5.2f}"
    )


def main() -> None:
    """Run what is missing and print a row for each condition."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--kbq", type=float, default=50.0)
    parser.add_argument("--shift", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("build/shift"))
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    path = wanted.out / f"{wanted.kbq:g}-{wanted.shift:g}.jsonl"
    scans = load(path)
    done = {s["seed"] for s in scans}
    for seed in range(wanted.seed, wanted.seed + wanted.scans):
        if seed not in done:
            scans.append(one_scan(wanted.kbq, wanted.shift, seed, wanted.out.parent / "redraw-probes"))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(scans[-1]) + "\n")
    print(machine())
    print("condition            scans  alarms  median   95 %   <=3mm  region  interval  CPU s")
    for name in (NULL, REGISTERED, SHIFTED):
        print(row(name, scans))


if __name__ == "__main__":
    main()
