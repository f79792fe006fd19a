"""A sheath over the probe: less counts per kBq and a little less certainty, offline and in a case (H18)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from calibration.probe.response import DetectorResponse, response_of
from calibration.probe.sheath import BARE, Sheath, covered, sheath_at, told_of
from navigation.case import read_case
from navigation.cli.main import run
from navigation.engine.reconstruct import build_imaging
from navigation.engine.session import Session
from navigation.engine.settings import Settings
from tests.navigation.scan_model import PROBE, filled, flat_surface, grid_of, raster
from tests.navigation.test_case import GOOD, case_file
from tracking.errors import GateRefusedError, InputError
from tracking.scanfolder import CountTable, PoseTable, Scan, write_scan

SHEATH = Sheath(0.8, 0.02)


@cache
def calibration() -> dict[str, Any]:
    return calibrate(grid_of(PROBE).take(np.arange(0, 168, 3)), nuclide("Tc-99m"))


@cache
def response() -> DetectorResponse:
    return response_of(calibration(), Path("probe.json"))


def sheath_file(folder: Path, **more: object) -> Path:
    path = folder / "sheath.json"
    path.write_text(json.dumps({"sheath_transmission": 0.8, "sheath_transmission_sd": 0.02, **more}))
    return path


def test_every_count_is_scaled_and_the_scale_known_less_well() -> None:
    bare, r, z = response(), np.array([0.0, 12.0, 40.0]), np.array([20.0, 30.0, -10.0])
    in_sheath = covered(bare, SHEATH)
    assert in_sheath.in_air(r, z) == pytest.approx(0.8 * bare.in_air(r, z), rel=1e-6)
    # 0.02 / 0.8 = 2.5 % beside what the calibration itself is known to.
    assert in_sheath.scale_relative_sd == pytest.approx(np.hypot(bare.scale_relative_sd, 0.025))
    assert in_sheath.systematic_relative_sd > bare.systematic_relative_sd
    assert covered(bare, BARE) is bare


def test_a_focus_under_a_sheath_has_the_activity_that_it_has(tmp_path: Path) -> None:
    readings = filled(raster(300), [((6.0, -4.0, -18.0), 80.0)], 0.4, seed=1)
    # The sheath stops a fifth of all counts, at random.
    passed = np.random.default_rng(3).binomial(readings.counts.astype(int), 0.8).astype(float)
    readings = replace(readings, counts=passed)
    counts = CountTable(readings.t_s + 0.05, readings.counts, readings.live_s)
    poses = PoseTable(readings.t_s, readings.poses)
    scan = Scan("Tc-99m", None, "ProbeTipToReference", poses, counts, None, 0.0, flat_surface())
    write_scan(scan, tmp_path / "scan")
    (tmp_path / "probe.json").write_text(json.dumps(calibration()))
    words = ["reconstruct", str(tmp_path / "scan"), "--probe", str(tmp_path / "probe.json"), "--out"]
    found = {}
    for name, more in (("bare", []), ("covered", ["--sheath", str(sheath_file(tmp_path))])):
        assert run([*words, str(tmp_path / name), *more]) == 0
        found[name] = json.loads((tmp_path / name / "spots.json").read_text())
    bare, right = (found[name]["spots"][0]["activity_kbq"] for name in ("bare", "covered"))
    assert right / bare == pytest.approx(1 / 0.8, rel=0.02)
    assert any("sheath" in reason for reason in found["covered"]["reasons"])
    assert not any("sheath" in reason for reason in found["bare"]["reasons"])


def test_a_case_takes_its_sheath_into_record_and_map(tmp_path: Path) -> None:
    sheath_file(tmp_path)
    settings = read_case(case_file(tmp_path, 'sheath = "sheath.json"\nbackground_minutes = 45\n' + GOOD))
    assert settings.sheath == SHEATH
    assert settings.background_minutes == 45.0
    again = Settings.from_json(json.loads(json.dumps(settings.to_json())))
    assert again.sheath == SHEATH
    assert again.background_minutes == 45.0
    content = {k: v for k, v in settings.to_json().items() if k not in ("sheath", "background_minutes")}
    assert Settings.from_json(content).sheath == BARE  # a record of before
    session = Session(replace(settings, calibration=calibration(), surface_mm=flat_surface()))
    session._command({"do": "start", "mode": "scan", "name": "scan-1"})
    imaging = build_imaging(session.basis(session.scans["scan-1"]))
    setup = imaging._live.setup
    assert setup.response.leak == pytest.approx(0.8 * response().leak, rel=1e-6)
    assert any("sheath" in reason for reason in setup.reasons)


@pytest.mark.parametrize("line", ["background_minutes = -1", 'background_minutes = "often"', "sheath = 0.97"])
def test_a_case_with_nonsense_of_them_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=line.split()[0]):
        read_case(case_file(tmp_path, f"{line}\n{GOOD}"))


def test_a_sheath_that_was_refused_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(GateRefusedError, match="was refused"):
        sheath_at(sheath_file(tmp_path, accepted=False, reasons=["the source was moved"]))
    assert sheath_at(None) == BARE
    assert told_of(BARE) == ()
