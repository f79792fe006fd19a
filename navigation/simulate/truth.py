"""What is really there, for the final comparison only: lesions in the Reference frame before and after
the resection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from navigation.simulate.course import QUIET, Course
from navigation.simulate.rates import Source
from navigation.simulate.scenes import NUCLIDE, Patient, Scene
from tracking.jsonfile import write_json

STAMP = "SIMULATION: no patient, no measurement"


def iso_time(utc_s: float) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(utc_s, UTC).isoformat().replace("+00:00", "Z")


def in_reference(patient: Patient, source: Source) -> dict[str, Any]:
    """Name, centroid in Reference, activity at the reference time, largest distance of a part from the
    centroid.
    """
    T = patient.T_reference_body
    centre = T[:3, :3] @ source.centre + T[:3, 3]
    extent = float(((source.points - source.centre) ** 2).sum(axis=1).max() ** 0.5)
    return {
        "name": source.name,
        "position_mm": [round(float(v), 4) for v in centre],
        "activity_kbq": round(source.activity_kbq, 4),
        "extent_mm": round(extent, 3),
    }


def truth_of(scene: Scene, reference_utc_s: float, course: Course = QUIET) -> dict[str, Any]:
    """The content of truth.json. A remnant is listed before the resection too: it was there."""
    equipment = scene.equipment
    return {
        "simulated": True,
        "note": STAMP,
        "scene": scene.name,
        "seed": scene.seed,
        "nuclide": NUCLIDE,
        "reference_time": iso_time(reference_utc_s),
        "scan-1": _scan(scene.patient),
        "scan-2": _scan(scene.patient.resected()),
        "count_latency_s": equipment.count_latency_s,
        "T_probe_probetip": equipment.T_probe_probetip,
        "stylus_tip_offset_mm": equipment.stylus_tip_mm,
        "T_study_reference": scene.patient.T_study_reference,
        **({} if course == QUIET else {"course": course.to_json()}),
    }


def _scan(patient: Patient) -> dict[str, Any]:
    return {
        "lesions": [in_reference(patient, s) for s in patient.lesions],
        "other_activity": [in_reference(patient, s) for s in patient.others],
        "background_kbq_per_ml": patient.background.kbq_per_ml,
    }


def write_truth(scene: Scene, path: Path, reference_utc_s: float, course: Course = QUIET) -> None:
    """Write truth.json, its folder included; OSError when that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, truth_of(scene, reference_utc_s, course))
