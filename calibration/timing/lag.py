"""By how much one sampled signal lags another: the delay at which both tell of the same movement.

Rates, gaps, gain, offset and sign of the two may differ; how their streams start plays no part. Both are brought to
one grid by the same symmetric filter, so that sampling moves neither in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError

Array = NDArray[np.float64]

# Delays looked for, in s to either side, unless the caller knows better.
SEARCH_S = 0.5
# Fewer samples of a signal tell of no movement.
FEWEST_SAMPLES = 20
# Standard deviation of the common filter in sampling intervals of the slower signal: its aliases are gone. The grid
# has so many steps in one of it, so that a spline between them is exact to a thousandth.
FILTER_SAMPLES, STEPS_PER_FILTER = 0.6, 5.0
# Most grid points: an hour at 20 Hz; a longer record is looked at more coarsely.
MOST_POINTS = 300_000
# A hole of so many sampling intervals is not bridged.
GAP_SAMPLES = 4.0
# Nor one as long as so many standard deviations of the filter, which reaches over as many to either side.
GAP_FILTERS, FILTER_REACH = 2.0, 2.5
# The signals must share so many standard deviations of the filter, in time.
LEAST_FILTERS = 20
# Correlation below which two signals do not resemble each other, and its least significance in standard deviations.
LEAST_CORRELATION, LEAST_SIGNIFICANCE = 0.3, 4.0
# Another peak is a rival when its correlation comes within this of the best one's, or when the likelihood of the
# best exceeds its own by less than half the square of this many standard deviations.
RIVAL_SHARE, RIVAL_SIGMA = 0.95, 3.0
# Newton's steps between two points of the grid: it is nearly there when it starts.
NEWTON_STEPS = 8
# Blocks of whole movements whose scores tell the variance, whatever the residuals' correlation.
FEWEST_BLOCKS, MOST_BLOCKS = 6, 30
BLOCK_CORRELATIONS = 4.0
# A delay known to this half width blurs a place by no more than 1 mm at hand speed (25 mm/s).
DETERMINED_HALF_WIDTH_S = 0.040
# Share of the longest overlap that a delay must leave to be judged.
LEAST_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Lag:
    """By how much signal b is late, in s: b(t) resembles a(t - lag_s); positive: b tells of it later than a.

    `lag_s`, `sd_s` and the 95 % interval are None where nothing can be said; `determined` when the interval is
    narrow, the peak alone and the resemblance beyond chance; `correlation` is signed, at the best delay.
    """

    lag_s: float | None
    sd_s: float | None
    ci95_s: tuple[float, float] | None
    determined: bool
    correlation: float
    reasons: tuple[str, ...] = ()


def estimate_lag(
    t_a: ArrayLike,
    a: ArrayLike,
    t_b: ArrayLike,
    b: ArrayLike,
    search_s: tuple[float, float] = (-SEARCH_S, SEARCH_S),
    sign: int = 0,
    half_width_s: float = DETERMINED_HALF_WIDTH_S,
    names: tuple[str, str] = ("the first signal", "the second signal"),
) -> Lag:
    """Delay of b (n,) at t_b (n,) behind a (m,) at t_a (m,), in s, within `search_s`.

    `sign` 1 or -1 when it is known that b grows or falls with a; 0 takes either. Samples that are not finite are
    left out; a window's mean belongs to the window's middle. Raises InputError for lengths that differ, times told
    twice, too few samples or a range that is none.
    """
    if not search_s[0] < search_s[1]:
        raise InputError(f"delays from {search_s[0]:g} to {search_s[1]:g} s are no range")
    first, second = _signal(t_a, a, names[0]), _signal(t_b, b, names[1])
    for name, (_, values) in zip(names, (first, second), strict=True):
        if np.ptp(values) == 0.0:
            return _nothing(f"{name} does not change")
    pair = _Pair.of(first, second, search_s)
    if pair is None:
        return _nothing("the signals do not overlap in time for long enough")
    return _judged(pair, sign, half_width_s)


def _nothing(reason: str) -> Lag:
    return Lag(None, None, None, False, 0.0, (reason,))


def _signal(t: ArrayLike, values: ArrayLike, what: str) -> tuple[Array, Array]:
    """Finite samples in order of time. Raises InputError."""
    times, found = np.asarray(t, dtype=np.float64).ravel(), np.asarray(values, dtype=np.float64).ravel()
    if len(times) != len(found):
        raise InputError(f"{what}: {len(times)} times and {len(found)} values")
    kept = np.isfinite(times) & np.isfinite(found)
    order = np.argsort(times[kept], kind="stable")
    times, found = times[kept][order], found[kept][order]
    if len(times) < FEWEST_SAMPLES:
        raise InputError(f"{what}: {len(times)} finite samples; {FEWEST_SAMPLES} are needed")
    if not (np.diff(times) > 0.0).all():
        raise InputError(f"{what}: two samples at one time")
    return times, found


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Both signals on one grid of step `step_s`, NaN in gaps, behind the same filter of width `filter_s`.

    `whole_a` is a before gaps were cut out of it: what lies between the steps is interpolated from there.
    """

    a: Array
    b: Array
    whole_a: Array
    step_s: float
    filter_s: float
    search_s: tuple[float, float]

    @staticmethod
    def of(
        first: tuple[Array, Array], second: tuple[Array, Array], search_s: tuple[float, float]
    ) -> _Pair | None:
        steps = [float(np.median(np.diff(t))) for t, _ in (first, second)]
        low = max(first[0][0], second[0][0]) - max(abs(s) for s in search_s)
        high = min(first[0][-1], second[0][-1]) + max(abs(s) for s in search_s)
        filter_s = FILTER_SAMPLES * max(steps)
        if high - low < LEAST_FILTERS * filter_s:
            return None
        filter_s = max(filter_s, STEPS_PER_FILTER * (high - low) / MOST_POINTS)
        step = filter_s / STEPS_PER_FILTER
        grid = low + step * np.arange(int((high - low) / step) + 1)
        first, second = _thinned(*first, step), _thinned(*second, step)
        smooth = [_filtered(grid, *signal, filter_s) for signal in (first, second)]
        known = [
            np.where(_known(grid, signal[0], filter_s), values, np.nan)
            for signal, values in zip((first, second), smooth, strict=True)
        ]
        if min(int(np.isfinite(s).sum()) for s in known) * step < LEAST_FILTERS * filter_s:
            return None
        return _Pair(known[0], known[1], smooth[0], step, filter_s, search_s)

    def lags(self) -> NDArray[np.int64]:
        """Delays to be tried, in steps, with one step more at either end."""
        low, high = (int(np.round(s / self.step_s)) for s in self.search_s)
        return np.arange(low - 1, high + 2)

    def shifted_grid(self, lag: int) -> tuple[NDArray[np.int64], Array]:
        """Places on the grid of a, delayed by `lag` steps, where both are known, and b there."""
        places = np.arange(max(-lag, 0), len(self.a) - max(lag, 0))
        both = np.isfinite(self.a[places]) & np.isfinite(self.b[places + lag])
        return places[both], self.b[places + lag][both]

    def shifted(self, lag: int) -> tuple[Array, Array]:
        """The common samples of a, delayed by `lag` steps, and of b."""
        places, b = self.shifted_grid(lag)
        return self.a[places], b


