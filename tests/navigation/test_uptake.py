"""Regions of physiological uptake: inside or not, and back from the file as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.uptake import MARGIN_MM, Sphere, Uptake, Voxels, load_regions, save_regions, sphere_of
from navigation.volume import VoxelGrid
from tracking.errors import InputError

TURNED = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


def box() -> Voxels:
    """A block of 10 x 6 x 4 voxels of 2 x 3 x 4 mm on a turned grid, out of a larger mask."""
    grid = VoxelGrid(np.array([5.0, -8.0, 100.0]), np.array([2.0, 3.0, 4.0]), (30, 20, 12), TURNED)
    mask = np.zeros(grid.shape, dtype=np.bool_)
    mask[3:7, 5:11, 10:20] = True
    mask[4, 6, 12] = False  # a hole
    return Voxels.of("kidney L", mask, grid)


def place(i: float, j: float, k: float) -> np.ndarray:
    return np.asarray(TURNED @ (np.array([2.0, 3.0, 4.0]) * [i, j, k]) + np.array([5.0, -8.0, 100.0]))


def test_a_region_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    uptake = Uptake((box(), Sphere("spleen", np.array([1.0, 2.0, 3.0]), 30.0)))
    save_regions(tmp_path, uptake)
    read = load_regions(tmp_path)
    assert read.as_json() == uptake.as_json()
    first, second = read.regions
    assert isinstance(first, Voxels)
    np.testing.assert_array_equal(first.mask, box().mask)
    # 240 voxels less the hole, 24 mm3 each; a ball of 30 mm radius holds 113.1 mL.
    assert first.volume_ml == pytest.approx(239 * 0.024)
    assert second.volume_ml == pytest.approx(113.1, abs=0.05)
    assert load_regions(tmp_path / "regions.json").as_json() == uptake.as_json()


def test_depth_is_measured_to_the_border() -> None:
    region = box()
    # Voxel 19 is the last along i: its end lies 2.5 voxels of 2 mm from the middle of voxel 17.
    assert region.depth_of(place(17.0, 8.0, 4.6)) == pytest.approx(5.0, abs=1.1)
    assert region.depth_of(place(24.0, 8.0, 5.0)) == pytest.approx(-9.0, abs=1.1)
    assert region.depth_of(place(12.0, 6.0, 4.0)) <= 0.0  # in the hole
    assert Sphere("s", np.zeros(3), 10.0).depth_of([0.0, 4.0, 3.0]) == pytest.approx(5.0)


def test_a_spot_inside_or_just_outside_is_labelled_by_the_region_it_lies_deepest_in() -> None:
    uptake = Uptake(
        (Sphere("kidney L", np.zeros(3), 40.0), Sphere("adrenal L", np.array([0.0, 0.0, 45.0]), 12.0))
    )
    assert uptake.label_of([0.0, 0.0, 44.0]) == "possible physiological uptake (adrenal L)"
    assert uptake.label_of([0.0, 0.0, 30.0]) == "possible physiological uptake (kidney L)"
    assert uptake.label_of([40.0 + 0.9 * MARGIN_MM, 0.0, 0.0]) == "possible physiological uptake (kidney L)"
    assert uptake.label_of([40.0 + 1.1 * MARGIN_MM, 0.0, 0.0]) is None
    assert Uptake().label_of([0.0, 0.0, 0.0]) is None


@pytest.mark.parametrize(
    "text", ["spleen,1,2,3", "1,2,3,4", "a,b,2,3,4", "spleen,1,2,3,-4", "spleen,1,nan,3,4"]
)
def test_a_sphere_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="region"):
        sphere_of(text)


def test_a_name_may_hold_commas_and_occurs_once() -> None:
    region = sphere_of("kidney, left,1,2,3,4.5")
    assert (region.name, region.radius_mm) == ("kidney, left", 4.5)
    with pytest.raises(InputError, match="more than once"):
        Uptake((region,)).added(region)


@pytest.mark.parametrize(
    "change",
    [
        {"runs": [1, 2]},
        {"runs": [10**15]},
        {"runs": None},
        {"shape": "cube"},
        {"geometry": {}},
        {"name": ""},
    ],
)
def test_a_wrong_file_is_refused_by_region(change: dict[str, object], tmp_path: Path) -> None:
    content = Uptake((box(),)).as_json()
    content["regions"][0] |= change
    (tmp_path / "regions.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="region 1"):
        load_regions(tmp_path)
