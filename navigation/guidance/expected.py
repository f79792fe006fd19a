"""What a probe should count from where it is, by what the scan has found so far; no counts where some are due tell.

The interval is that of a second's counts: what the fit leaves open of background, places and activities, the common
error of the sensitivity, and counting itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.anchors import Anchors
from navigation.coverage import SENSITIVITY_SYSTEMATIC
from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Problem
from tracking.sample import Readings

Array = NDArray[np.float64]

# What a screen compares: the rate of so long, as the counter's own display shows it.
SECOND_S = 1.0
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Expected:
    """Counts a second that the counter should record here, with the 95 % interval of what one second may show."""

    rate_cps: float
    low_cps: float
    high_cps: float

    @property
    def words(self) -> str:
        """For the screen."""
        return f"{self.rate_cps:.0f} cps expected here ({self.low_cps:.0f} to {self.high_cps:.0f})"


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """The fit of a search, to be asked for any pose; any thread may ask."""

    problem: Problem
    fit: JointFit

    @staticmethod
    def of(problem: Problem, fit: JointFit) -> Expectation:
        """Of a fit that is held; its readings are not."""
        none = problem.readings.select(slice(0, 0))
        bare = replace(
            problem,
            data=Counts(np.zeros(0), np.zeros(0), problem.data.dead_time),
            readings=none,
            background_rows=problem.background_rows[:0],
            decay=problem.decay[-1:].copy(),
            anchors=Anchors(),
        )
        return Expectation(bare, fit)

    def at(self, pose: Array) -> Expected | None:
        """At a pose (4, 4) of the tip in Reference; None where a known rate of another nuclide is not told."""
        problem, q = self.problem, len(self.fit.background)
        here = Readings(
            np.zeros(1),
            np.zeros(1),
            np.ones(1),
            pose[None].copy(),
            np.ones(1),
            np.array([0, 1], dtype=np.int64),
        )
        background = problem.background.rows(problem.projector, here) * problem.decay[:, None]
        if background.shape[1] != q:
            return None
        sources = list(self.fit.sources)
        at = replace(problem, readings=here, background_rows=background, anchors=Anchors())
        gradient, rate = [background[0]], float(background[0] @ self.fit.background)
        rows = at.source_rows(sources) if sources else np.zeros((1, 0))
        for i, source in enumerate(sources):
            r = rows[0, 7 * i : 7 * i + 7]
            rate += source.activity_kbq * float(r[0])
            gradient += [source.activity_kbq * (r[2::2] - r[1:6:2]), source.activity_kbq * r[:1]]
        g = np.concatenate(gradient)
        open_ = float(g @ self.fit.covariance[: len(g), : len(g)] @ g)
        return self._recorded(max(rate, 0.0), max(open_, 0.0))

    def _recorded(self, rate_cps: float, variance: float) -> Expected:
        """What of a true rate the counter records, and between what."""
        systematic = float(
            np.hypot(SENSITIVITY_SYSTEMATIC, self.problem.projector.response.systematic_relative_sd)
        )
        sd = float(np.sqrt(variance + (systematic * rate_cps) ** 2 + rate_cps / SECOND_S))
        rates = np.array([rate_cps, max(rate_cps - Z95 * sd, 0.0), rate_cps + Z95 * sd])
        dead = self.problem.data.dead_time
        seen = rates if dead.tau_s == 0.0 else dead.expected(np.minimum(rates, dead.saturated_rate_cps))
        mean, low, high = (float(v) for v in seen)
        return Expected(mean, low, high)
