"""One scan from its folder or record to a finished reconstruction: which surface, which tip, which latency.

The count latency comes from the caller, else the scan, else the calibration, else it is estimated from the scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import DeadTime
from calibration.physics.injection import Given
from calibration.physics.nuclide import nuclide
from calibration.probe.response import DetectorResponse
from calibration.probe.sheath import covered, sheath_at, told_of
from calibration.records.record import RecordStamp
from navigation.ctmap import StudyTissue
from navigation.latencyprofile import LatencyProfile
from navigation.pointlayer import Known
from navigation.provenance import identity_of, other_records, require_study, response_for
from navigation.reconstruction import ImagingSetup, ScanState, reconstruct
from navigation.reconstruction.setup import dead_time_of
from navigation.scanlatency import UNKNOWN_LATENCY_S, UNKNOWN_LATENCY_SD_S, find_latency
from navigation.surface import read_surface
from tracking.errors import InputError
from tracking.jsonfile import number_of, read_json
from tracking.recording.export import open_scan
from tracking.sample import Readings
from tracking.scanfolder import Scan, readings_of

Array = NDArray[np.float64]

# Standard deviations by which chance may exceed a paralysable counter's highest rate in one of 10^5 windows.
COUNTABLE_SD = 5.0
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
    case_data: Path | None = None
    sheath: Path | None = None
    crosstalk: Path | None = None


def reconstruct_scan(
    where: Path, probe: Path, options: ScanOptions, ignore_known_latency: bool = False
) -> ScanState:
    """Reconstruct the scan at `where`. Raises InputError, GateRefusedError."""
    return scan_latency(where, probe, options, ignore_known_latency)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A scan, its calibrations and what it lies in, checked and ready for any count latency."""

    scan: Scan
    options: ScanOptions
    response: DetectorResponse
    prior: LatencyPrior
    others: tuple[RecordStamp, ...]
    doubts: tuple[str, ...]
    surface_mm: Array | None
    ct: StudyTissue | None
    given: Given | None
    told: tuple[str, ...]
    organs: tuple[Known, ...] = ()

    def place(self, latency_s: float) -> Readings:
        """The counts on the probe's path."""
        own = self.response.T_probe_probetip if not self.options.tips else None
        return readings_of(self.scan, self.options.tips, latency_s, own)

    def placed(self, latency_s: float) -> Readings:
        """As `place`. Raises InputError where they are too few to reconstruct."""
        return _enough(self.place(latency_s), self.scan)

    def setup(self, latency_s: float) -> ImagingSetup:
        """What a reconstruction needs to know. Raises GateRefusedError, InputError."""
        setup = ImagingSetup.create(
            self.response,
            self.surface_mm,
            self.scan.nuclide,
            self.scan.dead_time_s,
            latency_s=latency_s,
            latency_sd_s=self.prior.sd_s,
            ct=self.ct,
            simulated=self.scan.simulated,
            given=self.given,
            stated=identity_of(self.scan),
            others=self.others,
            doubts=self.doubts,
        )
        setup = replace(setup, reasons=(*setup.reasons, *self.told), organs=self.organs)
        return _with_spill(setup, self.options.crosstalk, self.scan)


def prepare(where: Path, probe: Path, options: ScanOptions, ignore_known_latency: bool = False) -> Prepared:
    """Read and check the scan at `where` and all that is named beside it. Raises InputError, GateRefusedError."""
    from navigation.engine.afterwards import require_own_counts

    scan = open_scan(where)
    require_own_counts(where)
    sheath = sheath_at(options.sheath, scan.measured_on)
    response = covered(response_for(scan, probe), sheath)
    others = other_records(scan, options.tips, (options.latency, options.sheath, options.crosstalk), response)
    doubts = () if options.ct is None else require_study(options.ct, scan.nuclide)
    prior = UNKNOWN_LATENCY if ignore_known_latency else latency_prior(scan, response, options.latency)
    _require_countable(scan, dead_time_of(response, scan.dead_time_s)[0])
    surface = read_surface(options.surface) if options.surface is not None else scan.surface_mm
    ct, given = _ct(options), _given(options.case_data, scan)
    told, organs = told_of(sheath), _organs(options)
    return Prepared(scan, options, response, prior, others, doubts, surface, ct, given, told, organs)


def scan_latency(
    where: Path, probe: Path, options: ScanOptions, ignore_known_latency: bool = True
) -> tuple[ScanState, LatencyProfile | None]:
    """The scan reconstructed, and the profile of its count latency where that was found from its own counts."""
    return reconstruct_prepared(prepare(where, probe, options, ignore_known_latency))


def reconstruct_prepared(prepared: Prepared) -> tuple[ScanState, LatencyProfile | None]:
    """As `scan_latency`, of a scan that is read already."""

    def at(latency_s: float) -> ScanState:
        return _named(prepared, prepared.setup(latency_s), prepared.placed(latency_s))

    prior = prepared.prior
    return (at(prior.latency_s), None) if prior.measured else find_latency(at, prepared.place)


def _named(prepared: Prepared, setup: ImagingSetup, readings: Readings) -> ScanState:
    """The reconstruction; what it refuses names the scan."""
    try:
        return reconstruct(setup, readings)
    except InputError as fault:
        raise InputError(f"{prepared.scan.source}: {fault}") from fault


