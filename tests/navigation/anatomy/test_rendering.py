"""Shaded pictures of meshes: where things are drawn, what hides what, what shines through."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.anatomy.rendering import Shape, ball, joined, render
from navigation.reslice import Plane

RED, BLUE, BLACK = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), (0.0, 0.0, 0.0)
# Picture right is +y, picture down is +z: the viewer looks along +x.
PLANE = Plane(np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
HALF, PIXELS = (50.0, 50.0), (100, 100)


def at(centre: tuple[float, float, float], radius: float = 8.0):  # type: ignore[no-untyped-def]
    return ball(np.array(centre), radius * np.eye(3))


def test_a_ball_lies_where_its_centre_is_projected() -> None:
    picture = render([Shape(at((0.0, 20.5, -10.5)), RED)], PLANE, HALF, PIXELS, BLACK)
    rows, columns = np.nonzero(picture[..., 0] > 0.0)
    # One pixel is a millimetre: y 20.5 is column 70, z -10.5 is row 39 (0 is the topmost).
    assert columns.mean() == pytest.approx(70.0, abs=0.3) and rows.mean() == pytest.approx(39.0, abs=0.3)
    # A disc of radius 8, a little less where the ball is made of flat pieces.
    assert len(rows) == pytest.approx(np.pi * 64.0, rel=0.05)


def test_what_is_nearer_hides_what_lies_behind_whatever_the_order() -> None:
    near, far = Shape(at((-30.0, 0.0, 0.0)), RED), Shape(at((30.0, 0.0, 0.0), 16.0), BLUE)
    for shapes in ([near, far], [far, near]):
        picture = render(shapes, PLANE, HALF, PIXELS, BLACK)
        assert picture[50, 50, 0] > 0.9 and picture[50, 50, 2] == 0.0
        assert picture[50, 62, 2] > 0.3 and picture[50, 62, 0] == 0.0


def test_skin_lets_what_is_below_shine_through() -> None:
    skin, focus = Shape(at((-30.0, 0.0, 0.0), 20.0), BLUE, 0.25), Shape(at((0.0, 0.0, 0.0)), RED)
    middle = render([skin, focus], PLANE, HALF, PIXELS, BLACK)[50, 50]
    # A quarter of the skin's blue over three quarters of the red below; both face the viewer.
    assert middle == pytest.approx([0.75, 0.0, 0.25], abs=0.02)


def test_triangles_have_their_own_colours() -> None:
    two = [at((0.0, -20.0, 0.0)), at((0.0, 20.0, 0.0))]
    colours = np.repeat(np.stack([RED, BLUE]), len(two[0].triangles), axis=0)
    picture = render([Shape(joined(two), colours)], PLANE, HALF, PIXELS, BLACK)
    assert picture[50, 30] == pytest.approx(RED, abs=0.02) and picture[50, 70] == pytest.approx(
        BLUE, abs=0.02
    )


def test_nothing_to_draw_is_the_ground() -> None:
    assert render([], PLANE, HALF, (3, 4), (0.1, 0.2, 0.3)) == pytest.approx(
        np.broadcast_to([0.1, 0.2, 0.3], (3, 4, 3))
    )
