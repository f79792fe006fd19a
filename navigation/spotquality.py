"""How far a focus may be trusted, with reasons in plain words, and how much it stands out from what is round it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import JointFit, Problem, Source

Array = NDArray[np.float64]

# The 95 % region of a place is chi2(3) <= 7.815; a region that reaches farther than this is no place to cut at.
CHI2_95_PLACE, REACH_MM = 7.815, 8.0
# Predicted standard deviation beyond which a place is of no use.
USABLE_SD_MM = 15.0
# The same for the logarithm of the activity: doubtful, and of no use.
GOOD_LOG_SD, USABLE_LOG_SD = 0.5, 0.9
# Above this share of its counts a source rests on the continued response.
MOSTLY = 0.5
# From this depth on it is the depth, and not the counts, that leaves a place open: Cramer-Rao 2.7 mm for 100 kBq.
DEEP_MM = 30.0
# Readings round a focus: faces this near beside it; none within this angle is the edge of what was scanned.
BESIDE_MM, TOO_NEAR_MM, WIDEST_GAP_RAD = 40.0, 3.0, float(np.deg2rad(170.0))
# An error of this share of its neighbours' counts is no rarity in their tail: a focus worth no more is told with care.
COMMON_ERROR = 0.1
# A probe that looked from all sides has no common axis, and no edge: mean of the unit axes.
LEAST_COMMON_AXIS = 0.1
# Readings that see a focus at least this well, and what their misfit must exceed to be no chance: by so many standard
# deviations, and by so much per reading.
SEEN_SHARE, MISFIT_SIGMA, LEAST_MISFIT = 0.2, 5.0, 1.5
FEWEST_SEEN = 10
Z95, WIDEST_LOG = 1.96, 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """How the readings (n,) saw one source: its rate, that of everything else, both in cps at the probe."""

    own_cps: Array
    beside_cps: Array

    @staticmethod
    def of(problem: Problem, fit: JointFit, index: int) -> Looks:
        """At the joint fit."""
        source = fit.sources[index]
        own = problem.source_rows([source])[:, 0] * source.activity_kbq
        return Looks(own, np.maximum(fit.rate_cps - own, 0.0))

    def counts(self, live_s: Array) -> float:
        """Counts of its own in the whole scan."""
        return float(self.own_cps @ live_s)

    @property
    def tbr(self) -> float | None:
        """Count ratio at the reading that saw it best: with the source over without, whatever else shines there."""
        best = int(np.argmax(self.own_cps))
        local = float(self.beside_cps[best])
        return None if local <= 0.0 else 1.0 + float(self.own_cps[best]) / local


def quality_of(
    problem: Problem,
    fit: JointFit,
    index: int,
    looks: Looks,
    covariance_mm2: Array,
    log_sd: float,
    depth_mm: float | None,
) -> tuple[str, list[str]]:
    """`ok`, `limited` or `unusable` of one source of the fit, and why."""
    source = fit.sources[index]
    sd_mm = float(np.sqrt(np.linalg.eigvalsh(covariance_mm2)[-1]))
    if sd_mm > USABLE_SD_MM or log_sd > USABLE_LOG_SD:
        words = f"position is open by {sd_mm:.0f} mm, activity by a factor {_factor(log_sd):.0f}"
        return "unusable", [words]
    told = (
        _wide(sd_mm, looks.counts(problem.data.live_s), depth_mm),
        _open_activity(log_sd),
        _edge(problem, source),
        _beside(problem, fit, index, looks),
        _misfit(problem, fit, looks),
        _extrapolated(problem, source),
    )
    reasons = [words for words in told if words is not None]
    return ("limited" if reasons else "ok"), reasons


def _factor(log_sd: float) -> float:
    """The factor to either side that a standard error in log units means at 95 %."""
    return float(np.exp(min(Z95 * log_sd, WIDEST_LOG)))


def _wide(sd_mm: float, counts: float, depth_mm: float | None) -> str | None:
    reach = CHI2_95_PLACE**0.5 * sd_mm
    if reach <= REACH_MM:
        return None
    region = f"its 95 % region reaches {reach:.0f} mm"
    if depth_mm is not None and depth_mm > DEEP_MM:
        return f"too deep: {depth_mm:.0f} mm below the surface; {region}"
    return f"too few counts: {counts:.0f} of its own; {region}"


def _open_activity(log_sd: float) -> str | None:
    return None if log_sd <= GOOD_LOG_SD else f"activity is uncertain by a factor {_factor(log_sd):.1f}"


def _edge(problem: Problem, source: Source) -> str | None:
    """Whether the probe was on one side of it only."""
    poses = problem.readings.mid_poses
    axis = poses[:, :3, 2].mean(axis=0)
    if np.linalg.norm(axis) < LEAST_COMMON_AXIS:
        return None
    axis /= np.linalg.norm(axis)
    offset = poses[:, :3, 3] - source.position_mm
    u = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    u /= np.linalg.norm(u)
    x, y = offset @ u, offset @ np.cross(axis, u)
    near = (np.hypot(x, y) <= BESIDE_MM) & (np.hypot(x, y) > TOO_NEAR_MM)
    turn = np.sort(np.arctan2(y[near], x[near]))
    gap = float(np.diff(turn, append=turn[0] + 2 * np.pi).max()) if near.any() else 2 * np.pi
    if gap <= WIDEST_GAP_RAD:
        return None
    return "at the edge of coverage: the probe was on one side of it only"


def _beside(problem: Problem, fit: JointFit, index: int, looks: Looks) -> str | None:
    """Whether an error of the response towards hotter foci that is no rarity would make up the whole of it."""
    others = fit.source_rate_cps - looks.own_cps
    weight = problem.data.weights(fit.rate_cps)[1] * looks.own_cps
    shared = float(weight @ others)
    if len(fit.sources) < 2 or shared <= 0.0 or float(weight @ looks.own_cps) > COMMON_ERROR * shared:
        return None
    equal = 100.0 * float(weight @ looks.own_cps) / shared
    return f"beside a hotter focus: an error of {equal:.1f} % of its response would equal this one"


def _misfit(problem: Problem, fit: JointFit, looks: Looks) -> str | None:
    """Whether the readings that see it scatter more about the model than counts and a known response explain."""
    own = looks.own_cps
    seen = own >= SEEN_SHARE * float(own.max(initial=0.0))
    if int(seen.sum()) < FEWEST_SEEN:
        return None
    data, sources = problem.data, list(fit.sources)
    expected = np.maximum(data.expected(fit.rate_cps), 1e-9)
    error = problem.model_error(sources, problem.source_rows(sources)[:, ::7])
    variance = expected + data.slope(fit.rate_cps) ** 2 * (error**2).sum(axis=1)
    chi2 = float(np.mean((data.excess(fit.rate_cps) ** 2 / variance)[seen]))
    spread = float(np.sqrt((2.0 + 1.0 / expected[seen]).sum()) / seen.sum())
    if chi2 <= max(1.0 + MISFIT_SIGMA * spread, LEAST_MISFIT):
        return None
    return f"model misfit: the counts round it scatter by {chi2:.1f} times what the model allows"


def extrapolated_share(problem: Problem, source: Source) -> float:
    """Share of a source's counts that the response puts beyond the measured points."""
    poses = problem.readings.mid_poses
    offset = source.position_mm - poses[:, :3, 3]
    z = np.einsum("ni,ni->n", offset, poses[:, :3, 2])
    r = np.sqrt(np.maximum(np.einsum("ni,ni->n", offset, offset) - z**2, 0.0))
    row = problem.source_rows([source])[:, 0] * problem.data.live_s
    beyond = problem.projector.response.extrapolated(r, z)
    return float(row[beyond].sum() / max(float(row.sum()), 1e-12))


def _extrapolated(problem: Problem, source: Source) -> str | None:
    if extrapolated_share(problem, source) <= MOSTLY:
        return None
    return "extrapolated: most of its counts come from where the calibration was not measured"
