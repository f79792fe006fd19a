"""Tests of a joint fit's residuals, each powerful against one thing that goes wrong in an operating room.

Score tests along what a wrong latency, a moved patient or a wrong response would do, and plain ones that ask whether
the residuals hang together in time or place, or are too large altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.lagscore import LONGEST_STEP_S
from navigation.modelerror import Linear
from navigation.pointlayer import JointFit, Problem
from navigation.surface import Surface

Array = NDArray[np.float64]

# Shares of the scan at which the patient may have moved.
MOVED_SHARES = (0.15, 0.25, 0.35, 0.45, 0.5, 0.55, 0.65, 0.75, 0.85)
# Stretches of time and places on the skin over which residuals are summed.
STRETCHES_S, PLACE_MM = (0.4, 1.6), 9.0
# What must be seen to trust a scan, and by how many standard deviations it would have to show.
WRONG_LATENCY_S, WRONG_PLACE_MM, SHOWN_SIGMA = 0.3, 15.0, 3.3
# Of the largest eigenvalue: directions told by less are none.
LEAST_EIGENVALUE = 1e-6
# A face rests on the skin or hovers: deeper in the tissue for a good part of the scan is a wrong surface, and so is one
# that never came near it. Skin gives way by some millimetres, a drape holds off by some.
DEEP_MM, DEEP_SHARE, FAR_MM = 6.0, 0.1, 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """Of projected residuals (n, 1 + draws) a statistic (1 + draws,) that is large where the model is wrong.

    One with words is twice the log-likelihood that its cause would gain, to first order.
    """

    name: str
    of: Callable[[Array], Array]
    words: Callable[[], str] | None = None
    credit: float = 1.0  # share of that gain that speaks for the cause, beside others
    unseen: str | None = None  # what would be too small to show in this scan, however wrong it is for places


def residual_tests(problem: Problem, fit: JointFit, linear: Linear, own: Array) -> list[Test]:
    """All tests of a scan; `own` (n,) are its projected residuals, from which words take their figures."""
    t = problem.readings.t_s
    tests = [Test("spread", lambda r: np.einsum("nb,nb->b", r, r))]
    for stretch in STRETCHES_S:
        tests.append(_sums(f"stretches of {stretch:g} s", np.floor((t - t[0]) / stretch), linear))
    tests.append(_sums("places", _cells(problem), linear))
    tests.append(_level(t, fit, linear, own))
    if not fit.sources:
        return tests
    tests += [_moved(t, linear, own), _changed(t, linear, own), _response(linear), _width(problem, linear)]
    delay = problem.latency_derivative(fit.source_rate_cps)
    if not fit.latency_free and float(np.median(np.diff(t))) <= LONGEST_STEP_S:
        tests.append(_late(delay, linear, own))
    return tests


def _sums(name: str, labels: Array, linear: Linear) -> Test:
    """Residual counts summed over groups of readings with the same label (n,)."""
    _, group = np.unique(labels, return_inverse=True)
    weight = np.sqrt(linear.expected)
    total = np.maximum(np.bincount(group, linear.expected), 1.0)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(total)))

    def of(residuals: Array) -> Array:
        sums = np.add.reduceat((weight[:, None] * residuals)[order], starts, axis=0)
        result: Array = (sums**2 / total[:, None]).sum(axis=0)
        return result

    return Test(name, of)


def _cells(problem: Problem) -> Array:
    """Label (n,) of the place on the skin each reading looked from: squares along the path's two widest axes."""
    tips = problem.readings.mid_poses[:, :3, 3]
    centred = tips - tips.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    cell = np.floor(centred @ axes[:2].T / PLACE_MM)
    return np.asarray(cell[:, 0] * 10_000 + cell[:, 1])


class Score:
    """The score test of several directions (n, m) at once."""

    def __init__(self, directions: Array, linear: Linear) -> None:
        self.directions = directions * linear.root[:, None]
        information = self.directions.T @ linear.remainder(self.directions)
        self.information = information
        scale = np.sqrt(np.maximum(np.diag(information), 1e-30))
        values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
        told = values > LEAST_EIGENVALUE * max(float(values[-1]), 1e-30)
        self.whitener = vectors[:, told] / np.sqrt(values[told]) / scale[:, None]

    def of(self, residuals: Array) -> Array:
        """Statistic (b,) of projected residuals (n, b): chi2 with as many degrees of freedom as directions."""
        z = self.whitener.T @ (self.directions.T @ residuals)
        result: Array = np.einsum("mb,mb->b", z, z)
        return result

    def sensitivity(self, rank: int) -> float:
        """Standard deviations that a unit of the direction shows by which is told `rank` places from the best."""
        values = np.sort(np.linalg.eigvalsh(self.information))[::-1]
        return float(np.sqrt(max(float(values[min(rank, len(values) - 1)]), 0.0)))

    def step(self, own: Array) -> Array:
        """(m,): the step along each direction that the residuals (n,) ask for."""
        return np.asarray(self.whitener @ (self.whitener.T @ (self.directions.T @ own)))

    def shrunk_step(self, own: Array, expected: float) -> Array:
        """(m,): the same where a step of some length is expected beforehand, so that what is not told stays small."""
        prior = np.eye(len(self.information)) / expected**2
        return np.asarray(np.linalg.solve(self.information + prior, self.directions.T @ own))


