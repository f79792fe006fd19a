"""Markers on the skin: all of them, at their centres, and nothing that lies under the skin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from navigation.anatomy.fiducials import Fiducial, find_fiducials
from navigation.io.study import Study
from navigation.simulate.phantom import CT_SIZE, CT_SPACING_MM, ct_numbers, study_grid
from navigation.simulate.scenes import build_scene
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
RADII_MM = np.array([70.0, 50.0, 90.0])
FINE = 3  # sub-samples of a voxel along each axis


def grid_of(spacing: tuple[float, float, float], direction: Array | None = None) -> VoxelGrid:
    axes = np.eye(3) if direction is None else direction
    reach = np.abs(axes.T @ np.array([164.0, 124.0, 90.0]))
    size = np.ceil(reach / spacing).astype(int)
    origin = -axes @ (0.5 * np.array(spacing) * (size - 1.0))
    return VoxelGrid(origin, np.array(spacing), (int(size[0]), int(size[1]), int(size[2])), axes)


def on_skin(azimuth_deg: float, z_mm: float, above_mm: float) -> Array:
    """A place over the ellipsoid's skin, along its normal."""
    turn, ring = np.radians(azimuth_deg), np.sqrt(1.0 - (z_mm / RADII_MM[2]) ** 2)
    p = np.array([RADII_MM[0] * np.cos(turn) * ring, RADII_MM[1] * np.sin(turn) * ring, z_mm])
    normal = p / RADII_MM**2
    return np.asarray(p + above_mm * normal / np.linalg.norm(normal))


def averaged(
    grid: VoxelGrid, shape_of: object, near_mm: Array, reach_mm: float
) -> tuple[NDArray[np.int64], Array]:
    """Voxels within reach of a place and the share of each that a shape (points -> bool) fills."""
    assert callable(shape_of)
    points = grid.points()
    flat = np.flatnonzero(np.linalg.norm(points - near_mm, axis=1) < reach_mm + 4.0)
    steps = (np.arange(FINE) + 0.5) / FINE - 0.5
    share = np.zeros(len(flat))
    for corner in np.ndindex(FINE, FINE, FINE):
        offset = grid.matrix[:3, :3] @ steps[list(corner)]
        share += shape_of(points[flat] + offset)
    return flat, share / FINE**3


def head(grid: VoxelGrid, noise_hu: float = 12.0) -> Array:
    """HU of a body with a skull 6 mm under its skin and air round it, (nz, ny, nx)."""
    p = grid.points()
    r = np.linalg.norm(p / RADII_MM, axis=1)
    off = (r - 1.0) * r / np.maximum(np.linalg.norm(p / RADII_MM**2, axis=1), 1e-9)
    hu = -1000.0 + 1040.0 * np.clip(0.5 - off / grid.spacing_mm.mean(), 0.0, 1.0)
    hu[(off < -6.0) & (off > -12.0)] = 900.0
    hu += np.random.default_rng(3).normal(0.0, noise_hu, len(hu))
    return np.asarray(hu.reshape(grid.shape))


def put(
    hu: Array, grid: VoxelGrid, place: Array, radius_mm: float, value_hu: float, hole_mm: float = 0.0
) -> None:
    """A ball, or with a hole a ring of 4 mm height round the normal there."""
    normal = place / RADII_MM**2
    normal = normal / np.linalg.norm(normal)

    def inside(points: Array) -> NDArray[np.bool_]:
        away = points - place
        if hole_mm == 0.0:
            return np.asarray(np.linalg.norm(away, axis=1) < radius_mm)
        height = away @ normal
        across = np.linalg.norm(away - height[:, None] * normal, axis=1)
        return np.asarray((np.abs(height) < 2.0) & (across < radius_mm) & (across > hole_mm))

    flat, share = averaged(grid, inside, place, radius_mm)
    hu.reshape(-1)[flat] += (value_hu - hu.reshape(-1)[flat]) * share


