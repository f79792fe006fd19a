"""Sentences of the report that a surgeon reads first; they claim no more than the results hold.

The words follow fixed rules: a spot is a focus of activity, and nothing found is a limit in kBq, never more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.findings import kbq, kbq_interval
from navigation.report.geometry import depth_below_surface_mm
from navigation.report.results import CaseReport, ScanReport
from navigation.volume import Spot

NOT_EXCLUDED = (
    "Not excluded: activity below the stated limit, tumour that does not take up the tracer, anything "
    "outside the outlined bed and anything in the part that was not examined. This is not histology."
)
FINDING_TITLES = {
    "residual-suspected": "RESIDUAL ACTIVITY SUSPECTED",
    "none-above": "NO ACTIVITY ABOVE THE THRESHOLD DETECTED",
    "partly-assessed": "BED ONLY PARTLY ASSESSED",
    "not-assessed": "BED NOT ASSESSED",
}
FINDING_TONES = {"residual-suspected": "alert", "none-above": "finding"}
RULE_NAMES = {
    "ratio_1_5": "Ratio to background above 1.5 : 1",
    "three_sigma": "More than 3 sigma above background",
    "ten_percent": "More than 10 % of the hottest focus",
}


class _Titles(dict[str, str]):
    """Titles of scans by the name of their folder; one that nobody foresaw is called by its name."""

    def __missing__(self, name: str) -> str:
        return f"Scan {name.removeprefix('scan-')}"


SCAN_TITLES = _Titles({"scan-1": "Scan 1, before resection", "scan-2": "Scan 2, after resection"})
NUMBER_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six")


def sd_along_axes(spot: Spot) -> NDArray[np.float64]:
    """Standard deviations (3,) in mm along the axes of the Reference frame."""
    return np.asarray(np.sqrt(np.diag(spot.covariance_mm2)))


def spot_sentence(spot: Spot, scan: ScanReport) -> str:
    """One focus of activity: strength, depth, how sure."""
    told = depth(spot, scan)
    where = f"at {position(spot)}" if told is None else f"{told} below the touched surface"
    return (
        f"Focus {spot.id}: {kbq(spot.activity_kbq)} (95 % interval {kbq_interval(spot.activity_ci95_kbq)}), "
        f"{where}, position ± {spot.sd_mm:.1f} mm (standard deviation, worst direction)"
    )


def depth(spot: Spot, scan: ScanReport) -> str | None:
    """Depth below the surface with its standard deviation; of an older result from the points touched."""
    if spot.depth_below_surface_mm is None:
        mm = depth_below_surface_mm(spot.position_mm, scan.surface_mm)
        return None if mm is None else f"{mm:.0f} mm"
    sd = "" if spot.depth_sd_mm is None else f" ± {spot.depth_sd_mm:.0f}"
    return f"{spot.depth_below_surface_mm:.0f}{sd} mm"


def position(spot: Spot) -> str:
    """Position in the Reference frame."""
    x, y, z = spot.position_mm
    return f"({x:.1f}, {y:.1f}, {z:.1f}) mm"


def found_sentences(scan: ScanReport) -> tuple[str, ...]:
    """What one scan found, the strongest focus first, at most three sentences."""
    spots = sorted(scan.accepted_spots, key=lambda s: -s.significance)
    if not spots:
        return (nothing_found(scan),)
    count = NUMBER_WORDS[len(spots)] if len(spots) < len(NUMBER_WORDS) else str(len(spots))
    noun = "focus" if len(spots) == 1 else "foci"
    lead = f"{count} {noun} of activity found"
    limited = [s.id for s in spots if s.quality != "ok"]
    doubt = f" Of limited quality: focus {', '.join(map(str, limited))}." if limited else ""
    first = [spot_sentence(s, scan) + "." for s in spots[:2]]
    more = f" {len(spots) - 2} more in the table." if len(spots) > 2 else ""
    return (f"{lead}.{doubt}", *first[:-1], first[-1] + more)


def nothing_found(scan: ScanReport) -> str:
    """A scan without an accepted spot is a limit where it looked, no more."""
    limit = typical_mda_kbq(scan)
    if limit is None:
        return "No focus of activity was detected; what the scan could have seen is unknown."
    return (
        f"No focus of activity was detected. In half of the examined tissue a focus of {kbq(limit)} would "
        "have been seen with 95 % probability; elsewhere only a stronger one."
    )


def typical_mda_kbq(scan: ScanReport) -> float | None:
    """Median minimum detectable activity over what was examined."""
    mda = scan.volumes.get("mda")
    if mda is None or not mda.examined.any():
        return None
    return float(np.median(mda.values[mda.examined]))


def bed_figures(check: dict[str, Any]) -> str:
    """Coverage and limits of a bed check in one line."""
    parts = [
        f"{covered(check.get('covered_fraction'))} of the outlined bed assessed at {kbq(check.get('threshold_kbq'))}"
    ]
    parts.append(f"widest part not covered {millimetres(check.get('largest_uncovered_mm'))}")
    parts.append(f"minimum detectable activity {kbq(check.get('mda_kbq'))}")
    parts.append(f"highest upper limit {kbq(check.get('max_upper_limit_kbq'))}")
    parts.append(f"confidence {percent(check.get('confidence'))}")
    return "; ".join(parts) + "."


def removed_sentence(check: dict[str, Any]) -> str | None:
    """Activity removed between the scans, decay-corrected, where both were made."""
    if check.get("removed_kbq") is None:
        return None
    interval = check.get("removed_ci95_kbq")
    removed = (
        f"Removed between the scans: {kbq(check['removed_kbq'])} (95 % interval {kbq_interval(interval)}), "
        "corrected for decay."
    )
    return f"{removed} {balance_words(check.get('specimen_balance'))}"


def balance_words(found: dict[str, Any] | None) -> str:
    """Whether the specimen holds what was removed."""
    if not found:
        return "The specimen counted outside the body would close the balance."
    held = f"The specimen holds {kbq(found['specimen_kbq'])} ({kbq_interval(found['specimen_ci95_kbq'])})"
    if found.get("closes"):
        return f"{held}: the balance closes within what both are known to."
    kind = "missing" if found["missing_kbq"] > 0.0 else "too much"
    return f"{held}: {kbq(abs(found['missing_kbq']))} are {kind}. The balance does not close."


def covered(fraction: float | None) -> str:
    """A share of a bed, rounded down as the statement of its check has it."""
    return "unknown" if fraction is None else f"{int(100.0 * fraction)} %"


def percent(fraction: float | None) -> str:
    """A share as text, never rounded up to a whole that it is not."""
    if fraction is None:
        return "unknown"
    value = 100.0 * fraction
    if 99.0 < value < 100.0:
        return f"{np.floor(value * 10.0) / 10.0:.1f} %"
    return f"{value:.0f} %"


def millimetres(value: float | None) -> str:
    """A length as text."""
    return "unknown" if value is None else f"{value:.1f} mm"


def doubts(case: CaseReport) -> tuple[str, ...]:
    """Every reason that any result gives, said once, with where it comes from."""
    said: dict[str, None] = {}
    for origin, reasons in _reasons(case):
        for reason in reasons:
            said.setdefault(f"{origin}: {reason}")
    return tuple(said)


def _reasons(case: CaseReport) -> Iterable[tuple[str, Iterable[str]]]:
    for scan in case.scans:
        title = scan.name.replace("-", " ").capitalize()
        yield title, scan.info.get("reasons", ())
        for spot in scan.spots:
            yield f"{title}, focus {spot.id}", spot.reasons
        if scan.bed_check:
            yield f"{title}, bed check", scan.bed_check.get("reasons", ())
    for origin, record in (("Probe calibration", case.probe), ("Count latency", case.latency)):
        if record:
            yield origin, record.get("reasons", ())
    if case.registration:
        yield "Registration", case.registration.get("reasons", ())
    if case.study_check:
        told = [*case.study_check.get("blocking", ()), *case.study_check.get("warnings", ())]
        yield "Preoperative study", [str(f.get("text")) for f in told]
    if case.study:
        yield "Preoperative study", [str(d) for d in case.study.get("defects", ())]
