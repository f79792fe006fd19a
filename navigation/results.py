"""Results as files: spots.json, the four volumes, bed_check.json, as the contract of commands and files has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calibration.physics.injection import Given
from calibration.records.record import RecordStamp
from navigation.bed import BedCheck, BedMap
from navigation.tissuemotion import along, tissue_motion
from navigation.volume import NOT_EXAMINED, ScanResult, Spot
from tracking.jsonfile import write_json, write_text


def spot_content(spot: Spot) -> dict[str, Any]:
    """One spot as spots.json and the wire carry it; in percent of the injected, too, where that is known."""
    return {
        "id": spot.id,
        "position_mm": spot.position_mm,
        "covariance_mm2": spot.covariance_mm2,
        "extent_mm": spot.extent_mm,
        "activity_kbq": spot.activity_kbq,
        "activity_ci95_kbq": list(spot.activity_ci95_kbq),
        "significance": spot.significance,
        "tbr": spot.tbr,
        "depth_below_surface_mm": spot.depth_below_surface_mm,
        "depth_sd_mm": spot.depth_sd_mm,
        "quality": spot.quality,
        "reasons": list(spot.reasons),
        **_percent_of(spot),
    }


def _percent_of(spot: Spot) -> dict[str, Any]:
    if spot.percent_injected is None:
        return {}
    share, low, high = spot.percent_injected
    return {"percent_injected": share, "percent_injected_ci95": [low, high]}


def percent_content(
    given: Given | None, activity_kbq: float, ci95_kbq: tuple[float, float]
) -> dict[str, Any]:
    """An activity in percent of the injected, with its interval; nothing where that is not known."""
    if given is None:
        return {}
    return {
        "percent_injected": given.percent(activity_kbq),
        "percent_injected_ci95": list(given.percent_interval(activity_kbq, ci95_kbq)),
    }


def _budget_content(spot: Spot) -> dict[str, Any]:
    return {} if spot.budget is None else {"uncertainty_budget": spot.budget.to_json()}


def spots_content(result: ScanResult) -> dict[str, Any]:
    """Content of spots.json."""
    interval = result.count_latency_ci95_s
    main = main_record(result.records)
    return {
        "spots": [spot_content(s) | _budget_content(s) | _motion(result) | main for s in result.spots],
        "background_kbq_per_ml": result.background_kbq_per_ml,
        "count_latency_s": result.count_latency_s,
        "count_latency_ci95_s": None if interval is None else list(interval),
        "samples": {
            "total": result.samples_total,
            "placed": result.samples_placed,
            "unplaced": result.samples_total - result.samples_placed,
            "saturated": result.samples_saturated,
        },
        "nuclide": result.nuclide,
        "goodness": None if result.goodness is None else result.goodness.to_json(),
        "tissue_motion": _tissue_motion(result),
        "reasons": list(result.reasons),
        "simulated": result.simulated,
        "research_use_only": True,
        **records_content(result.records),
        **({} if result.given is None else {"injection": result.given.to_json()}),
    }


def _motion(result: ScanResult) -> dict[str, Any]:
    """SD per axis by which a spot of a scan that showed breathing moves; nothing of a scan that showed none."""
    swing = None if result.goodness is None else result.goodness.breathing
    return {} if swing is None else {"motion_mm": along(swing.range_mm, swing.axis)}


def _tissue_motion(result: ScanResult) -> dict[str, Any]:
    """What a predicted error at a target takes for soft tissue: measured here, else assumed and in no covariance."""
    swing = None if result.goodness is None else result.goodness.breathing
    return tissue_motion(None if swing is None else swing.range_mm).to_json()


def main_record(records: tuple[RecordStamp, ...]) -> dict[str, Any]:
    """Id and state of the detector's calibration, nothing where none is known."""
    if not records:
        return {}
    return {"calibration_id": records[0].id, "calibration_state": records[0].state}


def records_content(records: tuple[RecordStamp, ...]) -> dict[str, Any]:
    """The detector's calibration, and every record that was used with its checksum."""
    return {**main_record(records), "calibrations": [stamp.to_json() for stamp in records]}


def write_scan_result(result: ScanResult, folder: Path) -> None:
    """spots.json and activity, relative_sd, mda, upper_limit (.nrrd) into an existing or new folder. Raises OSError."""
    from navigation.io.nrrd import write_nrrd
    from navigation.upperlimits import CONFIDENCE

    folder.mkdir(parents=True, exist_ok=True)
    stamp = {"nuclide": result.nuclide, "research_use_only": "true", **main_record(result.records)}
    if result.simulated:
        stamp["simulation"] = "SIMULATION"
    unseen = stamp | {"not_examined": f"{NOT_EXAMINED:g}"}
    grid = result.map.grid
    write_nrrd(folder / "activity.nrrd", result.map.activity, grid, stamp | {"unit": "kBq/mL"})
    write_nrrd(folder / "relative_sd.nrrd", result.map.relative_sd, grid, unseen | {"unit": "1"})
    write_nrrd(folder / "mda.nrrd", result.map.mda_kbq, grid, unseen | {"unit": "kBq"})
    limit = unseen | {
        "unit": "kBq",
        "confidence": f"{CONFIDENCE:g}",
        "confidence_kind": "one-sided upper limit",
    }
    write_nrrd(folder / "upper_limit.nrrd", result.map.upper_limit_kbq, grid, limit)
    write_json(folder / "spots.json", spots_content(result))


