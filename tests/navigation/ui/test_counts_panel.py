"""Timed counts in the window: what was counted, what it says, and the one under way; never instead of a finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QRectF
from PyQt5.QtGui import QImage, QPainter

from navigation.engine.timedstate import RunningCount, TimedState
from navigation.publish import timed_message
from navigation.ui import panels
from navigation.ui.countlines import MOST_COUNTS, counts_told
from navigation.ui.countspanel import draw_counts
from navigation.ui.model import ViewModel
from navigation.ui.state import ViewState
from tests.navigation.timed.test_exact import background, made
from tests.navigation.ui.scene import model_of, snapshot
from tracking.igtl import decode, encode


def state_of(timed: TimedState, **changes: Any) -> ViewState:
    shot = snapshot(timed=timed, **changes)
    model: ViewModel = model_of(shot)
    model.receive(decode(encode(timed_message(shot).with_version(2))), 0.0)
    return model.state(0.05)


def test_counts_stand_with_their_interval_the_newest_first() -> None:
    found = state_of(TimedState(counts=(background(40, id=1), made(900, id=2))))
    assert found.counts[0].startswith("2 target: 90 cps (")
    assert found.counts[1].startswith("1 background: 4 cps (")
    assert found.counts[2].startswith("target over background: 22")


def test_only_as_many_as_can_be_read() -> None:
    many = tuple(made(100 + i, id=i) for i in range(1, 12))
    lines = [w for w in state_of(TimedState(counts=many)).counts if w[0].isdigit() and " target: " in w]
    assert len(lines) == MOST_COUNTS and lines[0].startswith("11 target")


@pytest.mark.parametrize("table", [{}, {"counts": None}, {"counts": ["x"], "statements": None}])
def test_a_table_that_is_none_has_no_lines(table: dict[str, Any]) -> None:
    assert counts_told(table) == ()


def test_a_count_that_failed_or_is_void_has_no_rate() -> None:
    rows = [{"id": 1, "label": "bed", "void": "moved"}, {"id": 2, "label": "bed", "failed": "no counts"}]
    assert counts_told({"counts": rows}) == ("2 bed: no count (no counts)", "1 bed: void")


def test_the_panel_shows_how_far_the_running_count_is(qtbot: Any) -> None:
    running = RunningCount("specimen 2", 120.0, 5.0, 10.0)
    state = state_of(TimedState(running=running))
    assert (state.work.counting, state.work.counted_share) == ("specimen 2", 0.5)
    image = QImage(600, 260, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    draw_counts(painter, QRectF(0, 0, 600, 260), state)
    painter.end()
    row = [image.pixelColor(x, 32 + 32 + 7) for x in range(12, 588)]
    blue = np.array([c.blue() > 200 and c.red() < 160 for c in row])
    assert blue.mean() == pytest.approx(0.5, abs=0.05)


def test_a_finding_is_never_hidden_by_counts(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(panels, "draw_counts", lambda *_: drawn.append("counts"))
    image = QImage(600, 260, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    state = state_of(TimedState(counts=(made(30, id=1),)), mode="idle")
    panels.draw_bed(painter, QRectF(0, 0, 600, 260), state)
    assert drawn == ["counts"]
    object.__setattr__(state, "bed", {"finding": "none-above", "statement": "...", "residuals": []})
    panels.draw_bed(painter, QRectF(0, 0, 600, 260), state)
    painter.end()
    assert drawn == ["counts"]
