"""What a reconstruction needs to know before the first count: calibration, surface, nuclide, time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.nuclide import Nuclide
from calibration.nuclide import nuclide as nuclide_by_name
from calibration.response import DetectorResponse
from navigation.surface import TissueMap
from tracking.errors import GateRefusedError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ImagingSetup:
    """One probe in one patient; valid once made.

    `surface_mm` (k, 3) touched points or None; `tissue` overrides it (a registered CT). `reference_offset_s` is
    the scan clock's time of the reference time; `latency_sd_s` what is unknown of the count latency.
    """

    response: DetectorResponse
    nuclide: Nuclide
    surface_mm: Array | None = None
    tissue: TissueMap | None = None
    dead_time_s: float = 0.0
    reference_offset_s: float = 0.0
    latency_s: float = 0.0
    latency_sd_s: float = 0.0
    tip_hint: Array | None = None
    reasons: tuple[str, ...] = ()
    simulated: bool = False

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
        tissue: TissueMap | None = None,
        simulated: bool = False,
    ) -> ImagingSetup:
        """Check that the calibration fits the scan.

        Raises GateRefusedError when it is of another nuclide, InputError for an unknown nuclide.
        """
        known = nuclide_by_name(nuclide)
        if known.name != response.nuclide.name:
            raise GateRefusedError(
                f"the calibration is for {response.nuclide.name}, the scan is {known.name}"
            )
        reasons = []
        if response.state == "draft":
            reasons.append("the detector calibration is a draft")
        if tissue is None and surface_points_mm is None:
            reasons.append("no surface was touched: it is estimated from the probe's path")
        dead = dead_time_s if dead_time_s is not None else response.dead_time_s
        return ImagingSetup(
            response,
            known,
            surface_points_mm,
            tissue,
            dead or 0.0,
            reference_offset_s,
            latency_s,
            latency_sd_s,
            tip_hint,
            tuple(reasons),
            simulated or response.simulated,
        )
