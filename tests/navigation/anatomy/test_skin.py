"""The skin out of the CT: against bodies whose shape is known, and on a patient's thigh."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.anatomy.body import body_of
from navigation.anatomy.skin import Mesh, skin_surface, write_ply
from navigation.io.study import Study
from navigation.simulate.phantom import CT_SIZE, CT_SPACING_MM, ct_numbers, study_grid
from navigation.simulate.scenes import build_scene
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
RADII_MM = np.array([60.0, 45.0, 80.0])


def grid_of(size: tuple[int, int, int] = (56, 48, 40), spacing_mm: float = 3.0) -> VoxelGrid:
    middle = np.array([20.0, -30.0, 500.0])
    half = 0.5 * spacing_mm * (np.array(size) - 1.0)
    return VoxelGrid(middle - half, np.full(3, spacing_mm), size, np.eye(3))


def ellipsoid_hu(grid: VoxelGrid, centre: Array, radii_mm: Array, hu: float) -> Array:
    """HU above air of an ellipsoid with a border that is one voxel wide, (nz, ny, nx)."""
    p = (grid.points() - centre) / radii_mm
    r = np.sqrt((p * p).sum(axis=1))
    inside = (1.0 - r) * r / np.maximum(np.linalg.norm(p / radii_mm, axis=1), 1e-9)
    return ((hu + 1000.0) * np.clip(0.5 + inside / grid.spacing_mm[0], 0.0, 1.0)).reshape(grid.shape)


def centre_of(grid: VoxelGrid) -> Array:
    return np.asarray(grid.matrix[:3, :3] @ (0.5 * (np.array(grid.size) - 1.0)) + grid.origin_mm)


def off_ellipsoid(points: Array, centre: Array, radii_mm: Array) -> Array:
    """Distance to the ellipsoid in mm to first order, positive outside."""
    p = (points - centre) / radii_mm
    r = np.linalg.norm(p, axis=1)
    return np.asarray((r - 1.0) * r / np.linalg.norm(p / radii_mm, axis=1))


def outward_share(mesh: Mesh, centre: Array) -> float:
    return float((np.einsum("nd,nd->n", mesh.normals, mesh.points_mm - centre) > 0.0).mean())


@pytest.mark.parametrize("scene", ["bed"])
def test_skin_of_the_simulated_patient_lies_on_the_known_body(scene: str) -> None:
    patient = build_scene(scene, 4).patient
    grid = study_grid(patient, CT_SPACING_MM, CT_SIZE)
    mesh = skin_surface(ct_numbers(build_scene(scene, 4), grid), grid)
    T, body = invert_rigid(patient.T_study_body), patient.body
    points = mesh.points_mm @ T[:3, :3].T + T[:3, 3]
    radii, centre = np.array([body.a_mm, body.b_mm, body.c_mm]), np.array([0.0, 0.0, -body.c_mm])
    bare = np.linalg.norm(points[:, None] - patient.fiducials, axis=2).min(axis=1) > 12.0
    front = points[:, 2] > -0.6 * body.c_mm  # the phantom's back has steps of whole voxels
    off = off_ellipsoid(points[bare & front], centre, radii)
    assert np.median(np.abs(off)) < 0.5
    assert np.abs(off).max() < 1.0
    assert len(mesh.triangles) <= 50_000
    steep = (mesh.normals @ T[:3, :3].T * (points - centre)).sum(axis=1)
    assert (steep[bare] > 0.0).all()
    assert mesh.points_mm[:, 2].min() >= grid.origin_mm[2] - 0.1  # open at the ends, no lid beyond them


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_the_same_skin_whatever_the_order_and_sense_of_the_axes(
    order: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    grid = grid_of()
    centre = centre_of(grid)
    hu = ellipsoid_hu(grid, centre, RADII_MM, 40.0) - 1000.0
    # Axis a of the new grid is axis order[a] of the old one, turned round where its flip is -1.
    arrays = np.transpose(hu, [2 - order[2 - n] for n in range(3)])
    turned = arrays[tuple(slice(None, None, flips[2 - n]) for n in range(3))]
    axes = np.eye(3)[:, list(order)] * np.array(flips)
    size = tuple(grid.size[o] for o in order)
    origin = centre - axes @ (0.5 * grid.spacing_mm * (np.array(size) - 1.0))
    mesh = skin_surface(turned, VoxelGrid(origin, grid.spacing_mm, (size[0], size[1], size[2]), axes))
    off = off_ellipsoid(mesh.points_mm, centre, RADII_MM)
    assert np.median(np.abs(off)) < 0.3
    assert np.abs(off).max() < 1.5
    assert outward_share(mesh, centre) == 1.0


def test_table_blanket_and_support_are_not_skin() -> None:
    grid = grid_of()
    centre = centre_of(grid)
    hu = ellipsoid_hu(grid, centre, RADII_MM, 40.0) - 1000.0
    y = grid.points()[:, 1].reshape(grid.shape)
    back = centre[1] + RADII_MM[1]
    hu[(y > back - 1.0) & (y < back + 5.0)] = 100.0  # the shell of a table that the patient lies on
    hu[:, :2, :] = -300.0  # a blanket at the upper end of the field
    mesh = skin_surface(hu, grid)
    front = mesh.points_mm[:, 1] < back - 12.0
    off = off_ellipsoid(mesh.points_mm[front], centre, RADII_MM)
    assert np.median(np.abs(off)) < 0.3
    assert off.max() < 2.0
    # Some of the shell right below the back remains, as wide as the back lies on it: no table of 168 mm.
    assert np.ptp(mesh.points_mm[~front][:, 0]) < 2.0 * RADII_MM[0] + 6.0
    assert mesh.points_mm[:, 1].max() < back + 7.5


@pytest.mark.parametrize("cut", [False, True])
def test_lungs_and_bowel_gas_are_filled_also_where_the_field_cuts_them(cut: bool) -> None:
    grid = grid_of()
    centre = centre_of(grid)
    hu = ellipsoid_hu(grid, centre, RADII_MM, 40.0) - 1000.0
    shift = np.array([0.0, 0.0, 50.0 if cut else 0.0])
    hu -= ellipsoid_hu(grid, centre + shift + [20.0, 0.0, 0.0], np.array([14.0, 18.0, 30.0]), -150.0)
    hu -= ellipsoid_hu(grid, centre + shift - [18.0, 0.0, 0.0], np.full(3, 13.0), 40.0)
    mesh = skin_surface(np.maximum(hu, -1000.0), grid)
    assert off_ellipsoid(mesh.points_mm, centre, RADII_MM).min() > -1.5


def test_the_circle_of_reconstruction_is_no_skin() -> None:
    grid = grid_of()
    centre = centre_of(grid)
    wide = np.array([100.0, 60.0, 400.0])  # wider than the field of 168 mm
    hu = ellipsoid_hu(grid, centre, wide, 40.0) - 1000.0
    hu += np.random.default_rng(1).normal(0.0, 10.0, hu.shape)
    v, u = np.ogrid[:48, :56]
    beyond = np.hypot((2 * v + 1) / 48 - 1, (2 * u + 1) / 56 - 1) > 0.99
    for blank in (-1000.0, -3024.0):
        hu[:, beyond] = blank
        mesh = skin_surface(hu, grid)
        off = off_ellipsoid(mesh.points_mm, centre, wide)
        assert np.abs(off).max() < 2.5, blank
        assert np.median(np.abs(off)) < 0.3


def test_a_field_within_the_body_and_an_empty_one_are_refused() -> None:
    grid = grid_of((20, 20, 20))
    with pytest.raises(InputError, match="field of view lies within the body"):
        skin_surface(np.full(grid.shape, 40.0), grid)
    with pytest.raises(InputError, match="no body"):
        skin_surface(np.full(grid.shape, -1000.0), grid)


def test_both_legs_of_a_patient_are_kept(thigh: Study) -> None:
    series = thigh.ct
    assert series is not None
    body = body_of(series.volume(), series.grid)
    mesh = skin_surface(series.volume(), series.grid)
    lesion = np.array([[70.9, 11.5, -789.2]])
    assert body.contains(lesion)[0]
    # The crop cuts through two thighs that touch further up: most of the field is tissue.
    assert 0.6 < body.mask.mean() < 0.85
    assert 1000 < len(mesh.triangles) <= 50_000
    out = mesh.points_mm + 4.0 * mesh.normals
    inside = mesh.points_mm - 4.0 * mesh.normals
    assert body.contains(inside).mean() > 0.95 > 0.1 > body.contains(out).mean()


def test_ply_is_read_back_as_written(tmp_path: Path) -> None:
    from navigation.surface import read_surface

    grid = grid_of()
    mesh = skin_surface(ellipsoid_hu(grid, centre_of(grid), RADII_MM, 40.0) - 1000.0, grid)
    write_ply(tmp_path / "skin.ply", mesh)
    read = read_surface(tmp_path / "skin.ply")
    assert np.abs(off_ellipsoid(read, centre_of(grid), RADII_MM)).max() < 2.0
    assert [p.name for p in tmp_path.iterdir()] == ["skin.ply"]
