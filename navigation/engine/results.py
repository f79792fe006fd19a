"""The folders of a case: scan-1/, scan-2/ with their results, and beside them what they rest on.

Live engine and replay write them from the same session and outcomes, so the files are the same too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from navigation.engine.folders import scan_of
from navigation.engine.jobs import AnalyzeJob, BedJob, Outcome
from navigation.engine.session import Session
from navigation.engine.snapshot import LatencyState
from navigation.engine.tools import PROBE
from navigation.registration.activityfile import activity_content
from navigation.results import write_bed_check, write_scan_result
from navigation.timed.content import counts_content, write_counts
from tracking.jsonfile import write_json
from tracking.scanfolder import write_scan


def write_results(session: Session, outcomes: Iterable[Outcome], folder: Path) -> tuple[str, ...]:
    """Write every analysed scan into `folder`; returns their names. Raises OSError."""
    written = []
    for outcome in outcomes:
        job = outcome.job
        place = folder / job.basis.scan
        if isinstance(job, AnalyzeJob) and outcome.result is not None:
            write_scan(scan_of(session, job.basis.scan), place, force=True)
            write_scan_result(outcome.result, place)
            if outcome.shift is not None:
                shift = activity_content(outcome.shift)
                write_json(place / "shift.json", {**shift, "registration_id": job.basis.registration})
            written.append(job.basis.scan)
        if isinstance(job, BedJob) and outcome.bed_check is not None:
            place.mkdir(parents=True, exist_ok=True)
            write_bed_check(outcome.bed_check, place)
            bed = {"points_mm": job.bed.points_mm, "depth_mm": job.bed.depth_mm}
            write_json(place / "bed.json", bed)
    if session.calibration is not None:
        write_json(folder / "probe.json", session.calibration)
    write_json(folder / "latency.json", latency_content(session.latency))
    if session.registrations.entries:
        elsewhere = [s.name for s in session.scans.values() if s.frame != session.frame]
        content = {**session.registrations.to_json(), "scans_elsewhere": elsewhere}
        write_json(folder / "registrations.json", content)
    write_json(folder / "case.json", case_content(session))
    journal = session.journal.to_json()
    if journal["alarms"] or journal["marks"]:
        write_json(folder / "journal.json", journal)
    if session.timed.counts:
        settings = session.settings
        counts = counts_content(
            session.timed.counts,
            settings.nuclide,
            session.timed.reference_s,
            settings.simulated,
            settings.case_id,
        )
        write_counts(counts, folder)
    if session.settings.study_check is not None:
        write_json(folder / "study_check.json", dict(session.settings.study_check))
    if len(session.target_desk.targets):
        write_json(folder / "targets.json", targets_content(session))
    _write_guidance(session, folder)
    tip = session.tip_check.checks.get(PROBE)
    if tip is not None:
        write_json(folder / "divot.json", tip.as_json())
    return tuple(written)


def case_content(session: Session) -> dict[str, Any]:
    """case.json: what the case was, and what sent it poses and counts."""
    settings, counts = session.settings, session.counts
    return {
        "case": settings.case_id,
        "nuclide": settings.nuclide,
        "simulated": settings.simulated,
        "study_id": None if session.study is None else session.study.id,
        "frame_of_reference": None if session.study is None else session.study.frame_of_reference,
        "registration_id": session.registration.id,
        "sources": [
            {
                "name": name,
                "at": role.where,
                "gives": [what for what, gives in (("poses", role.poses), ("counts", role.counts)) if gives],
                "clock": role.clock.value,
                "messages": session.messages[name],
                "refused": session.hub.refused[name],
            }
            for name, role in settings.sources.items()
        ],
        "tips": {
            "Probe": settings.tips.probe.tolist(),
            "Stylus": None if settings.tips.stylus is None else settings.tips.stylus.tolist(),
        },
        "counter": {"gaps": counts.gaps, "missing": counts.missing, "restarts": counts.restarts},
    }


def _write_guidance(session: Session, folder: Path) -> None:
    found = guidance_content(session)
    if any(found.values()):
        write_json(folder / "guidance.json", found)


def guidance_content(session: Session) -> dict[str, Any]:
    """guidance.json: marks "removed here", and what of each scan was discarded, in s of its clock."""
    return {
        "removed_here": [mark.to_json() for mark in session.guidance.removals],
        "discarded": [
            {"scan": name, "from_s": low - scan.epoch_s, "to_s": high - scan.epoch_s}
            for name, scan in session.scans.items()
            for low, high in scan.discarded
        ],
    }


def targets_content(session: Session) -> dict[str, Any]:
    """targets.json: the case's list with every end; of what no registration places, the place in Reference."""
    desk, T = session.target_desk, session.registration.T_study_reference
    content = desk.targets.as_json()
    for entry, state in zip(content["targets"], desk.states(T, session.frame), strict=True):
        entry["frame"] = desk.frame_of(state.name)
        entry["reference_mm"] = None if state.position_mm is None else state.position_mm.tolist()
        entry["outcome"] = "open" if state.end is None else state.end.outcome
    return {**content, "registration_id": session.registration.id}


def latency_content(latency: LatencyState) -> dict[str, object]:
    """latency.json as the contract has it."""
    return {
        "count_latency_s": latency.count_latency_s,
        "ci95_s": None if latency.ci95_s is None else list(latency.ci95_s),
        "determined": latency.determined,
        "reasons": [] if latency.determined else ["not measured"],
    }
