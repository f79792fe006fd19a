"""Sources off the grid on top of the spatial background: joint fit of positions, activities and background.

Each source is a point or a uniform ball; positions move freely, activities live on a logarithmic scale, and the
covariance of one source carries what all others, the background and the count latency leave open.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from navigation.anchors import Anchors
from navigation.background import Background
from navigation.likelihood import Counts, KnownRate, inverse_information
from navigation.projector import Projector
from navigation.responseerror import COMMON, PER_SOURCE, STRONG, common_errors, factor, relative_errors
from navigation.surface import TissueMap
from tracking.sample import Readings

Array = NDArray[np.float64]

# Half step of the numerical derivative along each axis: well inside the probe's resolution.
DERIVATIVE_MM = 0.5
# Points that stand for a ball: so far apart, and at least so many on so many shells. A ball that comes near the probe
# is lumps to it where they are farther apart than it resolves.
BALL_SPACING_MM, FEWEST_IN_BALL, FEWEST_SHELLS = 7.0, 24, 3
# A place this far from the study's, in standard deviations squared: by chance in 0.3 % of organs (chi2(3)).
CHI2_CONTRADICTED = 13.9
# Longest move of a source, and largest change of its log activity, in one iteration.
LONGEST_STEP_MM, LARGEST_LOG_STEP = 6.0, 1.0
ITERATIONS = 40
# Gain of the objective that counts as convergence: far below what a test would notice.
CONVERGED = 1e-3
# Relative error of the response beyond its calibration (tilt of the axis, drift, asymmetry of the head, shape of the
# source): inside the collimator's view, and in the tail, where the response is below TAIL of that on the axis.
BEAM_ERROR, TAIL_ERROR, TAIL = 0.05, 0.25, 0.05
# What of it no smooth error explains, from reading to reading, where the smooth ones are fitted.
UNMODELLED = 0.3
# Tissue share below which a source may not lie: activity is in the patient, not in the air.
LEAST_TISSUE = 0.25
# Nor a ball of which less than this is tissue.
LEAST_BALL_TISSUE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a registered study says of an organ: its name and shape, and where it should be.

    `offsets_mm` (k, 3) from the centroid with shares (k,) of the activity; `place_mm` (3,) in Reference is known to
    `place_sd_mm` along each axis, which is the registration's error.
    """

    name: str
    offsets_mm: Array
    shares: Array
    place_mm: Array
    place_sd_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Position (3,) mm in Reference, activity in kBq at the reference time, radius of a uniform ball (0 = point).

    An organ that is `known` has its own shape, and its radius is that of a ball of its volume.
    """

    position_mm: Array
    activity_kbq: float
    radius_mm: float = 0.0
    known: Known | None = None
    errors: Array | None = (
        None  # (PER_SOURCE,) of the response towards it, in standard errors, where it is strong
    )

    def spread(self) -> tuple[Array, Array]:
        """Points (k, 3) in Reference that stand for the source, and their shares (k,) of it."""
        if self.known is not None:
            return self.position_mm + self.known.offsets_mm, self.known.shares
        offsets = _ball(self.radius_mm) if self.radius_mm > 0 else np.zeros((1, 3))
        return self.position_mm + offsets, np.full(len(offsets), 1.0 / len(offsets))

    @property
    def shape_key(self) -> tuple[float, object]:
        """Equal for sources of the same size and shape."""
        return self.radius_mm, self.known

    def in_tissue(self, tissue: TissueMap) -> float:
        """Share of the source that lies in tissue."""
        points, shares = self.spread()
        return float(shares @ tissue.at(points))

    @property
    def misplaced(self) -> Array:
        """(3,): how far it lies from where a study has it, in standard deviations; 0 where none says."""
        if self.known is None:
            return np.zeros(3)
        away: Array = (self.position_mm - self.known.place_mm) / self.known.place_sd_mm
        return away

    @property
    def contradicted(self) -> bool:
        """Whether the counts put an organ where the study does not have it."""
        return float(self.misplaced @ self.misplaced) > CHI2_CONTRADICTED

    @property
    def place_precision(self) -> float:
        """What is known of its place before the scan, 1/mm2."""
        return 0.0 if self.known is None else 1.0 / self.known.place_sd_mm**2


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One scan as the point layer sees it; `decay` (n,) is the activity at each reading over the reference time's."""

    data: Counts
    readings: Readings
    projector: Projector
    background: Background
    background_rows: Array  # (n, q), decay included
    decay: Array
    latency_sd_s: float = 0.0
    organs: tuple[Known, ...] = ()  # hot organs of a registered study
    anchors: Anchors = field(default_factory=Anchors)

    def head(self, n: int) -> Problem:
        """The same scan up to its n-th reading."""
        return replace(
            self,
            data=replace(
                Counts.of(
                    self.data.counts[:n], self.data.live_s[:n], self.readings.t_s[:n], self.data.dead_time
                ),
                known=None if self.data.known is None else self.data.known.head(n),
            ),
            readings=self.readings.head(n),
            background_rows=self.background_rows[:n],
            decay=self.decay[:n],
        )

    def rows(self, points_mm: Array) -> Array:
        """(n, m) cps per kBq at the reference time."""
        return self.projector.rows(points_mm, self.readings).astype(np.float64) * self.decay[:, None]

    def source_rows(self, sources: list[Source]) -> Array:
        """(n, 7 k): for each source the row itself, then minus and plus along x, y, z."""
        known = [self.anchors.near(self.readings, s.shape_key, s.position_mm, DERIVATIVE_MM) for s in sources]
        fresh = [i for i, rows in enumerate(known) if rows is None]
        for i, rows in zip(fresh, self._made([sources[i] for i in fresh]), strict=True):
            known[i] = rows
            if sources[i].radius_mm > 0.0:
                self.anchors.keep(self.readings, sources[i].shape_key, sources[i].position_mm, rows)
        return np.concatenate([rows for rows in known if rows is not None], axis=1)

    def _made(self, sources: list[Source]) -> list[Array]:
        """Rows (n, 7) of each source, point by point."""
        if not sources:
            return []
        offsets = np.concatenate([np.zeros((1, 3)), DERIVATIVE_MM * _axis_pairs()])
        points, owners = [], []
        for source in sources:
            spread, shares = source.spread()
            points.append((spread[None] + offsets[:, None]).reshape(-1, 3))
            owners.append(shares)
        rows = self.rows(np.concatenate(points))
        out, at = [], 0
        for shares in owners:
            size = len(shares)
            mine = rows[:, at : at + 7 * size].reshape(len(rows), 7, size)
            # einsum and not BLAS: a row must not depend on how many rows are made at once.
            out.append(np.einsum("npk,k->np", mine, shares, optimize=False))
            at += 7 * size
        return out

    def model_error(self, sources: list[Source], rows: Array) -> Array:
        """Rate in cps (n, k) by which the counts of each source may be wrong; rows (n, k) at the reference time."""
        if not sources:
            return np.zeros((len(self.decay), 0))
        poses = self.readings.mid_poses
        relative = [self._relative_error(s.position_mm, poses) for s in sources]
        result: Array = np.stack(relative, axis=1) * rows * np.array([s.activity_kbq for s in sources])
        return result

    def unmodelled_error(self, sources: list[Source], rows: Array) -> Array:
        """What of it (n, k) is left where the smooth errors of strong sources are fitted."""
        return UNMODELLED * self.model_error(sources, rows)

    def _relative_error(self, position_mm: Array, poses: Array) -> Array:
        offset = position_mm - poses[:, :3, 3]
        z = np.einsum("ni,ni->n", offset, poses[:, :3, 2])
        r = np.sqrt(np.maximum(np.einsum("ni,ni->n", offset, offset) - z**2, 0.0))
        collimated = self.projector.response.collimation(r, z)
        return BEAM_ERROR + (TAIL_ERROR - BEAM_ERROR) * (1.0 - np.minimum(collimated / TAIL, 1.0))

    def latency_derivative(self, source_rate: Array) -> Array:
        """d rate / d latency (n,) of the sources: a later stamp means an earlier place on the path."""
        if len(source_rate) < 3:
            return np.zeros_like(source_rate)
        t = self.readings.t_s
        slope = np.zeros_like(source_rate)
        slope[1:-1] = (source_rate[2:] - source_rate[:-2]) / np.maximum(t[2:] - t[:-2], 1e-6)
        # Across a gap in the readings the difference is no derivative.
        slope[1:-1][(t[2:] - t[:-2]) > 6 * np.median(np.diff(t))] = 0.0
        return -slope


