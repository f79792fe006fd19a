"""Point files: CSV with and without labels, Slicer's two formats in both of their frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.io.points import read_points
from navigation.targetfiles import write_points
from tracking.errors import InputError


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n",
        "x,y,z\n1,2,3\n4,5,6\n",
        "# from the stylus\nx_mm,y_mm,z_mm\n\n1, 2, 3\n# again\n4,5,6",
    ],
)
def test_csv_without_labels(tmp_path: Path, text: str) -> None:
    points = read_points(write(tmp_path, "p.csv", text))
    assert points.labels is None
    assert points.points_mm.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("header", ["", "label,x,y,z\n", "# label,x,y,z\n"])
def test_csv_with_labels(tmp_path: Path, header: str) -> None:
    points = read_points(write(tmp_path, "p.csv", f'{header}"sternum, top",1,2,3\n7,4,5,6\n'))
    assert points.labels == ("sternum, top", "7")
    assert points.points_mm.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no points"),
        ("x,y,z\n", "no points"),
        ("1,2\n", "row 1: x,y,z or label"),
        ("1,2,3,4,5\n", "row 1: x,y,z or label"),
        ("1,2,3\n4,5\n", "row 2: 2 cells, 3 expected"),
        ("1,2,3\n4,x,6\n", "row 2: 4,x,6 is not a position"),
        ("1,2,3\n4,nan,6\n", "row 2: 4,nan,6 is not a position"),
        ("1,2,x\n", "row 1: 1,2,x is not a position"),
        ("a,1,2,3\na,4,5,6\n", "'a' occurs more than once"),
    ],
)
def test_malformed_csv_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_points(write(tmp_path, "p.csv", text))


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x01")
    with pytest.raises(InputError, match="byte 1: not UTF-8 text"):
        read_points(tmp_path / "b.csv")


FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,10,20,30,0,0,0,1,1,1,0,A-1,,
2,-1,-2,-3,0,0,0,1,1,1,0,A-2,,
"""


@pytest.mark.parametrize(
    ("system", "first"),
    [("LPS", [10, 20, 30]), ("1", [10, 20, 30]), ("RAS", [-10, -20, 30]), ("0", [-10, -20, 30])],
)
def test_fcsv_comes_out_as_lps(tmp_path: Path, system: str, first: list[float]) -> None:
    points = read_points(write(tmp_path, "f.fcsv", FCSV.format(system=system)))
    assert points.labels == ("A-1", "A-2")
    assert points.points_mm[0].tolist() == first


def test_fcsv_in_voxels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'IJK' is neither LPS nor RAS"):
        read_points(write(tmp_path, "f.fcsv", FCSV.format(system="IJK")))


def markups(**changes: object) -> str:
    control = [
        {"id": "1", "label": "A", "position": [10.0, 20.0, 30.0], "positionStatus": "defined"},
        {"id": "2", "label": "B", "position": [0.0, 0.0, 0.0], "positionStatus": "undefined"},
        {"id": "3", "label": "C", "position": [1.0, 2.0, 3.0]},
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": control,
    }
    return json.dumps({"markups": [markup | changes]})


@pytest.mark.parametrize(("system", "first"), [("LPS", [10, 20, 30]), ("RAS", [-10, -20, 30])])
def test_markups_come_out_as_lps(tmp_path: Path, system: str, first: list[float]) -> None:
    points = read_points(write(tmp_path, "m.mrk.json", markups(coordinateSystem=system)))
    assert points.labels == ("A", "C")  # B was never placed
    assert points.points_mm[0].tolist() == first


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("{}", "exactly one list"),
        (markups(coordinateUnits="m"), "are not mm"),
        (markups(coordinateSystem="scanner"), "neither LPS nor RAS"),
        (markups(controlPoints=None), "no control points"),
        (markups(controlPoints=[{"position": [1, 2]}]), "control point 1"),
        (markups(controlPoints=[3]), "control point 1"),
    ],
)
def test_malformed_markups_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_points(write(tmp_path, "m.mrk.json", text))


@pytest.mark.parametrize("name", ["p.mrk.json", "p.fcsv", "p.csv"])
def test_written_points_are_read_as_they_were(tmp_path: Path, name: str) -> None:
    labels = ["Nabel, links", 'the "upper" one', "Rippe 7 µ", "# last"]
    points = np.array([[1.5, -2.25, 3.0], [-70.9, 11.5, -789.2], [0.0, 0.0, 0.0], [1e-3, 250.0, 9.0]])
    write_points(tmp_path / name, labels, points)
    again = read_points(tmp_path / name)
    assert again.labels == tuple(labels)
    np.testing.assert_allclose(again.points_mm, points, atol=1e-4)
    if name != "p.csv":
        # Slicer keeps the frame in the file: the same numbers said to be RAS are other places
        text = (tmp_path / name).read_text().replace("LPS", "RAS")
        (tmp_path / name).write_text(text)
        np.testing.assert_allclose(read_points(tmp_path / name).points_mm, points * [-1, -1, 1], atol=1e-4)


def test_targets_give_their_names_and_places(tmp_path: Path) -> None:
    entries = [
        {"name": "node", "position_mm": [1, 2, 3], "note": "x"},
        {"name": "b", "position_mm": [4, 5, 6]},
    ]
    text = json.dumps({"targets": entries})
    points = read_points(write(tmp_path, "targets.json", text))
    assert points.labels == ("node", "b")
    assert points.points_mm.tolist() == [[1, 2, 3], [4, 5, 6]]
    for bad, says in (
        ('{"targets": 3}', "not a list"),
        ('{"targets": [{"name": "a"}]}', "target 1: None is not"),
    ):
        with pytest.raises(InputError, match=says):
            read_points(write(tmp_path, "targets.json", bad))
