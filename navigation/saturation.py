"""What saturated readings and an uncertain dead time mean for foci, maps and beds.

Beyond 30 % loss a reading is a lower bound: where such readings looked best, no limit on activity can be told, and a
focus that rests on them is stated as a lower bound. Neither is ever shown as cool.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import SATURATED_LOSS
from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Problem, Source

Array = NDArray[np.float64]

# A place is blinded where a saturated reading saw it this share as well as the best reading of all: what the others
# say of it is then said through the shoulder of the response, beside whatever saturated the counter.
BLINDED_SHARE = 0.5
# A focus that saturated readings owe this share of its counts is a lower bound.
BOUND_SHARE = 0.1
# Below this an activity is not known to come from a source at all.
LEAST_INFORMATION = 1e-12


def blinded(rows: NDArray[np.floating], data: Counts) -> NDArray[np.bool_]:
    """Which of the places with response rows (n, m) have no limit on activity for saturated readings (m,)."""
    if not data.n_saturated or rows.shape[1] == 0:
        return np.zeros(rows.shape[1], dtype=bool)
    best, lost = rows.max(axis=0), rows[data.censored].max(axis=0)
    result: NDArray[np.bool_] = (best > 0.0) & (lost >= BLINDED_SHARE * best)
    return result


def saturated_share(problem: Problem, source: Source) -> float:
    """Share of a source's counts, 0 to 1, that fell into saturated readings."""
    if not problem.data.n_saturated:
        return 0.0
    row = problem.source_rows([source])[:, 0] * problem.data.live_s
    return float(row[problem.data.censored].sum() / max(float(row.sum()), LEAST_INFORMATION))


def dead_time_relative_sd(problem: Problem, fit: JointFit, index: int) -> float:
    """Relative standard error of one source's activity from that of the dead time.

    A dead time longer by its error raises every true rate by `relative_sd`; the fit takes that for activity.
    """
    dead = problem.data.dead_time
    if dead.sd_s == 0.0:
        return 0.0
    source = fit.sources[index]
    own = problem.source_rows([source])[:, 0] * source.activity_kbq
    _, information = problem.data.weights(fit.rate_cps)
    rate = np.minimum(fit.rate_cps, dead.saturated_rate_cps)
    strength = float(information @ own**2)
    if strength <= LEAST_INFORMATION:
        return 0.0
    return float((information * own) @ (dead.relative_sd(rate) * rate)) / strength


def shoulder_relative_sd(problem: Problem, fit: JointFit, index: int) -> float:
    """Relative error of the response where the readings that tell a source's activity saw it.

    With the best looks saturated these are shoulder and tail, which a calibration knows less well; otherwise 0.
    """
    if saturated_share(problem, fit.sources[index]) <= BOUND_SHARE:
        return 0.0
    own = problem.source_rows([fit.sources[index]])[:, 0]
    _, information = problem.data.weights(fit.rate_cps)
    error = problem.model_error([Source(fit.sources[index].position_mm, 1.0)], own[:, None])[:, 0]
    return float((information * own) @ error / max(float((information * own) @ own), LEAST_INFORMATION))


def words(data: Counts) -> str | None:
    """What is said of a scan with saturated readings; None where there are none."""
    if not data.n_saturated:
        return None
    plural = "s" if data.n_saturated > 1 else ""
    return (
        f"saturated: {data.n_saturated} of {len(data.counts)} samples lost more than {100 * SATURATED_LOSS:.0f} % of"
        f" their counts to dead time and are lower bound{plural}; what they looked at is not assessable"
    )
