"""The modes of the background: a proper basis of the Gaussian process they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.background import CORRELATION_MM, RELATIVE_SD, Background

LOW, HIGH = np.array([-50.0, -40.0, -60.0]), np.array([50.0, 40.0, 0.0])


def test_all_modes_together_are_the_covariance() -> None:
    whole = Background.over(LOW, HIGH, modes=10_000)
    nodes = whole.lattice.points()
    distance2 = ((nodes[:, None] - nodes[None]) ** 2).sum(axis=-1)
    smooth = whole.modes[:, 1:]
    assert smooth @ smooth.T == pytest.approx(np.exp(-0.5 * distance2 / CORRELATION_MM**2), abs=1e-9)


def test_modes_come_in_falling_strength_after_the_level() -> None:
    background = Background.over(LOW, HIGH)
    assert (background.modes[:, 0] == 1.0).all()
    strength = (background.modes[:, 1:] ** 2).sum(axis=0)
    assert (np.diff(strength) <= 1e-12).all()


def test_the_prior_lets_the_level_go_and_holds_the_modulations() -> None:
    precision = Background.over(LOW, HIGH).precision(0.5)
    assert precision[0] == 0.0
    assert precision[1:] == pytest.approx(1.0 / (RELATIVE_SD * 0.5) ** 2)


def test_modes_at_points_are_those_of_the_nodes() -> None:
    background = Background.over(LOW, HIGH)
    nodes = background.lattice.points()
    assert background.modes_at(nodes[::7]) == pytest.approx(background.modes[::7], abs=1e-9)