def with_known(problem: Problem, known: KnownRate) -> Problem:
    """The scan with a known rate beside the unknown ones; the error of its factor is one more thing to be fitted."""
    return replace(
        problem,
        data=replace(problem.data, known=known),
        background=replace(problem.background, known_factor=True),
        background_rows=np.column_stack([problem.background_rows, known.factor_sd_cps]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class JointFit:
    """Sources, background coefficients (q,), rates (n,), and the covariance of all parameters.

    Parameters in order: background, x y z and log activity of each source, latency.
    """

    sources: tuple[Source, ...]
    background: Array
    rate_cps: Array
    source_rate_cps: Array
    covariance: Array
    latency_free: bool  # whether the last parameter is the latency
    objective: float
    latency_shift_s: float
    # (n, e) in cps: what one standard error of each error of the response towards strong sources changes
    error_columns: Array

    def block(self, index: int) -> Array:
        """(4, 4) covariance of x, y, z in mm and log activity of one source."""
        at = len(self.background) + 4 * index
        return self.covariance[at : at + 4, at : at + 4]

    @property
    def latency_sd_s(self) -> float:
        """Standard deviation of the latency shift; 0 when it was not a parameter."""
        return float(np.sqrt(max(self.covariance[-1, -1], 0.0))) if self.latency_free else 0.0


def fit_sources(
    problem: Problem,
    sources: list[Source],
    background: Array,
    precision: Array,
    fixed: bool = False,
    held: int | None = None,
) -> JointFit:
    """Penalised maximum likelihood from the given start; `fixed` keeps positions and frees activities only.

    The activity of the source `held` stays as it is, for a profile of it. Levenberg damping: a step that loses is
    shortened, so the objective never falls.
    """
    state = _State(problem, list(sources), background.copy(), precision, 0.0)
    state.evaluate()
    state.mark_strong()
    for _ in range(ITERATIONS):
        gained = state.advance(fixed, held)
        if gained < CONVERGED:
            break
    return state.result()


class _State:
    """Mutable heart of the joint fit; lives only inside `fit_sources`."""

    def __init__(
        self, problem: Problem, sources: list[Source], background: Array, precision: Array, latency: float
    ) -> None:
        self.problem, self.sources, self.background = problem, sources, background
        self.precision, self.latency = precision, latency
        self.latency_free = problem.latency_sd_s > 0
        self.common = np.zeros(COMMON)

    def evaluate(self) -> None:
        """Rows of the sources where they are now, and what follows from them."""
        p = self.problem
        self.rows = p.source_rows(self.sources) if self.sources else np.zeros((len(p.decay), 0))
        self._respond()

    def mark_strong(self) -> None:
        """From here on the errors of the response towards strong sources are fitted too."""
        _, information = self.problem.data.weights(self.rate)
        for i, source in enumerate(self.sources):
            told = float(information @ self.each[:, i] ** 2)
            if source.errors is None and told > STRONG**2:
                self.sources[i] = replace(source, errors=np.zeros(PER_SOURCE))
        self._respond()

    @property
    def strong(self) -> list[int]:
        """Sources whose response may err."""
        return [i for i, source in enumerate(self.sources) if source.errors is not None]

    def _respond(self) -> None:
        p, poses = self.problem, self.problem.readings.mid_poses
        self.factors = np.ones((len(p.decay), len(self.sources)))
        relative = []
        for i in self.strong:
            relative.append(relative_errors(self.sources[i].position_mm, poses))
            self.factors[:, i] = factor(relative[-1], np.asarray(self.sources[i].errors))
        activity = np.array([s.activity_kbq for s in self.sources])
        self.each = self.rows[:, ::7] * self.factors * activity
        self.source_rate = self.each.sum(axis=1)
        self.delay = p.latency_derivative(self.source_rate)
        columns = [r * self.each[:, i : i + 1] for i, r in zip(self.strong, relative, strict=True)]
        common = np.zeros((len(p.decay), COMMON))
        for i in self.strong:
            place = self.sources[i].position_mm
            common += common_errors(place, self._gradient(i), self.each[:, i], poses, p.readings.t_s)
        self.columns = np.concatenate([*columns, common[:, : COMMON * bool(columns)]], axis=1)
        self.rate = p.background_rows @ self.background + self.source_rate + self.delay * self.latency
        self.rate = self.rate + common @ self.common
        self.objective = self._objective()

    def _gradient(self, index: int) -> Array:
        """(n, 3): change of a source's rate with its place, cps/mm."""
        r = self.rows[:, 7 * index : 7 * index + 7]
        scale = self.sources[index].activity_kbq * self.factors[:, index] / (2 * DERIVATIVE_MM)
        result: Array = scale[:, None] * (r[:, 2::2] - r[:, 1:6:2])
        return result

    def _errors(self) -> Array:
        """(e,): the errors of the response, in standard errors, in the order of `columns`."""
        own = [np.asarray(self.sources[i].errors) for i in self.strong]
        return np.concatenate([*own, self.common]) if own else np.zeros(0)

    def _objective(self) -> float:
        value = self.problem.data.log_likelihood(self.rate) - 0.5 * float(self.precision @ self.background**2)
        if self.problem.latency_sd_s > 0:
            value -= 0.5 * (self.latency / self.problem.latency_sd_s) ** 2
        errors = self._errors()
        return value - 0.5 * float(sum(s.misplaced @ s.misplaced for s in self.sources) + errors @ errors)

    def _design(self) -> Array:
        columns = [self.problem.background_rows]
        for i in range(len(self.sources)):
            columns += [self._gradient(i), self.each[:, i : i + 1]]
        if self.latency_free:
            columns.append(self.delay[:, None])
        return np.concatenate([*columns, self.columns], axis=1)

    def _normal(self) -> tuple[Array, Array]:
        """Gradient and curvature of the objective in all parameters."""
        design = self._design()
        score, information = self.problem.data.weights(self.rate)
        model = self.problem.unmodelled_error(self.sources, self.rows[:, ::7])
        damped = information / (1.0 + information * (model**2).sum(axis=1))
        prior = np.zeros(design.shape[1])
        prior[: len(self.background)] = self.precision
        theta = np.zeros(design.shape[1])
        theta[: len(self.background)] = self.background
        errors = self._errors()
        known = len(prior) - len(errors)
        prior[known:], theta[known:] = 1.0, errors
        if self.latency_free:
            prior[known - 1], theta[known - 1] = 1.0 / self.problem.latency_sd_s**2, self.latency
        for i, source in enumerate(self.sources):
            at = slice(len(self.background) + 4 * i, len(self.background) + 4 * i + 3)
            prior[at] = source.place_precision
            theta[at] = 0.0 if source.known is None else source.position_mm - source.known.place_mm
        gradient = design.T @ score - prior * theta
        curvature = design.T @ (damped[:, None] * design) + np.diag(prior)
        return gradient, curvature

    def advance(self, fixed: bool, held: int | None = None) -> float:
        gradient, curvature = self._normal()
        q = len(self.background)
        free = np.ones(len(gradient), dtype=bool)
        if fixed:
            for i in range(len(self.sources)):
                free[q + 4 * i : q + 4 * i + 3] = False
        if held is not None:
            free[q + 4 * held + 3] = False
        # Relative damping keeps a barely determined direction from running away.
        damping = 1e-3 * np.diag(curvature) + 1e-12
        lifted = curvature + np.diag(damping)
        step = np.zeros(len(gradient))
        step[free] = np.linalg.solve(lifted[np.ix_(free, free)], gradient[free])
        step = self._limited(step)
        before = (self.sources, self.background, self.latency, self.objective, self.common)
        for _ in range(8):
            self._move(before, step)
            if self.objective >= before[3]:
                return self.objective - before[3]
            step = step / 3
        self.sources, self.background, self.latency, _, self.common = before
        self.evaluate()
        return 0.0

    def _limited(self, step: Array) -> Array:
        q, scale = len(self.background), 1.0
        for i in range(len(self.sources)):
            part = step[q + 4 * i : q + 4 * i + 4]
            scale = min(scale, LONGEST_STEP_MM / max(float(np.linalg.norm(part[:3])), 1e-9))
            scale = min(scale, LARGEST_LOG_STEP / max(abs(float(part[3])), 1e-9))
        return step * min(scale, 1.0)

    def _move(self, before: tuple[list[Source], Array, float, float, Array], step: Array) -> None:
        q, at = len(self.background), len(self.background) + 4 * len(before[0])
        self.background = before[1] + step[:q]
        self.latency = before[2] + (float(step[at]) if self.latency_free else 0.0)
        errors, moved_errors = at + self.latency_free, {}
        for i in self.strong:
            moved_errors[i] = np.asarray(before[0][i].errors) + step[errors : errors + PER_SOURCE]
            errors += PER_SOURCE
        if moved_errors:
            self.common = before[4] + step[errors:]
        self.sources = []
        tissue = self.problem.projector.tissue
        for i, source in enumerate(before[0]):
            part = step[q + 4 * i : q + 4 * i + 4]
            moved = source.position_mm + part[:3]
            if tissue is not None and not _stays_in(tissue, source, moved):
                moved = source.position_mm
            self.sources.append(
                replace(
                    source,
                    position_mm=moved,
                    activity_kbq=source.activity_kbq * float(np.exp(part[3])),
                    errors=moved_errors.get(i),
                )
            )
        self.evaluate()

    def result(self) -> JointFit:
        _, curvature = self._normal()
        told = len(curvature) - self.columns.shape[1]
        return JointFit(
            tuple(self.sources),
            self.background,
            self.rate,
            self.source_rate,
            inverse_information(curvature)[:told, :told],
            self.latency_free,
            self.objective,
            self.latency,
            self.columns,
        )


def _axis_pairs() -> Array:
    """(6, 3): minus and plus along x, y, z."""
    out = np.zeros((6, 3))
    for axis in range(3):
        out[2 * axis, axis], out[2 * axis + 1, axis] = -1.0, 1.0
    return out


def _stays_in(tissue: TissueMap, source: Source, moved_mm: Array) -> bool:
    """Whether a source may go to a place (3,): a ball no farther out of the tissue than it is."""
    if tissue.at(moved_mm[None])[0] < LEAST_TISSUE:
        return False
    if source.radius_mm == 0.0 or source.known is not None:
        return True
    there = replace(source, position_mm=moved_mm).in_tissue(tissue)
    return there >= LEAST_BALL_TISSUE or there >= source.in_tissue(tissue)


@cache
def _ball(radius_mm: float) -> Array:
    """(k, 3) points of equal weight in a ball: spirals on shells of equal thickness, closer than a probe resolves."""
    count = max(FEWEST_IN_BALL, round(4.0 / 3.0 * np.pi * (radius_mm / BALL_SPACING_MM) ** 3))
    shells = max(FEWEST_SHELLS, round(radius_mm / BALL_SPACING_MM))
    edges = np.arange(shells + 1.0) / shells
    share = np.diff(edges**3)
    points = []
    for number, radius in zip(np.round(count * share), 0.75 * np.diff(edges**4) / share, strict=True):
        number = max(int(number), 1)
        i = np.arange(number) + 0.5
        polar, azimuth = np.arccos(1 - 2 * i / number), np.pi * (1 + 5**0.5) * i
        around = [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
        points.append(radius_mm * radius * np.stack(around, axis=1))
    return np.concatenate(points)
