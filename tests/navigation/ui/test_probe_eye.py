"""The probe's eye: a focus stands where it lies, left is left, and nothing old is pointed at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QRectF
from PyQt5.QtGui import QImage, QPainter

from navigation.engine.snapshot import Registration
from navigation.ui.dashboard import Dashboard
from navigation.ui.paint import AMBER
from navigation.ui.probeeye import HALF_MM, marks, next_mark
from navigation.ui.probeeyeview import BAR_PX, TITLE_PX, draw_probe_eye
from navigation.ui.state import ViewState
from tests.navigation.ui.scene import FOCUS_MM, T_RAS_REFERENCE, TIP_MM, model_of, snapshot, spot

# The scene's x points to the patient's left, y to the back, z to the head; the probe looks along -y, from the back:
# with the patient's left on the right the head is below.
LEFT, AHEAD, UP = np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])


def state_of(**changes: Any) -> ViewState:
    return model_of(snapshot(**changes)).state(0.05)


def test_a_focus_stands_as_far_aside_and_ahead_as_it_lies() -> None:
    (mark,) = marks(state_of())
    offset = FOCUS_MM - TIP_MM
    assert mark.ahead_mm == pytest.approx(offset @ AHEAD)
    assert mark.right_mm == pytest.approx(offset @ LEFT)
    assert mark.down_mm == pytest.approx(offset @ UP)
    assert mark.words == "1  22 mm"
    assert mark.chosen and mark.inside


@pytest.mark.parametrize("turn_deg", [0.0, 35.0, 180.0])
def test_a_hand_that_rolls_the_probe_does_not_turn_the_picture(turn_deg: float) -> None:
    shot = snapshot()
    probe = shot.tools["Probe"]
    assert probe.matrix is not None
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    rolled = probe.matrix.copy()
    rolled[:3, :3] = rolled[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    tools = {**shot.tools, "Probe": replace(probe, matrix=rolled)}
    aside = spot(position=TIP_MM + 20.0 * AHEAD + 12.0 * LEFT + 7.0 * UP)
    (mark,) = marks(state_of(tools=tools, spots=(aside,)))
    assert (mark.right_mm, mark.down_mm) == pytest.approx((12.0, 7.0), abs=1e-6)


def test_what_lies_behind_or_beside_the_picture_says_so() -> None:
    behind, far = spot(1, TIP_MM - 9.0 * AHEAD), spot(2, TIP_MM + 30.0 * AHEAD + 90.0 * LEFT - 45.0 * UP)
    first, second = marks(state_of(spots=(behind, far)))
    assert first.words == "1  9 mm BEHIND"
    assert not second.inside
    right, down = second.on_rim()
    assert max(abs(right), abs(down)) < HALF_MM
    assert down / right == pytest.approx(second.down_mm / second.right_mm)
    (vague,) = marks(state_of(spots=(spot(sd_mm=14.0),)))
    assert vague.words == "1  --"


def test_nothing_old_is_pointed_at() -> None:
    shot = snapshot()
    blind = {name: replace(tool, valid=False) for name, tool in shot.tools.items()}
    assert marks(state_of(tools=blind)) == ()
    model = model_of(snapshot())
    assert marks(model.state(2.0)) == ()


def painted(state: ViewState, side: int = 500) -> np.ndarray:
    image = QImage(side, side, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    draw_probe_eye(painter, QRectF(0, 0, side, side), state)
    painter.end()
    data = image.constBits()
    assert data is not None
    data.setsize(image.byteCount())
    rows = np.frombuffer(bytes(data), np.uint8).reshape(side, image.bytesPerLine())
    return rows[:, : 3 * side].reshape(side, side, 3).astype(int)


def test_the_ring_of_the_chosen_focus_is_painted_round_its_place(qtbot: Any) -> None:
    aside = spot(position=TIP_MM + 20.0 * AHEAD + 20.0 * LEFT + 15.0 * UP)
    rgb = painted(state_of(spots=(aside,)))
    width, height = 500.0 - BAR_PX, 500.0 - TITLE_PX
    scale = min(width, height) / (2.0 * HALF_MM)
    x, y = width / 2 + 20.0 * scale, TITLE_PX + height / 2 + 15.0 * scale
    colour = np.array([AMBER.red(), AMBER.green(), AMBER.blue()])
    amber = np.abs(rgb - colour).sum(axis=2) < 40
    radius = 3.0 * scale
    angles = np.deg2rad(np.arange(0, 360, 15))
    hits = [
        amber[int(y + radius * np.sin(a)) - 2 :, :][:5, int(x + radius * np.cos(a)) - 2 :][:, :5].any()
        for a in angles
    ]
    assert np.mean(hits) > 0.9  # words may cover a part of it


def test_no_pixel_is_green(qtbot: Any) -> None:
    for changes in ({}, {"spots": ()}):
        red, green, blue = np.moveaxis(painted(state_of(**changes)), 2, 0)
        assert not ((green > red + 40) & (green > blue + 40)).any()


def test_where_to_scan_next_is_seen_along_the_probe() -> None:
    state = replace(
        state_of(),
        bed={"coverage": {"scan_next": {"place_mm": (TIP_MM + 5.0 * AHEAD + 11.0 * LEFT).tolist()}}},
    )
    assert next_mark(state) == pytest.approx((11.0, 0.0), abs=1e-9)
    assert next_mark(replace(state, engine_alive=False)) is None
    assert next_mark(state_of()) is None


def test_the_eye_takes_the_place_of_one_slice_and_keeps_the_others(qtbot: Any) -> None:
    board = Dashboard(lambda: None, lambda number: None)
    qtbot.addWidget(board)
    board.resize(1200, 800)
    board.show_state(state_of(registration=Registration("reg-7", T_RAS_REFERENCE, 1.2)))
    board.grab()
    assert len(board._shown) == 3
    board.corner = "eye"
    board.grab()
    assert [view.title for _, view, _ in board._shown] == ["Along the probe", "Across the probe, at its tip"]
