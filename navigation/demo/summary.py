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

Floats = NDArray[np.float64]

# A focus within this distance of a true source is taken for it.
MATCH_MM = 15.0


def five_lines(
    first: ScanResult, check: BedCheck, surface_mm: Floats | None, truth: Path, report: Path
) -> list[str]:
    """What was found, where, what is left, what was taken out, how near the truth it was."""
    found = accepted(first)
    return [
        f"SIMULATION, research use only. Before resection: {_count(found)}.",
        _places(found, surface_mm),
        f"After resection: {check.statement}",
        _removed(check),
        f"{against_truth(first, check, read_json(truth))} Report: {report}",
    ]


def accepted(result: ScanResult) -> list[Spot]:
    """The foci that the software stands by, strongest first."""
    good = [s for s in result.spots if s.quality in ACCEPTED_QUALITIES]
    return sorted(good, key=lambda s: -s.activity_kbq)


def _count(found: list[Spot]) -> str:
    if not found:
        return "no focus of activity stood out; see the report for what could have been missed"
    return "1 focus of activity" if len(found) == 1 else f"{len(found)} foci of activity"


def _places(found: list[Spot], surface_mm: Floats | None) -> str:
    if not found:
        return "Nowhere to go: what was examined, and how well, is in the report."
    return "; ".join(_place(spot, surface_mm) for spot in found) + "."


def _place(spot: Spot, surface_mm: Floats | None) -> str:
    words = f"Focus {spot.id}: {kbq(spot.activity_kbq)} ({kbq_interval(spot.activity_ci95_kbq)})"
    if surface_mm is not None:
        depth = depth_frame(spot.position_mm, surface_mm, None).coordinates(spot.position_mm)[0, 2]
        words += f", {abs(depth):.0f} mm below the touched surface"
    return f"{words}, place known to ±{spot.sd_mm:.1f} mm (1 SD)"


def _removed(check: BedCheck) -> str:
    if check.removed_kbq is None:
        return "How much activity was removed could not be determined."
    return f"Removed: {kbq(check.removed_kbq)} ({kbq_interval(check.removed_ci95_kbq)})."


def against_truth(first: ScanResult, check: BedCheck, truth: dict[str, Any]) -> str:
    """How far each true source was missed, and whether what was left was suspected, in one sentence."""
    before, left = truth["scan-1"], truth["scan-2"]["lesions"]
    found = accepted(first)
    pairs = _pairs([np.array(k["position_mm"]) for k in before["lesions"]], [s.position_mm for s in found])
    words = [_match(lesion, found, pairs.get(i)) for i, lesion in enumerate(before["lesions"])]
    others = [np.array(o["position_mm"]) for o in before.get("other_activity", [])]
    rest = [s.position_mm for j, s in enumerate(found) if j not in pairs.values()]
    false = len(rest) - len(_pairs(others, rest))
    return f"Against the simulator's truth: {'; '.join(words)}; {false} false; {_left(check, left)}."


def _pairs(places: list[Floats], spots: list[Floats]) -> dict[int, int]:
    """Place to spot, nearest first, each used once, none farther apart than MATCH_MM."""
    near = [(float(np.linalg.norm(p - s)), i, j) for i, p in enumerate(places) for j, s in enumerate(spots)]
    pairs: dict[int, int] = {}
    for distance, i, j in sorted(near):
        if distance <= MATCH_MM and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def _match(lesion: dict[str, Any], found: list[Spot], spot: int | None) -> str:
    if spot is None:
        return f"{lesion['name']} ({kbq(lesion['activity_kbq'])}) not told apart"
    miss = float(np.linalg.norm(found[spot].position_mm - np.array(lesion["position_mm"])))
    percent = 100.0 * (found[spot].activity_kbq / lesion["activity_kbq"] - 1.0)
    return f"{lesion['name']} {miss:.1f} mm and {percent:+.0f} % off"


def _left(check: BedCheck, left: list[dict[str, Any]]) -> str:
    """What the bed check said against what was left in the bed."""
    residuals = [r.position_mm for r in check.residuals]
    if not left:
        return "nothing was left in the bed" + (", yet activity was suspected" if residuals else "")
    pairs = _pairs([np.array(s["position_mm"]) for s in left], residuals)
    words = []
    for i, source in enumerate(left):
        said = "was not suspected"
        if i in pairs:
            miss = np.linalg.norm(residuals[pairs[i]] - np.array(source["position_mm"]))
            said = f"was suspected {miss:.1f} mm from its place"
        words.append(f"the {source['name']} of {kbq(source['activity_kbq'])} left in the bed {said}")
    return "; ".join(words)
