"""The guided step painted: steps, one big hint, the map of what was covered, figures, progress, the result.

Readable from two metres: the hint is the largest thing there is. Blue is what has been covered, amber what is asked
for; nothing is ever coloured to mean that all is well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import (
    QBrush,
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
)
from PyQt5.QtWidgets import QWidget

from navigation.ui.paint import (
    AMBER,
    BACKGROUND,
    BLUE,
    EDGE,
    PANEL,
    QUIET,
    RED,
    VIOLET,
    WORDS,
    font,
    line,
    panel,
    wrapped,
)

BAR_PX, GAP_PX, STEPS_PX, SIDE_PX, HINT_PX, FOOT_PX = 52.0, 12.0, 352.0, 430.0, 220.0, 84.0
CENTRE = Qt.AlignmentFlag.AlignHCenter
FILLED = QColor(86, 180, 233, 150)
SIDES = ((0.0, "right"), (90.0, "away from you"), (180.0, "left"), (270.0, "towards you"))
# Phases whose map shows places, not directions.
BY_PLACE = ("count", "move")
# A map shows this much beyond its outermost cell.
ROOM = 1.3


class CalibrationView(QWidget):
    """Paints the newest state; `say` takes the user's word: accept, refuse or stop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._state: dict[str, Any] | None = None
        self._buttons: list[tuple[QRectF, str]] = []
        self._pictures: dict[str, QImage] = {}
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def state(self) -> dict[str, Any] | None:
        """What is shown."""
        return self._state

    def show_state(self, state: dict[str, Any]) -> None:
        """Take a new state and paint it."""
        self._state = state
        self.update()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """A: accept the result. R: refuse it. Escape: stop."""
        if event is None:
            return
        if event.key() == Qt.Key.Key_Escape:
            self._say("stop")
        elif self._has_outcome() and event.key() in (Qt.Key.Key_A, Qt.Key.Key_R):
            self._answer("accept" if event.key() == Qt.Key.Key_A else "refuse")

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """A click on one of the buttons."""
        if event is None:
            return
        for box, word in self._buttons:
            if box.contains(event.localPos()):
                self._answer(word)

    def _has_outcome(self) -> bool:
        return self._state is not None and self._state.get("outcome") is not None

    def _answer(self, word: str) -> None:
        """A result that the gates refused cannot be accepted."""
        outcome = (self._state or {}).get("outcome") or {}
        if word != "accept" or outcome.get("accepted"):
            self._say(word)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """A whole frame."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        painter.fillRect(self.rect(), BACKGROUND)
        self._buttons = []
        if self._state is None:
            line(painter, QRectF(self.rect()), "waiting for the guide", 48, QUIET, align=CENTRE)
        else:
            self._paint(painter, self._state)
        painter.end()

    def _paint(self, painter: QPainter, state: dict[str, Any]) -> None:
        width, height = float(self.width()), float(self.height())
        _top_bar(painter, QRectF(0, 0, width, BAR_PX), state)
        top, bottom = BAR_PX + GAP_PX, height - FOOT_PX - GAP_PX
        draw_steps(painter, QRectF(GAP_PX, top, STEPS_PX, bottom - top), state)
        left = STEPS_PX + 2 * GAP_PX
        main = QRectF(left, top, width - left - GAP_PX, bottom - top)
        if self._has_outcome():
            self._outcome(painter, main, state["outcome"], state["figures"])
        else:
            _guidance(painter, main, state)
        draw_progress(painter, QRectF(GAP_PX, bottom + GAP_PX, width - 2 * GAP_PX, FOOT_PX - GAP_PX), state)
        if state.get("simulated"):
            _watermark(painter, main)

    def _outcome(
        self, painter: QPainter, box: QRectF, outcome: dict[str, Any], figures: list[tuple[str, str]]
    ) -> None:
        """The verdict of the gates, reasons, pictures, and what to say."""
        accepted = bool(outcome["accepted"])
        room = panel(painter, QRectF(box.left(), box.top(), box.width(), HINT_PX), "Result")
        words = "Within the gates" if accepted else "REFUSED by the gates"
        line(
            painter,
            QRectF(room.left(), room.top(), room.width(), 70),
            words,
            58,
            WORDS if accepted else RED,
            True,
        )
        written = f"Written as {Path(outcome['path']).name}, a draft until it is approved."
        told = ";  ".join(f"{name} {value}" for name, value in figures)
        known = "\n".join([told, "; ".join(outcome["reasons"]) or written])
        wrapped(painter, QRectF(room.left(), room.top() + 74, room.width(), room.height() - 76), known, 28)
        height = box.height() - HINT_PX - 90 - 2 * GAP_PX
        pictures = QRectF(box.left(), box.top() + HINT_PX + GAP_PX, box.width(), height)
        self._draw_pictures(painter, pictures, outcome["pictures"])
        self._draw_buttons(painter, QRectF(box.left(), box.bottom() - 80, box.width(), 80), accepted)

    def _draw_pictures(self, painter: QPainter, box: QRectF, names: list[str]) -> None:
        shown = [self._picture(n) for n in names[:3]]
        shown = [p for p in shown if not p.isNull()]
        each = (box.width() - GAP_PX * max(len(shown) - 1, 0)) / max(len(shown), 1)
        for k, image in enumerate(shown):
            scale = min(each / image.width(), box.height() / image.height())
            size = (scale * image.width(), scale * image.height())
            left = box.left() + k * (each + GAP_PX) + 0.5 * (each - size[0])
            painter.drawImage(QRectF(left, box.top() + 0.5 * (box.height() - size[1]), *size), image)

    def _picture(self, name: str) -> QImage:
        if name not in self._pictures:
            self._pictures[name] = QImage(name)
        return self._pictures[name]

    def _draw_buttons(self, painter: QPainter, box: QRectF, accepted: bool) -> None:
        offers = [("accept", "A   accept the result"), ("refuse", "R   refuse it")]
        offers = offers if accepted else [("stop", "Esc   close; do the step again")]
        each = (box.width() - GAP_PX * (len(offers) - 1)) / len(offers)
        for k, (word, text) in enumerate(offers):
            button = QRectF(box.left() + k * (each + GAP_PX), box.top(), each, box.height())
            painter.setPen(QPen(WORDS, 2))
            painter.setBrush(PANEL)
            painter.drawRoundedRect(button, 8, 8)
            line(painter, button.adjusted(16, 4, -16, -4), text, 36, WORDS, True, CENTRE)
            self._buttons.append((button, word))


def _top_bar(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    painter.fillRect(box, VIOLET if state.get("simulated") else QColor("#000000"))
    stamp = "SIMULATION  ·  RESEARCH USE ONLY" if state.get("simulated") else "RESEARCH USE ONLY"
    line(painter, box.adjusted(16, 4, -460, -4), stamp, 28, QColor("white"), True)
    right = QRectF(box.right() - 450, box.top() + 4, 434, box.height() - 8)
    line(painter, right, "CALIBRATION", 26, QColor("white"), True, Qt.AlignmentFlag.AlignRight)


def draw_steps(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    """All steps; the one under way is marked by an arrow, those with an accepted result by a tick."""
    room = panel(painter, box, "Steps")
    height = min(74.0, room.height() / max(len(state["steps"]), 1))
    for k, (name, words) in enumerate(state["steps"]):
        row = QRectF(room.left(), room.top() + k * height, room.width(), height)
        now = name == state["step"]
        mark = "▶" if now else "✓" if name in state["steps_done"] else "·"
        line(
            painter,
            QRectF(row.left(), row.top(), 36, height),
            mark,
            28,
            AMBER if now else QUIET,
            True,
            CENTRE,
        )
        colour = WORDS if now or name in state["steps_done"] else QUIET
        line(painter, QRectF(row.left() + 44, row.top(), row.width() - 44, height), words, 25, colour)


def _guidance(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    """The hint over everything, the map below it, figures beside."""
    hint = QRectF(box.left(), box.top(), box.width(), HINT_PX)
    painter.setPen(QPen(EDGE, 1))
    painter.setBrush(PANEL)
    painter.drawRoundedRect(hint, 6, 6)
    words = state["hint"][:1].upper() + state["hint"][1:]
    lost = f"NO CONNECTION: {', '.join(state['lost'])}" if state["lost"] else ""
    draw_hint(painter, hint.adjusted(24, 12, -24, -12), lost or words, RED if lost else WORDS)
    top = hint.bottom() + GAP_PX
    side = QRectF(box.right() - SIDE_PX, top, SIDE_PX, box.bottom() - top)
    area = QRectF(box.left(), top, box.width() - SIDE_PX - GAP_PX, box.bottom() - top)
    draw_map(painter, area, state)
    draw_figures(painter, side, state)


def draw_hint(painter: QPainter, box: QRectF, words: str, colour: QColor) -> None:
    """The hint as large as it may be, over at most three lines."""
    flags = int(Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignCenter)
    for size in range(74, 24, -2):
        painter.setFont(font(size, bold=True))
        needed = painter.boundingRect(box, flags, words)
        if needed.height() <= box.height() and needed.width() <= box.width():
            break
    painter.setPen(QPen(colour))
    painter.drawText(box, flags, words)


def draw_map(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    """The cells as they fill, the tool on them, and where it is wanted; the user's directions once they are known."""
    by_place = state["phase"] in BY_PLACE
    title = "Places counted: a ring for each distance" if by_place else "Covered so far"
    room = panel(painter, box, title + (" (seen from where you stand)" if state["view_known"] else ""))
    cells = state["cells"]
    if not cells:
        line(painter, room, "hold still" if not state["done"] else "done", 40, QUIET, align=CENTRE)
        return
    outer = max(c["high_deg"] for c in cells)
    radius = 0.5 * min(room.width(), room.height())
    scale = radius / (ROOM * outer)
    centre = room.center()
    # The one that is asked for comes last, so that no neighbour hides its border.
    for cell in sorted(cells, key=lambda c: _same(c, state["wanted"])):
        _draw_cell(painter, centre, scale, cell, _same(cell, state["wanted"]))
    if state["view_known"]:
        for degrees, words in SIDES:
            _draw_side(painter, centre, scale * outer, degrees, words)
    if state["pointer"] is not None:
        _draw_pointer(painter, centre, scale, state["pointer"], outer)


