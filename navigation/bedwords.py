"""The words of a bed check: what is stated, and what keeps it from saying more. Never "clear", never a lesion."""

from __future__ import annotations

from calibration.records.record import RecordStamp
from navigation.bed import Residual
from navigation.specimen import Specimen
from navigation.volume import ScanResult

CAVEAT = "Tracer-negative tumour and disease below this activity are not excluded. Not histology."


def statement_of(
    finding: str,
    threshold_kbq: float,
    confidence: float,
    share: float,
    widest_mm: float,
    residuals: tuple[Residual, ...],
    mda_kbq: float | None,
    blocked: str | None = None,
    specimen: Specimen | None = None,
    needed: str | None = None,
) -> str:
    """One paragraph for the surgeon; `needed` is what would state the threshold where it is not."""
    # Rounded against ourselves: what was examined down, so that the rest is never 0 % while some is left.
    seen = int(100 * share)
    left = f"{100 - seen} %"
    if finding == "residual-suspected":
        places = "; ".join(
            f"{r.activity_kbq:.1f} kBq ({r.ci95_kbq[0]:.1f} to {r.ci95_kbq[1]:.1f}) at "
            f"({r.position_mm[0]:.0f}, {r.position_mm[1]:.0f}, {r.position_mm[2]:.0f}) mm"
            for r in residuals
        )
        sizes = size_words(specimen, round(max(r.activity_kbq for r in residuals), 1)) if residuals else ""
        return f"Residual activity suspected in the outlined bed: {places}.{sizes} Not histology."
    if finding == "none-above":
        return (
            f"No activity above {threshold_kbq:g} kBq ({100 * confidence:g} % confidence) detected on "
            f"{seen} % of the outlined bed; {left} not examined to that level."
            f"{size_words(specimen, threshold_kbq)} {CAVEAT}"
        )
    if finding == "partly-assessed":
        return (
            f"Partly assessed: no activity above {threshold_kbq:g} kBq detected on {seen} % of the "
            f"outlined bed; {left}, up to {widest_mm:.0f} mm wide, is not examined to that level."
            f"{_then(needed)}{size_words(specimen, threshold_kbq)} {CAVEAT}"
        )
    if blocked is not None:
        return f"Not assessed: {blocked}{'' if blocked.endswith('?') else '.'} {CAVEAT}"
    reach = "" if mda_kbq is None else f" The scan would notice {mda_kbq:.1f} kBq on 99 % of the bed."
    return (
        f"Not assessed at {threshold_kbq:g} kBq: only {seen} % of the outlined bed was examined to that "
        f"level.{reach} Scan the places shown next.{_then(needed)} {CAVEAT}"
    )


def _then(sentence: str | None) -> str:
    return "" if sentence is None else f" {sentence}"


def size_words(specimen: Specimen | None, activity_kbq: float) -> str:
    """How large an activity is at the uptake of this patient's specimen, as a sentence with a space before it."""
    ball = None if specimen is None else specimen.ball_mm(activity_kbq)
    if specimen is None or ball is None:
        return ""
    size, (low, high) = ball
    return (
        f" At the {specimen.uptake_kbq_per_ml:.3g} kBq/mL of this specimen {activity_kbq:g} kBq are a ball of"
        f" {size:.1f} mm ({low:.1f} to {high:.1f})."
    )


def with_records(statement: str, records: tuple[RecordStamp, ...]) -> str:
    """The statement with the calibration of the detector that it rests on."""
    return f"{statement} Calibration {records[0].words}." if records else statement


def reasons_of(
    result: ScanResult,
    surface_source: str,
    share: float,
    out_of_reach: bool,
    blinded: float = 0.0,
    shadowed: float = 0.0,
) -> tuple[str, ...]:
    """Doubts of the scan, and what of the bed is missing."""
    reasons = list(result.reasons)
    if surface_source == "path":
        reasons.append("without a touched surface or a CT no statement on absence is given")
    if out_of_reach:
        reasons.append("the bed lies out of the probe's reach: is it in the Reference frame?")
    if blinded > 0.0:
        told = max(round(100 * blinded), 1)
        reasons.append(f"{told} % of the bed was seen by a saturated counter and is not assessable")
    if shadowed > 0.0:
        told = max(round(100 * shadowed), 1)
        reasons.append(
            f"{told} % of the bed lies in the shine of a strong source beside it and is not assessable"
        )
    if share < 0.99:
        reasons.append(f"{100 - int(100 * share)} % of the bed is not examined to the threshold")
    return tuple(dict.fromkeys(reasons))