def matched(found: tuple[Fiducial, ...], places: list[Array]) -> Array:
    """Distance (n,) of each place to the nearest marker; as many markers as places."""
    assert len(found) == len(places)
    at = np.array([f.position_mm for f in found])
    return np.asarray(np.linalg.norm(at[:, None] - np.array(places), axis=2).min(axis=0))


@pytest.mark.parametrize(("scene", "seed"), [("node", 2)])
def test_all_six_balls_of_the_simulated_patient(scene: str, seed: int) -> None:
    built = build_scene(scene, seed)
    grid = study_grid(built.patient, CT_SPACING_MM, CT_SIZE)
    found = find_fiducials(ct_numbers(built, grid), grid)
    T = built.patient.T_study_body
    places = list(built.patient.fiducials @ T[:3, :3].T + T[:3, 3])
    assert matched(found, places).max() < 0.3
    assert [f.label for f in found] == [f"F{n}" for n in range(1, 7)]
    assert all(np.diff([f.position_mm[2] for f in found]) < 0.0)


@pytest.mark.parametrize(
    ("spacing", "direction"),
    [
        ((1.3, 1.3, 1.0), np.eye(3)),
        ((1.2, 1.2, 3.0), np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])),
        ((1.2, 1.2, 2.5), np.diag([-1.0, -1.0, 1.0])),
    ],
)
def test_balls_and_rings_of_any_usual_size_over_a_skull(
    spacing: tuple[float, float, float], direction: Array
) -> None:
    grid = grid_of(spacing, direction)
    hu = head(grid)
    places = [
        on_skin(-90.0, 20.0, 1.5),
        on_skin(-30.0, -10.0, 3.0),
        on_skin(-150.0, -25.0, 6.0),
        on_skin(-60.0, -30.0, 2.0),
    ]
    for place, (radius, value, hole) in zip(
        places, [(1.5, 9000.0, 0.0), (3.0, 1500.0, 0.0), (6.0, 500.0, 0.0), (7.0, 700.0, 2.5)], strict=True
    ):
        put(hu, grid, place, radius, value, hole)
    off = matched(find_fiducials(np.minimum(hu, 3071.0), grid), places)
    assert off.max() < 0.5, off
    assert np.median(off) < 0.3, off


def test_what_lies_under_the_skin_is_no_marker() -> None:
    grid = grid_of((1.5, 1.5, 2.0))
    hu = head(grid, noise_hu=40.0)
    put(hu, grid, on_skin(-90.0, 0.0, -5.0), 1.5, 1200.0)  # a calcification
    put(hu, grid, on_skin(-60.0, 10.0, -4.5), 2.5, 3071.0)  # a clip
    put(hu, grid, on_skin(-120.0, -10.0, -30.0), 5.0, 3071.0)  # an implant in the depth
    put(hu, grid, on_skin(-30.0, 20.0, -9.0), 4.0, 1800.0)  # denser bone
    assert find_fiducials(hu, grid) == ()
    for shift in np.linspace(-12.0, 12.0, 21):  # a wire on the skin
        put(hu, grid, on_skin(-90.0 + shift, 5.0, 1.0), 1.2, 3071.0)
    assert find_fiducials(hu, grid) == ()


def test_none_is_invented_in_a_patient(thigh: Study) -> None:
    assert thigh.ct is not None
    assert find_fiducials(thigh.ct.volume(), thigh.ct.grid) == ()


def test_none_is_invented_in_noise(test_data: Path) -> None:
    # The pixels of this series were made anonymous: noise from -1024 to -770, no body.
    files = [pydicom.dcmread(f) for f in sorted((test_data / "dcm_corner_ct/gantrytilting/001").iterdir())]
    planes = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in files]
    grid = VoxelGrid(np.zeros(3), np.array([0.418, 0.418, 5.0]), (512, 512, len(planes)), np.eye(3))
    with pytest.raises(InputError, match="no body"):
        find_fiducials(np.array(planes), grid)
