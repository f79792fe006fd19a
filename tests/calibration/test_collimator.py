"""The crystal seen through its bore: the native kernel beside plain numpy, and limits that geometry alone gives."""

from __future__ import annotations

import numpy as np
import pytest

from calibration._physics import collimated
from calibration.probe.collimator import COARSE, FINE, Collimator, Quadrature, _disc, _unit_gauss

PROBE = Collimator(0.8, 5.0, 5.5, 10.0, 2.0, 7.0, 0.3, 1e-6, 4.0)


def plain(probe: Collimator, r: np.ndarray, z: np.ndarray, quadrature: Quadrature) -> np.ndarray:
    """Mean of visibility / distance^2 (n,), written out in numpy."""
    x, y, weight = _disc(probe.crystal_mm, quadrature)
    total = np.zeros(len(r))
    for share, depth_weight in zip(*_unit_gauss(quadrature.n_depth), strict=True):
        deep = probe.thickness_mm * share
        height = (z + probe.recess_mm + deep)[:, None]
        dx, dy = r[:, None] - x, -y
        across = np.sqrt(dx**2 + dy**2 + 1e-9)
        distance = np.hypot(across, height)
        sine = across / distance + 1e-3
        at_face = (probe.recess_mm + deep) / height
        outside = np.hypot(x + dx * at_face, y + dy * at_face) - probe.aperture_mm
        along = (x * dx + y * dy) / across
        side = np.sqrt(np.maximum(along**2 - x**2 - y**2 + probe.crystal_mm**2, 0.0)) - along
        shield = np.clip(outside, 0.0, probe.wall_mm) / sine
        crystal = np.minimum(deep * distance / height, side / sine)
        seen = np.exp(-probe.rim_per_mm * shield - probe.crystal_per_mm * crystal) / distance**2
        total += depth_weight * (seen @ weight)
    return probe.crystal_per_mm * probe.thickness_mm * total


@pytest.mark.parametrize("quadrature", [COARSE, FINE])
def test_the_native_kernel_equals_numpy(quadrature: Quadrature) -> None:
    rng = np.random.default_rng(3)
    # From the face to a metre, on the axis and far to the side.
    r, z = rng.uniform(0, 300, 200), 10 ** rng.uniform(-2, 3, 200)
    r[:3], z[:3] = 0.0, (0.0, 1.0, 30.0)
    depth, depth_weight = _unit_gauss(quadrature.n_depth)
    bore = np.array([5.0, 5.5, 10.0, 2.0, 7.0, 0.3, 4.0])
    native = collimated(bore, *_disc(5.5, quadrature), depth, depth_weight, r, z)
    assert native == pytest.approx(plain(PROBE, r, z, quadrature), rel=1e-9)


def test_vectors_of_different_length_are_refused() -> None:
    one, two = np.ones(1), np.ones(2)
    with pytest.raises(ValueError, match="r, z"):
        collimated(np.ones(7), one, one, one, one, one, one, two)
    with pytest.raises(ValueError, match="seven"):
        collimated(two, one, one, one, one, one, one, one)


def test_from_the_side_the_wall_alone_decides() -> None:
    # Far beside the probe, in the plane of its face, every ray crosses the wall at nearly a right angle: a wall thicker
    # by 1 mm lets exp(-rim) of it through. Rays from 200 mm to a crystal 17 mm behind have a sine of 0.996, hence 2 %.
    thin, thick = (Collimator(0.8, 5.0, 5.5, 10.0, 2.0, 7.0, 0.3, 1e-9, wall) for wall in (2.0, 3.0))
    assert thick.leak_behind / thin.leak_behind == pytest.approx(np.exp(-2.0), rel=0.02)


def test_a_leak_beside_a_thick_wall_is_what_is_left() -> None:
    # Tungsten of 30 mm at 3 per mm lets nothing through: the isotropic leak is all that is seen.
    probe = Collimator(0.8, 5.0, 5.0, 10.0, 3.0, 7.0, 0.3, 0.7)
    assert probe.leak_behind == pytest.approx(0.7, rel=1e-6)
