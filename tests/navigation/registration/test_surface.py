"""Touched points against surfaces: what is found, how sure, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh
from navigation.registration.surface import FixedSurface, SurfaceRegistration, SurfaceTask, register_surface
from navigation.registration.surface.gates import LOOSEST_SD_MM
from tests.navigation.registration.surface_shapes import (
    applied,
    ball,
    egg,
    off_by,
    plate_mesh,
    pose,
    star_mesh,
    torso,
    touched,
    tube_mesh,
)
from tracking.errors import InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
# In the body's frame: 40 to 60 mm under the skin on top.
TARGETS = np.array([[0.0, 0.0, 60.0], [50.0, 20.0, 50.0], [-40.0, -30.0, 45.0]])


@pytest.fixture(scope="module")
def body() -> FixedSurface:
    return FixedSurface.from_mesh(star_mesh(), lps=True)


def errors(found: SurfaceRegistration, T: Array) -> Array:
    """(3,) distance between the targets as registered and where they are, T being the truth."""
    back = applied(invert_rigid(T), TARGETS)
    return np.asarray(np.linalg.norm(applied(found.matrix, back) - TARGETS, axis=1))


def registered(
    surface: FixedSurface, seed: int, mm: float = 20.0, deg: float = 15.0, lifted: float = 0.0, **how: float
) -> tuple[SurfaceRegistration, Array]:
    """A body touched in a frame of its own and registered from a start that is off; with the truth."""
    rng = np.random.default_rng(seed)
    T = pose(rng)
    places = touched(rng, torso, **how)  # type: ignore[arg-type]
    away = rng.random(len(places)) < lifted
    places[away] *= 1.0 + rng.uniform(0.03, 0.2, (away.sum(), 1))
    points = applied(invert_rigid(T), places)
    start = off_by(T, points, rng, mm, deg)
    targets = applied(invert_rigid(T), TARGETS)
    return register_surface(SurfaceTask(surface, points, initial=start, targets_mm=targets)), T


@pytest.mark.parametrize("seed", range(2))
def test_a_start_off_by_20_mm_and_15_degrees_ends_within_3_mm_at_the_targets(
    body: FixedSurface, seed: int
) -> None:
    found, T = registered(body, seed)
    assert found.accepted, found.reasons
    assert errors(found, T).max() < 3.0
    assert (errors(found, T) <= found.target_bound_mm).all()


def test_lifted_tips_and_cloth_are_left_out(body: FixedSurface) -> None:
    found, T = registered(body, 5, lifted=0.2)
    assert found.accepted, found.reasons
    assert errors(found, T).max() < 3.0
    # Every fifth point was lifted by 3 to 20 mm and more.
    assert 0.7 < found.inlier_share < 0.9
    assert found.rms_mm < 0.7


def test_the_bound_at_the_targets_covers(body: FixedSurface) -> None:
    # At 95 % coverage fewer than 3 of 4 sets covered has a chance of 6 * 0.05^2 = 1.5 %, even if all three targets of
    # a set fail together; the seeds are fixed. How often it covers is measured by the benchmark.
    covered = 0
    for seed in range(4):
        found, T = registered(body, 100 + seed, 5.0, 5.0, n=80)
        covered += bool((errors(found, T) <= found.target_bound_mm).all())
        assert found.target_bound_mm.max() < 10.0
    assert covered >= 3


def test_the_same_points_give_the_same_result(body: FixedSurface) -> None:
    first, second = (registered(body, 3, n=60)[0] for _ in range(2))
    assert first.as_json() == second.as_json()


def test_a_small_patch_slides_and_is_told_where_to_touch(body: FixedSurface) -> None:
    found, _ = registered(body, 6, 5.0, 5.0, widest_deg=14.0)
    assert not found.accepted
    words = " ".join(found.reasons)
    assert "not determined" in words
    assert "touch also" in words
    assert found.loose[0].sd_mm > LOOSEST_SD_MM


def on_shape(mesh: Mesh, points: Array, seed: int = 0, **more: object) -> SurfaceRegistration:
    """Points given in the surface's own frame, registered from a start that is off by 5 mm and 3 degrees."""
    rng = np.random.default_rng(seed)
    start = off_by(np.eye(4), points, rng, 5.0, 3.0)
    return register_surface(SurfaceTask(FixedSurface.from_mesh(mesh), points, initial=start, **more))  # type: ignore[arg-type]


