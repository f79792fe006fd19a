"""Targets that move as one: where the counts of a scan put them together.

Each target keeps its place among the others but for the error of the study and the give of tissue; its activity, the
background and every other focus stay open, so that one weak target is held by the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import inverse_information
from navigation.pointlayer import JointFit, Known, Problem, Source, fit_sources

Array = NDArray[np.float64]

# Where a search has settled: far below what any scan can tell.
SETTLED_MM, CONVERGED = 0.02, 1e-3
ITERATIONS = 25
# Longest step, as in the fit of a free source, and how often one that loses is shortened.
LONGEST_STEP_MM, HALVINGS = 6.0, 6
# A rotation that is fitted beside the shift: what tissue does between study and table, standard deviation about each
# axis.
TURN_SD_RAD = float(np.deg2rad(10.0))
# Each target by itself, along each axis: error of its place in the study, and tissue that gives.
OWN_SD_MM = 1.5
# Standard deviation of a shift about which the counts say nothing: keeps its covariance finite and positive.
LEAST_KNOWN_MM = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Displacement (3,) in mm of the targets' centroid and rotation vector (3,) in rad about it, in Reference."""

    shift_mm: Array
    turn_rad: Array

    @staticmethod
    def shifted(shift_mm: Array) -> Pose:
        """Without rotation."""
        return Pose(np.asarray(shift_mm, dtype=np.float64), np.zeros(3))

    @property
    def rotation(self) -> Array:
        """(3, 3), after Rodrigues."""
        angle = float(np.linalg.norm(self.turn_rad))
        if angle < 1e-12:
            return np.eye(3)
        k = cross_matrix(self.turn_rad / angle)
        return np.asarray(np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * (k @ k))

    def matrix(self, centre_mm: Array) -> Array:
        """(4, 4): believed places to where they are, rotating about `centre_mm` (3,)."""
        T = np.eye(4)
        T[:3, :3] = self.rotation
        T[:3, 3] = centre_mm + self.shift_mm - self.rotation @ centre_mm
        return T

    def places(self, believed_mm: Array) -> Array:
        """(k, 3): where believed places (k, 3) are; they turn about their centroid."""
        centre = believed_mm.mean(axis=0)
        return np.asarray((believed_mm - centre) @ self.rotation.T + centre + self.shift_mm)

    def jacobian(self, believed_mm: Array, turning: bool) -> Array:
        """(k, 3, 3 or 6): how the places move with shift and turn."""
        arms = (believed_mm - believed_mm.mean(axis=0)) @ self.rotation.T
        plain = np.tile(np.eye(3), (len(believed_mm), 1, 1))
        if not turning:
            return plain
        return np.concatenate([plain, np.stack([-cross_matrix(arm) for arm in arms])], axis=2)

    def moved(self, step: Array) -> Pose:
        """After a step (3,) or (6,)."""
        turn = self.turn_rad + step[3:] if len(step) == 6 else self.turn_rad
        return Pose(self.shift_mm + step[:3], turn)


