"""The count latency that a scan is placed with when nobody measured it: found by its own counts, and carried on.

Where the likelihood determines it, it alone speaks; elsewhere what is assumed of counters is joined with it, and the
result says that it is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from navigation.latencyprofile import LatencyProfile, Place, profile_latency
from navigation.reconstruction.live import ScanState
from navigation.volume import ScanResult
from tracking.errors import InputError

# What is assumed of a latency nobody measured: uniform from 0 to 0.3 s.
UNKNOWN_LATENCY_S, UNKNOWN_LATENCY_SD_S = 0.15, 0.3 / 12**0.5
# Rounds of placing the counts anew at the latency found, and the change in s at which that has settled: 0.25 mm.
ROUNDS, SETTLED_S = 3, 0.01
Reconstruct = Callable[[float], ScanState]


def find_latency(reconstruct_at: Reconstruct, place: Place) -> tuple[ScanState, LatencyProfile | None]:
    """The scan reconstructed at the latency its counts tell, with the interval in its result, and the profile.

    No profile where there is no focus or too few windows have poses at every latency. Raises what the
    reconstruction raises.
    """
    latency, profile = UNKNOWN_LATENCY_S, None
    for _ in range(ROUNDS):
        state = reconstruct_at(latency)
        profile = _profile(place, state)
        found = latency if profile is None else carried(profile)[0]
        if abs(found - latency) < SETTLED_S:
            break
        latency = found
    return (state, None) if profile is None else (_told(state, profile), profile)


def carried(profile: LatencyProfile) -> tuple[float, tuple[float, float]]:
    """Latency and 95 % interval that a reconstruction uses: the likelihood's where it determines them."""
    if profile.leads:
        return profile.lag_s, profile.ci95_s
    if profile.determined:
        low, high = profile.ci95_s
        return max(profile.lag_s, 0.0), (max(low, 0.0), max(high, 0.0))
    mean, (low, high) = profile.posterior(UNKNOWN_LATENCY_S, UNKNOWN_LATENCY_SD_S)
    return max(mean, 0.0), (max(low, 0.0), max(high, 0.0))


def lead_words(profile: LatencyProfile) -> str:
    """What is told of poses that are stamped later than the counts."""
    return (
        f"the poses are stamped {-1000 * profile.lag_s:.0f} ms later than the counts:"
        " take so much off the tracker's stamps (PLUS: LocalTimeOffsetSec)"
    )


def _profile(place: Place, state: ScanState) -> LatencyProfile | None:
    if not state.found.fit.sources:
        return None
    try:
        return profile_latency(place, state)
    except InputError:
        return None


def _told(state: ScanState, profile: LatencyProfile) -> ScanState:
    latency, interval = carried(profile)
    result = replace(state.result, count_latency_s=latency, count_latency_ci95_s=interval)
    if profile.leads:
        result = doubted(result, lead_words(profile))
    elif not profile.determined:
        low, high = (1000 * end for end in interval)
        result = doubted(result, f"the count latency is not determined: {low:.0f} to {high:.0f} ms")
    return replace(state, result=result)


def doubted(result: ScanResult, reason: str) -> ScanResult:
    """The result with one more doubt: no spot of it is better than limited."""
    spots = tuple(
        replace(s, quality="limited" if s.quality == "ok" else s.quality, reasons=(*s.reasons, reason))
        for s in result.spots
    )
    return replace(result, spots=spots, reasons=(*result.reasons, reason))