def tube_points(rng: np.random.Generator) -> Array:
    azimuth, z = rng.uniform(-1.4, 1.4, 150), rng.uniform(-100.0, 100.0, 150)
    return np.stack([90.0 * np.cos(azimuth), 90.0 * np.sin(azimuth), z], axis=1) + rng.normal(
        0, 0.3, (150, 3)
    )


def test_a_plane_is_refused_for_sliding_and_turning() -> None:
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(-80, 80, (150, 2)), rng.normal(0, 0.3, 150)])
    found = on_shape(plate_mesh(), points)
    refused = [each for each in found.loose if each.sd_mm > LOOSEST_SD_MM]
    assert not found.accepted
    # Two slides and the turn about the normal; depth and both tilts are held.
    assert len(refused) == 3
    assert any("sliding" in each.words for each in refused)
    for each in refused:
        assert abs(each.shift_mm[2]) < 0.1
        assert np.abs(each.turn_rad[:2]).max() < 0.01


def test_a_sphere_is_refused_for_all_turns_about_its_middle() -> None:
    rng = np.random.default_rng(2)
    found = on_shape(star_mesh(ball), touched(rng, ball, widest_deg=80.0))
    refused = [each for each in found.loose if each.sd_mm > LOOSEST_SD_MM]
    assert not found.accepted
    assert len(refused) == 3
    for each in refused:
        # The sphere's middle, the origin, stays where it is.
        at_middle = each.shift_mm + np.cross(each.turn_rad, -each.about_mm)
        assert np.linalg.norm(at_middle) < 0.15


def test_a_tube_is_refused_for_sliding_along_it() -> None:
    found = on_shape(tube_mesh(), tube_points(np.random.default_rng(3)))
    assert not found.accepted
    slide = next(each for each in found.loose if "sliding" in each.words and each.sd_mm > LOOSEST_SD_MM)
    assert "+z" in slide.words
    assert len([each for each in found.loose if each.sd_mm > LOOSEST_SD_MM]) == 2


def test_landmarks_hold_what_the_surface_leaves_open() -> None:
    rng = np.random.default_rng(4)
    pairs = np.array([[90.0, 0.0, -80.0], [0.0, 90.0, 10.0], [60.0, -67.0, 90.0]])
    moving = pairs + rng.normal(0.0, 0.5, (3, 3))
    points = tube_points(rng)
    found = on_shape(tube_mesh(), points, pairs=(pairs, moving), targets_mm=np.array([[0.0, 0.0, 0.0]]))
    assert found.accepted, found.reasons
    assert np.linalg.norm(found.matrix[:3, 3]) < 2.0
    assert found.target_bound_mm[0] < 6.0


def test_landmarks_that_contradict_the_surface_are_refused(body: FixedSurface) -> None:
    rng = np.random.default_rng(8)
    points = touched(rng)
    pairs = torso(np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [0.0, 0.6, 0.8]]))
    wrong = pairs + np.array([0.0, 0.0, 25.0])
    found = register_surface(SurfaceTask(body, points, initial=np.eye(4), pairs=(wrong, pairs)))
    assert not found.accepted
    assert any("landmark" in r or "off the surface" in r or "fit" in r for r in found.reasons)


def test_mirrored_points_are_refused(body: FixedSurface) -> None:
    points = touched(np.random.default_rng(20))
    points[:, 0] *= -1.0
    found = register_surface(SurfaceTask(body, points, initial=np.eye(4)))
    assert not found.accepted
    assert any("mirror" in r or "off the surface" in r or "fit" in r for r in found.reasons)


