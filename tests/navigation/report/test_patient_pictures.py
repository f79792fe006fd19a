"""The map in the CT and the field in space: activity over the anatomy it belongs to, the right study, sides named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from navigation.io.study import import_study
from navigation.pictures import MapView
from navigation.report.anatomy import Anatomy, anatomy_of
from navigation.report.planes import HALF_MM, PIXELS, _section, planes_picture
from navigation.report.results import read_case
from navigation.report.view3d import _aside, view3d_picture
from navigation.reslice import Plane
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import build_scene
from navigation.volume import VoxelGrid
from tests.navigation.case_folder import write_case
from tracking.errors import InputError

# A quarter turn about x and a shift: nothing is symmetric.
T = np.array([[1.0, 0, 0, 12.0], [0, 0, -1.0, -7.0], [0, 1.0, 0, 31.0], [0, 0, 0, 1.0]])
SEED_LPS = np.array([22.0, -17.0, 40.0])


def marked(grid: VoxelGrid, place: np.ndarray, value: float, rest: float) -> np.ndarray:
    """A volume with one ball of 6 mm."""
    away = np.linalg.norm(grid.points() - place, axis=1).reshape(grid.size[::-1])
    return np.where(away < 6.0, value, rest).astype(np.float32)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    """A CT whose only dense thing is where the activity will be."""
    grid = VoxelGrid.aligned(np.array([-60.0, -60.0, -40.0]), 2.0, (60, 60, 80))
    return Anatomy(marked(grid, SEED_LPS, 900.0, 30.0), grid, T)


@pytest.mark.parametrize(
    ("right", "down"),
    [((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, 0, -1)), ((0, 1, 0), (0, 0, -1))],
    ids=["axial", "coronal", "sagittal"],
)
def test_activity_is_drawn_over_the_anatomy_where_it_lies(
    anatomy: Anatomy, right: tuple[int, ...], down: tuple[int, ...], tmp_path: Path
) -> None:
    grid = VoxelGrid.aligned(np.array([-70.0, -60.0, -60.0]), 2.0, (80, 80, 60))
    in_reference = T[:3, :3].T @ (SEED_LPS - T[:3, 3])
    activity = marked(grid, in_reference, 20.0, 0.1)
    view = MapView(grid, activity, None, np.ones_like(activity, dtype=bool), (), None, 20.0)
    write_case(tmp_path)
    axes = Figure().subplots()
    middle = SEED_LPS + 10.0 * np.array(right) - 4.0 * np.array(down)
    plane = Plane(middle, np.array(right, dtype=float), np.array(down, dtype=float))
    _section(axes, read_case(tmp_path), view, anatomy, plane)
    grey, colour = (np.asarray(image.get_array(), dtype=float) for image in axes.images)
    # Ten millimetres left of the middle and four below it, in both.
    scale = PIXELS / (2.0 * HALF_MM)
    for picture, level in ((grey, 500.0), (colour, 10.0)):
        rows, columns = np.nonzero(np.nan_to_num(picture) > level)
        assert columns.mean() / scale - HALF_MM == pytest.approx(-10.0, abs=0.6)
        assert rows.mean() / scale - HALF_MM == pytest.approx(4.0, abs=0.6)


def test_without_a_ct_there_are_no_planes_but_the_touched_surface_is_drawn(tmp_path: Path) -> None:
    write_case(tmp_path)
    case = read_case(tmp_path)
    assert anatomy_of(case) is None
    assert not planes_picture(case, None, tmp_path / "planes.png")
    assert view3d_picture(case, None, tmp_path / "view.png")
    assert (tmp_path / "view.png").stat().st_size > 20_000


def test_a_study_that_is_not_the_cases_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path)
    write_study(build_scene("bed", 3), tmp_path / "dicom", 1.7e9)
    import_study(tmp_path / "dicom", tmp_path / "study")
    (tmp_path / "reg.json").write_text(json.dumps({"accepted": True, "T_target_source": T.tolist()}))
    assert anatomy_of(read_case(tmp_path)) is not None
    (tmp_path / "case.json").write_text(json.dumps({"study_id": "another"}))
    with pytest.raises(InputError, match="not the study that the case was done with"):
        anatomy_of(read_case(tmp_path))


def test_a_folder_that_is_no_study_is_named(tmp_path: Path) -> None:
    write_case(tmp_path)
    with pytest.raises(InputError, match=r"looked for study\.json"):
        anatomy_of(read_case(tmp_path), tmp_path / "scan-1")


def test_both_views_are_right_handed_and_look_from_outside() -> None:
    right, into = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    plane = _aside(np.zeros(3), right, into)
    turn = np.stack([plane.right, plane.down, plane.normal])
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert plane.normal @ into == pytest.approx(0.5)  # 60 degrees aside
    # What lies deeper is drawn farther to the right, as the body turns away under the viewer's eye.
    assert plane.right @ into == pytest.approx(np.sin(np.radians(60.0)))
