"""Contours and segments as structures of a study: in the right place, of the right size, and only where proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from navigation.io import dicom_identity, dicom_outlines
from navigation.io.contours import Contour, NoBodyError, body_of
from navigation.io.dicom_import import Options, import_folder
from navigation.io.study import StudyStructure, load_study
from navigation.volume import VoxelGrid
from tests.navigation.io import dicom_maker as maker

GRID = VoxelGrid(np.array([-40.0, -40.0, -20.0]), np.array([1.0, 1.0, 2.0]), (80, 80, 20), np.eye(3))


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def circle(radius: float, centre: tuple[float, float, float], n: int = 90) -> np.ndarray:
    angle = 2.0 * np.pi * np.arange(n) / n
    flat = np.stack([np.cos(angle), np.sin(angle), 0.0 * angle], axis=1)
    return np.asarray(radius * flat + np.array(centre))


def box(low: tuple[float, float], high: tuple[float, float], z: float) -> np.ndarray:
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])


def ball(radius: float, centre: tuple[float, float, float], step: float) -> list[Contour]:
    """Contours of a ball, half a step off its poles."""
    count = int(2.0 * radius / step)
    heights = (np.arange(count) + 0.5) * step - radius
    return [
        Contour(circle(float(np.sqrt(radius**2 - h**2)), (centre[0], centre[1], centre[2] + h)))
        for h in heights
    ]


@pytest.mark.parametrize("step", [1.0, 2.0, 3.0])
def test_a_ball_drawn_between_the_slices(step: float) -> None:
    body = body_of(ball(12.0, (3.3, -4.7, 0.4), step), GRID)
    # 4/3 pi 12^3 = 7.238 mL
    assert body.volume_ml == pytest.approx(7.238, rel=0.01)
    np.testing.assert_allclose(body.centroid_mm, [3.3, -4.7, 0.4], atol=0.05)
    assert body.grid is GRID
    assert body.mask.sum() * GRID.voxel_ml == pytest.approx(7.238, rel=0.02)
    inside = GRID.points()[body.mask.ravel() > 0]
    # the mask follows the nearest contour, half a slice away at most
    np.testing.assert_allclose(inside.mean(axis=0), [3.3, -4.7, 0.4], atol=1.0)
    np.testing.assert_allclose(inside.mean(axis=0)[:2], [3.3, -4.7], atol=0.1)
    np.testing.assert_allclose(body.extent_mm[2], 24.0, atol=1e-9)
    assert body.notes == ()


def planes(*polygons: np.ndarray, exclusive: bool = False) -> list[Contour]:
    """The same polygons on five planes 2 mm apart, as the slices of GRID lie."""
    return [
        Contour(p + np.array([0.0, 0.0, z]), exclusive) for z in (-4.0, -2.0, 0.0, 2.0, 4.0) for p in polygons
    ]


OUTER, INNER = box((-10.25, -10.25), (9.75, 9.75), 0.0), box((-5.25, -5.25), (4.75, 4.75), 0.0)
# Outer square 20 x 20, inner 10 x 10, five planes of 2 mm: 4.0 mL less 1.0 mL.
FULL_ML, HOLLOW_ML = 4.0, 3.0


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_contour_in_another_is_a_hole(exclusive: bool) -> None:
    body = body_of(planes(OUTER, INNER, exclusive=exclusive), GRID)
    assert body.volume_ml == pytest.approx(HOLLOW_ML, rel=0.01)
    assert body.mask.sum() * GRID.voxel_ml == pytest.approx(HOLLOW_ML)
    assert body.mask[10, 40, 40] == 0
    assert body.mask[10, 32, 40] == 1


def test_a_hole_through_a_keyhole() -> None:
    # out of the corner of the outer square to the inner one, round it the other way, and back
    loop = np.concatenate([OUTER, OUTER[:1], INNER[:1], INNER[::-1]])
    body = body_of(planes(loop), GRID)
    assert body.volume_ml == pytest.approx(HOLLOW_ML, rel=0.01)
    assert body.mask[10, 40, 40] == 0


def test_an_island_in_a_hole_and_what_overlaps_and_what_is_doubled() -> None:
    island = box((-1.25, -1.25), (0.75, 0.75), 0.0)
    body = body_of(planes(OUTER, INNER, island), GRID)
    assert body.volume_ml == pytest.approx(HOLLOW_ML + 0.04, rel=0.01)
    beside = box((4.75, -10.25), (14.75, 9.75), 0.0)
    body = body_of(planes(OUTER, beside), GRID)
    assert body.volume_ml == pytest.approx(FULL_ML + 1.0, rel=0.02)
    body = body_of(planes(OUTER, OUTER), GRID)
    assert body.volume_ml == pytest.approx(FULL_ML, rel=0.01)
    assert "twice" in " ".join(body.notes)


def test_a_gap_is_not_bridged() -> None:
    far = [c for c in planes(OUTER) if abs(c.points_mm[0, 2]) > 1.0]
    body = body_of(far, GRID)
    assert body.volume_ml == pytest.approx(FULL_ML * 4 / 5, rel=0.01)
    assert "1 gaps between its contours, the widest 4.0 mm" in body.notes[0]
    assert not body.mask[10].any()


def test_oblique_contours_get_a_grid_of_their_own() -> None:
    turn = Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix()
    middle = np.array([5.0, -6.0, 7.0])
    turned = [Contour(c.points_mm @ turn.T + middle) for c in ball(10.0, (0.0, 0.0, 0.0), 2.0)]
    body = body_of(turned, GRID)
    np.testing.assert_allclose(body.centroid_mm, middle, atol=0.05)
    assert body.volume_ml == pytest.approx(4.189, rel=0.015)
    assert body.grid is not GRID
    inside = body.grid.points()[body.mask.ravel() > 0]
    np.testing.assert_allclose(inside.mean(axis=0), middle, atol=0.1)
    assert len(inside) * body.grid.voxel_ml == pytest.approx(4.189, rel=0.03)


def test_slices_that_run_against_the_normal() -> None:
    down = VoxelGrid(GRID.origin_mm + [0, 0, 38.0], GRID.spacing_mm, GRID.size, np.diag([1.0, 1.0, -1.0]))
    body = body_of(ball(12.0, (3.3, -4.7, 0.4), 2.0), down)
    assert body.grid is down
    up = body_of(ball(12.0, (3.3, -4.7, 0.4), 2.0), GRID)
    np.testing.assert_array_equal(body.mask[::-1], up.mask)


def test_what_encloses_nothing() -> None:
    line = Contour(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    with pytest.raises(NoBodyError, match="no contour encloses an area"):
        body_of([line], GRID)
    with pytest.raises(NoBodyError, match="unknown thickness"):
        body_of([Contour(OUTER)], None)
    # a comb of 2,000 teeth, 20,000 times: 4e9 crossings
    comb = np.tile([[0.0, 0.0, 0.0], [0.001, 100.0, 0.0], [0.002, 0.0, 0.0]], (400_000, 1))
    comb[:, 0] += np.arange(len(comb)) * 1e-5
    with pytest.raises(NoBodyError, match="tangled"):
        body_of([Contour(comb)], GRID, 1.0)


def imported(folder: Path, out: Path) -> dict[str, Any]:
    out.mkdir()
    return import_folder(Options(str(folder), str(out)))


def structures_of(folder: Path, out: Path) -> dict[str, StudyStructure]:
    imported(folder, out)
    return {s.name: s for s in load_study(out).structures}


def test_structures_come_with_the_study(tmp_path: Path) -> None:
    # the CT runs from (10, -20, 30): 7 x 6 x 5 voxels of 1 x 1 x 2 mm
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    plan = maker.structure_set(["lesion", "empty", "open", "Jane Doe's kidney", "marker"])
    square = [box((11.5, -18.5), (14.5, -16.5), z) for z in (32.0, 34.0, 36.0)]
    maker.contours(plan, 1, square)
    maker.contours(plan, 3, square, "OPEN_PLANAR")
    maker.contours(plan, 4, [*square, square[0] * 1e6])
    maker.contours(plan, 5, [np.array([[12.0, -17.0, 33.0]])], "POINT")
    maker.save([plan], tmp_path / "d", "rt")
    found = structures_of(tmp_path / "d", tmp_path / "out")
    assert list(found) == ["lesion", "empty", "open", "[removed] [removed]'s kidney", "marker"]
    lesion = found["lesion"]
    assert lesion.usable
    assert (lesion.source, lesion.series, lesion.frame_of_reference) == (
        "RTSTRUCT",
        "series-1",
        maker.FRAME_UID,
    )
    np.testing.assert_allclose(lesion.centroid_mm, [13.0, -17.5, 34.0], atol=0.01)
    # 3 x 2 x 6 mm
    assert lesion.volume_ml == pytest.approx(0.036, rel=0.01)
    np.testing.assert_allclose(lesion.extent_mm, [3.0, 2.0, 6.0])
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[1:4, 2:4, 2:5] = True
    np.testing.assert_array_equal(lesion.mask(), expected)
    assert not found["empty"].usable
    assert not found["open"].usable
    assert found["open"].notes[:1] == ("3 open contours left out",)
    assert "1 damaged contours left out" in found["[removed] [removed]'s kidney"].notes
    assert found["marker"].usable
    np.testing.assert_allclose(found["marker"].centroid_mm, [12.0, -17.0, 33.0])
    assert found["marker"].file is None


def test_a_structure_of_another_frame_is_not_usable(tmp_path: Path) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    plan = maker.structure_set(["lesion"], frame="1.2.3.4")
    maker.contours(plan, 1, [box((11.5, -18.5), (14.5, -16.5), z) for z in (32.0, 34.0, 36.0)])
    maker.save([plan], tmp_path / "d", "rt")
    lesion = structures_of(tmp_path / "d", tmp_path / "out")["lesion"]
    assert not lesion.usable
    assert lesion.series is None
    assert "its frame of reference is that of no imported series" in lesion.notes
    # its place is told all the same, on a grid of its own
    np.testing.assert_allclose(lesion.centroid_mm, [13.0, -17.5, 34.0], atol=0.01)
    assert lesion.mask().any()


@pytest.mark.parametrize("fractional", [False, True])
def test_segments_with_gaps_between_their_frames(tmp_path: Path, fractional: bool) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    first, second = np.zeros((6, 7), dtype=np.uint8), np.zeros((6, 7), dtype=np.uint8)
    first[2:4, 2:5], second[0, 0] = 60, 60
    first[0, 6] = 40
    if not fractional:
        first, second = (first > 50).astype(np.uint8), (second > 50).astype(np.uint8)
    places = [np.array([10.0, -20.0, z]) for z in (36.0, 30.0, 34.0)]
    maker.save(
        [maker.segmentation([first, first, second], places, [1, 1, 2], fractional=fractional)],
        tmp_path / "d",
        "g",
    )
    found = structures_of(tmp_path / "d", tmp_path / "out")
    expected = np.zeros((5, 6, 7), dtype=bool)
    expected[[0, 3], 2:4, 2:5] = True
    np.testing.assert_array_equal(found["segment 1"].mask(), expected)
    # voxel centres x 12..14, y -18..-17, z 30 and 36
    np.testing.assert_allclose(found["segment 1"].centroid_mm, [13.0, -17.5, 33.0])
    assert found["segment 1"].volume_ml == pytest.approx(2 * 6 * 2.0 / 1000.0)
    np.testing.assert_allclose(found["segment 1"].extent_mm, [3.0, 2.0, 8.0])
    np.testing.assert_allclose(found["segment 2"].centroid_mm, [10.0, -20.0, 34.0])
    assert found["segment 1"].usable


def test_a_segment_on_another_lattice_keeps_its_own(tmp_path: Path) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    mask = np.zeros((6, 7), dtype=np.uint8)
    mask[1, 2] = 1
    places = [np.array([10.4, -20.0, z]) for z in (30.0, 32.0)]
    maker.save([maker.segmentation([mask, mask], places, [1, 1])], tmp_path / "d", "g")
    found = structures_of(tmp_path / "d", tmp_path / "out")["segment 1"]
    assert found.usable
    assert found.series is None
    np.testing.assert_allclose(found.centroid_mm, [12.4, -19.0, 31.0])
    assert found.grid is not None
    np.testing.assert_allclose(found.grid.points()[found.mask().ravel()].mean(axis=0), [12.4, -19.0, 31.0])


@pytest.mark.parametrize("shift", [(0.0, 0.0, 1.0), (0.5, 0.0, 0.0)])
def test_segments_without_a_grid_are_left_out(tmp_path: Path, shift: tuple[float, float, float]) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    mask = np.ones((6, 7), dtype=np.uint8)
    places = [np.array([10.0, -20.0, z]) for z in (30.0, 32.0, 34.0)]
    places[1] += shift
    maker.save([maker.segmentation([mask] * 3, places, [1] * 3)], tmp_path / "d", "g")
    content = imported(tmp_path / "d", tmp_path / "out")
    assert content["structures"] == []
    assert "UNREADABLE" in content["structures_left_out"][0]["notes"][0]


def test_a_broken_structure_set_does_not_stop_the_import(tmp_path: Path) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    plan = maker.structure_set([f"{n}" for n in range(300)])
    maker.save([plan], tmp_path / "d", "rt")
    content = imported(tmp_path / "d", tmp_path / "out")
    assert "300 regions of interest" in json.dumps(content["structures_left_out"])
    assert len(content["series"]) == 1


def test_structures_do_not_keep_the_images_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_outlines, "LONGEST_S", -1.0)
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    plan = maker.structure_set(["first", "second"])
    for number in (1, 2):
        maker.contours(plan, number, [box((11.5, -18.5), (14.5, -16.5), z) for z in (32.0, 34.0)])
    maker.save([plan], tmp_path / "d", "rt")
    found = structures_of(tmp_path / "d", tmp_path / "out")
    assert found["first"].usable
    assert not found["second"].usable
    assert found["second"].notes == ("left out: too many structures",)


def test_the_real_lesion_lies_in_both_series(test_data: Path, tmp_path: Path) -> None:
    found = structures_of(test_data / "petct_sts001", tmp_path / "out")
    for lesion in (found["GTV_Mass_CT"], found["GTV_Mass_PET"]):
        assert lesion.usable
        # The stated place is the mean of the drawn points, which are denser where the outline is ragged ...
        np.testing.assert_allclose(lesion.facts["points_mean_mm"], [70.9, 11.5, -789.2], atol=0.1)
        # ... the lesion's centre of volume is 2.3 mm from it: sum of polygon areas times heights, by hand.
        np.testing.assert_allclose(lesion.centroid_mm, [70.21, 12.51, -791.19], atol=0.1)
        assert lesion.volume_ml == pytest.approx(365.2, rel=0.005)
        assert lesion.grid is not None
        inside = lesion.grid.points()[lesion.mask().ravel()]
        np.testing.assert_allclose(inside.mean(axis=0), lesion.centroid_mm, atol=0.5)
