"""What the report says, in the order in which it is read: finding, bed, foci, pictures, doubts, provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from calibration.records.record import DRAFT, state_of
from navigation.findings import kbq, kbq_interval, percent_injected
from navigation.report import wording as w
from navigation.report.countspart import counts_part
from navigation.report.document import (
    Block,
    Document,
    Heading,
    Items,
    PageBreak,
    Paragraph,
    Picture,
    Row,
    Signatures,
    Statement,
    Table,
)
from navigation.report.journalpart import alarms_part
from navigation.report.results import CaseReport, ScanReport
from navigation.report.studypart import registration_text, shift_statement, study_part, study_text
from navigation.report.tipline import tip_text
from navigation.report.uncertainty import injection_rows, uncertainty_part
from navigation.volume import Spot

Pictures = dict[tuple[str, str], Path]
CHECKED_FILES = (
    "scan.json",
    "poses.csv",
    "counts.csv",
    "surface.csv",
    "spots.json",
    "activity.nrrd",
    "relative_sd.nrrd",
    "mda.nrrd",
    "upper_limit.nrrd",
    "bed_check.json",
    "bed_map.csv",
    "shift.json",
)
CASE_FILES = (
    "probe.json",
    "latency.json",
    "reg.json",
    "study_check.json",
    "targets.json",
    "tip.json",
    "bed.json",
    "case.json",
    "journal.json",
    "registrations.json",
    "timed_counts.json",
)
BED_CAPTION = (
    "Resection bed seen from outside: each place shows the worst over its depth, so that single weak places "
    "weigh more here than in the share of the tissue. Hatched: not examined."
)
# Pictures of the whole case rather than of one scan.
CASE = "case"
PATIENT_CAPTIONS = {
    "planes": (
        "Three planes of the preoperative CT through the leading focus, a row for each scan. Colour: activity; white "
        "ring: centre of a focus with 95 % probability; blue square: target of the study. Hatched: not examined. "
        "The CT is of before the resection, and tissue moves: a registration is that of a rigid patient."
    ),
    "view3d": "The field in space. Foci of all scans; bed and way of the probe of the newest scan.",
}
SIGNERS = ("Surgeon", "Nuclear medicine physician or medical physicist")
SPOT_HEADER = (
    "No.",
    "Depth",
    "Position x, y, z (mm)",
    "SD x, y, z (mm)",
    "Activity (95 % interval)",
    "TBR",
    "Signif.",
    "Quality and reasons",
)
SPOT_WIDTHS = (0.75, 0.75, 1.45, 1.15, 1.5, 0.6, 0.85, 2.1)


def document(case: CaseReport, pictures: Pictures) -> Document:
    """The whole report."""
    source = "Simulated data: no patient." if case.simulated else "Data of a recorded case."
    subtitle = f"{source} Research use only; not a medical device."
    blocks = (
        *first_page(case, pictures),
        *patient_part(pictures),
        *(b for s in case.scans for b in scan_part(s, pictures)),
        *counts_part(case),
        *study_part(case),
        *back_matter(case),
    )
    return Document("Gamma probe navigation: scan report", subtitle, case.simulated, blocks)


def first_page(case: CaseReport, pictures: Pictures) -> Iterator[Block]:
    """What was found, the bed, and one picture."""
    for scan in case.scans:
        tone = "alert" if scan.accepted_spots else "open"
        yield Statement(w.SCAN_TITLES[scan.name], " ".join(w.found_sentences(scan)), tone)
        if scan.bed_check:
            yield from bed_statement(scan.bed_check)
    yield from shift_statement(case)
    if shown := tuple(front_pictures(case, pictures)):
        yield Row(shown)


def patient_part(pictures: Pictures) -> Iterator[Block]:
    """The map in the preoperative CT and the field in space, where there are a CT and a surface."""
    shown = [(key, PATIENT_CAPTIONS[key]) for key in PATIENT_CAPTIONS if (CASE, key) in pictures]
    if not shown:
        return
    yield PageBreak()
    yield Heading("In the patient")
    for key, caption in shown:
        yield Picture(pictures[CASE, key], caption)


def front_pictures(case: CaseReport, pictures: Pictures) -> Iterator[Picture]:
    """The map of the first scan and, where it was checked, the bed."""
    if not case.scans:
        return
    first = case.scans[0]
    if path := pictures.get((first.name, "front")):
        yield Picture(path, f"{w.SCAN_TITLES[first.name]}. Rings: centre of a focus with 95 % probability.")
    beds = [path for s in case.scans if (path := pictures.get((s.name, "bed")))]
    if beds:
        yield Picture(beds[-1], BED_CAPTION)


def bed_statement(check: dict[str, Any]) -> Iterator[Block]:
    """The bed's finding with the statement as the bed check worded it, and what it leaves open."""
    finding = str(check.get("finding", "not-assessed"))
    title = w.FINDING_TITLES.get(finding, finding)
    yield Statement(title, str(check.get("statement", "")), w.FINDING_TONES.get(finding, "open"))
    yield Paragraph(w.NOT_EXCLUDED)


