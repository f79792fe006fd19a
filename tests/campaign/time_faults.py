"""Faults of time in many simulated scans: `python -m tests.campaign.time_faults --n 20`.

Overtaking and repeats must leave every reading as it was to the last bit; clocks that are set or drift must
move no spot that the software stands by, by more than 0.1 mm.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from navigation.simulate.scenes import SCENES
from navigation.volume import ScanResult
from tests.navigation.engine import room_stream
from tests.navigation.engine.room_stream import PROBE, TRACKER, Scanned, begin_s, delivered, scanned, sent
from tests.navigation.engine.test_time_faults import SPOT_MM, TWICE_SHARE, assert_same_readings, late
from tracking.inputs import ClockKind

STEPS_S = (3600.0, -3600.0, 0.15, -0.15)


def moved_mm(found: ScanResult, expected: ScanResult) -> float:
    """By how much the spots that count moved at most; infinity where they are not the same ones."""
    one, other = ([s for s in r.spots if s.quality != "unusable"] for r in (found, expected))
    if len(one) != len(other):
        return np.inf
    pairs = zip(one, other, strict=True)
    return max((float(np.linalg.norm(a.position_mm - b.position_mm)) for a, b in pairs), default=0.0)


def reordered_alike(faultless: Scanned, seed: int) -> bool:
    """Every message up to 200 ms late and 5 % repeated: whether the readings are the same."""
    again = np.random.default_rng(seed).random(len(sent())) < TWICE_SHARE
    try:
        assert_same_readings(scanned(delivered(late_s=late(seed, 1.0), again=again)), faultless)
    except AssertionError:
        return False
    return True


def set_or_drifting(seed: int) -> dict[str, Scanned]:
    """The scan with one clock or both set, and with a tracker on another host."""
    rng = np.random.default_rng(seed)
    step_s, at_s = float(rng.choice(STEPS_S)), begin_s() + float(rng.uniform(3.0, 17.0))
    ppm = float(rng.choice([200.0, -200.0]))

    def set_clock(t_s: float) -> float:
        return t_s + (step_s if t_s >= at_s else 0.0)

    def drifting(t_s: float) -> float:
        return t_s + 37.0 + 1e-6 * ppm * (t_s - begin_s())

    who = {"tracker": (TRACKER,), "probe": (PROBE,), "both": (TRACKER, PROBE)}
    found = {
        f"{name} set by {step_s:+g} s": scanned(delivered(dict.fromkeys(sources, set_clock)))
        for name, sources in who.items()
    }
    away = scanned(delivered({TRACKER: drifting}), {TRACKER: ClockKind.OWN})
    return {**found, f"tracker away, {ppm:+g} ppm": away}


def run(seed: int) -> list[str]:
    """One scene; the faults found in it."""
    name = SCENES[seed % len(SCENES)]
    room_stream.choose(name, seed)
    faultless = scanned(delivered())
    expected, faults = faultless.result(), []
    if not reordered_alike(faultless, seed):
        faults.append(f"{name} {seed}: overtaking changed the readings")
    for what, found in set_or_drifting(seed).items():
        by = moved_mm(found.result(), expected)
        print(f"{name} {seed}, {what}: {by:.3f} mm", flush=True)
        if by > SPOT_MM:
            faults.append(f"{name} {seed}, {what}: a spot moved by {by:.3f} mm")
    return faults


def main() -> int:
    """Run so many scenes; 1 when any fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    faults = [fault for seed in range(options.seed, options.seed + options.n) for fault in run(seed)]
    print("\n".join(faults) or "no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