def _thinned(t: Array, values: Array, step_s: float) -> tuple[Array, Array]:
    """Means of time and value over each step: what is sampled more finely is averaged, not picked from."""
    cell = np.floor((t - t[0]) / step_s).astype(np.int64)
    start = np.flatnonzero(np.diff(cell, prepend=-1))
    number = np.diff(np.append(start, len(t)))
    return np.add.reduceat(t, start) / number, np.add.reduceat(values, start) / number


def _filtered(grid: Array, t: Array, values: Array, filter_s: float) -> Array:
    """The signal on the grid behind a Gaussian of SD `filter_s`."""
    from scipy.ndimage import gaussian_filter1d

    width = filter_s / float(grid[1] - grid[0])
    result: Array = gaussian_filter1d(np.interp(grid, t, values), width, mode="nearest")
    return result


def _known(grid: Array, t: Array, filter_s: float) -> NDArray[np.bool_]:
    """Where on the grid the filter saw samples on both sides: not at the ends and not in holes."""
    from scipy.ndimage import minimum_filter1d

    at = np.clip(np.searchsorted(t, grid, side="right"), 1, len(t) - 1)
    bridged = max(GAP_SAMPLES * float(np.median(np.diff(t))), GAP_FILTERS * filter_s)
    whole = (t[at] - t[at - 1] <= bridged) & (grid >= t[0]) & (grid <= t[-1])
    reach = int(np.ceil(FILTER_REACH * filter_s / float(grid[1] - grid[0])))
    result: NDArray[np.bool_] = minimum_filter1d(whole.astype(np.int8), 2 * reach + 1) > 0
    return result


