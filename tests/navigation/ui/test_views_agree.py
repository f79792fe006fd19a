"""Every view of a frame draws the same snapshot; keys as set up; slices locked to a focus; the strip chart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt5.QtCore import Qt
from pytestqt.qtbot import QtBot

from navigation.ui import bedcells, camera, dashboard, panels, probeeye, scene3dview, slices
from navigation.ui.camera import overlayview
from navigation.ui.compose import PALETTES, Look, slice_pixels
from navigation.ui.dashboard import CAMERA, CORNERS, Dashboard
from navigation.ui.shell import Shell
from navigation.ui.slices import views
from navigation.ui.state import TRACE_S, ViewState
from navigation.windowsettings import KEYS, PROBES, WindowSettings
from tests.navigation.ui.scene import FOCUS_MM, model_of, snapshot

assert camera and bedcells and panels  # looked into below by name

# Functions that read a state while a frame is painted.
READERS = (
    (dashboard, "views"),
    (slices, "slice_pixels"),
    (dashboard, "draw_rate"),
    (dashboard, "draw_target"),
    (dashboard, "draw_lamps"),
    (dashboard, "draw_bed"),
    (dashboard, "draw_case"),
    (dashboard, "draw_scale"),
    (dashboard, "draw_top_bar"),
    (dashboard, "draw_watermark"),
    (dashboard, "draw_probe_eye"),
    (probeeye, "marks"),
    (dashboard, "draw_camera"),
    (overlayview, "overlay_of"),
    (scene3dview, "camera_of"),
)


def board(qtbot: QtBot, settings: WindowSettings | None = None) -> Dashboard:
    made = Dashboard(lambda: None, lambda number: None, settings)
    qtbot.addWidget(made)
    made.resize(1280, 800)
    return made


@pytest.mark.parametrize("corner", CORNERS)
def test_every_view_draws_one_snapshot(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, corner: str) -> None:
    """While a frame is painted nothing but its own state is read, though the model has gone on."""
    drawn: list[tuple[str, int]] = []

    def watched(module: object, name: str) -> None:
        whole = getattr(module, name)

        def read(*words: object, **more: object) -> object:
            drawn.extend((name, id(w)) for w in words if isinstance(w, ViewState))
            return whole(*words, **more)

        monkeypatch.setattr(module, name, read)

    for module, name in READERS:
        watched(module, name)
    made = board(qtbot)
    made.corner = corner
    model = model_of(snapshot())
    for at in (0.05, 0.1):
        state = model.state(at)
        made.show_state(state)
        model.state(at + 0.01)  # the model has another state by the time it is painted
        drawn.clear()
        made.grab()
        assert {who for _, who in drawn} == {id(state)}
        assert {"views", "draw_rate", "draw_target", "draw_lamps"} <= {name for name, _ in drawn}
        assert made.chart.snapshot_id == state.snapshot_id


def test_keys_are_as_set_up(qtbot: QtBot) -> None:
    keys = {**KEYS, "view": ("F12",), "lock": ("Right",)}
    made = board(qtbot, WindowSettings(keys=keys))
    made.show_state(model_of(snapshot()).state(0.05))
    qtbot.keyClick(made, Qt.Key.Key_V)
    assert made.corner == "slice"
    qtbot.keyClick(made, Qt.Key.Key_F12)
    assert made.corner == "eye"
    qtbot.keyClick(made, Qt.Key.Key_Right)
    assert made.locked


def test_a_camera_is_offered_only_where_there_is_one(qtbot: QtBot) -> None:
    made = board(qtbot)
    made.show_state(model_of(snapshot()).state(0.05))
    seen = []
    for _ in range(4):
        qtbot.keyClick(made, Qt.Key.Key_V)
        seen.append(made.corner)
    assert CAMERA not in seen


class Spoken:
    """Orders that keep what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.pending: tuple[str, ...] = ()

    def say(self, words: str) -> None:
        self.said.append(words)

    def answers(self) -> list[tuple[str, str, bool]]:
        return []


def test_a_count_is_one_key_away_in_every_step(qtbot: QtBot) -> None:
    orders = Spoken()
    shell = Shell(Dashboard(lambda: None, lambda number: None), orders)  # type: ignore[arg-type]
    qtbot.addWidget(shell)
    shell.show_state(model_of(snapshot()).state(0.05))
    chosen = set()
    for step in range(9):
        qtbot.keyClick(shell, Qt.Key.Key_F1 + step)
        chosen.add(shell.rail.selected)
        qtbot.keyClick(shell, Qt.Key.Key_T)
    assert orders.said == ["count target"] * 9 and len(chosen) == 9
    qtbot.keyClick(shell, Qt.Key.Key_H)
    assert "F1 to F9" in shell.bar.told.text() and "count target" in shell.bar.told.text()


