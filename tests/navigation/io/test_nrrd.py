"""NRRD files: ITK sees the grid's points, bytes depend on the content alone, damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from navigation.io.nrrd import read_nrrd, write_nrrd
from navigation.volume import VoxelGrid
from tracking.errors import InputError


@pytest.fixture
def oblique() -> VoxelGrid:
    direction = Rotation.from_euler("xyz", [10.0, -25.0, 40.0], degrees=True).as_matrix()
    return VoxelGrid(np.array([12.3, -45.6, 78.9]), np.array([0.7, 1.1, 2.3]), (5, 4, 3), direction)


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(60, dtype=np.float32).reshape(3, 4, 5)


def test_simpleitk_sees_the_same_points(tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray) -> None:
    write_nrrd(tmp_path / "a.nrrd", ramp, oblique)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), ramp)
    points = oblique.points().reshape(3, 4, 5, 3)
    for i, j, k in [(0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 2), (4, 3, 2)]:
        point = image.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(point, points[k, j, i], atol=1e-9)


def test_round_trip_with_keys(tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray) -> None:
    keys = {"not_examined": "-1", "note": "two\nlines, a \\ and a : colon"}
    write_nrrd(tmp_path / "a.nrrd", ramp, oblique, keys)
    volume = read_nrrd(tmp_path / "a.nrrd")
    assert volume.keys == keys
    np.testing.assert_array_equal(volume.array, ramp)
    assert volume.grid.size == (5, 4, 3)
    np.testing.assert_allclose(volume.grid.matrix, oblique.matrix, atol=1e-12)


def test_itk_reads_the_keys(tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray) -> None:
    write_nrrd(tmp_path / "a.nrrd", ramp, oblique, {"not_examined": "-1"})
    assert SimpleITK.ReadImage(str(tmp_path / "a.nrrd")).GetMetaData("not_examined") == "-1"


def test_the_bytes_are_a_function_of_the_content(
    tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray
) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        write_nrrd(tmp_path / name, ramp, oblique, {"x": "1"})
    raw = (tmp_path / "a.nrrd").read_bytes()
    assert raw == (tmp_path / "b.nrrd").read_bytes()
    gzip = raw[raw.index(b"\n\n") + 2 :]
    assert gzip[:2] == b"\x1f\x8b"
    assert gzip[4:8] == b"\0\0\0\0"  # modification time
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nrrd", "b.nrrd"]


def test_reads_what_simpleitk_writes(tmp_path: Path, oblique: VoxelGrid) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    image.SetOrigin(oblique.origin_mm.tolist())
    image.SetSpacing(oblique.spacing_mm.tolist())
    image.SetDirection(oblique.direction.ravel().tolist())
    for compress in (False, True):
        SimpleITK.WriteImage(image, str(tmp_path / "s.nrrd"), compress)
        volume = read_nrrd(tmp_path / "s.nrrd")
        np.testing.assert_allclose(volume.grid.matrix, oblique.matrix, atol=1e-9)
        assert volume.array[2, 3, 4] == 59.0


def test_ras_is_brought_to_lps(tmp_path: Path) -> None:
    header = (
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: right-anterior-superior\nsizes: 2 1 1\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\nspace origin: (10,20,30)\n\n"
    )
    (tmp_path / "r.nrrd").write_bytes(header.encode() + b"\x01\x02")
    grid = read_nrrd(tmp_path / "r.nrrd").grid
    # x and y change their sign between the two frames
    np.testing.assert_allclose(grid.points(), [[-10, -20, 30], [-11, -20, 30]])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"NRRD0005", b"NIFTI", "not an NRRD"),
        (b"sizes: 5 4 3", b"sizes: 5 4 4", "bytes of voxels expected"),
        (b"sizes: 5 4 3", b"sizes: 5 4", "not a three-dimensional"),
        (b"sizes: 5 4 3", b"sizes: 5000 4000 30000", "out of range"),
        (b"sizes: 5 4 3", b"sizes: a b c", "not a list of numbers"),
        (b"space: left", b"space: scanner", "not supported"),
        (b"encoding: gzip", b"encoding: bzip2", "not supported"),
        (b"space origin", b"space nothing", "'space origin' is missing"),
        (b"encoding: gzip", b"data file: x.raw\nencoding: gzip", "separate file"),
        (b"\n\n\x1f\x8b", b"\n\n\x1f\x8c", "damaged"),
    ],
)
def test_damage_is_named(
    tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray, old: bytes, new: bytes, says: str
) -> None:
    path = tmp_path / "a.nrrd"
    write_nrrd(path, ramp, oblique)
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new, 1))
    with pytest.raises(InputError, match=says):
        read_nrrd(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.nrrd"):
        read_nrrd(tmp_path / "none.nrrd")


def test_wrong_shapes_and_keys_are_refused(tmp_path: Path, oblique: VoxelGrid, ramp: np.ndarray) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        write_nrrd(tmp_path / "a.nrrd", ramp.T, oblique)
    with pytest.raises(ValueError, match="cannot be an NRRD key"):
        write_nrrd(tmp_path / "a.nrrd", ramp, oblique, {"a:=b": "c"})
    assert list(tmp_path.iterdir()) == []