def test_a_mirror_image_that_the_shape_cannot_tell_is_warned_of() -> None:
    # An ellipsoid is its own mirror image.
    points = touched(np.random.default_rng(21), egg)
    found = register_surface(SurfaceTask(FixedSurface.from_mesh(star_mesh(egg)), points, initial=np.eye(4)))
    assert any("mirrored" in w for w in found.warnings)


def test_a_surface_that_is_inside_out_is_refused() -> None:
    mesh = star_mesh()
    found = on_shape(Mesh(mesh.points_mm, mesh.triangles[:, ::-1].copy()), touched(np.random.default_rng(30)))
    assert any("inside out" in r for r in found.reasons)


def test_points_touched_from_the_inner_side_are_refused(body: FixedSurface) -> None:
    points = touched(np.random.default_rng(31))
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    right, wrong = (
        register_surface(SurfaceTask(body, points, normals, np.eye(4))) for normals in (outward, -outward)
    )
    assert right.accepted, right.reasons
    assert any("inside out" in r for r in wrong.reasons)


def test_a_start_far_beyond_its_reach_is_never_accepted_wrongly(body: FixedSurface) -> None:
    found, T = registered(body, 40, 90.0, 60.0)
    assert not found.accepted or errors(found, T).max() < 3.0


def test_without_a_start_a_shape_that_is_like_no_other_is_found(body: FixedSurface) -> None:
    rng = np.random.default_rng(50)
    T = pose(rng)
    points = applied(invert_rigid(T), touched(rng))
    found = register_surface(SurfaceTask(body, points))
    assert found.accepted, found.reasons
    assert errors(found, T).max() < 3.0
    assert any("without a start" in w for w in found.warnings)


def test_without_a_start_a_symmetric_shape_is_ambiguous() -> None:
    points = touched(np.random.default_rng(51), egg)
    found = register_surface(SurfaceTask(FixedSurface.from_mesh(star_mesh(egg)), points))
    assert any("ambiguous" in r for r in found.reasons)


def test_another_body_is_refused(body: FixedSurface) -> None:
    points = touched(np.random.default_rng(60), ball)
    found = register_surface(SurfaceTask(body, points, initial=np.eye(4)))
    assert not found.accepted


def test_points_beyond_the_edge_of_the_field_are_left_out() -> None:
    mesh = star_mesh()
    # The CT ends at x = 90 mm.
    kept = mesh.triangles[(mesh.points_mm[mesh.triangles][:, :, 0] < 90.0).all(axis=1)]
    rng = np.random.default_rng(70)
    points = touched(rng, n=250)
    found = on_shape(Mesh(mesh.points_mm, kept), points)
    assert found.coverage["beyond_edge_share"] == pytest.approx(float((points[:, 0] > 92.0).mean()), abs=0.05)
    assert errors(found, np.eye(4)).max() < 3.0


def test_a_cloud_with_neither_triangles_nor_normals_serves_as_well() -> None:
    rng = np.random.default_rng(80)
    unit = rng.normal(size=(12_000, 3))
    cloud = torso(unit / np.linalg.norm(unit, axis=1, keepdims=True))
    points = touched(rng)
    found = register_surface(
        SurfaceTask(
            FixedSurface.from_points(cloud), points, initial=off_by(np.eye(4), points, rng, 10.0, 8.0)
        )
    )
    assert errors(found, np.eye(4)).max() < 3.0
    assert any("outside" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.zeros((2, 3)), "at least 12"),
        (np.tile([[1.0, 2.0, 3.0]], (40, 1)), "at least 12"),
        (np.random.default_rng(0).normal(size=(50, 3)) * 0.1, "metres"),
        (np.full((20, 3), np.nan), "not finite"),
    ],
)
def test_points_that_are_no_touched_surface(body: FixedSurface, points: Array, words: str) -> None:
    with pytest.raises(InputError, match=words):
        register_surface(SurfaceTask(body, points, initial=np.eye(4)))
