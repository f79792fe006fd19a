"""The search for foci while a scan goes on: beside the live map, on what was there when it began.

Each search depends on the readings it was given and on the searches before it, never on how long they took.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.coverage import Aim, BedCoverage
from navigation.guidance.expected import Expectation
from navigation.lagscore import ALARMING_SIGMA, LagScore, score_lag
from navigation.pointlayer import Problem, fit_sources
from navigation.reconstruction.bedwatch import BedWatch
from navigation.reconstruction.geometry import Geometry
from navigation.reconstruction.live import LIVE_REPLICATES, LIVE_SOURCES, LiveReconstruction, searched_rows
from navigation.reconstruction.maps import Maps, coarse_uncertainty, prior_activity
from navigation.reconstruction.posebins import PoseBins
from navigation.reconstruction.setup import ImagingSetup
from navigation.spotreport import described, reported
from navigation.spots import SMALLEST_LEVEL, Found, background_alone, find, thresholds_of
from navigation.uncertainty import Thresholds
from navigation.volume import Spot
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# From so many readings on those of nearly the same pose are searched as one: a minute and a half of a scan.
MERGED_FROM = 1000
# The threshold of the maximum statistic changes slowly: renewed when the readings are so many times more.
RENEWED_AT = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a search is given: views that nobody writes to."""

    geometry: Geometry
    readings: Readings
    background_rows: Array
    limits: bool  # whether uncertainty and limits are asked for, too
    aim: Aim | None = None  # the bed whose coverage is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What a search found; `mean` (m,) in kBq/mL and `level` are what the live map is drawn to."""

    geometry: Geometry
    readings: Readings
    spots: tuple[Spot, ...]
    lag: LagScore | None
    mean: Array
    level: float
    censored: NDArray[np.bool_]  # (n,) of the readings: which are lower bounds
    maps: Maps | None  # without activity
    coverage: BedCoverage | None = None
    expectation: Expectation | None = None  # of what a probe should count from any pose


class Search(LiveReconstruction):
    """One thread at a time calls `look`."""

    def __init__(self, setup: ImagingSetup) -> None:
        super().__init__(setup)
        self._renewed: tuple[int, Geometry, Thresholds] | None = None
        self._bed = BedWatch(setup)

    def look(self, seen: Seen) -> Assessment:
        """Foci, and maps of uncertainty and limits where asked for, of the readings given."""
        if seen.geometry is not self._geometry:
            self._geometry = seen.geometry
            self._searched = searched_rows(seen.geometry)
            self._found = None  # of the old field's background
            self._bins = PoseBins(len(seen.geometry.field.search))
        self._readings, self._background_rows = seen.readings, seen.background_rows
        self._take_searched(seen.geometry, seen.readings)
        problem = self._posed(seen.geometry)
        if len(seen.readings) < MERGED_FROM or problem.data.n_saturated or problem.data.known is not None:
            problem, found = self._live_find(problem)
            return self._told(seen, problem, found, (self._search_rows, problem, found))
        return self._merged(seen, problem)

    def _merged(self, seen: Seen, problem: Problem) -> Assessment:
        """The search on merged readings, the fit on all of them at the middle of their paths."""
        self._bins.take(seen.readings, self._search_rows)
        merged = self._bins.problem(problem)
        rows = self._bins.rows
        found = find(merged, self._search_points(), rows, self._renew(merged, rows), LIVE_SOURCES, False)
        whole = replace(problem, readings=_at_middle(problem.readings))
        fit = fit_sources(whole, list(found.fit.sources), found.fit.background, found.precision)
        return self._told(seen, whole, replace(found, fit=fit), (rows, merged, found))

    def _told(
        self, seen: Seen, problem: Problem, found: Found, limits_of: tuple[Array32, Problem, Found]
    ) -> Assessment:
        geometry, maps = seen.geometry, None
        told = described(problem, found, self._doubts(problem, found, ALARMING_SIGMA))
        coverage = None
        rows, searched, sources = limits_of
        if seen.limits or seen.aim is not None:
            beside = self._beside(searched, sources, told)
        if seen.aim is not None:
            coverage = self._bed.look(seen.aim, geometry, seen.readings, searched, sources, beside)
        if seen.limits:
            nothing = np.zeros(len(geometry.field.active))
            nuisance = background_alone(searched, sources)
            maps = coarse_uncertainty(geometry, rows, nuisance, beside, nothing, self._blinded(problem))
        return Assessment(
            geometry,
            seen.readings,
            self._given(reported(told, found)),
            score_lag(problem, found.fit, found.precision, self.setup.latency_sd_s),
            prior_activity(geometry, found),
            max(float(found.fit.background[0]), SMALLEST_LEVEL),
            problem.data.censored,
            maps,
            coverage,
            Expectation.of(problem, found.fit),
        )

    def _live_thresholds(self, problem: Problem) -> Thresholds:
        return self._renew(problem, self._search_rows)

    def _renew(self, problem: Problem, rows: Array32) -> Thresholds:
        n, geometry = len(self._readings), self._built()
        last = self._renewed
        if last is None or last[1] is not geometry or n >= RENEWED_AT * last[0]:
            last = (n, geometry, thresholds_of(problem, rows, LIVE_REPLICATES))
            self._renewed = last
        return last[2]


def _at_middle(readings: Readings) -> Readings:
    """Each reading at the middle of its path alone."""
    n = len(readings)
    return replace(
        readings,
        poses=np.ascontiguousarray(readings.mid_poses),
        weights=np.ones(n),
        first=np.arange(n + 1, dtype=np.int64),
    )
