"""What was found as a measurement report (TID 1500, Comprehensive 3D SR): foci, scans, bed, and the words on them.

It is preliminary and UNVERIFIED: nobody has signed it. Every sentence on absence is the bed check's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from navigation.dicomresults import codes
from navigation.dicomresults.common import UNSETTLED, Context, equipment, settle, template
from navigation.dicomresults.counting import count_group, count_sentences
from navigation.dicomresults.groups import (
    KBQ,
    KBQ_PER_ML,
    MM,
    ONE,
    PERCENT,
    Subject,
    comment,
    evaluation,
    figure,
    finding,
    group,
)
from navigation.dicomresults.regions import BED, tracking_uid
from navigation.dicomresults.uids import derived_uid
from navigation.report.results import CaseReport, ScanReport
from navigation.report.wording import NOT_EXCLUDED, SCAN_TITLES, depth, found_sentences, typical_mda_kbq
from navigation.volume import Spot

if TYPE_CHECKING:
    from highdicom.sr import Measurement, MeasurementReport
    from pydicom.dataset import Dataset

    from navigation.dicomresults.groups import Group

RESEARCH = "Research use only; not a medical device. Not verified by anyone. This is not histology."
SIMULATED = "SIMULATION: simulated data, no patient."
FRAMES = (
    "Coordinates of points are those of this document's frame of reference; positions told in a sentence are those of "
    "the tracker's Reference frame, as everywhere in the report."
)


def findings(case: CaseReport, context: Context, evidence: Sequence[Dataset]) -> Dataset:
    """The report on all scans of a case; `evidence` are the objects that it rests on."""
    from highdicom.sr import Comprehensive3DSR

    shared = equipment(context)
    device = shared.pop("device_serial_number")
    ds = Comprehensive3DSR(
        list(evidence) or [template(context)],
        _content(case, context)[0],
        UNSETTLED,
        1,
        UNSETTLED,
        1,
        **shared,
        device_serial_number=device,
        is_complete=True,
        is_verified=False,
    )
    if not evidence:
        del ds.CurrentRequestedProcedureEvidenceSequence
    return settle(ds, context, "findings", context.description("findings"))


def _content(case: CaseReport, context: Context) -> MeasurementReport:
    from highdicom.sr import (
        ContainerContentItem,
        ContentSequence,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        RelationshipTypeValues,
    )
    from highdicom.sr.templates import DeviceObserverIdentifyingAttributes

    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", context.version),
        name="gammanav",
        manufacturer_name=context.maker,
        model_name=f"gammanav {context.version}",
    )
    observer = ObserverContext(codes.dcm("121007", "Device"), device)
    groups = [g for scan in case.scans for g in _groups(scan, context.at(scan.name))]
    groups += [count_group(c, context) for c in case.timed]
    report = MeasurementReport(
        ObservationContext(observer_device_context=observer), codes.own("scan"), imaging_measurements=groups
    )
    words = ContainerContentItem(
        codes.dcm("121070", "Findings"), relationship_type=RelationshipTypeValues.CONTAINS
    )
    words.ContentSequence = ContentSequence(
        [
            *[finding(t) for t in _sentences(case, context)],
            *[comment(t) for t in _comments(case, context)],
        ]
    )
    report[0].ContentSequence.append(words)
    return report


def _sentences(case: CaseReport, context: Context) -> Iterator[str]:
    """What was found, scan by scan, and the statement on the bed exactly as the bed check has it."""
    for scan in case.scans:
        yield f"{SCAN_TITLES[scan.name]}. {' '.join(found_sentences(scan))}"
        if scan.bed_check and scan.bed_check.get("statement"):
            yield str(scan.bed_check["statement"])
    yield from count_sentences(case.timed, context)


def _comments(case: CaseReport, context: Context) -> Iterator[str]:
    if context.simulated:
        yield SIMULATED
    yield RESEARCH
    yield NOT_EXCLUDED
    yield context.place.words
    yield FRAMES
    for scan in case.scans:
        if scan.name in context.elsewhere:
            yield f"{SCAN_TITLES[scan.name]}: {context.at(scan.name).place.words}"
        reasons = [*scan.info.get("reasons", ()), *(scan.bed_check or {}).get("reasons", ())]
        if reasons:
            told = "; ".join(dict.fromkeys(map(str, reasons)))
            yield f"{SCAN_TITLES[scan.name]}, doubts: {context.identity.text(told)}"


def _groups(scan: ScanReport, context: Context) -> Iterator[Group]:
    """The scan itself, each of its foci, the bed and what is suspected in it."""
    yield _scan_group(scan, context)
    for spot in scan.spots:
        yield _focus_group(spot, scan, context)
    check = scan.bed_check
    if check:
        yield _bed_group(check, scan, context)
        for number, residual in enumerate(check.get("residuals", ()), start=1):
            yield _residual_group(number, residual, scan, context)


def _subject(scan: ScanReport, what: str, finding: str, title: str, context: Context) -> Subject:
    name = context.identity.text(scan.name).replace("-", " ")
    return Subject(finding, f"{title}, {name}", tracking_uid(scan, what, context))


def _scan_group(scan: ScanReport, context: Context) -> Group:
    figures = [
        figure("background", scan.info.get("background_kbq_per_ml"), KBQ_PER_ML),
        figure("mda", typical_mda_kbq(scan), KBQ),
    ]
    return group(_subject(scan, "scan", "scan", "Scan", context), figures, context)


def _focus_group(spot: Spot, scan: ScanReport, context: Context) -> Group:
    sds = np.sqrt(np.diag(context.place.covariance(spot.covariance_mm2)))
    low, high = spot.activity_ci95_kbq
    figures = [
        figure("activity", spot.activity_kbq, KBQ),
        figure("activity-low", low, KBQ),
        figure("activity-high", high, KBQ),
        *(figure(f"sd-{axis}", float(sd), MM) for axis, sd in zip("xyz", sds, strict=True)),
        figure("sd-worst", spot.sd_mm, MM),
        figure("significance", spot.significance, ONE),
        figure("tbr", spot.tbr, ONE),
        figure("depth", spot.depth_below_surface_mm, MM),
        figure("extent", spot.extent_mm, MM),
    ]
    deep = depth(spot, scan)
    notes = [f"{deep} below the touched surface"] if deep is not None else []
    notes += [context.identity.text(reason) for reason in spot.reasons]
    return group(
        _subject(scan, f"focus {spot.id}", "focus", f"Focus {spot.id}", context),
        figures,
        context,
        told=evaluation("quality", spot.quality),
        sentences=[comment("; ".join(notes))] if notes else [],
        place_mm=spot.position_mm,
    )


def _bed_group(check: dict[str, Any], scan: ScanReport, context: Context) -> Group:
    return group(
        _subject(scan, BED, BED, "Resection bed", context),
        [*_bed_figures(check), *_specimen_figures(check)],
        context,
        told=evaluation("bed-finding", str(check.get("finding", "not-assessed"))),
        sentences=[finding(str(check["statement"]))] if check.get("statement") else [],
    )


def _bed_figures(check: dict[str, Any]) -> Iterator[Measurement | None]:
    share, confidence = check.get("covered_fraction"), check.get("confidence")
    yield figure("threshold", check.get("threshold_kbq"), KBQ)
    yield figure("confidence", None if confidence is None else 100.0 * confidence, PERCENT)
    yield figure("covered", None if share is None else 100.0 * share, PERCENT)
    yield figure("uncovered-width", check.get("largest_uncovered_mm"), MM)
    yield figure("bed-mda", check.get("mda_kbq"), KBQ)
    yield figure("bed-limit", check.get("max_upper_limit_kbq"), KBQ)
    yield figure("reach", check.get("reach_kbq"), KBQ)
    yield from _with_ends("removed", check, "removed_kbq", "removed_ci95_kbq", KBQ)


def _specimen_figures(check: dict[str, Any]) -> Iterator[Measurement | None]:
    """What was counted ex vivo, what of the removed it does not hold, and the size that the threshold stands for."""
    yield from _with_ends("specimen", check.get("specimen") or {}, "activity_kbq", "ci95_kbq", KBQ)
    balance = check.get("specimen_balance") or {}
    yield from _with_ends("missing", balance, "missing_kbq", "missing_ci95_kbq", KBQ)
    yield from _with_ends("equivalent", check, "equivalent_mm", "equivalent_ci95_mm", MM)


def _with_ends(
    concept: str, told: dict[str, Any], value: str, interval: str, ucum: str
) -> Iterator[Measurement | None]:
    low, high = told.get(interval) or (None, None)
    yield figure(concept, told.get(value), ucum)
    yield figure(f"{concept}-low", low, ucum)
    yield figure(f"{concept}-high", high, ucum)


def _residual_group(number: int, residual: dict[str, Any], scan: ScanReport, context: Context) -> Group:
    figures = [
        *_with_ends("activity", residual, "activity_kbq", "ci95_kbq", KBQ),
        figure("significance", residual.get("significance"), ONE),
    ]
    subject = _subject(scan, f"residual {number}", "residual", f"Residual focus {number}", context)
    at = np.asarray(residual["position_mm"], dtype=np.float64)
    return group(subject, figures, context, place_mm=at)
