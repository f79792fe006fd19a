"""The top of every page: what this is, what goes on, the engine's heartbeat; and the mark across what is not real."""

from __future__ import annotations

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QPainter, QPen

from navigation.ui.paint import RED, VIOLET, font, line
from navigation.ui.state import ViewState

# The heartbeat goes round once in eight ticks of the engine, two seconds.
BEATS = 8
# A rehearsal has a colour of its own: it is a patient's, but not of now.
BROWN = QColor("#7a4300")
DOING = {
    "scan": "SCANNING",
    "surface": "TOUCHING SURFACE",
    "bed": "TOUCHING BED",
    "divot": "CHECKING THE TIP",
    "sweep": "LATENCY SWEEP",
}


def stamp(state: ViewState) -> str:
    """What this is, in words: a simulation and a rehearsal say so before anything else."""
    told = ["SIMULATION"] if state.simulated else []
    told += [f"REHEARSAL: {state.rehearsal}"] if state.rehearsal else []
    return "  ·  ".join((*told, "RESEARCH USE ONLY"))


def draw_top_bar(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """What this is, what goes on, and the engine's heartbeat."""
    colour = BROWN if state.rehearsal else VIOLET if state.simulated else QColor("#000000")
    painter.fillRect(box, colour)
    line(painter, box.adjusted(16, 4, -420, -4), stamp(state), 28, QColor("white"), True)
    words = DOING.get(state.mode, state.mode or "no engine")
    mode = QRectF(box.right() - 410, box.top() + 4, 330, box.height() - 8)
    doing = f"{words} {state.scan or ''}".strip()
    line(painter, mode, doing, 24, QColor("white"), True, Qt.AlignmentFlag.AlignRight)
    _heartbeat(painter, QPointF(box.right() - 38, box.center().y()), state)


def _heartbeat(painter: QPainter, centre: QPointF, state: ViewState) -> None:
    """A hand that moves with the engine's ticks, and only with them."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor("white") if state.engine_alive else RED, 3))
    painter.drawEllipse(centre, 15.0, 15.0)
    if not state.engine_alive:
        return
    angle = 2.0 * np.pi * (state.ticks % BEATS) / BEATS
    painter.setPen(QPen(QColor("white"), 5, cap=Qt.PenCapStyle.RoundCap))
    painter.drawLine(centre, QPointF(centre.x() + 12 * np.sin(angle), centre.y() - 12 * np.cos(angle)))


def draw_watermark(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """SIMULATION or REHEARSAL across everything; nothing across a live case."""
    words = "SIMULATION" if state.simulated else "REHEARSAL" if state.rehearsal else ""
    if not words:
        return
    painter.save()
    painter.translate(box.center())
    painter.rotate(-24.0)
    painter.setFont(font(0.115 * box.width(), bold=True))
    painter.setPen(QColor(190, 120, 255, 62) if state.simulated else QColor(255, 170, 80, 70))
    room = QRectF(-box.width(), -120, 2 * box.width(), 240)
    painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter), words)
    painter.restore()
