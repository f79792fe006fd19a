"""The uncertainty budget of one focus's activity: what its 95 % interval is made of, component by component.

The joint fit's variance is split exactly: what counting alone leaves, what the free place adds (mostly the depth) and
what the latency adds; everything the counts cannot see is added in squares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.physics.budget import Budget, Component
from calibration.probe.response import TYPICAL_SCATTER_SHARE
from navigation.pointlayer import JointFit, Problem
from navigation.saturation import dead_time_relative_sd, shoulder_relative_sd

Array = NDArray[np.float64]

# Relative uncertainty of an activity from tissue: its density (2 % over 30 mm of 5 % denser tissue), a surface touched
# to 2 mm (3 %), and the smooth shape it is given (1 %), in squares.
ACTIVITY_SYSTEMATIC = 0.04
# A variance below this is none.
LEAST_VARIANCE = 1e-18


def spot_budget(
    problem: Problem, fit: JointFit, index: int, leaked: float = 0.0, beyond: float = 0.0, size: float = 0.0
) -> Budget:
    """Of one source's activity: `leaked` is the relative error by its neighbours, `beyond` its extrapolated share.

    `size` is what the choice among the sizes that fit its counts adds.
    """
    counting, place, latency = shares_of_fit(fit, index)
    response = problem.projector.response
    probe = f"calibration {response.probe_id}"
    bare = float(np.sqrt(max(response.scale_relative_sd**2 - response.sheath_relative_sd**2, 0.0)))
    return Budget.of(
        [
            Component("counting, with the background", "A", counting, "joint fit", distribution="Poisson"),
            Component("place and depth of the focus", "A", place, "joint fit"),
            Component("size of the focus", "A", size, "joint fits"),
            Component("count latency", "A", latency, "joint fit"),
            Component("scale of the calibration", "B", bare, probe),
            Component("sterile sheath", "B", response.sheath_relative_sd, "counts with and without it"),
            Component("scatter in tissue", "B", response.scatter_scale_sd, probe, TYPICAL_SCATTER_SHARE),
            Component(
                "attenuation and surface",
                "B",
                ACTIVITY_SYSTEMATIC,
                "density and touched surface",
                assumed=True,
            ),
            Component(
                "response beyond its measured range", "B", response.extrapolated_relative_sd, probe, beyond
            ),
            Component("neighbouring foci", "B", leaked, "model error of their counts"),
            Component("dead time", "B", dead_time_relative_sd(problem, fit, index), probe),
            Component("best looks saturated", "B", shoulder_relative_sd(problem, fit, index), "flanks only"),
            Component("half-life", "B", _half_life(problem), response.nuclide.source),
        ]
    )


def shares_of_fit(fit: JointFit, index: int) -> tuple[float, float, float]:
    """Relative standard uncertainties by counting, free place and free latency; their squares add up to the fit's."""
    at = len(fit.background) + 4 * index
    block = fit.covariance[at : at + 4, at : at + 4]
    total, delay = max(float(block[3, 3]), 0.0), 0.0
    if fit.latency_free and fit.covariance[-1, -1] > LEAST_VARIANCE:
        cross = fit.covariance[at : at + 4, -1]
        block = block - np.outer(cross, cross) / fit.covariance[-1, -1]
        delay = min(float(cross[3] ** 2 / fit.covariance[-1, -1]), total)
    place = float(block[3, :3] @ np.linalg.pinv(block[:3, :3], hermitian=True) @ block[3, :3])
    place = float(np.clip(place, 0.0, total - delay))
    counting, moved, late = np.sqrt([total - delay - place, place, delay])
    return float(counting), float(moved), float(late)


def _half_life(problem: Problem) -> float:
    """Of the decay between the reference time and the counts, at their mean."""
    decay = problem.decay
    if len(decay) == 0:
        return 0.0
    known = problem.projector.response.nuclide
    since = -float(np.log(np.average(decay, weights=problem.data.live_s))) / known.decay_constant_per_s
    return known.decay_relative_sd(since)
