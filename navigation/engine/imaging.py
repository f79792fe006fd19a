"""Jobs in, outcomes out: the only part of the engine that touches the reconstruction.

One instance runs in one thread, job after job; an outcome depends on the jobs before it alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from navigation.bed import Bed, BedCheck
from navigation.engine.jobs import AnalyzeJob, BedJob, Job, Outcome, ScanBasis, TickJob
from navigation.volume import ActivityMap, ScanResult, Spot
from tracking.errors import InputError
from tracking.sample import Readings


class ScanImaging(Protocol):
    """One scan's reconstruction, live and final."""

    def add(self, readings: Readings) -> None:
        """Take a batch."""

    def update(self) -> ActivityMap | None:
        """The map of everything added; None while there is too little."""

    def quick_spots(self) -> tuple[Spot, ...]:
        """Foci as far as can be said at once."""

    def finish(self) -> ScanResult:
        """The full analysis."""

    def check_bed(
        self, bed: Bed, threshold_kbq: float, confidence: float, before: ScanResult | None
    ) -> BedCheck:
        """What the scan says about a bed."""


Build = Callable[[ScanBasis, Readings], ScanImaging]
# A map of fewer readings than this is noise; the first second of a scan shows none.
FEWEST_READINGS = 5


class Imager:
    """The reconstructions of all scans of a case."""

    def __init__(self, build: Build, clock: Callable[[], float] = time.perf_counter) -> None:
        self._build = build
        self._clock = clock
        self._scans: dict[str, ScanImaging] = {}
        self._waiting: dict[str, Readings] = {}
        self.results: dict[str, ScanResult] = {}

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

    def _tick(self, job: TickJob) -> Outcome:
        imaging = self._imaging(job)
        if imaging is None:
            return Outcome(job)
        found = imaging.update()
        spots = imaging.quick_spots() if found is not None else ()
        return Outcome(job, map=found, spots=spots, digest=digest_of(found, spots))

    def _imaging(self, job: TickJob) -> ScanImaging | None:
        name = job.basis.scan
        if name in self._scans:
            self._scans[name].add(job.batch)
            return self._scans[name]
        waiting = [*([self._waiting.pop(name)] if name in self._waiting else []), job.batch]
        readings = Readings.joined(waiting)
        if len(readings) < FEWEST_READINGS:
            self._waiting[name] = readings
            return None
        self._scans[name] = self._build(job.basis, readings)
        self._scans[name].add(readings)
        return self._scans[name]

    def _known(self, name: str) -> ScanImaging:
        if name not in self._scans:
            raise InputError(f"{name}: no counts could be placed on the probe's path")
        return self._scans[name]

    def _analyze(self, job: AnalyzeJob) -> Outcome:
        basis = job.basis
        found = self._known(basis.scan).finish()
        result = replace(
            found,
            samples_total=job.samples_total,
            count_latency_s=basis.count_latency_s,
            count_latency_ci95_s=basis.count_latency_ci95_s,
            simulated=basis.simulated,
        )
        self.results[basis.scan] = result
        return Outcome(
            job, map=result.map, spots=result.spots, result=result, digest=digest_of(result.map, result.spots)
        )

    def _check(self, job: BedJob) -> Outcome:
        before = None if job.before is None else self.results.get(job.before)
        check = self._known(job.basis.scan).check_bed(job.bed, job.threshold_kbq, job.confidence, before)
        return Outcome(job, bed_check=check, digest={"finding": check.finding, "mda_kbq": check.mda_kbq})


def digest_of(found: ActivityMap | None, spots: tuple[Spot, ...]) -> dict[str, Any]:
    """SHA-256 of every bit of a map and of the spots, to tell whether a replay gave the same."""
    if found is None:
        return {"readings": 0}
    whole = hashlib.sha256()
    for array in (found.activity, found.relative_sd, found.mda_kbq, found.examined):
        whole.update(np.ascontiguousarray(array).tobytes())
    foci = hashlib.sha256()
    for spot in spots:
        figures = [*spot.position_mm, *spot.covariance_mm2.ravel(), spot.activity_kbq, spot.significance]
        foci.update(np.array(figures, dtype=np.float64).tobytes())
        foci.update(spot.quality.encode())
    return {"readings": found.n_readings, "map": whole.hexdigest(), "spots": foci.hexdigest()}
