"""One scan from its folder or record to a finished reconstruction: which surface, which tip, which latency.

The count latency comes from the caller, else the scan, else the calibration, else it is estimated from the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.response import DetectorResponse, load_response
from navigation.reconstruction import ImagingSetup, ScanState, reconstruct
from navigation.surface import TissueMap, read_surface
from tracking.errors import InputError
from tracking.jsonfile import read_json
from tracking.recording.export import open_scan
from tracking.scanfolder import Scan, readings_of

Array = NDArray[np.float64]

# What is assumed of a latency nobody measured: uniform from 0 to 0.3 s.
UNKNOWN_LATENCY_S, UNKNOWN_LATENCY_SD_S = 0.15, 0.3 / 12**0.5
# Rounds of placing the counts anew at the latency found, and the shift in s at which that has settled.
LATENCY_ROUNDS, LATENCY_SETTLED_S = 3, 0.005
# Shortest scan that can be reconstructed.
FEWEST_READINGS = 10


@dataclass(frozen=True, slots=True)
class LatencyPrior:
    """What is known of the count latency before the scan is looked at: value, SD, and whether it is measured."""

    latency_s: float
    sd_s: float
    measured: bool


UNKNOWN_LATENCY = LatencyPrior(UNKNOWN_LATENCY_S, UNKNOWN_LATENCY_SD_S, False)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Files a command names besides the scan and the probe."""

    surface: Path | None = None
    tips: tuple[Path, ...] = ()
    latency: Path | None = None
    registration: Path | None = None
    ct: Path | None = None


def reconstruct_scan(
    where: Path, probe: Path, options: ScanOptions, ignore_known_latency: bool = False
) -> ScanState:
    """Reconstruct the scan at `where`. Raises InputError, GateRefusedError."""
    response = load_response(probe)
    scan = open_scan(where)
    prior = UNKNOWN_LATENCY if ignore_known_latency else latency_prior(scan, response, options.latency)
    surface = read_surface(options.surface) if options.surface is not None else scan.surface_mm
    tissue = _tissue(options)
    latency = prior.latency_s
    for _ in range(LATENCY_ROUNDS):
        readings = readings_of(
            scan, options.tips, latency, response.T_probe_probetip if not options.tips else None
        )
        if len(readings) < FEWEST_READINGS:
            raise InputError(
                f"{where}: only {len(readings)} counting intervals have a valid pose over their length"
            )
        setup = ImagingSetup.create(
            response,
            surface,
            scan.nuclide,
            scan.dead_time_s,
            latency_s=latency,
            latency_sd_s=prior.sd_s,
            tissue=tissue,
            simulated=scan.simulated,
        )
        state = reconstruct(setup, readings)
        shift = state.found.fit.latency_shift_s
        if prior.measured or abs(shift) < LATENCY_SETTLED_S:
            break
        latency = float(np.clip(latency + shift, 0.0, 2 * UNKNOWN_LATENCY_S))
    return state


def latency_prior(scan: Scan, response: DetectorResponse, named: Path | None) -> LatencyPrior:
    """Latency of a scan in the order of the contract. Raises InputError for a latency.json without one."""
    if named is not None:
        return _named_latency(named)
    if scan.count_latency_s is not None:
        return LatencyPrior(scan.count_latency_s, 0.0, True)
    if response.count_latency_s is not None:
        return LatencyPrior(response.count_latency_s, 0.0, True)
    return UNKNOWN_LATENCY


def _named_latency(path: Path) -> LatencyPrior:
    content = read_json(path)
    value, interval = content.get("count_latency_s"), content.get("ci95_s")
    if not isinstance(value, int | float) or value < 0:
        raise InputError(f"{path}: count_latency_s is missing or no number >= 0")
    sd = 0.0 if not interval else (float(interval[1]) - float(interval[0])) / 3.92
    return LatencyPrior(float(value), sd, True)


def _tissue(options: ScanOptions) -> TissueMap | None:
    if options.ct is None:
        return None
    if options.registration is None:
        raise InputError(f"{options.ct}: a CT needs --registration to lie in the Reference frame")
    from navigation.ctmap import tissue_from_study

    return tissue_from_study(options.ct, options.registration)
