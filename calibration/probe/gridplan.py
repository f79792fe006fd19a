"""Where to put a point source so that few places tell a probe's response: places chosen by their information.

Each next place is the one whose count would surprise most, given those before it (sequential D-optimality): the
logarithm of the response is a collimator with uncertain parameters plus a smooth deviation from it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
InAir = Callable[[Array, Array], Array]

# Places that a stand with millimetre scales can take.
CANDIDATE_R_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0)
CANDIDATE_Z_MM = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
# As many places tell the response well enough for a localisation at most 15 % worse than 168 do.
POINTS = 40
# Decays counted at each place, in kBq s: 500 kBq for 10 s.
EXPOSURE_KBQ_S = 5000.0
# Probes differ in each of their parameters by about so much, in logarithms.
PARAMETER_SD = 0.5
# What no collimator's formula describes: its size, and over which distance and direction it changes.
DEVIATION_SD, LOG_DISTANCE, DIRECTION = 0.1, 0.5, 0.12
# How well a tracked tip tells the place of a source on a stand, mm: its calibration, and the tracker.
TRACKED_SD_MM = 0.3
# Relative error of a count by the error of its place: beyond it a fit that trusts the place is led astray.
MOST_SPOILT = 0.05
# Relative error of any model: more counts than its inverse square tell nothing more.
MODEL_ERROR_FLOOR = 0.005
# Offset of the distance in the logarithm: the crystal lies about so far behind the face.
RECESS_MM = 10.0
# A probe of common size, for the plan alone: aperture, and its edge's width in the tangent of the angle.
APERTURE_TAN, EDGE = 0.7, 0.12
LEAK = 1e-4
PER_KBQ = 3000.0


def common_probe(r_mm: Array, z_mm: Array, parameters: Array | None = None) -> Array:
    """cps/kBq (n,) of a common probe at r, z (n,): solid angle, a soft edge of the view, a leak.

    `parameters` (5,) are logarithms of factors on its sensitivity, recess, view, edge and leak. Good for planning
    and predicting, never for a result.
    """
    scale, recess, view, edge, leak = np.exp(np.zeros(5) if parameters is None else parameters)
    height = z_mm + RECESS_MM * recess
    tangent = r_mm / height
    share = 1.0 / (1.0 + np.exp((tangent - APERTURE_TAN * view) / (EDGE * edge)))
    result: Array = scale * PER_KBQ * (share + LEAK * leak) / (r_mm**2 + height**2)
    return result


def plan_grid(
    points: int = POINTS, in_air: InAir | None = None, place_sd_mm: float = 0.0
) -> list[tuple[float, float]]:
    """`points` places (r, z) in mm in the order to take them; `in_air` is a response already known of such a probe.

    `place_sd_mm` is how well the source's place will be known: places where that spoils the count are left out.
    """
    r, z = (g.ravel() for g in np.meshgrid(CANDIDATE_R_MM, CANDIDATE_Z_MM))
    seen = in_air or common_probe
    known = place_sd_mm * steepness(r, z, seen) <= MOST_SPOILT
    r, z = r[known], z[known]
    noise = noise_variance(np.maximum(seen(r, z), 1e-9) * EXPOSURE_KBQ_S)
    chosen = _greedy(prior_covariance(r, z), noise, min(points, len(r)))
    return in_order([(float(r[i]), float(z[i])) for i in chosen])


def noise_variance(counts: Array) -> Array:
    """Variance (n,) of a measured logarithm: Poisson, with the floor of any model's error."""
    result: Array = 1.0 / counts + MODEL_ERROR_FLOOR**2
    return result


def steepness(r_mm: Array, z_mm: Array, in_air: InAir = common_probe) -> Array:
    """Slope (n,) of the response's logarithm with the place, 1/mm."""
    step = 0.2
    slopes = [
        (np.log(np.maximum(in_air(r_mm + a, z_mm + b), 1e-9)) - np.log(np.maximum(in_air(r_mm, z_mm), 1e-9)))
        / step
        for a, b in ((step, 0.0), (0.0, step))
    ]
    result: Array = np.hypot(*slopes)
    return result


def prior_covariance(r_mm: Array, z_mm: Array) -> Array:
    """Covariance (n, n) of the response's logarithm between places, before any measurement."""
    step = 0.01
    slopes = [
        (np.log(common_probe(r_mm, z_mm, step * row)) - np.log(common_probe(r_mm, z_mm, -step * row)))
        / (2 * step)
        for row in np.eye(5)
    ]
    design = PARAMETER_SD * np.stack(slopes, axis=1)
    distance = np.log(z_mm + RECESS_MM) / LOG_DISTANCE
    direction = r_mm / (r_mm + z_mm + RECESS_MM) / DIRECTION
    apart = (distance[:, None] - distance) ** 2 + (direction[:, None] - direction) ** 2
    result: Array = design @ design.T + DEVIATION_SD**2 * np.exp(-0.5 * apart)
    return result


def information(chosen: list[int], covariance: Array, noise: Array) -> float:
    """What a set of places tells, in nats: half the logarithm of det(1 + K / noise)."""
    part = covariance[np.ix_(chosen, chosen)] / np.sqrt(np.outer(noise[chosen], noise[chosen]))
    return 0.5 * float(np.linalg.slogdet(np.eye(len(chosen)) + part)[1])


def _greedy(covariance: Array, noise: Array, points: int) -> list[int]:
    left = covariance.copy()
    chosen: list[int] = []
    for _ in range(points):
        worth = np.diag(left) / noise
        worth[chosen] = -1.0
        best = int(np.argmax(worth))
        chosen.append(best)
        column = left[:, best]
        left = left - np.outer(column, column) / (left[best, best] + noise[best])
    return chosen


def in_order(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places by distance, to and fro across: the least way for a hand."""
    ordered: list[tuple[float, float]] = []
    for row, z in enumerate(sorted({z for _, z in places})):
        across = sorted(r for r, at in places if at == z)
        ordered += [(r, z) for r in (across if row % 2 == 0 else across[::-1])]
    return ordered
