"""Dead time of a counter: what it records of a true rate, and back, for the two classical kinds of counter.

Non-paralysable `m = n / (1 + n tau)` and paralysable `m = n exp(-n tau)` (Knoll, Radiation Detection and Measurement,
4.VII; Lee & Gardner 2000, DOI 10.1016/S0969-8043(00)00261-X); variances from renewal theory (Mueller 1973, DOI
10.1016/0029-554X(73)90773-8; Yu & Fessler 2000, DOI 10.1088/0031-9155/45/7/324), for windows much longer than tau.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError

Array = NDArray[np.float64]

NON_PARALYSABLE, PARALYSABLE = "non-paralysable", "paralysable"
MODELS = (NON_PARALYSABLE, PARALYSABLE)
# Loss above which a recorded rate is a lower bound only: there the true rates of the two kinds differ by 14 %.
SATURATED_LOSS = 0.30


@dataclass(frozen=True, slots=True)
class DeadTime:
    """Dead time in s after each event, the kind of counter, and the standard error of the dead time in s.

    Raises InputError for a negative or infinite time or an unknown kind.
    """

    tau_s: float
    model: str = NON_PARALYSABLE
    sd_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.tau_s < math.inf and 0.0 <= self.sd_s < math.inf):
            raise InputError(
                f"dead time {self.tau_s:g} s +- {self.sd_s:g} s: both must be finite and not negative"
            )
        if self.model not in MODELS:
            raise InputError(f"dead time model {self.model!r} is none of {', '.join(MODELS)}")

    @property
    def paralysable(self) -> bool:
        """Whether events that are not recorded prolong the dead time."""
        return self.model == PARALYSABLE

    def expected(self, rate_cps: ArrayLike) -> Array:
        """Recorded rate in cps at true rates in cps, same shape."""
        n = np.asarray(rate_cps, dtype=np.float64)
        result: Array = n * np.exp(-n * self.tau_s) if self.paralysable else n / (1.0 + n * self.tau_s)
        return result

    def slope(self, rate_cps: ArrayLike) -> Array:
        """d recorded / d true rate at true rates in cps; negative beyond a paralysable counter's summit."""
        n = np.asarray(rate_cps, dtype=np.float64)
        if self.paralysable:
            result: Array = (1.0 - n * self.tau_s) * np.exp(-n * self.tau_s)
            return result
        slow: Array = 1.0 / (1.0 + n * self.tau_s) ** 2
        return slow

    def loss(self, rate_cps: ArrayLike) -> Array:
        """Share of the events that is not recorded, 0 to 1, at true rates in cps."""
        x = np.asarray(rate_cps, dtype=np.float64) * self.tau_s
        result: Array = -np.expm1(-x) if self.paralysable else x / (1.0 + x)
        return result

    def corrected(self, recorded_cps: ArrayLike) -> Array:
        """True rate in cps of recorded rates in cps; inf where the counter cannot record so much.

        Of a paralysable counter the lower of the two solutions: the higher one lies beyond saturation.
        """
        m = np.asarray(recorded_cps, dtype=np.float64)
        if self.tau_s == 0.0:
            return m.copy()
        x = m * self.tau_s
        if not self.paralysable:
            possible = x < 1.0
            result: Array = np.where(possible, m / np.where(possible, 1.0 - x, 1.0), np.inf)
            return result
        from scipy.special import lambertw

        possible = x <= 1.0 / math.e
        argument: Any = -np.where(possible, x, 0.0)
        true = -np.real(lambertw(argument)) / self.tau_s
        folded: Array = np.where(possible, np.where(x > 0.0, true, m), np.inf)
        return folded

    def loss_recorded(self, recorded_cps: ArrayLike) -> Array:
        """Share of the events lost, 0 to 1, at recorded rates in cps; 1 where the counter cannot record so much."""
        true = self.corrected(recorded_cps)
        return np.where(np.isfinite(true), self.loss(np.where(np.isfinite(true), true, 0.0)), 1.0)

    @property
    def highest_recorded_cps(self) -> float:
        """Most that a steady rate gives on the counter, cps: 1/tau, or 1/(e tau) at the summit; inf if tau is 0."""
        if self.tau_s == 0.0:
            return math.inf
        return 1.0 / (math.e * self.tau_s) if self.paralysable else 1.0 / self.tau_s

    @property
    def saturated_rate_cps(self) -> float:
        """True rate in cps at which SATURATED_LOSS of the events are lost; inf without dead time."""
        if self.tau_s == 0.0:
            return math.inf
        lost = -math.log1p(-SATURATED_LOSS) if self.paralysable else SATURATED_LOSS / (1.0 - SATURATED_LOSS)
        return lost / self.tau_s

    @property
    def saturated_recorded_cps(self) -> float:
        """Recorded rate in cps at and above which a reading is saturated; inf without dead time."""
        return (1.0 - SATURATED_LOSS) * self.saturated_rate_cps

    def saturated(self, recorded_cps: ArrayLike) -> NDArray[np.bool_]:
        """Whether recorded rates in cps are lower bounds only.

        A paralysable counter far beyond its summit records little again: a single reading cannot tell that.
        """
        result: NDArray[np.bool_] = np.asarray(recorded_cps, dtype=np.float64) >= self.saturated_recorded_cps
        return result

    def count_variance(self, rate_cps: ArrayLike, window_s: ArrayLike) -> Array:
        """Variance of the counts in windows in s at true rates in cps: smaller than the mean, for events are spaced.

        Non-paralysable `n t / (1 + n tau)^3`, paralysable `m t (1 - 2 m tau)`.
        """
        n, t = np.asarray(rate_cps, dtype=np.float64), np.asarray(window_s, dtype=np.float64)
        if self.paralysable:
            m = self.expected(n)
            result: Array = m * t * (1.0 - 2.0 * m * self.tau_s)
            return result
        spaced: Array = n * t / (1.0 + n * self.tau_s) ** 3
        return spaced

    def relative_sd(self, rate_cps: ArrayLike) -> Array:
        """Relative standard error of a corrected rate from that of the dead time, at true rates in cps.

        inf at and beyond the summit of a paralysable counter.
        """
        n = np.asarray(rate_cps, dtype=np.float64)
        if not self.paralysable:
            return n * self.sd_s
        below = n * self.tau_s < 1.0
        result: Array = np.where(below, n * self.sd_s / np.where(below, 1.0 - n * self.tau_s, 1.0), np.inf)
        return result

    def live_s(self, counts: ArrayLike, window_s: ArrayLike) -> Array:
        """Time in s for which the counter was ready within windows in s that gave these counts.

        For the non-paralysable counter `window - counts tau` with Poisson counts is its exact likelihood. 0 where
        the counter cannot record so much.
        """
        y, t = np.asarray(counts, dtype=np.float64), np.asarray(window_s, dtype=np.float64)
        result: Array = t * (1.0 - self.loss_recorded(y / t))
        return result

    def content(self) -> dict[str, Any]:
        """The keys of probe.json and deadtime.json."""
        return {
            "dead_time_s": self.tau_s,
            "dead_time_sd_s": self.sd_s,
            "dead_time_model": self.model,
        }

    @staticmethod
    def of(content: Mapping[str, Any]) -> DeadTime | None:
        """What `content` wrote; None where no dead time is stated. Raises InputError, TypeError, ValueError."""
        tau = content.get("dead_time_s")
        if tau is None:
            return None
        sd, model = content.get("dead_time_sd_s"), content.get("dead_time_model")
        return DeadTime(float(tau), NON_PARALYSABLE if model is None else str(model), float(sd or 0.0))


NO_DEAD_TIME = DeadTime(0.0)


def reckoned(known: DeadTime | None, stated_s: float | None) -> DeadTime:
    """The dead time to reckon with: a scan's or case's own figure in s first, then the calibration's, else none.

    Which kind of counter it is and how well the dead time is known only a calibration says.
    """
    if stated_s is None:
        return known or NO_DEAD_TIME
    return DeadTime(stated_s) if known is None else DeadTime(stated_s, known.model, known.sd_s)
