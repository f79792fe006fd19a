"""A second nuclide beside the one that is looked for: its spill is modelled, not taken for a focus nor subtracted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.crosstalk import Crosstalk, Measurement, calibrate_crosstalk
from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.cli.main import run
from navigation.likelihood import Counts, KnownRate
from navigation.reconstruction import ScanState, reconstruct
from navigation.spill import OTHER_COUNTS, Spill, spill_of
from navigation.volume import NOT_EXAMINED
from tests.navigation.scan_model import (
    PROBE,
    filled,
    flat_surface,
    grid_of,
    problem_of,
    raster,
    response,
    setup,
)
from tracking.errors import GateRefusedError, InputError
from tracking.sample import Readings
from tracking.scanfolder import CountTable, PoseTable, Scan, write_scan

TC, SEED = nuclide("Tc-99m"), nuclide("I-125")
WINDOWS = (TC.window_kev, SEED.window_kev)
# A seed at 14 mm depth whose counts in the own window are ten times those that leak into that of Tc-99m.
INTO_MAIN, SEED_PLACE, SEED_KBQ = 0.1, (-10.0, 8.0, -14.0), 60.0
FOCUS = ((6.0, -4.0, -18.0), 80.0)


def crosstalk(factor_sd: float = 0.002) -> Crosstalk:
    covariance = np.diag([factor_sd**2, 1e-8])
    return Crosstalk(TC, SEED, WINDOWS, np.array([INTO_MAIN, 0.0]), covariance, np.zeros(2))


@cache
def scene(with_focus: bool) -> tuple[Readings, CountTable]:
    """Readings of both nuclides in the main window, and the second window, which the seed alone fills."""
    own = filled(raster(300), [FOCUS] if with_focus else [], 0.4, seed=4)
    problem = problem_of(raster(300))
    leaked = SEED_KBQ * problem.rows(np.array([SEED_PLACE]))[:, 0]
    rng = np.random.default_rng(9)
    spilt = rng.poisson(leaked * own.live_s).astype(float)
    seen = rng.poisson(leaked / INTO_MAIN * own.live_s).astype(float)
    half = own.live_s / 2
    return replace(own, counts=own.counts + spilt), CountTable(own.t_s + half, seen, own.live_s)


def found(with_focus: bool, spill: Spill | None) -> ScanState:
    return reconstruct(replace(setup(), spill=spill), scene(with_focus)[0])


def test_a_seed_beside_is_no_focus_once_its_spill_is_known() -> None:
    place = np.array(SEED_PLACE)
    plain = found(False, None).result.spots
    assert [s for s in plain if np.linalg.norm(s.position_mm - place) < 4.0 and s.quality == "ok"]
    known = found(False, Spill(crosstalk(), scene(False)[1])).result.spots
    assert not [s for s in known if s.quality != "unusable"]


def test_the_focus_stays_with_its_activity() -> None:
    spots = found(True, Spill(crosstalk(), scene(True)[1])).result.spots
    (spot,) = [s for s in spots if s.quality != "unusable"]
    assert np.linalg.norm(spot.position_mm - np.array(FOCUS[0])) < 3.0
    assert spot.activity_ci95_kbq[0] < FOCUS[1] < spot.activity_ci95_kbq[1]


def test_the_map_shows_no_seed_either() -> None:
    def held(state: ScanState) -> float:
        grid = state.result.map.grid
        near = np.linalg.norm(grid.points() - np.array(SEED_PLACE), axis=1) < 12.0
        return float((state.result.map.activity.reshape(-1)[near] - 0.4).clip(0).sum()) * grid.voxel_ml

    spill = Spill(crosstalk(), scene(False)[1])
    assert held(found(False, spill)) < 0.2 * held(found(False, None))


def test_a_factor_hardly_known_makes_the_limits_wider() -> None:
    """What the seed leaks can no more be told from a weak source there: less is seen at its place."""
    at = []
    for factor_sd in (0.001, 0.05):
        result = found(False, Spill(crosstalk(factor_sd), scene(False)[1])).result
        grid = result.map.grid
        near = int(np.argmin(np.linalg.norm(grid.points() - np.array(SEED_PLACE), axis=1)))
        seen = float(result.map.mda_kbq.reshape(-1)[near])
        at.append(np.inf if seen == NOT_EXAMINED else seen)
    assert at[1] > 1.5 * at[0] > 0.0


def test_counts_with_a_known_rate_are_those_of_the_sum() -> None:
    rate, known = np.array([5.0, 20.0, 0.0]), np.array([3.0, 0.0, 10.0])
    counts, live = np.array([7.0, 22.0, 9.0]), np.ones(3)
    plain = Counts(counts, live)
    beside = replace(plain, known=KnownRate(known, np.zeros(3), np.zeros(3)))
    assert beside.expected(rate) == pytest.approx(plain.expected(rate + known))
    assert beside.log_likelihood(rate) == pytest.approx(plain.log_likelihood(rate + known))
    for a, b in zip(beside.weights(rate), plain.weights(rate + known), strict=True):
        assert a == pytest.approx(b)
    # 5 of 8 expected are its own, all of 20, and next to none of the 10 beside the smallest rate, 0.3.
    assert beside.own(rate).counts == pytest.approx([7 * 5 / 8, 22.0, 9 * 0.3 / 10.3])
    # Noise of the known rate, 2 counts, beside the 8 expected: variance 12.
    noisy = replace(plain, known=KnownRate(known, np.full(3, 2.0), np.zeros(3)))
    assert noisy.weights(rate)[1][0] == pytest.approx(1 / 12)


def test_the_second_window_may_have_its_own_stamps() -> None:
    readings, _ = scene(False)
    # One count each 10 ms, stamped half a window out of step: ten in every reading of 0.1 s, 100 cps.
    t = np.arange(readings.t_s[0] - 1.0, readings.t_s[-1] + 1.0, 0.01) + 0.005
    known = Spill(crosstalk(), CountTable(t, np.ones(len(t)), np.full(len(t), 0.01))).of(readings)
    assert known.cps == pytest.approx(INTO_MAIN * 100.0, rel=1e-6)
    assert known.noise_sd_cps == pytest.approx(INTO_MAIN * np.sqrt(10.0) / 0.1, rel=1e-6)
    assert known.factor_sd_cps == pytest.approx(0.002 * 100.0, rel=1e-6)
    short = CountTable(t[:1000], np.ones(1000), np.full(1000, 0.01))
    with pytest.raises(InputError, match=r"counted nothing at 9\.\d+ s, where counts.csv did"):
        Spill(crosstalk(), short).of(readings)


def folder(tmp_path: Path) -> Path:
    readings, other = scene(True)
    poses = PoseTable(readings.t_s, readings.poses)
    table = CountTable(readings.t_s + 0.05, readings.counts, readings.live_s)
    scan = Scan("Tc-99m", None, "ProbeTipToReference", poses, table, None, 0.0, flat_surface())
    write_scan(scan, tmp_path / "scan")
    rows = "".join(
        f"{t:.4f},{c:g},{w:g}\n" for t, c, w in zip(other.t_s, other.counts, other.window_s, strict=True)
    )
    (tmp_path / "scan" / OTHER_COUNTS).write_text("t_s,counts,window_s\n" + rows)
    return tmp_path / "scan"


def test_the_command_uses_a_measured_crosstalk_and_refuses_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, probe, file = folder(tmp_path), tmp_path / "probe.json", tmp_path / "crosstalk.json"
    probe.write_text(json.dumps(calibrate(grid_of(PROBE), TC)))
    pure = Measurement(np.array([[1e5, 0.0], [1e4, 1e5], [0.0, 0.0]]), np.full(3, 200.0))
    file.write_text(json.dumps(calibrate_crosstalk(pure, TC, SEED, WINDOWS)))
    words = ["reconstruct", str(scan), "--probe", str(probe), "--out", str(tmp_path / "out"), "--force"]
    assert run([*words, "--crosstalk", str(file)]) == 0
    content = json.loads((tmp_path / "out" / "spots.json").read_text())
    assert "counts of I-125 in the window are modelled" in " ".join(content["reasons"])
    assert len([s for s in content["spots"] if s["quality"] != "unusable"]) == 1
    (scan / OTHER_COUNTS).unlink()
    capsys.readouterr()
    assert run([*words, "--crosstalk", str(file)]) == 2
    assert "counts_other.csv: no such file" in capsys.readouterr().err


def test_a_crosstalk_of_another_nuclide_or_window_is_refused(tmp_path: Path) -> None:
    pure = Measurement(np.array([[1e5, 0.0], [1e4, 1e5], [0.0, 0.0]]), np.full(3, 200.0))
    scan = Scan("Tc-99m", None, "ProbeTipToReference", None, None, source=tmp_path)  # type: ignore[arg-type]
    file = tmp_path / "crosstalk.json"
    file.write_text(json.dumps(calibrate_crosstalk(pure, nuclide("In-111"), SEED)))
    with pytest.raises(GateRefusedError, match="is for In-111, the calibration for Tc-99m"):
        spill_of(file, scan, response(), 0.0)
    file.write_text(json.dumps(calibrate_crosstalk(pure, TC, SEED, ((120.0, 160.0), SEED.window_kev))))
    with pytest.raises(GateRefusedError, match="measured at 120 to 160 keV, the calibration at 126"):
        spill_of(file, scan, response(), 0.0)


@pytest.mark.parametrize(("factor", "rough"), [(0.05, False), (0.4, True)])
def test_a_strong_spill_says_that_significances_are_rough(factor: float, rough: bool) -> None:
    spill = Spill(replace(crosstalk(), factors=np.array([factor, 0.3])), scene(False)[1])
    assert (spill.doubt is not None) == rough
