"""The demonstration over several seeds: error and predicted SD of the lesion, bed finding, rhythm and age of the map.

Run: python -m benchmarks.demo_seeds [SCENE] [SEEDS...]; each seed takes some 85 s.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine

PORTS = ("--port", "29944", "--sim-port", "29954")


def one(scene: str, seed: int, out: Path) -> str:
    """One line on one seed."""
    command = [sys.executable, "-m", "navigation.cli.main", "demo", "--headless", "--scene", scene]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--seed", str(seed), "--out", str(out), *PORTS],
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode != 0:
        return f"seed {seed}: exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    return f"seed {seed}: {wall:.0f} s wall; {judged(out)}"


def judged(out: Path) -> str:
    """Truth against spots, and what the live map did."""
    truth = json.loads((out / "truth.json").read_text())["scan-1"]["lesions"]
    spots = json.loads((out / "scan-1" / "spots.json").read_text())["spots"]
    found = [s for s in spots if s["quality"] != "unusable"]
    words = []
    for lesion in truth[:1]:
        if not found:
            words.append(f"{lesion['name']} not found")
            continue
        offsets = [np.array(s["position_mm"]) - lesion["position_mm"] for s in found]
        best = int(np.argmin([np.linalg.norm(o) for o in offsets]))
        covariance = np.array(found[best]["covariance_mm2"])
        distance = float(offsets[best] @ np.linalg.solve(covariance, offsets[best]))
        sd = float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
        words.append(
            f"{lesion['name']} {lesion['activity_kbq']:.0f} kBq: error {np.linalg.norm(offsets[best]):.1f} mm, "
            f"SD {sd:.1f} mm, chi2(3) {distance:.1f}, {found[best]['activity_kbq']:.0f} kBq, {len(found)} foci"
        )
    bed = out / "scan-2" / "bed_check.json"
    if bed.is_file():
        left = [x["activity_kbq"] for x in json.loads((out / "truth.json").read_text())["scan-2"]["lesions"]]
        words.append(f"bed {json.loads(bed.read_text())['finding']} (left: {left})")
    live = json.loads((out / "live.json").read_text())["scan-1"]
    words.append(f"{live['maps_per_s']:.1f} maps/s, oldest {live['greatest_age_s']:.2f} s")
    return "; ".join(words)


def main() -> None:
    """Seeds one after the other."""
    scene = sys.argv[1] if len(sys.argv) > 1 else "bed"
    seeds = [int(s) for s in sys.argv[2:]] or [1, 2, 3, 4, 5]
    print(machine(), flush=True)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            print(one(scene, seed, Path(work) / "out"), flush=True)


if __name__ == "__main__":
    main()
