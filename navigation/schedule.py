"""What one tick of the live map does: decided by a clock while the scan goes on, recorded, and only repeated after.

The same readings under the same schedule give the same map, bit for bit, however long anything took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.coverage import BedCoverage
from navigation.guidance.expected import Expectation
from navigation.lagscore import LagScore
from navigation.volume import ActivityMap, Spot
from tracking.errors import InputError

# Rows of older readings that a tick goes through again, and the fewest and most a budget may make of them: with half of
# the fewest the map stays behind 50 steps of MLEM from scratch.
REPLAYED, FEWEST_REPLAYED, MOST_REPLAYED = 256, 128, 1024
MOST_PASSES = 8
# The newest readings take part in every pass as they are: what was just looked at shows at once.
NEWEST = 16
# An update moves the map by so many times the share of the readings it has seen: the rest of a step is left to the
# ticks to come, which see others, so that one tick's counting noise is averaged out.
STEP_SHARE = 2.0
# The golden ratio's fractional part: shifts of the strata that never repeat and always fill the largest gap.
GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Work:
    """A tick's work, in this order: take in the search or the wider field that has ended, add the readings, settle,
    go through rows, begin what is to be done beside.

    `replay` older rows in each of `passes`; `adopt` takes in the foci (and limits) sought last, `seek` begins
    another search, with maps of uncertainty and limits where `limits`; `widen` takes in the field made beside, `grow`
    begins one. `settle`: seek and take in at once, whatever it takes. `bed`: that search tells the coverage of the
    outlined bed, too.
    """

    replay: int = REPLAYED
    passes: int = 1
    adopt: bool = False
    seek: bool = False
    limits: bool = False
    widen: bool = False
    grow: bool = False
    settle: bool = False
    bed: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it stands in the record; of a bed only where one is asked for, as in records before there was coverage."""
        found = asdict(self)
        if not self.bed:
            del found["bed"]
        return found

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Work:
        """What `to_json` wrote. Raises InputError when it is no schedule."""
        known = {f.name: f.type for f in fields(Work)}
        wrong = [name for name, value in found.items() if type(value).__name__ != known.get(name)]
        if wrong:
            raise InputError(f"schedule of a tick: {wrong[0]!r} is unknown or wrong")
        work = Work(**found)
        if not (0 <= work.replay <= MOST_REPLAYED and 0 <= work.passes <= MOST_PASSES):
            raise InputError(f"schedule of a tick: {work.passes} passes of {work.replay} rows")
        return work


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a tick gives: the map, foci with the readings and time they are of, and how many rows were read."""

    map: ActivityMap | None = None
    spots: tuple[Spot, ...] = ()
    spots_readings: int = 0
    spots_t_s: float | None = None
    lag: LagScore | None = None
    rows: int = 0
    coverage: BedCoverage | None = None  # of the outlined bed, as the last search told it
    expectation: Expectation | None = None  # of what a probe should count from any pose, by that search


@dataclass(frozen=True, slots=True)
class Progress:
    """What goes on beside, for whoever decides the next tick's work."""

    readings: int = 0
    row_bytes: int = 0  # of one row of the store
    searching: bool = False
    searched: bool = False  # the search has ended and can be taken in
    wider_due: bool = False  # the probe looks beyond the field
    growing: bool = False
    grown: bool = False


# What is done when a scan ends, whatever it takes: foci and limits of all readings, and a map that follows them.
LAST_WORK = Work(passes=MOST_PASSES, settle=True)


def sample(
    n: int, replay: int, turn: int, newest: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
    """Rows (k,) of n that a pass goes through, the rows (k,) each stands for, and the step it may take.

    The `newest` (the last NEWEST unless told) as they are and `replay` older ones, one of each stratum of equal length;
    other ones in the next `turn`.
    """
    newest = np.arange(max(n - NEWEST, 0), n) if newest is None else np.unique(newest)
    older = n - len(newest)
    if older <= replay:
        return np.arange(n, dtype=np.int64), np.ones(n, dtype=np.float32), 1.0
    newest = newest.astype(np.int64)
    if replay == 0:
        return newest, np.ones(len(newest), dtype=np.float32), min(1.0, STEP_SHARE * len(newest) / n)
    shift = turn * GOLDEN % 1.0
    strata = ((np.arange(replay) + shift) * (older / replay)).astype(np.int64)
    weights = np.concatenate([np.full(replay, older / replay), np.ones(len(newest))])
    others = np.delete(np.arange(n, dtype=np.int64), newest)
    rows = np.concatenate([others[np.minimum(strata, older - 1)], newest])
    return rows, weights.astype(np.float32), min(1.0, STEP_SHARE * len(rows) / n)