def overview_caption(scan: ScanReport) -> str:
    """What the overview shows."""
    return (
        f"{w.SCAN_TITLES[scan.name]}. Left: brightness is activity; rings hold the centre of a focus with 95 % "
        "probability. Right: the weakest focus that would have been seen, light is weak. Hatched: not examined."
    )


def scan_part(scan: ScanReport, pictures: Pictures) -> Iterator[Block]:
    """Everything about one scan."""
    yield PageBreak()
    yield Heading(w.SCAN_TITLES[scan.name])
    yield from spot_part(scan, pictures)
    if scan.bed_check:
        yield from bed_part(scan)
    if path := pictures.get((scan.name, "overview")):
        yield Picture(path, overview_caption(scan))
    yield Paragraph(counting_line(scan))
    if path := pictures.get((scan.name, "rate")):
        yield Picture(
            path, "Count rate. Shaded intervals had no valid probe position and are not in the map."
        )


def spot_part(scan: ScanReport, pictures: Pictures) -> Iterator[Block]:
    """The table of foci and a picture of each."""
    if not scan.spots:
        yield Paragraph(w.nothing_found(scan))
        return
    yield Table(SPOT_HEADER, tuple(spot_row(s, scan) for s in scan.spots), SPOT_WIDTHS)
    background = scan.info.get("background_kbq_per_ml")
    local = "" if background is None else f" Background of this scan: {float(background):.2g} kBq/mL."
    yield Paragraph(
        "Positions in the Reference frame of the tracker. Depth below the nearest touched surface. Activity above "
        f"the local background at the scan's reference time. TBR: target to background ratio.{local}",
        small=True,
    )
    for spot in scan.accepted_spots:
        if path := pictures.get((scan.name, f"spot-{spot.id}")):
            yield Picture(
                path,
                f"Focus {spot.id}: the plane at its depth and two sections in depth through its centre."
                " Blue: touched surface.",
            )


def spot_row(spot: Spot, scan: ScanReport) -> tuple[str, ...]:
    """One focus as the table shows it."""
    sd = w.sd_along_axes(spot)
    share = f"; {percent_injected(spot)}" if spot.percent_injected is not None else ""
    reasons = f"{spot.quality}: {'; '.join(spot.reasons)}" if spot.reasons else spot.quality
    return (
        str(spot.id),
        w.depth(spot, scan) or "unknown",
        ", ".join(f"{x:.1f}" for x in spot.position_mm),
        ", ".join(f"{x:.1f}" for x in sd),
        f"{kbq(spot.activity_kbq)} ({kbq_interval(spot.activity_ci95_kbq)}){share}",
        "–" if spot.tbr is None else f"{spot.tbr:.1f}",
        f"{spot.significance:.1f}",
        reasons,
    )


def bed_part(scan: ScanReport) -> Iterator[Block]:
    """The bed, whose picture is on the first page: figures, what was removed, the classical rules beside it."""
    check = scan.bed_check
    assert check is not None
    yield Heading("Resection bed")
    yield Paragraph(w.bed_figures(check))
    if removed := w.removed_sentence(check):
        yield Paragraph(removed)
    rules = check.get("rules") or {}
    rows = tuple((w.RULE_NAMES.get(k, k), rule_answer(v)) for k, v in rules.items())
    if rows:
        yield Table(("Classical rule", "Would call the bed"), rows, (3.0, 1.6))
        yield Paragraph(
            "The classical rules look at the hottest reading alone and know nothing of coverage or depth. "
            "They are shown for comparison; the statement does not rest on them.",
            small=True,
        )


def rule_answer(value: Any) -> str:
    """A rule's answer in words; a figure is passed on as it is."""
    if value is None:
        return "cannot be applied"
    if isinstance(value, bool):
        return "positive" if value else "not positive"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def counting_line(scan: ScanReport) -> str:
    """How the counts were placed."""
    samples = scan.info.get("samples", {})
    total, unplaced = samples.get("total"), samples.get("unplaced")
    latency = latency_text(scan.info.get("count_latency_s"), scan.info.get("count_latency_ci95_s"))
    share = "" if not total else f" ({w.percent((unplaced or 0) / total)})"
    return (
        f"Counting intervals: {total if total is not None else 'unknown'}; without a valid probe position and "
        f"therefore not in the map: {unplaced if unplaced is not None else 'unknown'}{share}. {latency}"
    )


def latency_text(latency_s: float | None, interval: list[float] | None) -> str:
    """Latency of the counts that was used."""
    if latency_s is None:
        return "Count latency: undetermined."
    known = (
        f" (95 % interval {1000 * interval[0]:.0f} to {1000 * interval[1]:.0f} ms)"
        if interval
        else " (interval not determined)"
    )
    return f"Count latency used: {1000 * latency_s:.0f} ms{known}."


