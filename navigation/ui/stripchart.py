"""The last half minute of the count rate as on a strip chart: with its gaps, marks, and where the sound begins."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PyQt5.QtCore import Qt
from PyQt5.QtGui import QFont
from PyQt5.QtWidgets import QWidget

from navigation.ui.paint import AMBER, BLUE, FAMILY, PANEL, QUIET
from navigation.ui.state import TRACE_S, ViewState

# The scale has room above the highest reading and does not shrink below this, or noise would look like signal.
HEADROOM, LEAST_TOP_CPS = 1.1, 10.0
MOST_MARKS = 6
# Neighbours' words stand at different heights.
LABEL_AT = (0.86, 0.62, 0.38)
TICK_PX = 15


class StripChart(pg.PlotWidget):  # type: ignore[misc]
    """Draws one state; grey where the engine is silent. Nothing in it can be dragged or zoomed away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=PANEL)
        self.setMouseEnabled(False, False)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setXRange(-TRACE_S, 0.0, padding=0.0)
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setTextPen(pg.mkPen(QUIET))
            axis.setStyle(tickFont=QFont(FAMILY, TICK_PX * 3 // 4))
        self.getAxis("left").setLabel("cps")
        # The unit stands with the numbers: a line of its own would take a third of the chart.
        self.getAxis("bottom").setTicks(
            [[(-t, f"-{t} s" if t else "now") for t in range(0, int(TRACE_S), 10)]]
        )
        self._curve = self.plot([], [], pen=pg.mkPen(BLUE, width=2), connect="finite")
        self._threshold = pg.InfiniteLine(angle=0, pen=pg.mkPen(AMBER, style=Qt.PenStyle.DotLine))
        self.addItem(self._threshold)
        self._marks = [
            pg.InfiniteLine(
                angle=90,
                pen=pg.mkPen(AMBER, width=2),
                label="",
                labelOpts={"position": LABEL_AT[i % len(LABEL_AT)]},
            )
            for i in range(MOST_MARKS)
        ]
        for mark in self._marks:
            self.addItem(mark)
        self._shown: ViewState | None = None

    @property
    def snapshot_id(self) -> int | None:
        """The snapshot that is drawn."""
        return None if self._shown is None else self._shown.snapshot_id

    def show_state(self, state: ViewState) -> None:
        """The state of the next frame."""
        self._shown = state
        rates = np.array([np.nan if v is None else v for v in state.trace], dtype=np.float64)
        count = len(rates)
        seconds = (np.arange(count) - count) * (TRACE_S / state.trace_length)
        self._curve.setData(seconds, rates)
        self._curve.setPen(pg.mkPen(BLUE if state.engine_alive else QUIET, width=2))
        known = rates[np.isfinite(rates)]
        top = max(HEADROOM * float(known.max(initial=0.0)), LEAST_TOP_CPS)
        self.setYRange(0.0, top, padding=0.06)
        above = state.sound_above_cps
        self._threshold.setVisible(above is not None and above <= top)
        if above is not None:
            self._threshold.setValue(above)
        self._show_marks(state)

    def _show_marks(self, state: ViewState) -> None:
        newest = state.marks[-MOST_MARKS:]
        for line, found in zip(self._marks, [*newest, *[None] * (MOST_MARKS - len(newest))], strict=True):
            line.setVisible(found is not None)
            if found is not None:
                ago, words = found
                line.setValue(-ago * TRACE_S / state.trace_length)
                line.label.setFormat(words)
