from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QImage

from navigation.ui import panels, slices
from navigation.ui.compose import PALETTE, slice_pixels
from navigation.ui.dashboard import SIDE_SHARE, Dashboard
from navigation.ui.paint import AMBER, BACKGROUND, BLUE, PANEL, QUIET, RED, SMALLEST_PX, WORDS, fitted
from navigation.ui.rail import WIDTH_PX
from navigation.ui.slices import letters, views
from navigation.ui.state import Lamp, Target
from tests.navigation.ui.scene import FOCUS_MM, TIP_MM, model_of, probe_pose, snapshot, spot

# Readable from 2 m: a letter of 8 mm on a 24 inch screen.
READABLE_PX = 30


@pytest.fixture
def dashboard(qtbot: Any) -> Dashboard:
    widget = Dashboard(lambda: None, lambda number: None)
    widget.resize(1600, 1000)
    qtbot.addWidget(widget)
    return widget


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    data = image.constBits().asstring(image.bytesPerLine() * image.height())
    rows = np.frombuffer(data, dtype=np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


def colourful(rgb: np.ndarray) -> np.ndarray:
    return rgb.max(axis=-1).astype(int) - rgb.min(axis=-1) > 60


def test_palette_rises_evenly_and_is_never_green() -> None:
    linear = np.where(
        PALETTE / 255 <= 0.04045, PALETTE / 255 / 12.92, ((PALETTE / 255 + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -2e-3).all()
    assert luminance[-1] > 0.8
    red, green, blue = PALETTE.astype(int).T
    assert not ((green > red) & (green > blue)).any()


def test_three_planes_meet_in_the_tip_at_right_angles() -> None:
    state = model_of(snapshot()).state(0.1)
    for patient in (False, True):
        planes = [v.plane for v in views(state, patient)]
        assert len(planes) == 3
        normals = np.stack([p.normal for p in planes])
        assert np.abs(normals @ normals.T - np.eye(3)).max() < 1e-9
        assert max(abs(p.project(TIP_MM)[0, 2]) for p in planes) < 1e-9


def test_patient_planes_follow_the_radiological_convention() -> None:
    state = model_of(snapshot()).state(0.1)
    rotation = np.diag([-1.0, -1.0, 1.0])
    named = {v.title: v.plane for v in views(state, True)}
    assert letters(rotation @ named["Axial"].right) == "L"
    assert letters(rotation @ named["Axial"].down) == "P"
    assert letters(rotation @ named["Coronal"].down) == "I"


def test_focus_is_bright_and_the_unexamined_is_grey() -> None:
    state = model_of(snapshot()).state(0.1)
    plane = views(state, False)[0].plane
    rgb = slice_pixels(state, plane, (45.0, 45.0), None)
    x, y, _ = plane.project(FOCUS_MM)[0]
    scale = rgb.shape[0] / 90.0
    row, column = int((y + 45.0) * scale), int((x + 45.0) * scale)
    assert rgb[row, column].max() > 200
    assert not colourful(rgb[:4, :4]).any()


def test_expired_scene_loses_its_colour() -> None:
    model = model_of(snapshot())
    live, old = model.state(0.1), model.state(0.3)
    plane = views(live, False)[0].plane
    assert colourful(slice_pixels(live, plane, (45.0, 45.0), None)).any()
    assert not colourful(slice_pixels(old, plane, (45.0, 45.0), None)).any()


def test_every_view_draws_the_same_state(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    for name in (
        "draw_view",
        "draw_rate",
        "draw_target",
        "draw_lamps",
        "draw_bed",
        "draw_case",
        "draw_scale",
    ):
        original = getattr(__import__("navigation.ui.dashboard", fromlist=[name]), name)

        def spy(*arguments: Any, original: Any = original) -> Any:
            drawn.extend(a.snapshot_id for a in arguments if hasattr(a, "snapshot_id"))
            return original(*arguments)

        monkeypatch.setattr(f"navigation.ui.dashboard.{name}", spy)
    dashboard.show_state(model_of(snapshot(id=77)).state(0.1))
    dashboard.grab()
    assert len(drawn) == 9
    assert set(drawn) == {77}


def test_simulation_and_stale_banner_are_painted(dashboard: Dashboard) -> None:
    model = model_of(snapshot())
    dashboard.show_state(model.state(0.1))
    live = pixels(dashboard.grab().toImage())
    dashboard.show_state(model.state(0.3))
    stale = pixels(dashboard.grab().toImage())
    violet = (live[20, 700].astype(int) - (138, 43, 226)) ** 2
    assert violet.sum() < 300
    red = (stale[..., 0] > 130) & (stale[..., 1] < 40) & (stale[..., 2] < 50)
    assert red.sum() > 20_000
    assert ((live[..., 0] > 130) & (live[..., 1] < 40) & (live[..., 2] < 50)).sum() < 2_000


def test_a_frame_takes_less_than_its_share(dashboard: Dashboard) -> None:
    # Processor time, so that a busy machine does not decide; the goal is 30 ms, the frame has 100.
    dashboard.show_state(model_of(snapshot()).state(0.1))
    dashboard.grab()
    times = []
    for _ in range(5):
        start = time.process_time()
        dashboard.grab()
        times.append(time.process_time() - start)
    assert min(times) < 0.1


def test_click_and_keys_choose_the_target(qtbot: Any) -> None:
    chosen: list[int] = []
    pressed: list[str] = []
    widget = Dashboard(lambda: pressed.append("next"), chosen.append)
    widget.resize(1600, 1000)
    qtbot.addWidget(widget)
    widget.show_state(model_of(snapshot(spots=(spot(1), spot(2, FOCUS_MM + [30.0, 0, 0])))).state(0.1))
    widget.grab()
    box, view, scale = widget._shown[0]
    x, y, _ = view.plane.project(FOCUS_MM + [28.0, 0, 0])[0] * scale
    place = QPoint(int(box.center().x() + x), int(box.center().y() + y))
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place)
    qtbot.keyClick(widget, Qt.Key.Key_N)
    qtbot.keyClick(widget, Qt.Key.Key_A)
    assert chosen == [2]
    assert pressed == ["next"]
    assert widget.patient_axes


def shown(text: str, width: float, height: float, px: float, bold: bool) -> float:
    """Pixel size at which the whole text fits, asserted to fit."""
    found = fitted(text, width, height, px, bold)
    metrics = QFontMetricsF(found)
    assert metrics.horizontalAdvance(text) <= width, text
    assert metrics.height() <= height, text
    assert found.pixelSize() >= SMALLEST_PX
    return float(found.pixelSize())


@pytest.mark.parametrize("size", [(1600, 1000), (1100, 700)])
def test_no_number_is_cut_over_its_range(qtbot: Any, size: tuple[int, int]) -> None:
    width, height = size
    inner = SIDE_SHARE * width - 24
    target_room, rate_room = 0.43 * (height - 62 - 16) - 40, 0.29 * (height - 62 - 16) - 40
    readable = READABLE_PX * width / 1600
    for rate in (None, 0.0, 9.4, 137.0, 9_999.0, 123_456.0, 9_999_999.0):
        state = model_of(snapshot()).state(0.1)
        object.__setattr__(state, "rate_cps", rate)
        text = panels.rate_text(state)
        assert text.endswith(" cps")
        assert shown(text, inner, 0.5 * rate_room, panels.RATE_PX, True) >= readable
    for distance in (0.0, 5.0, 99.6, 250.0, 9_999.0):
        for sd in (0.1, 1.0, 9.99):
            text = Target(spot(sd_mm=sd), distance, np.array([0.0, 0.0, distance])).text
            assert text.endswith(" mm")
            assert (
                shown(text, inner, panels.DISTANCE_SHARE * target_room, panels.DISTANCE_PX, True) >= readable
            )
    for age in (0.0, 0.25, 99.9, 3_600.0, 1e6):
        for word in ("OK", "UNKNOWN", "OUT_OF_VOLUME"):
            shown(panels.lamp_words(Lamp("Stylus", "stale", age, word)), inner - 36, 25, 23, False)


def test_the_figures_read_from_two_metres_are_13_mm_high(qtbot: Any) -> None:
    """In the application's window of 1600 x 1000 with its rail, on a screen of 96 dots an inch (0.265 mm each)."""
    width, height = 1600 - WIDTH_PX, 1000 - 130
    inner = SIDE_SHARE * width - 24
    room = height - 46 - 2 * 8 - 2 * 8
    for text, share, px, part in (
        ("22 ± 2 mm", 0.43, panels.DISTANCE_PX, panels.DISTANCE_SHARE),
        ("99 ± 10 mm", 0.43, panels.DISTANCE_PX, panels.DISTANCE_SHARE),
        ("137 cps", 0.29, panels.RATE_PX, 0.5),
        ("12,345 cps", 0.29, panels.RATE_PX, 0.5),
    ):
        box = part * (share * room - 40 - (panels.WAY_PX if "mm" in text else 0.0))
        font = fitted(text, inner, box, px, True)
        digits = QFontMetricsF(font).tightBoundingRect("0123456789").height()
        assert digits * 25.4 / 96.0 >= 13.0, (text, digits)


def test_every_colour_of_words_stands_out_from_what_is_behind_it() -> None:
    """WCAG 2.2, 1.4.6: contrast of at least 7 to 1."""

    def light(colour: QColor) -> float:
        parts = [colour.redF(), colour.greenF(), colour.blueF()]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for behind in (BACKGROUND, PANEL):
        for words in (WORDS, QUIET, AMBER, BLUE, RED):
            pair = sorted((light(words), light(behind)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 7.0, words.name()


def test_distance_is_that_of_the_pose(qtbot: Any) -> None:
    # 22 mm along the axis, 4 mm across: the words say both.
    assert np.allclose(probe_pose()[:3, 2], [0.0, -1.0, 0.0])
    target = model_of(snapshot()).state(0.1).target
    assert target is not None
    assert panels.target_words(target).startswith("22 mm ahead\n4 mm aside\n84 kBq")


@pytest.mark.parametrize("x", [-270.0, -150.0, 0.0, 130.0, 200.0, 270.0])
def test_words_of_a_focus_lie_inside_the_slice_wherever_it_is(qtbot: Any, x: float) -> None:
    # A slice of 546 x 444 pixels, as in a window of 1600 x 1000: a cut "15 mm off" would be another number.
    for y in (-222.0, 0.0, 222.0):
        box = slices.label_box(x, y, "12  105 mm off", (273.0, 222.0), 36.0)
        assert -273.0 <= box.left() and box.right() <= 273.0
        assert -222.0 <= box.top() and box.bottom() <= 222.0
        assert fitted("12  105 mm off", box.width(), box.height(), 22, True).pixelSize() == 22


@pytest.mark.parametrize(
    ("dpi", "scale"), [(96.0, 1.0), (72.0, 1.0), (163.0, 163.0 / 96.0), (0.0, 1.0), (2400.0, 1.0)]
)
def test_figures_keep_their_size_in_mm_on_a_dense_screen(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch, dpi: float, scale: float
) -> None:
    from navigation.ui import paint, shell

    assert paint.scale_of(dpi) == pytest.approx(scale)
    monkeypatch.setattr(panels, "screen_scale", lambda: scale)
    monkeypatch.setattr(shell, "screen_scale", lambda: scale)
    drawn: list[float] = []
    monkeypatch.setattr(panels, "line", lambda painter, box, text, px, *rest: drawn.append(px))
    monkeypatch.setattr(panels, "wrapped", lambda *words: None)
    board = Dashboard(lambda: None, lambda number: None)
    made = shell.Shell(board, None)
    qtbot.addWidget(made)
    made.fit(3840, 2160)
    assert made.width() == round(1600 * scale)
    made.show_state(model_of(snapshot()).state(0.05))
    made.grab()
    assert panels.RATE_PX * scale in drawn and panels.DISTANCE_PX * scale in drawn
