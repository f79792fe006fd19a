"""The bed while it is scanned: what is covered, what was not examined, and where to scan next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QBrush, QPainter, QPen

from navigation.ui.paint import AMBER, BLUE, EDGE, QUIET, WORDS, line, panel

# The arrow has its full length where the next place is this far beside the probe's axis.
FULL_ARROW_MM = 40.0


def coverage_title(coverage: dict[str, Any]) -> str:
    """How much is covered, rounded down: what is left is never 0 % while some is."""
    share, threshold = coverage.get("covered_fraction"), coverage.get("threshold_kbq")
    if share is None or threshold is None:
        worst = coverage.get("worst_mda_kbq")
        return "no threshold is set" if worst is None else f"99 % of the bed to {worst:.2g} kBq"
    return f"{int(100 * share)} % covered at {threshold:g} kBq"


def coverage_rest(coverage: dict[str, Any]) -> str:
    """What is left: the widest patch, and what was not examined."""
    widest, unseen = coverage.get("largest_uncovered_mm"), float(coverage.get("unseen_fraction") or 0.0)
    told = [] if not widest else [f"widest patch left {widest:.0f} mm"]
    told += [f"{max(round(100 * unseen), 1)} % not examined"] if unseen > 0.0 else []
    return "; ".join(told) or "no patch left"


def next_text(coverage: dict[str, Any], T_reference_probe: NDArray[np.float64] | None) -> str:
    """Where to scan next, as far as can be said without the probe's pose."""
    look = coverage.get("scan_next")
    if look is None:
        return "no place to scan next"
    offset = next_in_probe(look, T_reference_probe)
    return "Scan next: --" if offset is None else f"Scan next: {float(np.linalg.norm(offset)):.0f} mm away"


def next_in_probe(
    look: dict[str, Any], T_reference_probe: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """(3,) mm from the face to the next place, in the probe's frame."""
    if T_reference_probe is None:
        return None
    offset = np.array(look["place_mm"], dtype=np.float64) - T_reference_probe[:3, 3]
    found: NDArray[np.float64] = T_reference_probe[:3, :3].T @ offset
    return found


def draw_coverage(
    painter: QPainter, box: QRectF, coverage: dict[str, Any], T_reference_probe: NDArray[np.float64] | None
) -> None:
    """A bar of the shares, what is left in words, and an arrow to the next place as the probe sees it."""
    room = panel(painter, box, "Resection bed, while it is scanned")
    row = room.height() / 4
    words = QRectF(room.left(), room.top(), room.width() - 2 * row, row)
    line(painter, words, coverage_title(coverage), 25, WORDS, True)
    _bar(painter, QRectF(room.left(), room.top() + row, room.width() - 2 * row, 0.6 * row), coverage)
    line(painter, words.translated(0, 2 * row), coverage_rest(coverage), 21, QUIET)
    line(painter, words.translated(0, 3 * row), next_text(coverage, T_reference_probe), 25, AMBER)
    look = coverage.get("scan_next")
    offset = None if look is None else next_in_probe(look, T_reference_probe)
    if offset is not None:
        _arrow(painter, QPointF(room.right() - row, room.center().y()), 0.9 * row, offset)


def _bar(painter: QPainter, box: QRectF, coverage: dict[str, Any]) -> None:
    """Covered in blue; what was not examined hatched; what was, and is not covered, empty."""
    covered = float(coverage.get("covered_fraction") or 0.0) * box.width()
    unseen = float(coverage.get("unseen_fraction") or 0.0) * box.width()
    painter.fillRect(QRectF(box.left(), box.top(), covered, box.height()), BLUE)
    hatched = QBrush(AMBER, Qt.BrushStyle.BDiagPattern)
    painter.fillRect(QRectF(box.right() - unseen, box.top(), unseen, box.height()), hatched)
    painter.setPen(QPen(EDGE, 1.5))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(box)


def _arrow(painter: QPainter, centre: QPointF, radius: float, offset_mm: NDArray[np.float64]) -> None:
    """From the middle towards the next place, beside the probe's axis: x to the right, y down, as along its shaft."""
    painter.setPen(QPen(EDGE, 1.5))
    painter.drawEllipse(centre, radius, radius)
    beside = offset_mm[:2]
    length = float(np.linalg.norm(beside))
    if length == 0.0:
        return
    way = beside / length * radius * min(length / FULL_ARROW_MM, 1.0)
    end = QPointF(centre.x() + float(way[0]), centre.y() + float(way[1]))
    painter.setPen(QPen(AMBER, 4))
    painter.drawLine(centre, end)
    painter.setBrush(AMBER)
    painter.drawEllipse(end, 5, 5)
