"""Which point belongs to which, without labels: every assignment that could be right is weighed, not only the best.

Assignments grow pair by pair; one is dropped only where no continuation can come near the best (branch and bound on the
residuals of the rigid fit, which can only grow), so what is left is complete. Lengths mm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from navigation.registration.evidence import BELIEVED, UNNOTICED, Evidence, mirror_believed

Array = NDArray[np.float64]
Orders = NDArray[np.int64]

# Fewer matched pairs leave no reading that speaks against a wrong assignment.
FEWEST_MATCHED = 4
# All other assignments together may be right with this probability at most.
WRONG_AT_MOST = 1e-4
# Of the smaller list, so many may have no partner: beyond that it is another set.
LARGEST_UNMATCHED_SHARE = 1.0 / 3.0
# Beyond this the distances among a dozen points no longer prune what they should.
MOST_POINTS = 20
# Assignments under way; more of them means a set so regular that nothing can be told.
MOST_UNDER_WAY = 40_000
# A point that was marked has its partner in nine cases of ten; what leaves one out, but need not, pays for it.
PARTNERED = math.log(10.0)
# Lists that somebody brings together are of the same points but for one time in so many.
UNRELATED_BEFORE = 0.01
# The search looks this much (nats) further down at each round.
_DEEPER = 12.0
NO_PARTNER = -1


class TooManyWaysError(Exception):
    """More assignments fit than can be looked at: the points are too regular or too close together."""


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """`partner` (m,) is the index in the other list for each point of the first, -1 for none; score in nats."""

    partner: Orders
    squares_mm2: float
    score: float

    @property
    def pairs(self) -> int:
        """How many points have a partner."""
        return int((self.partner != NO_PARTNER).sum())

    def contradicts(self, other: Assignment) -> bool:
        """A point of either list has another partner here than there; pairs left out or added alone do not."""
        both = (self.partner != NO_PARTNER) & (other.partner != NO_PARTNER)
        same = both & (self.partner == other.partner)
        mine, theirs = self.partner[~same], other.partner[~same]
        stolen = np.intersect1d(mine[mine != NO_PARTNER], theirs[theirs != NO_PARTNER])
        return bool((both & ~same).any()) or len(stolen) > 0 or int(same.sum()) < 3


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """The best assignment of all, what contradicts it, and the probability that one of those is right.

    `mirrored` says that a mirror image of one list fits clearly better than the list, `by_chance` that unrelated lists
    would fit each other as well. A mirror image that fits nearly as well with other partners contradicts too; one
    with the same partners lies in a plane and says nothing of the match.
    """

    best: Assignment | None
    others: tuple[Assignment, ...] = ()
    wrong: float = 1.0
    mirrored: bool = False
    by_chance: bool = False

    @property
    def unambiguous(self) -> bool:
        """Nothing else comes near."""
        return self.best is not None and self.wrong <= WRONG_AT_MOST and not self.mirrored


def match(fixed: Array, moving: Array, evidence: Evidence) -> Match:
    """Find which point of moving (n, 3) belongs to which of fixed (m, 3); some of either may have no partner.

    Raises TooManyWaysError.
    """
    if len(fixed) > len(moving):
        other = match(moving, fixed, evidence)
        turned = [_turned(a, len(fixed)) for a in ((other.best, *other.others) if other.best else ())]
        return replace(other, best=turned[0], others=tuple(turned[1:])) if turned else other
    fewest = _fewest(len(fixed))
    if len(fixed) < fewest:
        return Match(None)
    volume = min(evidence.volume(fixed), evidence.volume(moving))
    highest = max(_score(evidence, 0.0, k, volume) for k in range(fewest, len(fixed) + 1))
    margin = -math.log(WRONG_AT_MOST) + _DEEPER / 2.0
    chance = _by_chance(fewest, len(fixed), len(moving))
    lowest = chance + math.log(UNRELATED_BEFORE / WRONG_AT_MOST) - margin
    floor = highest
    while True:
        floor -= _DEEPER
        found = _complete(fixed, moving, evidence, volume, floor, fewest)
        best = max(found, key=lambda a: a.score, default=None)
        if best is not None and (best.score - margin >= floor or floor <= lowest):
            images = _complete(fixed, -moving, evidence, volume, best.score - UNNOTICED, fewest)
            clearly = best.score + mirror_believed(best.pairs)
            weighed = _weighed(best, found + images, chance)
            return replace(weighed, mirrored=any(i.score > clearly for i in images))
        if best is None and _complete(fixed, -moving, evidence, volume, floor + BELIEVED, fewest):
            return Match(None, mirrored=True)
        if floor <= lowest:
            return Match(None)


def _turned(assignment: Assignment, n: int) -> Assignment:
    partner = np.full(n, NO_PARTNER)
    used = np.nonzero(assignment.partner != NO_PARTNER)[0]
    partner[assignment.partner[used]] = used
    return Assignment(partner, assignment.squares_mm2, assignment.score)


def _fewest(n: int) -> int:
    return max(FEWEST_MATCHED, n - int(n * LARGEST_UNMATCHED_SHARE))


def _by_chance(fewest: int, m: int, n: int) -> float:
    """Log of how many assignments there are: so much evidence the best of them reaches for unrelated lists."""
    ways = max(math.log(math.comb(m, k) * math.perm(n, k)) for k in range(fewest, m + 1))
    return ways + (m - 2) * PARTNERED


def _score(evidence: Evidence, squares_mm2: float, pairs: int, volume: float) -> float:
    return float(evidence.score(squares_mm2, pairs, volume)) + (pairs - 2) * PARTNERED


def _weighed(best: Assignment, found: list[Assignment], chance: float) -> Match:
    others = sorted((a for a in found if a.contradicts(best)), key=lambda a: -a.score)
    unrelated = UNRELATED_BEFORE * math.exp(min(chance - best.score, 0.0))
    odds = sum(math.exp(a.score - best.score) for a in others) + unrelated
    return Match(best, tuple(others), odds / (1.0 + odds), by_chance=unrelated > WRONG_AT_MOST)


def _complete(
    fixed: Array, moving: Array, evidence: Evidence, volume: float, floor: float, fewest: int
) -> list[Assignment]:
    """Every assignment whose score reaches the floor."""
    turn = _far_apart(fixed)
    limits = _limits(len(fixed), evidence, volume, floor, fewest)
    search = _Search(fixed[turn], moving, limits)
    found = []
    for partners, squares in search.leaves():
        partner = np.full(len(fixed), NO_PARTNER)
        partner[turn] = partners
        pairs = int((partner != NO_PARTNER).sum())
        score = _score(evidence, squares, pairs, volume)
        if pairs >= fewest and score >= floor:
            found.append(Assignment(partner, squares, score))
    return found


def _far_apart(points: Array) -> Orders:
    """An order of points (n, 3) in which each is far from those before: their distances prune most."""
    order = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    nearest = np.linalg.norm(points - points[order[0]], axis=1)
    while len(order) < len(points):
        order.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[order[-1]], axis=1))
    return np.array(order)


def _limits(m: int, evidence: Evidence, volume: float, floor: float, fewest: int) -> Array:
    """(m + 1,): for so many points without partner, the largest sum of squares that may still reach the floor.

    More pairs may be worth more, but never with more squares; below zero where no sum does.
    """
    limits = np.full(m + 1, -1.0)
    for missing in range(m - fewest + 1):
        pairs = m - missing
        spare = _score(evidence, 0.0, pairs, volume) - floor
        limits[missing] = evidence.squares(spare, pairs) if spare >= 0.0 else -1.0
    return np.maximum.accumulate(limits[::-1])[::-1]


class _Search:
    """Assignments of `first` (m, 3) to `second` (n, 3), grown a point at a time, all those of one length at once."""

    def __init__(self, first: Array, second: Array, limits: Array) -> None:
        self._first, self._second, self._limits = first, second, limits
        self._gaps_first = np.linalg.norm(first[:, None] - first[None], axis=-1)
        self._gaps_second = np.linalg.norm(second[:, None] - second[None], axis=-1)

    def leaves(self) -> Iterator[tuple[Orders, float]]:
        """Complete assignments with their sums of squares."""
        partners, squares = np.zeros((1, 0), dtype=np.int64), np.zeros(1)
        for _ in range(len(self._first)):
            partners, squares = self._grown(partners, squares)
            if len(partners) > MOST_UNDER_WAY:
                raise TooManyWaysError
        yield from zip(partners, squares.tolist(), strict=True)

    def _allowed(self, partners: Orders) -> Array:
        missing = (partners == NO_PARTNER).sum(axis=1)
        return np.asarray(self._limits[missing])

    def _grown(self, partners: Orders, squares: Array) -> tuple[Orders, Array]:
        """With one more point: paired with each that is free, or with none."""
        parent, child = np.nonzero(self._fitting(partners))
        paired = np.column_stack([partners[parent], child])
        if len(paired) > MOST_UNDER_WAY:
            raise TooManyWaysError
        grown = fitted_squares(self._first[: paired.shape[1]], self._second, paired)
        keep = grown <= self._allowed(paired)
        alone = np.column_stack([partners, np.full(len(partners), NO_PARTNER)])
        stay = squares <= self._allowed(alone)
        return np.concatenate([paired[keep], alone[stay]]), np.concatenate([grown[keep], squares[stay]])

    def _fitting(self, partners: Orders) -> NDArray[np.bool_]:
        """(N, n): free points whose distance from every paired one agrees; two points misfit by gap^2 / 2 at least."""
        here = partners.shape[1]
        fitting = np.ones((len(partners), len(self._second)), dtype=bool)
        most = np.sqrt(2.0 * np.maximum(self._allowed(partners), 0.0))[:, None]
        for before in range(here):
            partner = partners[:, before]
            off = np.abs(self._gaps_second[partner] - self._gaps_first[before, here])
            agrees = off <= most
            agrees[np.arange(len(partners)), partner] = False
            fitting &= agrees | (partner == NO_PARTNER)[:, None]
        return fitting


def fitted_squares(first: Array, second: Array, partners: Orders) -> Array:
    """(N,) sums of squares of the best rigid fits of first (k, 3) to second[partners], partners (N, k), -1 left out.

    From singular values alone, the smallest negative where only a reflection would fit.
    """
    used = (partners != NO_PARTNER).astype(np.float64)[..., None]
    count = np.maximum(used.sum(axis=1, keepdims=True), 1.0)
    a, b = np.broadcast_to(first, (*partners.shape, 3)) * used, second[partners] * used
    a, b = (
        (a - a.sum(axis=1, keepdims=True) / count) * used,
        (b - b.sum(axis=1, keepdims=True) / count) * used,
    )
    products = np.swapaxes(a, 1, 2) @ b
    values = np.linalg.svd(products, compute_uv=False)
    values[:, 2] *= np.sign(np.linalg.det(products))
    squares = (a**2).sum(axis=(1, 2)) + (b**2).sum(axis=(1, 2)) - 2.0 * values.sum(axis=1)
    return np.asarray(np.maximum(squares, 0.0))


def other_orders(fixed: Array, moving: Array, most_squares_mm2: float) -> list[tuple[Orders, float]]:
    """Every order of moving (n, 3) other than the given whose fit to fixed (n, 3) leaves at most this sum of squares.

    Best first. Beyond `MOST_POINTS` only those with two points exchanged. Raises TooManyWaysError.
    """
    n = len(fixed)
    if n > MOST_POINTS:
        found = _exchanged(fixed, moving)
    else:
        turn = _far_apart(fixed)
        limits = np.full(n + 1, -1.0)
        limits[0] = most_squares_mm2
        found = []
        for partners, squares in _Search(fixed[turn], moving, limits).leaves():
            order = np.empty(n, dtype=np.int64)
            order[turn] = partners
            found.append((order, squares))
    given = np.arange(n)
    kept = [(o, s) for o, s in found if s <= most_squares_mm2 and (o != given).any()]
    return sorted(kept, key=lambda pair: pair[1])


def _exchanged(fixed: Array, moving: Array) -> list[tuple[Orders, float]]:
    n = len(fixed)
    orders = np.tile(np.arange(n), (n * (n - 1) // 2, 1))
    for row, (i, j) in enumerate(combinations(range(n), 2)):
        orders[row, [i, j]] = j, i
    squares = fitted_squares(fixed, moving, orders)
    return list(zip(orders, squares.tolist(), strict=True))
