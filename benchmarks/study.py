"""How long the import of a study takes, and how much memory: `python -m benchmarks.study --slices 267`.

A CT with a body, noise and air as scanners store them is generated once; the import runs as the command runs it,
in its child process, whose time and peak memory are told.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from navigation.io.study import import_study
from tests.navigation.io import dicom_maker as maker

NOISE_HU, BODY_HU, AIR_HU = 12.0, 40.0, -1024
SEED = 1


def generate(folder: Path, slices: int, side: int) -> None:
    """A CT of an elliptic body with noise, `slices` of `side` x `side` pixels."""
    rng = np.random.default_rng(SEED)
    j, i = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    body = (i / 0.8) ** 2 + (j / 0.55) ** 2 < 1.0
    for k in range(slices):
        plane = np.full((side, side), AIR_HU, dtype=np.int16)
        plane[body] = np.rint(BODY_HU + NOISE_HU * rng.standard_normal(int(body.sum())))
        ds = maker.slice_of(plane + 1024, np.array([-250.0, -250.0, 1.5 * k]), instance=k + 1)
        maker.save([ds], folder, f"{k:04d}-")


def main() -> None:
    """Print wall time, CPU time, peak memory and size of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=267)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "dicom", given.slices, given.side)
        print(f"{given.slices} slices of {given.side} x {given.side}, load {os.getloadavg()[0]:.1f}")
        for _ in range(given.repeat):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start_s = time.perf_counter()
            import_study(folder / "dicom", folder / "study", force=True)
            wall_s = time.perf_counter() - start_s
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = sum(p.stat().st_size for p in (folder / "study").iterdir())
            print(
                f"wall {wall_s:.2f} s, CPU {cpu_s:.2f} s, peak {after.ru_maxrss / 1024.0:.0f} MiB,"
                f" study {size / (1 << 20):.0f} MiB"
            )


if __name__ == "__main__":
    main()
