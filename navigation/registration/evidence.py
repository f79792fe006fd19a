"""How much more one reading of two point lists explains than another: as given, exchanged, mirrored, matched otherwise.

Evidence is a logarithm (nats). The size of the localisation error is integrated over what is known of it before, so
that neither a small misfit of exact points nor a large one of poor points counts for more than it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.targeterror import FleBelief

Array = NDArray[np.float64]

# Landmarks touched with a stylus give 2 to 5 mm; four readings' worth of belief allow for 1 to 9.
USUAL_FLE = FleBelief(3.0, 4.0)
# Nobody knows an error exactly: a given one counts as this many readings at most when lists are matched.
MOST_BELIEVED_DOF = 30.0
# A uniform spread over a side s has the standard deviation s / sqrt(12).
_SIDE_OVER_SD = math.sqrt(12.0)
# Points said to lie in a plane scatter about it by their own error, to either side.
_THICKNESS_SD = 6.0

# Another reading is believed when it is 20 times as likely as the one given.
BELIEVED = math.log(20.0)
# Another reading that is not some ten thousand times less likely would not be noticed if it were the true one.
UNNOTICED = math.log(1e4)
# Where both lists have errors, two readings of a set that is truly plane or symmetric differ by chance as the root of
# the readings that tell them apart. These factors, set on simulated sets, leave 1 of 100 sound ones beyond the limit.
_MIRROR_CHANCE = 1.2
_ORDER_CHANCE = 1.5


def mirror_believed(pairs: int) -> float:
    """Log odds from which a reflection of so many pairs is taken for the truth."""
    return BELIEVED + _MIRROR_CHANCE * math.sqrt(max(pairs - 3, 0))


def order_believed(moved: int) -> float:
    """Log odds from which an order that moves so many points is taken for the truth."""
    return BELIEVED + _ORDER_CHANCE * math.sqrt(3.0 * max(moved - 2, 0))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Compares fits by the squares of their residuals; `variance_mm2` per axis is believed with `dof` readings."""

    variance_mm2: float
    dof: float

    @classmethod
    def of(cls, belief: FleBelief | None) -> Evidence:
        """From a given localisation error, or from the usual one."""
        used = USUAL_FLE if belief is None else belief
        return cls(used.rms_mm**2 / 3.0, min(used.dof, MOST_BELIEVED_DOF))

    def loss(self, squares_mm2: ArrayLike, pairs: int) -> Array:
        """What residuals with this sum of squares cost against a perfect fit of as many pairs."""
        readings = self.dof + 3 * pairs - 6
        return np.asarray(readings / 2.0 * np.log1p(np.asarray(squares_mm2) / (self.dof * self.variance_mm2)))

    def squares(self, loss: float, pairs: int) -> float:
        """The sum of squares (mm2) that costs `loss`."""
        readings = self.dof + 3 * pairs - 6
        return self.dof * self.variance_mm2 * math.expm1(min(2.0 * loss / readings, 500.0))

    def score(self, squares_mm2: ArrayLike, pairs: int, volume_mm3: float) -> Array:
        """Log odds of a match of `pairs` against points that lie anywhere in the volume, two of them given away.

        Two pairs take up the six freedoms of the pose; each further one is explained by the match or by chance.
        """
        readings = 3 * pairs - 6
        spread = math.pi * self.dof * self.variance_mm2
        normal = math.lgamma((self.dof + readings) / 2.0) - math.lgamma(self.dof / 2.0)
        chance = (pairs - 2) * math.log(volume_mm3) - readings / 2.0 * math.log(spread)
        return np.asarray(chance + normal - self.loss(squares_mm2, pairs))

    def volume(self, points_mm: Array) -> float:
        """The box (mm3) that points (n, 3) are spread over, no thinner than their error makes it."""
        spread = np.linalg.svd(points_mm - points_mm.mean(axis=0), compute_uv=False)
        sides = _SIDE_OVER_SD * np.concatenate([spread, np.zeros(3)])[:3] / math.sqrt(len(points_mm))
        return float(np.prod(np.maximum(sides, _THICKNESS_SD * math.sqrt(self.variance_mm2))))
