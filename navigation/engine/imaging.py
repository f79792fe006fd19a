"""Jobs in, outcomes out: the only part of the engine that touches the reconstruction.

One instance runs in one thread, job after job; an outcome depends on the jobs before it alone.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from navigation.bed import Bed, BedCheck
from navigation.bedwords import CAVEAT, with_records
from navigation.coverage import Aim, BedCoverage
from navigation.engine.jobs import AnalyzeJob, AskedTargets, BedJob, Job, Outcome, ScanBasis, TickJob
from navigation.lagscore import LagScore
from navigation.registration.activity import ActivityRegistration
from navigation.schedule import Frame, Progress, Work
from navigation.specimen import Specimen
from navigation.volume import ActivityMap, ScanResult, Spot
from tracking.errors import InputError
from tracking.sample import Readings


class ScanImaging(Protocol):
    """One scan's reconstruction, live and final."""

    def work_beside(self, beside: Executor) -> None:
        """From now on do there what takes longer than a tick."""

    def aim_at(self, aim: Aim | None) -> None:
        """The bed whose coverage a tick may be asked for."""

    def advance(self, work: Work) -> Frame:
        """One tick of the live map on everything added, as scheduled."""

    @property
    def progress(self) -> Progress:
        """What goes on beside; any thread may ask."""

    def add(self, readings: Readings) -> None:
        """Take a batch."""

    def update(self) -> ActivityMap | None:
        """The map of everything added, from scratch; None while there is too little."""

    def quick_spots(self) -> tuple[Spot, ...]:
        """Foci as far as can be said at once."""

    def lag(self) -> LagScore | None:
        """What the readings say of the latency in use, from the foci told last."""

    def finish(self) -> ScanResult:
        """The full analysis."""

    def compare(self, targets: AskedTargets) -> ActivityRegistration:
        """Where the counts of the finished scan put the targets of the study."""

    def check_bed(
        self,
        bed: Bed,
        threshold_kbq: float,
        confidence: float,
        before: ScanImaging | None,
        specimen: Specimen | None = None,
    ) -> BedCheck:
        """What the scan says about a bed, and what was removed since the scan `before`."""


logger = logging.getLogger(__name__)

RESIDUAL_SUSPECTED, NOT_ASSESSED = "residual-suspected", "not-assessed"
Build = Callable[[ScanBasis], ScanImaging]
# Foci are sought anew once a second of counts has come in; the map does not wait for them.
SPOT_READINGS = 10