def _judged(pair: _Pair, sign: int, half_width_s: float) -> Lag:
    lags = pair.lags()
    curve, overlap = _correlations(pair, lags)
    curve[overlap < LEAST_OVERLAP * overlap.max()] = np.nan
    height = np.abs(curve) if sign == 0 else sign * curve
    if not np.isfinite(height[1:-1]).any():
        return _nothing("the signals do not move together long enough")
    best = 1 + int(np.nanargmax(height[1:-1]))
    correlation = float(curve[best])
    independent = _independent(*pair.shifted(int(lags[best])))
    if best in (1, len(lags) - 2) or not np.isfinite(height[[best - 1, best + 1]]).all():
        return Lag(
            None, None, None, False, correlation, ("the best delay lies at the end of the range looked at",)
        )
    reasons = _unlike(height[best], independent) + _rivals(height, best, independent)
    lag_s, sd_s, quantile = _refined(pair, int(lags[best]))
    if not np.isfinite(sd_s):
        return Lag(lag_s, None, None, False, correlation, (*reasons, "the delay's error cannot be told"))
    half = quantile * sd_s
    if half > half_width_s:
        reasons.append(f"95 % interval is {1000 * half:.0f} ms to either side")
    return Lag(lag_s, sd_s, (lag_s - half, lag_s + half), not reasons, correlation, tuple(reasons))


def _correlations(pair: _Pair, lags: NDArray[np.int64]) -> tuple[Array, Array]:
    """Pearson's coefficient at each delay over the samples that both have, and how many these are."""
    curve, overlap = np.full(len(lags), np.nan), np.zeros(len(lags))
    for i, lag in enumerate(lags):
        a, b = pair.shifted(int(lag))
        overlap[i] = len(a)
        if len(a) > 2:
            a, b = a - a.mean(), b - b.mean()
            power = float(a @ a) * float(b @ b)
            curve[i] = float(a @ b) / np.sqrt(power) if power > 0.0 else np.nan
    return curve, overlap


