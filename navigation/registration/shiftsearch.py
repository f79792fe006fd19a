"""Which focus may be which target: common shifts of all targets that explain a scan, the most likely first.

A shift is worth its likelihood, less what every focus that is then no target would have to gain by itself to be
believed, and less what a shift of that length is expected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import Source
from navigation.reconstruction import ScanState
from navigation.registration.tied import Pose, TiedFit, TiedTargets
from navigation.spots import nuisance_of
from navigation.uncertainty import ScoreMap, score_map

Array = NDArray[np.float64]

# Tissue between study and table: a shift is expected within this, and none is sought beyond that.
EXPECTED_MM, LONGEST_MM = 15.0, 40.0
# A focus this near to where a shift puts a target is that target.
OWN_MM = 12.0
# Shifts this near to each other are one.
SAME_MM = 4.0
# Where no focus was found by itself: shifts are tried so far apart, about a probe's resolution, and so many kept.
LATTICE_MM, MOST_STARTS = 6.0, 4
# Most shifts that are followed to their end, besides none at all.
MOST_HYPOTHESES = 5
# Fewer targets than three, or targets nearer than this to a line, tell no turn; with it the likelihood has to gain so
# much: 99 % of chi2(3).
FEWEST_TURNING, LEAST_SPREAD_MM, TURN_GAIN = 3, 4.0, 11.34
# A target that nothing is known of begins with this activity.
LEAST_KBQ = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """One explanation: the tied fit, the model it is of, each target's own source in the scan's fit, and its value."""

    tied: TiedFit
    model: TiedTargets
    own: tuple[int | None, ...]
    value: float


def explanations(state: ScanState, believed_mm: Array) -> tuple[Explained, ...]:
    """The common shifts of targets (k, 3) that explain the scan, the best first; at least one."""
    found = [_explained(state, believed_mm, start) for start in _starts(state, believed_mm)]
    found.sort(key=lambda e: -e.value)
    kept: list[Explained] = []
    for one in found:
        if all(np.linalg.norm(one.tied.pose.shift_mm - k.tied.pose.shift_mm) > SAME_MM for k in kept):
            kept.append(one)
    return tuple(kept)


def _starts(state: ScanState, believed_mm: Array) -> list[Array]:
    """Shifts (3,) worth following: none, and each that puts a target on a focus."""
    places = [s.position_mm for s in state.found.fit.sources if s.known is None]
    if not places:
        return [np.zeros(3), *_by_score(state, believed_mm)]
    shifts = [place - target for place in places for target in believed_mm]
    near = sorted((s for s in shifts if np.linalg.norm(s) <= LONGEST_MM), key=lambda s: float(s @ s))
    spread = [np.zeros(3)]
    for shift in sorted(near, key=lambda s: (-_matched(places, believed_mm, s), float(s @ s))):
        if all(np.linalg.norm(shift - other) > SAME_MM for other in spread[1:]):
            spread.append(shift)
    return spread[: 1 + MOST_HYPOTHESES]


def _matched(places: list[Array], believed_mm: Array, shift: Array) -> int:
    """How many targets a shift puts near a focus."""
    away = np.linalg.norm(np.array(places)[:, None] - (believed_mm + shift), axis=2)
    return int((away.min(axis=0) <= OWN_MM).sum())


def _by_score(state: ScanState, believed_mm: Array) -> list[Array]:
    """Shifts at which the targets together gain most over the background, where no focus stands by itself."""
    reach = np.arange(-LONGEST_MM, LONGEST_MM + 1e-9, LATTICE_MM)
    x, y, z = np.meshgrid(reach, reach, reach, indexing="ij")
    shifts = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    shifts = shifts[np.linalg.norm(shifts, axis=1) <= LONGEST_MM]
    gain = np.zeros(len(shifts))
    for target in believed_mm:
        scores = _scores(state, target + shifts)
        gain += np.maximum(scores.significance, 0.0) ** 2
    gain -= (shifts**2).sum(axis=1) / EXPECTED_MM**2
    best: list[Array] = []
    for i in np.argsort(-gain, kind="stable"):
        if all(np.linalg.norm(shifts[i] - b) > 2 * LATTICE_MM for b in best):
            best.append(shifts[i])
        if len(best) == MOST_STARTS:
            break
    return best


def _scores(state: ScanState, points_mm: Array) -> ScoreMap:
    """Of a lone source at points (m, 3), beside all that the scan's fit holds."""
    nuisance = nuisance_of(state.problem, state.found.fit, state.found.precision)
    return score_map(state.problem.rows(points_mm).astype(np.float32), nuisance)


def _explained(state: ScanState, believed_mm: Array, start: Array) -> Explained:
    """The explanation near a shift; which focus is whose is asked again where it settled."""
    one = _settled(state, believed_mm, start)
    again = assigned(state.found.fit.sources, one.tied.places_mm)
    return one if again == one.own else _settled(state, believed_mm, one.tied.pose.shift_mm)


def _settled(state: ScanState, believed_mm: Array, start: Array) -> Explained:
    fit = state.found.fit
    own = assigned(fit.sources, believed_mm + start)
    taken = {i for i in own if i is not None}
    others = [s for i, s in enumerate(fit.sources) if i not in taken]
    model = TiedTargets(state.problem, believed_mm, others, fit.background, state.found.precision)
    activity = np.array([LEAST_KBQ if i is None else fit.sources[i].activity_kbq for i in own])
    tied = _turned(model, model.settle(model.at(Pose.shifted(start), activity)))
    cost = 0.5 * state.found.thresholds.model**2 * sum(s.known is None for s in others)
    away = 0.5 * float(tied.pose.shift_mm @ tied.pose.shift_mm) / EXPECTED_MM**2
    return Explained(tied, model, own, tied.objective - cost - away)


def _turned(model: TiedTargets, tied: TiedFit) -> TiedFit:
    """With a rotation, where there are targets enough to tell one and the counts insist on it."""
    believed = tied.believed_mm
    spread = np.linalg.svd(believed - believed.mean(axis=0), compute_uv=False) / np.sqrt(len(believed))
    if len(believed) < FEWEST_TURNING or spread[1] < LEAST_SPREAD_MM:
        return tied
    turned = model.settle(tied, turning=True)
    return turned if 2 * (turned.objective - tied.objective) > TURN_GAIN else tied


def assigned(sources: tuple[Source, ...], places_mm: Array) -> tuple[int | None, ...]:
    """For each place (k, 3) the number of the source that is its own; each source has one target at most."""
    from scipy.optimize import linear_sum_assignment

    chosen: list[int | None] = [None] * len(places_mm)
    free = [i for i, s in enumerate(sources) if s.known is None]
    if free:
        positions = np.array([sources[i].position_mm for i in free])
        away = np.linalg.norm(places_mm[:, None] - positions, axis=2)
        cost = np.where(away <= OWN_MM, away, 1e6)
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if away[row, column] <= OWN_MM:
                chosen[row] = free[column]
    return tuple(chosen)