def _same(cell: dict[str, Any], other: dict[str, Any] | None) -> bool:
    return other is not None and all(cell[k] == other[k] for k in ("low_deg", "start_rad"))


def _draw_cell(painter: QPainter, centre: QPointF, scale: float, cell: dict[str, Any], wanted: bool) -> None:
    outer, inner = scale * cell["high_deg"], scale * cell["low_deg"]
    start, stop = math.degrees(cell["start_rad"]), math.degrees(cell["stop_rad"])
    path = QPainterPath()
    if stop - start > 359.0:
        path.addEllipse(centre, outer, outer)
        path.addEllipse(centre, inner, inner)
    else:
        big = QRectF(centre.x() - outer, centre.y() - outer, 2 * outer, 2 * outer)
        small = QRectF(centre.x() - inner, centre.y() - inner, 2 * inner, 2 * inner)
        path.arcMoveTo(big, start)
        path.arcTo(big, start, stop - start)
        path.arcTo(small, stop, start - stop)
        path.closeSubpath()
    painter.setPen(QPen(AMBER, 7) if wanted else QPen(EDGE, 2))
    painter.setBrush(
        QBrush(FILLED) if cell["visits"] else QBrush(QColor("#2a313a"), Qt.BrushStyle.BDiagPattern)
    )
    painter.drawPath(path)


