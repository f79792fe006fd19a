"""Count latency of an ordinary scan: the profile of the likelihood with the whole model fitted anew at each latency.

The counts are placed at every trial latency, background and foci follow; the interval is where the likelihood has
not dropped by half a unit of chi2(1) at 95 %, widened by the misfit. How the streams start never enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.timing.latency import DETERMINED_HALF_WIDTH_S, PROFILE_DROP
from navigation.lagscore import score_lag
from navigation.likelihood import Counts
from navigation.pointlayer import JointFit, Problem, fit_sources, with_known
from navigation.reconstruction.live import ScanState
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]
Place = Callable[[float], Readings]

# Latencies that are looked at: counters are late, but where the tracker's stamps are later still the lag is negative.
LOWEST_S, HIGHEST_S, COARSE_STEP_S = -0.15, 0.45, 0.05
COARSE_S = tuple(np.arange(LOWEST_S, HIGHEST_S + 1e-9, COARSE_STEP_S).round(6).tolist())
# The background changes so little with the latency that its rows are made at every other of these, and interpolated.
KNOTS_S = COARSE_S[::2]
# Trials round the maximum in units of the half width expected there, and how often they are placed anew.
NEAR, ROUNDS = (-1.8, -0.9, -0.4, 0.4, 0.9, 1.8), 2
# What a perfect count would leave open: jitter of stamps, asymmetry of the response, drift of the tracker, SD in s.
SYSTEMATIC_SD_S = 0.007
# Trials closer than this are one.
SAME_S = 0.0005
# Stamps this close are of one window, whatever was taken off them and added again.
SAME_WINDOW_S = 0.001
# Windows with poses at every latency that the profile needs.
FEWEST_READINGS = 30
# Nodes of the interpolated profile: a millisecond.
FINE_S = 0.001
# Significance in standard deviations at which a lead of the counts is no chance.
LEAD_SIGMA, Z95 = 3.0, 1.96


@dataclass(frozen=True, slots=True, eq=False)
class LatencyProfile:
    """Latency in s by the likelihood alone, 95 % interval, Fisher's bound, and the profile itself.

    `lag_s` is negative where the poses are stamped later than the counts. `drop` (t,) is the loss of log-likelihood
    at `trials_s` (t,), divided by `dispersion`.
    """

    lag_s: float
    ci95_s: tuple[float, float]
    determined: bool
    fisher_sd_s: float | None
    dispersion: float
    trials_s: Array
    drop: Array
    reasons: tuple[str, ...] = ()

    @property
    def leads(self) -> bool:
        """Whether the poses are stamped later than the counts beyond chance."""
        sd = (self.ci95_s[1] - self.lag_s) / Z95
        return self.determined and self.lag_s + LEAD_SIGMA * sd < 0.0

    def posterior(self, mean_s: float, sd_s: float) -> tuple[float, tuple[float, float]]:
        """Mean and 95 % interval when the latency was known to be `mean_s` +- `sd_s` before the scan."""
        t, drop = self._fine()
        weight = np.exp(-drop - 0.5 * ((t - mean_s) / sd_s) ** 2)
        share = np.cumsum(weight) / weight.sum()
        low, high = (float(t[np.searchsorted(share, q)]) for q in (0.025, 0.975))
        return float(weight @ t / weight.sum()), (low, high)

    def _fine(self) -> tuple[Array, Array]:
        return fine_profile(self.trials_s, self.drop)


def profile_latency(place: Place, state: ScanState) -> LatencyProfile:
    """The profile for a scan whose readings `place(latency_s)` puts on the path, reconstructed as `state`.

    Raises InputError when too few windows have poses at every latency.
    """
    bench = _Bench(place, state)
    for latency in sorted(COARSE_S, key=lambda s: abs(s - state.setup.latency_s)):
        bench.try_at(latency)
    for _ in range(ROUNDS):
        best = bench.best
        half = bench.half_width(best)
        for step in NEAR:
            trial = best + step * half
            if LOWEST_S <= trial <= HIGHEST_S:
                bench.try_at(trial)
    return _judged(bench)


class _Bench:
    """Joint fits at trial latencies over the windows that all of them place."""

    def __init__(self, place: Place, state: ScanState) -> None:
        self.state, self.place = state, place
        self.stamps = _stamps(place(COARSE_S[0]), COARSE_S[0])
        self.common = np.ones(len(self.stamps), dtype=bool)
        for s in COARSE_S[1:]:
            self.common &= np.isin(np.arange(len(self.stamps)), self._windows(place(s), s))
        if self.common.sum() < FEWEST_READINGS:
            raise InputError(
                f"{self.common.sum()} counting windows have poses whatever the latency is;"
                f" {FEWEST_READINGS} are needed"
            )
        self.fits: dict[float, tuple[JointFit, Problem]] = {}
        self._background = _cubic([self._background_rows(s) for s in KNOTS_S])

    @property
    def best(self) -> float:
        """The trial of the greatest likelihood."""
        return max(self.fits, key=lambda latency: self.fits[latency][0].objective)

    def try_at(self, latency_s: float) -> None:
        """Fit the model at a latency, starting from the nearest that was tried."""
        latency = round(latency_s, 6)
        if any(abs(latency - other) < SAME_S for other in self.fits):
            return
        problem = self._problem(latency)
        if problem is None:
            return
        start, precision = self.state.found.fit, self.state.found.precision
        if self.fits:
            start = self.fits[min(self.fits, key=lambda other: abs(other - latency))][0]
        self.fits[latency] = (
            fit_sources(problem, list(start.sources), start.background, precision),
            problem,
        )

    def half_width(self, latency_s: float) -> float:
        """Half width expected of the interval at a trial, s."""
        fit, problem = self.fits[latency_s]
        score = score_lag(problem, fit, self.state.found.precision)
        return COARSE_STEP_S if score is None else float(np.clip(1.96 * score.sd_s, 0.002, COARSE_STEP_S))

    def _placed(self, latency_s: float) -> Readings:
        """The windows that every latency places, at this one."""
        readings = self.place(latency_s)
        window = self._windows(readings, latency_s)
        return _chosen(readings, (window >= 0) & self.common[window])

    def _windows(self, readings: Readings, latency_s: float) -> NDArray[np.intp]:
        """Which of the windows (n,) the readings are; -1 of what is none of them."""
        if len(self.stamps) == 0:
            return np.full(len(readings), -1)
        stamps = _stamps(readings, latency_s)
        after = np.clip(np.searchsorted(self.stamps, stamps), 1, max(len(self.stamps) - 1, 1))
        after = np.minimum(after, len(self.stamps) - 1)
        nearer = stamps - self.stamps[after - 1] < self.stamps[after] - stamps
        nearest = np.where(nearer, after - 1, after)
        found: NDArray[np.intp] = np.where(np.abs(self.stamps[nearest] - stamps) < SAME_WINDOW_S, nearest, -1)
        return found

    def _background_rows(self, latency_s: float) -> Array:
        geometry = self.state.geometry
        return geometry.background.rows(geometry.projector, self._placed(latency_s))

    def _problem(self, latency_s: float) -> Problem | None:
        """The windows at a latency; None where one of them has too few poses there: fits of fewer do not compare."""
        readings, setup = self._placed(latency_s), self.state.setup
        if len(readings) < self.common.sum():
            return None
        decay = setup.nuclide.decay_factor(readings.t_s - setup.reference_offset_s)
        rows = self._background(latency_s) * decay[:, None]
        data = Counts.of(readings.counts, readings.live_s, readings.t_s, setup.dead_time)
        problem = replace(
            self.state.problem,
            data=data,
            readings=readings,
            background_rows=rows,
            decay=decay,
            latency_sd_s=0.0,
        )
        if setup.spill is None:
            return problem
        return with_known(problem, replace(setup.spill, latency_s=latency_s).of(readings))


def _cubic(knots: list[Array]) -> Callable[[float], Array]:
    """Rows (n, q) at any latency from those at KNOTS_S, by a cubic through the four nearest.

    A hand moves 5 mm from knot to knot, the rows change over some 20 mm: less than 1e-3 of a row is left.
    """
    at = np.array(KNOTS_S)

    def of(latency_s: float) -> Array:
        first = int(np.clip(np.searchsorted(at, latency_s) - 2, 0, len(at) - 4))
        near = at[first : first + 4]
        weights = [
            np.prod([(latency_s - other) / (own - other) for other in near if other != own]) for own in near
        ]
        return np.asarray(sum(w * knots[first + i] for i, w in enumerate(weights)))

    return of


def _stamps(readings: Readings, latency_s: float) -> Array:
    """What tells a window whatever the latency: its middle as stamped."""
    return readings.t_s + latency_s


def _chosen(readings: Readings, kept: NDArray[np.bool_]) -> Readings:
    """The readings of a mask (n,)."""
    edges = np.flatnonzero(np.diff(kept.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return Readings.joined([readings.select(slice(int(a), int(b))) for a, b in edges])


def _judged(bench: _Bench) -> LatencyProfile:
    trials = np.array(sorted(bench.fits))
    value = np.array([bench.fits[t][0].objective for t in trials])
    fit, problem = bench.fits[bench.best]
    score = score_lag(problem, fit, bench.state.found.precision)
    dispersion = _dispersion(fit, problem)
    if score is not None:
        dispersion = max(dispersion, (score.sd_s / score.fisher_sd_s) ** 2)
    fine, drop = fine_profile(trials, (value.max() - value) / dispersion)
    inside = drop <= PROFILE_DROP
    lag = float(fine[int(np.argmin(drop))])
    low, high = (_widened(lag, float(fine[inside][end])) for end in (0, -1))
    reasons = _doubts(fine, inside, low, high, score is None)
    return LatencyProfile(
        lag,
        (low, high),
        not reasons,
        None if score is None else score.fisher_sd_s,
        dispersion,
        trials,
        (value.max() - value) / dispersion,
        tuple(reasons),
    )


def _widened(lag_s: float, end_s: float) -> float:
    """An end of the interval with what counting statistics do not know, inside the range looked at."""
    half = float(np.hypot(end_s - lag_s, Z95 * SYSTEMATIC_SD_S))
    return float(np.clip(lag_s + np.copysign(half, end_s - lag_s), LOWEST_S, HIGHEST_S))


def _dispersion(fit: JointFit, problem: Problem) -> float:
    """Pearson's chi2 per degree of freedom, at least 1."""
    expected = problem.data.expected(fit.rate_cps)
    chi2 = float(np.sum(problem.data.excess(fit.rate_cps) ** 2 / expected))
    return max(chi2 / max(len(expected) - 4 * len(fit.sources) - len(fit.background), 1), 1.0)


def fine_profile(trials_s: Array, drop: Array) -> tuple[Array, Array]:
    """The profile at every FINE_S: a curve without overshoot through the trials, its minimum zero."""
    from scipy.interpolate import Akima1DInterpolator

    fine = np.arange(trials_s[0], trials_s[-1] + FINE_S / 2, FINE_S)
    curve = np.asarray(Akima1DInterpolator(trials_s, drop)(np.minimum(fine, trials_s[-1])))
    return fine, curve - curve.min()


def _doubts(
    fine: Array, inside: NDArray[np.bool_], low: float, high: float, without_focus: bool
) -> list[str]:
    reasons = []
    if without_focus:
        reasons.append("there is no focus of activity that would tell it")
    if low <= fine[0] + FINE_S or high >= fine[-1] - FINE_S:
        reasons.append(f"the likelihood leaves latencies beyond {fine[0]:g} to {fine[-1]:g} s open")
    if int(np.sum(np.diff(inside.astype(np.int8)) == 1) + inside[0]) > 1:
        reasons.append("several latencies explain the scan as well")
    half = (high - low) / 2
    if half > DETERMINED_HALF_WIDTH_S:
        reasons.append(f"95 % interval is {1000 * half:.0f} ms to either side")
    return reasons
