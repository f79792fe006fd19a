"""Does a focus move to and fro while it is scanned: the score of a slow oscillation of all foci at every frequency.

Breathing moves targets in the abdomen by 5 to 15 mm against a Reference on the skin; a place that is told of such a
focus is its mean, and what it moves by belongs into the uncertainty.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from navigation.modelerror import Linear
from navigation.modelfit import Breathing
from navigation.pointlayer import JointFit, Problem
from navigation.residualtests import Score, Test

Array = NDArray[np.float64]

# The test's name among those of the whole scan.
NAME = "breathing"
# An oscillation of any direction, rhythm and phase takes up half of what a wrong latency or a move does to a hand that
# goes to and fro itself: only what it explains twice as well is breathing.
CREDIT = 0.5
# Breaths per second, from a sleeping patient's 6 in a minute to a child's 30.
LOWEST_HZ, HIGHEST_HZ = 0.1, 0.5
# Frequencies are looked at as closely as this share of what the length of the scan tells apart.
STEP_SHARE = 0.5
# A scan must hold so many breaths of the slowest kind.
FEWEST_BREATHS = 2.0
# Amplitude along each axis that is expected of breathing, mm, standard deviation: 10 mm from end to end.
EXPECTED_MM = 5.0
# Where it is not sure that anything breathes, so much of the mean square of what would explain the counts is left open.
UNSURE_SHARE = 0.5


class Oscillation:
    """The scores of an oscillation of the foci at each frequency; made once for a scan."""

    def __init__(self, problem: Problem, fit: JointFit, linear: Linear) -> None:
        t = problem.readings.t_s - problem.readings.t_s[0]
        gradient = linear.geometry.gradient.sum(axis=1)
        self.hz = frequencies(float(t[-1])) if fit.sources else np.zeros(0)
        self.scores = [Score(_swinging(gradient, 2 * np.pi * f * t), linear) for f in self.hz]

    def statistic(self, residuals: Array) -> Array:
        """(b,) of projected residuals (n, b): the largest of all frequencies."""
        return np.asarray(np.max([score.of(residuals) for score in self.scores], axis=0))

    def tests(self, own: Array) -> list[Test]:
        """Among the tests of the whole scan; none where the scan is too short or holds no focus."""
        if not self.scores:
            return []
        return [Test(NAME, self.statistic, lambda: self.told(own).words, CREDIT)]

    def told(self, own: Array) -> Breathing:
        """What the projected residuals (n,) of the scan say of the most likely oscillation."""
        best = int(np.argmax([float(s.of(own[:, None])[0]) for s in self.scores]))
        swing = self.scores[best].shrunk_step(own, EXPECTED_MM).reshape(2, 3)
        return breathing_of(float(self.hz[best]), swing, 0.5 * swing.T @ swing)

    def beside(self, own: Array, before: Breathing) -> Breathing:
        """What still moves at the rhythm that the model follows already, taken together with that."""
        nearest = int(np.argmin(np.abs(self.hz - before.per_minute / 60.0)))
        score = self.scores[nearest]
        more = score.shrunk_step(own, EXPECTED_MM).reshape(2, 3)
        open_ = np.linalg.inv(score.information + np.eye(6) / EXPECTED_MM**2)
        left, swing = 0.5 * (open_[:3, :3] + open_[3:, 3:]), before.swing_mm + more
        if not before.sure:
            left = left + UNSURE_SHARE * 0.5 * swing.T @ swing
        return replace(breathing_of(before.per_minute / 60.0, swing, left), sure=before.sure)


def breathing_of(hz: float, swing_mm: Array, left_mm2: Array) -> Breathing:
    """From a swing (2, 3), and what of its mean square (3, 3) the model leaves open."""
    _, length, axes = np.linalg.svd(swing_mm)
    return Breathing(60.0 * hz, 2.0 * float(length[0]), axes[0], left_mm2, swing_mm)


def frequencies(length_s: float) -> Array:
    """(f,) Hz that a scan of this length can tell; none for one that is too short."""
    if length_s * LOWEST_HZ < FEWEST_BREATHS:
        return np.zeros(0)
    return np.asarray(np.arange(LOWEST_HZ, HIGHEST_HZ, STEP_SHARE / length_s), dtype=np.float64)


def _swinging(gradient: Array, phase: Array) -> Array:
    """(n, 6): displacement by 1 mm along each axis, as cosine and as sine of the phase (n,)."""
    return np.concatenate([gradient * np.cos(phase)[:, None], gradient * np.sin(phase)[:, None]], axis=1)
