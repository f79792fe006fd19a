"""The panels beside the slices: count rate, target, lamps, bed, state of the case."""

from __future__ import annotations

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QPainter, QPen

from navigation.findings import kbq, kbq_interval, percent_injected
from navigation.ui.bedcoverage import draw_coverage
from navigation.ui.countspanel import draw_counts
from navigation.ui.paint import AMBER, BLUE, QUIET, RED, WORDS, fitted, line, panel, screen_scale, wrapped
from navigation.ui.state import LARGEST_SD_MM, Lamp, Target, ViewState

CENTRE = Qt.AlignmentFlag.AlignHCenter
FINDING_WORDS = {
    "residual-suspected": ("RESIDUAL ACTIVITY SUSPECTED", RED),
    "none-above": ("NO ACTIVITY ABOVE THE THRESHOLD DETECTED", BLUE),
    "partly-assessed": ("BED ONLY PARTLY ASSESSED", AMBER),
    "not-assessed": ("BED NOT ASSESSED", AMBER),
}
# Two lines for the way that the case itself tells, to a focus or to a target of the study.
WAY_PX = 50.0
# The figures that are read from two metres: their digits are 13 mm high and more on a screen of 96 dots an inch.
RATE_PX, DISTANCE_PX, DISTANCE_SHARE = 88.0, 82.0, 0.38
LAMP_LOOKS = {"valid": ("●", BLUE), "stale": ("✕", RED), "unknown": ("?", AMBER)}


def rate_text(state: ViewState) -> str:
    """Count rate with its unit in one string; of a saturated counter as the lower bound it is."""
    if state.rate_cps is None:
        return "-- cps"
    return f"{'≥ ' if state.saturated else ''}{state.rate_cps:,.0f} cps"


def age_text(age_s: float | None) -> str:
    """An age a reader can take in at a glance."""
    if age_s is None:
        return "--"
    return f"{age_s:.1f} s" if age_s < 99.95 else f"{age_s / 60.0:.0f} min"


def draw_rate(painter: QPainter, box: QRectF, state: ViewState) -> QRectF:
    """Count rate, big; returns the room below it for its last half minute."""
    room = panel(painter, box, f"Count rate{f'  ·  {state.sound}' if state.sound else ''}")
    number = QRectF(room.left(), room.top(), room.width(), 0.5 * room.height())
    colour = RED if state.rate_cps is None else AMBER if state.saturated else WORDS
    line(painter, number, rate_text(state), RATE_PX * screen_scale(), colour, True, CENTRE)
    return QRectF(room.left(), number.bottom(), room.width(), room.bottom() - number.bottom())


def draw_target(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """Distance from the tip to the selected focus, the way to it, and what it is."""
    target = state.target
    title = "Target" if target is None else f"Target: focus {target.spot.id} of {len(state.spots)}  (N: next)"
    room = panel(painter, box, title)
    if state.way:
        wrapped(
            painter, QRectF(room.left(), room.bottom() - WAY_PX, room.width(), WAY_PX), state.way, 19, QUIET
        )
        room = room.adjusted(0.0, 0.0, 0.0, -WAY_PX)
    if target is None:
        line(painter, room, "no focus selected", 28, QUIET, align=CENTRE)
        return
    number = QRectF(room.left(), room.top(), room.width(), DISTANCE_SHARE * room.height())
    ink = WORDS if target.text != "--" else AMBER
    line(painter, number, target.text, DISTANCE_PX * screen_scale(), ink, True, CENTRE)
    side = min((0.97 - DISTANCE_SHARE) * room.height(), 0.5 * room.width())
    _compass(painter, QRectF(room.left(), number.bottom(), side, side), target)
    words = QRectF(room.left() + side + 12, number.bottom() + 4, room.width() - side - 12, side - 4)
    wrapped(painter, words, target_words(target), 24)


def target_words(target: Target) -> str:
    """What is known of the selected focus."""
    spot = target.spot
    share = f"{percent_injected(spot)}\n" if spot.percent_injected is not None else ""
    known = (
        f"{kbq(spot.activity_kbq)}\n({kbq_interval(spot.activity_ci95_kbq)})\n{share}quality {spot.quality}"
    )
    if target.text == "--":
        doubt = "position too uncertain" if not spot.sd_mm <= LARGEST_SD_MM else "probe not seen or map old"
        return f"{doubt}\n{known}"
    assert target.offset_mm is not None
    aside = float(np.hypot(target.offset_mm[0], target.offset_mm[1]))
    ahead = float(target.offset_mm[2])
    where = f"{abs(ahead):.0f} mm {'ahead' if ahead >= 0.0 else 'BEHIND'}\n{aside:.0f} mm aside"
    return f"{where}\n{known}"


def _compass(painter: QPainter, box: QRectF, target: Target) -> None:
    """The probe's face seen from behind it, and an arrow to the side where the target's axis lies."""
    centre, radius = box.center(), 0.44 * box.width()
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QUIET, 2))
    painter.drawEllipse(centre, radius, radius)
    painter.drawEllipse(centre, 0.12 * radius, 0.12 * radius)
    if target.text == "--" or target.offset_mm is None:
        return
    sideways = target.offset_mm[:2]
    # The rim stands for 20 mm; a target farther aside is drawn at the rim.
    length = radius * min(1.0, float(np.hypot(*sideways)) / 20.0)
    angle = float(np.arctan2(sideways[1], sideways[0]))
    end = QPointF(centre.x() + length * np.cos(angle), centre.y() + length * np.sin(angle))
    painter.setPen(QPen(AMBER, 6, cap=Qt.PenCapStyle.RoundCap))
    painter.drawLine(centre, end)
    painter.setBrush(AMBER)
    painter.drawEllipse(end, 8, 8)


