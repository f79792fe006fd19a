"""`calibrate pivot` and `axis` beyond the poses: gates of a case, the tool as before, PLUS files there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from navigation.cli.main import run
from tracking.plus import read_coordinate_definitions
from tracking.tip import read_tip, tip_matrix

TIP_MM = np.array([4.0, -3.0, -150.0])
PLUS = """<PlusConfiguration version="2.1">
  <!-- keep me -->
  <CoordinateDefinitions>
    <Transform From="Image" To="TransducerOrigin" Matrix="0.2 0 0 0 0 0.2 0 0 0 0 0.2 0 0 0 0 1" />
    <Transform From="StylusTip" To="Stylus" Matrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"
      Error="0.9" Date="2020.01.01 10:00:00" />
  </CoordinateDefinitions>
</PlusConfiguration>
"""


def poses_file(folder: Path, tip_mm: np.ndarray = TIP_MM, remark: str = "", noise_mm: float = 0.05) -> Path:
    """A CSV of 120 poses of a tool that is turned about its tip on a spiral of 30 degrees."""
    rng = np.random.default_rng(4)
    phase = np.linspace(0.0, 1.0, 120)
    axes = np.stack([np.cos(40.0 * phase), np.sin(40.0 * phase), 0.0 * phase], axis=1)
    turned = Rotation.from_rotvec(np.radians(30.0) * np.sqrt(phase)[:, None] * axes)
    matrices = np.tile(np.eye(4), (120, 1, 1))
    matrices[:, :3, :3] = turned.as_matrix()
    matrices[:, :3, 3] = [50.0, 20.0, -1500.0] - turned.apply(tip_mm) + rng.normal(0.0, noise_mm, (120, 3))
    path = folder / f"poses-{len(list(folder.iterdir()))}.csv"
    rows = [",".join(repr(float(v)) for v in matrix.ravel()) for matrix in matrices]
    path.write_text("\n".join([*([remark] if remark else []), *rows]) + "\n")
    return path


def pivot(folder: Path, poses: Path, *more: str, name: str = "tip.json") -> int:
    return run(["calibrate", "pivot", str(poses), "--out", str(folder / name), "--no-plots", *more])


def test_a_case_loosens_a_gate_and_the_result_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses, case = poses_file(tmp_path, noise_mm=0.35), tmp_path / "case.toml"
    # 0.35 mm in each of three components: 0.61 mm 3D RMS.
    assert pivot(tmp_path, poses) == 3
    assert "the tip itself is known to" in capsys.readouterr().err
    case.write_text("[gates.pivot]\nmax_rms_mm = 0.7\n")
    assert pivot(tmp_path, poses, "--case", str(case), "--force") == 0
    told = json.loads((tmp_path / "tip.json").read_text())
    assert told["gates_overridden"] == ["max_rms_mm 0.7 instead of 0.5"]
    assert told["gates"]["max_rms_mm"] == 0.7
    # What the command line says goes before the case.
    assert pivot(tmp_path, poses, "--case", str(case), "--max-rms-mm", "0.5", "--force") == 3
    case.write_text("[gates.pivot]\nmax_rms_mm = -1\n")
    capsys.readouterr()
    assert pivot(tmp_path, poses, "--case", str(case), "--force") == 2
    assert "case.toml, gates.pivot.max_rms_mm: -1 is not from" in capsys.readouterr().err


def test_a_bent_probe_is_refused_with_its_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tmp_path / "before.json"
    assert pivot(tmp_path, poses_file(tmp_path), name="before.json") == 0
    same = poses_file(tmp_path, TIP_MM + [0.3, 0.0, 0.0])
    assert pivot(tmp_path, same, "--expect", str(before)) == 0
    bent = poses_file(tmp_path, TIP_MM + [2.5, 0.0, 0.0])
    assert pivot(tmp_path, bent, "--expect", str(before), "--force") == 3
    assert "bent probe" in capsys.readouterr().err
    told = json.loads((tmp_path / "tip.json").read_text())
    assert told["accepted"] is False
    # The tip of either is known to some hundredths of a millimetre.
    np.testing.assert_allclose(told["shift_mm"], [2.5, 0.0, 0.0], atol=0.2)
    assert told["shift_length_mm"] == pytest.approx(2.5, abs=0.2)


def test_poses_of_the_wrong_tool_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = poses_file(tmp_path, remark="# transform: ProbeToTracker")
    assert pivot(tmp_path, probe, "--probe-serial", "A1", name="probe-tip.json") == 0
    drill = poses_file(tmp_path, remark="# transform: DrillToTracker")
    expect = ["--expect", str(tmp_path / "probe-tip.json"), "--force"]
    assert pivot(tmp_path, drill, *expect) == 3
    assert "poses of DrillToTracker" in capsys.readouterr().err
    assert pivot(tmp_path, probe, *expect, "--probe-serial", "B2") == 3
    assert "probe B2, but" in capsys.readouterr().err
    assert pivot(tmp_path, probe, *expect, "--probe-serial", "A1") == 0
    assert pivot(tmp_path, drill, "--transform", "ProbeToTracker", "--force") == 2
    assert "no transform ProbeToTracker; it holds DrillToTracker" in capsys.readouterr().err
    out = tmp_path / "axis.json"
    axis = ["calibrate", "axis", str(drill), "--tip", str(tmp_path / "probe-tip.json"), "--out", str(out)]
    assert run([*axis, "--no-plots"]) == 3
    assert "the wrong tool" in capsys.readouterr().err


def test_an_accepted_tip_goes_into_a_plus_file_and_nothing_else_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plus = tmp_path / "plus.xml"
    plus.write_text(PLUS)
    assert pivot(tmp_path, poses_file(tmp_path), "--plus", str(plus)) == 0
    assert "StylusTipToStylus in" in capsys.readouterr().out
    told = json.loads((tmp_path / "tip.json").read_text())
    found = read_coordinate_definitions(plus)
    tip = found["StylusTipToStylus"]
    np.testing.assert_allclose(tip.matrix[:3, 3], told["tip_offset_mm"])
    # PLUS: the tip's -Z points back to the marker.
    assert tip.matrix[:3, 3] @ tip.matrix[:3, 2] == pytest.approx(np.linalg.norm(told["tip_offset_mm"]))
    assert tip.error_mm == told["rms_mm"]
    assert tip.date is not None
    assert tip.date > "2026"
    assert "<!-- keep me -->" in plus.read_text()
    assert found["ImageToTransducerOrigin"].matrix[0, 0] == 0.2
    before = plus.read_bytes()
    bad = poses_file(tmp_path, noise_mm=2.0)
    assert pivot(tmp_path, bad, "--plus", str(plus), "--force") == 3
    assert plus.read_bytes() == before  # a refused tip goes nowhere


def test_a_plus_file_is_made_for_the_probes_name_where_there_is_none(tmp_path: Path) -> None:
    poses = poses_file(tmp_path, remark="# transform: ProbeToTracker")
    assert pivot(tmp_path, poses, "--plus", str(tmp_path / "new.xml")) == 0
    assert list(read_coordinate_definitions(tmp_path / "new.xml")) == ["ProbeTipToProbe"]


def test_a_file_that_is_no_plus_file_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plus = tmp_path / "plus.xml"
    plus.write_text("<Other/>")
    poses = poses_file(tmp_path)
    assert pivot(tmp_path, poses, "--plus", str(plus)) == 2
    assert "is no PLUS configuration" in capsys.readouterr().err
    assert pivot(tmp_path, poses, "--plus", str(tmp_path / "plus.json")) == 2
    assert "ends in .xml" in capsys.readouterr().err
    assert not (tmp_path / "tip.json").exists()


def test_a_tip_out_of_a_plus_file_keeps_error_and_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plus = tmp_path / "plus.xml"
    plus.write_text(PLUS)
    assert pivot(tmp_path, plus) == 3
    assert "error 0.900 mm, at most 0.5 allowed" in capsys.readouterr().err
    plus.write_text(PLUS.replace("0.9", "0.3"))
    assert pivot(tmp_path, plus, "--force") == 0
    told = json.loads((tmp_path / "tip.json").read_text())
    assert (told["rms_mm"], told["date"], told["accepted"]) == (0.3, "2020.01.01 10:00:00", True)
    np.testing.assert_array_equal(tip_matrix(read_tip([tmp_path / "tip.json"])), np.eye(4))
    plus.write_text(PLUS.replace('Error="0.9"', ""))
    assert pivot(tmp_path, plus, "--force") == 3
    assert "tells no error" in capsys.readouterr().err
    assert pivot(tmp_path, plus, "--tool", "Probe", "--force") == 2
    assert "has no ProbeTipToProbe" in capsys.readouterr().err


def test_tip_and_axis_go_into_a_plus_file_as_one_matrix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spin = Rotation.from_rotvec(np.radians(np.arange(0.0, 350.0, 5.0))[:, None] * np.array([0.0, 0.0, -1.0]))
    rows = np.tile(np.eye(4), (len(spin), 1, 1))
    rows[:, :3, :3] = spin.as_matrix()
    rows[:, :3, 3] = [0.0, 0.0, -1000.0] - spin.apply(TIP_MM)
    poses, tip, plus = tmp_path / "spin.csv", tmp_path / "tip.json", tmp_path / "plus.xml"
    np.savetxt(poses, rows.reshape(-1, 16), delimiter=",")
    tip.write_text(json.dumps({"tip_offset_mm": TIP_MM.tolist(), "rms_mm": 0.2}))
    plus.write_text(PLUS)
    words = ["calibrate", "axis", str(poses), "--out", str(tmp_path / "axis.json"), "--plus", str(plus)]
    assert run([*words, "--no-plots"]) == 2
    assert "--plus needs --tip" in capsys.readouterr().err
    assert run([*words, "--tip", str(tip), "--no-plots"]) == 0
    found = read_coordinate_definitions(plus)["ProbeTipToProbe"]
    np.testing.assert_allclose(found.matrix[:3, 3], TIP_MM)
    np.testing.assert_allclose(found.matrix[:3, 2], [0.0, 0.0, -1.0], atol=1e-3)
    assert found.error_mm == 0.2


def test_a_case_does_not_take_the_tip_of_another_tool(tmp_path: Path) -> None:
    from calibration.tip.expected import require_tool
    from tracking.errors import GateRefusedError

    tip = tmp_path / "tip.json"
    for transform, tool, refused in (
        ("StylusToTracker", "Probe", True),
        ("ProbeToReference", "Stylus", True),
        ("ProbeToTracker", "Probe", False),
        ("NeedleToTracker", "Probe", False),  # whoever calls the probe so
    ):
        tip.write_text(json.dumps({"tip_offset_mm": [0, 0, 1], "transform": transform}))
        if refused:
            with pytest.raises(GateRefusedError, match="the wrong tool"):
                require_tool(tip, tool)
        else:
            require_tool(tip, tool)
    case = tmp_path / "case.toml"
    case.write_text('nuclide = "Tc-99m"\ntip = "tip.json"\n')
    tip.write_text(
        json.dumps({"tip_offset_mm": [0, 0, 1], "axis": [0, 0, 1], "transform": "StylusToTracker"})
    )
    assert run(["run", str(case), "--headless", "--out", str(tmp_path / "out")]) == 3
