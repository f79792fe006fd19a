"""How well a grid describes probes of many shapes: ray-traced heads drawn at random, at 140 and at 245 keV.

For 168 points and for every fourth of them: held-out misfit, error where the probe looks, and the error of what is
continued to the side over the standard error it is given. The rays are the simulator's, not the fit's own formula.

Run: python -m benchmarks.grids [--probes N]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from calibration.probe.gridfit import Grid, fit_grid
from navigation.simulate import collimator
from navigation.simulate.collimator import ProbeHead, point_response

Array = NDArray[np.float64]

R_MM = (0, 2, 4, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50, 60)
Z_MM = (2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)
EXPOSURE_KBQ_S = 5000.0
# Tungsten at 140 and at 245 keV: leak through the wall hardly counts, and counts.
SHIELDS = {"140 keV": 3.29, "245 keV": 0.96}
# Where a hot organ lies beside the measured 60 mm.
ASIDE_MM = (np.array([80.0, 100.0, 120.0, 150.0]), np.array([20.0, 30.0, 40.0, 60.0]))
# A hundred counts make a place worth its 10 %.
SEEN_COUNTS = 100.0
FINE_NODES = {"RADIAL_NODES": 18, "AZIMUTH_NODES": 48, "DEPTH_NODES": 14, "CHUNK": 16}


@dataclass(frozen=True)
class Outcome:
    """Of one fit: misfit, relative RMS where seen, errors aside in standard errors, CPU seconds."""

    held_out: float
    rms: float
    aside: float
    cpu_s: float


def head(rng: np.random.Generator) -> ProbeHead:
    """A probe of any make: crystal of 5 to 18 mm, recess to 20 mm, walls of 1 to 5 mm."""
    crystal = rng.uniform(2.5, 9.0)
    bore = crystal * rng.uniform(0.8, 1.3)
    return ProbeHead(
        crystal_radius_mm=crystal,
        crystal_depth_mm=rng.uniform(2.0, 12.0),
        recess_mm=rng.uniform(0.5, 20.0),
        bore_radius_mm=bore,
        shield_radius_mm=max(bore, crystal) + rng.uniform(1.0, 5.0),
        shield_length_mm=50.0,
        efficiency=rng.uniform(0.2, 0.8),
        leak=10 ** rng.uniform(-5.5, -3.0),
    )


def outcome(probe: ProbeHead, seed: int, every: int) -> Outcome:
    """The fit to a grid of that probe, judged by what the rays say."""
    r, z = (v.ravel() for v in np.meshgrid(np.array(R_MM, dtype=float), np.array(Z_MM, dtype=float)))
    true = point_response(probe, r, z)
    counts = np.random.default_rng(seed).poisson(true * EXPOSURE_KBQ_S).astype(float)
    whole = Grid(r, z, counts, np.full(len(r), 10.0), np.full(len(r), EXPOSURE_KBQ_S / 10.0))
    start = time.process_time()
    fitted = fit_grid(whole.take(np.arange(len(r)) % every == every // 2))
    cpu_s = time.process_time() - start
    seen = true * EXPOSURE_KBQ_S > SEEN_COUNTS
    error = fitted.in_air(r[seen], z[seen]) / true[seen] - 1.0
    aside = np.log(fitted.in_air(*ASIDE_MM) / point_response(probe, *ASIDE_MM))
    sd = np.hypot(fitted.tail_relative_sd, 0.1)
    return Outcome(
        fitted.held_out_chi2_per_dof,
        float(np.sqrt(np.mean(error**2))),
        float(np.abs(aside).max() / sd),
        cpu_s,
    )


def main() -> None:
    """Print a line for each probe and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--probes", type=int, default=12)
    wanted = parser.parse_args()
    print(machine())
    for name, nodes in FINE_NODES.items():
        setattr(collimator, name, nodes)
    rng = np.random.default_rng(5)
    found: dict[tuple[str, int], list[Outcome]] = {}
    for k in range(wanted.probes):
        probe = head(rng)
        for shield, mu in SHIELDS.items():
            collimator.MU_SHIELD_PER_MM = mu
            at_10_mm = 1000.0 * float(point_response(probe, 0.0, 10.0))
            for every in (1, 4):
                one = outcome(probe, 100 * k + every, every)
                found.setdefault((shield, every), []).append(one)
                print(
                    f"probe {k:2d}, {shield}, {at_10_mm:6.0f} cps/MBq, 1 of {every} points:"
                    f" held-out {one.held_out:5.2f},"
                    f" RMS {100 * one.rms:5.2f} %, aside {one.aside:4.1f} SD, {one.cpu_s:.1f} s",
                    flush=True,
                )
    for (shield, every), outcomes in found.items():
        held_out = np.array([o.held_out for o in outcomes])
        print(
            f"{shield}, 1 of {every}: held-out median {np.median(held_out):.2f},"
            f" <= 1.5 in {np.mean(held_out <= 1.5):.0%};"
            f" RMS median {100 * np.median([o.rms for o in outcomes]):.2f} %;"
            f" aside median {np.median([o.aside for o in outcomes]):.1f},"
            f" largest {max(o.aside for o in outcomes):.1f} SD;"
            f" CPU median {np.median([o.cpu_s for o in outcomes]):.1f} s"
        )


if __name__ == "__main__":
    main()
