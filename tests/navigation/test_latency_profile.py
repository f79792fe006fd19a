"""Count latency of an ordinary scan: the profile with everything fitted anew, its interval, and what is carried on.

The counts come from the project's simulator (transport, hand, tracker noise, jitter), never from the fit's own model.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from navigation.latencyprofile import COARSE_S, profile_latency
from navigation.offline import ScanOptions, reconstruct_scan, scan_latency
from navigation.reconstruction import reconstruct
from navigation.simulate.folder import simulate_scan_folder
from navigation.simulate.scenes import build_scene
from navigation.simulate.setup import probe_grid
from tests.navigation.scan_model import filled, raster, setup
from tracking.sample import Readings
from tracking.scanfolder import read_scan, write_scan

# Stamps of the simulated counter also jitter to the late side, by 4 ms in the mean.
JITTER_S = 0.004


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench calibration, probe.json, and a scan of a 90 to 110 kBq focus whose latency nobody knows, scan."""
    folder = tmp_path_factory.mktemp("latency")
    with (folder / "grid.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["r_mm", "z_mm", "counts", "live_s", "activity_kbq"])
        writer.writerows(probe_grid(build_scene("bed", 0, 0)).tolist())
    words = ["calibrate", "detector", str(folder / "grid.csv"), "--nuclide", "Tc-99m", "--no-plots"]
    assert run([*words, "--out", str(folder / "probe.json")]) == 0
    simulate_scan_folder("bed", 0, folder / "scan", tell_latency=False, probe_seed=0)
    return folder


@pytest.fixture(scope="module")
def truth_s() -> float:
    return build_scene("bed", 0, 0).equipment.count_latency_s + JITTER_S


def test_a_strong_focus_tells_the_latency(folder: Path, truth_s: float) -> None:
    state, profile = scan_latency(folder / "scan", folder / "probe.json", ScanOptions())
    assert profile is not None
    assert profile.determined, profile.reasons
    assert profile.fisher_sd_s is not None
    assert profile.fisher_sd_s < 0.020
    # Three of its own standard errors, and the aim of 20 ms where the bound allows 10 ms.
    assert profile.lag_s == pytest.approx(truth_s, abs=3 * (profile.ci95_s[1] - profile.ci95_s[0]) / 3.92)
    assert profile.ci95_s[0] < profile.lag_s < profile.ci95_s[1]
    assert profile.drop.min() == 0.0
    # What a reconstruction of the scan tells is the same.
    assert state.result.count_latency_s == pytest.approx(max(profile.lag_s, 0.0))
    assert state.result.count_latency_ci95_s == pytest.approx(profile.ci95_s)


def test_how_the_streams_start_is_no_measurement(folder: Path, tmp_path: Path, truth_s: float) -> None:
    scan = read_scan(folder / "scan")
    late = scan.counts.t_s > scan.counts.t_s[0] + 6.0
    counts = replace(scan.counts, **{k: getattr(scan.counts, k)[late] for k in ("t_s", "counts", "window_s")})
    write_scan(replace(scan, counts=counts), tmp_path / "cut")
    _, profile = scan_latency(tmp_path / "cut", folder / "probe.json", ScanOptions())
    assert profile is not None
    assert profile.lag_s == pytest.approx(truth_s, abs=0.03)


def test_poses_that_are_late_are_told_and_never_cut_to_none(folder: Path, tmp_path: Path) -> None:
    scan = read_scan(folder / "scan")
    early = replace(scan.counts, t_s=scan.counts.t_s - 0.2)
    write_scan(replace(scan, counts=early), tmp_path / "early")
    out = tmp_path / "latency.json"
    words = ["calibrate", "latency", str(tmp_path / "early"), "--probe", str(folder / "probe.json")]
    assert run([*words, "--out", str(out), "--no-plots"]) == 0
    content = json.loads(out.read_text())
    assert content["determined"] is False
    assert content["count_latency_s"] < -0.03
    assert "later than the counts" in " ".join(content["reasons"])
    # What must not be used is not used.
    words = ["reconstruct", str(tmp_path / "early"), "--probe", str(folder / "probe.json")]
    assert run([*words, "--latency", str(out), "--out", str(tmp_path / "map")]) == 2


def test_nothing_that_is_hot_tells_nothing(folder: Path, tmp_path: Path) -> None:
    scan = read_scan(folder / "scan")
    flat = np.random.default_rng(1).poisson(np.median(scan.counts.counts), len(scan.counts.counts))
    write_scan(replace(scan, counts=replace(scan.counts, counts=flat.astype(float))), tmp_path / "flat")
    out = tmp_path / "latency.json"
    words = ["calibrate", "latency", str(tmp_path / "flat"), "--probe", str(folder / "probe.json")]
    assert run([*words, "--out", str(out), "--no-plots"]) == 0
    content = json.loads(out.read_text())
    assert content["determined"] is False
    assert content["reasons"]
    assert content["ci95_s"][0] <= content["count_latency_s"] <= content["ci95_s"][1]
    state = reconstruct_scan(tmp_path / "flat", folder / "probe.json", ScanOptions())
    low, high = state.result.count_latency_ci95_s or (0.0, 0.0)
    assert high - low > 0.2


# Middles of windows that end in half of ten microseconds: taking a latency off and adding it again turns some of them.
STAMPED = filled(raster(300), [((6.0, -4.0, -16.0), 250.0)], 0.4, seed=3)
LATE_S = 0.12


def placed_at(latency_s: float) -> Readings:
    """The counts of a path, stamped LATE_S late, where the probe was `latency_s` before their stamps."""
    taken = STAMPED.t_s + 0.012345 + LATE_S - latency_s
    poses = np.tile(STAMPED.poses[0], (300, 1, 1))
    for axis in (0, 1):
        poses[:, axis, 3] = np.interp(taken - 0.012345, STAMPED.t_s, STAMPED.poses[:, axis, 3])
    return replace(STAMPED, t_s=taken, poses=poses)


def test_every_window_is_known_again_whatever_the_latency() -> None:
    profile = profile_latency(placed_at, reconstruct(setup(), placed_at(LATE_S)))
    assert profile.lag_s == pytest.approx(LATE_S, abs=0.015)
    # Trials between the coarse ones were made: the interval is finer than their step.
    assert len(profile.trials_s) > len(COARSE_S)


def test_a_window_without_poses_at_some_latency_spoils_no_comparison() -> None:
    def occluded(latency_s: float) -> Readings:
        readings = placed_at(latency_s)
        coarse = min(abs(latency_s - s) for s in COARSE_S) < 1e-9
        return readings if coarse else readings.select(slice(1, None))

    profile = profile_latency(occluded, reconstruct(setup(), placed_at(LATE_S)))
    # Fits of fewer windows are left out; those of all of them tell the latency to their step.
    assert profile.trials_s.tolist() == pytest.approx(sorted(COARSE_S))
    assert profile.ci95_s[0] < LATE_S < profile.ci95_s[1]


def test_two_series_of_one_movement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t = np.arange(0.0, 30.0, 0.05)
    rng = np.random.default_rng(2)
    move = np.convolve(rng.normal(size=len(t) + 60), np.hanning(60), "same")
    for name, late, size in (("a.csv", 0.0, 1.0), ("b.csv", 0.1, -3.0)):
        rows = np.column_stack([t + late, size * move[: len(t)] + 0.05 * rng.normal(size=len(t))])
        np.savetxt(tmp_path / name, rows, delimiter=",", header="t_s,value", comments="")
    a, b, out = (str(tmp_path / name) for name in ("a.csv", "b.csv", "lag.json"))
    assert run(["calibrate", "latency", "--series", a, b, "--out", out]) == 0
    assert json.loads((tmp_path / "lag.json").read_text())["lag_s"] == pytest.approx(0.1, abs=0.003)
    assert run(["calibrate", "latency", "scan", "--series", a, b, "--out", out, "--force"]) == 2
    assert run(["calibrate", "latency", "--out", out, "--force"]) == 2
    assert "--series" in capsys.readouterr().err
