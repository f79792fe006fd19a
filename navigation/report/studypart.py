"""What the report says of the preoperative study: every target and how it ended, the registration, a shift.

The error that is told is the predicted one at the targets; how well the landmarks fit each other is no accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from navigation.findings import kbq
from navigation.report.document import Block, Heading, Paragraph, Statement, Table
from navigation.report.results import CaseReport
from navigation.report.wording import SCAN_TITLES

TARGET_HEADER = ("Target", "Origin", "Expected", "End", "Reason", "Said by")
TARGET_WIDTHS = (1.2, 1.1, 0.9, 0.8, 2.2, 1.0)
OPEN = "open"
# As `registration.activity.EXCLUDED_MM`: less has to be excluded before it is said that there is no shift.
NOT_EXCLUDED_MM = 6.0
TISSUE = "It is that of a rigid patient: tissue moves beside it, in the abdomen by some 5 to 15 mm with each breath."


def shift_statement(case: CaseReport) -> Iterator[Block]:
    """On the first page: that the activity lies elsewhere than the study has it."""
    for scan in case.scans:
        shift = scan.shift
        if shift and shift.get("shift_alarm"):
            low, high = shift["shift_ci95_mm"]
            words = (
                f"{SCAN_TITLES[scan.name]}: the activity lies {shift['shift_mm']:.1f} mm (95 % {low:.1f} to"
                f" {high:.1f} mm) from where the study has it. A proposal; nothing was moved by it."
            )
            yield Statement("SHIFT ALARM", words, "alert")


def study_part(case: CaseReport) -> Iterator[Block]:
    """The target list and what the scans say of a shift; nothing for a case without targets."""
    if case.targets is None or not case.targets.get("targets"):
        return
    yield Heading("Targets")
    ends = {e["target"]: e for e in case.targets.get("ends", ())}
    yield Table(TARGET_HEADER, tuple(_row(t, ends) for t in case.targets["targets"]), TARGET_WIDTHS)
    left = [t["name"] for t in case.targets["targets"] if t["name"] not in ends]
    if left:
        yield Paragraph(f"Still open, nobody said how they ended: {', '.join(left)}.")
    for scan in case.scans:
        if scan.shift:
            yield Paragraph(f"{SCAN_TITLES[scan.name]}: {shift_sentence(scan.shift)}")


def _row(target: dict[str, Any], ends: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    expected, end = target.get("expected_kbq"), ends.get(target["name"], {})
    origin = ", ".join(w for w in (target.get("origin"), target.get("label"), target.get("note")) if w)
    return (
        str(target["name"]),
        origin,
        "unknown" if expected is None else kbq(float(expected)),
        str(end.get("outcome", OPEN)),
        str(end.get("reason", "")),
        str(end.get("by", "")),
    )


def shift_sentence(shift: dict[str, Any]) -> str:
    """What one scan says, in one sentence."""
    if shift.get("shift_mm") is None:
        return f"no statement on a shift ({'; '.join(shift.get('reasons', ()))})."
    low, high = shift["shift_ci95_mm"]
    size = f"{shift['shift_mm']:.1f} mm (95 % {low:.1f} to {high:.1f} mm)"
    if shift.get("shift_alarm"):
        return f"shift alarm, the activity lies {size} from where the study has it."
    if low > 0.0:
        return f"a shift of {size} is seen, no more than registration and chance may make."
    if high > NOT_EXCLUDED_MM:
        return f"no shift is proven, and one of up to {high:.0f} mm is not excluded."
    return f"no shift of the targets beyond the registration's own error: {size}."


def study_text(case: CaseReport) -> str:
    """How the study compared with the case, and how old it is."""
    check = case.study_check
    if check is None:
        known = case.study is not None or (case.about or {}).get("study_id")
        return "not compared with the case" if known else "none used"
    agreed = ", ".join(check.get("agreed") or ()) or "nothing"
    age = check.get("age_days")
    told = f"agrees with the case in: {agreed}; age {'unknown' if age is None else f'{age:.0f} days'}"
    override = check.get("override")
    if override is None:
        return told
    return f"{told}. DISAGREES; taken upon them by {' and '.join(override['by'])}: {override['reason']}"


def registration_text(case: CaseReport) -> str:
    """Whether there is one, its id, and the error predicted at the targets."""
    reg = case.registration
    if reg is None:
        return "none: positions are in the tracker's Reference frame only"
    said = "accepted" if reg.get("accepted") else "NOT accepted"
    name = "" if reg.get("id") is None else f" ({reg['id']})"
    reasons = "; ".join(str(r) for r in reg.get("reasons") or ())
    why = f": {reasons}" if reasons and not reg.get("accepted") else ""
    return f"{said}{name}{why}; {_predicted(reg)}"


def _predicted(reg: dict[str, Any]) -> str:
    tre = reg.get("tre_mm") or {}
    bounds = [float(v) for v in tre.get("bound95") or () if v is not None]
    errors = [float(v) for v in tre.get("predicted") or () if v is not None]
    if bounds:
        return f"predicted error at the targets at most {np.max(bounds):.1f} mm (95 %). {TISSUE}"
    if errors:
        return f"predicted error at the targets {np.max(errors):.1f} mm (RMS). {TISSUE}"
    return "no error was predicted at any target"
