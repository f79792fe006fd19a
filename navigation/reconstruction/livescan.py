"""A scan while it goes on, at the same cost from its first minute to its last: the map, the foci, the final answer.

The map is a function of the readings and of the schedule of its ticks, `Work`; the final answer is one of the readings
alone. What takes longer than a tick is done beside, on what was there when it began, and taken in when the schedule
says so; whoever repeats a schedule does the same at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from navigation.coverage import Aim, BedCoverage
from navigation.likelihood import Counts
from navigation.nothingtold import unexamined, why_nothing
from navigation.reconstruction.estimate import LiveEstimate
from navigation.reconstruction.extent import Extent
from navigation.reconstruction.live import FEWEST_READINGS, LiveReconstruction, ScanState
from navigation.reconstruction.osem import Told, osem
from navigation.reconstruction.readinglog import ReadingLog
from navigation.reconstruction.regrid import regridded, values_at
from navigation.reconstruction.search import Assessment, Search
from navigation.reconstruction.setup import ImagingSetup
from navigation.reconstruction.stage import Stage, stage_over
from navigation.schedule import NEWEST, Frame, Progress, Work
from navigation.volume import ScanResult
from tracking.sample import Readings

Array = NDArray[np.float64]


Result = TypeVar("Result")


class Beside(Protocol):
    """Where work is done beside the ticks."""

    def submit(self, work: Callable[[], Result], /) -> Future[Result]:
        """Begin it, or do it now."""


class AtOnce:
    """Does everything when it is asked for: of a replay, and of whoever has no ticks to keep."""

    def submit(self, work: Callable[[], Result], /) -> Future[Result]:
        """Do it now; what it raises is raised where the result is asked for."""
        done: Future[Result] = Future()
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - handed on, as by any other executor
            done.set_exception(error)
        return done


class LiveScan:
    """Not thread-safe but for `progress`: one thread adds, advances and finishes."""

    def __init__(self, setup: ImagingSetup, beside: Beside | None = None) -> None:
        self.setup = setup
        self.state: ScanState | None = None
        self.beside: Beside = AtOnce() if beside is None else beside
        self._log = ReadingLog()
        self._extent = Extent(setup)
        self._search = Search(setup)
        self._version = 0
        self._stage: Stage | None = None
        self._covered: tuple[float, ...] = ()  # extent of the field in use or being made
        self._assessed: Assessment | None = None
        self._counts: Counts | None = None  # of the readings so far, decided by this search
        self._decided: Assessment | None = None
        self._pending: Future[Assessment] | None = None
        self._wider: Future[Stage | None] | None = None
        self._aim: Aim | None = None
        self._bed_asked = False
        self._coverage: BedCoverage | None = None

    def __len__(self) -> int:
        return len(self._log)

    @property
    def readings(self) -> Readings:
        """All readings added so far, as views."""
        return self._log.all

    @property
    def merged_mm(self) -> float:
        """How far the live map holds a reading from where it was taken, in mm, at most; 0 where none was merged."""
        return 0.0 if self._stage is None else self._stage.merged_mm

    def add(self, readings: Readings) -> None:
        """Take more readings, in order of time."""
        if len(readings) or readings.unplaced:
            self._log.append(readings)
            self._extent.take(readings)

    def aim_at(self, aim: Aim | None) -> None:
        """The bed whose coverage the schedule may ask for; what was covered of another is forgotten."""
        if aim is not self._aim:
            self._aim, self._coverage = aim, None

    @property
    def progress(self) -> Progress:
        """How far the work beside is."""
        pending, wider, stage = self._pending, self._wider, self._stage
        return Progress(
            len(self._log),
            0 if stage is None else stage.store.packed.itemsize * stage.store.stride,
            pending is not None,
            pending is not None and pending.done(),
            stage is not None and wider is None and self._extent.key != self._covered,
            wider is not None,
            wider is not None and wider.done(),
        )

    def advance(self, work: Work) -> Frame:
        """One tick. The same readings and the same works give the same frames, bit for bit."""
        if self._stage is None:
            return Frame() if self._extent.looking < FEWEST_READINGS else self._begun()
        if work.adopt and self._pending is not None:
            self._adopt(self._ended())
        if work.widen and self._wider is not None:
            wider, self._wider = self._wider, None
            self._widen(wider.result())
        stage = self._stage
        self._bed_asked |= work.bed
        newest = stage.extend(self.readings)
        if work.settle:
            self._settle(stage)
        told = stage.of_rows(self._told())
        stage.estimate.take(stage.store, told.live, stage.newest(newest))
        looked = stage.newest(NEWEST)
        read = stage.estimate.advance(stage.store, told, work.replay, work.passes, looked)
        if work.grow and self._wider is None:
            self._grow(stage)
        if work.seek and self._pending is None:
            self._seek(stage, work.limits, work.bed)
        return self._frame(stage, read)

    def finish(self) -> ScanResult:
        """The final answer, of all readings and nothing else. Raises InputError where they are too few."""
        exact = LiveReconstruction(self.setup)
        exact.add(self.readings)
        stage, self._stage = self._stage, None
        if stage is not None and not stage.merged:
            stage.extend(self.readings)
            exact.rest_on(stage)
        del stage  # its rows make room for the exact ones where they were merged
        self._search, self._pending, self._wider = Search(self.setup), None, None
        result = exact.finish()
        self.state = exact.state
        return result

    def _begun(self) -> Frame:
        """The first map, or the first after everything was begun anew: like that of a finished scan."""
        readings, self._covered = self.readings, self._extent.key
        self._stage = stage_over(self.setup, readings, None)
        if self._stage is None:
            return Frame()
        stage = self._stage
        assessed = self._search.look(stage.seen(readings, limits=True))
        self._assessed = assessed
        mean = stage.mean_of(assessed.mean, assessed.level)
        told = stage.of_rows(self._told())
        stage.estimate = LiveEstimate(stage.store, osem(stage.store, told, mean))
        stage.estimate.take(stage.store, told.live, stage.newest(len(readings)))
        stage.estimate.draw_to(mean)
        self._show_limits(stage, assessed)
        return self._frame(stage, len(stage.store))

    def _data(self) -> Counts:
        """The counts so far; what the last search decided of doubtful readings holds."""
        readings, assessed = self.readings, self._assessed
        known = self._counts
        if known is not None and len(known.counts) == len(readings) and self._decided is assessed:
            return known
        self._counts, self._decided = self._resolved(readings, assessed), assessed
        return self._counts

    def _resolved(self, readings: Readings, assessed: Assessment | None) -> Counts:
        data = Counts.of(readings.counts, readings.live_s, readings.t_s, self.setup.dead_time)
        if data.doubtful is None or assessed is None:
            return data
        saturated, doubtful = data.censored.copy(), data.doubtful.copy()
        saturated[: len(assessed.censored)] |= assessed.censored
        doubtful[: len(assessed.censored)] = False
        return replace(data, saturated=saturated, doubtful=doubtful)

    def _told(self) -> Told:
        return Told.of(self._data())

    def _seek(self, stage: Stage, limits: bool, bed: bool) -> None:
        seen = stage.seen(self.readings, limits, self._aim if bed else None)
        self._pending = self.beside.submit(lambda: self._search.look(seen))

    def _ended(self) -> Assessment:
        pending, self._pending = self._pending, None
        assert pending is not None
        return pending.result()

    def _settle(self, stage: Stage) -> None:
        if self._pending is not None:
            self._ended()
        aim = self._aim if self._bed_asked else None  # a schedule that never asked for it has none at its end
        self._adopt(self._search.look(stage.seen(self.readings, limits=True, aim=aim)))

    def _adopt(self, assessed: Assessment) -> None:
        """What the map is drawn to, and the limits, are from now on those of this search."""
        stage, self._assessed = self._stage, assessed
        assert stage is not None
        same = assessed.geometry is stage.geometry
        mean = assessed.mean
        if not same:
            old = assessed.geometry.field
            mean = values_at(old.volume(mean, assessed.level), old.grid, stage.points_mm, assessed.level)
        stage.estimate.draw_to(stage.mean_of(mean, assessed.level))
        stage.estimate.relax()
        if assessed.coverage is not None and assessed.coverage.aim is self._aim:
            self._coverage = assessed.coverage
        if same and assessed.maps is not None:
            self._show_limits(stage, assessed)

    def _show_limits(self, stage: Stage, assessed: Assessment) -> None:
        assert assessed.maps is not None
        maps = replace(assessed.maps, activity=stage.concentration)
        shown = maps.published(0, assessed.readings)
        self._limits = replace(
            shown, limits_readings=len(assessed.readings), limits_t_s=float(assessed.readings.t_s[-1])
        )

    def _grow(self, stage: Stage) -> None:
        readings, geometry, self._covered = self.readings, stage.geometry, self._extent.key
        self._wider = self.beside.submit(lambda: stage_over(self.setup, readings, geometry))

    def _widen(self, wider: Stage | None) -> None:
        """Go on in the wider field: what was known stays, what is new begins at the background's level."""
        old = self._stage
        assert old is not None
        assert self._assessed is not None
        if wider is None:
            return
        field, level = old.geometry.field, self._assessed.level
        wider.extend(self.readings)
        at = [
            values_at(field.volume(values, level), field.grid, wider.points_mm, level)
            for values in (old.concentration, old.concentration_of(old.estimate.prior))
        ]
        wider.estimate = LiveEstimate(wider.store, wider.mean_of(at[0], old.level))
        live = wider.of_rows(self._told()).live
        wider.estimate.take(wider.store, live, wider.newest(len(self.readings)))
        wider.estimate.draw_to(wider.mean_of(at[1], level))
        self._stage = wider
        self._limits = regridded(self._limits, wider.geometry.field.grid)

    def _frame(self, stage: Stage, read: int) -> Frame:
        readings, assessed = self.readings, self._assessed
        assert assessed is not None
        self._version += 1
        silent = why_nothing(self._data()) is not None
        limits = unexamined(self._limits) if silent else self._limits
        volume = stage.geometry.field.volume(stage.concentration, 0.0)
        activity = np.where(limits.examined, volume, np.float32(0))
        activity.setflags(write=False)
        found = replace(
            limits,
            activity=activity,
            version=self._version,
            t_s=float(readings.t_s[-1]),
            n_readings=len(readings),
        )
        sought = assessed.readings
        return Frame(
            found,
            () if silent else assessed.spots,
            len(sought),
            float(sought.t_s[-1]),
            assessed.lag,
            read,
            None if silent else self._coverage,
            None if silent else assessed.expectation,
        )
