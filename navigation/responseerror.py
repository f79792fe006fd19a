"""What a good calibration still errs by, smoothly: nuisances that are fitted together with strong foci.

Beside an injection site or a hot organ an error of the tail is worth a node; but where so many counts come from, they
tell the error too. Each has a prior standard error of one and is known as well as the scan itself tells it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Knots in degrees off the axis between which the response errs smoothly, and the standard error of its logarithm there:
# inside the collimator's view that of a calibration, beside it that of scatter in tissue, which no grid in air shows.
# Twice as large, places in six simulated scenes were 1.4 times as wide as their errors, and no surer beside 5 MBq.
KNOTS_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)
KNOT_SD = (0.01, 0.01, 0.02, 0.08, 0.25, 0.35)
# Unevenness of a head to either side, and of the rate with the distance, per natural logarithm of it.
UNEVEN_SD, DISTANCE_SD = 0.02, 0.02
# Tilt of the sensitive axis against the tracked one, about each axis; drift of the gain over a scan.
TILT_SD_RAD, DRIFT_SD = 0.01, 0.015
# A source whose counts tell its activity to this many standard deviations feels errors of a few percent.
STRONG = 12.0
PER_SOURCE, COMMON = 3 + len(KNOTS_DEG), 4
# Keeps the factor of a trial model within reason: a response wrong by a factor 20 is another probe.
MOST_LOG = 3.0


def relative_errors(position_mm: Array, poses: Array) -> Array:
    """(n, PER_SOURCE): change of the logarithm of a source's rate at poses (n, 4, 4) by one standard error of each."""
    offset = position_mm - poses[:, :3, 3]
    local = np.einsum("nj,nji->ni", offset, poses[:, :3, :3])
    distance = np.maximum(np.linalg.norm(local, axis=1), 1.0)
    angle = np.degrees(np.arccos(np.clip(local[:, 2] / distance, -1.0, 1.0)))
    knots = np.array(KNOTS_DEG)
    hats = [sd * np.interp(angle, knots, unit) for sd, unit in zip(KNOT_SD, np.eye(len(knots)), strict=True)]
    uneven = [UNEVEN_SD * local[:, axis] / distance for axis in (0, 1)]
    far = DISTANCE_SD * np.log(distance / np.median(distance))
    return np.stack([*uneven, far, *hats], axis=1)


def common_errors(position_mm: Array, gradient: Array, rate: Array, poses: Array, t_s: Array) -> Array:
    """(n, COMMON) in cps: what tilts about both axes and a drift in two terms change of one source's rate (n,).

    `gradient` (n, 3) is that of the rate with the source's place, in cps/mm.
    """
    offset = position_mm - poses[:, :3, 3]
    tilts = [
        TILT_SD_RAD * np.einsum("ni,ni->n", gradient, np.cross(poses[:, :3, axis], offset)) for axis in (0, 1)
    ]
    span = (t_s - t_s.mean()) / max(float(np.ptp(t_s)) / 2.0, 1e-6)
    drifts = [DRIFT_SD * span * rate, DRIFT_SD * (span**2 - 1.0 / 3.0) * rate]
    return np.stack([*tilts, *drifts], axis=1)


def factor(relative: Array, errors: Array) -> Array:
    """(n,): by how much errors (PER_SOURCE,) in standard errors change the rate."""
    result: Array = np.exp(np.clip(relative @ errors, -MOST_LOG, MOST_LOG))
    return result
