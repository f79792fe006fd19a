"""What a simulated probe does that no bench has seen: drawn for every study alike."""

from __future__ import annotations

import numpy as np

from navigation.simulate.rates import Mismatch

# Uniform up to: tilt of the axis in degrees, unevenness of the head, drift of the gain; its period in s.
TILT_DEG, UNEVEN, DRIFT, PERIOD_S = 0.8, 0.02, 0.015, (200.0, 600.0)


def drawn_mismatch(rng: np.random.Generator, rough: float = 1.0) -> Mismatch:
    """Of one probe and day; `rough` times the usual errors."""
    tilt, turn = np.radians(rng.uniform(0.0, TILT_DEG)), rng.uniform(0, 2 * np.pi)
    return Mismatch(
        float(rough * tilt * np.cos(turn)),
        float(rough * tilt * np.sin(turn)),
        rough * rng.uniform(0.0, UNEVEN),
        rng.uniform(0, 2 * np.pi),
        rough * rng.uniform(0.0, DRIFT),
        rng.uniform(*PERIOD_S),
        rng.uniform(0, 2 * np.pi),
    )
