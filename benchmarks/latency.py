"""Count latency from ordinary scans of the simulator: error, honesty of the interval, and the watch's alarms.

The truth is the scene's latency and the mean of the stamps' jitter. A scan placed with its true latency must not be
contradicted; one whose counter drifted by 100 ms should be, where a strong focus tells it.

Run: python -m benchmarks.latency [--scans N] [--scene node|bed|occult]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.probe.response import DetectorResponse, load_response
from navigation.cli.main import run
from navigation.lagscore import LagScore, score_lag
from navigation.offline import ScanOptions, scan_latency
from navigation.reconstruction import ImagingSetup, reconstruct
from navigation.simulate.devices import JITTER_S
from navigation.simulate.folder import simulate_scan_folder
from navigation.simulate.scenes import SCENES, build_scene
from navigation.simulate.setup import probe_grid
from tracking.scanfolder import Scan, read_scan, readings_of

DRIFT_S = 0.1
PROBE_SEED = 0


def bench_probe(folder: Path, scene: str) -> Path:
    """probe.json of the probe that all scans are made with."""
    grid = folder / "grid.csv"
    with grid.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["r_mm", "z_mm", "counts", "live_s", "activity_kbq"])
        writer.writerows(probe_grid(build_scene(scene, 0, PROBE_SEED)).tolist())
    out = folder / "probe.json"
    words = ["calibrate", "detector", str(grid), "--nuclide", "Tc-99m", "--no-plots", "--out", str(out)]
    if run(words) != 0:
        raise SystemExit("the bench calibration failed")
    return out


def contradiction(
    scan: Scan, response: DetectorResponse, latency_s: float, drift_s: float
) -> LagScore | None:
    """What the watch says of a scan placed with a latency while its counter is later by `drift_s`."""
    late = replace(scan, counts=replace(scan.counts, t_s=scan.counts.t_s + drift_s))
    setup = ImagingSetup.create(
        response, scan.surface_mm, scan.nuclide, scan.dead_time_s, latency_s=latency_s
    )
    state = reconstruct(setup, readings_of(late, (), latency_s))
    return score_lag(state.problem, state.found.fit, state.found.precision)


def main() -> None:
    """One line a scan, then the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--scene", choices=SCENES, default="bed")
    options = parser.parse_args()
    errors, inside, alarms, noticed, determined = [], 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probe = bench_probe(folder, options.scene)
        response = load_response(probe)
        for seed in range(options.scans):
            place = folder / f"scan-{seed}"
            made = simulate_scan_folder(options.scene, seed, place, tell_latency=False, probe_seed=PROBE_SEED)
            true_s = made.equipment.count_latency_s + JITTER_S
            _, profile = scan_latency(place, probe, ScanOptions())
            scan = read_scan(place)
            sound = contradiction(scan, response, true_s, 0.0)
            drifted = contradiction(scan, response, true_s, DRIFT_S)
            alarms += sound is not None and sound.rejects()
            noticed += drifted is not None and drifted.rejects()
            if profile is None:
                print(f"{seed:3d} no focus", flush=True)
                continue
            low, high = profile.ci95_s
            errors.append(profile.lag_s - true_s)
            inside += low <= true_s <= high
            determined += profile.determined
            bound = "-" if profile.fisher_sd_s is None else f"{1000 * profile.fisher_sd_s:.0f}"
            print(
                f"{seed:3d} error {1000 * errors[-1]:+.0f} ms, interval {1000 * low:.0f} to {1000 * high:.0f},"
                f" Fisher bound {bound} ms, {'determined' if profile.determined else 'open'};"
                f" sound {sound}, drifted {drifted}",
                flush=True,
            )
    if errors:
        rms = 1000 * float(np.sqrt(np.mean(np.square(errors))))
        print(f"error RMS {rms:.1f} ms; {inside} of {len(errors)} truths inside; {determined} determined")
    print(
        f"{alarms} of {options.scans} sound scans contradicted; {noticed} of {options.scans} drifts noticed"
    )


if __name__ == "__main__":
    main()
