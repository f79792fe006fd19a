"""The 3D view: a known place falls on its pixel, left is left, expired is grey, a machine without OpenGL goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, QRectF, Qt
from PyQt5.QtGui import QImage, QPainter

from navigation.ui import scene3dview
from navigation.ui.dashboard import Dashboard
from navigation.ui.scene3d import CHOSEN, Anatomy, Camera, Scene3D, Turn, camera_of, opengl_works
from navigation.ui.scene3dview import View3D
from navigation.ui.state import ViewState
from tests.navigation.ui.scene import FOCUS_MM, T_RAS_REFERENCE, model_of, snapshot, spot

SIZE = (420, 300)


@pytest.fixture(scope="module")
def scene() -> Scene3D:
    assert opengl_works()
    return Scene3D()


def state_of(now_s: float = 0.05, **changes: Any) -> ViewState:
    return model_of(snapshot(**changes)).state(now_s)


def like(rgb: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Where a picture has the hue of a colour, however it is lit."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    length = np.linalg.norm(rgb.astype(float), axis=2)
    return (length > 60) & ((rgb @ wanted) > 0.995 * np.maximum(length, 1.0))


def camera(state: ViewState, turn: Turn = Turn()) -> Camera:  # noqa: B008 - frozen
    found = camera_of(state, turn)
    assert found is not None
    return found


@pytest.mark.parametrize("turn", [Turn(), Turn(0.0, 0.0), Turn(-120.0, 50.0)])
def test_a_focus_falls_on_its_pixel(scene: Scene3D, turn: Turn) -> None:
    away = replace(spot(2, FOCUS_MM + [31.0, -22.0, 17.0]), significance=9.0)
    state = state_of(spots=(spot(1), away))
    seen = camera(state, turn)
    assert seen.pixel(FOCUS_MM, SIZE) == pytest.approx((SIZE[0] / 2, SIZE[1] / 2))
    chosen_is_far = replace(state, target=replace(state.target, spot=away))  # type: ignore[type-var]
    rgb = scene.render(chosen_is_far, seen, SIZE)
    rows, columns = np.nonzero(like(rgb, CHOSEN))
    x, y = seen.pixel(away.position_mm, SIZE)
    near = np.hypot(columns - x, rows - y) < 25
    assert near.sum() > 20
    # The way to it, a line in the same colour, ends within the ball.
    ball = np.hypot(columns - x, rows - y) < 9
    assert (columns[ball].mean() + 0.5, rows[ball].mean() + 0.5) == pytest.approx((x, y), abs=2.0)


def test_seen_from_the_front_the_patients_left_is_on_the_right_and_the_head_above() -> None:
    state = state_of()
    front = camera(state, Turn(0.0, 0.0))
    rotation = T_RAS_REFERENCE[:3, :3]
    assert rotation @ front.right == pytest.approx([-1.0, 0.0, 0.0], abs=1e-9)
    assert rotation @ -front.down == pytest.approx([0.0, 0.0, 1.0], abs=1e-9)
    assert rotation @ front.into == pytest.approx([0.0, -1.0, 0.0], abs=1e-9)
    # Turned to the patient's left one sees their left side: the eye stands on it.
    left = camera(state, Turn(90.0, 0.0))
    assert rotation @ -left.into == pytest.approx([-1.0, 0.0, 0.0], abs=1e-9)


def test_skin_and_bones_lie_where_the_registration_puts_them(scene: Scene3D) -> None:
    """A small plate in the study's LPS, seen at the pixel of its place in Reference; none of it unregistered."""
    state = state_of()
    place = FOCUS_MM + [-40.0, 0.0, 25.0]
    lps = np.diag([-1.0, -1.0, 1.0]) @ T_RAS_REFERENCE[:3, :3] @ place
    corners = lps + np.array([[0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8.0]]) - 2.0
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    seen = camera(state, Turn(0.0, 0.0))
    without = scene.render(state, seen, SIZE)
    scene.show_anatomy(Anatomy(None, (corners, faces)))
    changed = np.abs(scene.render(state, seen, SIZE).astype(int) - without).sum(axis=2) > 30
    rows, columns = np.nonzero(changed)
    x, y = seen.pixel(place, SIZE)
    assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=3.0)
    loose = replace(state, T_ras_reference=None)
    bare = scene.render(loose, seen, SIZE)
    scene.show_anatomy(Anatomy(None, None))
    assert np.array_equal(bare, scene.render(loose, seen, SIZE))


def painted(view: View3D, state: ViewState) -> np.ndarray:
    image = QImage(*SIZE, QImage.Format.Format_RGB888)
    painter = QPainter(image)
    view.draw(painter, QRectF(0, 0, *SIZE), state)
    painter.end()
    data = image.constBits()
    assert data is not None
    data.setsize(image.byteCount())
    rows = np.frombuffer(bytes(data), np.uint8).reshape(SIZE[1], image.bytesPerLine())
    return rows[:, : 3 * SIZE[0]].reshape(SIZE[1], SIZE[0], 3).astype(int)


def ready(qtbot: Any) -> View3D:
    view = View3D()
    view.prepare(None)
    qtbot.waitUntil(lambda: view._works is not None, timeout=60_000)
    return view


def test_what_is_old_is_grey_and_crossed_and_shows_no_focus(qtbot: Any) -> None:
    view = ready(qtbot)
    model = model_of(snapshot())
    fresh = painted(view, model.state(0.05))
    assert like(fresh, CHOSEN).sum() > 20
    assert view.shown_id == 41
    old = painted(view, model.state(2.0))
    colourful = np.ptp(old[40:], axis=2) > 25
    red = (old[40:, :, 0] > 150) & (old[40:, :, 1] < 160)
    amber_letters = (old[40:, :, 0] > 150) & (old[40:, :, 1] > 160)
    assert red.any()
    assert not (colourful & ~red & ~amber_letters & (old[40:, :, 0] < 140)).any()
    assert like(old, CHOSEN).sum() == 0


def test_without_opengl_the_view_says_so(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene3dview, "opengl_works", lambda: False)
    view = ready(qtbot)
    painted(view, state_of())
    assert view._scene is None and view.shown_id is None


def test_keys_go_round_the_corner_and_a_drag_turns_the_field(qtbot: Any) -> None:
    board = Dashboard(lambda: None, lambda number: None)
    qtbot.addWidget(board)
    board.resize(1200, 800)
    board.show_state(state_of())
    board.show()
    seen = []
    for _ in range(3):
        qtbot.keyClick(board, Qt.Key.Key_V)
        seen.append(board.corner)
    assert seen == ["eye", "3d", "slice"]
    board.corner = "3d"
    board.grab()
    box = board._cell_3d
    assert box is not None
    before = board.view_3d.turn
    at = box.center().toPoint()
    qtbot.mousePress(board, Qt.MouseButton.LeftButton, pos=at)
    board.view_3d.drag(0.25, 0.0)
    qtbot.mouseMove(board, at + QPoint(10, 0))
    qtbot.mouseRelease(board, Qt.MouseButton.LeftButton, pos=at)
    assert board.view_3d.turn.azimuth_deg >= before.azimuth_deg + 89.0
    board.view_3d.drag(0.0, 5.0)
    assert board.view_3d.turn.elevation_deg == 80.0
