"""A counter simulated photon by photon: the independent truth of what dead time does.

Arrivals are a Poisson stream; a non-paralysable counter is blind for tau after each event it records, a paralysable
one after each photon, recorded or not. No formula of the dead time is used.
"""

from __future__ import annotations

import numpy as np


def arrivals(rng: np.random.Generator, rate_cps: float, live_s: float) -> np.ndarray:
    """Times of the photons in a window, rising."""
    return np.sort(rng.uniform(0.0, live_s, rng.poisson(rate_cps * live_s)))


def recorded(times_s: np.ndarray, tau_s: float, paralysable: bool) -> int:
    """Events that a counter, ready at the start, records of rising arrival times."""
    if paralysable:
        return int(np.count_nonzero(np.diff(times_s, prepend=-np.inf) > tau_s))
    events, ready_s = 0, -np.inf
    for time_s in times_s.tolist():
        if time_s >= ready_s:
            events += 1
            ready_s = time_s + tau_s
    return events


def counts(
    rng: np.random.Generator, rates_cps: np.ndarray, live_s: np.ndarray, tau_s: float, paralysable: bool
) -> np.ndarray:
    """Recorded counts (n,) of windows (n,) with steady true rates (n,)."""
    told = [
        recorded(arrivals(rng, float(n), float(t)), tau_s, paralysable)
        for n, t in zip(rates_cps, live_s, strict=True)
    ]
    return np.array(told, dtype=float)
