"""What the report says of the case's course: alarms with who took note of them, marks of what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from navigation.report.document import Block, Heading, Paragraph, Table
from navigation.report.results import CaseReport, ScanReport

ALARM_HEADER = ("First at (UTC)", "Times", "Lasted", "Alarm", "Noted by")
ALARM_WIDTHS = (1.1, 0.6, 0.8, 3.6, 1.2)
# Longer tables are read by nobody; what came first is kept, the rest is counted.
MOST_ALARMS = 40
NOBODY = "nobody"
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def alarms_part(case: CaseReport) -> Iterator[Block]:
    """Every alarm that was shown; where the case kept no journal, that."""
    yield Heading("Alarms")
    if case.journal is None:
        yield Paragraph("This case kept no journal of its alarms.")
        return
    rows = alarm_rows(case.journal.get("alarms", ()))
    if not rows:
        yield Paragraph("None was shown.")
        return
    yield Table(ALARM_HEADER, rows[:MOST_ALARMS], ALARM_WIDTHS)
    if len(rows) > MOST_ALARMS:
        yield Paragraph(f"{len(rows) - MOST_ALARMS} more kinds of alarms are in journal.json.", small=True)
    if open_ones := sum(row[-1] == NOBODY for row in rows):
        yield Paragraph(f"Nobody took note of {open_ones} of these {len(rows)} alarms.")


def alarm_rows(alarms: Any) -> tuple[tuple[str, ...], ...]:
    """One row for each kind of alarm: alarms that differ in their figures only are of one kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for alarm in alarms:
        kinds.setdefault(_NUMBER.sub("#", str(alarm["text"])), []).append(alarm)
    return tuple(_row(found) for found in kinds.values())


def _row(found: list[dict[str, Any]]) -> tuple[str, ...]:
    noted = [str(a.get("acknowledged_by") or NOBODY) for a in found]
    by = NOBODY if NOBODY in noted else ", ".join(dict.fromkeys(noted))
    lasting = any(a.get("ended_s") is None for a in found)
    seconds = sum(float(a["ended_s"]) - float(a["began_s"]) for a in found if a.get("ended_s") is not None)
    lasted = "to the end" if lasting else duration(seconds)
    return (clock(float(found[0]["began_s"])), str(len(found)), lasted, str(found[0]["text"]), by)


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above."""
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.0f} min"


def clock(unix_s: float) -> str:
    """Time of day, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S")


def marks_of(case: CaseReport, scan: ScanReport) -> list[tuple[float, str]]:
    """(time on the scan's clock in s, words) of what was asked for while the scan went on."""
    if case.journal is None or scan.scan is None or scan.scan.reference_time is None:
        return []
    epoch_s = datetime.fromisoformat(scan.scan.reference_time).timestamp()
    times = scan.scan.counts.t_s
    marks = [(float(m["t_s"]) - epoch_s, str(m["words"])) for m in case.journal.get("marks", ())]
    return [(t, words) for t, words in marks if len(times) and times[0] <= t <= times[-1]]
