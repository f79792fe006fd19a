"""A snapshot as JSON: what the STRING messages carry, with null for everything unknown."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from navigation.bed import BedCheck
from navigation.engine.snapshot import Snapshot
from navigation.volume import Spot


def status_words(snapshot: Snapshot) -> dict[str, Any]:
    """State of the engine: ages, rates, gaps, ids."""
    return {
        **_head(snapshot),
        "mode": snapshot.mode,
        "scan": snapshot.scan,
        "count_rate_cps": _rounded(snapshot.counts.rate_cps),
        "counts": {k: _rounded(v) for k, v in asdict(snapshot.counts).items()},
        "tools": {
            name: {"valid": t.valid, "age_s": _rounded(t.age_s), "status": t.status}
            for name, t in snapshot.tools.items()
        },
        "sources": {
            name: {k: _rounded(v) for k, v in asdict(s).items()} for name, s in snapshot.sources.items()
        },
        "map": _map(snapshot),
        "latency": asdict(snapshot.latency),
        "surface_points": snapshot.surface_points,
        "bed_points": snapshot.bed_points,
        "calibration_id": snapshot.calibration_id,
        "registration_id": snapshot.registration.id,
        "nuclide": snapshot.nuclide,
        "faults": list(snapshot.faults),
    }


def spots_words(snapshot: Snapshot) -> dict[str, Any]:
    """The foci of the snapshot, each as in spots.json."""
    version = None if snapshot.map is None else snapshot.map.version
    return {
        **_head(snapshot),
        "scan": snapshot.map_scan,
        "map_version": version,
        "spots": [spot_words(s) for s in snapshot.spots],
    }


def spot_words(spot: Spot) -> dict[str, Any]:
    """One focus with the keys of spots.json."""
    return {
        "id": spot.id,
        "position_mm": [float(v) for v in spot.position_mm],
        "covariance_mm2": [[float(v) for v in row] for row in spot.covariance_mm2],
        "extent_mm": _finite(spot.extent_mm),
        "activity_kbq": _finite(spot.activity_kbq),
        "activity_ci95_kbq": [_finite(v) for v in spot.activity_ci95_kbq],
        "significance": _finite(spot.significance),
        "tbr": _finite(spot.tbr),
        "quality": spot.quality,
        "reasons": list(spot.reasons),
    }


def bed_check_words(snapshot: Snapshot) -> dict[str, Any]:
    """What is known of the bed; "not-assessed" before any check."""
    check = snapshot.bed_check
    found = {"finding": "not-assessed", "statement": "The bed has not been checked."}
    return {**_head(snapshot), **(found if check is None else _check_words(check))}


def _check_words(check: BedCheck) -> dict[str, Any]:
    return {
        "finding": check.finding,
        "threshold_kbq": check.threshold_kbq,
        "confidence": check.confidence,
        "covered_fraction": check.covered_fraction,
        "largest_uncovered_mm": check.largest_uncovered_mm,
        "mda_kbq": _finite(check.mda_kbq),
        "max_upper_limit_kbq": _finite(check.max_upper_limit_kbq),
        "residuals": [
            {
                "position_mm": [float(v) for v in r.position_mm],
                "activity_kbq": r.activity_kbq,
                "ci95_kbq": [_finite(v) for v in r.ci95_kbq],
                "significance": r.significance,
            }
            for r in check.residuals
        ],
        "scan_next_mm": [list(p) for p in check.scan_next_mm],
        "statement": check.statement,
        "reasons": list(check.reasons),
        "removed_kbq": check.removed_kbq,
        "removed_ci95_kbq": check.removed_ci95_kbq,
    }


def _head(snapshot: Snapshot) -> dict[str, Any]:
    return {"snapshot": snapshot.id, "t_s": snapshot.t_s, "simulated": snapshot.simulated}


def _map(snapshot: Snapshot) -> dict[str, Any] | None:
    if snapshot.map is None:
        return None
    return {
        "version": snapshot.map.version,
        "readings": snapshot.map.n_readings,
        "scan": snapshot.map_scan,
        "age_s": _rounded(snapshot.map_age_s),
        "fresh": snapshot.map_fresh,
        "final": snapshot.map_final,
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _rounded(value: Any) -> Any:
    """Times and rates to a millisecond: more digits only cost bytes."""
    return round(value, 3) if isinstance(value, float) and math.isfinite(value) else value