def _independent(a: Array, b: Array) -> float:
    """Samples that are worth as much as independent ones for the correlation of the two (Bartlett 1946)."""
    from scipy.signal import fftconvolve

    n = len(a)
    ours = [x - x.mean() for x in (a, b)]
    spectra = [fftconvolve(x, x[::-1])[n - 1 :] / max(float(x @ x), 1e-300) for x in ours]
    both = spectra[0] * spectra[1]
    # The sum is cut where both are noise: at a quarter of the record.
    weight = 1.0 + 2.0 * float(both[1 : max(n // 4, 2)].sum())
    return float(np.clip(n / max(weight, 1.0), 2.0, n))


def _unlike(height: float, independent: float) -> list[str]:
    """Whether chance alone gives as much resemblance (Fisher's transform)."""
    sigma = float(np.arctanh(min(height, 1.0 - 1e-12))) * np.sqrt(max(independent - 3.0, 0.0))
    if height >= LEAST_CORRELATION and sigma >= LEAST_SIGNIFICANCE:
        return []
    return [f"the signals hardly resemble each other (correlation {height:.2f}, {sigma:.1f} sigma)"]


def _rivals(height: Array, best: int, independent: float) -> list[str]:
    """Other peaks that the signals do not exclude: a periodic movement has several."""
    inner = height[1:-1]
    peak = (inner >= height[:-2]) & (inner >= height[2:]) & (inner > 0.0)
    others = [i for i in (np.flatnonzero(peak) + 1).tolist() if _valley(height, i, best)]
    # An end of the range that is nearly as high belongs to a peak beyond it.
    others += [i for i in (1, len(height) - 2) if np.isfinite(height[i]) and _valley(height, i, best)]
    if not others:
        return []
    top, rival = float(height[best]), float(max(height[i] for i in others))
    excess = independent / 2.0 * np.log(max(1.0 - rival**2, 1e-12) / max(1.0 - top**2, 1e-12))
    if rival < RIVAL_SHARE * top and excess > RIVAL_SIGMA**2 / 2.0:
        return []
    return [f"several delays explain the signals nearly as well ({rival:.2f} against {top:.2f})"]


def _valley(height: Array, other: int, best: int) -> bool:
    """Whether the curve falls noticeably between two of its points: else they are one peak."""
    if other == best:
        return False
    low, high = min(other, best), max(other, best)
    return bool(np.nanmin(height[low : high + 1]) < 0.98 * height[other])


def _refined(pair: _Pair, lag: int) -> tuple[float, float, float]:
    """Delay in s between the grid's steps, its SD, and Student's quantile for 95 %.

    The estimate solves sum a'(t - lag) (b(t) - g a(t - lag) - c) = 0, which noise of either signal does not move; its
    variance is that of the sum over blocks of movement, so that correlated residuals are in it.
    """
    from scipy.interpolate import CubicSpline
    from scipy.stats import t as student

    delayed, b = pair.shifted_grid(lag)
    times = pair.step_s * delayed
    path = CubicSpline(pair.step_s * np.arange(len(pair.whole_a)), pair.whole_a)
    shift, curvature, scores = 0.0, np.nan, np.zeros(0)
    for _ in range(NEWTON_STEPS):
        scores, curvature = _scored(path, times - shift, b)
        if not curvature > 0.0:
            break
        # A signal that comes later than tried is found at a smaller a(t - lag): the score is negative.
        step = float(np.clip(-scores.sum() / curvature, -pair.step_s, pair.step_s))
        shift = float(np.clip(shift + step, -1.5 * pair.step_s, 1.5 * pair.step_s))
    estimate = lag * pair.step_s + shift
    blocks = _blocks(scores, pair)
    if len(blocks) < FEWEST_BLOCKS or not curvature > 0.0:
        return estimate, float("nan"), float("nan")
    spread = blocks - blocks.mean()
    total = float(np.sqrt(spread @ spread * len(blocks) / (len(blocks) - 1.0)))
    return estimate, total / curvature, float(student.ppf(0.975, len(blocks) - 1))


def _scored(path: Any, times: NDArray[Any], b: Array) -> tuple[Array, float]:
    """Score (n,) of each sample for the delay, free of gain and offset, and the sum's slope, free of noise."""
    a, gradient, bend = path(times), path(times, 1), path(times, 2)
    design = np.stack([a, np.ones(len(a))], axis=1)
    gain = np.linalg.lstsq(design, b, rcond=None)[0]
    direction = gradient - design @ np.linalg.lstsq(design, gradient, rcond=None)[0]
    scores: Array = float(gain[0]) * direction * (b - design @ gain)
    bend = bend - design @ np.linalg.lstsq(design, bend, rcond=None)[0]
    curvature = float(gain[0]) ** 2 * float(direction @ direction) - float(gain[0]) * float(
        bend @ (b - design @ gain)
    )
    return scores, curvature


def _blocks(scores: Array, pair: _Pair) -> Array:
    """Sums of the scores over blocks a few correlation times long."""
    from scipy.signal import fftconvolve

    n = len(scores)
    spectrum = fftconvolve(scores, scores[::-1])[n - 1 :]
    below = np.flatnonzero(spectrum < spectrum[0] / np.e)
    memory = max(float(below[0]) if len(below) else n, pair.filter_s / pair.step_s)
    number = int(np.clip(n / (BLOCK_CORRELATIONS * memory), 1, MOST_BLOCKS))
    return np.array([part.sum() for part in np.array_split(scores, number)])
