"""What a reconstruction needs to know before the first count: calibration, surface, nuclide, time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime, reckoned
from calibration.physics.injection import Given
from calibration.physics.nuclide import Nuclide
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.probe.response import DetectorResponse
from calibration.records.binding import Identity, require_match, unverified
from calibration.records.record import RecordStamp
from navigation.ctmap import StudyTissue
from navigation.field import AUTOMATIC, MapGrid
from navigation.pointlayer import Known
from navigation.spill import Spill

Array = NDArray[np.float64]

# A scan's dead time and the calibration's differ when they are so many standard errors apart, and by more than a
# share that rounding explains.
Z_APART, LEAST_APART = 3.0, 0.05


@dataclass(frozen=True, slots=True, eq=False)
class ImagingSetup:
    """One probe in one patient; valid once made.

    `surface_mm` (k, 3) touched points or None: where tissue begins; `ct` a registered CT: of what kind it is, and
    where it begins if nothing was touched. `reference_offset_s` is the scan clock's time of the reference time;
    `latency_sd_s` what is unknown of the count latency.
    """

    response: DetectorResponse
    nuclide: Nuclide
    surface_mm: Array | None = None
    ct: StudyTissue | None = None
    dead_time: DeadTime = NO_DEAD_TIME
    reference_offset_s: float = 0.0
    latency_s: float = 0.0
    latency_sd_s: float = 0.0
    tip_hint: Array | None = None
    reasons: tuple[str, ...] = ()
    simulated: bool = False
    given: Given | None = None  # administered activity at the reference time
    records: tuple[RecordStamp, ...] = ()  # every calibration it rests on, the detector's first
    grid: MapGrid = AUTOMATIC  # what the case fixes of the map's grid
    spill: Spill | None = None  # what a second nuclide adds to the counts
    organs: tuple[Known, ...] = ()  # hot organs of a registered study

    def decay(self, t_s: Array) -> Array:
        """Activity at times (n,) of the scan's clock over that at the reference time."""
        return self.nuclide.decay_factor(t_s - self.reference_offset_s)

    @staticmethod
    def create(
        response: DetectorResponse,
        surface_points_mm: Array | None,
        nuclide: str,
        dead_time_s: float | None = None,
        reference_offset_s: float = 0.0,
        tip_hint: Array | None = None,
        latency_s: float = 0.0,
        latency_sd_s: float = 0.0,
        ct: StudyTissue | None = None,
        simulated: bool = False,
        given: Given | None = None,
        stated: Identity | None = None,
        others: tuple[RecordStamp, ...] = (),
        doubts: tuple[str, ...] = (),
    ) -> ImagingSetup:
        """Check that the calibration fits the scan; `dead_time_s` is what the scan itself says of it.

        `stated`: what else the scan says of probe and window; `others`: the other calibrations that are used;
        `doubts`: what else is to be told of the scan. Raises GateRefusedError when it is of another nuclide, window,
        probe or collimator, InputError for an unknown nuclide.
        """
        known = nuclide_by_name(nuclide)
        said = Identity(known.name).over(stated or Identity())
        require_match(response.identity, said, "the scan")
        reasons = [*doubts_of(response, said, others), *doubts]
        if ct is None and surface_points_mm is None:
            reasons.append("no surface was touched: it is estimated from the probe's path")
        dead, doubt = dead_time_of(response, dead_time_s)
        reasons += [doubt] if doubt else []
        return ImagingSetup(
            response,
            known,
            surface_points_mm,
            ct,
            dead,
            reference_offset_s,
            latency_s,
            latency_sd_s,
            tip_hint,
            tuple(reasons),
            simulated or response.simulated,
            given,
            (response.stamp, *others),
        )


def doubts_of(response: DetectorResponse, said: Identity, others: tuple[RecordStamp, ...]) -> list[str]:
    """What is doubtful of the calibrations themselves."""
    reasons = ["the detector calibration is a draft"] if response.state == "draft" else []
    open_ = unverified(response.identity, said)
    told = [open_, response.expires_soon]
    told += [f"{s.id} is unsealed: nobody can tell whether it was changed" for s in others if s.unsealed]
    return [*reasons, *(words for words in told if words is not None)]


def dead_time_of(response: DetectorResponse, stated_s: float | None) -> tuple[DeadTime, str | None]:
    """The dead time to reckon with, and what is doubtful of it."""
    known, dead = response.dead_time, reckoned(response.dead_time, stated_s)
    if known is None or stated_s is None:
        return dead, None
    apart = abs(stated_s - known.tau_s)
    if apart <= max(Z_APART * known.sd_s, LEAST_APART * known.tau_s):
        return dead, None
    return dead, f"the scan states a dead time of {stated_s:g} s, the calibration one of {known.tau_s:g} s"
