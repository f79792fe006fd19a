"""Registration of images: known displacements found, and everything that must not pass refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.registration.images import ImageRegistration, Settings, register_images
from navigation.registration.imagesearch import Follower, mapped, rigid, turn
from navigation.registration.imagevolume import ImageVolume
from navigation.volume import VoxelGrid
from tests.navigation.registration import imagebench as bench
from tracking.errors import InputError

# 27 mm and 13 degrees, well beyond how a patient is laid down again.
MOVED = rigid(turn(np.radians(13.0) * np.array([0.6, 0.0, 0.8])), np.array([18.0, -12.0, 16.0]))
FOCI = np.array([[20.0, -40.0, 10.0], [-30.0, 20.0, -50.0]])


def errors_mm(result: ImageRegistration, T: np.ndarray) -> np.ndarray:
    """How far the foci land from where they are."""
    found = mapped(result.T_fixed_moving, mapped(T, FOCI))
    return np.linalg.norm(found - FOCI, axis=1)


@pytest.fixture(scope="module")
def spect_on_ct() -> ImageRegistration:
    moving = bench.displaced(bench.spect(), MOVED)
    return register_images(bench.ct(), moving, mapped(MOVED, FOCI))


def test_a_spect_finds_its_ct(spect_on_ct: ImageRegistration) -> None:
    assert spect_on_ct.reasons == ()
    assert spect_on_ct.kind == "mutual information"
    # half a voxel of the SPECT
    assert errors_mm(spect_on_ct, MOVED).max() < 2.5


def test_the_error_that_is_told_covers_the_true_one(spect_on_ct: ImageRegistration) -> None:
    # an error of two RMS is rare
    assert (errors_mm(spect_on_ct, MOVED) < 2.0 * spect_on_ct.predicted_mm).all()
    assert spect_on_ct.predicted_mm.max() < 5.0


def test_what_is_written_maps_moving_into_fixed(spect_on_ct: ImageRegistration) -> None:
    content = spect_on_ct.as_json()
    T = np.array(content["T_target_source"])
    np.testing.assert_allclose(T @ MOVED, np.eye(4), atol=6.0)
    assert content["method"] == "images"
    assert content["accepted"] is True
    assert content["fre_mm"] is None
    assert content["tre_mm"]["frame"] == "moving"
    assert len(content["tre_mm"]["predicted"]) == len(FOCI)


def test_a_small_field_of_other_voxels_finds_its_place_and_is_refused_for_its_turn_alone() -> None:
    grid = VoxelGrid.aligned((-152.0, -113.0, -91.0), 5.0, (62, 46, 37))
    part = bench.displaced(bench.cropped(bench.ct(grid, seed=5), (4, 4, 10), (58, 44, 34)), MOVED)
    first = register_images(bench.ct(), part, mapped(MOVED, FOCI), Settings(max_turn_deg=5.0))
    assert first.reasons == ("turned by 13 degrees, at most 5 plausible",)
    assert first.kind == "correlation"
    assert errors_mm(first, MOVED).max() < 1.0


def test_the_same_images_give_the_same_transform() -> None:
    pair = bench.ct(), bench.displaced(bench.spect(), MOVED)
    follow = Follower(*pair, "mutual information")
    first, second = (follow(MOVED, "truth", 0) for _ in range(2))
    np.testing.assert_array_equal(first.T_moving_fixed, second.T_moving_fixed)
    assert first.score == second.score


def test_a_mirrored_volume_is_refused() -> None:
    result = register_images(bench.ct(), bench.ct(seed=3).mirrored(2))
    assert any("mirror" in reason for reason in result.reasons)


def test_another_patient_is_refused() -> None:
    assert not register_images(bench.ct(), bench.ct(patient=1)).accepted


def test_foci_alone_are_refused() -> None:
    result = register_images(bench.ct(), bench.spect(background=0.0))
    assert any("outline" in reason for reason in result.reasons)


def test_a_sliver_is_too_little_overlap() -> None:
    sliver = bench.cropped(bench.ct(seed=4), (0, 0, 20), (76, 56, 23))
    assert not register_images(bench.ct(), sliver).accepted


def test_volumes_that_are_none_are_named() -> None:
    empty = np.zeros(bench.CT_GRID.shape, dtype=np.float32)
    with pytest.raises(InputError, match="empty: all voxels are alike"):
        ImageVolume(empty, bench.CT_GRID, "CT", "empty")
    empty[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        ImageVolume(empty, bench.CT_GRID)
    air = replace(bench.ct(), array=bench.ct().array - 2000.0, name="air")
    with pytest.raises(InputError, match="air: no body"):
        register_images(bench.ct(), air)
