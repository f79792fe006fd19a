"""A specimen counted on the bench: the probe still, its face so far above the specimen's middle, one or more takes.

The specimen is taken for a ball of its volume that absorbs in itself; a second distance tells whether that holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from calibration.counter.deadtime import NO_DEAD_TIME
from calibration.probe.response import DetectorResponse
from navigation.specimen import Z95
from tracking.errors import InputError

Array = NDArray[np.float64]

# A ruler held beside the probe.
DISTANCE_SD_MM = 1.0
# What is not a ball: this share of how much the specimen's size changes its response is taken for its standard error.
SHAPE_SHARE = 0.5
# Relative standard error by counting that more seconds are advised for, and the longest that is worth advising.
WANTED_SD, LONGEST_S = 0.05, 600.0
# Takes that differ more than chance at this level does put the specimen elsewhere than was said.
DIFFERENT = 0.01
# Points of the ball over which the response is averaged.
POINTS = 400


@dataclass(frozen=True, slots=True)
class Take:
    """Counts over a time in s, the face `distance_mm` from the specimen's middle, on the axis."""

    counts: float
    seconds: float
    distance_mm: float


@dataclass(frozen=True, slots=True)
class Measured:
    """kBq at the time of the measurement with its 95 % interval, what it rests on, and what to do next."""

    activity_kbq: float
    ci95_kbq: tuple[float, float]
    accepted: bool
    reasons: tuple[str, ...]
    next: str | None
    takes_kbq: tuple[float, ...]

    def content(self) -> dict[str, Any]:
        """As specimen.json has it."""
        return {
            "activity_kbq": self.activity_kbq,
            "ci95_kbq": list(self.ci95_kbq),
            "takes_kbq": list(self.takes_kbq),
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "next": self.next,
        }


def measure(
    response: DetectorResponse,
    takes: tuple[Take, ...],
    background: Take | None,
    volume_ml: float,
    distance_sd_mm: float = DISTANCE_SD_MM,
) -> Measured:
    """The specimen's activity. Raises InputError for takes that are none or touch the specimen."""
    radius = ball_radius_mm(volume_ml)
    for take in takes:
        if take.seconds <= 0.0 or take.counts < 0.0:
            raise InputError(f"a take of {take.counts:g} counts in {take.seconds:g} s is none")
        if take.distance_mm <= radius:
            raise InputError(
                f"{take.distance_mm:g} mm lie within a specimen of {volume_ml:g} mL: its radius is {radius:.0f} mm"
            )
    room, room_variance = _rate(response, background) if background is not None else (0.0, 0.0)
    each, counting, shared = [], [], []
    for take in takes:
        rate, variance = _rate(response, take)
        seen, relative = _seen(response, take.distance_mm, radius, distance_sd_mm)
        each.append((rate - room) / seen)
        counting.append(np.hypot(np.sqrt(variance), each[-1] * seen * relative) / seen)
        shared.append(np.sqrt(room_variance) / seen)
    return _together(response, takes, np.array(each), np.array(counting), float(np.mean(shared)), background)


def ball_radius_mm(volume_ml: float) -> float:
    """Of a ball of so many mL."""
    return 10.0 * float(np.cbrt(3.0 * volume_ml / (4.0 * np.pi)))


def _together(
    response: DetectorResponse,
    takes: tuple[Take, ...],
    each: Array,
    own_sd: Array,
    room_sd: float,
    background: Take | None,
) -> Measured:
    weight = 1.0 / np.maximum(own_sd, 1e-12) ** 2
    activity = float(weight @ each / weight.sum())
    spread = float(weight @ (each - activity) ** 2)
    reasons = [] if background is not None else ["no background was counted: the room's counts are in it"]
    reasons += ["the detector calibration is a draft"] if response.state == "draft" else []
    if len(takes) > 1 and spread > chi2.ppf(1.0 - DIFFERENT, len(takes) - 1):
        words = " and ".join(f"{a:.1f}" for a in each)
        reasons.append(
            f"the takes differ ({words} kBq): is the distance from the middle of the specimen right?"
        )
    sd = float(
        np.hypot(1.0 / np.sqrt(weight.sum()) * max(np.sqrt(spread / max(len(takes) - 1, 1)), 1.0), room_sd)
    )
    sd = float(np.hypot(sd, response.systematic_relative_sd * activity))
    accepted = activity > Z95 * sd
    if not accepted:
        reasons.append("the specimen is hardly above the background")
    half = Z95 * sd
    # On a log scale once it is well above nothing: an activity is positive, and errors are mostly factors.
    low, high = (
        (activity * np.exp(-half / activity), activity * np.exp(half / activity))
        if accepted
        else (max(activity - half, 0.0), max(activity, 0.0) + half)
    )
    return Measured(
        max(activity, 0.0),
        (float(low), float(high)),
        accepted,
        tuple(reasons),
        _next(takes, background),
        tuple(float(a) for a in each),
    )


