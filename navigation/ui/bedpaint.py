"""One cell of the bed painted, the same in every view: a shape for each word, not a colour alone, and never green."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, Qt
from PyQt5.QtGui import QBrush, QColor, QPainter, QPen, QPolygonF

from navigation.ui.paint import AMBER, BLUE, QUIET

UNSEEN, SHORT, COVERED = "unseen", "short", "covered"
INK = {UNSEEN: AMBER, SHORT: AMBER, COVERED: BLUE}
VEIL = 60


def polygon(points: NDArray[np.float64]) -> QPolygonF:
    """Points (n, 2) for Qt."""
    return QPolygonF([QPointF(float(x), float(y)) for x, y in points])


def paint_cell(painter: QPainter, outline: NDArray[np.float64], seen: str) -> None:
    """Unseen is hatched, what is short of the threshold an amber frame, what is covered a thin blue veil.

    What was examined while no threshold is set is a grey frame: nothing is said of it.
    """
    painter.setPen(QPen(INK.get(seen, QUIET), 1))
    if seen == UNSEEN:
        painter.setBrush(QBrush(AMBER, Qt.BrushStyle.BDiagPattern))
    elif seen == COVERED:
        painter.setBrush(QColor(BLUE.red(), BLUE.green(), BLUE.blue(), VEIL))
    else:
        painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolygon(polygon(outline))