def draw_lamps(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """Tools, map and counts with their ages: a word and a shape each, not colour alone."""
    room = panel(painter, box, "Tools and ages")
    rows = [(lamp_words(lamp), *LAMP_LOOKS[lamp.state]) for lamp in state.lamps]
    rows.append((map_words(state), *LAMP_LOOKS[map_lamp(state)]))
    counts = f"Counts  {age_text(state.count_age_s)}"
    rows.append((counts, *LAMP_LOOKS["valid" if state.rate_cps is not None else "stale"]))
    height = min(34.0, room.height() / len(rows))
    for i, (words, shape, colour) in enumerate(rows):
        top = room.top() + i * height
        line(painter, QRectF(room.left(), top, 30, height), shape, 26, colour, True, CENTRE)
        line(painter, QRectF(room.left() + 36, top, room.width() - 36, height), words, 23)


def lamp_words(lamp: Lamp) -> str:
    """A tool in words."""
    status = "" if lamp.status in ("OK", "UNKNOWN") else f" ({lamp.status.replace('_', ' ').lower()})"
    return f"{lamp.label}  {lamp.state}{status}  {age_text(lamp.age_s)}"


def map_lamp(state: ViewState) -> str:
    """Valid only for a live map of this scan, or the finished one while nothing else is scanned."""
    if not state.map_fresh:
        return "stale"
    return "unknown" if state.map_of_other_scan else "valid"


def map_words(state: ViewState) -> str:
    """The map's state in words."""
    if state.maps is None:
        return "Map  none yet"
    if state.map_final and state.map_fresh:
        return f"Map  of {state.map_scan or 'a finished scan'}, finished"
    return f"Map  {'live' if state.map_fresh else 'OLD'}  {age_text(state.map_age_s)}"


def draw_bed(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """The finding on the bed in the words of the bed check; while it is scanned, its coverage."""
    coverage = state.bed.get("coverage")
    if state.mode == "scan" and isinstance(coverage, dict):
        draw_coverage(painter, box, coverage, state.T_reference_probe)
        return
    if "residuals" not in state.bed and (state.counts or state.work.counting is not None):
        draw_counts(painter, box, state)  # nobody has checked the bed yet
        return
    finding = str(state.bed.get("finding", "not-assessed"))
    title, colour = FINDING_WORDS.get(finding, (finding, AMBER))
    room = panel(painter, box, "Resection bed")
    line(painter, QRectF(room.left(), room.top(), room.width(), 34), title, 25, colour, True)
    words = QRectF(room.left(), room.top() + 38, room.width(), room.height() - 38)
    wrapped(painter, words, str(state.bed.get("statement", "Nothing is known of the bed.")), 21)


def draw_case(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """Calibration, latency, registration, lost counts, faults."""
    room = panel(painter, box, "Case")
    latency = state.latency.get("count_latency_s")
    known = "determined" if state.latency.get("determined") else "NOT determined"
    total = state.placed + state.unplaced
    lines = [
        f"Nuclide {state.nuclide}; calibration {calibration_text(state)}",
        "Latency unknown" if latency is None else f"Latency {1000 * latency:.0f} ms, {known}",
        f"Registration {state.registration_id}; tip {state.tip}",
        f"Counts lost {state.gaps}; without position {state.unplaced} of {total}",
        *(f"FAULT: {fault}" for fault in state.faults[:2]),
        *state.hints[:1],
    ]
    wrapped(painter, room, "\n".join(lines), 19, AMBER if state.faults or state.hints else QUIET)


def calibration_text(state: ViewState) -> str:
    """The id in use, and whether a second person approved it."""
    if state.calibration_id == "none":
        return "none"
    return f"{state.calibration_id}, {'DRAFT' if state.calibration_state == 'draft' else state.calibration_state}"


def draw_scale(painter: QPainter, box: QRectF, state: ViewState, colours: list[QColor]) -> None:
    """The colour scale with its unit, and what hatching means."""
    bar = QRectF(box.left(), box.top() + 4, 0.38 * box.width(), box.height() - 8)
    step = bar.width() / len(colours)
    for i, colour in enumerate(colours):
        painter.fillRect(QRectF(bar.left() + i * step, bar.top(), step + 1, bar.height()), colour)
    shown = "no map yet" if state.maps is None else f"0 to {state.ceiling:g} kBq/mL and above"
    words = f"{shown}      hatched: not examined, or no limit"
    rest = QRectF(bar.right() + 12, box.top(), box.right() - bar.right() - 12, box.height())
    line(painter, rest, words, 20)


def fits(text: str, width: float, height: float, px: float, bold: bool) -> bool:
    """Whether a line of text lies within its box in the font that `line` would take."""
    from PyQt5.QtGui import QFontMetricsF

    metrics = QFontMetricsF(fitted(text, width, height, px, bold))
    return metrics.horizontalAdvance(text) <= width and metrics.height() <= height