class Imager:
    """The reconstructions of all scans of a case."""

    def __init__(
        self,
        build: Build,
        clock: Callable[[], float] = time.perf_counter,
        beside: Executor | None = None,
    ) -> None:
        """What is done `beside` the ticks is done at once where nothing is given: then nothing is waited for."""
        self._build = build
        self._clock = clock
        self._beside = beside
        self._revisions: dict[str, int] = {}
        self._inputs: dict[str, Any] = {}
        self._limits: tuple[object, str] = (None, "")
        self._scans: dict[str, ScanImaging] = {}
        self._spots: dict[str, tuple[int, tuple[Spot, ...], LagScore | None]] = {}

    def run(self, job: Job) -> Outcome:
        """Do one job. Raises what the reconstruction raises."""
        start = self._clock()
        if isinstance(job, TickJob):
            outcome = self._tick(job)
        elif isinstance(job, AnalyzeJob):
            outcome = self._analyze(job)
        else:
            outcome = self._check(job)
        return replace(outcome, seconds=self._clock() - start)

    def load(self, job: TickJob) -> None:
        """Take a batch without asking for a map: of a scan that is brought back from a record."""
        name, revision = job.basis.scan, job.basis.revision
        if name not in self._scans or self._revisions[name] != revision:
            scan = self._build(job.basis)
            if self._beside is not None:
                scan.work_beside(self._beside)
            self._scans[name], self._revisions[name] = scan, revision
            self._inputs[name] = hashlib.sha256()
            self._spots.pop(name, None)
        self._scans[name].add(job.batch)
        for array in (job.batch.t_s, job.batch.counts, job.batch.live_s, job.batch.poses, job.batch.weights):
            self._inputs[name].update(np.ascontiguousarray(array).tobytes())

    def input_digest(self, name: str) -> str:
        """Of every bit of the readings that a scan was given."""
        digest: str = self._inputs[name].hexdigest()
        return digest

    def progress(self, name: str) -> Progress:
        """What goes on beside the ticks of a scan."""
        scan = self._scans.get(name)
        return Progress() if scan is None else scan.progress

    def _tick(self, job: TickJob) -> Outcome:
        name = job.basis.scan
        self.load(job)
        if job.work is not None:
            return self._scheduled(job, job.work)
        found = self._scans[name].update()
        spots, lag = ((), None) if found is None else self._spots_at(name, found.n_readings)
        return Outcome(job, map=found, spots=spots, lag=lag, digest=digest_of(found, spots))

    def _scheduled(self, job: TickJob, work: Work) -> Outcome:
        scan = self._scans[job.basis.scan]
        scan.aim_at(job.aim)
        frame = scan.advance(work)
        digest = {
            **self._digest(frame),
            **digest_of_coverage(frame.coverage),
            "input": self.input_digest(job.basis.scan),
            "work": {**work.to_json(), "rows": frame.rows},
        }
        return Outcome(
            job,
            map=frame.map,
            spots=frame.spots,
            lag=frame.lag,
            spots_t_s=frame.spots_t_s,
            spots_readings=frame.spots_readings,
            coverage=frame.coverage,
            expectation=frame.expectation,
            digest=digest,
        )

    def _digest(self, frame: Frame) -> dict[str, Any]:
        """As `digest_of`, but what did not change since the last tick is not read again."""
        found = frame.map
        if found is None:
            return {"readings": 0}
        if self._limits[0] is not found.relative_sd:
            self._limits = (found.relative_sd, sha256_of(found.relative_sd, *limits_of(found)))
        return {
            "readings": found.n_readings,
            "map": sha256_of(found.activity),
            "limits": self._limits[1],
            "limits_readings": found.limits_readings,
            "spots": digest_of_spots(frame.spots),
            "spots_readings": frame.spots_readings,
        }

    def _spots_at(self, name: str, n_readings: int) -> tuple[tuple[Spot, ...], LagScore | None]:
        since, spots, lag = self._spots.get(name, (-SPOT_READINGS, (), None))
        if n_readings - since >= SPOT_READINGS:
            scan = self._scans[name]
            since, spots, lag = n_readings, scan.quick_spots(), scan.lag()
            self._spots[name] = (since, spots, lag)
        return spots, lag

    def _known(self, name: str) -> ScanImaging:
        if name not in self._scans:
            raise InputError(f"{name}: no map was asked for while it was scanned")
        return self._scans[name]

    def _current(self, basis: ScanBasis) -> ScanImaging:
        """The scan on the basis that is asked for, never on the one before."""
        found = self._known(basis.scan)
        if self._revisions[basis.scan] != basis.revision:
            raise InputError(f"{basis.scan}: its map is being made anew; ask again when it is there")
        return found

    def _analyze(self, job: AnalyzeJob) -> Outcome:
        basis = job.basis
        found = self._current(basis).finish()
        result = replace(
            found,
            samples_total=job.samples_total,
            count_latency_s=basis.count_latency_s,
            count_latency_ci95_s=basis.count_latency_ci95_s,
            simulated=basis.simulated,
        )
        digest = digest_of(result.map, result.spots)
        shift = None if job.targets is None else self._compared(basis, job.targets)
        if shift is not None:
            digest |= {"shift_alarm": shift.alarm, "shift_mm": shift.pose.shift_mm.tolist()}
        return Outcome(job, map=result.map, spots=result.spots, result=result, shift=shift, digest=digest)

    def _compared(self, basis: ScanBasis, targets: AskedTargets) -> ActivityRegistration | None:
        """Where the counts put the targets; an analysis stands without it."""
        try:
            return self._current(basis).compare(targets)
        except np.linalg.LinAlgError:
            logger.exception("%s: the targets of the study could not be compared", basis.scan)
            return None

    def _check(self, job: BedJob) -> Outcome:
        before = None if job.before is None else self._known(job.before)
        imaging = self._current(job.basis)
        check = imaging.check_bed(job.bed, job.threshold_kbq, job.confidence, before, job.specimen)
        check = without_absence(check, job.blocked)
        return Outcome(job, bed_check=check, digest={"finding": check.finding, "mda_kbq": check.mda_kbq})


def without_absence(check: BedCheck, blocked: str | None) -> BedCheck:
    """The check as it may be told while `blocked` holds: a suspicion stands, an absence does not."""
    if blocked is None or check.finding in (RESIDUAL_SUSPECTED, NOT_ASSESSED):
        return check if blocked is None else replace(check, reasons=(*check.reasons, blocked))
    return replace(
        check,
        finding=NOT_ASSESSED,
        reach_kbq=None,
        needed_s=None,
        statement=with_records(f"Not assessed: {blocked}. {CAVEAT}", check.records),
        reasons=(*check.reasons, blocked),
    )


def digest_of(found: ActivityMap | None, spots: tuple[Spot, ...]) -> dict[str, Any]:
    """SHA-256 of every bit of a map and of the spots, to tell whether a replay gave the same."""
    if found is None:
        return {"readings": 0}
    whole = sha256_of(found.activity, found.relative_sd, *limits_of(found))
    return {"readings": found.n_readings, "map": whole, "spots": digest_of_spots(spots)}


def limits_of(found: ActivityMap) -> tuple[NDArray[Any], ...]:
    """What of a map says how far it can be trusted, beside its relative standard deviation."""
    return found.mda_kbq, found.upper_limit_kbq, found.examined


def sha256_of(*arrays: NDArray[Any]) -> str:
    """Of every bit of the arrays, one after the other."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def digest_of_coverage(found: BedCoverage | None) -> dict[str, Any]:
    """Of every bit of a bed's coverage and of the next look; nothing where none was asked for."""
    if found is None:
        return {}
    look = () if found.scan_next is None else (found.scan_next.pose,)
    covered = () if found.covered is None else (found.covered,)
    whole = sha256_of(found.points_mm, found.mda_kbq, found.limit_kbq, *covered, *look)
    return {"bed": whole, "bed_readings": found.readings}


def digest_of_spots(spots: tuple[Spot, ...]) -> str:
    """Of every figure of the foci."""
    foci = hashlib.sha256()
    for spot in spots:
        figures = [*spot.position_mm, *spot.covariance_mm2.ravel(), spot.activity_kbq, spot.significance]
        foci.update(np.array(figures, dtype=np.float64).tobytes())
        foci.update(spot.quality.encode())
    return foci.hexdigest()