def _steps(t: Array) -> list[tuple[float, Array]]:
    """Times from which on something may be different, and a mask (n,) of each."""
    when = [float(t[0] + share * (t[-1] - t[0])) for share in MOVED_SHARES]
    return [(s, (t >= s).astype(np.float64)) for s in when]


def _moved(t: Array, linear: Linear, own: Array) -> Test:
    gradient = linear.geometry.gradient.sum(axis=1)
    half = Score(gradient * (t >= np.median(t))[:, None], linear)
    # Along two of three directions: the depth is hardly ever told.
    blind = WRONG_PLACE_MM * half.sensitivity(1) < SHOWN_SIGMA
    told = f"a patient who moved by {WRONG_PLACE_MM:g} mm half-way would not show" if blind else None
    return replace(_stepped("moved", t, gradient, linear, own), unseen=told)


def _changed(t: Array, linear: Linear, own: Array) -> Test:
    told = "the counts of a focus changed at about {} s of the scan: did the patient or the Reference move, or it?"
    return _stepped("changed", t, linear.geometry.rate, linear, own, told)


def _level(t: Array, fit: JointFit, linear: Linear, own: Array) -> Test:
    """Whether all counts rose or fell, as with a contaminated tip or a window that drifts."""
    step = _stepped("level", t, fit.rate_cps[:, None], linear, own)

    def words() -> str:
        score = Score(fit.rate_cps[:, None] * (t >= np.median(t))[:, None], linear)
        change = 100.0 * float(score.step(own)[0])
        way = "rose" if change > 0 else "fell"
        return f"all counts {way} by about {abs(change):.0f} % during the scan: is the probe contaminated or drifting?"

    return replace(step, words=words)


def _stepped(
    name: str,
    t: Array,
    directions: Array,
    linear: Linear,
    own: Array,
    told: str = "the patient or the Reference seems to have moved at about {} s of the scan",
) -> Test:
    scores = [(s, Score(directions * after[:, None], linear)) for s, after in _steps(t)]

    def of(residuals: Array) -> Array:
        return np.asarray(np.max([score.of(residuals) for _, score in scores], axis=0))

    def words() -> str:
        when = max(scores, key=lambda each: float(each[1].of(own[:, None])[0]))[0]
        return told.format(f"{when - t[0]:.0f}")

    return Test(name, of, words)


def _response(linear: Linear) -> Test:
    """Whether what a good calibration may err by is exceeded: the score of that error's own variance."""
    columns = linear.columns[:, -linear.n_response :]

    def of(residuals: Array) -> Array:
        along = columns.T @ residuals
        result: Array = np.einsum("mb,mb->b", along, along)
        return result

    return Test("response", of)


def _width(problem: Problem, linear: Linear) -> Test:
    """Whether the response is too wide or too narrow, or falls off too fast with the distance."""
    axis, g = problem.readings.mid_poses[:, None, :3, 2], linear.geometry
    along = np.einsum("nki,nki->nk", g.offset, np.broadcast_to(axis, g.offset.shape))[..., None] * axis
    scaled = [np.einsum("nki,nki->n", g.gradient, part) for part in (g.offset - along, along)]
    return Test("width", Score(np.stack(scaled, axis=1), linear).of, _response_words)


def _response_words() -> str:
    return "the response does not fit these counts: is it this probe's and this nuclide's calibration?"


def _late(delay: Array, linear: Linear, own: Array) -> Test:
    score = Score(delay[:, None], linear)

    def words() -> str:
        shift = 1000.0 * float(score.step(own)[0])
        return f"the counts fit a count latency {abs(shift):.0f} ms {'longer' if shift > 0 else 'shorter'}"

    blind = WRONG_LATENCY_S * score.sensitivity(0) < SHOWN_SIGMA
    told = f"a latency {1000 * WRONG_LATENCY_S:.0f} ms off would not show" if blind else None
    return Test("latency", score.of, words, unseen=told)


def lay_words(problem: Problem, surface_mm: Array) -> str | None:
    """What is wrong of the touched surface (k, 3) by where the probe's face was; None where nothing is."""
    poses = problem.readings.mid_poses
    height = Surface.from_points(surface_mm, poses).signed_distance(poses[:, :3, 3])
    deep = float(np.quantile(height, DEEP_SHARE))
    if deep < -DEEP_MM:
        return f"the probe's face lay {-deep:.0f} mm inside the touched surface: the surface or the Reference is wrong"
    near = float(np.quantile(cKDTree(surface_mm).query(poses[:, :3, 3])[0], DEEP_SHARE))
    if near <= FAR_MM:
        return None
    return f"the probe was seldom nearer than {near:.0f} mm to the touched surface: is it this scan's?"
