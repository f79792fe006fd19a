"""Painting words so that none is ever cut: text shrinks to its box, a number carries its unit in the same string."""

from __future__ import annotations

from PyQt5.QtCore import QRectF, Qt
from PyQt5.QtGui import QColor, QFont, QFontMetricsF, QGuiApplication, QPainter, QPen

from navigation.ui.words import tr

FAMILY = "DejaVu Sans"
BACKGROUND, PANEL, EDGE = QColor("#101317"), QColor("#191e25"), QColor("#3a424d")
WORDS, QUIET = QColor("#f2f5f8"), QColor("#a9b3bf")
AMBER, RED, BLUE, VIOLET = QColor("#ffb454"), QColor("#ff8a8a"), QColor("#7fd3ff"), QColor("#8a2be2")
# Below this a letter cannot be told from 2 m on a common monitor.
SMALLEST_PX = 11
USUAL_DPI, LEAST_DPI, LARGEST_DPI = 96.0, 40.0, 288.0


def screen_scale() -> float:
    """How many times denser than 96 dots an inch this screen really is, 1 to 3; 1 where it does not tell.

    Figures read from two metres are as large in mm on any screen.
    """
    screen = QGuiApplication.primaryScreen()
    if screen is None or QGuiApplication.platformName() == "offscreen":
        return 1.0
    return scale_of(screen.physicalDotsPerInch())


def scale_of(dots_per_inch: float) -> float:
    """As `screen_scale`, of a density; a projector's or a television's nonsense is none."""
    plain = LEAST_DPI <= dots_per_inch <= LARGEST_DPI
    return max(1.0, dots_per_inch / USUAL_DPI) if plain else 1.0


def font(px: float, bold: bool = False) -> QFont:
    """The window's font at a pixel size."""
    found = QFont(FAMILY)
    found.setPixelSize(max(1, int(px)))
    found.setBold(bold)
    return found


def fitted(text: str, width: float, height: float, largest_px: float, bold: bool = False) -> QFont:
    """The largest font up to `largest_px` in which one line of `text` lies within width x height."""
    px = int(largest_px)
    while px > SMALLEST_PX:
        metrics = QFontMetricsF(font(px, bold))
        if metrics.horizontalAdvance(text) <= width and metrics.height() <= height:
            break
        px -= 1
    return font(px, bold)


def line(
    painter: QPainter,
    box: QRectF,
    text: str,
    px: float,
    colour: QColor = WORDS,
    bold: bool = False,
    align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
) -> None:
    """One line of text, whole, in a box, in the language of the window."""
    text = tr(text)
    painter.setFont(fitted(text, box.width(), box.height(), px, bold))
    painter.setPen(QPen(colour))
    painter.drawText(box, int(align | Qt.AlignmentFlag.AlignVCenter), text)


def wrapped(painter: QPainter, box: QRectF, text: str, px: float, colour: QColor = WORDS) -> None:
    """Words over several lines, shrunk until all of them fit, in the language of the window."""
    text = tr(text)
    flags = int(Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
    size = int(px)
    while size > SMALLEST_PX:
        metrics = QFontMetricsF(font(size))
        needed = metrics.boundingRect(box, flags, text)
        if needed.height() <= box.height() and needed.width() <= box.width():
            break
        size -= 1
    painter.setFont(font(size))
    painter.setPen(QPen(colour))
    painter.drawText(box, flags, text)


def panel(painter: QPainter, box: QRectF, title: str) -> QRectF:
    """A framed panel with its title; returns the room inside."""
    painter.setPen(QPen(EDGE, 1))
    painter.setBrush(PANEL)
    painter.drawRoundedRect(box, 6, 6)
    line(painter, QRectF(box.left() + 12, box.top() + 6, box.width() - 24, 24), title, 18, QUIET)
    return box.adjusted(12, 32, -12, -8)