def back_matter(case: CaseReport) -> Iterator[Block]:
    """Doubts, what was used, where it all comes from."""
    yield Heading("Doubts")
    reasons = w.doubts(case)
    yield (
        Items(reasons)
        if reasons
        else Paragraph("The software names none of its own; it cannot see what it does not measure.")
    )
    yield Heading("Calibration and registration used")
    yield Table(("Item", "Value"), tuple(calibration_rows(case)), (1.4, 4.0))
    yield from uncertainty_part(case)
    yield from alarms_part(case)
    yield Heading("Provenance")
    yield Paragraph(
        f"gammanav {version()}; written {datetime.now(UTC).strftime('%Y-%m-%d %H:%M UTC')}. SHA-256 of the files that "
        "this report was made from, first 16 digits:",
    )
    yield Table(("File", "SHA-256") * 2, checksum_rows(case), (2.0, 1.8) * 2)
    yield Paragraph(record_text(case))
    yield Heading("Read and signed")
    yield Signatures(SIGNERS)
    yield Paragraph(
        "Research use only; not a medical device. A signature takes note and approves nothing.", small=True
    )


def calibration_rows(case: CaseReport) -> Iterator[tuple[str, str]]:
    """What was used to turn counts into activity and positions."""
    probe = case.probe or {}
    state = state_of(probe)
    warning = " – DRAFT, not approved by anyone" if state == DRAFT else ""
    yield "Probe calibration", f"{probe.get('id', 'not found')}: {state}{warning}" if probe else "not found"
    for key, name in (
        ("probe_serial", "Probe serial"),
        ("date", "Calibrated on"),
        ("expiry", "Expires"),
        ("operator", "Operator"),
        ("approved_by", "Approved by"),
        ("approved_at", "Approved on"),
        ("collimator", "Collimator"),
        ("checksum", "Checksum (SHA-256)"),
    ):
        if probe:
            yield name, str(probe.get(key) or "not stated")
    for scan in case.scans:
        yield f"{w.SCAN_TITLES[scan.name]} rests on", records_text(scan.info)
    yield from source_rows(case)
    yield "Nuclide", case.nuclide or "unknown"
    if window := probe.get("window_kev"):
        yield "Energy window", f"{window[0]:g} to {window[1]:g} keV"
    if (chi2 := probe.get("held_out_chi2_per_dof", probe.get("chi2_dof"))) is not None:
        yield "Fit of the calibration", f"chi2/dof {float(chi2):.2f} on held-out points"
    if case.latency:
        yield (
            "Latency calibration",
            latency_text(case.latency.get("count_latency_s"), case.latency.get("ci95_s")),
        )
    yield "Probe's tip", tip_text(case.folder)
    yield "Preoperative study", study_text(case)
    yield "Registration to images", registration_text(case)
    if case.scans:
        yield from injection_rows(case.scans[0])


def source_rows(case: CaseReport) -> Iterator[tuple[str, str]]:
    """What sent poses and counts."""
    for source in (case.about or {}).get("sources", ()):
        refused = f", {source['refused']} refused" if source["refused"] else ""
        told = f"{source['at']}, {' and '.join(source['gives'])}, {source['clock']} clock"
        yield f"Source {source['name']}", f"{told}; {source['messages']} messages{refused}"


def record_text(case: CaseReport) -> str:
    """Which record the results stem from, and the end of its chain: what `gammanav verify` proves."""
    if case.record is None:
        return "No record lies beside these results."
    from tracking.recording import Record

    record = Record(case.record)
    end = record.link_of(record.last_row).hex()
    sealed = "closed" if record.seal is not None else "not closed"
    return f"Record {case.record.name}: {record.last_row} rows, {sealed}; its chain ends with {end[:32]}."


def records_text(info: dict[str, Any]) -> str:
    """Every calibration record that a scan's result names, with its state."""
    found = info.get("calibrations")
    if not isinstance(found, list) or not found:
        return "not stated"
    return "; ".join(
        f"{r.get('kind')} {r.get('id')} ({r.get('state')})" for r in found if isinstance(r, dict)
    )


def version() -> str:
    """The software's version, or that it is not installed."""
    try:
        return metadata.version("gammanav")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def checksum_rows(case: CaseReport) -> tuple[tuple[str, ...], ...]:
    """Two files to a row, the first half of them on the left."""
    listed = [*checksums(case)]
    half = (len(listed) + 1) // 2
    right = [*listed[half:], ("", "")]
    return tuple((*a, *b) for a, b in zip(listed[:half], right, strict=False))


def checksums(case: CaseReport) -> Iterator[tuple[str, str]]:
    """Name and digest of every file that the report rests on."""
    paths = [s.folder / name for s in case.scans for name in CHECKED_FILES]
    paths += [case.folder / name for name in CASE_FILES]
    for path in paths:
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield str(path.relative_to(case.folder)), digest[:16]
