"""The table [map] of a case: what it fixes, what it refuses in one line, and the grid that follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.casegrid import grid_at
from navigation.field import AUTOMATIC, MapGrid, voxel_for
from navigation.reconstruction.livescan import LiveScan
from navigation.schedule import Work
from tests.navigation.engine.fakes import settings
from tests.navigation.scan_model import filled, raster, setup
from tracking.errors import InputError


def test_without_a_table_the_grid_follows_the_scan() -> None:
    assert grid_at(None, "case.toml, map") is AUTOMATIC


def test_a_box_is_two_corners_or_a_centre_and_an_extent() -> None:
    corners = grid_at({"voxel_mm": 2, "box_mm": [[-10, -20, -30], [30, 20, 50]]}, "case.toml, map")
    centred = grid_at({"voxel_mm": 2, "centre_mm": [10, 0, 10], "extent_mm": [40, 40, 80]}, "case.toml, map")
    assert corners == centred == MapGrid(2.0, (-10.0, -20.0, -30.0), (30.0, 20.0, 50.0))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"voxel": 2}, "map.voxel: is unknown"),
        ({"voxel_mm": 1.0}, "map.voxel_mm: 1 mm is not between 1.5 and 4 mm"),
        ({"voxel_mm": "fine"}, "map.voxel_mm: 'fine' is no number"),
        ({"voxel_mm": True}, "map.voxel_mm: True is no number"),
        ({"voxel_mm": float("nan")}, "map.voxel_mm: nan mm is not between"),
        ({"box_mm": [1, 2, 3]}, "map.box_mm: .* is not two corners"),
        ({"box_mm": [[0, 0, 0], [50, 50, float("inf")]]}, "map.box_mm: .* is not two corners"),
        ({"box_mm": [[0, 0, 0], [50, 50, -50]]}, "each edge must be"),
        ({"box_mm": [[0, 0, 0], [50, 50, 5000]]}, "each edge must be"),
        ({"centre_mm": [0, 0, 0]}, "map.extent_mm: is missing"),
        ({"extent_mm": [9, 9, 9]}, "map.centre_mm: is missing"),
        ({"box_mm": [[0, 0, 0], [50, 50, 50]], "centre_mm": [0, 0, 0]}, "given beside"),
        ({"voxel_mm": 1.5, "box_mm": [[0, 0, 0], [300, 300, 300]]}, "8000000 voxels are more than"),
        ("fine", "map: 'fine' is no table"),
    ],
)
def test_nonsense_is_refused_in_one_line(table: object, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        grid_at(table, "case.toml, map")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("case.toml, map")


def test_a_fixed_grid_is_the_published_one() -> None:
    fixed = MapGrid(2.5, (-40.0, -35.0, -60.0), (40.0, 36.0, 0.0))
    scan = LiveScan(replace(setup(), grid=fixed))
    scan.add(filled(raster(60), [], 0.4, seed=2))
    found = scan.advance(Work()).map
    assert found is not None
    # 80, 71 and 60 mm in voxels of 2.5 mm, the box's 71 mm covered by 72.5 mm about its centre.
    assert found.grid.size == (32, 29, 24)
    assert found.grid.origin_mm == pytest.approx([-38.75, -34.5, -58.75])
    assert (found.grid.spacing_mm == 2.5).all()
    assert not scan.progress.wider_due


def test_small_fields_are_drawn_finer_and_large_ones_coarser() -> None:
    def voxel(edge_mm: float) -> float:
        return voxel_for(np.zeros(3), np.full(3, edge_mm))

    # 60^3 mm in 1.5 mm are 64,000 voxels, 75^3 in 2 mm 54,872, 90^3 in 2 mm 91,125; 165^3 in 3 mm are 166,375.
    assert [voxel(edge) for edge in (60.0, 75.0, 90.0, 160.0, 165.0)] == [1.5, 2.0, 3.0, 3.0, 4.0]


def test_the_record_keeps_what_the_case_fixed() -> None:
    fixed = MapGrid(2.5, (-40.0, -35.0, -60.0), (40.0, 36.0, 0.0))
    known = replace(settings(), grid=fixed)
    assert type(known).from_json(known.to_json()).grid == fixed
    old = known.to_json()
    del old["map"]
    assert type(known).from_json(old).grid is AUTOMATIC
