"""What the session asks the reconstruction to do, and what comes back: immutable batches and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.probe.sheath import BARE, Sheath
from navigation.bed import Bed, BedCheck
from navigation.coverage import Aim, BedCoverage
from navigation.field import AUTOMATIC, MapGrid
from navigation.guidance.expected import Expectation
from navigation.lagscore import LagScore
from navigation.registration.activity import ActivityRegistration
from navigation.schedule import Work
from navigation.specimen import Specimen
from navigation.studymodel import StudyModel
from navigation.volume import ActivityMap, ScanResult, Spot
from tracking.sample import Readings


@dataclass(frozen=True, slots=True, eq=False)
class ScanBasis:
    """What a scan rests on: calibration (content of probe.json), surface (k, 3) in Reference, latency."""

    scan: str
    calibration: dict[str, Any]
    nuclide: str
    surface_mm: NDArray[np.float64] | None
    expected_poses: NDArray[np.float64] | None  # (p, 4, 4), from where the scan is expected to look
    count_latency_s: float
    count_latency_ci95_s: tuple[float, float] | None  # None: exact where it is determined, else unknown
    dead_time_s: float | None
    simulated: bool
    injection: Mapping[str, Any] | None = None  # as the case tells it
    epoch_s: float = 0.0  # Unix time of the reference time
    stated: Mapping[str, Any] = field(default_factory=dict)  # what case and counter say of probe and window
    records: tuple[Mapping[str, Any], ...] = ()  # stamps of tip and latency
    began_s: float | None = None  # Unix time at which the case began: until then a calibration must be valid
    sheath: Sheath = BARE  # what covers the probe
    latency_determined: bool = False
    grid: MapGrid = AUTOMATIC  # what the case fixes of the map's grid
    revision: int = 0  # how often the scan was begun anew on another basis
    study: StudyModel | None = None
    T_study_reference: NDArray[np.float64] | None = None  # (4, 4); without it a study is of no use
    registration: str = "none"  # its id


@dataclass(frozen=True, slots=True, eq=False)
class TickJob:
    """Add a batch, whose newest reading came in at `newest_arrival_s`; `last` when the scan has ended.

    A batch of a higher revision holds all readings, and what was made of a lower one is void. Without `work`, as in
    old records, the map is made from scratch.
    """

    basis: ScanBasis
    tick: int
    batch: Readings
    newest_arrival_s: float | None
    last: bool
    work: Work | None = None
    aim: Aim | None = None  # the outlined bed, whose coverage the work may ask for


@dataclass(frozen=True, slots=True, eq=False)
class AskedTargets:
    """Targets of the study as believed in Reference, places (k, 3) in mm, and what the registration may err by."""

    names: tuple[str, ...]
    believed_mm: NDArray[np.float64]
    registration_sd_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class AnalyzeJob:
    """The full analysis of a scan that has ended."""

    basis: ScanBasis
    samples_total: int
    targets: AskedTargets | None = None  # whose activity is compared with where the study has it


@dataclass(frozen=True, slots=True, eq=False)
class BedJob:
    """What a scan says about the outlined bed; with `before` also what was removed."""

    basis: ScanBasis
    bed: Bed
    threshold_kbq: float
    confidence: float
    before: str | None
    blocked: str | None = None  # why nothing may be said to be absent
    specimen: Specimen | None = None  # what was taken out, at the reference time


Job = TickJob | AnalyzeJob | BedJob


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a job gave, how long it took, and digests that tell two runs apart."""

    job: Job
    map: ActivityMap | None = None
    spots: tuple[Spot, ...] = ()
    result: ScanResult | None = None
    bed_check: BedCheck | None = None
    lag: LagScore | None = None
    shift: ActivityRegistration | None = None  # does the activity lie where the study says
    spots_t_s: float | None = None  # time of the newest reading that the foci are of, and how many there were
    spots_readings: int | None = None
    coverage: BedCoverage | None = None
    expectation: Expectation | None = None
    seconds: float = 0.0
    digest: dict[str, Any] = field(default_factory=dict)


def result_content(outcome: Outcome) -> dict[str, Any]:
    """A result as the record holds it: digests that tell two runs apart, and the time it took."""
    job = outcome.job
    return {
        "job": type(job).__name__,
        "scan": job.basis.scan,
        "tick": job.tick if isinstance(job, TickJob) else None,
        "seconds": round(outcome.seconds, 4),
        **outcome.digest,
    }
