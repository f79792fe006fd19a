"""Landmarks are picked where they lie in the patient: an asymmetric CT, clicks on its pictures, orders out."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, QPointF, Qt
from PyQt5.QtGui import QWheelEvent

from navigation.engine.snapshot import LandmarkState
from navigation.ui.compose import Backdrop
from navigation.ui.studypage import StudyPage
from navigation.ui.studyplanes import LARGEST_MM, SMALLEST_MM, Look, first_look, pixels
from navigation.volume import VoxelGrid
from tests.navigation.ui.scene import model_of, snapshot

# A bead 30 mm to the left, 20 mm to the back and 10 mm towards the head of the middle of an 0.1 mm thin world.
BEAD_MM = np.array([35.0, 10.0, 60.0])
MIDDLE_MM = np.array([5.0, -10.0, 50.0])


@pytest.fixture
def backdrop() -> Backdrop:
    grid = VoxelGrid.aligned(MIDDLE_MM - 100.0, 2.0, (101, 101, 101))
    offset = grid.points() - BEAD_MM
    values = np.where(np.linalg.norm(offset, axis=1) < 5.0, 400.0, -200.0)
    return Backdrop(grid, values.reshape(grid.shape).astype(np.float32))


@pytest.fixture
def page(qtbot: Any, backdrop: Backdrop) -> StudyPage:
    said: list[str] = []
    found = StudyPage(said.append)
    found.said = said  # type: ignore[attr-defined]
    qtbot.addWidget(found)
    found.resize(1200, 900)
    found.show_state(model_of(snapshot()).state(0.1), backdrop)
    found.show()
    found.grab()
    return found


def click(qtbot: Any, page: StudyPage, plane: int, right_mm: float, down_mm: float) -> None:
    box, scale = page._cells[plane]
    at = box.center() + QPointF(right_mm * scale, down_mm * scale)
    qtbot.mouseClick(page, Qt.MouseButton.LeftButton, pos=QPoint(round(at.x()), round(at.y())))


def brightest(rgb: np.ndarray, half: tuple[float, float]) -> tuple[float, float]:
    """Millimetres right of and below the middle of a picture."""
    rows, columns = np.nonzero(rgb[..., 0] == rgb[..., 0].max())
    height, width, _ = rgb.shape
    return (
        float((columns.mean() + 0.5) / width * 2.0 - 1.0) * half[0],
        float((rows.mean() + 0.5) / height * 2.0 - 1.0) * half[1],
    )


def test_the_bead_is_where_a_radiologist_looks_for_it(backdrop: Backdrop) -> None:
    """Left on the right of the picture, back below in the axial plane, head above in the others."""
    axial, coronal, sagittal = Look(BEAD_MM - [0.0, 0.0, 0.0]).planes()
    middle = first_look(backdrop)
    assert middle.place_mm == pytest.approx(MIDDLE_MM)
    for plane, place in zip((axial, coronal, sagittal), Look(BEAD_MM).planes(), strict=True):
        assert plane.centre_mm == pytest.approx(place.centre_mm)
    shifted = Look(np.array([MIDDLE_MM[0], MIDDLE_MM[1], BEAD_MM[2]])).planes()[0]
    assert brightest(pixels(backdrop, shifted, (60.0, 60.0)), (60.0, 60.0)) == pytest.approx((30, 20), abs=1)
    shifted = Look(np.array([MIDDLE_MM[0], BEAD_MM[1], MIDDLE_MM[2]])).planes()[1]
    assert brightest(pixels(backdrop, shifted, (60.0, 60.0)), (60.0, 60.0)) == pytest.approx((30, -10), abs=1)
    shifted = Look(np.array([BEAD_MM[0], MIDDLE_MM[1], MIDDLE_MM[2]])).planes()[2]
    assert brightest(pixels(backdrop, shifted, (60.0, 60.0)), (60.0, 60.0)) == pytest.approx((20, -10), abs=1)


def test_clicks_lead_to_the_bead_and_mark_it_by_name(qtbot: Any, page: StudyPage) -> None:
    click(qtbot, page, 0, 30.0, 20.0)
    page.grab()
    click(qtbot, page, 1, 0.0, -10.0)
    assert page.look is not None
    pixel = 1.0 / page._cells[0][1]
    assert page.look.place_mm == pytest.approx(BEAD_MM, abs=pixel)
    page.name.setText("the surgeon's bead")
    qtbot.mouseClick(page.button, Qt.MouseButton.LeftButton)
    word, name, *place = shlex.split(page.said[-1])  # type: ignore[attr-defined]
    assert (word, name) == ("mark", "the surgeon's bead")
    assert [float(v) for v in place] == pytest.approx(page.look.place_mm, abs=0.01)


def test_nameless_landmarks_are_numbered_and_the_nearest_is_taken_away(
    qtbot: Any, page: StudyPage, backdrop: Backdrop
) -> None:
    marks = (
        LandmarkState("landmark 1", False, (5.0, -10.0, 50.0)),
        LandmarkState("xiphoid", True, (90.0, 0.0, 0.0)),
    )
    page.show_state(model_of(snapshot(landmarks=marks)).state(0.1), backdrop)
    page.mark()
    page.unmark()
    assert page.said[0].startswith("mark 'landmark 2' ")  # type: ignore[attr-defined]
    assert page.said[1] == "unmark 'landmark 1'"  # type: ignore[attr-defined]
    page.go_to("xiphoid")
    assert page.look is not None and page.look.place_mm == pytest.approx([90.0, 0.0, 0.0])


def test_the_wheel_goes_through_the_slices_and_zooms_within_limits(qtbot: Any, page: StudyPage) -> None:
    def roll(plane: int, steps: int, ctrl: bool = False) -> None:
        at = page._cells[plane][0].center()
        keys = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
        event = QWheelEvent(
            at,
            at,
            QPoint(),
            QPoint(0, 120 * steps),
            Qt.MouseButton.NoButton,
            keys,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        page.wheelEvent(event)

    assert page.look is not None
    roll(0, 3)
    assert np.abs(page.look.place_mm - MIDDLE_MM) == pytest.approx([0.0, 0.0, 6.0])
    for _ in range(60):
        roll(0, 1, ctrl=True)
    assert page.look.half_mm == SMALLEST_MM
    for _ in range(60):
        roll(0, -1, ctrl=True)
    assert page.look.half_mm == LARGEST_MM


def test_without_a_ct_nothing_can_be_marked(qtbot: Any) -> None:
    said: list[str] = []
    page = StudyPage(said.append)
    qtbot.addWidget(page)
    page.show_state(model_of(snapshot()).state(0.1), None)
    assert not page.button.isEnabled()
    page.mark()
    page.unmark()
    assert said == []
