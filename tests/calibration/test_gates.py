"""Thresholds from a case file: taken, named where they differ, and refused where they are nonsense."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from calibration.gates import Gates, PivotGates, gates_content, overridden, read_gates
from tracking.errors import InputError


def case(folder: Path, text: str) -> Path:
    path = folder / "case.toml"
    path.write_text(text)
    return path


def test_without_a_table_the_defaults_hold(tmp_path: Path) -> None:
    assert read_gates(None) == Gates()
    assert read_gates(case(tmp_path, 'name = "case 7"\n')) == Gates()
    assert overridden(PivotGates()) == []


def test_a_case_sets_gates_and_the_result_names_them(tmp_path: Path) -> None:
    text = "[gates.pivot]\nmax_rms_mm = 0.6\nmin_poses = 50\n[gates.axis]\nmin_spin_deg = 90\n"
    gates = read_gates(case(tmp_path, text))
    assert (gates.pivot.max_rms_mm, gates.pivot.min_poses, gates.axis.min_spin_deg) == (0.6, 50, 90.0)
    assert gates.tracker == Gates().tracker
    told = gates_content(gates.pivot)
    assert told["gates_overridden"] == ["max_rms_mm 0.6 instead of 0.5", "min_poses 50 instead of 10"]
    assert told["gates"]["max_tip_sd_mm"] == 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gates = 3\n", r"case\.toml, gates: 3 is no table"),
        ("[gates.pivoting]\n", r"case\.toml, gates\.pivoting: is none of pivot, axis"),
        ("[gates]\npivot = 0.6\n", r"gates\.pivot: 0\.6 is no table"),
        ("[gates.pivot]\nmax_rms = 0.6\n", r"gates\.pivot\.max_rms: unknown gate; there are max_rms_mm"),
        ('[gates.pivot]\nmax_rms_mm = "0.6"\n', r"gates\.pivot\.max_rms_mm: '0\.6' is no number"),
        ("[gates.pivot]\nmax_rms_mm = true\n", r"max_rms_mm: True is no number"),
        ("[gates.pivot]\nmax_rms_mm = nan\n", r"max_rms_mm: nan is not from 0\.01 to 5"),
        ("[gates.pivot]\nmax_rms_mm = 1000.0\n", r"max_rms_mm: 1000\.0 is not from"),
        ("[gates.pivot]\nmin_poses = 12.5\n", r"min_poses: 12\.5 is no whole number"),
    ],
)
def test_nonsense_is_named_by_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_gates(case(tmp_path, text))


def test_every_default_lies_within_its_own_bounds() -> None:
    for group in fields(Gates):
        for one in fields(getattr(Gates(), group.name)):
            assert one.metadata["low"] <= one.default <= one.metadata["high"], (group.name, one.name)


def test_grid_and_sweep_take_the_gates_of_a_case(tmp_path: Path, test_data: Path) -> None:
    import json

    from navigation.cli.main import run

    text = "[gates.detector]\nmin_points = 500\n[gates.sweep]\nmin_readings = 90000\n"
    file, out = case(tmp_path, text), tmp_path / "probe.json"
    grid = test_data / "recordings" / "probe_grid_Tc-99m.csv"
    words = ["calibrate", "detector", str(grid), "--nuclide", "Tc-99m", "--case", str(file), "--no-plots"]
    # The grid has 168 points by its own description.
    assert run([*words, "--out", str(out)]) == 3
    told = json.loads(out.read_text())
    assert told["gates_overridden"] == ["min_points 500 instead of 20"]
    assert "168 points; at least 500 are needed" in " ".join(told["reasons"])
    sweep = next(p for p in (test_data / "recordings").rglob("scan.json") if "sweep" in str(p)).parent
    scan = ["calibrate", "detector-scan", str(sweep), "--source=0,0,0", "--activity-kbq", "300", "--no-plots"]
    assert run([*scan, "--case", str(file), "--out", str(out), "--force"]) == 3
    told = json.loads(out.read_text())
    assert told["gates_overridden"] == ["min_readings 90000 instead of 30"]
    assert "at least 90000 are needed" in " ".join(told["reasons"])
