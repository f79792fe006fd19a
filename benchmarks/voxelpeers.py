"""Where filtered voxel EM is hottest after 20 iterations, and where our foci are, on the redraw scenes.

PyTomography's OSEM with one subset and numpy's MLEM give the very image that ours gives, so one column serves for all.
Run: python -m benchmarks.voxelpeers [--scans N] [--scene NAME ...] [--redraws build/redraws]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.machine import machine
from benchmarks.redrawprobes import probe_file
from benchmarks.redraws import MATCH_MM, STATED, load
from benchmarks.redrawscan import draw
from benchmarks.redrawscenes import SCENES, patient_of
from navigation.research import OpenScan, mlem, open_scan

ITERATIONS, VOXEL_MM = 20, 2.0
# Plain EM is hottest where the scan sees next to nothing; a user masks that.
WELL_SEEN = 0.01
# Full width at half maximum of the filter after it, as usual in SPECT.
FILTER_MM = 10.0
DEFAULT = ("occult", "two_nodes", "cold_water", "organ_111in")


def voxel_errors(scan: OpenScan, places: np.ndarray) -> tuple[float, list[float]]:
    """mm from the hottest well-seen voxel to the nearest place (k, 3), and from each place to the hottest near it."""
    system = scan.system(scan.grid(VOXEL_MM))
    image, inside = mlem(system, ITERATIONS).activity, np.zeros(system.grid.shape)
    inside.ravel()[system.columns] = 1.0
    spread = FILTER_MM / 2.355 / VOXEL_MM
    smooth = gaussian_filter(image, spread) / np.maximum(gaussian_filter(inside, spread), 1e-3)
    sensitivity = system.sensitivity().ravel()[system.columns]
    seen = sensitivity >= WELL_SEEN * sensitivity.max()
    values = np.where(seen, smooth.ravel()[system.columns], 0.0)
    distance = np.linalg.norm(system.grid.points()[system.columns][:, None] - places, axis=-1)
    near = np.where(distance <= MATCH_MM, values[:, None], -np.inf).argmax(axis=0)
    return float(distance[values.argmax()].min()), [float(distance[h, k]) for k, h in enumerate(near)]


def foci_errors(found: np.ndarray, places: np.ndarray) -> list[float]:
    """mm from each place (k, 3) to the nearest focus (j, 3); inf without one within MATCH_MM."""
    if len(found) == 0:
        return [np.inf] * len(places)
    nearest = np.linalg.norm(places[:, None] - found, axis=-1).min(axis=1)
    return np.where(nearest <= MATCH_MM, nearest, np.inf).tolist()


def one(name: str, seed: int, redraws: Path, probes: Path) -> tuple[float, list[float], list[float]]:
    """Errors of one scan: hottest of all, hottest near each lesion, focus of each lesion."""
    patient, instruments = patient_of(SCENES[name], name, seed)
    probe = probe_file(instruments.nuclide, instruments.probe, probes)
    known = {s["seed"]: s for s in load(redraws / f"{name}.jsonl")}
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(patient, instruments, SCENES[name].duration_s, seed, Path(folder) / "scan")
        T = drawn.T_reference_body
        places = np.array([T[:3, :3] @ s.centre + T[:3, 3] for s in patient.lesions])
        scan = open_scan(Path(folder) / "scan", probe)
        hottest, near = voxel_errors(scan, places)
        if seed in known:
            found = [s["place"] for s in known[seed]["spots"] if s["quality"] in STATED]
        else:
            found = [s.position_mm.tolist() for s in scan.reconstruct().foci if s.quality in STATED]
    return hottest, near, foci_errors(np.array(found).reshape(-1, 3), places)


def main() -> None:
    """A row for each scene."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=10)
    parser.add_argument("--scene", action="append", choices=[n for n, s in SCENES.items() if n != "empty"])
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument(
        "--redraws", type=Path, default=Path("build/redraws"), help="foci that are there already"
    )
    told = parser.parse_args()
    print(machine())
    print("scene         scans  hottest, well seen    hottest within 12 mm  our foci  found   (median mm)")
    for name in told.scene or DEFAULT:
        scans = [
            one(name, seed, told.redraws, told.redraws.parent / "redraw-probes")
            for seed in range(told.seed, told.seed + told.scans)
        ]
        near, foci = (np.array([e for s in scans for e in s[k]]) for k in (1, 2))
        print(
            f"{name:12s} {len(scans):6d} {np.median([s[0] for s in scans]):21.1f} {np.median(near):21.1f}"
            f" {np.median(foci):9.1f} {np.isfinite(foci).mean():6.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
