"""The command `register surface` from files to exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh, write_ply
from navigation.cli.main import run
from navigation.registration.study import load_registration
from navigation.registration.surface.files import read_moving
from tests.navigation.registration.surface_shapes import applied, off_by, pose, star_mesh, torso, touched
from tracking.errors import GateRefusedError
from tracking.scanfolder import TIP_POSES, CountTable, PoseTable, Scan, write_scan
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
MESH = star_mesh(rings=60)


def write_points(path: Path, points: Array, header: str = "x_mm,y_mm,z_mm") -> None:
    np.savetxt(path, points, delimiter=",", header=header, comments="", fmt="%.4f")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    T = pose(rng)
    points = applied(invert_rigid(T), touched(rng))
    write_ply(tmp_path / "skin.ply", MESH)
    write_points(tmp_path / "surface.csv", points)
    start = {"T_target_source": off_by(T, points, rng, 15.0, 10.0).tolist(), "accepted": False}
    (tmp_path / "start.json").write_text(json.dumps(start))
    (tmp_path / "truth.json").write_text(json.dumps(T.tolist()))
    write_points(tmp_path / "targets.csv", np.array([[0.0, 0.0, 60.0], [40.0, 20.0, 50.0]]), "x,y,z")
    return tmp_path


def register(folder: Path, fixed: str = "skin.ply", moving: str = "surface.csv", *options: str) -> int:
    files = [str(folder / name) for name in (fixed, moving)]
    return run(["register", "surface", *files, "--out", str(folder / "reg.json"), *options])


def content(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "reg.json").read_text())
    return result


def test_a_result_holds_what_others_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--initial", str(folder / "start.json"), "--targets", str(folder / "targets.csv")]
    picture = folder / "fit.png"
    assert (
        register(folder, "skin.ply", "surface.csv", *more, "--targets-in", "fixed", "--picture", str(picture))
        == 0
    )
    found = content(folder)
    assert found["method"] == "surface"
    assert found["accepted"] is True
    assert found["initial"]["from"] == "file"
    assert found["fre_mm"] is None
    assert len(found["residuals_mm"]) == 120
    assert found["tre_mm"]["frame"] == "fixed"
    assert found["tre_mm"]["targets"][0] == [0.0, 0.0, 60.0]
    # Error at the targets, given in the fixed frame: T applied to where they truly are in the moving one.
    truth = np.array(json.loads((folder / "truth.json").read_text()))
    targets = np.array(found["tre_mm"]["targets"])
    T = np.array(found["T_target_source"])
    error = np.linalg.norm(applied(T, applied(invert_rigid(truth), targets)) - targets, axis=1)
    assert (error < found["tre_mm"]["bound95"]).all()
    assert (np.array(found["tre_mm"]["predicted"]) < found["tre_mm"]["bound95"]).all()
    for key in ("rms_mm", "inlier_share", "coverage", "starts", "undetermined"):
        assert key in found
    assert load_registration(folder / "reg.json").id == found["id"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "in 95 of 100 cases" in capsys.readouterr().out


def test_a_refused_registration_is_written_and_not_used(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_points(folder / "small.csv", touched(np.random.default_rng(1), widest_deg=12.0))
    (folder / "start.json").write_text(json.dumps({"T_target_source": np.eye(4).tolist()}))
    assert register(folder, "skin.ply", "small.csv", "--initial", str(folder / "start.json")) == 3
    found = content(folder)
    assert found["accepted"] is False
    # A PLY that says so is in the patient's frame: the words are a surgeon's.
    assert "the patient's" in found["undetermined"][0]["words"] + found["undetermined"][0]["guidance"]
    assert "not determined" in capsys.readouterr().err
    with pytest.raises(GateRefusedError, match="not determined"):
        load_registration(folder / "reg.json")


def test_an_existing_result_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "reg.json").write_text("{}")
    assert register(folder) == 2
    assert (folder / "reg.json").read_text() == "{}"
    assert "--force" in capsys.readouterr().err


BAD_MOVING = {
    "empty": ("", "is empty|no points"),
    "header only": ("x_mm,y_mm,z_mm\n", "no rows"),
    "NaN": ("x_mm,y_mm,z_mm\n" + "1,2,3\n" * 20 + "nan,1,2\n", "row 22: a coordinate is not finite"),
    "two points": ("x_mm,y_mm,z_mm\n1,2,3\n40,50,60\n", "at least 12"),
    "words": ("x_mm,y_mm,z_mm\na,b,c\n", "row 2"),
}


@pytest.mark.parametrize("kind", BAD_MOVING)
def test_bad_points_are_one_line(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = BAD_MOVING[kind]
    (folder / "bad.csv").write_text(text)
    assert register(folder, "skin.ply", "bad.csv") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bad.csv" in said
    assert any(w in said for w in words.split("|"))
    assert not (folder / "reg.json").exists()


def test_bad_surfaces_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metres = Mesh(MESH.points_mm / 1000.0, MESH.triangles)
    write_ply(folder / "metres.ply", metres)
    write_ply(folder / "none.ply", Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)))
    (folder / "empty.stl").write_bytes(b"")
    (folder / "noise.stl").write_bytes(b"solid of nothing\n")
    (folder / "skin.obj").write_text("")
    spoilt = MESH.points_mm.copy()
    spoilt[7] = np.nan
    write_ply(folder / "nan.ply", Mesh(spoilt, MESH.triangles))
    wanted = {
        "metres.ply": "metres",
        "none.ply": "neither triangles nor points",
        "empty.stl": "empty",
        "noise.stl": "no triangles",
        "skin.obj": ".ply",
        "nan.ply": "not finite",
        "absent.ply": "no such file",
    }
    for name, words in wanted.items():
        assert register(folder, name) == 2, name
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert name in said and words in said, said


def test_a_study_without_a_usable_ct_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    geometry = {
        "origin_mm": [0, 0, 0],
        "spacing_mm": [4, 4, 4],
        "size": [8, 8, 8],
        "direction": np.eye(3).tolist(),
    }
    series = {
        "id": "1",
        "file": "nm.nrrd",
        "modality": "NM",
        "units": "BQML",
        "geometry": geometry,
        "usable": True,
    }
    study = folder / "study"
    study.mkdir()
    (study / "study.json").write_text(json.dumps({"series": [series]}))
    assert register(folder, "study") == 2
    said = capsys.readouterr().err
    assert "no usable CT" in said and said.count("\n") == 1


def test_landmark_files_give_the_start(folder: Path) -> None:
    truth = np.array(json.loads((folder / "truth.json").read_text()))
    pairs = torso(np.array([[0.0, 0.0, 1.0], [0.8, 0.0, 0.6], [0.0, 0.8, 0.6], [-0.6, -0.6, 0.529]]))
    rng = np.random.default_rng(2)
    write_points(folder / "a.csv", pairs, "x,y,z")
    write_points(
        folder / "b.csv", applied(invert_rigid(truth), pairs) + rng.normal(0.0, 3.0, (4, 3)), "x,y,z"
    )
    assert (
        register(
            folder, "skin.ply", "surface.csv", "--landmarks", str(folder / "a.csv"), str(folder / "b.csv")
        )
        == 0
    )
    found = content(folder)
    assert found["initial"]["from"] == "landmarks"
    assert found["fre_mm"] == pytest.approx(np.sqrt(np.mean(np.square(found["landmark_residuals_mm"]))))
    assert (
        np.linalg.norm(
            applied(np.array(found["T_target_source"]), applied(invert_rigid(truth), pairs)) - pairs, axis=1
        ).max()
        < 4.0
    )


def test_a_probe_trace_tells_its_outside(folder: Path) -> None:
    # A probe that stood on the skin at the touched places, its axis into the body.
    rng = np.random.default_rng(3)
    points = touched(rng, n=80, widest_deg=70.0)
    poses = np.tile(np.eye(4), (len(points), 1, 1))
    inward = -points / np.linalg.norm(points, axis=1, keepdims=True)
    aside = np.cross(inward, [0.3, 0.9, 0.1])
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2] = aside, np.cross(inward, aside), inward
    poses[:, :3, 3] = points
    t_s = 0.1 * np.arange(len(points))
    counts = CountTable(t_s, np.ones(len(points)), np.full(len(points), 0.1))
    scan = Scan("Tc-99m", None, TIP_POSES, PoseTable(t_s, poses), counts, surface_mm=points, simulated=True)
    write_scan(scan, folder / "scan")
    trace = read_moving(folder / "scan")
    assert trace.normals is not None
    assert (np.einsum("nd,nd->n", trace.normals, inward) < 0.0).all()
    assert trace.simulated
    np.testing.assert_allclose(trace.points_mm, points, atol=1e-3)