@pytest.mark.parametrize("kind", PROBES)
def test_help_of_the_calibration_knows_the_probe(qtbot: QtBot, kind: str) -> None:
    made = Dashboard(lambda: None, lambda number: None, WindowSettings(probe=PROBES[kind]))
    shell = Shell(made, Spoken())  # type: ignore[arg-type]
    qtbot.addWidget(shell)
    shell.show_state(model_of(snapshot()).state(0.05))
    qtbot.keyClick(shell, Qt.Key.Key_F3)
    qtbot.keyClick(shell, Qt.Key.Key_H)
    assert (PROBES[kind].told or "divot") in shell.bar.told.text()


@pytest.mark.parametrize("registered", [True, False])
def test_locked_slices_stay_on_the_focus(registered: bool) -> None:
    state = model_of(snapshot()).state(0.05)
    if not registered:
        state = replace(state, T_ras_reference=None)
    moved = state.T_reference_probe
    assert moved is not None
    moved = moved.copy()
    moved[:3, 3] += [30.0, 5.0, 5.0]
    for one in (state, replace(state, T_reference_probe=moved)):
        found = views(one, False, locked=True)
        assert len(found) == 3 and all("focus 1" in v.title for v in found)
        for view in found:
            np.testing.assert_allclose(view.plane.project(FOCUS_MM)[0], 0.0, atol=1e-9)
        normals = np.stack([np.cross(v.plane.right, v.plane.down) for v in found])
        np.testing.assert_allclose(np.abs(normals @ normals.T), np.eye(3), atol=1e-9)
    assert all("focus" not in v.title for v in views(replace(state, target=None), False, locked=True))


@pytest.mark.parametrize("name", PALETTES)
def test_no_palette_is_green_and_all_rise_in_lightness(name: str) -> None:
    rgb = PALETTES[name].astype(float)
    light = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[::8]) > 0).all()
    assert not ((rgb[:, 1] > rgb[:, 0] + 40) & (rgb[:, 1] > rgb[:, 2] + 40)).any()


def test_opacity_lets_the_ct_through() -> None:
    state = model_of(snapshot()).state(0.05)
    plane = views(state, False)[0].plane
    faint, strong = (
        slice_pixels(state, plane, (45.0, 45.0), None, Look(opacity=o)).astype(float) for o in (0.2, 1.0)
    )

    def colourful(x: np.ndarray) -> float:
        return float(np.abs(x - x.mean(axis=-1, keepdims=True)).sum())

    assert colourful(strong) > 2.0 * colourful(faint) > 0.0
    assert Look().more_opaque(5).opacity == 1.0 and Look().more_opaque(-50).opacity == 0.2


def test_strip_chart_has_gaps_marks_and_the_sound_s_threshold(qtbot: QtBot) -> None:
    made = board(qtbot)
    model = model_of(snapshot())
    model.sound_above_cps = 60.0
    state = replace(model.state(0.05), trace=(10.0, None, 100.0, 50.0), marks=((2, "removed"), (1, "scan")))
    made.show_state(state)
    chart = made.chart
    x, y = chart._curve.getOriginalDataset()
    assert np.isnan(y[1]) and y[2] == 100.0
    assert x[-1] == pytest.approx(-TRACE_S / state.trace_length)
    assert chart._threshold.isVisible() and chart._threshold.value() == 60.0
    shown = [m for m in chart._marks if m.isVisible()]
    assert [m.label.format for m in shown] == ["removed", "scan"]
    made.show_state(replace(state, sound_above_cps=None, marks=()))
    assert not chart._threshold.isVisible() and not any(m.isVisible() for m in chart._marks)


def test_what_begins_is_marked_beside_the_rate() -> None:
    model = model_of(snapshot(mode="idle", scan=None))
    for shot in (snapshot(), snapshot(), snapshot(mode="idle", scan=None)):
        from tests.navigation.ui.scene import messages

        for message in messages(shot):
            model.receive(message, 0.0)
    assert [words for _, words in model.state(0.05).marks] == ["scan", "stop"]