def cross_matrix(v: Array) -> Array:
    """(3, 3) with `cross_matrix(v) @ u` the cross product of v and u."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class TiedFit:
    """Targets near `pose` with the joint fit; `covariance` (3, 3) mm2 of the shift, or (6, 6) with the turn in rad.

    `objective` is the penalised log-likelihood; the first sources of the fit are the targets, in their order.
    """

    believed_mm: Array
    pose: Pose
    fit: JointFit
    covariance: Array
    objective: float

    @property
    def places_mm(self) -> Array:
        """(k, 3): where the targets are as one body."""
        return self.pose.places(self.believed_mm)

    @property
    def activity_kbq(self) -> Array:
        """(k,) at the reference time."""
        return np.array([s.activity_kbq for s in self.fit.sources[: len(self.believed_mm)]])

    def covariance_at(self, index: int) -> Array:
        """(3, 3) mm2: of the place of one target, by shift, turn and its own."""
        J = self.pose.jacobian(self.believed_mm, len(self.covariance) == 6)[index]
        return np.asarray(J @ self.covariance @ J.T + OWN_SD_MM**2 * np.eye(3))


class TiedTargets:
    """The targets of a scan: believed places (k, 3) in Reference, beside the `others` that are foci by themselves."""

    def __init__(
        self, problem: Problem, believed_mm: Array, others: list[Source], background: Array, precision: Array
    ) -> None:
        self.problem, self.believed_mm, self.others = problem, believed_mm, others
        self.background, self.precision = background, precision

    def at(self, pose: Pose, activity_kbq: Array, turning: bool = False) -> TiedFit:
        """Targets held near a pose; activities, starting at (k,), and all else follow the counts."""
        places = pose.places(self.believed_mm)
        names = [f"target {i}" for i in range(len(places))]
        held = [
            Known(name, np.zeros((1, 3)), np.ones(1), p, OWN_SD_MM)
            for name, p in zip(names, places, strict=True)
        ]
        sources = [Source(k.place_mm, float(a), known=k) for k, a in zip(held, activity_kbq, strict=True)]
        fit = fit_sources(self.problem, [*sources, *self.others], self.background, self.precision)
        penalty = 0.5 * float(pose.turn_rad @ pose.turn_rad) / TURN_SD_RAD**2
        covariance = self._covariance(fit, pose, turning)
        return TiedFit(self.believed_mm, pose, fit, covariance, fit.objective - penalty)

    def settle(self, start: TiedFit, turning: bool = False) -> TiedFit:
        """The most likely pose near a start, by Newton's steps; one that loses is shortened."""
        best = start if len(start.covariance) == 3 + 3 * turning else self._again(start, turning)
        for _ in range(ITERATIONS):
            step = self._step(best, turning)
            found = self._improved(best, step, turning)
            if found is None:
                break
            gain, best = found.objective - best.objective, found
            if gain < CONVERGED or np.linalg.norm(step[:3]) < SETTLED_MM:
                break
        return best

    def _again(self, tied: TiedFit, turning: bool) -> TiedFit:
        return self.at(tied.pose, tied.activity_kbq, turning)

    def _improved(self, best: TiedFit, step: Array, turning: bool) -> TiedFit | None:
        for _ in range(HALVINGS):
            trial = self.at(best.pose.moved(step), best.activity_kbq, turning)
            if trial.objective > best.objective:
                return trial
            step = step / 2.0
        return None

    def _step(self, tied: TiedFit, turning: bool) -> Array:
        """Every target pulls the pose towards where it would lie: the gradient of the places' prior."""
        k = len(self.believed_mm)
        pulls = np.array([s.position_mm for s in tied.fit.sources[:k]]) - tied.places_mm
        gradient = np.einsum("kcp,kc->p", tied.pose.jacobian(self.believed_mm, turning), pulls) / OWN_SD_MM**2
        if turning:
            gradient[3:] -= tied.pose.turn_rad / TURN_SD_RAD**2
        step = tied.covariance @ gradient
        length = float(np.linalg.norm(step[:3]))
        return np.asarray(step * min(1.0, LONGEST_STEP_MM / max(length, 1e-9)))

    def _covariance(self, fit: JointFit, pose: Pose, turning: bool) -> Array:
        """Of the pose, all else being open: its own information less what the free places take (Schur complement)."""
        k, q = len(self.believed_mm), len(self.background)
        J = pose.jacobian(self.believed_mm, turning).reshape(3 * k, -1) / OWN_SD_MM
        at = np.array([q + 4 * i + c for i in range(k) for c in range(3)])
        places = fit.covariance[np.ix_(at, at)] / OWN_SD_MM**2
        information = J.T @ (np.eye(3 * k) - places) @ J
        if turning:
            information[3:, 3:] += np.eye(3) / TURN_SD_RAD**2
        least = np.diag(np.full(len(information), 1.0 / LEAST_KNOWN_MM**2))
        return np.asarray(inverse_information(information + least))
