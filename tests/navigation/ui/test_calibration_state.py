"""The calibration in the window: its id with its state, a draft in capitals, and every letter of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PyQt5.QtCore import QRectF
from PyQt5.QtGui import QImage, QPainter

from navigation.ui import panels
from tests.navigation.ui.scene import model_of, snapshot

ID = "20261122T224306Z-Tc-99m-4f2a9c3d"


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        (ID, "draft", f"{ID}, DRAFT"),
        (ID, "approved", f"{ID}, approved"),
        ("none", "none", "none"),
    ],
)
def test_the_window_names_the_calibration_with_its_state(known: str, state: str, words: str) -> None:
    shown = model_of(snapshot(calibration_id=known, calibration_state=state)).state(0.1)
    assert (shown.calibration_id, shown.calibration_state) == (known, state)
    assert panels.calibration_text(shown) == words


def test_an_engine_that_does_not_tell_the_state_is_no_approval() -> None:
    shown = replace(model_of(snapshot()).state(0.1), calibration_state="unknown")
    assert panels.calibration_text(shown) == "cal-3, unknown"


def test_the_line_is_drawn_whole(monkeypatch: pytest.MonkeyPatch, qtbot: object) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(panels, "wrapped", lambda painter, box, text, *_: drawn.append(text))
    image = QImage(500, 300, QImage.Format_RGB32)
    painter = QPainter(image)
    panels.draw_case(painter, QRectF(0, 0, 480, 280), model_of(snapshot(calibration_id=ID)).state(0.1))
    painter.end()
    assert f"calibration {ID}, DRAFT" in " ".join(drawn)
