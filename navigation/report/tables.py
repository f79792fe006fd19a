"""The report's tables as CSV for researchers: one row a focus, a target, an alarm; empty where nothing is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from navigation.report.results import CaseReport, ScanReport
from navigation.volume import Spot

SPOTS = (
    *("scan", "id", "x_mm", "y_mm", "z_mm", "study_x_mm", "study_y_mm", "study_z_mm"),
    *("sd_x_mm", "sd_y_mm", "sd_z_mm", "depth_mm", "depth_sd_mm", "extent_mm"),
    *("activity_kbq", "activity_low_kbq", "activity_high_kbq", "significance", "tbr", "quality", "reasons"),
)
TARGETS = (
    *(
        "target",
        "origin",
        "frame",
        "x_mm",
        "y_mm",
        "z_mm",
        "reference_x_mm",
        "reference_y_mm",
        "reference_z_mm",
    ),
    *("expected_kbq", "outcome", "reason", "by"),
)
ALARMS = ("began_s", "ended_s", "text", "acknowledged_s", "acknowledged_by")
NOWHERE = (None, None, None)
Row = Sequence[Any]


def tables_of(case: CaseReport) -> dict[str, str]:
    """File name to content; places in Reference, and LPS of the study where a registration tells. Times Unix s."""
    spots = [_spot(case, scan, spot) for scan in case.scans for spot in scan.spots]
    tables = {"spots.csv": _csv(SPOTS, spots)}
    if case.targets is not None:
        ends = {e["target"]: e for e in case.targets.get("ends", ())}
        rows = [_target(t, ends.get(t["name"], {})) for t in case.targets.get("targets", ())]
        tables["targets.csv"] = _csv(TARGETS, rows)
    if case.journal is not None:
        alarms = [[a.get(key) for key in ALARMS] for a in case.journal.get("alarms", ())]
        tables["alarms.csv"] = _csv(ALARMS, alarms)
    return tables


def _csv(header: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _spot(case: CaseReport, scan: ScanReport, spot: Spot) -> Row:
    T_ras = case.T_ras_reference
    place = np.asarray(spot.position_mm, dtype=np.float64)
    ras = None if T_ras is None else T_ras[:3, :3] @ place + T_ras[:3, 3]
    lps = NOWHERE if ras is None else (-ras[0], -ras[1], ras[2])
    sd = np.sqrt(np.diag(spot.covariance_mm2))
    return (
        *(
            scan.name,
            spot.id,
            *place,
            *lps,
            *sd,
            spot.depth_below_surface_mm,
            spot.depth_sd_mm,
            spot.extent_mm,
        ),
        *(spot.activity_kbq, *spot.activity_ci95_kbq, spot.significance, spot.tbr, spot.quality),
        "; ".join(spot.reasons),
    )


def _target(target: dict[str, Any], end: dict[str, Any]) -> Row:
    place, reference = (target.get(key) or NOWHERE for key in ("position_mm", "reference_mm"))
    return (
        *(target["name"], target.get("origin"), target.get("frame"), *place, *reference),
        *(target.get("expected_kbq"), end.get("outcome", "open"), end.get("reason"), end.get("by")),
    )
