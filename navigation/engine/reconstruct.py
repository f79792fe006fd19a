"""The real reconstruction behind the engine's jobs."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.physics.injection import given_at
from calibration.probe.response import response_of
from calibration.probe.sheath import covered, told_of
from calibration.records.binding import Identity
from calibration.records.record import RecordStamp
from navigation.bed import Bed, BedCheck
from navigation.coverage import Aim
from navigation.ctmap import StudyTissue
from navigation.engine.imaging import ScanImaging
from navigation.engine.jobs import AskedTargets, ScanBasis
from navigation.lagscore import LagScore
from navigation.reconstruction import ImagingSetup, LiveReconstruction, LiveScan, ScanState
from navigation.registration.activity import ActivityRegistration, register_activity
from navigation.schedule import Frame, Progress, Work
from navigation.specimen import Specimen
from navigation.studymodel import StudyModel
from navigation.volume import ActivityMap, ScanResult, Spot
from tracking.errors import InputError
from tracking.sample import Readings

# Half a 95 % interval in standard deviations of a normal distribution.
Z95 = 1.96
# What is assumed of a latency that nobody measured: uniform from 0 to 0.3 s, about the 0 that is used meanwhile.
UNKNOWN_LATENCY_SD_S = 0.3 / 3**0.5


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The study of a case where its registration (4, 4) puts it."""

    study: StudyModel
    T_study_reference: NDArray[np.float64]

    @staticmethod
    def of(basis: ScanBasis) -> Placed | None:
        """None without a study, or while it is not registered."""
        if basis.study is None or basis.T_study_reference is None:
            return None
        return Placed(basis.study, basis.T_study_reference)

    def labelled(self, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        """Spots in a region of physiological uptake say so."""
        return self.study.labelled(spots, self.T_study_reference)


class Imaging:
    """One scan, live and final."""

    def __init__(self, setup: ImagingSetup, placed: Placed | None = None) -> None:
        self._setup = setup
        self._placed = placed
        self._live = LiveScan(setup)
        self._scratch: LiveReconstruction | None = None
        self._finished = 0  # readings that the full analysis is of

    @property
    def state(self) -> ScanState:
        """What a bed check needs; the full analysis is done now if it was not, or if readings came since."""
        if self._live.state is None or self._finished != len(self._live):
            self.finish()
        assert self._live.state is not None
        return self._live.state

    def work_beside(self, beside: Executor) -> None:
        """From now on do there what takes longer than a tick."""
        self._live.beside = beside

    @property
    def progress(self) -> Progress:
        """What goes on beside."""
        return self._live.progress

    def add(self, readings: Readings) -> None:
        """Take a batch."""
        self._live.add(readings)
        if self._scratch is not None:
            self._scratch.add(readings)

    def aim_at(self, aim: Aim | None) -> None:
        """The bed whose coverage a tick may be asked for."""
        self._live.aim_at(aim)

    def advance(self, work: Work) -> Frame:
        """One tick of the live map, as scheduled."""
        frame = self._live.advance(work)
        return frame if self._placed is None else replace(frame, spots=self._placed.labelled(frame.spots))

    def update(self) -> ActivityMap | None:
        """The map of everything added, from scratch: as records without a schedule have it."""
        return self._from_scratch().update()

    def quick_spots(self) -> tuple[Spot, ...]:
        """Foci of everything added."""
        return self._from_scratch().quick_spots()

    def lag(self) -> LagScore | None:
        """What the readings say of the latency in use."""
        return self._from_scratch().lag()

    def _from_scratch(self) -> LiveReconstruction:
        if self._scratch is None:
            self._scratch = LiveReconstruction(self._setup)
            self._scratch.add(self._live.readings)
        return self._scratch

    def finish(self) -> ScanResult:
        """The full analysis. Raises InputError when too few readings were placed."""
        try:
            self._finished = len(self._live)
            found = self._live.finish()
        except ValueError as error:
            raise InputError(str(error)) from error
        return found if self._placed is None else replace(found, spots=self._placed.labelled(found.spots))

    def compare(self, targets: AskedTargets) -> ActivityRegistration:
        """Where the counts of the finished scan put the targets of the study."""
        return register_activity(self.state, targets.believed_mm, targets.names, targets.registration_sd_mm)

    def check_bed(
        self,
        bed: Bed,
        threshold_kbq: float,
        confidence: float,
        before: ScanImaging | None,
        specimen: Specimen | None = None,
    ) -> BedCheck:
        """What the scan says about a bed, and what was removed since the scan `before`."""
        from navigation.bedcheck import check_bed

        earlier = before.state if isinstance(before, Imaging) else None
        return check_bed(self.state, bed, threshold_kbq, confidence, earlier, specimen=specimen)


def build_imaging(basis: ScanBasis) -> Imaging:
    """The reconstruction of one scan.

    Raises InputError or GateRefusedError for a calibration that does not fit.
    """
    response = covered(response_of(basis.calibration, Path("probe.json"), _judged_on(basis)), basis.sheath)
    setup = ImagingSetup.create(
        response,
        basis.surface_mm,
        basis.nuclide,
        basis.dead_time_s,
        tip_hint=basis.expected_poses,
        latency_s=basis.count_latency_s,
        latency_sd_s=_latency_sd_s(basis),
        simulated=basis.simulated,
        given=given_at(basis.injection, "case", basis.nuclide, basis.epoch_s),
        ct=_ct(basis),
        stated=Identity.of(basis.stated, "case"),
        others=tuple(RecordStamp(**stamp) for stamp in basis.records),
    )
    setup = replace(setup, reasons=(*setup.reasons, *told_of(basis.sheath)), grid=basis.grid)
    return Imaging(_with_organs(setup, basis), Placed.of(basis))


def _with_organs(setup: ImagingSetup, basis: ScanBasis) -> ImagingSetup:
    if basis.study is None or basis.T_study_reference is None:
        return setup
    return replace(setup, organs=basis.study.known(basis.T_study_reference))


def _ct(basis: ScanBasis) -> StudyTissue | None:
    if basis.study is None or basis.T_study_reference is None:
        return None
    return basis.study.ct(basis.T_study_reference)


def _judged_on(basis: ScanBasis) -> date | None:
    """The day of the case, so that its record can still be played when the calibration has expired."""
    return None if basis.began_s is None else datetime.fromtimestamp(basis.began_s, UTC).date()


def _latency_sd_s(basis: ScanBasis) -> float:
    interval = basis.count_latency_ci95_s
    if interval is not None:
        return (interval[1] - interval[0]) / (2.0 * Z95)
    return 0.0 if basis.latency_determined else UNKNOWN_LATENCY_SD_S
