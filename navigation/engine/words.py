"""A snapshot as JSON: what the STRING messages carry, with null for everything unknown."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from navigation.bedcells import bed_cells
from navigation.engine.snapshot import ShiftState, Snapshot
from navigation.engine.targetdesk import TargetState
from navigation.results import bed_content, spot_content
from navigation.volume import Spot
from navigation.workflow import steps


def status_words(snapshot: Snapshot) -> dict[str, Any]:
    """State of the engine: ages, rates, gaps, ids."""
    return {
        **_head(snapshot),
        "rehearsal": snapshot.rehearsal,
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
        "recomputing": snapshot.recomputing,
        "map_locked": snapshot.map_locked,
        "latency": asdict(snapshot.latency),
        "surface_points": snapshot.surface_points,
        "bed_points": snapshot.bed_points,
        "calibration_id": snapshot.calibration_id,
        "calibration_state": snapshot.calibration_state,
        "registration_id": snapshot.registration.id,
        "registration_state": snapshot.registration.state,
        "registration_age_s": _rounded(snapshot.registration_age_s),
        "registration_tre_mm": _rounded(snapshot.registration.tre_mm),
        "recorder": {k: _rounded(v) for k, v in asdict(snapshot.recorder).items()},
        "background": _clean(asdict(snapshot.background)),
        "tip_check": {**_clean(asdict(snapshot.tip_check)), "words": snapshot.tip_check.words},
        "study_id": snapshot.study_id,
        "landmarks": [_clean(asdict(mark)) for mark in snapshot.landmarks],
        "workflow": [step.to_json() for step in steps(snapshot)],
        "targets": [_target(t) for t in snapshot.targets],
        "shift": None if snapshot.shift is None else _shift(snapshot.shift),
        "timed": {
            "counts": len(snapshot.timed.counts),
            "running": None if snapshot.timed.running is None else _clean(asdict(snapshot.timed.running)),
        },
        "navigation": None if snapshot.navigation is None else _clean(snapshot.navigation.to_json()),
        "expected": None if snapshot.expected is None else _clean(asdict(snapshot.expected)),
        "handling": None if snapshot.handling is None else _clean(asdict(snapshot.handling)),
        "removed_here": [_clean(r.to_json()) for r in snapshot.removals],
        "nuclide": snapshot.nuclide,
        "faults": list(snapshot.faults),
        "hints": list(snapshot.hints),
    }


def spots_words(snapshot: Snapshot) -> dict[str, Any]:
    """The foci of the snapshot, each as in spots.json."""
    version = None if snapshot.map is None else snapshot.map.version
    return {
        **_head(snapshot),
        "scan": snapshot.map_scan,
        "map_version": version,
        "readings": snapshot.spots_readings,
        "newest_reading_t_s": snapshot.spots_t_s,
        **map_calibration(snapshot),
        "spots": [spot_words(s) for s in snapshot.spots],
    }


def spot_words(spot: Spot) -> dict[str, Any]:
    """One focus with the keys of spots.json."""
    found: dict[str, Any] = _clean(spot_content(spot))
    return found


def bed_check_words(snapshot: Snapshot) -> dict[str, Any]:
    """What is known of the bed: its coverage so far, and what was found; "not-assessed" before any check."""
    check, coverage = snapshot.bed_check, snapshot.coverage
    found = {"finding": "not-assessed", "statement": "The bed has not been checked."}
    covered = None if coverage is None else {**_clean(coverage.to_json()), "cells": bed_cells(coverage)}
    return {
        **_head(snapshot),
        **(found if check is None else _clean(bed_content(check))),
        "coverage": covered,
    }


def timed_words(snapshot: Snapshot) -> dict[str, Any]:
    """The timed counts so far, as in timed_counts.json, and the one under way."""
    from navigation.timed.content import table_content

    running = snapshot.timed.running
    found = None if running is None else asdict(running)
    table = _clean(table_content(snapshot.timed.counts))
    return {**_head(snapshot), "nuclide": snapshot.nuclide, "running": _clean(found), **table}


def map_calibration(snapshot: Snapshot) -> dict[str, str]:
    """The calibration that map and foci rest on, which need not be the one in use now."""
    if snapshot.map_calibration is None:
        return {}
    return dict(zip(("calibration_id", "calibration_state"), snapshot.map_calibration, strict=True))


def _head(snapshot: Snapshot) -> dict[str, Any]:
    return {"snapshot": snapshot.id, "t_s": snapshot.t_s, "simulated": snapshot.simulated}


def _target(target: TargetState) -> dict[str, Any]:
    found: dict[str, Any] = _clean(
        {
            "name": target.name,
            "position_mm": target.position_mm,
            "origin": target.origin,
            "expected_kbq": target.expected_kbq,
            "label": target.label,
            "outcome": "open" if target.end is None else target.end.outcome,
        }
    )
    return found


def _shift(shift: ShiftState) -> dict[str, Any]:
    found: dict[str, Any] = _clean(
        {
            "scan": shift.scan,
            "registration_id": shift.registration,
            "alarm": shift.alarm,
            "words": shift.words,
            "shift_mm": shift.length_mm,
            "shift_ci95_mm": shift.ci95_mm,
            "T_seen_believed": shift.T_seen_believed,
        }
    )
    return found


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


def _clean(value: Any) -> Any:
    """The same with null for every number that is none."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_clean(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _rounded(value: Any) -> Any:
    """Times and rates to a millisecond: more digits only cost bytes."""
    return round(value, 3) if isinstance(value, float) and math.isfinite(value) else value
