"""How surely and how soon a bumped reference is found by a second marker, and how often noise is taken for one.

The poses of both markers have the simulator's tracker noise: white, with a share that wanders; the check marker stands
100 mm away. False alarms are counted over simulated hours.

Run: python -m benchmarks.bump [--bumps N] [--hours H] [--seed S] [--check reference|tool]
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from navigation.simulate.chance import rigid, small_rotation
from navigation.simulate.devices import (
    REFERENCE_NOISE_DEG,
    REFERENCE_NOISE_MM,
    SLOW_SHARE,
    SLOW_TAU_S,
    TOOL_NOISE_DEG,
    TOOL_NOISE_MM,
)
from tracking.steady import LEARNT_S, SteadyWatch
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

HZ, LEVER_MM = 20.0, 100.0
STEPS = (
    (0.5, 0.0),
    (1.0, 0.0),
    (2.0, 0.0),
    (5.0, 0.0),
    (10.0, 0.0),
    (0.0, 0.2),
    (0.0, 0.5),
    (0.0, 1.0),
    (0.0, 3.0),
)
WITHIN_S = 1.0
# A check marker that is a second reference, and one that is no better than a hand-held tool.
KINDS = {
    "reference": (REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG),
    "tool": (TOOL_NOISE_MM, TOOL_NOISE_DEG),
}


def noise(rng: np.random.Generator, n: int, mm: float, deg: float) -> Array:
    """Errors (n, 6) of a marker: rotation vector in rad, shift in mm."""
    from scipy.signal import lfilter

    kept = float(np.exp(-1.0 / (HZ * SLOW_TAU_S)))
    steps = np.sqrt(1.0 - kept**2) * rng.normal(size=(n, 6))
    slow = lfilter([1.0], [1.0, -kept], steps, axis=0)
    error = (np.sqrt(SLOW_SHARE) * slow + np.sqrt(1.0 - SLOW_SHARE) * rng.normal(size=(n, 6))) / np.sqrt(3.0)
    return np.asarray(error * ([np.radians(deg)] * 3 + [mm] * 3))


def unit(rng: np.random.Generator) -> Array:
    v = rng.normal(size=3)
    return np.asarray(v / np.linalg.norm(v))


def poses(rng: np.random.Generator, seconds: float, kind: tuple[float, float]) -> Array:
    """`T_reference_check` (n, 4, 4) as measured, no bump; `kind` is the check marker's noise in mm and degrees."""
    n = round(seconds * HZ)
    apart = rigid(np.eye(3), LEVER_MM * unit(rng))
    reference = noise(rng, n, REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG)
    check = noise(rng, n, *kind)
    return np.array(
        [
            invert_rigid(rigid(small_rotation(a[:3]), a[3:])) @ apart @ rigid(small_rotation(b[:3]), b[3:])
            for a, b in zip(reference, check, strict=True)
        ]
    )


def bumped(
    rng: np.random.Generator, shift_mm: float, turn_deg: float, kind: tuple[float, float]
) -> float | None:
    """Seconds from a bump of the reference to the alarm; None where none came, negative for one before it."""
    found, at_s = poses(rng, 40.0, kind), float(rng.uniform(LEARNT_S + 2.0, 35.0))
    bump = rigid(small_rotation(np.radians(turn_deg) * unit(rng)), shift_mm * unit(rng))
    watch = SteadyWatch()
    for i, pose in enumerate(found):
        t = i / HZ
        watch.take(t, bump @ pose if t >= at_s else pose)
        if watch.moved is not None:
            return t - at_s
    return None


def false_alarms(rng: np.random.Generator, hours: float, kind: tuple[float, float]) -> int:
    """Alarms without a bump; after each the watch begins anew."""
    alarms, watch, t = 0, SteadyWatch(), 0.0
    for _ in range(round(hours * 6)):
        for pose in poses(rng, 600.0, kind):
            t += 1.0 / HZ
            watch.take(t, pose)
            if watch.moved is not None:
                alarms, watch = alarms + 1, SteadyWatch()
        watch = SteadyWatch()  # another pair of markers
    return alarms


def main() -> None:
    """Print a row for each size of bump, then the false alarms."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bumps", type=int, default=200)
    parser.add_argument("--hours", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", choices=list(KINDS), default="reference")
    wanted = parser.parse_args()
    kind = KINDS[wanted.check]
    print(machine())
    print("shift mm  turn deg   within 1 s   ever   median s")
    for number, (shift, turn) in enumerate(STEPS):
        rng = np.random.default_rng((wanted.seed, number))
        delays = [bumped(rng, shift, turn, kind) for _ in range(wanted.bumps)]
        late = [d for d in delays if d is not None and d >= 0.0]
        soon = np.mean([d is not None and 0.0 <= d <= WITHIN_S for d in delays])
        middle = float(np.median(late)) if late else float("nan")
        print(
            f"{shift:8.1f}  {turn:8.1f}   {soon:9.1%}  {len(late) / len(delays):6.1%}   {middle:6.2f}",
            flush=True,
        )
    alarms = false_alarms(np.random.default_rng((wanted.seed, 99)), wanted.hours, kind)
    print(f"false alarms in {wanted.hours:g} h: {alarms}")


if __name__ == "__main__":
    main()
