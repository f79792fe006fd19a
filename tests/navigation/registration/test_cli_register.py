"""The commands `register points` and `calibrate pivot` from files to exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from navigation.cli.main import run

FIXED = "A,0,0,0\nB,100,0,0\nC,0,80,0\nD,10,20,60\n"
# the same landmarks moved by (5, 6, 7), in another order, with one that FIXED does not have
MOVING = "label,x,y,z\nD,5,14,53\nE,1,1,1\nC,-5,74,-7\nA,-5,-6,-7\nB,95,-6,-7\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "fixed.csv").write_text(FIXED)
    (tmp_path / "moving.csv").write_text(MOVING)
    (tmp_path / "targets.csv").write_text("20,20,20\n")
    return tmp_path


def register(folder: Path, *options: str) -> int:
    names = [str(folder / n) for n in ("fixed.csv", "moving.csv")]
    return run(["register", "points", *names, "--out", str(folder / "sub" / "reg.json"), *options])


def test_labels_are_matched_by_name(files: Path) -> None:
    assert register(files, "--targets", str(files / "targets.csv")) == 0
    content = json.loads((files / "sub" / "reg.json").read_text())
    np.testing.assert_allclose(np.array(content["T_target_source"])[:3, 3], [5.0, 6.0, 7.0], atol=1e-9)
    assert content["labels"] == ["A", "B", "C", "D"]
    assert content["unmatched"] == ["E"]
    assert content["accepted"] is True
    assert content["tre_mm"]["targets"] == [[20.0, 20.0, 20.0]]
    assert content["tre_mm"]["predicted"] == pytest.approx([0.0], abs=1e-6)
    assert len(content["residuals_mm"]) == 4


def test_an_existing_result_stays(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert register(files) == 0
    assert register(files) == 2
    assert "--force" in capsys.readouterr().err
    assert register(files, "--force") == 0


def test_targets_of_the_fixed_frame(files: Path) -> None:
    (files / "fixed.csv").write_text("A,1,0,0\nB,100,0,1\nC,0,80,0\nD,10,22,60\n")
    (files / "targets.csv").write_text("300,-300,100\n")
    assert register(files, "--targets", str(files / "targets.csv"), "--targets-in", "fixed") == 0
    fixed = json.loads((files / "sub" / "reg.json").read_text())
    T = np.array(fixed["T_target_source"])
    moving = (np.array([300.0, -300.0, 100.0]) - T[:3, 3]) @ T[:3, :3]
    (files / "targets.csv").write_text(",".join(map(repr, moving.tolist())))
    assert register(files, "--targets", str(files / "targets.csv"), "--force") == 0
    again = json.loads((files / "sub" / "reg.json").read_text())
    assert again["tre_mm"]["predicted"] == pytest.approx(fixed["tre_mm"]["predicted"])
    assert fixed["tre_mm"]["predicted"][0] > 1.0


def test_a_refused_registration_is_written_and_exits_3(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "moving.csv").write_text("A,0,0,0\nB,-100,0,0\nC,0,80,0\nD,-10,20,60\n")
    assert register(files) == 3
    assert "mirrored" in capsys.readouterr().err
    content = json.loads((files / "sub" / "reg.json").read_text())
    assert content["accepted"] is False
    assert any("mirrored" in reason for reason in content["reasons"])


@pytest.mark.parametrize(
    ("moving", "says"),
    [
        ("1,2,3\n4,5,6\n", "4 fixed and 2 moving points"),
        ("X,1,2,3\nY,4,5,6\n", "no label in common"),
        ("A,1,2\n", "row 1: A,1,2 is not a position"),
    ],
)
def test_lists_that_cannot_be_matched_exit_2(
    files: Path, capsys: pytest.CaptureFixture[str], moving: str, says: str
) -> None:
    (files / "moving.csv").write_text(moving)
    assert register(files) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "moving.csv" in error
    assert error.count("\n") == 1
    assert not (files / "sub").exists()


def test_two_landmarks_are_refused_with_a_result(files: Path) -> None:
    (files / "moving.csv").write_text("A,0,0,0\nB,100,0,0\n")
    assert register(files, "--targets", str(files / "targets.csv")) == 3
    content = json.loads((files / "sub" / "reg.json").read_text())
    assert content["T_target_source"] is None
    assert content["tre_mm"]["predicted"] == [None]


def test_pivot_gate(tmp_path: Path, test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poses, out = str(test_data / "sks_pivot"), tmp_path / "tip.json"
    assert run(["calibrate", "pivot", poses, "--out", str(out)]) == 3
    assert "3D RMS 3.050 mm" in capsys.readouterr().err
    content = json.loads(out.read_text())
    assert content["accepted"] is False
    np.testing.assert_allclose(content["tip_offset_mm"], [-14.473, 394.634, -7.407], atol=0.01)
    assert content["poses"] == 57


def test_pivot_of_nothing_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", "pivot", str(tmp_path), "--out", str(tmp_path / "tip.json")]) == 2
    assert "no .txt file" in capsys.readouterr().err
    assert not (tmp_path / "tip.json").exists()


def reg(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sub" / "reg.json").read_text())
    return content


def test_points_without_labels_are_matched_by_their_distances(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(12.0, 20.0, 60.0), (0.0, 0.0, 0.0), (100.0, 0.0, 0.0), (0.0, 80.0, 0.0), (-60.0, -40.0, 30.0)]
    (files / "fixed.csv").write_text("".join(f"{x},{y},{z}\n" for x, y, z in rows))
    (files / "moving.csv").write_text("".join(f"{x - 5},{y},{z + 9}\n" for x, y, z in reversed(rows)))
    assert register(files) == 3
    assert "seem exchanged" in capsys.readouterr().err
    assert register(files, "--match", "any", "--force") == 0
    content = reg(files)
    np.testing.assert_allclose(np.array(content["T_target_source"])[:3, 3], [5.0, 0.0, -9.0], atol=1e-9)
    assert content["pairs"] == [[1, 5], [2, 4], [3, 3], [4, 2], [5, 1]]
    assert content["match"] == "any"
    assert content["match_wrong_probability"] < 1e-4
    said = capsys.readouterr().out
    assert "predicted error amid the landmarks" in said
    assert "FRE" not in said


def test_an_ambiguous_match_is_written_and_exits_3(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    square = "0,0,0\n60,0,0\n60,60,0\n0,60,0\n"
    for name in ("fixed.csv", "moving.csv"):
        (files / name).write_text(square)
    assert register(files, "--match", "any", "--targets", str(files / "targets.csv")) == 3
    content = reg(files)
    assert content["T_target_source"] is None
    assert content["tre_mm"]["bound95"] == [None]
    assert register(files, "--force") == 3
    assert "no labels" in capsys.readouterr().err
    assert register(files, "--match", "order", "--force") == 0
    assert reg(files)["labels"] is None
    assert register(files, "--match", "order", "--exclude", "2", "--force") == 0
    assert reg(files)["labels"] == ["1", "3", "4"]


def test_a_landmark_is_left_out_with_a_record(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "moving.csv").write_text("D,5,14,53\nC,-5,74,-7\nA,-5,-6,-7\nB,95,-6,-7\nE,20,20,20\n")
    (files / "fixed.csv").write_text(f"{FIXED}E,25,26,42\n")
    assert register(files) == 3
    # 25,26,42 is where E belongs but for 15 mm along z
    assert reg(files)["touch_again"]["label"] == "E"
    capsys.readouterr()
    assert register(files, "--exclude", "E", "--why", "skin moved", "--force") == 0
    content = reg(files)
    assert content["labels"] == ["A", "B", "C", "D"]
    (left,) = content["excluded"]
    assert (left["label"], left["why"]) == ("E", "skin moved")
    assert left["missed_by_mm"] == pytest.approx(15.0)
    assert register(files, "--exclude", "X", "--force") == 2
    assert "no pair 'X'" in capsys.readouterr().err


def test_targets_of_a_study_lie_in_the_fixed_frame(files: Path) -> None:
    (files / "fixed.csv").write_text("A,1,0,0\nB,100,0,1\nC,0,80,0\nD,10,22,60\n")
    (files / "targets.json").write_text(
        json.dumps(
            {
                "targets": [
                    {"name": "node", "position_mm": [40, 30, -80]},
                    {"name": "b", "position_mm": [0, 0, 9]},
                ]
            }
        )
    )
    assert register(files, "--targets", str(files / "targets.json")) == 0
    tre = reg(files)["tre_mm"]
    assert tre["frame"] == "fixed"
    assert tre["names"] == ["node", "b"]
    assert tre["targets"][0] == [40.0, 30.0, -80.0]
    for rms, bound, covariance in zip(tre["predicted"], tre["bound95"], tre["covariance_mm2"], strict=True):
        assert np.trace(covariance) == pytest.approx(rms**2)
        assert bound > rms


def test_errors_of_the_points_are_taken_from_files(files: Path) -> None:
    (files / "fixed.csv").write_text("A,1,0,0\nB,100,0,1\nC,0,80,0\nD,10,22,60\n")
    (files / "fle.csv").write_text("label,rms\nA,1.0\nB,1.0\nC,1.0\nD,4.0\nE,1\n")
    assert register(files, "--moving-fle", str(files / "fle.csv"), "--fixed-fle", "0.5") == 0
    content = reg(files)
    # variances 1.25 for three pairs and 16.25 for the fourth, the mean of the weights 1
    assert np.array(content["weights"])[0] / content["weights"][3] == pytest.approx(16.25 / 1.25)
    # stated without their readings: a dozen of them, and the six that the residuals of four points are
    assert content["fle_mm"]["dof"] == 18.0
    stated = np.sqrt((3 * 1.25 + 16.25) / 4)
    assert np.sqrt(12.0 / 18.0) * stated <= content["fle_mm"]["rms"] <= stated
    assert register(files, "--fle-mm", "3", "--fle-dof", "6", "--force") == 0
    assert reg(files)["fle_mm"]["dof"] == 12.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fle-dof", "3"], "without"),
        (["--fle-mm", "1", "--fixed-fle", "1"], "not beside"),
        (["--fixed-fle", "-1"], "above zero"),
        (["--fixed-fle", "none.csv"], "no such file"),
        (["--match", "labels", "--fixed-fle", "{}/fle.csv"], "no error for the point 'C'"),
    ],
)
def test_errors_that_cannot_be_used_exit_2(
    files: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    (files / "fle.csv").write_text("A,1\nB,1,2,3\n")
    assert register(files, *(o.format(files) for o in options)) == 2
    assert says in capsys.readouterr().err


def test_a_picture_is_drawn_only_of_a_list_that_says_how_the_patient_lies(files: Path) -> None:
    picture = files / "fit.png"
    assert register(files, "--picture", str(picture)) == 2
    assert not picture.exists() and not (files / "sub").exists()
    rows = [line.split(",") for line in FIXED.splitlines()]
    points = [{"label": n, "position": [float(v) for v in xyz]} for n, *xyz in rows]
    markups = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]}
    (files / "fixed.mrk.json").write_text(json.dumps(markups))
    words = ["register", "points", str(files / "fixed.mrk.json"), str(files / "moving.csv")]
    assert run([*words, "--out", str(files / "reg.json"), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_error_beyond_what_is_shown_is_warned_of_and_refused_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text("a,0,0,0\nb,100,0,0\nc,0,80,0\nd,10,20,60\ne,50,60,10\n")
    (tmp_path / "m.csv").write_text("a,0.6,0,0\nb,100,1.1,0\nc,0.2,81,0.5\nd,10,20,61\nz,50,60,10\n")
    (tmp_path / "t.csv").write_text("near,50,30,20\nfar,900,30,20\n")
    words = ["register", "points", *(str(tmp_path / n) for n in ("f.csv", "m.csv"))]
    words += ["--targets", str(tmp_path / "t.csv"), "--out", str(tmp_path / "reg.json")]
    assert run(words) == 0
    near, far = json.loads((tmp_path / "reg.json").read_text())["tre_mm"]["bound95"]
    assert near < 10.0 < far
    said = capsys.readouterr().out
    assert "not used, in one list only: e, z" in said
    assert f"target far: the error may be {far:.1f} mm (95 %): no distance to it is shown" in said
    assert "target near" not in said
    assert run([*words, "--force", "--max-error", f"{far - 0.1:.3f}"]) == 3
    found = json.loads((tmp_path / "reg.json").read_text())
    assert not found["accepted"] and len(found["reasons"]) == 1 and "target far" in found["reasons"][0]
    assert run([*words, "--force", "--max-error", f"{far + 0.1:.3f}"]) == 0


def test_what_cannot_be_written_is_named_as_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text("a,0,0,0\nb,100,0,0\nc,0,80,0\nd,10,20,60\n")
    (tmp_path / "l.csv").write_bytes(b"a,0,0,0\nb\xe4,1,2,3\n")
    words = ["register", "points", str(tmp_path / "f.csv")]
    assert run([*words, str(tmp_path / "l.csv"), "--out", str(tmp_path / "reg.json")]) == 2
    assert "l.csv, byte 10: not UTF-8 text" in capsys.readouterr().err
    assert run([*words, str(tmp_path / "f.csv"), "--out", "/proc/reg.json"]) == 2
    assert "/proc/reg.json: " in capsys.readouterr().err
