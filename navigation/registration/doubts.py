"""What may be wrong with matched point lists although a rigid transform fits them: mirrored, exchanged, other units.

Each reading of the lists other than the given one is held against it by what it explains; `navigation.registration.
evidence` says how much that is. Lengths mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.evidence import UNNOTICED, Evidence, mirror_believed, order_believed
from navigation.registration.matching import Orders, TooManyWaysError, other_orders
from navigation.registration.rigid import RigidFit, fit_rigid, spread_ratios

Array = NDArray[np.float64]

# Third over first spread of the landmarks: below it a mirrored set fits as well as the right one.
COPLANAR_RATIO = 0.05
# An order that would fit by chance in fewer than 1 of 1,000 cases was meant; one of a square fits in 1 of 3.
ORDER_BY_CHANCE = 1e-3
# A factor between the lists that no tracker or scanner has: theirs are right to some parts in a thousand.
SCALE_MISFIT = 0.02
# So seldom do sound lists differ by a scale by chance.
SCALE_BY_CHANCE = 1e-3
# Fits of exact points leave rounding, which tells nothing of a scale.
_ROUNDING_MM2 = 1e-6
# Factors to millimetres, recognised to a fifth: landmarks touched in a hurry are no better measure of a unit.
UNITS = {"metres": 1000.0, "centimetres": 10.0, "inches": 25.4}
_UNIT_TOLERANCE = 0.2
# Landmarks nearer together carry no registration; metres taken for millimetres look so.
SMALLEST_EXTENT_MM = 10.0
# Nobody is longer.
LARGEST_EXTENT_MM = 2500.0


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """Other orders of the moving list that explain the pairs: how often each is likelier than the given (log).

    `too_many` says that they could not all be looked at.
    """

    orders: tuple[Orders, ...] = ()
    log_odds: tuple[float, ...] = ()
    fre_mm: tuple[float, ...] = ()
    too_many: bool = False

    @property
    def believed(self) -> int | None:
        """The order that is to be taken for the truth, None where the given one stands."""
        for which, (order, odds) in enumerate(zip(self.orders, self.log_odds, strict=True)):
            if odds > order_believed(int((order != np.arange(len(order))).sum())):
                return which
        return None

    @property
    def unnoticed(self) -> int:
        """How many orders fit so well that they would not be told from the given."""
        return sum(o > -UNNOTICED for o in self.log_odds)

    def order_by_chance(self, n: int) -> float:
        """How often an order of n points taken at random would fit as the given does."""
        return 1.0 if self.too_many else (1 + self.unnoticed) / math.factorial(n)

    def exchanged(self, names: Sequence[str], which: int = 0) -> list[str]:
        """The landmarks that have another place in one of the orders."""
        return [names[i] for i, j in enumerate(self.orders[which].tolist()) if i != j]

    def as_json(self, names: Sequence[str]) -> dict[str, Any]:
        """`ambiguity` of reg.json."""
        nearest = None
        if self.orders:
            nearest = {
                "exchanged": self.exchanged(names),
                "fre_mm": self.fre_mm[0],
                "log_odds": self.log_odds[0],
            }
        return {"unnoticed": None if self.too_many else self.unnoticed, "nearest": nearest}


def alternatives(
    fixed: Array, moving: Array, fit: RigidFit, evidence: Evidence, max_fre_mm: float
) -> Alternatives:
    """Every other order of the pairs (n, 3) that fits within `max_fre_mm` and comes near the given, likeliest first."""
    n = len(fixed)
    given = float(evidence.loss(float((fit.residuals_mm**2).sum()), n))
    near = evidence.squares(given + UNNOTICED, n)
    try:
        found = other_orders(fixed, moving, min(near, max(n * max_fre_mm**2, evidence.squares(UNNOTICED, n))))
    except TooManyWaysError:
        return Alternatives(too_many=True)
    return Alternatives(
        tuple(o for o, _ in found),
        tuple(given - float(evidence.loss(s, n)) for _, s in found),
        tuple(math.sqrt(s / n) for _, s in found),
    )


@dataclass(frozen=True, slots=True)
class Mirror:
    """How the best reflection of so many pairs compares with the best rotation: log odds, and its FRE."""

    log_odds: float
    fre_mm: float
    pairs: int

    @property
    def believed(self) -> bool:
        """One list is mirrored."""
        return self.log_odds > mirror_believed(self.pairs)

    @property
    def unnoticed(self) -> bool:
        """A mirrored list would fit as well."""
        return self.log_odds > -UNNOTICED


def mirror(fixed: Array, moving: Array, fit: RigidFit, evidence: Evidence) -> Mirror:
    """Hold the best reflection of the pairs (n, 3) against their fit."""
    n = len(fixed)
    other = fit_rigid(fixed, moving, mirrored=True)
    here, there = (evidence.loss(float((f.residuals_mm**2).sum()), n) for f in (fit, other))
    return Mirror(float(here - there), other.fre_mm, n)


def coplanar(fixed: Array, moving: Array) -> bool:
    """One of the sets has no thickness to speak of."""
    return min(spread_ratios(fixed)[1], spread_ratios(moving)[1]) < COPLANAR_RATIO


def scale_of(fixed: Array, moving: Array, fit: RigidFit) -> tuple[float, float]:
    """The factor by which moving (n, 3) would have to grow, and the chance of it where there is none (F test)."""
    from scipy.stats import f

    a, b = fixed - fixed.mean(axis=0), (moving - moving.mean(axis=0)) @ fit.matrix[:3, :3].T
    factor = float((a * b).sum() / (b * b).sum())
    rigid, similar = float(((a - b) ** 2).sum()), float(((a - factor * b) ** 2).sum())
    dof = 3 * len(fixed) - 7
    return factor, float(f.sf((rigid - similar) / ((similar + _ROUNDING_MM2) / dof), 1, dof))


def scale_doubt(fixed: Array, moving: Array, fit: RigidFit) -> str | None:
    """Words for a scale between the lists that errors do not explain."""
    factor, chance = scale_of(fixed, moving, fit)
    if abs(factor - 1.0) <= SCALE_MISFIT or chance >= SCALE_BY_CHANCE or factor <= 0.0:
        return None
    more = "larger" if factor > 1.0 else "smaller"
    return f"the lists differ in scale: fixed is {abs(factor - 1.0):.1%} {more} than moving, which no rigid motion does"


def unit_doubts(fixed: Array, moving: Array) -> tuple[str, ...]:
    """Words for lists in other units than millimetres; told from their extents alone, whatever the order."""
    sizes = {"fixed": _radius(fixed), "moving": _radius(moving)}
    told = [
        f"the landmarks of {name} lie within {2 * size:.3g} mm: too close together, or in metres instead of mm"
        for name, size in sizes.items()
        if size < SMALLEST_EXTENT_MM / 2.0
    ]
    large, small = sorted(sizes, key=lambda name: -sizes[name])
    ratio = sizes[large] / sizes[small] if sizes[small] > 0.0 else 1.0
    for unit, factor in UNITS.items():
        if abs(ratio / factor - 1.0) < _UNIT_TOLERANCE:
            told.append(
                f"{small} is {ratio:.4g} times smaller than {large}: in {unit} instead of mm, it seems"
            )
    return tuple(told)


def too_large(fixed: Array, moving: Array) -> str | None:
    """Words for landmarks farther apart than a body is long."""
    largest = 2.0 * max(_radius(fixed), _radius(moving))
    if largest <= LARGEST_EXTENT_MM:
        return None
    return f"the landmarks lie {largest / 1000.0:.1f} m apart: more than a body is long"


def _radius(points: Array) -> float:
    return float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())