def _next(takes: tuple[Take, ...], background: Take | None) -> str | None:
    """What would make the measurement better; None where it is good."""
    if background is None:
        return f"count the room without the specimen for {takes[0].seconds:.0f} s"
    if len({t.distance_mm for t in takes}) == 1:
        return f"count once more at {1.6 * takes[0].distance_mm:.0f} mm: two distances check the geometry"
    net = sum(t.counts - background.counts / background.seconds * t.seconds for t in takes)
    gross = sum(t.counts for t in takes)
    reached = float(np.sqrt(max(gross, 1.0)) / max(net, 1e-9))
    if reached <= WANTED_SD:
        return None
    more_s = sum(t.seconds for t in takes) * ((reached / WANTED_SD) ** 2 - 1.0)
    return f"count {min(more_s, LONGEST_S):.0f} s more in all"


def _rate(response: DetectorResponse, take: Take) -> tuple[float, float]:
    """Rate in cps freed from dead time, and its variance."""
    dead = NO_DEAD_TIME if response.dead_time is None else response.dead_time
    recorded = take.counts / take.seconds
    if bool(dead.saturated(np.array([recorded]))[0]):
        raise InputError(f"{recorded:.0f} cps saturate the counter: count from farther away")
    true = float(dead.corrected(recorded))
    # One count more than were seen keeps the variance of none from being none.
    slope = float(dead.slope(true))
    return true, (take.counts + 1.0) / take.seconds**2 / slope**2


def _seen(
    response: DetectorResponse, distance_mm: float, radius_mm: float, sd_mm: float
) -> tuple[float, float]:
    """cps/kBq of the ball on the axis, and its relative standard error by distance and shape."""
    seen = _of_ball(response, distance_mm, radius_mm)
    step = 0.5
    slope = (
        _of_ball(response, distance_mm + step, radius_mm) - _of_ball(response, distance_mm - step, radius_mm)
    ) / (2 * step)
    point = float(response.in_air(np.array([0.0]), np.array([distance_mm]))[0])
    return seen, float(np.hypot(sd_mm * slope / seen, SHAPE_SHARE * abs(np.log(seen / point))))


def _of_ball(response: DetectorResponse, distance_mm: float, radius_mm: float) -> float:
    offset = radius_mm * _ball()
    place = offset + np.array([0.0, 0.0, distance_mm])
    way = place / np.linalg.norm(place, axis=1)[:, None]
    # From a point of the ball towards the face: the chord that is still within.
    along = np.einsum("ni,ni->n", offset, way)
    inside = along + np.sqrt(np.maximum(radius_mm**2 - (offset**2).sum(axis=1) + along**2, 0.0))
    r, z = np.hypot(place[:, 0], place[:, 1]), place[:, 2]
    return float(response.in_tissue(r, z, inside).mean())


def _ball() -> Array:
    """(POINTS, 3) spread evenly over the unit ball: a spiral of directions, radii in an order of their own."""
    i = np.arange(POINTS) + 0.5
    height, turn = 1.0 - 2.0 * i / POINTS, np.pi * (1.0 + np.sqrt(5.0)) * i
    flat = np.sqrt(1.0 - height**2)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    # Successive multiples of the plastic number's inverse fill the unit interval evenly.
    radius = np.cbrt((0.7548776662466927 * i) % 1.0)
    points: Array = radius[:, None] * directions
    return points