def bed_content(check: BedCheck) -> dict[str, Any]:
    """Content of bed_check.json."""
    content: dict[str, Any] = {
        "finding": check.finding,
        "threshold_kbq": check.threshold_kbq,
        "confidence": check.confidence,
        "covered_fraction": check.covered_fraction,
        "largest_uncovered_mm": check.largest_uncovered_mm,
        "mda_kbq": check.mda_kbq,
        "max_upper_limit_kbq": check.max_upper_limit_kbq,
        "residuals": [
            {
                "position_mm": r.position_mm,
                "activity_kbq": r.activity_kbq,
                "ci95_kbq": list(r.ci95_kbq),
                "significance": r.significance,
                **percent_content(check.given, r.activity_kbq, r.ci95_kbq),
            }
            for r in check.residuals
        ],
        "scan_next_mm": [list(p) for p in check.scan_next_mm],
        "statement": check.statement,
        "reasons": list(check.reasons),
        "rules": check.rules,
        "samples": {"placed": check.samples_placed, "saturated": check.samples_saturated},
        "saturated_fraction": check.saturated_fraction,
        "shadowed_fraction": check.shadowed_fraction,
        "reach_kbq": check.reach_kbq,
        "needed_s": check.needed_s,
        "research_use_only": True,
        **records_content(check.records),
    }
    if check.given is not None:
        content |= _bed_percent(check, check.given)
    if check.removed_kbq is not None and check.removed_ci95_kbq is not None:
        content["removed_kbq"] = check.removed_kbq
        content["removed_ci95_kbq"] = list(check.removed_ci95_kbq)
    if check.drift is not None:
        content["background"] = check.drift.to_json()
    return content | _specimen_content(check)


def _specimen_content(check: BedCheck) -> dict[str, Any]:
    """What the specimen tells of the bed: the size of what is stated, and the balance."""
    if check.specimen is None:
        return {}
    specimen, ball = check.specimen, check.specimen.ball_mm(check.threshold_kbq)
    content: dict[str, Any] = {
        "specimen": {
            "name": specimen.name,
            "activity_kbq": specimen.activity_kbq,
            "ci95_kbq": list(specimen.ci95_kbq),
            "volume_ml": specimen.volume_ml,
            "uptake_kbq_per_ml": specimen.uptake_kbq_per_ml,
        }
    }
    if ball is not None:
        content["equivalent_mm"] = ball[0]
        content["equivalent_ci95_mm"] = list(ball[1])
    if check.balance is not None:
        content["specimen_balance"] = check.balance.to_json()
    return content


def _bed_percent(check: BedCheck, given: Given) -> dict[str, Any]:
    """The bed's figures in percent of the injected; those of limits hold for its best estimate."""
    figures = {
        "threshold_percent_injected": check.threshold_kbq,
        "mda_percent_injected": check.mda_kbq,
        "max_upper_limit_percent_injected": check.max_upper_limit_kbq,
        "removed_percent_injected": check.removed_kbq,
    }
    shares: dict[str, Any] = {k: None if v is None else given.percent(v) for k, v in figures.items()}
    if check.removed_kbq is not None and check.removed_ci95_kbq is not None:
        # A difference may be below zero: its interval is widened on the plain scale.
        low, high = check.removed_ci95_kbq
        own = given.budget.coverage_factor * given.budget.relative_sd * check.removed_kbq
        half = float(np.hypot((high - low) / 2.0, own))
        shares["removed_percent_injected_ci95"] = [
            given.percent(check.removed_kbq + sign * half) for sign in (-1.0, 1.0)
        ]
    return {"injection": given.to_json(), **shares}


def write_bed_check(check: BedCheck, folder: Path) -> None:
    """bed_check.json and, voxel by voxel, bed_map.csv into a folder. Raises OSError."""
    if check.bed_map is not None:
        write_text(folder / "bed_map.csv", bed_map_text(check.bed_map))
    write_json(folder / "bed_check.json", bed_content(check))


def bed_map_text(bed_map: BedMap) -> str:
    """CSV: x_mm,y_mm,z_mm,mda_kbq,upper_limit_kbq,covered,shadowed; an empty figure where the scan sees nothing."""
    lines = ["x_mm,y_mm,z_mm,mda_kbq,upper_limit_kbq,covered,shadowed"]
    shadowed = np.zeros(len(bed_map.covered), dtype=bool) if bed_map.shadowed is None else bed_map.shadowed
    columns = (bed_map.points_mm, bed_map.mda_kbq, bed_map.upper_limit_kbq, bed_map.covered, shadowed)
    for (x, y, z), mda, limit, covered, shaded in zip(*columns, strict=True):
        figures = ",".join(f"{v:.4g}" if np.isfinite(v) else "" for v in (mda, limit))
        lines.append(f"{x:.2f},{y:.2f},{z:.2f},{figures},{int(covered)},{int(shaded)}")
    return "\n".join(lines) + "\n"