def _draw_side(painter: QPainter, centre: QPointF, radius: float, degrees: float, words: str) -> None:
    turn = math.radians(degrees)
    across, up = 1.26 if degrees in (0.0, 180.0) else 0.0, 1.14
    place = QPointF(centre.x() + across * radius * math.cos(turn), centre.y() - up * radius * math.sin(turn))
    wide = 190.0 if degrees in (90.0, 270.0) else 100.0
    box = QRectF(place.x() - 0.5 * wide, place.y() - 18, wide, 36)
    line(painter, box, words, 26, WORDS, align=CENTRE)


def _draw_pointer(
    painter: QPainter, centre: QPointF, scale: float, pointer: tuple[float, float], outer: float
) -> None:
    """Where the tool is; beyond the map's edge it is drawn at the edge."""
    radius, turn = scale * min(pointer[0], 1.2 * outer), pointer[1]
    place = QPointF(centre.x() + radius * math.cos(turn), centre.y() - radius * math.sin(turn))
    painter.setPen(QPen(QColor("black"), 4))
    painter.setBrush(QColor("white"))
    painter.drawEllipse(place, 15.0, 15.0)


def draw_figures(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    """Count rate where there is one, and the live figures, each with its unit."""
    rate_height = 150.0 if state["with_counts"] else 0.0
    if state["with_counts"]:
        room = panel(painter, QRectF(box.left(), box.top(), box.width(), rate_height), "Count rate")
        rate = state["rate_cps"]
        words = "-- cps" if rate is None else f"{rate:,.0f} cps"
        line(painter, room, words, 72, WORDS if rate is not None else RED, True, CENTRE)
        rate_height += GAP_PX
    room = panel(
        painter,
        QRectF(box.left(), box.top() + rate_height, box.width(), box.height() - rate_height),
        "So far",
    )
    height = min(92.0, room.height() / max(len(state["figures"]), 1))
    for k, (name, value) in enumerate(state["figures"]):
        top = room.top() + k * height
        line(painter, QRectF(room.left(), top, room.width(), 0.42 * height), name, 22, QUIET)
        line(
            painter,
            QRectF(room.left(), top + 0.4 * height, room.width(), 0.52 * height),
            value,
            30,
            WORDS,
            True,
        )


def draw_progress(painter: QPainter, box: QRectF, state: dict[str, Any]) -> None:
    """The bar, its percentage, and how long it may take."""
    painter.setPen(QPen(EDGE, 1))
    painter.setBrush(PANEL)
    painter.drawRoundedRect(box, 6, 6)
    share = min(max(float(state["progress"]), 0.0), 1.0)
    bar = box.adjusted(12, 14, -360, -14)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor("#2a313a"))
    painter.drawRoundedRect(bar, 5, 5)
    painter.setBrush(BLUE)
    painter.drawRoundedRect(QRectF(bar.left(), bar.top(), share * bar.width(), bar.height()), 5, 5)
    left = state["seconds_left"]
    words = f"{100 * share:.0f} %" + ("" if left is None else f"   about {max(left, 1.0):.0f} s left")
    line(painter, QRectF(bar.right() + 16, box.top(), 336, box.height()), words, 32, WORDS, True)


def _watermark(painter: QPainter, box: QRectF) -> None:
    painter.save()
    painter.translate(box.center())
    painter.rotate(-24.0)
    painter.setFont(font(0.13 * box.width(), bold=True))
    painter.setPen(QColor(190, 120, 255, 40))
    painter.drawText(
        QRectF(-box.width(), -120, 2 * box.width(), 240), int(Qt.AlignmentFlag.AlignCenter), "SIMULATION"
    )
    painter.restore()
