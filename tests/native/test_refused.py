"""Values no scan gives: what is not finite is refused by name, what is too small for a half is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.projector import Lattice, Projector
from navigation.surface import Surface
from tests.native.stored import INSTRUCTION_SETS, instruction_set, store, widened
from tests.navigation.scan_model import flat_surface, raster, response

# Largest values of a row round those whose factor 32768 / top is no float: 2^-113, 9.6e-35.
TOPS = (1e-45, 1e-38, 1e-36, 1e-34, 9e-31, 1.1e-30, 1e-20, 1.0, 1e30, 3e38)


def faint_rows() -> np.ndarray:
    """(10, 45): each row up to one of TOPS, down to negative values."""
    along = np.linspace(-0.5, 1.0, 45)
    return (along * np.array(TOPS)[:, None]).astype(np.float32)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_rows_too_faint_for_a_half_are_packed_as_nothing(name: str) -> None:
    rows = faint_rows()
    with instruction_set(name) as there:
        if not there:
            pytest.skip(f"this machine has no {name}")
        packed, scales = store(rows)
    faint = np.array(TOPS) < 1e-30
    assert not packed[faint].any()
    assert not scales[faint].any()
    found = widened(packed[~faint], scales[~faint], 45)
    expected = np.maximum(rows[~faint], 0.0).astype(float)
    top = expected.max(axis=1, keepdims=True)
    assert found / top == pytest.approx(expected / top, rel=2.0**-11 * 1.01, abs=1e-9)


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_faint_rows_have_the_same_bits_with_every_instruction_set(name: str) -> None:
    with instruction_set("portable"):
        expected = [a.tobytes() for a in store(faint_rows())]
    with instruction_set(name) as there:
        if not there:
            pytest.skip(f"this machine has no {name}")
        assert [a.tobytes() for a in store(faint_rows())] == expected


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 31, 44])
def test_rows_that_are_not_finite_are_refused(wrong: float, at: int) -> None:
    rows = np.ones((9, 45), dtype=np.float32)
    rows[7, at] = wrong
    with pytest.raises(ValueError, match="rows must be finite"):
        store(rows)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", [(0, 3), (1, 1)])
def test_background_of_a_pose_that_is_not_finite_is_refused(wrong: float, entry: tuple[int, int]) -> None:
    readings = raster(7)
    readings.poses[(3, *entry)] = wrong
    with pytest.raises(ValueError, match="poses must be finite"):
        in_tissue().background(lattice(), readings)


def test_background_of_a_pose_beyond_single_precision_is_no_crash() -> None:
    readings = raster(7)
    readings.poses[3, 0, 3], readings.poses[4, :3, :3] = 1e300, 1e300 * np.array([1.0, -1, 1])
    rows = in_tissue().background(lattice(), readings)
    others = np.delete(np.arange(len(readings)), [3, 4])
    assert np.isfinite(rows[others]).all()


def in_tissue() -> Projector:
    surface = Surface.from_points(flat_surface(), raster(20).mid_poses)
    return Projector(response(), surface.tissue(np.array([-60.0, -60, -80]), np.array([60.0, 60, 40])))


def lattice() -> Lattice:
    return Lattice.over(np.full(3, -100.0), np.full(3, 100.0), 30.0)
