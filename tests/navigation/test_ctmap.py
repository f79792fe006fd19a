"""Attenuation from a registered CT: numbers of the bilinear rule, and the frames it passes through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation import ctmap
from navigation.ctmap import relative_mu
from navigation.registration.study import StudyRegistration
from navigation.surface import Surface
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.transform import RigidTransform


def test_relative_attenuation_of_known_tissues() -> None:
    values = relative_mu(np.array([-1000.0, -700.0, -100.0, 0.0, 1000.0], dtype=np.float32))
    assert values == pytest.approx([0.0, 0.3, 0.9, 1.0, 1.55], abs=1e-6)


class OneSeries:
    usable = True
    grid = VoxelGrid.aligned(np.array([-80.0, -60.0, -40.0]), 4.0, (41, 31, 21))

    def volume(self) -> np.ndarray:
        array = np.full(self.grid.shape, -1000.0, dtype=np.float32)
        array[:, :, 21:] = 0.0  # water at x >= 4 mm in the study
        return array


class OneStudy:
    ct: OneSeries | None = OneSeries()


def registered() -> np.ndarray:
    """T_study_reference turns Reference's +y into the study's +x and shifts by 10 mm: water begins at y = -6 mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    matrix[0, 3] = 10.0
    return matrix


def test_the_ct_lies_in_reference_where_the_registration_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctmap, "load_study", lambda _: OneStudy())
    monkeypatch.setattr(
        ctmap,
        "load_registration",
        lambda _: StudyRegistration(RigidTransform("Study", "Reference", registered()), "id", 0.5),
    )
    ct = ctmap.tissue_from_study(Path("study"), Path("reg.json"))
    tissue = ct.in_box(np.full(3, -40.0), np.full(3, 40.0))
    assert tissue.source == "ct"
    assert tissue.at(np.array([[0.0, 4.0, 0.0], [0.0, -14.0, 0.0]])) == pytest.approx([1.0, 0.0], abs=0.01)


def test_a_study_without_a_ct_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCt:
        ct = None

    monkeypatch.setattr(ctmap, "load_study", lambda _: NoCt())
    with pytest.raises(InputError, match="no usable CT"):
        ctmap.tissue_from_study(Path("study"), Path("reg.json"))


def test_a_touched_surface_says_where_tissue_begins_and_the_ct_of_what_kind_it_is() -> None:
    # Half of space in the CT, x >= 4 mm, with a block of bone (1000 HU: 1.55) from 20 to 40 mm; the surface was
    # touched 6 mm before the CT's skin, as a registration that is off by so much would have it.
    series = OneSeries()
    hu = series.volume()
    hu[:, :, 25:31] = 1000.0
    ct = ctmap.StudyTissue.of(hu, series.grid)
    y, z = np.meshgrid(np.arange(-30.0, 31, 6), np.arange(-30.0, 31, 6))
    points = np.stack([np.full(y.size, -2.0), y.ravel(), z.ravel()], axis=1)
    surface = Surface(points, np.tile([-1.0, 0.0, 0.0], (len(points), 1)))
    tissue = ct.behind(surface, np.full(3, -40.0), np.full(3, 40.0))
    along = np.array([[x, 0.0, 0.0] for x in (-10.0, 1.0, 10.0, 28.0)])
    assert tissue.at(along) == pytest.approx([0.0, 1.0, 1.0, 1.55], abs=0.15)
    assert tissue.source == "touched"
    # 80 mm beside what was touched the CT alone decides, where its skin lies 6 mm deeper.
    far = ct.behind(surface, np.array([-40.0, 60.0, -40.0]), np.array([40.0, 100.0, 40.0]))
    assert far.at(np.array([[-2.0, 80.0, 0.0], [10.0, 80.0, 0.0]])) == pytest.approx([0.0, 1.0], abs=0.1)


def test_the_attenuation_of_a_study_survives_its_way_through_a_file() -> None:
    series = OneSeries()
    ct = ctmap.StudyTissue.of(series.volume(), series.grid).registered(registered())
    back = ctmap.StudyTissue.from_json(json.loads(json.dumps(ct.to_json()))).registered(registered())
    points = np.random.default_rng(2).uniform(-60.0, 60.0, (50, 3))
    np.testing.assert_array_equal(back.at(points), ct.at(points))


def test_fine_voxels_are_merged_about_their_common_middle() -> None:
    # Voxels of 1 mm become 4 mm: the middle of the first block is 1.5 voxels from that of its first voxel.
    grid = VoxelGrid.aligned(np.zeros(3), 1.0, (160, 160, 80))
    hu = np.zeros(grid.shape, dtype=np.float32)
    hu[:, :, :40] = -1000.0
    ct = ctmap.StudyTissue.of(hu, grid)
    assert ct.grid.size == (40, 40, 20) and ct.grid.origin_mm == pytest.approx(np.full(3, 1.5))
    assert ct.at(np.array([[37.5, 80.0, 40.0], [41.5, 80.0, 40.0]])) == pytest.approx([0.0, 1.0])
