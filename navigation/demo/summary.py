"""The end of the demonstration: five lines in a surgeon's words, the last against the simulator's truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.bed import BedCheck
from navigation.findings import ACCEPTED_QUALITIES, kbq, kbq_interval
from navigation.report.geometry import depth_frame
from navigation.volume import ScanResult, Spot
from tracking.jsonfile import read_json

# A focus within this distance of a true source is taken for it.
MATCH_MM = 15.0


def five_lines(
    first: ScanResult, check: BedCheck, surface_mm: NDArray[np.float64] | None, truth: Path, report: Path
) -> list[str]:
    """What was found, where, what is left, what was taken out, how near the truth it was."""
    found = accepted(first)
    return [
        f"SIMULATION, research use only. Before resection: {_count(found)}.",
        _places(found, surface_mm),
        f"After resection: {check.statement}",
        _removed(check),
        f"{against_truth(first, read_json(truth))} Report: {report}",
    ]


def accepted(result: ScanResult) -> list[Spot]:
    """The foci that the software stands by, strongest first."""
    good = [s for s in result.spots if s.quality in ACCEPTED_QUALITIES]
    return sorted(good, key=lambda s: -s.activity_kbq)


def _count(found: list[Spot]) -> str:
    if not found:
        return "no focus of activity stood out; see the report for what could have been missed"
    return "1 focus of activity" if len(found) == 1 else f"{len(found)} foci of activity"


def _places(found: list[Spot], surface_mm: NDArray[np.float64] | None) -> str:
    if not found:
        return "Nowhere to go: what was examined, and how well, is in the report."
    return "; ".join(_place(spot, surface_mm) for spot in found) + "."


def _place(spot: Spot, surface_mm: NDArray[np.float64] | None) -> str:
    words = f"Focus {spot.id}: {kbq(spot.activity_kbq)} ({kbq_interval(spot.activity_ci95_kbq)})"
    if surface_mm is not None:
        depth = depth_frame(spot.position_mm, surface_mm, None).coordinates(spot.position_mm)[0, 2]
        words += f", {abs(depth):.0f} mm below the touched surface"
    return f"{words}, place known to ±{spot.sd_mm:.1f} mm (1 SD)"


def _removed(check: BedCheck) -> str:
    if check.removed_kbq is None:
        return "How much activity was removed could not be determined."
    return f"Removed: {kbq(check.removed_kbq)} ({kbq_interval(check.removed_ci95_kbq)})."


def against_truth(result: ScanResult, truth: dict[str, Any]) -> str:
    """How far each true source was missed, in one sentence."""
    lesions = truth["scan-1"]["lesions"]
    known = [*lesions, *truth["scan-1"].get("other_activity", [])]
    found = accepted(result)
    words = [_match(lesion, found) for lesion in lesions]
    places = np.array([k["position_mm"] for k in known]).reshape(-1, 3)
    false = sum(
        bool(np.linalg.norm(places - s.position_mm, axis=1).min(initial=np.inf) > MATCH_MM) for s in found
    )
    return f"Against the simulator's truth: {'; '.join(words)}; {false} false."


def _match(lesion: dict[str, Any], found: list[Spot]) -> str:
    place, activity = np.array(lesion["position_mm"]), lesion["activity_kbq"]
    distances = [float(np.linalg.norm(spot.position_mm - place)) for spot in found]
    if not distances or min(distances) > MATCH_MM:
        return f"{lesion['name']} ({kbq(activity)}) not found"
    spot = found[int(np.argmin(distances))]
    percent = 100.0 * (spot.activity_kbq / activity - 1.0)
    return f"{lesion['name']} {min(distances):.1f} mm and {percent:+.0f} % off"
