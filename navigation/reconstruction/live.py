"""The exact reconstruction of readings: add them, ask for the map, the spots, or the final answer.

Every answer is a pure function of the setup and the readings added so far. The live map (`livescan`) hurries towards
it under a recorded schedule; a scan that ends is answered from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.injection import Given
from navigation import saturation
from navigation.besidefoci import Beside
from navigation.goodness import assess, judged
from navigation.lagscore import (
    ALARMING_SIGMA,
    HAND_SPEED_MM_S,
    LATENCY_BLUR_MM,
    REJECTING_SIGMA,
    LagScore,
    score_lag,
)
from navigation.likelihood import Counts
from navigation.modelfit import Breathing
from navigation.nothingtold import silenced, unexamined, why_nothing
from navigation.pointlayer import Problem, Source, with_known
from navigation.reconstruction.compaction import FINE_MM
from navigation.reconstruction.geometry import (
    ORIENTING_READINGS,
    Geometry,
    build_geometry,
    decayed,
    geometry_key,
    looking_poses,
)
from navigation.reconstruction.maps import Maps, coarse_uncertainty, fine_uncertainty, prior_activity
from navigation.reconstruction.osem import Told, osem
from navigation.reconstruction.readinglog import GrowingArray
from navigation.reconstruction.scanrows import ScanRows
from navigation.reconstruction.setup import ImagingSetup
from navigation.reconstruction.stilled import ROUNDS, settled, stilled
from navigation.spotreport import Described, described, reported, spots_of
from navigation.spots import (
    MOST_SOURCES,
    SMALLEST_LEVEL,
    Found,
    background_alone,
    find,
    misfit,
    thresholds_of,
)
from navigation.uncertainty import Thresholds
from navigation.volume import ActivityMap, ScanResult, Spot
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Fewer readings say nothing about a map.
FEWEST_READINGS = ORIENTING_READINGS
# Sources looked for while the scan goes on; the final answer looks for more.
LIVE_SOURCES = 4
# The live threshold of the maximum statistic is renewed after so many readings: it changes slowly.
THRESHOLD_REFRESH = 50
LIVE_REPLICATES = 300


@dataclass(frozen=True, slots=True, eq=False)
class ScanState:
    """What a bed check needs of a finished scan."""

    setup: ImagingSetup
    geometry: Geometry
    problem: Problem
    found: Found
    beside: Beside
    result: ScanResult


class LiveReconstruction:
    """Not thread-safe: one thread adds and asks; the native core works outside the GIL."""

    def __init__(self, setup: ImagingSetup) -> None:
        self.setup = setup
        self.state: ScanState | None = None
        self._pending: list[Readings] = []
        self._readings = Readings.empty()
        self._geometry: Geometry | None = None
        self._found: tuple[int, Problem, Found] | None = None
        self._thresholds: tuple[tuple[int, tuple[float, ...]], Thresholds] | None = None
        self._version = 0
        self._followed: Breathing | None = None  # what the readings were freed from
        self._moving: Readings | None = None  # they, before that
        self._round = 0

    def __len__(self) -> int:
        return len(self._readings) + sum(len(p) for p in self._pending)

    @property
    def readings(self) -> Readings:
        """All readings added so far."""
        self._absorb()
        return self._readings

    def add(self, readings: Readings) -> None:
        """Take more readings, in order of time; the work is done when an answer is asked for."""
        if len(readings) or readings.unplaced:
            self._pending.append(readings)

    def rest_on(self, rows: ScanRows) -> None:
        """Use rows of all readings that were made already, where their field is the one that the readings define."""
        self._absorb()
        fits = rows.geometry.key == geometry_key(self.setup, self._readings)
        if fits and not rows.merged and len(rows.store) == len(self._readings):
            self._geometry, self._rows = rows.geometry, rows
            self._searched = searched_rows(rows.geometry)

    def update(self) -> ActivityMap | None:
        """The map of the readings so far, or None while there are too few to say anything."""
        problem = self._problem()
        if problem is None:
            return None
        problem, found = self._live_find(problem)
        beside = self._beside(problem, found, described(problem, found))
        maps = coarse_uncertainty(
            self._built(),
            self._search_rows,
            background_alone(problem, found),
            beside,
            self._activity(problem, found),
            self._blinded(problem),
        )
        self._version += 1
        shown = maps.published(self._version, self._readings)
        return shown if why_nothing(problem.data) is None else unexamined(shown)

    def quick_spots(self) -> tuple[Spot, ...]:
        """Spots of the readings so far, for the display: those that `update` used."""
        problem = self._problem()
        return () if problem is None else self._spots(*self._live_find(problem), ALARMING_SIGMA)

    def lag(self) -> LagScore | None:
        """What the readings so far say of the latency in use, from the sources that `quick_spots` told."""
        problem = self._problem()
        if problem is None:
            return None
        problem, found = self._live_find(problem)
        return score_lag(problem, found.fit, found.precision, self.setup.latency_sd_s)

    def finish(self) -> ScanResult:
        """The final answer: spots, full-resolution uncertainty, background.

        Raises InputError when fewer than FEWEST_READINGS readings were placed.
        """
        problem = self._problem()
        if problem is None:
            raise InputError(self._too_few())
        problem, found = self._settled(
            problem, self._final_thresholds(problem), most=MOST_SOURCES, prune=True
        )
        self._version += 1
        told = described(problem, found, self._doubts(problem, found))
        beside = self._beside(problem, found, told)
        maps = self._final_maps(problem, found, beside)
        fits = assess(problem, found.fit, found.precision, self.setup.surface_mm, self._followed)
        at_rest = self._at_rest(fits.breathing, found)
        if at_rest is not None:
            return at_rest
        spots = self._given(reported(told, found))
        result = silenced(
            judged(self._result(problem, found, spots, maps), fits, self._needed(problem, found)),
            problem.data,
        )
        self.state = ScanState(self.setup, self._built(), problem, found, beside, result)
        return result

    def _at_rest(self, breathing: Breathing | None, found: Found) -> ScanResult | None:
        """The answer in the frame of a target that breathes; None where it does not, or where the swing is known.

        What may breathe is followed only where there is a focus that it could be of.
        """
        if breathing is None or self._round == ROUNDS:
            return None
        if not breathing.sure and not any(found.stands(i) for i in range(len(found.fit.sources))):
            return None
        if self._followed is not None and settled(self._followed, breathing):
            return None
        still = LiveReconstruction(self.setup)
        still._followed, still._round, still._moving = (
            breathing,
            self._round + 1,
            self._moving or self._readings,
        )
        still.add(stilled(still._moving, breathing))
        result = still.finish()
        self.state = still.state
        return result

    def _needed(self, problem: Problem, found: Found) -> float:
        """Significance that a focus must have for its counts to be more than what the model misses elsewhere."""
        return found.thresholds.report * float(np.sqrt(max(misfit(problem, found.fit.rate_cps), 1.0)))

    def _final_maps(self, problem: Problem, found: Found, beside: Beside) -> Maps:
        """At full resolution; where the rows of a very long scan were merged, of the search points' own rows."""
        nuisance, activity = background_alone(problem, found), self._activity(problem, found)
        geometry, blinded, searched = self._built(), self._blinded(problem), self._search_rows
        if self._rows.merged:
            return coarse_uncertainty(geometry, searched, nuisance, beside, activity, blinded)
        return fine_uncertainty(geometry, self._rows.store, searched, nuisance, beside, activity, blinded)

    def _beside(self, problem: Problem, found: Found, told: tuple[Described, ...]) -> Beside:
        """What could hide beside the sources of `found`, each of which is described."""
        voxel_mm = float(self._built().field.grid.spacing_mm[0])
        foci = tuple(t.bound(voxel_mm) for t in told)
        return Beside.of(problem, found.fit, found.precision, foci)

    def _too_few(self) -> str:
        near = len(looking_poses(self.setup, self.readings))
        if near < FEWEST_READINGS <= len(self):
            told = f"only {near} of {len(self)} placed readings are near the touched surface"
            return f"{told}: is it in the Reference frame?"
        if len(self) >= FEWEST_READINGS:
            return "there is no tissue in the field of view: the surface and the probe do not fit together"
        return f"{len(self)} placed readings are too few for a reconstruction"

    def _result(self, problem: Problem, found: Found, spots: tuple[Spot, ...], maps: Maps) -> ScanResult:
        latency = max(self.setup.latency_s + found.fit.latency_shift_s, 0.0)
        sd = found.fit.latency_sd_s
        return ScanResult(
            map=maps.published(self._version, self._readings),
            spots=spots,
            background_kbq_per_ml=float(found.fit.background[0]),
            count_latency_s=latency,
            count_latency_ci95_s=None if sd == 0.0 else (max(latency - 1.96 * sd, 0.0), latency + 1.96 * sd),
            samples_total=len(self._readings) + self._readings.unplaced,
            samples_placed=len(self._readings),
            nuclide=self.setup.nuclide.name,
            reasons=(
                *self.setup.reasons,
                *self._doubts(problem, found),
                *_told(saturation.words(problem.data)),
                *_told(self._coarse()),
            ),
            simulated=self.setup.simulated,
            given=self.setup.given,
            records=self.setup.records,
            samples_saturated=problem.data.n_saturated,
        )

    def _coarse(self) -> str | None:
        """What the map of a very long scan lost; foci and limits are of every reading."""
        if self._rows.merged_mm <= FINE_MM:
            return None
        apart = f"{self._rows.merged_mm:.0f} mm apart"
        return f"a long scan: the picture of the activity takes readings up to {apart} for one"

    def _live_find(self, problem: Problem) -> tuple[Problem, Found]:
        n = len(self._readings)
        if self._found is None or self._found[0] != n:
            settled = self._settled(problem, self._live_thresholds(problem), most=LIVE_SOURCES, prune=False)
            self._found = (n, *settled)
        return self._found[1], self._found[2]

    def _settled(
        self, problem: Problem, thresholds: Thresholds, most: int, prune: bool
    ) -> tuple[Problem, Found]:
        """The sources, once it is decided which readings a paralysable counter took beyond its summit."""
        points = self._search_points()
        found = find(problem, points, self._search_rows, thresholds, most, prune)
        if problem.data.doubtful is not None:
            problem = replace(problem, data=problem.data.resolved(found.fit.rate_cps))
            found = find(problem, points, self._search_rows, thresholds, most, prune)
        return problem, found

    def _final_thresholds(self, problem: Problem) -> Thresholds:
        return thresholds_of(problem, self._search_rows)

    def _live_thresholds(self, problem: Problem) -> Thresholds:
        """Of the readings up to the last multiple of THRESHOLD_REFRESH: still a function of the readings alone."""
        n = max(len(self._readings) // THRESHOLD_REFRESH * THRESHOLD_REFRESH, FEWEST_READINGS)
        key = (n, self._built().key)
        if self._thresholds is None or self._thresholds[0] != key:
            self._thresholds = (key, thresholds_of(problem.head(n), self._search_rows[:n], LIVE_REPLICATES))
        return self._thresholds[1]

    def _built(self) -> Geometry:
        assert self._geometry is not None
        return self._geometry

    def _doubts(self, problem: Problem, found: Found, sigma: float = REJECTING_SIGMA) -> tuple[str, ...]:
        doubts = []
        lag = score_lag(problem, found.fit, found.precision, self.setup.latency_sd_s)
        if lag is not None and lag.rejects(sigma):
            doubts.append(lag.words)
        if 1.96 * found.fit.latency_sd_s * HAND_SPEED_MM_S > LATENCY_BLUR_MM:
            doubts.append(f"count latency is known to {1000 * found.fit.latency_sd_s:.0f} ms only")
        doubts += _told(why_nothing(problem.data))
        doubts += [_misplaced(s) for s in found.elsewhere]
        if self._geometry is not None and self._geometry.surface_source == "path":
            doubts.append("depth rests on a surface estimated from the probe's path")
        if self.setup.spill is not None and self.setup.spill.doubt is not None:
            doubts.append(self.setup.spill.doubt)
        return tuple(doubts)

    def _spots(self, problem: Problem, found: Found, sigma: float = REJECTING_SIGMA) -> tuple[Spot, ...]:
        return self._given(spots_of(problem, found, self._doubts(problem, found, sigma)))

    def _given(self, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        """With the share of what was administered, where the case tells that."""
        given = self.setup.given
        return spots if given is None else tuple(replace(s, percent_injected=_share(s, given)) for s in spots)

    def _absorb(self) -> None:
        if self._pending:
            self._readings = Readings.joined([self._readings, *self._pending])
            self._pending = []

    def _problem(self) -> Problem | None:
        """Bring rows up to date with the readings; None while there are too few."""
        self._absorb()
        if len(looking_poses(self.setup, self._readings)) < FEWEST_READINGS:
            return None
        if self._geometry is None or self._geometry.key != geometry_key(self.setup, self._readings):
            self._geometry = build_geometry(self.setup, self._readings, self._geometry)
            if len(self._geometry.field.active) == 0:
                self._geometry = None
                return None
            self._rows = ScanRows(self.setup, self._geometry)
            self._searched = searched_rows(self._geometry)
        self._extend(self._geometry)
        return self._posed(self._geometry)

    def _posed(self, geometry: Geometry) -> Problem:
        """The readings so far as the point layer sees them; their rows are there."""
        problem = Problem(
            Counts.of(self._readings.counts, self._readings.live_s, self._readings.t_s, self.setup.dead_time),
            self._readings,
            geometry.projector,
            geometry.background,
            self._background_rows,
            self.setup.decay(self._readings.t_s),
            self.setup.latency_sd_s,
            self.setup.organs,
        )
        return (
            problem if self.setup.spill is None else with_known(problem, self.setup.spill.of(self._readings))
        )

    def _extend(self, geometry: Geometry) -> None:
        self._rows.extend(self._readings)
        self._background_rows = self._rows.background_rows
        self._take_searched(geometry, self._readings)

    def _take_searched(self, geometry: Geometry, readings: Readings) -> None:
        """Bring the search points' rows up to date."""
        fresh = readings.select(slice(len(self._searched.all), None))
        if len(fresh):
            self._searched.append(geometry.projector.rows(self._search_points(), decayed(self.setup, fresh)))

    @property
    def _search_rows(self) -> Array32:
        """(n, points) of the search, a view."""
        return np.asarray(self._searched.all, dtype=np.float32)

    def _activity(self, problem: Problem, found: Found) -> Array:
        """kBq/mL (m,) of the active voxels by EM whose prior mean is what background and sources say."""
        voxel_ml = self._built().field.grid.voxel_ml
        level = max(float(found.fit.background[0]), SMALLEST_LEVEL)
        start = np.append(prior_activity(self._built(), found), level)
        start[:-1] *= voxel_ml
        told = self._rows.of_rows(Told.of(problem.data.own(found.fit.rate_cps)))
        return osem(self._rows.store, told, start)[:-1] / voxel_ml

    def _blinded(self, problem: Problem) -> NDArray[np.bool_]:
        """Which active voxels (m,) saturated readings leave without a limit."""
        result: NDArray[np.bool_] = saturation.blinded(self._search_rows, problem.data)[self._built().nearest]
        return result

    def _search_points(self) -> Array:
        return self._built().field.points_mm[self._built().field.search]


def searched_rows(geometry: Geometry) -> GrowingArray:
    """Room for the rows (n, points) of the field's search points, none there yet."""
    return GrowingArray(np.zeros((0, len(geometry.field.search)), dtype=np.float32))


def _misplaced(source: Source) -> str:
    assert source.known is not None
    away = float(np.linalg.norm(source.position_mm - source.known.place_mm))
    return f"the counts put {source.known.name} {away:.0f} mm from where the study has it: is the registration right?"


def _share(spot: Spot, given: Given) -> tuple[float, float, float]:
    """A focus in percent of what was injected, with its interval."""
    low, high = given.percent_interval(spot.activity_kbq, spot.activity_ci95_kbq)
    return given.percent(spot.activity_kbq), low, high


def _told(words: str | None) -> tuple[str, ...]:
    return () if words is None else (words,)


def reconstruct(setup: ImagingSetup, readings: Readings) -> ScanState:
    """Offline: all readings at once. Raises InputError when there are too few."""
    live = LiveReconstruction(setup)
    live.add(readings)
    live.finish()
    assert live.state is not None
    return live.state
