"""Count latency from a sweep over a point source whose place is known: by how much the counter stamps late.

For each trial latency the counts are placed on the probe's path and a point source with free strength, background and
a small free offset is fitted; the profile of the likelihood over the latency gives estimate and interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime
from calibration.probe.response import DetectorResponse
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]

# Range of latencies, and the first step through it: counters are late, but a tracker may be later still.
LOWEST_S, HIGHEST_S, COARSE_STEP_S, FINE_STEP_S = -0.15, 0.45, 0.03, 0.005
# Poses stamped later than counts by more than this, and by more than so many standard errors, are no rounding.
NEGLIGIBLE_LEAD_S, LEAD_SIGMA, Z95 = 0.005, 3.0, 1.96
# How far the source may lie from where it is said to be: tip calibration and the stand it sits on.
OFFSET_SD_MM = 2.0
FEWEST_READINGS = 20
# A latency known to this half width blurs a place by no more than 1 mm at hand speed (25 mm/s).
DETERMINED_HALF_WIDTH_S = 0.040
# Half a unit of chi2(1) at 95 %.
PROFILE_DROP = 1.92
ITERATIONS = 12
# A counter that was ready for a smaller share of its window tells no rate.
LEAST_READY = 0.05


@dataclass(frozen=True, slots=True)
class Latency:
    """Estimate in s, 95 % interval or None, and whether it is good enough to place counts by.

    Negative, and then never determined, where the poses are stamped later than the counts.
    """

    latency_s: float
    ci95_s: tuple[float, float] | None
    determined: bool
    reasons: tuple[str, ...] = ()


def estimate_latency_point_source(
    place: Callable[[float], Readings],
    position_mm: Array,
    response: DetectorResponse,
    dead_time: DeadTime = NO_DEAD_TIME,
) -> Latency:
    """Latency from readings placed by `place(latency_s)` round a source in air at `position_mm` (3,) in Reference.

    Raises InputError when too few readings have a place.
    """
    coarse = np.arange(LOWEST_S, HIGHEST_S + 1e-9, COARSE_STEP_S)
    profile = _profile(place, coarse, position_mm, response, dead_time)
    best = coarse[int(np.argmax(profile.log_likelihood))]
    fine = np.arange(best - 2 * COARSE_STEP_S, best + 2 * COARSE_STEP_S + 1e-9, FINE_STEP_S)
    profile = _profile(place, fine, position_mm, response, dead_time)
    return _from_profile(fine, profile)


@dataclass(frozen=True, slots=True, eq=False)
class _Profile:
    log_likelihood: Array
    dispersion: float


def _from_profile(latencies: Array, profile: _Profile) -> Latency:
    top = int(np.argmax(profile.log_likelihood))
    near = slice(max(top - 4, 0), top + 5)
    a, b, _ = np.polyfit(latencies[near], profile.log_likelihood[near], 2)
    if a >= 0 or top in (0, len(latencies) - 1):
        return Latency(float(latencies[top]), None, False, ("the likelihood has no maximum",))
    centre = float(-b / (2 * a))
    half = float(np.sqrt(PROFILE_DROP * profile.dispersion / -a))
    if centre < -max(NEGLIGIBLE_LEAD_S, LEAD_SIGMA * half / Z95):
        words = f"the poses are stamped {-1000 * centre:.0f} ms later than the counts"
        return Latency(centre, (centre - half, centre + half), False, (words,))
    determined = half <= DETERMINED_HALF_WIDTH_S
    reasons = () if determined else (f"95 % interval is {1000 * half:.0f} ms to either side",)
    return Latency(max(centre, 0.0), (max(centre - half, 0.0), max(centre, 0.0) + half), determined, reasons)


def _profile(
    place: Callable[[float], Readings],
    latencies: Array,
    position: Array,
    response: DetectorResponse,
    dead_time: DeadTime,
) -> _Profile:
    """Log-likelihood at each latency over the intervals that are placed at all of them."""
    trials = [place(float(latency)) for latency in latencies]
    stamps = [np.round(t.t_s + lat, 5) for t, lat in zip(trials, latencies, strict=True)]
    common = stamps[0]
    for other in stamps[1:]:
        common = np.intersect1d(common, other)
    if len(common) < FEWEST_READINGS:
        raise InputError(
            f"{len(common)} counting intervals of the sweep have a place; {FEWEST_READINGS} are needed"
        )
    values, dispersions = [], []
    for trial, stamp in zip(trials, stamps, strict=True):
        value, dispersion = _fit(trial, np.isin(stamp, common), position, response, dead_time)
        values.append(value)
        dispersions.append(dispersion)
    return _Profile(np.array(values), max(float(min(dispersions)), 1.0))


def _fit(
    readings: Readings,
    kept: NDArray[np.bool_],
    position: Array,
    response: DetectorResponse,
    dead_time: DeadTime,
) -> tuple[float, float]:
    """Penalised maximum of the likelihood over strength, background and offset; and chi2 per degree of freedom."""
    kept = kept & ~dead_time.saturated(readings.counts / readings.live_s)
    counts, live = readings.counts[kept], readings.live_s[kept]
    offset = np.zeros(3)
    for _ in range(ITERATIONS):
        columns = [_rate(readings, position + offset, response)[kept]]
        columns += [
            (
                _rate(readings, position + offset + d, response)
                - _rate(readings, position + offset - d, response)
            )[kept]
            for d in 0.5 * np.eye(3)
        ]
        # What the counter lost is put back once, in the time it was ready; the expected counts lose it again.
        ready = np.maximum(dead_time.live_s(counts, live), LEAST_READY * live)
        strength, background = _scale(columns[0], counts, ready)
        rate = strength * columns[0] + background
        expected = live * dead_time.expected(rate)
        design = np.stack([columns[0], np.ones_like(rate), *(strength * c for c in columns[1:])], axis=1)
        design *= (live * dead_time.slope(rate))[:, None]
        prior = np.array([0, 0, *[1 / OFFSET_SD_MM**2] * 3])
        gradient = design.T @ (counts / expected - 1.0) - prior * np.concatenate([[0, 0], offset])
        step = np.linalg.solve(design.T @ (design / expected[:, None]) + np.diag(prior + 1e-9), gradient)[2:]
        offset = offset + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 0.01:
            break
    value = (
        float(np.sum(counts * np.log(expected) - expected)) - 0.5 * float(offset @ offset) / OFFSET_SD_MM**2
    )
    chi2 = float(np.sum((counts - expected) ** 2 / expected)) / max(len(counts) - 5, 1)
    return value, chi2


def _rate(readings: Readings, position: Array, response: DetectorResponse) -> Array:
    """cps per kBq (n,) of a point in air, averaged over each interval's path."""
    offset = position - readings.poses[:, :3, 3]
    z = np.einsum("ni,ni->n", offset, readings.poses[:, :3, 2])
    r = np.sqrt(np.maximum(np.einsum("ni,ni->n", offset, offset) - z**2, 0.0))
    result: Array = np.add.reduceat(response.in_air(r, z) * readings.weights, readings.first[:-1])
    return result


def _scale(shape: Array, counts: Array, live: Array) -> tuple[float, float]:
    """Strength and background that fit best, both positive, by a few EM steps on two components."""
    strength = max(float(counts.sum()) / max(float((shape * live).sum()), 1e-9), 1e-6)
    background = 0.05 * float(counts.sum() / live.sum()) + 1e-3
    for _ in range(200):
        ratio = counts / (strength * shape + background) / live
        strength *= float((ratio * shape * live).sum() / (shape * live).sum())
        background *= float((ratio * live).sum() / live.sum())
    return strength, background