def _enough(readings: Readings, scan: Scan) -> Readings:
    if len(readings) < FEWEST_READINGS:
        seen = scan.poses.matrices[scan.poses.visible]
        still = len(seen) > 1 and not np.ptp(seen, axis=0).any()
        why = ": the tracker repeats one pose throughout, the tool was lost" if still else ""
        raise InputError(
            f"{scan.source}: only {len(readings)} counting intervals have a valid pose over their length{why}"
        )
    return readings


def _with_spill(setup: ImagingSetup, crosstalk: Path | None, scan: Scan) -> ImagingSetup:
    """The setup with the spill of a second nuclide, and what is said of it. Raises as `spill_of`."""
    if crosstalk is None:
        return setup
    from navigation.spill import spill_of

    spill = spill_of(crosstalk, scan, setup.response, setup.latency_s)
    told = (
        f"counts of {spill.crosstalk.other.name} in the window are modelled by crosstalk {spill.crosstalk.id}"
    )
    return replace(setup, spill=spill, reasons=(*setup.reasons, told, *spill.crosstalk.reasons))


def _given(case_data: Path | None, scan: Scan) -> Given | None:
    """Administered activity at the scan's reference time. Raises InputError where the scan does not state one."""
    if case_data is None:
        return None
    from calibration.physics.injection import read_injection, require_before

    injection = read_injection(case_data)
    if scan.reference_time is None:
        raise InputError(f"{scan.source}: states no reference_time, so the injection cannot be brought to it")
    reference = utc(scan.reference_time)
    start_s = float((scan.counts.t_s - scan.counts.window_s).min())
    require_before(injection, reference + timedelta(seconds=start_s), str(case_data))
    return injection.given(nuclide(scan.nuclide), reference)


def utc(text: str) -> datetime:
    """A scan's reference time; without a zone it is UTC, as the contract has it."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _require_countable(scan: Scan, dead_time: DeadTime) -> None:
    """Raise InputError where a counter with this dead time cannot have counted so much."""
    counts, window_s = scan.counts.counts, scan.counts.window_s
    # What no steady rate exceeds a paralysable counter may by chance; events closer than tau neither counts.
    most = window_s * dead_time.highest_recorded_cps
    if dead_time.paralysable:
        most = most + COUNTABLE_SD * np.sqrt(most)
    if (counts >= most).any():
        row = int(np.argmax(counts >= most))
        raise InputError(
            f"{scan.source / 'counts.csv'}, row {row + 2}: {counts[row]:.0f} counts in"
            f" {window_s[row]:g} s are impossible with a dead time of {dead_time.tau_s:g} s ({dead_time.model})"
        )


def decay_between(before: Path, after: Path) -> float:
    """Factor that brings activities at the reference time of one scan to that of another.

    1 where a scan does not state its reference time. Raises InputError for an unknown nuclide.
    """
    first, second = open_scan(before), open_scan(after)
    if first.reference_time is None or second.reference_time is None:
        return 1.0
    start, end = utc(first.reference_time), utc(second.reference_time)
    return float(nuclide(second.nuclide).decay_factor((end - start).total_seconds()))


def decay_doubt(before: Path, after: Path) -> str | None:
    """What is said where the decay between two scans cannot be told; None where it can."""
    unknown = [str(path) for path in (before, after) if open_scan(path).reference_time is None]
    if not unknown:
        return None
    return (
        f"{' and '.join(unknown)} state no reference time: the decay since the scan before is not corrected"
    )


def latency_prior(scan: Scan, response: DetectorResponse, named: Path | None) -> LatencyPrior:
    """Latency of a scan in the order of the contract. Raises InputError for a latency.json without one."""
    if named is not None:
        return _named_latency(named)
    if scan.count_latency_s is not None:
        return LatencyPrior(scan.count_latency_s, 0.0, True)
    if response.count_latency_s is not None:
        low, high = response.count_latency_ci95_s or (response.count_latency_s, response.count_latency_s)
        return LatencyPrior(response.count_latency_s, (high - low) / 3.92, True)
    return UNKNOWN_LATENCY


def _named_latency(path: Path) -> LatencyPrior:
    content = read_json(path)
    value = number_of(content, "count_latency_s", path, lowest=0.0)
    if value is None:
        raise InputError(f"{path}: count_latency_s is missing")
    interval = content.get("ci95_s")
    if interval is None:
        return LatencyPrior(value, 0.0, True)
    try:
        low, high = (float(v) for v in interval)
    except (TypeError, ValueError) as fault:
        raise InputError(f"{path}: ci95_s must be two numbers") from fault
    if not 0.0 <= low <= high < np.inf:
        raise InputError(f"{path}: ci95_s must rise from 0 or more")
    return LatencyPrior(value, (high - low) / 3.92, True)


def _organs(options: ScanOptions) -> tuple[Known, ...]:
    """The hot organs of the study that is named for its CT."""
    if options.ct is None or options.registration is None:
        return ()
    from navigation.organs import organs_from_study

    return tuple(organ.known() for organ in organs_from_study(options.ct, options.registration))


def _ct(options: ScanOptions) -> StudyTissue | None:
    if options.ct is None:
        return None
    if options.registration is None:
        raise InputError(f"{options.ct}: a CT needs --registration to lie in the Reference frame")
    from navigation.ctmap import tissue_from_study

    return tissue_from_study(options.ct, options.registration)
