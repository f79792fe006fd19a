"""Pictures of registrations: sides of the patient where they belong, and files that hold a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from navigation.plots.fusion import (
    VIEWS,
    Layer,
    points_picture,
    side,
    surface_picture,
    telling_point,
)
from navigation.registration.imagesearch import rigid
from tests.navigation.registration import imagebench as bench

CONTENT = {"accepted": False, "reasons": ["a reason"], "id": "0123", "tre_mm": {"predicted": [1.5]}}


@pytest.mark.parametrize(("view", "letters"), [("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI")])
def test_letters_stand_on_their_sides(view: str, letters: str) -> None:
    # as radiologists look: the patient's right and front on the left, front or head at the top
    right, down = VIEWS[view]
    assert "".join([side(right, -1), side(right, 1), side(down, -1), side(down, 1)]) == letters


def test_a_moved_layer_shows_its_focus_where_the_transform_puts_it() -> None:
    shift = rigid(np.eye(3), np.array([12.0, -7.0, 4.0]))
    layer = Layer.of(bench.spect(background=0.0), shift)
    focus = np.array([20.0, -40.0, 10.0])
    here, moved = (float(layer.section(p.reshape(1, 1, 3))[0, 0]) for p in (focus, focus + [12.0, -7.0, 4.0]))
    assert moved > 0.5
    assert here < 0.7 * moved


def test_the_sections_go_through_the_hottest_place() -> None:
    shift = rigid(np.eye(3), np.array([10.0, 0.0, 0.0]))
    point = telling_point(bench.ct(), bench.spect(background=0.0), shift)
    # one of merged voxels of 10 mm round the stronger focus
    assert np.linalg.norm(point - [30.0, -40.0, 10.0]) < 10.0


def _is_picture(path: Path) -> bool:
    pixels = imread(path)
    return bool(pixels.shape[0] > 300 and pixels[..., :3].std() > 0.05)


def test_points_and_surfaces_have_their_pictures(tmp_path: Path) -> None:
    fixed = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [0.0, 40.0, 10.0]])
    assert _is_picture(points_picture(tmp_path / "p.png", fixed, fixed + 1.0, ["A", "B", "C"], CONTENT))
    skin = np.random.default_rng(0).normal(0.0, 50.0, (500, 3))
    distances = np.linspace(0.0, 4.0, 50)
    assert _is_picture(surface_picture(tmp_path / "s.png", skin, skin[:50], distances, CONTENT))
