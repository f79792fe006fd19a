"""Timed counts in the window: the one under way, the newest ones, and what they say together."""

from __future__ import annotations

from PyQt5.QtCore import QRectF, Qt
from PyQt5.QtGui import QPainter

from navigation.ui.paint import AMBER, BLUE, EDGE, WORDS, line, panel, wrapped
from navigation.ui.state import ViewState


def draw_counts(painter: QPainter, box: QRectF, state: ViewState) -> None:
    """The count under way as a bar, and the lines."""
    room = panel(painter, box, "Timed counts")
    top = room.top()
    if state.work.counting is not None:
        line(
            painter, QRectF(room.left(), top, room.width(), 30), f"Counting {state.work.counting}", 23, AMBER
        )
        bar = QRectF(room.left(), top + 32, room.width(), 14)
        filled = QRectF(bar.left(), bar.top(), state.work.counted_share * bar.width(), bar.height())
        painter.fillRect(filled, BLUE)
        painter.setPen(EDGE)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(bar)
        top += 54
    rest = QRectF(room.left(), top, room.width(), room.bottom() - top)
    wrapped(painter, rest, "\n".join(state.counts), 21, WORDS)
