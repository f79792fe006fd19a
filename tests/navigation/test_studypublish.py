"""The study on the wire: every voxel and point of the skin at its place in RAS, whatever the scan's orientation."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from navigation.io.study import import_study
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import Scene, build_scene
from navigation.studypublish import MOST_VOXELS, coarsened, in_ras, study_messages
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.igtl.codec import Message, decode, encode
from tracking.igtl.messages import image_message

SCENE: Scene = build_scene("occult", 5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(SCENE, folder / "dicom", 1.7e9)
    import_study(folder / "dicom", folder / "study")
    return folder / "study"


def sent(study: Path) -> dict[str, Message]:
    """What a viewer decodes."""
    return {m.device: decode(encode(m.with_version(2))) for m in study_messages(study, 1.7e9)}


def value_at(image: Message, ras_mm: np.ndarray) -> float:
    """The voxel at a place, by the rule of the wire alone: the last column is the centre of the whole image."""
    body = image.body
    matrix, size = body.matrix, np.array(body.size)  # type: ignore[union-attr]
    index = np.linalg.solve(matrix[:3, :3], ras_mm - matrix[:3, 3]) + (size - 1) / 2
    i, j, k = np.rint(index).astype(int)
    return float(body.array[k, j, i])  # type: ignore[union-attr]


def test_a_marker_on_the_skin_lies_in_ras_where_it_lies_in_the_patient(study: Path) -> None:
    messages = sent(study)
    assert set(messages) == {"CT_Ras", "SPECT_Ras", "Skin_Ras"}
    patient = SCENE.patient
    for ball in patient.fiducials:
        lps = patient.T_study_body[:3, :3] @ ball + patient.T_study_body[:3, 3]
        ras = lps * [-1.0, -1.0, 1.0]
        # A steel ball of 3 mm radius; mirrored once too often it would be air or soft tissue there.
        assert value_at(messages["CT_Ras"], ras) > 800.0
    lesion = patient.lesions[0].centre
    lps = patient.T_study_body[:3, :3] @ lesion + patient.T_study_body[:3, 3]
    spect = messages["SPECT_Ras"]
    here, mirrored = (value_at(spect, lps * sign) for sign in ([-1.0, -1.0, 1.0], [1.0, -1.0, 1.0]))
    assert here > 3.0 * mirrored
    assert spect.metadata["Unit"] == "BQML" and spect.metadata["Simulation"] == "SIMULATION"


def test_the_skin_faces_outwards_in_ras(study: Path) -> None:
    skin = sent(study)["Skin_Ras"].body
    points = np.asarray(skin.points_mm, dtype=np.float64)  # type: ignore[union-attr]
    corners = np.asarray(skin.polygons.points_used(), dtype=np.int64).reshape(-1, 3)  # type: ignore[union-attr]
    a, b, c = (points[corners[:, n]] for n in range(3))
    volume = np.einsum("ni,ni->n", np.cross(b - a, c - a), a - points.mean(axis=0))
    # An ellipsoid: seen from its middle nearly every triangle faces away.
    assert np.mean(volume > 0.0) > 0.99


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_all_48_orientations_come_out_at_their_place(axes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(8)
    array = rng.integers(0, 4000, (5, 4, 3)).astype(np.int16)
    told = set()
    for signs in product((-1.0, 1.0), repeat=3):
        direction = np.zeros((3, 3))
        direction[list(axes), range(3)] = signs
        grid = VoxelGrid(np.array([7.0, -3.0, 11.0]), np.array([1.0, 2.0, 3.0]), (3, 4, 5), direction)
        image = decode(encode(image_message("CT_Ras", array, in_ras(grid), 0.0)))
        for place, value in zip(grid.points(), array.ravel(), strict=True):
            assert value_at(image, place * [-1.0, -1.0, 1.0]) == value
        told.add(image.body.matrix.tobytes())  # type: ignore[union-attr]
    assert len(told) == 8


def test_a_large_study_is_thinned_where_it_is_finest() -> None:
    # 512 x 512 x 300 voxels are 75 million; the array is never made, a view of one number stands in for it.
    volume = np.broadcast_to(np.float32(1.0), (300, 512, 512))
    grid = VoxelGrid(np.array([1.0, 2.0, 3.0]), np.array([0.8, 0.8, 2.0]), (512, 512, 300), np.eye(3))
    small, thinned = coarsened(volume, grid)
    assert small.size <= MOST_VOXELS and thinned.size == (small.shape[2], small.shape[1], small.shape[0])
    assert thinned.origin_mm == pytest.approx(grid.origin_mm)
    assert thinned.spacing_mm[0] == pytest.approx(1.6) and thinned.spacing_mm[2] == pytest.approx(2.0)


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        study_messages(tmp_path, 0.0)
