"""Whether the patient's reference marker is where it was: a second marker, fixed to the same bone, must not move.

What moves is the pose of the check marker in the reference's frame; which of the two was bumped cannot be told,
and does not matter: everything measured before lies in another frame than everything after (hazard H04).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from tracking.poses import Floats, rotation_angles

# Where it was is learnt for so long before anything is watched; where it is, is the mean of so long: white noise is
# gone, and a bump is found within 1 s.
LEARNT_S, SHORT_S = 6.0, 0.6
# What is known of where it was, and how it wavers, is of the last so many means; the newest of them are left out, so
# that a bump is not learnt before it is found.
KEPT_MEANS, NEWEST_LEFT_OUT = 200, 2
# How a mean wavers before that is known, per axis (mm, then degrees), and how many means that guess is worth.
GUESSED_MM, GUESSED_DEG, GUESS_WORTH = 0.11, 0.11, 20.0
# No tracker is better than this in the mean of a second.
LEAST_MM, LEAST_DEG = 0.02, 0.02
# Sum of six squares beyond which it has moved: chance makes less in ten hours, with the errors of what was learnt.
ALARM_CHI2 = 42.0
# Less is no bump, however quiet the tracker: half of what has to be found.
SMALLEST_MM, SMALLEST_DEG = 0.5, 0.25
# What creeps is learnt with the rest; so far from where it stood at first it is told, too.
DRIFT_MM, DRIFT_DEG = 1.0, 0.8
# Fewer poses are no mean.
FEWEST_POSES = 8
# A pose this many median distances from the window's median is no noise, but a pose that the tracker got wrong; the
# turn counts at a lever of so many mm. Where the tracker is very quiet, less than so many mm is never left out.
OUTLYING, LEVER_MM, NEVER_OUT_MM = 6.0, 60.0, 0.5
# Poses that lie further apart in time belong to a marker that was lost in between.
LONGEST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Moved:
    """The markers have moved against each other: since when at the latest, how far, and whether little by little.

    `again_s` is when they did so once more before anybody said where the reference is.
    """

    since_s: float
    by_mm: float
    by_deg: float
    crept: bool = False
    again_s: float | None = None

    @property
    def last_s(self) -> float:
        """Since when they have been where they are now."""
        return self.since_s if self.again_s is None else self.again_s


class SteadyWatch:
    """Takes poses of the check marker in Reference in order of time; `moved` is set once and stays.

    What moves on after that is found by a watch that learns anew, and makes another `moved` with the same `since_s`.
    """

    def __init__(self) -> None:
        self.moved: Moved | None = None
        self._began_s: float | None = None
        self._anchor: Floats | None = None  # (4, 4): where it stood at first
        self._recent: deque[tuple[float, Floats]] = deque()
        self._means: deque[Floats] = deque(maxlen=KEPT_MEANS)  # (6,) against the anchor, one after the other
        self._mean_s = 0.0  # when the last of them ended
        self._later: SteadyWatch | None = None

    @property
    def watching(self) -> bool:
        """Whether it is known where the marker was."""
        return self._anchor is not None

    def take(self, t_s: float, T_reference_check: Floats) -> None:
        """The next pose (4, 4), mm, at its stamp."""
        if self.moved is not None:
            self._watch_on(self.moved, t_s, T_reference_check)
            return
        if self._recent and not 0.0 < t_s - self._recent[-1][0] <= LONGEST_PAUSE_S:
            self._restart(t_s)
        if self._began_s is None:
            self._began_s = t_s
        self._recent.append((t_s, T_reference_check))
        if self._anchor is None:
            self._learn(t_s)
        else:
            self._compare(t_s)

    def _watch_on(self, moved: Moved, t_s: float, T_reference_check: Floats) -> None:
        later = self._later = SteadyWatch() if self._later is None else self._later
        later.take(t_s, T_reference_check)
        if later.moved is not None:
            self.moved, self._later = replace(moved, again_s=later.moved.since_s), None

    def _restart(self, t_s: float) -> None:
        """After a pause only the mean of the last poses begins anew, not what is known."""
        self._recent.clear()
        self._began_s = t_s

    def _learn(self, t_s: float) -> None:
        assert self._began_s is not None
        if t_s - self._began_s >= LEARNT_S and len(self._recent) >= FEWEST_POSES:
            self._anchor = self._mean()
            stamps = [t for t, _ in self._recent]
            for start in np.arange(stamps[0], stamps[-1] - SHORT_S, SHORT_S):
                window = [pose for t, pose in self._recent if start <= t < start + SHORT_S]
                if window:
                    self._means.append(self._against_anchor(_robust_mean(np.array(window))))
            self._mean_s = t_s

    def _compare(self, t_s: float) -> None:
        while t_s - self._recent[0][0] > SHORT_S:
            self._recent.popleft()
        assert self._began_s is not None
        if len(self._recent) < FEWEST_POSES or t_s - self._began_s < SHORT_S:
            return
        now = self._against_anchor(self._mean())
        self._judge(now)
        if t_s - self._mean_s >= SHORT_S:
            self._means.append(now)
            self._mean_s = t_s

    def _judge(self, now: Floats) -> None:
        known = np.array(self._means)[: max(len(self._means) - NEWEST_LEFT_OUT, 1)]
        base, waver = known.mean(axis=0), _waver(known)
        step = now - base
        by_mm, by_deg = float(np.linalg.norm(step[:3])), float(np.linalg.norm(step[3:]))
        enough = by_mm > SMALLEST_MM or by_deg > SMALLEST_DEG
        if enough and float(((step / waver) ** 2).sum()) > ALARM_CHI2:
            self.moved = Moved(self._since(base, step, waver), by_mm, by_deg)
            return
        crept_mm, crept_deg = float(np.linalg.norm(base[:3])), float(np.linalg.norm(base[3:]))
        if crept_mm > DRIFT_MM or crept_deg > DRIFT_DEG:
            self.moved = Moved(self._recent[0][0], crept_mm, crept_deg, crept=True)

    def _since(self, base: Floats, step: Floats, waver: Floats) -> float:
        """Stamp of the first of the last poses from which on they lie nearer to the step than to where it was."""
        along = step / waver**2
        half = 0.5 * float(along @ step)
        since = self._recent[-1][0]
        for t, pose in reversed(self._recent):
            if float(along @ (self._against_anchor(pose) - base)) < half:
                break
            since = t
        return since

    def _against_anchor(self, pose: Floats) -> Floats:
        """(6,): shift in mm and rotation vector in degrees of a mean pose (4, 4) against the anchor."""
        assert self._anchor is not None
        turn = self._anchor[:3, :3].T @ pose[:3, :3]
        axis = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        length = float(np.linalg.norm(axis))
        angle = float(np.degrees(rotation_angles(pose[:3, :3], self._anchor[:3, :3])))
        scaled = np.degrees(axis) if length < 1e-9 else axis * (angle / length)
        return np.concatenate([pose[:3, 3] - self._anchor[:3, 3], scaled])

    def _mean(self) -> Floats:
        return _robust_mean(np.array([pose for _, pose in self._recent]))


def _robust_mean(poses: Floats) -> Floats:
    """Mean of the matrices (n, 4, 4) without outliers: of poses within a degree of each other a rotation to 1e-4."""
    away = (poses - np.median(poses, axis=0))[:, :3]
    away[:, :, :3] *= LEVER_MM
    distance = np.sqrt((away**2).sum(axis=(1, 2)))
    kept = distance <= max(OUTLYING * float(np.median(distance)), NEVER_OUT_MM)
    mean: Floats = poses[kept].mean(axis=0)
    return mean


def _waver(means: Floats) -> Floats:
    """(6,): standard deviation of a mean (mm, degrees), learnt from those (n, 6) there were, beside a guess."""
    guess = np.repeat([GUESSED_MM, GUESSED_DEG], 3)
    squares = GUESS_WORTH * guess**2 + ((means - means.mean(axis=0)) ** 2).sum(axis=0)
    # The mean that they are compared with errs, too, the more the fewer there are and the longer noise lasts.
    errs = 1.0 + 2.0 / len(means)
    least = np.repeat([LEAST_MM, LEAST_DEG], 3)
    return np.asarray(np.maximum(np.sqrt(errs * squares / (GUESS_WORTH + len(means))), least))
