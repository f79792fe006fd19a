"""The peak of an agreement: a last step to its top, its width, and where other parts of the body would put it.

The scatter is a jackknife over half of the blocks of the body (Shao and Wu 1989, DOI 10.1214/aos/1176347263): the
variance of such results about the whole one is that of the whole one about its mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from navigation.registration.imagemetric import SEED, Agreement
from navigation.registration.imagesearch import rigid, turn

Array = NDArray[np.float64]

# Half samples: the scatter is known to a tenth.
HALVES = 40
STEPS = 4
# A step below this changes nothing that counts.
SETTLED_MM = 0.1
# A result that half of the body puts further off than this many steps is not determined there.
FARTHEST_STEPS = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The top: `T_moving_fixed`, its score, and `others` (k, 4, 4), the tops by half of the body each.

    `determined` is False when the score does not fall in every direction; `width_mm` is how far in the least
    determined direction the score falls by a tenth.
    """

    T_moving_fixed: Array
    score: float
    others: Array
    determined: bool
    width_mm: float


def design() -> Array:
    """(43, 6) places round the middle, in steps: itself, both ways along each axis, both diagonals of each pair."""
    rows = [np.zeros(6)]
    for a in range(6):
        rows += [np.eye(6)[a], -np.eye(6)[a]]
    for a, b in combinations(range(6), 2):
        rows += [np.eye(6)[a] + np.eye(6)[b], np.eye(6)[a] - np.eye(6)[b]]
    return np.array(rows)


def _terms(places: Array) -> Array:
    """(n, 28): one, the six coordinates, their 21 products."""
    pairs = [(a, b) for a in range(6) for b in range(a, 6)]
    products = np.stack([places[:, a] * places[:, b] for a, b in pairs], axis=1)
    return np.concatenate([np.ones((len(places), 1)), places, products], axis=1)


def climb(agreement: Agreement, T_moving_fixed: Array, step_mm: float, halves: bool = True) -> Peak:
    """From near the top to the top, by parabolas through the scores about it, `step_mm` apart.

    Without `halves` no half of the body is asked for its own: `others` is empty.
    """
    ruler = Ruler.of(agreement, step_mm)
    at = T_moving_fixed
    for _ in range(STEPS):
        table = [agreement.statistics(at @ ruler.move(place)) for place in design()]
        offset, curvature = _top([agreement.score(s.sum(axis=0)) for s in table])
        length = float(np.linalg.norm(offset)) * step_mm
        if length < SETTLED_MM or length > FARTHEST_STEPS * step_mm:
            break
        at = at @ ruler.move(np.clip(offset, -1.5, 1.5))
    values = np.linalg.eigvalsh(curvature)
    score = agreement.score(table[0].sum(axis=0))
    flat = float(-values[-1])
    width = step_mm * float(np.sqrt(0.2 * abs(score) / flat)) if flat > 0.0 else float("inf")
    tops = _half_tops(agreement, table) if halves else np.zeros((0, 6))
    others = np.array([at @ ruler.move(place) for place in tops]).reshape(-1, 4, 4)
    return Peak(at, score, others, bool(values[-1] < 0.0), width)


def _half_tops(agreement: Agreement, table: list[Array]) -> Array:
    """(k, 6) where half of the blocks put the top, in steps from the middle of the last parabola less the whole's."""
    rng = np.random.default_rng(SEED)
    blocks = len(table[0])
    offsets = []
    for _ in range(HALVES):
        half = rng.permutation(blocks)[: (blocks + 1) // 2]
        offsets.append(_top([agreement.score(s[half].sum(axis=0)) for s in table])[0])
    return np.array(offsets)


def _top(scores: list[float]) -> tuple[Array, Array]:
    """The parabola's top (6,) in steps and its curvature (6, 6); along what does not fall, the farthest step."""
    fit = np.linalg.lstsq(_terms(design()), np.array(scores), rcond=None)[0]
    gradient, curvature = fit[1:7], np.zeros((6, 6))
    upper = np.triu_indices(6)
    np.add.at(curvature, upper, fit[7:])
    curvature += curvature.T
    values, axes = np.linalg.eigh(curvature)
    slope = axes.T @ gradient
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(values < 0.0, -slope / values, np.sign(slope) * np.inf)
    along = np.clip(np.nan_to_num(along, nan=FARTHEST_STEPS), -FARTHEST_STEPS, FARTHEST_STEPS)
    return axes @ along, curvature


@dataclass(frozen=True, slots=True, eq=False)
class Ruler:
    """Six coordinates in steps: shifts, and turns about the middle of the points as far as they move these."""

    centre_mm: Array
    radius_mm: float
    step_mm: float

    @staticmethod
    def of(agreement: Agreement, step_mm: float) -> Ruler:
        """The ruler of an agreement's points."""
        points = agreement.sampling.points_mm
        centre = points.mean(axis=0)
        radius = float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean() * 2.0 / 3.0))
        return Ruler(centre, radius, step_mm)

    def move(self, place: Array) -> Array:
        """(4, 4) motion of FIXED that a place (6,) in steps stands for."""
        rotation = turn(place[3:] * self.step_mm / self.radius_mm)
        return rigid(rotation, self.centre_mm - rotation @ self.centre_mm + place[:3] * self.step_mm)
