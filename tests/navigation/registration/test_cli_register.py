"""The commands `register points` and `calibrate pivot` from files to exit codes."""

from __future__ import annotations

import json
from pathlib import Path

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
